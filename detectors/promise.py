"""Whether a signal is believed to keep its budget, by its reference, and how long one would do.

The rule is for references only: nothing that came after counts, so that a change never excuses
itself. docs/detectors.md says where its numbers come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from math import ceil, sqrt
from typing import Final, NamedTuple

import numpy as np

from detectors.drift.ranks import Frequencies, Indicator, Ranks, rank_variance
from detectors.drift.rhythm import ENOUGH_PERIODS, Rhythm
from detectors.learning import MIN_ROWS

INDEPENDENT_ROWS: Final = 2_000
"""Of a signal whose rows do not depend on each other: the shortest reference at which the promise
was measured to hold at 1e5 and 1e7."""
CORRELATED_LEAST: Final = 400
"""Of one whose rows do: with fewer it was seen to give many times the alarms it should."""
CORRELATED_ROWS: Final = 20_000
"""Likewise, where it was measured to hold."""
STRONGEST: Final = 30.0
"""The variance factor up to which it was measured: of an autoregression of 0.9 it is 19, and
estimates of it come out up to 1.6 times as high. Beyond, rows are needed in proportion."""
LEAST_OCCURRENCES: Final = 20
"""With fewer of them nobody knows whether what is rare comes in bursts."""
_ERRORS: Final = 3.0
"""The estimate adds one standard error; an independent signal rarely comes two above that."""


class Promise(StrEnum):
    """What is believed of a signal's budget."""

    KEPT = "kept"
    PROVISIONAL = "provisional"
    """It may give a few times as many false alarms as stated."""
    NOT_KEPT = "not kept"
    """It may give very many more, or it is not watched within a budget at all."""


class Reason(StrEnum):
    """What decides on the length of reference that a signal needs."""

    INDEPENDENT = "independent"
    CORRELATED = "correlated"
    RARE = "rare"
    RHYTHM = "rhythm"
    """It has a daily or weekly one, and the reference covers few periods of it."""
    NO_ROWS = "no rows"
    """Fewer than 20 observations, or none that were kept for a detector with a budget."""


class Verdict(NamedTuple):
    """Of one signal; rows are observations of it."""

    promise: Promise
    reason: Reason
    rows: int
    """Of its reference."""
    least: int
    """With fewer it is not kept."""
    enough: int
    """With as many it is kept."""
    variance: float
    """The long-run variance of its rows over their variance: 1 where they are independent."""


def verdict_of(ranks: Ranks | Indicator | Frequencies | None, block: int = 1) -> Verdict:
    """What is believed of the signal with this reference, observed once in so many rows.

    How many rows are enough was measured in rows of the model for such a signal, too.
    """
    if ranks is None:
        return Verdict(Promise.NOT_KEPT, Reason.NO_ROWS, 0, MIN_ROWS, INDEPENDENT_ROWS, 1.0)
    n, variance = reference_rows(ranks), variance_factor(ranks)
    rows = n * block
    reason, least, enough = Reason.INDEPENDENT, MIN_ROWS, INDEPENDENT_ROWS
    if variance > independent_limit(n):
        scale = max(1.0, variance / STRONGEST)
        reason = Reason.CORRELATED
        least, enough = ceil(CORRELATED_LEAST * scale), ceil(CORRELATED_ROWS * scale)
    if isinstance(ranks, Indicator):
        # What never occurred has no frequency to scale by; its first burst is a change.
        n_rare = min(ranks.ones, ranks.n - ranks.ones)
        wanted = ceil(LEAST_OCCURRENCES * rows / n_rare) if n_rare else 0
        if 0 < n_rare < LEAST_OCCURRENCES and wanted > enough:
            reason, enough = Reason.RARE, wanted
    elif isinstance(ranks, Ranks) and ranks.rhythm is not None:
        wanted = ceil(ENOUGH_PERIODS * rows / ranks.rhythm.periods)
        if ranks.rhythm.periods < ENOUGH_PERIODS and wanted > enough:
            reason, enough = Reason.RHYTHM, wanted
    promise = Promise.KEPT
    if rows < enough:
        promise = Promise.NOT_KEPT if rows < least else Promise.PROVISIONAL
    return Verdict(promise, reason, rows, least, enough, variance)


def reference_rows(ranks: Ranks | Indicator | Frequencies) -> int:
    """How many observations its reference had; the first ones of an autoregression count too."""
    if not isinstance(ranks, Ranks):
        return ranks.n
    return ranks.n + int(np.max(np.flatnonzero(ranks.coefficient), initial=-1)) + 1


def variance_factor(ranks: Ranks | Indicator | Frequencies) -> float:
    """The long-run variance of the signal's rows over their variance, tails left out."""
    if not isinstance(ranks, Ranks):
        return ranks.variance
    if ranks.rhythm is not None:
        # That the rhythm was estimated says nothing of the rows.
        location, spread = ranks.variance
        ranks = replace(ranks, variance=(location / ranks.rhythm.inflation, spread))
    return rank_variance(ranks)


def periods_covered(rhythms: Iterable[Rhythm | None]) -> dict[str, int]:
    """Of each of these rhythms how many periods the shortest reference covers, by `day`, `week`."""
    found: dict[str, int] = {}
    for rhythm in rhythms:
        if rhythm is not None:
            found[rhythm.name] = min(found.get(rhythm.name, rhythm.periods), rhythm.periods)
    return dict(sorted(found.items()))


def too_few_periods(covered: Mapping[str, int]) -> list[str]:
    """Those of them that make a reference provisional, in words: `4 days`."""
    return [f"{n} {name}s" for name, n in covered.items() if n < ENOUGH_PERIODS]


def independent_limit(rows: int) -> float:
    """The variance factor that so many independent rows are hardly ever estimated to have."""
    first = min(_ERRORS / sqrt(rows), 0.9)
    return (1.0 + first) / (1.0 - first)
