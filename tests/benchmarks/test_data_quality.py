"""How often a factor of units is named of features that moved for another reason."""

from __future__ import annotations

from benchmarks.data_quality import IS_UNIT, OF_UNITS, Named, named

FAR = "a part 3 to 1,000 sd up"
N_SEEDS = 5
"""Of 20 features each."""


def total(kind: str) -> Named:
    found = [named(OF_UNITS[kind], seed) for seed in range(100, 100 + N_SEEDS)]
    return Named(sum(each.n_settled for each in found), sum(each.n_named for each in found))


def test_a_factor_is_seldom_named_by_chance() -> None:
    others = [total(kind) for kind in OF_UNITS if kind not in (FAR, IS_UNIT)]
    n = sum(each.n_settled for each in others)
    assert n > 300
    assert sum(each.n_named for each in others) <= 0.02 * n


def test_a_part_that_moved_by_any_amount_is_named_once_in_twelve() -> None:
    far, of_units = total(FAR), total(IS_UNIT)
    assert far.n_settled > 50
    # Twice the share that is documented, of a sample of some 70.
    assert far.n_named <= far.n_settled / 6
    assert of_units.n_named > 0.35 * of_units.n_settled
