"""A reference in words, for the person who is to judge it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from detectors.drift.joint import Joint
from detectors.drift.rhythm import ENOUGH_PERIODS
from detectors.drift.windows import NAME as WINDOWS
from detectors.monitor import Monitor
from detectors.performance.outputs import even_cuts
from detectors.promise import Promise, periods_covered, too_few_periods, verdict_of
from detectors.reference_document import monitor_of
from detectors.signals import Signal
from schemas.batch import ModelKey
from schemas.reference import ModelOutput, ReferenceDocument
from streams.budget import PROVISIONAL_ROWS
from streams.cloudevents import rfc3339

_MIN_NAME: Final = 6
_N_TOLD: Final = 8
"""Categories of a feature whose frequencies are printed."""
_N_RANGES: Final = 8
"""Of the score, in which its calibration is printed."""
_MOST_CHARS: Final = 60
"""Of a name as it is printed."""


def reference_lines(document: ReferenceDocument) -> Iterator[str]:
    """What it was made of, each signal in a line, and what is to be known of it.

    Raises `BadReferenceError` where the document contradicts itself.
    """
    monitor = _monitor(document)
    rate = document.events_per_week
    yield f"{document.model_id} {document.model_version}  reference {document.digest}"
    yield (
        f"  {document.n_events:,} events from {rfc3339(document.first_ms)} to "
        f"{rfc3339(document.last_ms)}, "
        + (f"{rate:,.0f} a week" if rate else "how many a week their times do not say")
    )
    rows = [_row(monitor, signal) for signal in monitor.signals]
    names = [_shown(row["signal"]) for row in rows]
    width = max([_MIN_NAME, *map(len, names)])
    head = ("rows", "mean", "sd", "long-run")
    yield f"  {'signal':<{width}}" + "".join(f"  {each:>11}" for each in head) + "  promise"
    for name, row in zip(names, rows, strict=True):
        yield (
            f"  {name:<{width}}  {row['rows']:>11,}  {_number(row['mean'])}  "
            f"{_number(row['sd'])}  {row['long_run_variance']:>11.4g}  {_promise(row)}"
        )
    yield from map(_frequencies, _categories(document))
    joint = monitor.joint
    if joint is not None and (len(joint.features) or len(joint.missing)):
        own = _joint(joint)
        yield (
            f"  together: {own['n_numeric']} numeric features, residual along "
            f"{own['n_components']} components, blocks of {own['block_events']} events; "
            f"{own['n_missing']} features missing at times, {own['n_combinations']} combinations "
            "of them usual"
        )
    yield from _output_lines(document)
    yield "  long-run: the variance of means over that of independent rows."
    if why := _provisional(document, monitor):
        yield f"  provisional: it {' and '.join(why)}"


def reference_json(document: ReferenceDocument) -> dict[str, Any]:
    """The same as plain values."""
    monitor = _monitor(document)
    return {
        "model_id": document.model_id,
        "model_version": document.model_version,
        "digest": document.digest,
        "n_events": document.n_events,
        "first_ms": document.first_ms,
        "last_ms": document.last_ms,
        "events_per_week": document.events_per_week or None,
        "is_provisional": bool(_provisional(document, monitor)),
        "n_periods": _n_periods(monitor),
        "joint": None if monitor.joint is None else _joint(monitor.joint),
        "signals": [_row(monitor, signal) for signal in monitor.signals],
        "categories": _categories(document),
        "output": _output(document.output),
    }


def _n_periods(monitor: Monitor) -> dict[str, int]:
    return periods_covered(signal.rhythm for signal in monitor.signals)


def _provisional(document: ReferenceDocument, monitor: Monitor) -> list[str]:
    """Why it is; nothing where it is not."""
    why = []
    if document.n_events < PROVISIONAL_ROWS:
        why.append(f"has fewer than {PROVISIONAL_ROWS:,} events")
    if short := too_few_periods(_n_periods(monitor)):
        why.append(f"covers {' and '.join(short)}, fewer than {ENOUGH_PERIODS} periods")
    return why


def _output_lines(document: ReferenceDocument) -> Iterator[str]:
    """What is predicted, and what the score meant, or why nobody knows."""
    own = document.output
    if own is None or own.score_of == "none":
        return
    what = {
        "positive": "the probability of {positive}",
        "predicted": "the probability of the class predicted",
        "rank": "a number that orders, no probability",
    }[own.score_of].format(positive=_positive(own))
    yield f"  the score is taken for {what}"
    if own.counts is None:
        yield "  calibration of the score: none, since no prediction with a score had a label"
        return
    outcome = "the prediction is right" if own.positive < 0 else f"it is {_positive(own)}"
    yield (
        f"  calibration of the score: how often {outcome}, by {own.n_labelled:,} predictions with "
        "a label"
    )
    for low, high, n, share in _reliability(own):
        yield f"    score {low:.3g} to {high:.3g}: {share:.3g} of {n:,}"


def _positive(own: ModelOutput) -> str | None:
    return None if own.positive < 0 else _shown(own.classes[own.positive])


def _output(own: ModelOutput | None) -> dict[str, Any] | None:
    if own is None:
        return None
    return {
        "score_of": own.score_of,
        "positive": None if own.positive < 0 else own.classes[own.positive],
        "n_labelled": own.n_labelled,
        "bins": [
            {"from": low, "to": high, "rows": n, "share": share}
            for low, high, n, share in _reliability(own)
        ],
    }


def _reliability(own: ModelOutput) -> Iterator[tuple[float, float, int, float]]:
    """Eight ranges of the score that have rows: from, to, rows, the share with the outcome.

    Of a score that is no probability the outer ranges are open.
    """
    if own.counts is None:
        return
    counts = np.array(own.counts, np.int64)
    n_bins = counts.shape[1]
    cuts = own.cuts or even_cuts(n_bins).tolist()
    outer = (-math.inf, math.inf) if own.score_of == "rank" else (0.0, 1.0)
    edges = [outer[0], *cuts, outer[1]]
    step = -(-n_bins // _N_RANGES)
    for first in range(0, n_bins, step):
        last = min(first + step, n_bins)
        without, having = counts[:, first:last].sum(axis=1).tolist()
        if without + having:
            share = having / (without + having)
            yield edges[first], edges[last], without + having, share


def _categories(document: ReferenceDocument) -> list[dict[str, Any]]:
    """The categories of each feature that has any, the most frequent first."""
    return [
        {
            "feature": document.features[each.feature],
            "counts": dict(
                sorted(zip(each.names, each.counts, strict=True), key=lambda own: (-own[1], own[0]))
            ),
            "other": each.n_other,
            "has_more": each.is_full,
        }
        for each in document.categories
    ]


def _frequencies(of: dict[str, Any]) -> str:
    """One feature's in a line."""
    counts: dict[str, int] = of["counts"]
    n = max(sum(counts.values()) + of["other"], 1)
    told = [f"{_shown(name)} {times / n:.3g}" for name, times in counts.items()][:_N_TOLD]
    n_others = len(counts) - len(told)
    more = f"; {n_others:,} more" if n_others else ""
    more += f"; others {of['other'] / n:.3g}" if of["other"] else ""
    full = ", more than are known by name" if of["has_more"] else ""
    return f"  {_shown(of['feature'])} is a category: {', '.join(told)}{more}{full}"


def _shown(name: str) -> str:
    """A name in a line with others: quoted where blanks would hide where it ends, cut if long."""
    if not name or name != name.strip() or ", " in name:
        name = f'"{name}"'
    return name if len(name) <= _MOST_CHARS else f"{name[:_MOST_CHARS]}..."


def _joint(joint: Joint) -> dict[str, int]:
    """The size of what is frozen of the features together."""
    return {
        "n_numeric": len(joint.features),
        "n_components": len(joint.components),
        "block_events": joint.block_events,
        "n_missing": len(joint.missing),
        "n_combinations": len(joint.patterns),
    }


def _monitor(document: ReferenceDocument) -> Monitor:
    return monitor_of(document, ModelKey(document.model_id, document.model_version))


def _row(monitor: Monitor, signal: Signal) -> dict[str, Any]:
    verdict = verdict_of(signal.ranks, monitor.block_of(signal))
    mean, sd = signal.scale.mean, signal.scale.sd
    if signal.is_departure:
        mean, sd = signal.scale.constant, 0.0
    return {
        "signal": monitor.name(signal),
        "detectors": [WINDOWS] if signal.is_cells else None,
        "rows": verdict.rows,
        # A category as a whole is no number.
        "mean": None if signal.is_cells else mean,
        "sd": None if signal.is_cells else sd,
        "long_run_variance": verdict.variance,
        "promise": verdict.promise.value,
        "enough": verdict.enough,
        "rhythm": None if signal.rhythm is None else signal.rhythm.name,
    }


def _number(value: float | None) -> str:
    return f"{'-':>11}" if value is None else f"{value:>11.5g}"


def _promise(row: dict[str, Any]) -> str:
    only = "" if row["detectors"] is None else f"; `{WINDOWS}` alone uses it"
    only += "" if row["rhythm"] is None else f"; without its rhythm of a {row['rhythm']}"
    if row["promise"] == Promise.KEPT:
        return f"kept{only}"
    word = "cannot be kept" if row["promise"] == Promise.NOT_KEPT else "kept only roughly"
    return f"{word}: {row['enough']:,} rows would do{only}"
