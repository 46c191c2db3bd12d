"""What the fast path learns, what it leaves alone, and that none of it shows in a result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas import fast_path as module
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.limits import MAX_ID_CHARS, MAX_SHARD, DecodeLimits
from schemas.poll import CHUNK
from schemas.records import Record
from schemas.routes import NAP_RECORDS, WINDOW
from schemas.templates import Compiled
from tests.schemas.contract import KEY, TP, record, right_key, same
from tests.schemas.samples import LABEL, LIMITS, PREDICTION

Event = dict[str, Any]


def records_of(events: Sequence[Event | bytes]) -> list[Record]:
    values = [event if isinstance(event, bytes) else orjson.dumps(event) for event in events]
    return [record(i, value, right_key(value)) for i, value in enumerate(values)]


def n_slow(fast_path: FastPath, events: Sequence[Event | bytes]) -> int:
    """How many of these records no template takes now; the result is compared, too."""
    before = fast_path.n_slow.total()
    records = records_of(events)
    decoding = decode_records(TP, records, LIMITS, KEY, None, fast_path)
    same(decoding, decode_records(TP, records, LIMITS, KEY, None))
    return fast_path.n_slow.total() - before


def taught(*events: Event) -> FastPath:
    """A fast path that has seen these events often enough."""
    fast_path = FastPath(Compiled())
    for event in events:
        n_slow(fast_path, [event] * 8)
    assert [n_slow(fast_path, [event]) for event in events] == [0] * len(events)
    return fast_path


def test_a_form_is_learned_when_it_is_seen_twice() -> None:
    fast_path = FastPath(Compiled())
    assert [n_slow(fast_path, [PREDICTION]) for _ in range(4)] == [1, 1, 0, 0]
    assert fast_path.n_slow == {"untried": 2}
    other: Event = {**PREDICTION, "ts": "2026-03-01T12:00:00Z", "score": -0.0, "source": "s"}
    assert (
        n_slow(fast_path, [other, {**other, "prediction": "yes", "probabilities": {"a": 1}}]) == 0
    )
    assert n_slow(fast_path, [{**PREDICTION, "features": {"b": None, "a": 1}}]) == 0


def test_another_key_tries_what_was_learned_last() -> None:
    fast_path = taught(PREDICTION)
    assert n_slow(fast_path, [{**PREDICTION, "model_id": f"m{i}"} for i in range(1_000)]) == 0


def test_two_versions_of_a_model_each_have_their_template() -> None:
    versions = [PREDICTION, {**PREDICTION, "model_version": "2", "features": {"z": 1, "a": 2}}]
    fast_path = taught(*versions)
    assert n_slow(fast_path, versions * CHUNK) == 0


def test_labels_and_categories_have_templates_too() -> None:
    category = {**PREDICTION, "features": {"a": "x", "b": True, "c": None, "d": 1.5}}
    fast_path = taught(category, LABEL)
    number = {**PREDICTION, "features": {"a": 1, "b": "y", "c": False, "d": None}}
    assert n_slow(fast_path, [category, LABEL, number, {**LABEL, "label": "yes"}] * 3) == 0


def test_a_number_that_becomes_a_category_is_learned() -> None:
    fast_path = taught(PREDICTION)
    mixed: list[Event | bytes] = [PREDICTION, {**PREDICTION, "features": {"a": "x", "b": True}}]
    n_slow(fast_path, mixed * 20)
    n_slow(fast_path, mixed * 20)
    assert n_slow(fast_path, mixed * 20) == 0


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({**PREDICTION, "x": 1}, "unknown_name"),
        ({**PREDICTION, "features": {"a": 1, "b": 2, "c": 3}}, "unknown_name"),
        ({**PREDICTION, "features": {"a": 1}}, "missing_name"),
        ({**PREDICTION, "features": {"a": 1, "b": True}}, "other_type"),
        ({**PREDICTION, "features": {"a": 1, "b": [1]}}, "other_type"),
        ({**PREDICTION, "prediction": 2**63}, "other_type"),
        ({**PREDICTION, "score": "high"}, "other_type"),
        (orjson.dumps(PREDICTION)[:-1], "malformed"),
        (orjson.dumps(PREDICTION).replace(b'"e"', b'"\xff"'), "malformed"),
    ],
)
def test_what_a_template_refuses_goes_the_slow_way_alone(odd: Event | bytes, why: str) -> None:
    fast_path = taught(PREDICTION)
    fast_path.n_slow.clear()
    poll = [PREDICTION, PREDICTION, odd, PREDICTION]
    records = [r._replace(key=b"m") for r in records_of(poll)]
    decoding = decode_records(TP, records, LIMITS, KEY, None, fast_path)
    same(decoding, decode_records(TP, records, LIMITS, KEY, None))
    assert +fast_path.n_slow == {why: 1}
    (slow,) = fast_path.slow_models(5)
    assert slow == (b"m", 1, why, False)


@pytest.mark.parametrize("start", range(0, 0x300, 0x80))
def test_a_feature_may_be_called_anything(start: int) -> None:
    # A quotation mark in a name ended the decoder once, and with it the worker.
    fast_path = FastPath(Compiled())
    for code in (*range(start, start + 0x80), 0x2028, 0xFFFF, 0x1F600):
        event = {**PREDICTION, "model_id": f"m{code}", "features": {f"x{chr(code)}": 1, "b": 2}}
        events: list[Event | bytes] = [event] * 3
        for _ in range(3):
            records = records_of(events)
            decoding = decode_records(TP, records, LIMITS, KEY, None, fast_path)
            same(decoding, decode_records(TP, records, LIMITS, KEY, None))
            assert len(decoding.events) == 3
    odd = [model for model in fast_path.slow_models(999) if model.why == "odd_name"]
    assert len(odd) == (34 if start == 0 else 0)  # 32 control characters, " and \\


def test_missing_and_long_values_are_not_tried() -> None:
    fast_path = taught(PREDICTION)
    fast_path.n_slow.clear()
    values = [None, orjson.dumps(PREDICTION), b"", orjson.dumps({**PREDICTION, "source": "s" * 99})]
    records = [record(i, value, b"m") for i, value in enumerate(values)]
    limits = DecodeLimits(max_event_bytes=120)
    decoding = decode_records(TP, records, limits, KEY, None, fast_path)
    same(decoding, decode_records(TP, records, limits, KEY, None))
    assert [r.reason for r in decoding.rejects] == ["empty", "empty", "too_large"]
    assert +fast_path.n_slow == {"untried": 2, "malformed": 1}


LONG = "é" * MAX_ID_CHARS
IDS: list[Any] = ["", "x", LONG, LONG + "x", None, 1]
TEXTS: list[Any] = ["", LONG, LONG + "x", None, 1, True]
EDGES: dict[str, list[Any]] = {
    "event_id": IDS,
    "model_id": IDS,
    "model_version": IDS,
    "source": TEXTS,
    "feature_view": TEXTS,
    "traceparent": TEXTS,
    "ts": [-1, 0, 2**63, 1.0, True, "", "2026-03-01T12:00:00Z", "2026-03-01", LONG],
    "prediction": ["", LONG, LONG + "x", True, 0, -0.0, 2**63, 2**64, None, [], {}],
    "score": [-0.0, 2**70, "1", True, None],
    "probabilities": [
        *({}, {"": 0}, {"a": 1}, {"a": -0.0}, {"a": -1e-300}, {"a": 1.5}, {"a": "1"}, {"a": True}),
        *({LONG: 1}, {LONG + "x": 1}, {"a": None}, None, []),
    ],
    "slices": [
        {},
        {"": "a"},
        {"a": ""},
        {LONG: LONG},
        {LONG + "x": ""},
        {"a": LONG + "x"},
        {"a": 1},
    ],
    "latency_ms": [0, -0.0, -1, -1e-300, 1e300, "1", True],
    "sample_rate": [0, -0.0, 1e-300, 1, 1.0, 1.0000001, True],
    "schema_version": ["", LONG, LONG + "x", 2**63, -(2**63) - 1, 1.0, True],
    "shard": [-1, 0, MAX_SHARD, MAX_SHARD + 1, 1.0, True, None],
}


@pytest.mark.parametrize("field", EDGES)
def test_a_template_draws_every_line_where_the_rules_do(field: str) -> None:
    """It takes no event that they refuse; what it does not take they judge."""
    fast_path = taught(PREDICTION)
    # json, not orjson: integers of any size.
    events: list[Event | bytes] = [
        json.dumps({**PREDICTION, field: value}).encode() for value in EDGES[field]
    ]
    for event in events:
        n_slow(fast_path, [event, PREDICTION])
    n_slow(fast_path, [*events, PREDICTION])


def test_bad_values_among_good_ones_leave_alone() -> None:
    fast_path = taught({**PREDICTION, "latency_ms": 1})
    events: list[Event | bytes] = [
        {**PREDICTION, "latency_ms": i, "features": {"a": i, "b": -i}} for i in range(9)
    ]
    events[3] = {**PREDICTION, "latency_ms": -1}
    events[5] = {**PREDICTION, "ts": -1}
    assert n_slow(fast_path, events) == 1  # what is wrong with `ts` no template sees
    wrong_keys = [r._replace(key=b"n") if r.offset % 2 else r for r in records_of(events)]
    decoding = decode_records(TP, wrong_keys, LIMITS, KEY, None, fast_path)
    same(decoding, decode_records(TP, wrong_keys, LIMITS, KEY, None))
    assert len(decoding.rejects) == 4


def test_a_key_that_mostly_misses_rests_and_is_tried_again() -> None:
    fast_path = taught(PREDICTION)
    odd: Event = {**PREDICTION, "x": 1}
    tries = []
    for _ in range(3 * NAP_RECORDS // CHUNK):
        before = fast_path.n_slow["unknown_name"]
        n_slow(fast_path, [odd] * CHUNK)
        tries.append(fast_path.n_slow["unknown_name"] - before)
    rounds = [i for i, n in enumerate(tries) if n]
    assert rounds == [0, NAP_RECORDS // CHUNK]  # the second rest is twice as long
    assert max(tries) == CHUNK >= WINDOW
    assert fast_path.slow_models(1)[0].is_resting
    while fast_path.slow_models(1)[0].is_resting:
        n_slow(fast_path, [PREDICTION] * CHUNK)
    assert n_slow(fast_path, [PREDICTION] * CHUNK) == 0


def test_few_misses_do_not_make_a_key_rest() -> None:
    fast_path = taught(PREDICTION)
    poll: list[Event | bytes] = [{**PREDICTION, "x": 1}, PREDICTION, PREDICTION]
    for _ in range(20):
        assert n_slow(fast_path, poll * 100) == 100


def test_what_is_known_is_bounded() -> None:
    compiled = Compiled(max_templates=3, max_features=5)
    fast_path = FastPath(compiled)
    with (
        mock.patch.object(module, "MAX_ROUTES", 4),
        mock.patch.object(module, "MAX_CANDIDATES", 4),
    ):
        for i in range(40):
            event = {**PREDICTION, "model_id": f"m{i}", "features": {f"f{i}": 1, f"g{i}": 2}}
            n_slow(fast_path, [event, event])
    assert len(compiled.by_class) == 2
    assert len(fast_path._routes) <= 4
    assert fast_path._routes.keys() == fast_path._decoder_of.keys()
    assert len(fast_path._candidates) <= 4
    assert {model.why for model in fast_path.slow_models(9)} >= {"no_room"}


def test_a_hostile_producer_makes_few_compilations() -> None:
    compiled = Compiled()
    fast_path = FastPath(compiled)
    n_records = 16 * CHUNK
    for start in range(0, n_records, 2):  # each form twice, as one is learned
        event = {**PREDICTION, "features": {f"f{start}": 1}}
        decode_records(TP, records_of([event, event]), LIMITS, KEY, None, fast_path)
    assert len(compiled.by_class) <= 64 + n_records // module.RECORDS_A_COMPILATION


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.none()))
@example({'"': None})
@example({"\\": None})
@example({"\x00": None, "\x1f": None, "\x7f": None, "\u2028": None})
@example({f"f{i}": None for i in range(4_096)})
@example(dict.fromkeys(["f0", "f1", "features", "self", "__init__", "class", "a b", "é"]))
def test_every_name_is_learned_or_left_alone(features: dict[str, None]) -> None:
    event = {**PREDICTION, "features": features}
    fast_path = FastPath(Compiled())
    for _ in range(2):
        n_slow(fast_path, [event] * 3)
    needs_escape = any(c in '"\\' or c < " " for name in features for c in name)
    assert n_slow(fast_path, [event]) == needs_escape


def test_a_model_that_has_no_template_says_why() -> None:
    fast_path = FastPath(Compiled())
    n_slow(fast_path, [{**PREDICTION, "extra": 1}] * 8)
    assert [(m.key, m.why) for m in fast_path.slow_models(5)] == [(b"m", "unknown_name")]
