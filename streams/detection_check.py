"""What no single field of the detection config shows: names that mean nothing, contradictions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.config import DetectionConfig, DetectorsConfig, ModelConfig, SignalConfig
from schemas.signal_names import JOINT, JOINT_MISSING, LATENCY, QUALITY, of_feature
from streams.config_errors import Location, Problem, did_you_mean, dotted, one_of

_ALONE: Final = ("score", "prediction", LATENCY, *JOINT, *QUALITY)
_PREFIXES: Final = ("feature", "missing", "class")
_FORMS: Final = (
    "`feature:NAME`, `missing:NAME`, `class:VALUE`, `score`, `prediction`, `joint:residual`, "
    "`joint:mmd`, `joint:missing`, `latency` or `quality:NAME`"
)

Found = tuple[Location, Problem]


def signal_problem(name: str) -> tuple[str, str]:
    """What is wrong with a signal's name, and the remedy; ("", "") where it is well-formed."""
    prefix, colon, rest = name.partition(":")
    if name in _ALONE or (prefix in _PREFIXES and rest):
        return "", ""
    if prefix in _PREFIXES:
        return "is not a signal's name", f"say which: `{prefix}:NAME`"
    if prefix == "joint":
        return "is not a signal's name", f"those are {one_of(JOINT)}"
    if prefix == "quality":
        return "is not a signal's name", f"those are {one_of(QUALITY)}"
    if colon and rest:
        near = did_you_mean(prefix, _PREFIXES)
        remedy = near.replace("`?", f":{rest}`?") if near else f"signals are {_FORMS}"
        return "is not a signal's name", remedy
    near = did_you_mean(name, _ALONE)
    return "is not a signal's name", near or f"for a feature write `feature:{name}`"


def check_detection(config: DetectionConfig) -> list[Found]:
    """Every contradiction in a detection config that is well-formed, with its location."""
    return [
        (location, Problem(dotted(("detection", *location)), text, remedy))
        for location, text, remedy in _problems(config)
    ]


def _problems(config: DetectionConfig) -> Iterator[tuple[Location, str, str]]:
    if config.models == "listed" and not config.model:
        text = "found 'listed', and `model` names none: every event would be refused"
        yield ("models",), text, "name the models under `model`, or say `learned`"
    n_models, bounds = len(config.model), config.bounds
    if n_models > bounds.max_models:
        text = f"found {bounds.max_models}, and `model` names {n_models}"
        yield ("bounds", "max_models"), text, "raise it"
    n_wanted = 0
    for model_id, model in config.model.items():
        if not model_id:
            yield ("model", ""), "is not a model's name", "give its `model_id`"
        yield from _model_problems(config, model_id, model)
        n_wanted += sum(signal.monitor for signal in model.signals.values())
    if n_wanted > bounds.max_lanes:
        text = f"found {bounds.max_lanes}, and `model` names {n_wanted} monitored signals"
        yield ("bounds", "max_lanes"), text, "raise it"


def _model_problems(
    config: DetectionConfig, model_id: str, model: ModelConfig
) -> Iterator[tuple[Location, str, str]]:
    here: Location = ("model", model_id, "signals")
    for name, signal in model.signals.items():
        text, remedy = signal_problem(name)
        if text:
            yield (*here, name), text, remedy
        yield from (
            ((*here, name, *where), text, remedy)
            for where, text, remedy in _signal(config, name, signal)
        )
    bounds = config.bounds
    for prefix, limit, bound in (
        ("feature:", bounds.max_features, "max_features"),
        ("class:", bounds.max_classes, "max_classes"),
    ):
        # The categories of a feature are named behind it.
        n_named = len({_owner(n) for n in model.signals if n.startswith(prefix)})
        if n_named > limit:
            text = f"names {n_named} signals `{prefix}...`, and `bounds.{bound}` is {limit}"
            yield here, text, "raise the bound"


def _owner(signal: str) -> str:
    """The signal of which this one is a part: a category is one of its feature."""
    return of_feature(signal)[0] if signal.startswith("feature:") else signal


def _signal(
    config: DetectionConfig, name: str, signal: SignalConfig
) -> Iterator[tuple[Location, str, str]]:
    known = DetectorsConfig.model_fields
    detectors = signal.detectors
    if detectors is not None and not signal.monitor:
        yield ("detectors",), "`monitor: false` leaves nothing for detectors", "take one away"
    elif detectors == []:
        yield ("detectors",), "names no detector", "say `monitor: false`, or leave it out for all"
    for i, detector in enumerate(detectors or ()):
        if detector not in known:
            remedy = did_you_mean(detector, known) or f"known: {one_of(known)}"
            yield ("detectors", i), f"found {detector!r}, which is no detector", remedy
        elif not getattr(config.detectors, detector).enabled:
            text = f"found {detector!r}, which is switched off"
            yield ("detectors", i), text, f"enable it under `detection.detectors.{detector}`"
        elif detector in (detectors or ())[:i]:
            yield ("detectors", i), f"found {detector!r} twice", "take one away"
    is_named = not signal_problem(name)[0]
    has_kind = name == "prediction" or name.startswith("feature:")
    if signal.kind is not None and is_named and not has_kind:
        text = "only a feature and `prediction` have a kind"
        yield ("kind",), text, "take it away"
    if signal.rhythm in ("day", "week") and is_named and (text := _no_rhythm(name, signal)):
        yield ("rhythm",), text, "take it away"


def _no_rhythm(name: str, signal: SignalConfig) -> str:
    """Why no rhythm is ever taken out of this signal; "" where one may be."""
    is_category = name.startswith("feature:") and of_feature(name)[1] is not None
    if is_category or name == JOINT_MISSING or name.startswith(("missing:", "class:", "quality:")):
        return f"found {signal.rhythm!r}, and a share has no rhythm: only numbers have"
    if signal.kind == "category":
        return f"found {signal.rhythm!r}, and `kind: category` makes shares of it, without rhythm"
    return ""
