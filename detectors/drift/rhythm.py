"""The daily or weekly rhythm of a signal, found in its reference by event time.

Everything here is a pure function of the reference's rows in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from detectors.kernels.rhythm import HOUR_MS, take_out
from schemas.batch import F64, I64

DAY: Final = 24
WEEK: Final = 168
"""Hours of the periods that are looked for."""
MIN_PERIODS: Final = 3
"""Full ones that a reference must cover."""
ENOUGH_PERIODS: Final = 10
"""With fewer, what is known of a rhythm is provisional."""
MIN_RHYTHM_ROWS: Final = 1_000
"""Rows of a reference from which on a rhythm is looked for."""
MAX_PERIODS: Final = 100_000
"""More no reference covers."""
MAX_KNOT: Final = 1e6
"""No value of a rhythm, in reference standard deviations, lies further out."""
LEVEL: Final = 1e-3
"""The chance that a signal without a rhythm shows one, all harmonics together."""
_JOINS: Final = 0.05
"""Where there is a rhythm, the level at which a harmonic is part of it."""
_DAY_HARMONICS: Final = tuple(range(1, 12))
_WEEK_HARMONICS: Final = tuple(k for k in range(1, 28) if k % 7)
_LONGEST: Final = 52 * WEEK
"""Hours of a reference that are looked at, the latest."""
_QUARTERS: Final = 4
"""Of an hour: as fine as what is left over is looked at."""
_SURE: Final = 16.0
"""The square of so many standard errors is no noise, of all times of a period."""
_SWING_HOURS: Final = 6
_LEAST_HOURS: Final = 4
"""A period with fewer hours that have rows says nothing of its shape."""

Wanted = Literal["day", "week", "none"] | None


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What of a signal comes again with the hour of the day or of the week, in z."""

    knots: F64
    """(24,) or (168,) its value at the middle of each hour since the epoch, modulo those; with mean
    0 over the reference's rows."""
    periods: int
    """How many full ones the reference covers."""
    share: float
    """Of the reference's variance, what it explains: 0 or more, below 1."""

    @property
    def name(self) -> str:
        """`day` or `week`."""
        return "day" if len(self.knots) == DAY else "week"

    @property
    def inflation(self) -> float:
        """By which a mean over part of a period varies more, since the knots were estimated."""
        return 1.0 + 1.0 / self.periods

    def without(self, x: F64, times: I64) -> F64:
        """(n,) rows of the signal at these event times without their rhythm."""
        n = len(x)
        left = x.copy()
        take_out(
            np.arange(n, dtype=np.int32),
            np.zeros(1, np.int32),
            np.array([0, n], np.int64),
            np.array([0, n], np.int64),
            np.array([0, 1], np.int64),
            np.zeros(1, np.int32),
            np.array([len(self.knots)], np.int64),
            self.knots.reshape(1, -1),
            times,
            left,
        )
        return left

    def left_over(self, z: F64, times: I64, variance: float) -> float:
        """What of scores (n,) of variance 1 still comes again at some time of each period.

        The largest log likelihood ratio that the rows of one quarter of an hour, or of some in a
        row, add to a change each time they come; 0 where noise of this long-run variance explains
        it. An edge sharper than the knots are apart leaves some.
        """
        n_cells = _QUARTERS * len(self.knots)
        cell = times // (HOUR_MS // _QUARTERS) % n_cells
        rows = np.bincount(cell, minlength=n_cells).astype(np.float64)
        sums = np.bincount(cell, weights=z, minlength=n_cells)
        most = 0.0
        while True:
            square = sums * sums / np.maximum(rows, 1.0)
            most = max(most, float(square.max()))
            n_cells //= 2
            if n_cells <= 1:
                break
            # Twice as long, from each cell on.
            step = _QUARTERS * len(self.knots) // (2 * n_cells)
            rows, sums = rows + np.roll(rows, -step), sums + np.roll(sums, -step)
        return most / (2.0 * self.periods) if most > _SURE * variance else 0.0

    def widest(self, z: F64, times: I64) -> float:
        """The variance of scores (n,) of variance 1 in those six hours in which it is largest.

        1 where it comes within noise of that; of a signal that swings more at some hours.
        """
        n = len(self.knots)
        hour = times // HOUR_MS % n
        rows = np.bincount(hour, minlength=n).astype(np.float64)
        squares = np.bincount(hour, weights=z * z, minlength=n)
        rows, squares = (
            np.sum([np.roll(each, -step) for step in range(_SWING_HOURS)], axis=0)
            for each in (rows, squares)
        )
        seen = rows > 0.0
        found = squares[seen] / rows[seen]
        is_sure = found > 1.0 + np.sqrt(2.0 * _SURE / rows[seen])
        return float(np.max(found[is_sure], initial=1.0))


class _Hours(NamedTuple):
    """A reference by the hour."""

    first: int
    """Number of the first hour since the epoch."""
    rows: F64
    """(h,)"""
    means: F64
    """(h,) of their values; 0 where there are none."""


class _Harmonics(NamedTuple):
    """Of one period, as the reference shows them."""

    knots: F64
    chance: float
    """That the most significant one comes of noise, all of them counted."""
    periods: int


def find(x: F64, times: I64, wanted: Wanted) -> Rhythm | None:
    """The rhythm of (n,) rows, none of them NaN, at these event times in ms; None: there is none.

    A harmonic is tested by how its coefficients agree from period to period, so that correlation
    within a period, however strong, passes for no rhythm; the level is `LEVEL`. One that is
    `wanted` needs no test, yet rows of enough periods.
    """
    if len(x) < MIN_RHYTHM_ROWS or wanted == "none":
        return None
    hours = _by_hour(x, times)
    day = week = None
    if len(hours.rows) >= MIN_PERIODS * DAY:
        day = _harmonics(hours, DAY, _DAY_HARMONICS)
    if day is not None and day.chance > LEVEL and wanted is None:
        day = None
    if wanted != "day" and len(hours.rows) >= MIN_PERIODS * WEEK:
        left = hours
        if day is not None:
            at = (hours.first + np.arange(len(hours.rows))) % DAY
            left = hours._replace(means=hours.means - day.knots[at])
        week = _harmonics(left, WEEK, _WEEK_HARMONICS)
    if week is not None and week.chance > LEVEL and wanted != "week":
        week = None
    if wanted == "week" and week is None:
        return None
    knots, periods = np.zeros(DAY), 0
    if day is not None:
        knots, periods = day.knots, day.periods
    if week is not None:
        knots, periods = np.tile(knots, WEEK // DAY) + week.knots, week.periods
    return _measured(knots, periods, x, times) if knots.any() else None


def _measured(knots: F64, periods: int, x: F64, times: I64) -> Rhythm | None:
    """The rhythm with these knots, its mean over the rows taken out."""
    rhythm = Rhythm(knots, periods, 0.0)
    for _ in range(2):
        # Rounded, so that another machine's last bits change nothing.
        mean = float(np.mean(x - rhythm.without(x, times)))
        centred = np.clip(np.round(rhythm.knots - mean, 9), -MAX_KNOT, MAX_KNOT)
        rhythm = Rhythm(centred, periods, 0.0)
    share = 1.0 - float(np.var(rhythm.without(x, times))) / float(np.var(x))
    return Rhythm(rhythm.knots, periods, round(share, 6)) if 0.0 < share < 0.999_999 else None


def _by_hour(x: F64, times: I64) -> _Hours:
    """The rows by the hour; those whose clocks are far off, one in twenty at most, left out."""
    width = float(np.std(x))
    middle = float(np.median(x))
    # One far outlier must not pass for a rhythm.
    y = np.clip(x, middle - 4.0 * width, middle + 4.0 * width)
    hour = np.clip(times // HOUR_MS, -(2**40), 2**40)
    ordered = np.sort(hour)
    low, high = (int(ordered[at]) for at in (len(x) // 20, len(x) - 1 - len(x) // 20))
    margin = (high - low) // 8
    kept = (hour >= low - margin) & (hour <= high + margin)
    last = int(hour[kept].max())
    first = max(int(hour[kept].min()), last + 1 - _LONGEST)
    kept &= hour >= first
    at = hour[kept] - first
    rows = np.bincount(at, minlength=last + 1 - first).astype(np.float64)
    sums = np.bincount(at, weights=y[kept], minlength=len(rows))
    return _Hours(first, rows, sums / np.maximum(rows, 1.0))


def _harmonics(hours: _Hours, length: int, orders: tuple[int, ...]) -> _Harmonics | None:
    """Fit and test these harmonics of a period of `length` hours; None: too few periods.

    The score of a harmonic in each period, what its cosine and sine explain of the departures from
    that period's mean, is one draw of two numbers. Their mean against their spread is F of 2 and
    2 (periods - 1) degrees where there is no rhythm.
    """
    n = len(hours.rows) // length
    start = len(hours.rows) - n * length
    rows = hours.rows[start:].reshape(n, length)
    means = hours.means[start:].reshape(n, length)
    used = (rows > 0.0).sum(axis=1) >= _LEAST_HOURS
    rows, means, n = rows[used], means[used], int(used.sum())
    if n < MIN_PERIODS:
        return None
    phase = (hours.first + start + np.arange(length)) % length
    angle = 2.0 * np.pi * np.multiply.outer((phase + 0.5) / length, orders)
    waves = np.stack([np.cos(angle), np.sin(angle)], axis=2).reshape(length, -1)
    total = rows.sum(axis=1, keepdims=True)
    level = (rows * means).sum(axis=1, keepdims=True) / total
    # A trend through the reference has a slope within each period, and is no rhythm: that from
    # period to period.
    number = np.flatnonzero(used) - np.average(np.flatnonzero(used), weights=total[:, 0])
    steepness = float((total[:, 0] * number * number).sum())
    slope = float((total[:, 0] * number * level[:, 0]).sum()) / (steepness * length)
    means = means - slope * np.arange(length)
    level = (rows * means).sum(axis=1, keepdims=True) / total
    scores = (rows * (means - level)) @ waves
    middle = (rows @ waves) / total
    gram = (waves.T * rows.sum(axis=0)) @ waves - (middle.T * total[:, 0]) @ middle
    # Harmonics that the hours with rows cannot tell apart share what they explain.
    gram += np.eye(len(gram)) * 1e-4 * np.trace(gram) / len(gram)
    alone = _agreements(scores, gram)
    chance = _chances(alone, n)
    joins = chance < _JOINS
    weight = np.zeros(len(orders))
    coefficient = np.zeros(len(gram))
    for _ in range(2):
        # First those that are significant alone, then of these those that are beside the others.
        chosen = np.flatnonzero(np.repeat(joins, 2))
        inverse = np.linalg.inv(gram[np.ix_(chosen, chosen)])
        beside = _agreements(scores[:, chosen] @ inverse, inverse)
        coefficient[:] = 0.0
        coefficient[chosen] = inverse @ scores.sum(axis=0)[chosen]
        # What noise alone would explain is taken off, as James and Stein do.
        weight[joins] = np.maximum(1.0 - 1.0 / np.maximum(beside, 1e-12), 0.0)
        joins[joins] = _chances(beside, n) < _JOINS
    wave = waves @ (coefficient * np.repeat(weight, 2))
    seen = rows.sum(axis=0) > 0.0
    by_phase = (rows * (means - level)).sum(axis=0)[seen] / rows.sum(axis=0)[seen]
    wave -= np.average(wave, weights=rows.sum(axis=0))
    # Hours of which there are no rows are nowhere further out than those of which there are.
    knots = np.zeros(length)
    knots[phase] = np.clip(wave, by_phase.min(), by_phase.max())
    return _Harmonics(knots, float(min(chance.min() * len(orders), 1.0)), n)


def _chances(ratio: F64, n: int) -> F64:
    """The chance of F this large, or larger, of 2 and 2 (n - 1) degrees."""
    chance: F64 = (1.0 + ratio / (n - 1)) ** -(n - 1)
    return chance


def _agreements(scores: F64, covariance: F64) -> F64:
    """Of each pair of the (periods, 2 k) scores how far its mean is from 0: (k,) F."""
    pairs = [slice(at, at + 2) for at in range(0, len(covariance), 2)]
    return np.array([_agreement(scores[:, of], covariance[of, of]) for of in pairs])


def _agreement(scores: F64, covariance: F64) -> float:
    """F of the mean of (periods, 2) scores, whose covariance is in proportion to this one."""
    n = len(scores)
    mean = scores.mean(axis=0)
    apart = scores - mean
    inverse = np.linalg.inv(covariance) if np.linalg.det(covariance) > 0.0 else np.zeros((2, 2))
    explained = n * float(mean @ inverse @ mean)
    noise = float(((apart @ inverse) * apart).sum()) / (n - 1)
    return explained / max(noise, 1e-12 * explained) if explained > 0.0 else 0.0
