"""What is wrong with a configuration: every field by its path, what it holds, what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Location = tuple[str | int, ...]
"""Where a value stands: the keys and list indices that lead to it."""

_PLAIN_KEY = re.compile(r"[^.\s\"]+")
_MASKED = frozenset({
    "redis_url", "source_key", "checkpoint_key", "kafka", "url", "secrets", "bearer_token",
})  # fmt: skip


class Problem(NamedTuple):
    """One thing that is wrong: where, what, and what to do about it.

    `source` says where the value came from (`driftsentry.yaml:12`, a variable, an option).
    """

    path: str
    text: str
    remedy: str = ""
    source: str = ""

    def __str__(self) -> str:
        place = f"{self.source}: " if self.source else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        path = f"{self.path}: " if self.path else ""
        return place + path + self.text + remedy


class ConfigError(Exception):
    """The configuration cannot be used; `problems` names every field that is wrong."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def dotted(location: Iterable[str | int]) -> str:
    """The path of a field, such as `detection.model."fraud.v2".signals.score`."""
    keys = [str(key) for key in location]
    return ".".join(key if _PLAIN_KEY.fullmatch(key) else f'"{key}"' for key in keys)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The remedy for a mistyped name: the nearest known one, or "" where none is near."""
    known = list(known)
    by_shape = {other.lower().replace("-", "_"): other for other in known}
    shape = name.lower().replace("-", "_")
    near = difflib.get_close_matches(shape, by_shape, n=1, cutoff=0.6)
    return f"did you mean `{by_shape[near[0]]}`?" if near else ""


def remedy_for_name(name: str, known: Iterable[str], homes: Mapping[str, str]) -> str:
    """What to do about a name that is not known here; `homes` says where some names belong."""
    known = list(known)
    if name in homes:
        return f"it belongs under `{homes[name]}`"
    return did_you_mean(name, known) or f"known here: {one_of(known)}"


def one_of(names: Iterable[str]) -> str:
    """A sentence part that lists names."""
    return ", ".join(f"`{name}`" for name in names)


def plain_type(annotation: object) -> object:
    """The type beneath `Annotated` and `| None`; a union of several types stays as it is."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in {Union, UnionType}:
        inner = [arg for arg in get_args(annotation) if arg is not type(None)]
        return plain_type(inner[0]) if len(inner) == 1 else annotation
    return annotation


def model_at(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel] | None:
    """The model whose fields stand at this location, or None where there is none."""
    annotation: object = model
    for key in location:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(key))
            annotation = plain_type(field.annotation) if field else None
        elif get_origin(annotation) is dict:
            annotation = plain_type(get_args(annotation)[1])
        else:
            return None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def sections(model: type[BaseModel], path: Location = ()) -> Iterator[tuple[Location, str]]:
    """Every field of a model and of the models in it, as (location of its section, name)."""
    for name, field in model.model_fields.items():
        yield path, name
        inner = plain_type(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from sections(inner, (*path, name))


def problems_of(
    error: ValidationError, model: type[BaseModel], prefix: str, homes: Mapping[str, str]
) -> list[tuple[Location, Problem]]:
    """Every problem of a failed validation, with its location below `prefix`.

    `homes` says under which path a field name belongs that stands in the wrong section. The value
    found is repeated only where it cannot be a secret.
    """
    found: dict[Location, Problem] = {}
    for detail in error.errors(include_url=False):
        listed = detail.get("ctx", {}).get("problems")
        if listed is not None:
            for location, text, remedy in listed:
                found[location] = Problem(dotted((prefix, *location)), text, remedy)
            continue
        location = detail["loc"]
        if prefix == "worker" and location[:1] == ("kafka",):
            location = location[:2]
        found.setdefault(location, _problem(detail, location, model, prefix, homes))
    return list(found.items())


def _problem(
    detail: ErrorDetails,
    location: Location,
    model: type[BaseModel],
    prefix: str,
    homes: Mapping[str, str],
) -> Problem:
    path = dotted((prefix, *location))
    masked = prefix == "worker" and not _MASKED.isdisjoint(location)
    if detail["type"] == "extra_forbidden":
        name = str(location[-1])
        parent = model_at(model, location[:-1])
        known = list(parent.model_fields) if parent is not None else []
        return Problem(path, "unknown field", remedy_for_name(name, known, homes))
    if detail["type"] == "missing":
        return Problem(path, "is missing")
    if location[:1] == ("kafka",) and len(location) > 1:
        text = f"found {_kind(detail['input'])}, should be a string, a number, true or false"
        return Problem(path, text)
    value = detail["input"]
    shown = _kind(value) if masked else _shown(value)
    text = f"found {shown}, {detail['msg'].removeprefix('Input ').removeprefix('Value error, ')}"
    remedy = ""
    if detail["type"] == "literal_error" and isinstance(value, str):
        expected = detail.get("ctx", {}).get("expected", "")
        remedy = did_you_mean(value, re.findall(r"'([^']*)'", expected))
    return Problem(path, text, remedy)


def _kind(value: object) -> str:
    """What kind of value this is, in YAML's words."""
    if value is None:
        return "nothing"
    kinds: Sequence[tuple[type[Any], str]] = (
        (bool, "true or false"),
        (int, "an integer"),
        (float, "a number"),
        (str, "a string"),
        (dict, "a mapping"),
        (list, "a list"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), "another value")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | str) and len(text := repr(value)) <= 60:
        return text
    return _kind(value)
