"""Losses by the groups of all features at once, counted by hand and crossed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.crossed_cells import NO_CELLS, BothCells, Cells, cells_of
from streams.difference import Sums

Row = tuple[str, str, float]
"""Its groups of the features x and y, "-" for none, and its loss."""


def cells(rows: Sequence[Row]) -> Cells:
    by_feature = {
        feature: {
            f"{feature}={value}": np.array([row[place] == value for row in rows])
            for value in sorted({str(row[place]) for row in rows} - {"-"})
        }
        for place, feature in enumerate("xy")
    }
    return cells_of(by_feature, np.array([row[2] for row in rows]))


def by_hand(rows: Sequence[Row]) -> Mapping[tuple[str, str], Sums]:
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for x, y, loss in rows:
        found[x, y].append(loss)
    return {
        key: Sums(len(each), sum(each), sum(loss * loss for loss in each))
        for key, each in found.items()
    }


_rows = st.lists(
    st.tuples(st.sampled_from("ab-"), st.sampled_from("cd-"), st.sampled_from([0.0, 1.0, 2.5])),
    min_size=1,
    max_size=60,
)


@given(_rows, st.integers(1, 4))
def test_each_loss_is_in_one_cell_of_the_crossing(rows: list[Row], times: int) -> None:
    """The old version had the same, some times over: all cells take part."""
    found = BothCells(cells(rows), cells(rows * times)).crossed(["y", "x"])
    assert found is not None
    assert found.is_known
    assert sorted(new for new, _ in found.pairs) == sorted(by_hand(rows).values())
    assert sorted(old for _, old in found.pairs) == sorted(by_hand(rows * times).values())


@given(_rows)
def test_within_a_group_are_its_cells(rows: list[Row]) -> None:
    found = BothCells(cells(rows), cells(rows)).crossed(["y"], ("x", "x=a"))
    here = [each for each in rows if each[0] == "a"]
    if found is None:
        assert not here or {each[1] for each in rows} == {"-"}
        return
    assert sorted(new for new, _ in found.pairs) == sorted(by_hand(here).values())


def test_groups_of_other_windows_have_the_same_names() -> None:
    # Of the old version b is no group of x: its code for c is another one's.
    new = [("b", "d", 1.0)] * 100 + [("c", "d", 0.0)] * 100 + [("b", "e", 1.0)] * 100
    old = [("c", "d", 0.0)] * 100 + [("c", "e", 0.0)] * 100
    found = BothCells(cells(new), cells(old)).crossed(["x", "y"])
    assert found is not None
    assert not found.is_known
    assert found.pairs == [(Sums(100, 0.0, 0.0), Sums(100, 0.0, 0.0))]


def test_a_feature_that_makes_cells_sparse_is_not_crossed() -> None:
    """Of x each half has its own half of y; of z there are as many as labels."""

    def side(n: int, start: int) -> Cells:
        x, y, z = np.arange(n) % 2, np.arange(n) // 2 % 2, (np.arange(n) * 7 + start) % 101
        groups = {
            name: {f"{name}={value}": values == value for value in np.unique(values).tolist()}
            for name, values in (("x", x), ("y", y), ("z", z))
        }
        return cells_of(groups, np.ones(n))

    both = BothCells(side(120, 0), side(120, 50))
    for order in ("xyz", "xzy", "zxy"):
        found = both.crossed(order)
        if order[0] == "z":
            assert found is None
            continue
        assert found is not None
        assert [new.n for new, _ in found.pairs] == [30] * 4
    assert both.crossed("x") is None


def test_without_cells_nothing_is_crossed() -> None:
    assert BothCells(NO_CELLS, NO_CELLS).crossed(["x", "y"]) is None
    assert cells_of({}, np.ones(3)) == NO_CELLS
    assert cells_of({"x": {}}, np.ones(0)) == NO_CELLS
