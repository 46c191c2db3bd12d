"""Groups with more of the errors: exact where they are counted, rarely by chance where measured.

False alarms are counted in seeded simulations in which all groups fare alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.performance.excess import (
    SIGNIFICANCE,
    Losses,
    is_significant,
    loss_by_chance,
    wrong_by_chance,
)
from schemas.batch import F64


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Wrong ones and rows of a group, and of all."""
    all_rows = draw(st.integers(1, 400))
    rows, all_wrong = draw(st.integers(0, all_rows)), draw(st.integers(0, all_rows))
    least, most = max(0, rows + all_wrong - all_rows), min(rows, all_wrong)
    return draw(st.integers(least, most)), rows, all_wrong, all_rows


@given(tables())
def test_a_share_of_the_errors_has_the_exact_tail(table: tuple[int, int, int, int]) -> None:
    """Beside counting all ways in whole numbers."""
    wrong, rows, all_wrong, all_rows = table
    ways = sum(
        math.comb(all_wrong, k) * math.comb(all_rows - all_wrong, rows - k)
        for k in range(wrong, min(rows, all_wrong) + 1)
    )
    exact = ways / math.comb(all_rows, rows)
    assert wrong_by_chance(*table) == pytest.approx(exact, rel=1e-9, abs=1e-18)


def losses(x: F64) -> Losses:
    return Losses(len(x), float(x.sum()), float((x * x).sum()))


def test_losses_are_compared_as_welch_and_student_do() -> None:
    """Where both parts spread alike the two are one; the quantiles are of tables of Student's t."""
    rng = np.random.default_rng(1)
    x = rng.normal(10.0, 1.0, 31)
    x = (x - x.mean()) / x.std(ddof=1)
    for t, p in ((1.310, 0.10), (2.042, 0.025), (2.457, 0.01), (3.385, 0.001)):
        own, others = 100.0 + x + t * math.sqrt(2.0 / 31.0), 100.0 + x
        assert loss_by_chance(losses(own), losses(others)) == pytest.approx(p, rel=0.03)
        assert loss_by_chance(losses(others), losses(own)) == 1.0


def test_constant_losses_are_no_worse_than_the_same_and_worse_than_smaller_ones() -> None:
    same, small = losses(np.full(40, 0.3)), losses(np.full(900, 0.1))
    assert loss_by_chance(same, losses(np.full(700, 0.3))) == 1.0
    assert loss_by_chance(same, small) < 1e-12
    assert loss_by_chance(losses(np.full(1, 9.0)), small) == 1.0


LAWS: dict[str, Callable[[Any, int], F64]] = {
    "normal": lambda rng, n: np.abs(rng.normal(size=n)),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal": lambda rng, n: rng.lognormal(sigma=1.5, size=n),
    "rare": lambda rng, n: (rng.random(n) < 0.02).astype(np.float64) * 50.0,
}


@pytest.mark.parametrize("law", list(LAWS))
@pytest.mark.parametrize("shares", [(0.02, 0.08, 0.2, 0.3, 0.4), (0.03, 0.97)])
def test_chance_names_a_group_hardly_ever(law: str, shares: tuple[float, ...]) -> None:
    """Of 2,000 seeds, 1 % and four standard deviations: groups of 30 rows among them."""
    rng = np.random.default_rng(7)
    named = 0
    for _ in range(2_000):
        x = LAWS[law](rng, 1_500)
        cuts = np.cumsum(np.rint(np.array(shares) * len(x)).astype(int))[:-1]
        parts = [losses(part) for part in np.split(x, cuts)]
        whole = losses(x)
        named += any(
            is_significant(loss_by_chance(own, _rest(whole, own)), len(parts)) for own in parts
        )
    assert named / 2_000 < SIGNIFICANCE + 4.0 * math.sqrt(SIGNIFICANCE / 2_000)


def _rest(whole: Losses, own: Losses) -> Losses:
    return Losses(whole.n - own.n, whole.total - own.total, whole.squares - own.squares)


def test_a_group_with_twice_the_loss_is_named() -> None:
    rng = np.random.default_rng(8)
    found = 0
    for _ in range(200):
        own, others = losses(2.0 * rng.exponential(size=300)), losses(rng.exponential(size=900))
        found += is_significant(loss_by_chance(own, others), 15)
    assert found > 190
