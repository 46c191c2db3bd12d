"""The values that a configuration is made of, one layer over the other, and where each came from.

The file is the lowest layer, then the environment, then the command line. What is wrong is noted,
not raised, until everything has been looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.config import DetectionConfig
from streams.config import Settings, Topics
from streams.config_errors import (
    ConfigError,
    Location,
    Problem,
    dotted,
    plain_type,
    problems_of,
    remedy_for_name,
    sections,
)
from streams.config_yaml import Document
from streams.detection_check import check_detection
from streams.kafka_properties import is_secret
from streams.references import has_reference

PREFIX: Final = "DRIFTSENTRY_"
CONFIG_VARIABLE: Final = "DRIFTSENTRY_CONFIG"
_SECRET_FIELDS: Final = ("redis_url", "source_key", "checkpoint_key")
_MAX_TRIES: Final = 4
_URL_PASSWORD: Final = re.compile(r"://[^/@]*@")
Model = TypeVar("Model", Settings, DetectionConfig)


class ConfigFile(BaseModel):
    """The layout of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    worker: Settings = Field(default_factory=Settings)
    """Process settings of a worker; they never change which alerts come out."""
    detection: DetectionConfig = Field(default_factory=DetectionConfig)
    """What changes which alerts come out of the same events."""


def variables() -> dict[str, Location]:
    """The environment variables that stand for a setting, and which one."""
    found: dict[str, Location] = {}
    for name in Settings.model_fields:
        if name not in {"kafka", "topics", "responder", "notify", *_SECRET_FIELDS[1:]}:
            found[PREFIX + name.upper()] = (name,)
    for name in Topics.model_fields:
        found[f"{PREFIX}{name.upper()}_TOPIC"] = ("topics", name)
    return found


class Layers:
    """The values so far, where each came from, and what was wrong with them."""

    def __init__(self, document: Document | None) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.source: dict[Location, str] = {}
        self.worker: dict[str, object] = {}
        self.detection: dict[str, object] = {}
        if document is not None:
            self.problems += document.problems
            self._take_sections(document)

    def _take_sections(self, document: Document) -> None:
        top = {} if document.value is None else document.value
        if not isinstance(top, dict):
            text = "should hold the sections `worker:` and `detection:`"
            self.problems.append(Problem("", text, source=document.source))
            return
        for name, value in top.items():
            if name not in ConfigFile.model_fields:
                remedy = remedy_for_name(name, ConfigFile.model_fields, _homes())
                place = document.place((name,))
                self.problems.append(Problem(dotted((name,)), "unknown section", remedy, place))
            elif value is None:
                continue
            elif not isinstance(value, dict):
                text = "should be a mapping of settings"
                self.problems.append(Problem(name, text, source=document.place((name,))))
            elif name == "worker":
                self.worker = _copied(value)
            else:
                self.detection = value
        self._refuse_secrets(self.worker, "in the file")

    def _refuse_secrets(self, worker: Mapping[str, object], where: str) -> None:
        """A file gets copied and committed, a command line is seen by everybody."""
        remedy = "write ${env:NAME} or ${file:/path} instead"
        text = f"a secret stands {where}"
        kafka = worker.get("kafka")
        for name, value in kafka.items() if isinstance(kafka, dict) else ():
            if is_secret(str(name)) and not (isinstance(value, str) and has_reference(value)):
                self._add(("kafka", str(name)), text, remedy)
        url = worker.get("redis_url")
        if isinstance(url, str) and (match := _URL_PASSWORD.search(url)):
            user, colon, password = match[0][3:-1].partition(":")
            if (password or not colon) and not has_reference(password or user):
                self._add(("redis_url",), text, remedy)

    def _add(self, location: Location, text: str, remedy: str) -> None:
        path = dotted(("worker", *location))
        self.problems.append(Problem(path, text, remedy, self._place(("worker", *location))))

    def _place(self, location: Location) -> str:
        for end in range(len(location), 0, -1):
            if location[:end] in self.source:
                return self.source[location[:end]]
        return self.document.place(location) if self.document is not None else ""

    def set(self, location: Location, value: object, source: str) -> None:
        """Put a value over what is there."""
        section = self.worker
        for key in location[:-1]:
            inner = section.get(str(key))
            if not isinstance(inner, dict):
                section[str(key)] = inner = {}
            section = inner
        section[str(location[-1])] = value
        self.source["worker", *location] = source

    def add_environment(self, environ: Mapping[str, str]) -> None:
        """Take every variable that stands for a setting; an empty one counts as not set."""
        known = variables()
        files = {f"{PREFIX}{name.upper()}_FILE": name for name in _SECRET_FIELDS}
        keys = {PREFIX + name.upper(): name for name in _SECRET_FIELDS[1:]}
        for variable in sorted(name for name in environ if name.startswith(PREFIX)):
            text = environ[variable]
            if not text:
                continue
            if variable in known:
                location = known[variable]
                self.set(location, _parsed(location, text), variable)
            elif variable in keys:
                self.set((keys[variable],), f"${{env:{variable}}}", variable)
            elif variable in files:
                if environ.get(plain := variable.removesuffix("_FILE")):
                    problem = Problem(variable, f"is set, and {plain} too", "set only one of them")
                    self.problems.append(problem)
                self.set((files[variable],), f"${{file:{text}}}", variable)
            elif variable.startswith(f"{PREFIX}KAFKA_"):
                name = variable.removeprefix(f"{PREFIX}KAFKA_").lower().replace("_", ".")
                # The value itself stays in the environment: it may be a secret.
                value = f"${{env:{variable}}}" if is_secret(name) else text
                self.set(("kafka", name), value, variable)
            elif variable != CONFIG_VARIABLE:
                names = [*known, *keys, *files, CONFIG_VARIABLE]
                if near := get_close_matches(variable, names, n=1, cutoff=0.85):
                    self.warnings.append(f"{variable} is not known; did you mean {near[0]}?")

    def add_options(self, options: Mapping[str, object]) -> None:
        """Take what the command line says; None counts as not said."""
        given: dict[str, object] = {}
        for name, value in options.items():
            if value is None:
                continue
            section, dot, inner = name.partition(".")
            self.set((section, inner) if dot else (name,), value, f"--{_option(name)}")
            if section == "kafka":
                given[inner] = value
        self._refuse_secrets({"kafka": given}, "on the command line")
        url = options.get("redis_url")
        if isinstance(url, str) and re.search(r"://[^/@]*:[^/@$]+@", url):
            self.warnings.append(
                "the password in --redis-url is seen by everybody on this machine; set "
                f"{PREFIX}REDIS_URL or {PREFIX}REDIS_URL_FILE instead"
            )

    def validate(self) -> tuple[Settings, DetectionConfig]:
        """Build both; raise `ConfigError` with everything that is wrong."""
        settings = self._built(Settings, self.worker, "worker")
        detection = self._built(DetectionConfig, self.detection, "detection")
        self._take(check_detection(detection), "detection")
        if settings.kafka:
            # Imported here: a client library is much to load where there is nothing to ask.
            from streams.librdkafka_check import librdkafka_problems  # noqa: PLC0415 - `--help` must not load librdkafka

            for name, text, remedy in librdkafka_problems(settings.kafka):
                self._add(("kafka", name), text, remedy)
        if self.problems:
            raise ConfigError(*dict.fromkeys(self.problems))
        return settings, detection

    def _built(self, model: type[Model], values: Mapping[str, object], section: str) -> Model:
        """The model, from the values that are right; what is wrong is noted.

        Wrong fields are left out for another try, so that a contradiction between the others is
        named in the same breath.
        """
        said: set[Location] = set()
        for _ in range(_MAX_TRIES):
            try:
                return model.model_validate(values, strict=True)
            except ValidationError as error:
                found = problems_of(error, model, section, _homes())
                self._take([each for each in found if each[0] not in said], section)
                # What was left out and has to be there: its section goes with it.
                wrong = [place[:-1] if place in said else place for place, _ in found]
                said |= {place for place, _ in found}
                values = _without(values, wrong)
        return model()

    def _take(self, found: Sequence[tuple[Location, Problem]], section: str) -> None:
        for location, problem in found:
            self.problems.append(problem._replace(source=self._place((section, *location))))


def _without(values: Mapping[str, object], wrong: Sequence[Location]) -> dict[str, object]:
    """The values without what stands at these locations."""
    kept: dict[str, object] = {}
    for name, value in values.items():
        below = [location[1:] for location in wrong if location[:1] == (name,)]
        if () in below:
            continue
        # A list is taken whole: its other entries would move. So is a section in which something is
        # wrong that it does not say: it would be wrong again.
        if below and (
            not isinstance(value, dict) or any(len(w) == 1 and w[0] not in value for w in below)
        ):
            continue
        kept[name] = _without(value, below) if below and isinstance(value, dict) else value
    return kept


def _copied(section: Mapping[str, object]) -> dict[str, object]:
    return {
        name: dict(value) if isinstance(value, dict) else value for name, value in section.items()
    }


def _homes() -> dict[str, str]:
    """Under which path a field's name belongs, where only one section has it."""
    found: dict[str, str] = {}
    several: set[str] = set()
    for path, name in sections(ConfigFile):
        if path and found.setdefault(name, dotted(path)) != dotted(path):
            several.add(name)
    return {name: path for name, path in found.items() if name not in several}


def _option(name: str) -> str:
    """The command line's word for a setting."""
    section, _, inner = name.partition(".")
    if section == "topics":
        return inner.replace("_", "-") + "-topic"
    return f"kafka {inner}" if section == "kafka" else name.replace("_", "-")


def _parsed(location: Location, text: str) -> object:
    """A variable's text as the type of its field; as it is where it does not fit (said later)."""
    if len(location) > 1:
        return text
    kind = plain_type(Settings.model_fields[str(location[0])].annotation)
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    try:
        if kind is int and len(text) <= 30:
            return int(text)
        if kind is float:
            return float(text)
    except ValueError:
        return text
    return text
