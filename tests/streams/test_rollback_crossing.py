"""Where features are hard only together: their mix is no verdict, though none makes it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streams.crossed_cells import NO_CELLS, BothCells, Cells, cells_of
from streams.version_comparison import comparison_of, verdict_on
from tests.streams.rollback_kit import CONFIG
from tests.streams.test_rollback_mix import crossed_tally
from tests.streams.window_kit import window

_N = 2_000
_IN_ONE = ([0.3, 0.5], [0.6, 0.5])
"""How frequent what may be hard is by feature, before and now: of one of them it is more so."""
_IN_BOTH = ([0.5, 0.5], [0.8, 0.8])


@pytest.mark.parametrize(
    ("before", "now", "alike", "other"),
    [
        # Hard in one group of the second feature and easy in the other: no harder in all events.
        (*_IN_ONE, 0.05, 0.40),
        # Neither is harder, in any mix of the other one: only where they come together.
        (*_IN_BOTH, 0.40, 0.05),
        (*_IN_BOTH, 0.20, 0.08),
        # Two of them come together, and are hard or easy by the third: so in its groups alone.
        ([0.5, 0.5, 0.5], [0.8, 0.8, 0.5], 0.40, 0.05),
    ],
)
def test_what_is_hard_only_together_makes_no_version_worse(
    before: Sequence[float], now: Sequence[float], alike: float, other: float
) -> None:
    """It is hard by whether an even number of features has what may be hard."""
    rng = np.random.default_rng(7)
    both = window()

    def drawn(frequent: Sequence[float], by: float) -> Any:
        is_there = rng.random((len(frequent), _N)) < np.array(frequent)[:, None]
        shares = np.where(is_there.sum(0) % 2 == 0, alike, other) * by
        return crossed_tally(rng, is_there, shares)

    n_false = n_missed = 0
    for _ in range(60):
        old = drawn(before, 1.0)
        for by in (1.0, 2.0):
            found = comparison_of(
                drawn(now, by), old, {"old": both, "new": both}, "together", CONFIG
            )
            assert found is not None
            is_worse = verdict_on(found) == "worse"
            n_false += by == 1.0 and is_worse
            n_missed += by == 2.0 and not is_worse
    # By the features that are harder by themselves 15 to 50 of the first. Level: 95 %.
    assert n_false <= 3
    assert n_missed == 0


def cells(codes: Any, losses: Any) -> Cells:
    """Of feature i the group of each loss is `fi=` its code."""
    groups = {
        f"f{i}": {f"f{i}={code}": row == code for code in np.unique(row).tolist()}
        for i, row in enumerate(codes)
    }
    return cells_of(groups, np.asarray(losses, np.float64))


def rows(counts: Sequence[int]) -> Any:
    """Codes of two features, by how many have neither, the second, the first, or both."""
    return np.repeat([[0, 0, 1, 1], [0, 1, 0, 1]], counts, axis=1)


def test_features_that_only_come_together_more_often_make_no_version_worse() -> None:
    """Each is half of the events in both versions; both together are a quarter, and then more."""
    rng = np.random.default_rng(8)
    both = window()
    verdicts = []
    for _ in range(40):
        new, old = (
            crossed_tally(rng, there, np.where(there.all(0), 0.4, 0.05))
            for there in (rows([800, 200, 200, 800]) == 1, rows([500] * 4) == 1)
        )
        found = comparison_of(new, old, {"old": both, "new": both}, "together", CONFIG)
        assert found is not None
        verdicts.append(verdict_on(found))
    # By each feature alone all. Level: 95 %.
    assert verdicts.count("worse") <= 2


def test_a_feature_moves_what_it_adds_to_another() -> None:
    """By hand: both go from a half to four fifths, and are hard where they are alike."""
    old = rows([250, 250, 250, 250])
    hard = (old[0] == old[1]) & (np.arange(1_000) % 5 < 2)
    found = BothCells(cells(rows([40, 160, 160, 640]), np.zeros(1_000)), cells(old, hard))
    # Of the new ones 0.68 are where 0.4 are wrong, of the old ones 0.5.
    assert found.moves(["f0", "f1"]) == pytest.approx({"f0": 0.072, "f1": 0.072})
    assert found.moves(["f0"]) == pytest.approx({"f0": 0.0}, abs=1e-12)
    # Within f1=1 four fifths are of f0=1, where 0.4 are wrong and else none; before a half.
    assert found.moves(["f0"], ("f1", "f1=1")) == pytest.approx({"f0": 0.12})
    assert found.moves(["f0"], ("f1", "f1=7")) == {"f0": 0.0}


def test_what_a_mix_adds_by_chance_is_nothing() -> None:
    """Else all features of many groups are crossed, and versions that are worse pass."""
    rng = np.random.default_rng(3)
    names = [f"f{i}" for i in range(7)]
    added: list[bool] = []
    for _ in range(20):
        new, old = (
            cells(rng.integers(0, 4, (7, 2_000)), rng.random(2_000) < 0.1) for _ in range(2)
        )
        both = BothCells(new, old)
        added += [move > both.moves([name])[name] for name, move in both.moves(names).items()]
    # Each is added to six others, at some 5 % each; without a limit nearly all make more.
    assert 0 < np.count_nonzero(added) <= 0.4 * len(added)


def test_several_features_that_make_little_each_make_no_version_worse() -> None:
    """Few of them are two standard errors by themselves; together they are a difference."""
    rng = np.random.default_rng(12)
    both = window()

    def drawn(frequent: float) -> Any:
        is_there = rng.random((8, 5_000)) < frequent
        return crossed_tally(rng, is_there, 0.03 + 0.015 * is_there.sum(0))

    n_worse = 0
    for _ in range(40):
        new, old = drawn(0.6), drawn(0.4)
        found = comparison_of(new, old, {"old": both, "new": both}, "together", CONFIG)
        assert found is not None
        n_worse += verdict_on(found) == "worse"
    # Where each has to be sure by itself some 9. Level: 95 %.
    assert n_worse <= 2


@pytest.mark.parametrize(("n_each", "moved"), [(5, 0.0), (15, 0.6)])
def test_cells_that_are_too_sparse_move_nothing(n_each: int, moved: float) -> None:
    """Most are in cells that the other version lacks: by chance where they should have five."""
    i = np.repeat(np.arange(2, 60), n_each)

    def side(counts: Sequence[int], turn: int) -> Cells:
        here = rows(counts)
        codes = np.concatenate([here, [i, 2 + (i + turn) % 58]], axis=1)
        return cells(codes, np.concatenate([here[0] == here[1], np.zeros(len(i), np.bool_)]))

    found = BothCells(side([40, 10, 10, 40], 0), side([10, 40, 40, 10], 1))
    moves = found.moves(["f0", "f1"])
    assert moves == pytest.approx({"f0": moved, "f1": moved})


def test_without_cells_nothing_moves() -> None:
    assert BothCells(NO_CELLS, NO_CELLS).moves(["f0", "f1"]) == {}
