"""Whether a reference represents what came after it: how means of later blocks vary. Pure.

A reference says how much the mean of a block of rows varies by chance: its long-run variance over
the length of the block. Where a signal wanders, or has a rhythm, that the reference is too short to
have seen, neighbouring blocks differ by more. A daily or weekly rhythm that the reference knows is
taken out first, as it is for lanes. Half the mean square of their differences is the
variance of their means; its median is taken for the mean, so that a few changes, which are what
detectors are for, say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from typing import Final, NamedTuple

import numpy as np

from detectors.drift.ranks import Indicator, Ranks
from detectors.kernels.observe import (
    SOURCE_CATEGORY,
    SOURCE_CELL,
    SOURCE_CLASS,
    SOURCE_NEW,
    SOURCE_OTHER,
    SOURCE_SCORE,
)
from detectors.monitor import Monitor
from detectors.promise import LEAST_OCCURRENCES, reference_rows
from detectors.reference import Cohort
from detectors.reference_fit import learn, normal_scores
from detectors.signals import Signal
from schemas.batch import F64, I64, Decoded, ValueKind
from schemas.config import DetectionConfig

SHORTEST: Final = 100
"""Rows of the shortest blocks; each next kind is twice as long."""
MIN_BLOCKS: Final = 32
"""With fewer of a kind their median says too little."""
LIMIT: Final = 20.0
"""Over the square root of the number of blocks: so far above 1 the factor of independent normal
means comes once in 100,000 (32 to 128 blocks, 100,000 simulated)."""
BLOCKS_TO_SEE: Final = 16
"""A reference takes blocks into account of which it has so many (`long_run_variance`)."""
OCCURRENCES: Final = 10
"""Of what is rare in the shortest blocks, on average."""
_MEDIAN: Final = 0.4549364231195727
"""Of the square of a standard normal."""


class Unsteady(NamedTuple):
    """A signal whose later blocks vary more than its reference allows."""

    signal: str
    block: int
    """Rows of the longest blocks that do."""
    factor: float
    """The variance of their means over what the reference allows."""
    rows: int
    """Of the reference."""
    enough: int
    """A reference of so many rows would have seen such blocks."""


def unsteady_signals(monitor: Monitor, events: Decoded, config: DetectionConfig) -> list[Unsteady]:
    """The monitored signals that are, by these later predictions of the model, in their order."""
    if len(events) < SHORTEST * MIN_BLOCKS:
        return []
    learner = learn(events, config)
    found: list[Unsteady] = []
    for cohort in learner.cohorts:
        known = [(s, own) for s in monitor.signals if (own := _own(s, monitor, learner, cohort))]
        if cohort.rows is None or not known:
            continue
        observed = cohort.rows.observations([own for _, own in known], cohort.features)
        times = cohort.rows.column("event_time_ms")
        for (signal, _), z in zip(known, observed, strict=True):
            assert isinstance(signal.ranks, Ranks | Indicator)
            is_there = ~np.isnan(z)
            worst = _longest(signal.ranks, z[is_there], times[is_there])
            if worst is not None:
                block, factor = worst
                rows = reference_rows(signal.ranks)
                enough = max(BLOCKS_TO_SEE * block, 2 * rows)
                found.append(Unsteady(monitor.name(signal), block, factor, rows, enough))
    return found


def _own(signal: Signal, monitor: Monitor, learner: Monitor, cohort: Cohort) -> Signal | None:
    """The signal as it is numbered among these rows; None where they say nothing of it."""
    said_elsewhere = signal.source in (SOURCE_OTHER, SOURCE_NEW, SOURCE_CELL)
    is_derived = signal.is_joint or signal.is_of_event or signal.is_quality or signal.is_outcome
    if signal.lane < 0 or signal.ranks is None or said_elsewhere or is_derived:
        return None
    if signal.is_input:
        number = learner.feature_number.get(monitor.features[signal.index])
        if number is None or number not in cohort.features:
            return None
        category = signal.category
        if signal.source == SOURCE_CATEGORY and signal.expected == ValueKind.STRING:
            name = monitor.categories[signal.index].names[category]
            category = cohort.tallies[cohort.features.index(number)].number.get(name, -1)
        return None if category < 0 else replace(signal, index=number, category=category)
    if signal.source == SOURCE_CLASS:
        number = learner.class_number.get(monitor.classes[signal.index])
        is_there = number is not None and cohort.prediction
        return replace(signal, index=number) if is_there and number is not None else None
    return (
        signal if (cohort.score if signal.source == SOURCE_SCORE else cohort.prediction) else None
    )


def _longest(ranks: Ranks | Indicator, z: F64, times: I64) -> tuple[int, float] | None:
    """The longest blocks whose means vary too much, and how much."""
    shortest = SHORTEST
    if isinstance(ranks, Indicator):
        n_rare = min(ranks.ones, ranks.n - ranks.ones)
        if n_rare < LEAST_OCCURRENCES:
            return None
        share = ranks.ones / ranks.n
        # A few occurrences in each block are no normal means.
        shortest = OCCURRENCES * ranks.n // n_rare
        score = ((z > ranks.cut) - share) / sqrt(share * (1.0 - share))
        allowed = ranks.variance
    else:
        score = normal_scores(ranks, z, times)
        score, allowed = score[~np.isnan(score)], ranks.variance[0]
    found = None
    block = max(SHORTEST, shortest)
    while len(score) // block >= MIN_BLOCKS:
        n_blocks = len(score) // block
        means = score[: n_blocks * block].reshape(n_blocks, block).mean(axis=1)
        factor = block * block_variance(means.tolist()) / allowed
        if factor > 1.0 + LIMIT / sqrt(n_blocks):
            found = block, round(factor, 3)
        block *= 2
    return found


def block_variance(means: Sequence[float]) -> float:
    """The variance of these means, by the median square of the differences of neighbours."""
    return float(np.median(np.diff(means) ** 2)) / (2.0 * _MEDIAN)
