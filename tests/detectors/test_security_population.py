"""What is learned of a model's rows, and how rows are scaled, hashed and numbered by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import StateError
from detectors.security.base import MAX_CLASSES, MAX_DIMS, MISSING, Z_CLIP, Learned
from detectors.security.columns import PollColumns, columns_of
from detectors.security.population import (
    MAX_CATEGORY_COLUMNS,
    Learning,
    Population,
    centre_and_scale,
    layout_of,
)
from detectors.security.populations import Populations, Scaled
from schemas.batch import Decoded
from tests.detectors.decoded import Event, Scalar, decoded

SALT = 0x1234_5678_9ABC_DEF0
Features = dict[str, object]


def polls(rows: list[Features], **columns: object) -> PollColumns:
    """One poll; `columns` may hold scores and predictions by row."""
    scores = columns.get("score", [float("nan")] * len(rows))
    predictions = columns.get("prediction", [None] * len(rows))
    assert isinstance(scores, list)
    assert isinstance(predictions, list)
    return columns_of(events_of(rows, scores, predictions), 0, SALT)


def events_of(rows: list[Features], scores: list[float], predictions: list[Scalar]) -> Decoded:
    return decoded(
        [
            Event(i, dict(sorted(row.items())), score=score, prediction=prediction, ts=i)
            for i, (row, score, prediction) in enumerate(
                zip(rows, scores, predictions, strict=True)
            )
        ]
    )


def learn(columns: PollColumns, max_features: int = 1_000) -> tuple[Populations, Learned]:
    populations = Populations(1, SALT)
    populations.begin(0)
    n = len(columns.events)
    populations.learning[0].add(columns, np.arange(n), max_features)
    return populations, populations.freeze(0)


def scale(populations: Populations, columns: PollColumns) -> Scaled:
    n = len(columns.events)
    return populations.scale(columns, np.arange(n), np.zeros(n, np.int32))


def frozen(populations: Populations) -> Population:
    population = populations.frozen[0]
    assert population is not None
    population.check()
    return population


def test_numbers_are_scaled_by_median_and_quartiles_and_clipped() -> None:
    rng = np.random.default_rng(1)
    x = 50 + 3 * rng.normal(size=4_000)
    x[:40] = 1e9  # what is far off in the rows that are learned moves neither
    populations, learned = learn(polls([{"a": v, "b": 1.0} for v in x.tolist()]))
    own = frozen(populations)
    assert abs(own.centre[0] - 50) < 0.3
    assert abs(own.scale[0] - 3) < 0.3
    assert (learned.z[:40, 0] == Z_CLIP).all()
    values = [53.0, 1e308, -1e308, -47.0]
    z = scale(populations, polls([{"a": v, "b": 1.0} for v in values])).z
    expected = np.clip((np.array(values) - own.centre[0]) / own.scale[0], -Z_CLIP, Z_CLIP)
    assert z[:, 0] == pytest.approx(expected.astype(np.float32))
    assert not z[:, 1:].any()


@pytest.mark.parametrize(
    ("values", "centre", "scale"),
    [
        ([3.0] * 50, 3.0, 3.0),
        ([0.0] * 50, 0.0, 1.0),
        ([0.0] * 80 + [1.0] * 20, 0.0, 1 / 3.29),
        ([0.0] * 99 + [1.0], 0.0, 1 / 6),
        ([-1.7e308, 1.7e308], -1.7e308, 1e308),
        ([7.0], 7.0, 7.0),
    ],
)
def test_a_scale_is_above_0_whatever_the_values(
    values: list[float], centre: float, scale: float
) -> None:
    assert centre_and_scale(np.array(values)) == pytest.approx((centre, scale))


def test_categories_are_hashes_and_what_is_missing_is_near_nothing() -> None:
    rows: list[Features] = [
        {"c": "x", "n": 1.0, "t": True},
        {"c": "y", "n": 2.0, "t": False},
        {"c": "x", "n": None, "t": True},
        {"n": 3.0, "t": None},
    ]
    populations, learned = learn(polls(rows * 10))
    assert frozen(populations).features == ("c", "n", "t")
    assert learned.n_numbers == 1
    z = scale(populations, polls(rows)).z
    assert z[0, 1] == z[2, 1] != z[1, 1]
    assert z[0, 2] == z[2, 2] != z[1, 2]
    assert z[2, 0] == z[3, 1] == z[3, 2] == MISSING
    assert (z[:2, 1:3] == np.floor(z[:2, 1:3])).all()
    assert (z[:2, 1:3] >= 0).all()
    # Another value in place of a number is none; of a category it is another one.
    odd = scale(populations, polls([{"c": 4.0, "n": "x", "t": "true"}, {"c": [1], "n": 1.0}])).z
    assert odd[0, 0] == MISSING
    assert odd[0, 1] not in {MISSING, *z[:, 1].tolist()}
    assert odd[1, 1] == MISSING


@pytest.mark.parametrize(("n_numbers", "n_categories"), [(200, 0), (10, 80), (100, 30), (0, 65)])
def test_more_features_than_columns_are_folded(n_numbers: int, n_categories: int) -> None:
    rng = np.random.default_rng(2)
    rows: list[Features] = [
        {f"n{k}": float(rng.normal()) for k in range(n_numbers)}
        | {f"c{k}": str(rng.integers(3)) for k in range(n_categories)}
        for _ in range(300)
    ]
    populations, learned = learn(polls(rows))
    layout = layout_of(frozen(populations), SALT)
    assert learned.z.shape == (300, layout.n_dims)
    assert layout.n_dims <= MAX_DIMS
    n_columns = layout.n_dims - layout.n_numbers
    assert n_columns == min(n_categories, MAX_CATEGORY_COLUMNS)
    assert max(layout.column.tolist()) < layout.n_dims
    # One category that differs shows in one column, and one number in one.
    other = dict(rows[0])
    if n_categories:
        other["c0"] = "another"
        z = scale(populations, polls([rows[0], other])).z
        assert np.count_nonzero(z[0] != z[1]) == 1
    if n_numbers:
        other = rows[0] | {"n0": 3.0}
        z = scale(populations, polls([rows[0], other])).z
        assert np.flatnonzero(z[0] != z[1]).tolist() == [int(np.flatnonzero(z[0] != z[1])[0])]
    if n_numbers > MAX_DIMS:
        # A count sketch keeps squared distances, on the average over pairs.
        flat = np.array([[row[f"n{k}"] for k in range(n_numbers)] for row in rows], np.float64)
        own = np.diff(flat, axis=0) / frozen(populations).scale[:n_numbers].mean()
        kept = np.diff(learned.z[:, : layout.n_numbers].astype(np.float64), axis=0)
        assert (kept**2).sum() / (own**2).sum() == pytest.approx(1.0, abs=0.2)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_what_is_learned_does_not_depend_on_batches(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    pool: list[object] = [1.0, 2.5, -0.0, None, "a", "b", True, [1], "x" * 300]
    rows: list[Features] = [
        {f"f{k}": pool[int(rng.integers(len(pool)))] for k in range(8) if rng.random() < 0.7}
        for _ in range(60)
    ]
    whole, parts = Learning(), Learning()
    whole.add(polls(rows), np.arange(60), 6)
    for part in np.split(np.arange(60), sorted(cuts)):
        if len(part):
            parts.add(polls([rows[i] for i in part]), np.arange(len(part)), 6)
    assert list(parts.features) == list(whole.features)
    one, other = whole.freeze(SALT), parts.freeze(SALT)
    assert one[0].features == other[0].features
    for name in ("is_category", "centre", "scale", "classes"):
        assert getattr(one[0], name).tobytes() == getattr(other[0], name).tobytes()
    assert one[1].z.tobytes() == other[1].z.tobytes()


def test_rows_that_are_learned_are_scaled_as_those_that_come_later() -> None:
    rng = np.random.default_rng(4)
    rows: list[Features] = [
        {"a": float(rng.normal()), "b": "xyz"[rng.integers(3)], "c": float(rng.normal())}
        for _ in range(200)
    ]
    scores, predictions = rng.random(200).tolist(), rng.integers(0, 2, 200).tolist()
    columns = polls(rows, score=scores, prediction=predictions)
    populations, learned = learn(columns)
    later = scale(populations, columns)
    assert learned.z.tobytes() == later.z[:, : learned.z.shape[1]].tobytes()
    assert learned.predicted.tobytes() == later.predicted.tobytes()
    assert learned.margin.tobytes() == later.margin.tobytes()
    assert learned.row_hash.tobytes() == columns.row_hash.tobytes()


def test_hashes_are_equal_for_equal_rows_alone() -> None:
    rows: list[Features] = [
        {"a": 1.0, "b": 2.0},
        {"a": 1, "b": 2.0},
        {"a": 2.0, "b": 1.0},
        {"a": 1.0, "b": 2.0, "c": None},
        {"a": True, "b": 2.0},
        {"a": "1", "b": 2.0},
        {"a": 0.0},
        {"a": -0.0},
        {"b": 0.0},
    ]
    found = polls(rows).row_hash.tolist()
    assert found[0] == found[1] == found[3]
    assert found[6] == found[7]
    assert len(set(found)) == 6
    assert set(columns_of(polls(rows).events, 0, SALT + 1).row_hash.tolist()).isdisjoint(found)
    # What cannot be told from others is never taken for a repetition.
    long: list[Features] = [{"a": "x" * 300}, {"a": "x" * 300}, {"a": [1]}, {"a": [1]}]
    assert len(set(polls(long).row_hash.tolist())) == 4


def test_classes_are_numbered_as_they_came_and_margins_follow_the_kind_of_score() -> None:
    rows: list[Features] = [{"a": float(k)} for k in range(8)]
    both: list[Scalar] = ["no", "yes"] * 4
    populations, learned = learn(polls(rows, score=[0.0, 0.25, 0.5, 1.0] * 2, prediction=both))
    assert learned.predicted[:4].tolist() == [0, 1, 0, 1]
    assert learned.margin[:4].tolist() == [1.0, 0.5, 0.0, 1.0]
    later = scale(
        populations,
        polls(rows[:3], score=[float("nan"), 3.0, 0.75], prediction=[None, "maybe", "yes"]),
    )
    assert later.predicted.tolist() == [0, MAX_CLASSES - 1, 1]
    assert np.isnan(later.margin[:2]).all()
    assert later.margin[2] == 0.5
    # Of several classes the score is the largest probability.
    three: list[Scalar] = [0, 1, 2, 1, 0, 2, 1, 1]
    _, of_three = learn(polls(rows, score=[0.5] * 8, prediction=three))
    assert of_three.margin.tolist() == [0.5] * 8
    # Scores alone say what is predicted, and what is no probability says nothing.
    alone, learned = learn(polls(rows, score=[0.25, 0.75] * 4))
    assert learned.predicted.tolist() == [0, 1] * 4
    _, of_numbers = learn(polls(rows, score=[-3.0, 0.75] * 4))
    assert of_numbers.predicted.tolist() == [0] * 8
    assert np.isnan(of_numbers.margin).all()
    # A regression has no classes.
    many = polls(rows * 5, prediction=[float(k) + 0.5 for k in range(40)])
    assert len(frozen(learn(many)[0]).classes) == 0
    assert frozen(alone).output


def test_more_classes_than_can_be_told_apart_are_the_last_one() -> None:
    rows: list[Features] = [{"a": float(k)} for k in range(40)]
    _, learned = learn(polls(rows, prediction=list(range(40))))
    assert learned.predicted.tolist() == [*range(15), *[15] * 25]


def test_features_beyond_the_bound_are_counted_and_left_out() -> None:
    columns = polls([{"a": 1.0, "b": 2.0, "c": None, "d": 4.0}] * 5)
    learning = Learning()
    assert learning.add(columns, np.arange(5), 2) == 5
    assert learning.freeze(SALT)[0].features == ("a", "b")


def test_a_population_that_contradicts_itself_is_refused() -> None:
    own = frozen(learn(polls([{"a": 1.0, "b": "x"}] * 5, prediction=[1] * 5))[0])
    nan, zero = np.array([np.nan, 1.0]), np.array([0.0, 1.0])
    changes: list[dict[str, object]] = [
        {"features": ("b", "a")},
        {"features": ("a", "a")},
        {"features": ("a",)},
        {"centre": nan},
        {"scale": nan},
        {"scale": zero},
        {"scale": -own.scale},
        {"scale": own.scale[:1]},
        {"is_category": own.is_category.astype(np.uint8)},
        {"classes": np.zeros(1, np.int64)},
        {"classes": np.array([3, 3])},
        {"classes": np.arange(1, 17)},
        {"output": 8},
        {"n_rows": -1},
    ]
    for change in changes:
        with pytest.raises(StateError):
            replace(own, **change).check()  # type: ignore[arg-type]
