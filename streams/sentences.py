"""Alerts as sentences that a person understands."""

from __future__ import annotations

from schemas.findings import Aspect, Finding, Notice

_DETECTOR_NAMES = {"adwin": "ADWIN", "focus": "FOCuS", "page_hinkley": "Page-Hinkley"}


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


def drift_sentence(
    finding: Finding, before: float | None, after: float | None, effect: float
) -> str:
    """What moved, from what to what, by how much, since when."""
    kind, _, name = finding.signal.partition(":")
    share = kind in {"missing", "class"} or finding.is_share
    subject = {
        "feature": f"feature {name}",
        "missing": f"the share of missing {name}",
        "score": "the score",
        "prediction": "the prediction",
        "class": f"the share of class {name}",
    }[kind]
    if finding.is_departure:
        what = name if kind == "feature" else kind
        subject = f"the share of events whose {what} departs from its constant"
    if finding.aspect is Aspect.SPREAD:
        subject = f"the spread of {subject}"
    show = percent if share else number
    model = model_name(finding.model_id, finding.model_version, finding.shard)
    verb = "rose" if finding.effect > 0 else "fell"
    size = f"{effect:+.2f} reference sd" if effect else "less than half a reference sd"
    start = "" if before is None else f" from {show(before)}"
    end = "" if after is None else f" to {show(after)}"
    return (
        f"{model}: {subject} {verb}{start}{end} ({size}) since about offset "
        f"{finding.change_offset}, found by "
        f"{detector_name(finding.detector)} at offset {finding.offset}."
    )


_BOUNDS = {
    "max_models": "there are more model versions than {limit}, such as {model}; the longest idle "
    "give way, and while none has been idle for long new ones are not monitored",
    "max_features": "{model} has more than {limit} features; the further ones are not monitored",
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
