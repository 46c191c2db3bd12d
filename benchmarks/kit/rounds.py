"""What several rounds come to: the middle of what was measured side by side.

A shared machine may run at two speeds within a minute. So a ratio is taken within a round, where
the two stand next to each other in time, and of the rounds' ratios the middle one is said; not the
best run of each, which may come from different minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, median_low
from typing import Any


def ratio(rates: Sequence[float], to: Sequence[float]) -> float:
    """The median of the ratios of each round; both have one rate for each."""
    return median(one / other for one, other in zip(rates, to, strict=True))


def middle(runs: Sequence[Mapping[str, Any]]) -> int:
    """Which run has the median of the rates, of two the slower."""
    rates = [float(run["events_per_s"]) for run in runs]
    return rates.index(median_low(rates))
