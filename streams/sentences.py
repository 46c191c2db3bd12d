"""Alerts as sentences that a person understands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.alerts import AlertData, MovedSignal
from schemas.findings import Notice
from schemas.signal_names import (
    JOINT_MISSING,
    JOINT_MMD,
    JOINT_RESIDUAL,
    LATENCY,
    NEW_CATEGORY,
    OTHER_CLASS,
    QUALITY_DUPLICATE,
    QUALITY_FUTURE,
    QUALITY_LATE,
    QUALITY_RANGE,
    QUALITY_STUCK,
    QUALITY_TYPE,
    REPRESENTATIVENESS,
    of_feature,
    plain,
    plain_value,
)
from streams.evidence import MAX_COARSE_EFFECT
from streams.label_sentences import (
    advice,
    distrust,
    label_subject,
    of_estimate,
    worst_groups,
)
from streams.units import FACTORS, unit_factor
from streams.vanished import vanished_categories

N_NAMED: Final = 3
"""Of the signals that moved with the first, so many are named."""
_DETECTOR_NAMES = {
    "adwin": "ADWIN",
    "focus": "FOCuS",
    "page_hinkley": "Page-Hinkley",
    "kswin": "KSWIN",
    "windows": "the comparison of windows",
    "trend": "the test for a trend",
    "ddm": "DDM",
    "eddm": "EDDM",
    "hddm_a": "HDDM-A",
    "hddm_w": "HDDM-W",
    "fhddm": "FHDDM",
}


_JOINT: Final = {
    JOINT_RESIDUAL: "the distance of events from the correlation of the numeric features",
    JOINT_MMD: "the distance of the products of numeric features, in pairs, from the reference",
    JOINT_MISSING: "the share of events with an unusual combination of missing features",
}
"""Signals of all features together; of two of them 1 is what the reference had on average."""


_OF_EVENTS: Final = {
    LATENCY: "the model's latency",
    QUALITY_LATE: "the share of late events",
    QUALITY_FUTURE: "the share of events from the future",
    QUALITY_DUPLICATE: "the share of events that were sent before",
    QUALITY_RANGE: "the share of events with a number far beyond the reference",
    QUALITY_STUCK: "the share of events that repeat a number that hardly ever does",
    QUALITY_TYPE: "the share of events with a value of another type",
    REPRESENTATIVENESS: "the surprise of events by what the reference held, over all features",
}
"""Signals of single events, whatever the features are called."""
_LOOK_AT: Final = {
    LATENCY: "how loaded the model's servers are, and at what is new in them",
    QUALITY_LATE: "queues and retries before the topic, and at the clocks of who sets `ts`",
    QUALITY_FUTURE: "the clocks and time zones of who sets `ts`",
    QUALITY_DUPLICATE: "retries and replays of who sends the events",
    QUALITY_RANGE: "units, overflows, and numbers that stand for a missing value, such as -999",
    QUALITY_STUCK: "caches, joins and sensors that give their last value again",
    QUALITY_TYPE: "what writes the features: numbers as text, or another schema",
}
"""Where the cause of a rise is found, most often."""


def detector_name(name: str) -> str:
    """The name people know a detector by."""
    return _DETECTOR_NAMES.get(name, name)


def number(x: float) -> str:
    """Four significant digits: enough to see a move, short enough to read.

    A mean of zeros misses zero by rounding, and is shown as zero.
    """
    return f"{x if abs(x) >= 1e-9 else 0.0:.4g}"


def percent(share: float) -> str:
    """A share as a percentage; a mean over a window may miss 0 and 1 by rounding."""
    return f"{100 * min(share, 1.0) if share >= 1e-9 else 0.0:.3g} %"


def model_name(model_id: str, model_version: str, shard: int) -> str:
    """The model as a reader knows it; a sharded one says that one shard was seen."""
    name = f"{model_id} {model_version}"
    return name if shard < 0 else f"{name} (shard {shard} alone)"


def subject(moved: MovedSignal) -> str:
    """What moved, in words."""
    if moved.signal in _JOINT:
        words = _JOINT[moved.signal]
        if moved.unit == "departures":
            # One that is always the same in the reference is one of features that are one.
            return "the share of events that depart from the numeric features' one relation"
        return _aspect(moved, words)
    of_labels = label_subject(moved)
    if of_labels is not None:
        return _aspect(moved, of_labels)
    if moved.signal in _OF_EVENTS:
        return _aspect(moved, _OF_EVENTS[moved.signal])
    kind, _, name = moved.signal.partition(":")
    feature, category = of_feature(name)
    words = {
        "feature": f"feature {_quoted(plain(feature))}",
        "missing": f"the share of missing {_quoted(name)}",
        "score": "the score",
        "prediction": "the prediction",
        "class": "the share of other classes"
        if name == OTHER_CLASS
        else f"the share of class {_legible(name)}",
    }[kind]
    if kind == "feature" and category is not None:
        own = _quoted(plain(feature))
        is_new = category == NEW_CATEGORY
        what = f"new categories of {own}" if is_new else f"{own}={_legible(category)}"
        return f"the share of {what}"
    if moved.unit == "departures":
        what = _quoted(plain(feature)) if kind == "feature" else kind
        return f"the share of events whose {what} departs from its constant"
    return _aspect(moved, words)


def _legible(written: str) -> str:
    """A category or class as it is read: in quotes where it would not be seen."""
    return _quoted(plain_value(written))


def _quoted(name: str) -> str:
    """A name from outside, in quotes where it would not be seen."""
    return name if name.strip() == name and name else f'"{name}"'


def _aspect(moved: MovedSignal, words: str) -> str:
    """What of a signal with these words moved."""
    of = {"shape": "the distribution of ", "spread": "the spread of "}.get(moved.unit, "")
    return of + words


def is_share(moved: MovedSignal) -> bool:
    """Whether its means are to be told as percentages."""
    return moved.unit in {"share", "departures"}


def move(moved: MovedSignal) -> str:
    """Which way a signal went, from what to what, and how far from its reference it came."""
    if moved.unit == "shape":
        return f"changed ({moved.effect:.2f} sd from its reference{_came_and_went(moved)})"
    show = percent if is_share(moved) else number
    start = "" if moved.before is None else f" from {show(moved.before)}"
    end = "" if moved.after is None else f" to {show(moved.after)}"
    return f"{moved.direction}{start}{end} ({size_of_move(moved)} from its reference)"


def size_of_move(moved: MovedSignal) -> str:
    """How far from its reference it came; a rounded number is told as one."""
    if moved.after is not None or moved.direction == "changed":
        return f"{moved.effect:+.2f} sd"
    if not moved.effect:
        return "less than half a sd"
    or_more = " or more" if abs(moved.effect) >= MAX_COARSE_EFFECT else ""
    return f"some {moved.effect:+.0f} sd{or_more}"


def _came_and_went(moved: MovedSignal) -> str:
    """Of a category: how much of it is new, and what is no longer there."""
    told = moved.distances
    if told is None:
        return ""
    words = f"; {percent(told.new)} new" if told.new else ""
    if told.vanished:
        names = list(map(_quoted, told.vanished[:N_NAMED]))
        n_more = len(told.vanished) - len(names)
        words += f"; none of {_listed([*names, f'{n_more} more'] if n_more else names)}"
    return words


def move_of_named(moved: MovedSignal) -> str:
    """As `move`, after the signal's name: says where it is not its mean that moved."""
    of = {
        "spread": "its spread ",
        "shape": "its distribution ",
        "departures": "the share that departs from its constant ",
    }.get(moved.unit, "")
    return of + move(moved)


def drift_sentence(alert: AlertData, place: str = "offset", *, name_model: bool = True) -> str:
    """What moved, from what to what, by how much, since when, and what moved with it.

    `place` is what the alert's offsets are to the reader.
    """
    said = _change_sentence(alert, place, name_model=name_model)
    said += _look_at(alert)
    if alert.training_serving_skew and alert.resolution is None:
        said += (
            " It has differed since its reference was set: training-serving skew; look at how the "
            "data of the reference were made."
        )
    if alert.planned is not None:
        said += f" It was expected: {alert.planned.rstrip('.')}."
    if alert.acknowledged_by is not None:
        said += f" Known to {alert.acknowledged_by.rstrip('.')}."
    return said


def _look_at(alert: AlertData) -> str:
    """Where to look, for the first signal that says what broke; "" where none did.

    And for categories that are gone, whatever else is said. What broke and is whole again is still
    the cause of what has not come back, where nothing else is.
    """
    if alert.resolution is not None:
        return ""
    away = [each for each in alert.signals if _is_away(each)]
    gone = vanished_categories(away)
    where = next((words for each in away if (words := _unit(each))), "")
    if not where:
        rose = [each for each in away if each.direction == "rose"]
        found = next((each for each in rose if each.signal in _LOOK_AT), None)
        where = "" if found is None else _look_at_broken(found)
        if not (where or gone):
            # What is so of all features together says least of where the cause is.
            where = _look_at_first(alert.signals[0]) or _look_at_unusual(rose)
        if not (where or gone):
            broke = (each for each in alert.signals if each.direction == "rose")
            found = next((each for each in broke if each.signal in _LOOK_AT), None)
            where = "" if found is None else _look_at_broken(found)
    return "".join(f" Look at {words}." for words in (where, gone) if words)


def _look_at_broken(moved: MovedSignal) -> str:
    """Where the cause is found of what is said by the name of what broke."""
    where = _LOOK_AT[moved.signal]
    if moved.named_feature is None:
        return where
    return f"{_quoted(plain(moved.named_feature))} first: {where}"


def _look_at_unusual(rose: Sequence[MovedSignal]) -> str:
    """What to look at where events are less typical of the reference; "" where they are not."""
    moved = next((each for each in rose if each.signal == REPRESENTATIVENESS), None)
    if moved is None:
        return ""
    named = moved.named_feature
    most = "" if named is None else f", {_quoted(plain(named))} most"
    return (
        f"the features that are unusual by the reference{most}: other clients, something new "
        "before all of them, or a reference that does not stand for the stream"
    )


def _unit(moved: MovedSignal) -> str:
    """That the unit of a feature may have changed; "" where it has not moved so."""
    factor = unit_factor(moved) if _is_away(moved) else ""
    if _is_away(moved) and moved.part_factor in FACTORS:
        words = FACTORS[moved.part_factor]
        factor = f"some of its values are larger by a factor of {words}"
    if not factor:
        return ""
    feature, _ = of_feature(moved.signal.removeprefix("feature:"))
    return f"the unit of {_quoted(plain(feature))}: {factor}"


def _look_at_first(moved: MovedSignal) -> str:
    """Where the cause is found of what is said by the name of a feature or class; "" elsewhere."""
    kind, _, name = moved.signal.partition(":")
    feature, category = of_feature(name)
    if kind == "missing" and moved.direction == "rose":
        return f"joins and defaults before the model, and at who sends {_quoted(name)}"
    if kind == "feature" and category == NEW_CATEGORY and moved.direction == "rose":
        return f"what writes {_quoted(plain(feature))}: it has values that the reference had not"
    if moved.signal == JOINT_MISSING and moved.direction == "rose":
        return "joins and services that give several features at once: they are missing together"
    if kind == "feature" and moved.unit == "departures":
        return f"what writes {_quoted(plain(feature))}: it was constant in the reference"
    if kind == "feature" and moved.distances is not None and moved.distances.vanished:
        return f"what writes {_quoted(plain(feature))}: values of the reference are gone"
    if kind == "class":
        return "the balance of classes: other traffic, or a model that falls back on one class"
    return ""


def _is_away(moved: MovedSignal) -> bool:
    return moved.standing in {"moved", "returning"}


def _change_sentence(alert: AlertData, place: str, *, name_model: bool) -> str:
    shard = -1 if alert.shard is None else alert.shard
    model = f"{model_name(alert.model_id, alert.model_version, shard)}: " if name_model else ""

    def at(offset: int) -> str:
        # Rows are read as numbers, offsets are typed into tools.
        return f"{place} {offset}" if place == "offset" else f"{place} {offset:,}"

    here, since = at(alert.trigger_offset), at(alert.change_offset)
    if alert.resolution == "returned":
        # Others may have moved on, to a later alert.
        first, *others = [each for each in alert.signals if each.standing == "returned"]
        n_others = max(alert.n_signals - len(alert.signals), 0) + len(others)
        along = _along(others, n_others)
        with_it = f", and so {'is' if n_others == 1 else 'are'} {along}" if along else ""
        # The mean of a few blocks is not known to a tenth of a standard deviation.
        where = "at" if first.signal == JOINT_MMD else "within 0.1 sd of"
        return (
            f"{model}{subject(first)} is back {where} its reference, found at {here}"
            f"{with_it}; it had moved since about {since}."
        )
    first, *others = alert.signals
    if alert.resolution is not None:
        why = {
            "superseded": f"was followed by another one of the same signals, found at {here}",
            "forgotten": f"is no longer followed, as of {here}",
            "new_reference": f"is over at {here}: a new reference was set there",
        }[alert.resolution]
        along = _along(others, alert.n_signals - 1)
        with_it = f" and of {along}" if along else ""
        return f"{model}the change of {subject(first)}{with_it} since about {since} {why}."
    moved = [each for each in others if each.standing == "moved"]
    returned = [each for each in others if each.standing in {"returning", "returned"}]
    along = _along(moved, max(alert.n_signals - len(alert.signals), 0) + len(moved))
    with_it = f"; with it moved {along}" if along else ""
    back = _along(returned, len(returned))
    with_it += f"; back, or coming back, by now: {back}" if back else ""
    if first.standing == "returning":
        with_it = f"; it is coming back, seen at {here}{with_it}"
    found = _listed(list(map(detector_name, first.detectors)))
    away = [each for each in alert.signals if _is_away(each)]
    errors = next((each for each in away if each.worst_groups), None)
    worst = "" if errors is None else worst_groups(errors)
    # Beside what they are about.
    with_it = f"{worst}{with_it}" if errors is first else f"{with_it}{worst}"
    return (
        f"{model}{subject(first)} {move(first)} since about {since}, found by {found} at "
        f"{at(first.found_offset)}{with_it}."
        f"{of_estimate(away)}{advice(first)}{distrust(away, first)}"
    )


def _along(others: Sequence[MovedSignal], n_others: int) -> str:
    """The first few of so many signals, and how many more there are."""
    names = [subject(each) for each in others[:N_NAMED]]
    if n_others > len(names):
        names.append(f"{n_others - len(names)} more")
    return _listed(names)


def _listed(names: Sequence[str]) -> str:
    """Names as one reads them out."""
    *most, last = names or [""]
    return f"{', '.join(most)} and {last}" if most else last


_BOUNDS = {
    "max_models": "there are more model versions than {limit}, such as {model}; the longest idle "
    "give way, and while none has been idle for long new ones are not monitored",
    "max_features": "{model} has more than {limit} features; the further ones are not monitored",
    "max_total_features": "all models together have more than {limit} features; further ones of "
    "{model} are not monitored",
    "max_measured_models": "labels have come for more model versions than {limit}; of the further "
    "ones, such as {model}, nothing is measured",
    "max_classes": "{model} predicts more than {limit} classes; the further ones count as other",
    "max_learning_values": "the references being learned keep {limit} values already; that of "
    "{model} keeps none, and no detector with a budget watches its signals",
    "max_lanes": "there are more signals than {limit}; new ones of {model} are not monitored",
}


def bound_sentence(notice: Notice) -> str:
    """Which bound was reached, what is not watched for that, and the remedy."""
    model = model_name(notice.model_id, notice.model_version, notice.shard)
    what = _BOUNDS[notice.bound].format(limit=notice.limit, model=model)
    return f"{what[0].upper()}{what[1:]} (raise bounds.{notice.bound} if this is wanted)."
