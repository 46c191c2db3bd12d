"""Which column of a file is what: good guesses by name and type, and what the options say.

Pure: profiles of the columns go in, a plan and the sentences that explain it come out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from streams.scan_time import TimeUnit, time_unit

ColumnKind = Literal["number", "text", "time", "other"]
Role = Literal[
    "time", "prediction", "score", "label", "event_id", "model_id", "model_version", "source"
]

ROLES: Final[dict[Role, str]] = {
    "time": "--time",
    "prediction": "--prediction",
    "score": "--score",
    "label": "--label",
    "event_id": "--event-id",
    "model_id": "--model-column",
    "model_version": "--version-column",
    "source": "--source",
}
"""What a column may be beside a feature, and the option that names it."""

NOTHING: Final = "none"
"""As the value of such an option: no column is this, whatever its name suggests."""

_NAMES: Final[dict[Role, tuple[str, ...]]] = {
    "time": (
        *("ts", "timestamp", "event_time", "event_timestamp", "event_ts", "time", "datetime"),
        *("date_time", "prediction_time", "prediction_timestamp", "created_at", "date"),
        *("event_date", "day_date"),
    ),
    "prediction": (
        *("prediction", "predictions", "pred", "y_pred", "predicted", "y_hat", "yhat"),
        *("predicted_label", "predicted_class", "prediction_label", "model_prediction"),
        *("model_output", "predicted_value"),
    ),
    "score": (
        *("score", "probability", "proba", "prob", "predicted_probability", "y_score"),
        *("y_proba", "y_prob", "y_pred_proba", "pred_proba", "predicted_proba", "pred_prob"),
        *("prediction_score", "prediction_probability", "model_score", "confidence", "scores"),
    ),
    "label": (
        *("label", "target", "y_true", "actual", "actuals", "ground_truth", "truth"),
        *("true_label", "label_true", "actual_label", "true_class", "class", "outcome"),
    ),
    "event_id": (
        *("event_id", "id", "uuid", "row_id", "request_id", "prediction_id", "record_id"),
        *("transaction_id", "index", "unnamed_0", "", "index_level_0"),
    ),
    "model_id": ("model_id", "model_name"),
    "model_version": ("model_version",),
    # Never guessed: only some commands look at it, to all others it is a feature.
    "source": (),
}
"""In the order in which they are preferred; compared in lower case, other signs as `_`."""

_CALENDAR: Final = frozenset(_NAMES["time"]) | {"year", "yyyy"}
"""A feature of this name would drift for no other reason than that time goes by."""


class ScanError(ValueError):
    """The file cannot be scanned as it is; the message says what to do."""


class Profile(NamedTuple):
    """What is known of a column before the file is read."""

    name: str
    kind: ColumnKind
    sample: Sequence[object]
    """Some of its first values that are not null."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the options say of the columns. A role that is not in `roles` is guessed."""

    roles: Mapping[Role, str] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    """Empty: all columns that are nothing else."""
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Which column is what."""

    roles: Mapping[Role, str]
    guessed: frozenset[Role]
    unit: TimeUnit | None
    """How the time column writes a moment; None without one."""
    features: tuple[str, ...]
    texts: frozenset[str]
    """The features that hold text: only their missing values are watched."""
    left_out: Mapping[str, str]
    """Columns that are not used, and why."""
    only_features: bool = False
    """Whether `features` were named by the user: another column is then none."""
    as_events: bool = False
    """Whether each row is an event of driftsentry's own, and taken as it is."""
    slices: tuple[str, ...] = ()
    """Features whose values are groups, numbers among them."""


def plan_columns(profiles: Sequence[Profile], wishes: Wishes) -> Plan:
    """The plan for columns like these. Raises `ScanError` for a wish that cannot be met."""
    by_name = {profile.name: profile for profile in profiles}
    _require_unique(profile.name for profile in profiles)
    wished = {role: name for role, name in wishes.roles.items() if name != NOTHING}
    for name in (*wished.values(), *wishes.features, *wishes.drop):
        if name not in by_name:
            raise ScanError(f"there is no column `{name}`; the file has {_listed(by_name, 20)}")
    twice = [name for name in wished.values() if list(wished.values()).count(name) > 1]
    if twice:
        raise ScanError(f"the column `{twice[0]}` is named by two options: name it in one")
    roles: dict[Role, str] = {}
    left_out: dict[str, str] = dict.fromkeys(wishes.drop, "--drop")
    taken = {*wished.values(), *wishes.features, *wishes.drop}
    unit: TimeUnit | None = None
    for role in ROLES:
        named = wished.get(role)
        if named is not None:
            _check(role, by_name[named])
            roles[role] = named
        elif role not in wishes.roles:
            guess = _guess(role, [p for p in profiles if p.name not in taken])
            if guess is not None:
                roles[role] = guess
                taken.add(guess)
    if "time" in roles:
        unit = _unit(by_name[roles["time"]])
        if unit is None:
            raise ScanError(
                f"the column `{roles['time']}` holds no time that can be read: give epoch "
                "seconds or milliseconds, or ISO 8601 such as 2026-03-01T12:00:00Z, or name "
                f"another column (--time; `--time {NOTHING}` counts rows)"
            )
    for profile in profiles:
        if profile.kind == "other" and profile.name not in taken:
            left_out[profile.name] = "lists, structures and bytes cannot be watched"
    features = wishes.features or _rest(profiles, roles, left_out, wishes)
    return Plan(
        roles=roles,
        guessed=frozenset(roles.keys() - wished.keys()),
        unit=unit,
        features=tuple(features),
        texts=frozenset(name for name in features if by_name[name].kind in {"text", "time"}),
        left_out=left_out | ({roles["label"]: "the label"} if "label" in roles else {}),
        only_features=bool(wishes.features),
    )


def _rest(
    profiles: Sequence[Profile],
    roles: Mapping[Role, str],
    left_out: dict[str, str],
    wishes: Wishes,
) -> list[str]:
    """The columns that are features because they are nothing else; notes those that are not."""
    features = []
    for profile in profiles:
        if profile.name in roles.values() or profile.name in left_out:
            continue
        name = _plain(profile.name)
        if name in _CALENDAR and wishes.roles.get("time") != NOTHING:
            left_out[profile.name] = "it tells the time, which always moves"
        elif name in _NAMES["event_id"] and "event_id" in roles:
            left_out[profile.name] = "another id"
        else:
            features.append(profile.name)
    return features


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()).strip("_")


def _guess(role: Role, profiles: Sequence[Profile]) -> str | None:
    for wanted in _NAMES[role]:
        for profile in profiles:
            if _plain(profile.name) == wanted and _fits(role, profile):
                return profile.name
    return None


def _unit(profile: Profile) -> TimeUnit | None:
    return "moment" if profile.kind == "time" else time_unit(profile.sample)


def _fits(role: Role, profile: Profile) -> bool:
    if role == "time":
        return _unit(profile) is not None
    if role == "score":
        return profile.kind == "number" and not any(isinstance(v, bool) for v in profile.sample)
    if role in {"prediction", "label", "event_id", "model_id", "model_version", "source"}:
        return profile.kind in {"number", "text"}
    return True


def _check(role: Role, profile: Profile) -> None:
    if role != "time" and not _fits(role, profile):
        need = "numbers" if role == "score" else "numbers or text"
        raise ScanError(
            f"the column `{profile.name}` cannot be the {role.replace('_', ' ')}: that is "
            f"{need}. Name another one with {ROLES[role]}, or `{ROLES[role]} {NOTHING}`"
        )


def _require_unique(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ScanError(
                f"two columns have the name `{name}`: rename one of them in the file, so that "
                "it is clear which is meant"
            )
        seen.add(name)


def _listed(names: Iterable[str], most: int) -> str:
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(map(_quoted, every[:most])) + more


def _quoted(name: str) -> str:
    """The name of a column as one reads it."""
    return f"`{name}`" if name.strip() else "the column without a name"


def plan_lines(plan: Plan, model: str, version: str, *, label_use: str = "left out") -> list[str]:
    """What was decided, a line each, with the option that changes it.

    `model` and `version` are those of every row, where no column says; `label_use` says what is
    done with a label.
    """
    lines = []

    def say(what: str, text: str, option: str) -> None:
        lines.append(f"  {what:<11} {text}  ({option})")

    def column(role: Role, otherwise: str) -> None:
        name = plan.roles.get(role)
        note = ", a guess" if role in plan.guessed else ""
        say(role, otherwise if name is None else f"{_quoted(name)}{note}", ROLES[role])

    column("time", "none: the row number stands for it")
    column("prediction", "none")
    column("score", "none")
    if "label" in plan.roles:
        name = plan.roles["label"]
        note = ", a guess" if "label" in plan.guessed else ""
        option = ROLES["label"] + (", --label-delay" if label_use.startswith("compared") else "")
        say("label", f"`{name}`{note}: {label_use}", option)
    if plan.slices:
        say("slices", f"{_listed(plan.slices, 8)}: groups whose errors are told apart", "--slice")
    of_model = plan.roles.get("model_id")
    of_version = plan.roles.get("model_version")
    say(
        "model",
        (f"column `{of_model}`" if of_model else model)
        + (f", version column `{of_version}`" if of_version else f", version {version}"),
        "--model, --model-column, --version, --version-column",
    )
    if "source" in plan.roles:
        say("source", f"column {_quoted(plan.roles['source'])}", "--source")
    n_texts = len(plan.texts)
    texts = f"; {n_texts} of text, watched as categories" if n_texts else ""
    n = len(plan.features)
    say(
        "features",
        f"{n}: {_listed(plan.features, 8)}{texts}" if n else "none",
        "--features, --drop",
    )
    if "event_id" in plan.roles:
        own = _quoted(plan.roles["event_id"])
        note = ", a guess" if "event_id" in plan.guessed else ""
        say("event id", f"{own}{note}: left out of what is watched", ROLES["event_id"])
    others = {name: why for name, why in plan.left_out.items() if name != plan.roles.get("label")}
    for name, why in list(others.items())[:8]:
        say("left out", f"{_quoted(name)}: {why}", "--features" if why != "--drop" else "as asked")
    return lines
