"""How a model version treats the groups of a slice: rates with intervals, and what parts them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from detectors.performance.intervals import LEVEL, Measure, mean, proportion, quantile
from detectors.slice_counts import MIN_GROUP, GroupCounts, Rates


@dataclass(frozen=True, slots=True)
class GroupMetrics:
    """Of one group, over its labelled rows in the window; None: it has no such rows."""

    n_rows: int
    accuracy: Measure | None
    selection_rate: Measure | None
    """How often the positive class is predicted; None too where there are not two classes."""
    recall: Measure | None
    false_positive_rate: Measure | None
    mae: Measure | None = None
    """Of a model of numbers, and of no other: the mean absolute error, of two rows or more. None
    counts for more than `MAX_LOSS` parts."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What sets two groups apart: the one with the lowest rate and the one with the highest."""

    lowest: str
    highest: str
    measure: Measure
    """The ratio of the two rates, or their difference; `n` are the rows of both."""


@dataclass(frozen=True, slots=True)
class SliceMetrics:
    """Of one slice. Gaps are of groups with `MIN_GROUP` rows of their kind; None: not two."""

    groups: dict[str, GroupMetrics]
    """By category."""
    selection_ratio: Gap | None
    """The lowest selection rate over the highest."""
    recall_gap: Gap | None
    false_positive_gap: Gap | None


def slice_metrics(
    counts: GroupCounts,
    groups: Mapping[int, str],
    *,
    is_binary: bool,
    loss_unit: float = 1.0,
    level: float = LEVEL,
) -> SliceMetrics:
    """The metrics of these groups, by number. Raises ValueError unless 0 < level < 1.

    Intervals of rates are Wilson's; of a difference of two Newcombe's (Statistics in Medicine
    1998), of a ratio that of Donner and Zou (Statistical Methods in Medical Research 2012), both
    made of Wilson's. They are of two given groups: of many the outermost part by chance, too. Of a
    model of numbers, whose losses are in parts of this unit, there is the mean absolute error and
    nothing else; its interval is the normal one.
    """
    z = quantile(level)
    wrong = counts.errors(is_binary=is_binary)
    found: dict[str, GroupMetrics] = {}
    rates: dict[str, Rates] = {}
    for group, name in groups.items():
        n = int(counts.cells[group].sum())
        if counts.losses is not None:
            own = _mean_loss(counts.losses[group].tolist(), n, z, loss_unit)
            found[name] = GroupMetrics(n, None, None, None, None, own)
            continue
        accuracy = proportion(n - int(wrong[group]), n, z)
        if not is_binary:
            found[name] = GroupMetrics(n, accuracy, None, None, None)
            continue
        rates[name] = counts.rates(group)
        found[name] = GroupMetrics(n, accuracy, *(proportion(*each, z) for each in rates[name]))
    return SliceMetrics(
        found,
        _gap({name: own.selected for name, own in rates.items()}, z, is_ratio=True),
        _gap({name: own.recalled for name, own in rates.items()}, z, is_ratio=False),
        _gap({name: own.false_alarms for name, own in rates.items()}, z, is_ratio=False),
    )


def _mean_loss(sums: list[int], n: int, z: float, unit: float) -> Measure | None:
    """The mean absolute error of n rows, from its sums in parts of this unit."""
    own = mean(float(sums[0]), float(sums[1]), n, z)
    if own is None:
        return None
    # Each error was rounded to a whole part.
    return Measure(own.value * unit, own.low * unit, own.high * unit, n, unit / 2.0)


def _gap(rates: Mapping[str, tuple[int, int]], z: float, *, is_ratio: bool) -> Gap | None:
    there = {name: proportion(k, n, z) for name, (k, n) in rates.items() if n >= MIN_GROUP}
    known = {name: measure for name, measure in there.items() if measure is not None}
    if len(known) < 2:
        return None
    low = min(known, key=lambda name: (known[name].value, name))
    high = max(known, key=lambda name: (known[name].value, name))
    if low == high or (is_ratio and known[high].value == 0.0):
        return None
    return Gap(low, high, (_ratio if is_ratio else _difference)(known[low], known[high]))


def _difference(low: Measure, high: Measure) -> Measure:
    """How much the second rate is above the first."""
    value = high.value - low.value
    down = math.hypot(high.value - high.low, low.high - low.value)
    up = math.hypot(high.high - high.value, low.value - low.low)
    return Measure(value, max(value - down, -1.0), min(value + up, 1.0), low.n + high.n)


def _ratio(low: Measure, high: Measure) -> Measure:
    """The first rate over the second, which is above 0."""
    product = low.value * high.value
    least, most = low.low * high.high, low.high * high.low
    down = product * product - least * (2 * low.value - low.low) * (2 * high.value - high.high)
    up = product * product - most * (2 * low.value - low.high) * (2 * high.value - high.low)
    below = high.high * (2 * high.value - high.high)
    above = high.low * (2 * high.value - high.low)
    value = low.value / high.value
    first = (product - math.sqrt(max(down, 0.0))) / below if below > 0.0 else 0.0
    last = (product + math.sqrt(max(up, 0.0))) / above if above > 0.0 else math.inf
    return Measure(value, max(min(first, value), 0.0), max(last, value), low.n + high.n)
