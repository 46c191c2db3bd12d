"""Intervals of the difference of two shares, or of two means. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Final, NamedTuple

from detectors.performance.intervals import quantile, wilson


class Sums(NamedTuple):
    """Losses: how many, their sum, and the sum of their squares."""

    n: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        """Of at least one."""
        return self.total / self.n

    def less(self, parts: Sequence[Sums]) -> Sums:
        """What is left without parts that share no rows."""
        return Sums(
            self.n - sum(each.n for each in parts),
            max(math.fsum([self.total, *(-each.total for each in parts)]), 0.0),
            max(math.fsum([self.squares, *(-each.squares for each in parts)]), 0.0),
        )


NO_SUMS: Final = Sums(0, 0.0, 0.0)
_LEAST_VARIANCE: Final = 1e-12
"""Of the mean's square: a thousand times what rounding makes, and a millionth as a deviation."""


class Interval(NamedTuple):
    """A difference and where it surely lies."""

    difference: float
    low: float
    high: float


def shared_level(level: float, n: int) -> float:
    """The level of each of n intervals that together hold at this one (Bonferroni)."""
    return 1.0 - (1.0 - level) / max(n, 1)


def share_difference(new: tuple[float, int], old: tuple[float, int], level: float) -> Interval:
    """The first share less the second: Newcombe's hybrid score interval (1998, method 10).

    Each is how many of how many > 0.
    """
    z = quantile(level)
    (k, n), (j, m) = new, old
    p, q = k / n, j / m
    low, high = wilson(p, n, z)
    low_old, high_old = wilson(q, m, z)
    difference = p - q
    return Interval(
        difference,
        difference - math.hypot(p - low, high_old - q),
        difference + math.hypot(high - p, q - low_old),
    )


def mean_difference(new: Sums, old: Sums, level: float) -> Interval:
    """The first mean less the second: Welch's interval. Each of at least two rows.

    Few skewed losses often lack the large ones, and then their mean is low and so is their
    variance: the interval would be short just where it is wrong. So a side's variance is not less
    than that of both together. Finite where the sums and their quotients are.
    """
    difference = new.mean - old.mean
    least = _variance(_together((new, old)))
    parts = [max(_variance(each), least) / each.n for each in (new, old)]
    total = math.fsum(parts)
    if total <= 0.0:
        return Interval(difference, difference, difference)
    # By shares of the whole: the squares of what is very large or small would not be numbers.
    freedom = 1.0 / math.fsum(
        (part / total) ** 2 / (each.n - 1) for part, each in zip(parts, (new, old), strict=True)
    )
    reach = student_quantile(0.5 + level / 2.0, freedom) * math.sqrt(total)
    return Interval(difference, difference - reach, difference + reach)


def same_mix_difference(
    pairs: Sequence[tuple[Sums, Sums]], level: float, *, of_shares: bool
) -> Interval:
    """The first mean less the second in each group, by the mix of the first: a normal interval.

    Each pair is of one group, of at least one row each. Direct standardisation.
    """
    n = sum(new.n for new, _ in pairs)
    error = _errors(pairs, of_shares=of_shares)
    difference = math.fsum(new.n / n * (new.mean - old.mean) for new, old in pairs)
    reach = quantile(level) * math.hypot(
        *(pair[0].n / n * error(each, pair) for pair in pairs for each in pair)
    )
    return Interval(difference, difference - reach, difference + reach)


def mix_difference(
    pairs: Sequence[tuple[Sums, Sums]], level: float, *, of_shares: bool
) -> Interval:
    """What the first's mix of these groups makes of the second's mean, less that mean."""
    n, m = (sum(each.n for each in side) for side in zip(*pairs, strict=True))
    error = _errors(pairs, of_shares=of_shares)
    more = [new.n / n - old.n / m for new, old in pairs]
    difference = math.fsum(w * old.mean for w, (_, old) in zip(more, pairs, strict=True))
    reach = quantile(level) * math.hypot(
        *(w * error(pair[1], pair) for w, pair in zip(more, pairs, strict=True))
    )
    return Interval(difference, difference - reach, difference + reach)


def _errors(
    pairs: Sequence[tuple[Sums, Sums]], *, of_shares: bool
) -> Callable[[Sums, tuple[Sums, Sums]], float]:
    """The standard error of a group's mean, of one side of its pair.

    Few rows may have hardly any variance by chance: it is not less than that of all rows, and of
    shares the larger one of its own side and of both, each with two more rows that are as all are.
    By deviations, since their squares may be too large for a number.
    """
    whole = _together([each for pair in pairs for each in pair])
    least = _variance(whole)

    def error(each: Sums, pair: tuple[Sums, Sums]) -> float:
        if of_shares:
            shares = [
                (rows.total + 2.0 * whole.mean) / (rows.n + 2) for rows in (each, _together(pair))
            ]
            variance = max(least, *(p * (1.0 - p) for p in shares))
        else:
            variance = max(least, _variance(each) if each.n > 1 else 0.0)
        return math.sqrt(variance / each.n)

    return error


def _together(parts: Sequence[Sums]) -> Sums:
    return Sums(
        sum(each.n for each in parts),
        math.fsum(each.total for each in parts),
        math.fsum(each.squares for each in parts),
    )


def student_quantile(p: float, freedom: float) -> float:
    """Student's quantile, by the expansion of Cornish and Fisher (Abramowitz and Stegun 26.7.5).

    For 29 degrees of freedom and more it is within 0.1 % up to p = 0.99999.
    """
    z = NormalDist().inv_cdf(p)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _variance(sums: Sums) -> float:
    """Not less than what rounding makes of it, of at least two rows.

    Sums of squares are known to some 1e-15 of themselves, so a variance that is less than that of
    the mean's square is chance. Without a floor losses that are all the same would differ surely
    by the last digit of their means.
    """
    found = max(sums.squares - sums.total * sums.mean, 0.0) / (sums.n - 1)
    return max(found, _LEAST_VARIANCE * sums.mean**2)
