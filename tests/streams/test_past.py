"""What is kept of the past: the latest events of each model, whatever the cuts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.batch import Decoded, ModelKey
from streams.past import Past, reordered
from tests.detectors.decoded import Event, Scalar, decoded
from tests.schemas.contract import value_at

MODELS = (ModelKey("a", "1"), ModelKey("b", "1"), ModelKey("b", "2"))
VALUES: tuple[object, ...] = (1.5, -2.0, None, "text", "word", "", "x" * 257, True, False, 0.0)
PREDICTIONS: tuple[Scalar, ...] = (None, "yes", "no", 3, True, 0.25)


def events() -> st.SearchStrategy[list[Event]]:
    features = st.dictionaries(st.sampled_from("xyz"), st.sampled_from(VALUES), max_size=3)
    one = st.builds(
        Event,
        offset=st.just(0),
        features=features.map(lambda found: dict(sorted(found.items()))),
        model=st.sampled_from(MODELS),
        score=st.sampled_from([0.5, 0.25, float("nan")]),
        prediction=st.sampled_from(PREDICTIONS),
        is_label=st.booleans(),
        ts=st.integers(0, 9),
        event_id=st.integers(0, 2**64 - 1),
        latency_ms=st.sampled_from([0.5, 3.0, float("nan")]),
    )
    return st.lists(one, max_size=40).map(
        lambda found: [
            Event(
                i,
                {} if e.is_label else e.features,
                e.model,
                e.score,
                e.prediction,
                e.is_label,
                e.ts,
                event_id=e.event_id,
                latency_ms=e.latency_ms,
            )
            for i, e in enumerate(found)
        ]
    )


def rows_of(batch: Decoded | None) -> list[tuple[object, ...]]:
    """What each row says, without the numbers of names."""
    if batch is None:
        return []
    found: list[tuple[object, ...]] = []
    for i in range(len(batch)):
        names = batch.shapes[batch.shape[i]]
        own = range(int(batch.value_ptr[i]), int(batch.value_ptr[i + 1]))
        code = batch.predicted_class[i]
        found.append((
            int(batch.offset[i]),
            batch.models[batch.model[i]],
            [(name, str(value_at(batch, at))) for name, at in zip(names, own, strict=True)],
            batch.kind[own.start : own.stop].tolist(),
            str(batch.score[i]),
            str(batch.prediction[i]),
            int(batch.prediction_kind[i]),
            batch.classes[code] if code >= 0 else None,
            int(batch.event_time_ms[i]),
            int(batch.event_id[i]),
            str(batch.latency_ms[i]),
        ))  # fmt: skip
    return found


def taken_in(past: Past, stream: Sequence[Event], cuts: Sequence[int]) -> Past:
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, stop in pairwise(edges):
        past.take(decoded(stream[start:stop]))
    return past


@settings(deadline=None)
@given(events(), st.lists(st.integers(0, 40)), st.integers(1, 12), st.integers(1, 12))
def test_it_keeps_the_latest_of_each_model_for_any_cuts(
    stream: list[Event], cuts: list[int], n_most: int, n_asked: int
) -> None:
    past = taken_in(Past(n_most), stream, cuts)
    for key in MODELS:
        own = [e for e in stream if e.model == key and not e.is_label]
        expected = rows_of(decoded(own[-min(n_most, n_asked) :])) if own else []
        assert rows_of(past.of(key, n_asked)) == expected


def test_of_one_name_it_keeps_the_versions_and_nothing_else() -> None:
    stream = [Event(i, {"x": 1.0}, MODELS[i % 3]) for i in range(9)]
    past = taken_in(Past(5, "b"), stream, [4])
    assert past.of(MODELS[0], 5) is None
    assert [len(past.of(key, 5) or ()) for key in MODELS[1:]] == [3, 3]


@settings(deadline=None)
@given(events(), st.integers(0, 2**32))
def test_another_order_moves_events_with_their_times_and_leaves_places(
    stream: list[Event], seed: int
) -> None:
    own = [e for e in stream if e.model == MODELS[1] and not e.is_label]
    before = taken_in(Past(100), own, []).of(MODELS[1], 100)
    if before is None:
        return
    n = len(before)
    order = np.random.default_rng(seed).permutation(n)
    after = reordered(before, order)
    assert after.offset.tolist() == list(range(n))
    assert after.record_time_ms.tolist() == before.record_time_ms.tolist()
    assert after.event_time_ms.tolist() == before.event_time_ms[order].tolist()
    said_before, said_after = rows_of(before), rows_of(after)
    assert [row[1:-1] for row in said_after] == [said_before[i][1:-1] for i in order]
