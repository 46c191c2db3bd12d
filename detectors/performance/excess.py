"""Whether chance alone would give a group so much of the errors, or of the absolute error.

One group is compared with all other rows of its slice, on the side of more errors alone. That many
groups are looked at is for who asks to correct: `is_significant`.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

SIGNIFICANCE: Final = 0.01
"""How often any group at all would be named, of a model whose groups all fare alike."""
_NEGLIGIBLE: Final = 1e-20
"""A term beside the most likely one that adds nothing more to a sum."""

_ROUNDING: Final = 1e-9
"""Of a mean: what two means that are the same may differ by."""


class Losses(NamedTuple):
    """The losses of some rows: how many rows, their sum, and the sum of their squares."""

    n: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        """Of n > 0 rows."""
        return self.total / self.n

    @property
    def variance(self) -> float:
        """The unbiased one, of n > 1 rows."""
        return max(self.squares - self.total * self.mean, 0.0) / (self.n - 1)


def is_significant(p: float, n_groups: int) -> bool:
    """Whether a group is worse than the others, with Bonferroni's correction for n_groups."""
    return p * n_groups <= SIGNIFICANCE


def wrong_by_chance(wrong: int, rows: int, all_wrong: int, all_rows: int) -> float:
    """How often a group of so many rows has so many wrong ones or more, where all fare alike.

    Of `all_rows`, the group's among them, `all_wrong` are wrong. Fisher's exact test, one-sided:
    the upper tail of the hypergeometric distribution, summed up from its most likely value by
    products and quotients alone.
    """
    least, most = max(0, rows + all_wrong - all_rows), min(rows, all_wrong)
    if wrong <= least:
        return 1.0
    if wrong > most:
        return 0.0
    mode = (rows + 1) * (all_wrong + 1) // (all_rows + 2)
    mode = min(max(mode, least), most)
    above = [1.0] if mode >= wrong else []
    below = [] if above else [1.0]
    term = 1.0
    for k in range(mode, most):
        right = all_rows - all_wrong - rows + k + 1
        term *= (all_wrong - k) * (rows - k) / ((k + 1) * right)
        (above if k + 1 >= wrong else below).append(term)
        if term < _NEGLIGIBLE and k + 1 >= wrong:
            break
    term = 1.0
    for k in range(mode, least, -1):
        right = all_rows - all_wrong - rows + k
        term *= k * right / ((all_wrong - k + 1) * (rows - k + 1))
        (above if k - 1 >= wrong else below).append(term)
        if term < _NEGLIGIBLE:
            break
    tail = math.fsum(above)
    return tail / (tail + math.fsum(below))


def loss_by_chance(own: Losses, others: Losses) -> float:
    """How often the mean loss of a group exceeds that of the others so far, where all fare alike.

    Losses are skewed: a few large ones make a mean. So the standard error is the larger of Welch's
    and the one of all rows together, and the degrees of freedom are those of the smaller part. 1
    for fewer than two rows in either. The tail of Student's t is that of the normal at Wallace's
    transform (Annals of Mathematical Statistics 1959).
    """
    if min(own.n, others.n) < 2:
        return 1.0
    excess = own.mean - others.mean
    if excess <= _ROUNDING * own.mean:
        return 1.0
    n = own.n + others.n
    both = Losses(n, own.total + others.total, own.squares + others.squares)
    of_each = own.variance / own.n + others.variance / others.n
    # Without what sets the two means apart: that is no noise.
    between = excess * excess * own.n * others.n / n
    within = max(both.variance * (n - 1) - between, 0.0) / (n - 2) if n > 2 else 0.0
    error = math.sqrt(max(of_each, within * (1.0 / own.n + 1.0 / others.n)))
    if error == 0.0:
        return 0.0
    freedom = min(own.n, others.n) - 1
    ratio = excess / error
    shrunk = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0)
    z = shrunk * math.sqrt(freedom * math.log1p(ratio * ratio / freedom))
    return 0.5 * math.erfc(z / math.sqrt(2.0))
