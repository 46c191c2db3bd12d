"""Targets: event records in JSON and in Arrow, and times as text."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

import orjson

from schemas.arrow import events_of, open_stream
from schemas.arrow_mark import MARK, is_arrow
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.field_rules import Fault
from schemas.limits import MAX_TS_MS, DecodeLimits
from schemas.records import Record
from schemas.templates import Compiled
from schemas.timestamps import parse_ts
from streams.scan_time import time_unit, to_ms
from tests.fuzz.target import Target, must
from tests.schemas.arrow_streams import Table, stream_of
from tests.schemas.contract import (
    KEY,
    TP,
    Row,
    by_model,
    check_form,
    n_unknown,
    record,
    right_key,
    rows,
    same,
)
from tests.schemas.samples import LABEL, PREDICTION
from tests.schemas.test_arrow import decode_arrow, same_as_json

LIMITS = DecodeLimits(event_ids=True)
MAX_COMPARED = 64
"""Rows of an Arrow stream that are decoded as JSON, too: 4,096 would take long."""
EXAMPLES = tuple(
    orjson.dumps(event)
    for event in (
        PREDICTION,
        {**PREDICTION, "features": {"a": 1.5, "b": "x", "c": None, "d": False}, "score": -0.0},
        {**PREDICTION, "probabilities": {"0": 0.25, "1": 0.75}, "source": "s", "prediction": 12},
        {**PREDICTION, "slices": {"x": "y"}, "latency_ms": 1.5, "shard": 3, "ts": "2026-03-01"},
        {**PREDICTION, "ts": "2026-03-01T12:00:00.250Z", "prediction": "yes", "sample_rate": 1},
        {**LABEL, "label_source": "s", "shard": 0},
        LABEL,
    )
)
TOKENS = (
    *(b"null", b"true", b"false", b"1e999", b"-0.0", b"1e-400", b"NaN", b"Infinity", b"\\ud800"),
    *(b"9223372036854775808", b"18446744073709551616", b'"type":"label"', b"\\u0000", b"\xed\xa0"),
    *(b"2147483648", b"253402300800000", b'"features":{}', b"[[[[", b'{"a":{', b"\\u0061", b"\n"),
    *(b'"score":', b'"shard":', b'"slices":{}', b'"probabilities":{}', b'"schema_version":'),
)


@lru_cache(maxsize=1)
def templates() -> Compiled:
    """Those of the examples, and room for no other: what an input does depends on it alone."""
    compiled = Compiled()
    taught(compiled)
    compiled._max_templates = 0
    return compiled


def taught(compiled: Compiled) -> FastPath:
    """A fast path that knows the form of every example."""
    fast_path = FastPath(compiled)
    for example in EXAMPLES:
        decode_records(TP, [record(0, example, right_key(example))], LIMITS, KEY, None, fast_path)
    return fast_path


def run_events(content: bytes) -> None:
    """A line is a record; the decoder and the models must say the same, on both paths."""
    values = [value for value in content.split(b"\n") if not is_arrow(value)]
    if not values:
        return
    records = [Record(TP, i, 1_000, right_key(value), value) for i, value in enumerate(values)]
    slow = decode_records(TP, records, LIMITS, KEY, None)
    same(decode_records(TP, records, LIMITS, KEY, None, taught(templates())), slow)
    check_form(slow.events)
    expected = {i: row for i, row in enumerate(map(by_model, values)) if isinstance(row, Row)}
    must(slow.events.offset.tolist() == list(expected), "not the events that the models accept")
    must(rows(slow.events) == list(expected.values()), "a column differs from the models' value")
    must(
        slow.events.n_unknown_fields == sum(n_unknown(values[i]) for i in expected),
        "unknown fields are counted wrongly",
    )
    # Once more with a path that learns these very records, if it can, before it reads them.
    own = FastPath(Compiled())
    for _ in range(3):
        same(decode_records(TP, records, LIMITS, KEY, None, own), slow)
    must(len(slow.rejects) + len(expected) == len(values), "a record is lost")
    # The key and the list of models may refuse more, and never raise.
    elsewhere = [each._replace(key=values[0]) for each in records]
    decode_records(TP, elsewhere, LIMITS, None, frozenset({"m"}))


def run_arrow(content: bytes) -> None:
    """The rows are what the same events are in JSON; or the record is refused, whole."""
    key = b"m"
    arrow = decode_arrow(content, key=key)
    check_form(arrow.events)
    if not is_arrow(content):
        return
    batches = open_stream(content)
    if isinstance(batches, Fault):
        must(len(arrow.rejects) == 1 and not len(arrow.events), "a stream refused in part")
        return
    events = [event for batch in batches for event in events_of(batch)]
    must(len(arrow.events) + len(arrow.rejects) == len(events), "a row is lost")
    if len(events) <= MAX_COMPARED:
        same_as_json(Table(content, events), arrow, key)


def arrow_seeds() -> list[bytes]:
    prediction = {**PREDICTION, "features": {"a": 1.5, "b": "x", "c": None}, "prediction": 1}
    rows = [prediction | {"event_id": str(i), "score": i / 7, "source": "s"} for i in range(3)]
    return [
        stream_of(rows),
        stream_of([PREDICTION]),
        stream_of([LABEL, LABEL | {"label": 2}]),
        stream_of([{**PREDICTION, "probabilities": {"0": 0.5, "1": 0.5}, "shard": 3}]),
        MARK + bytes(4),
    ]


def run_timestamps(content: bytes) -> None:
    """Text and numbers as a time: ValueError or TypeError, or what the standard library says."""
    text = content.decode("utf-8", "surrogateescape")  # JSON may hold half a surrogate pair
    try:
        ts_ms = parse_ts(text)
    except ValueError:
        pass
    else:
        must(0 <= ts_ms <= MAX_TS_MS, "outside of its range")
        # The leap second is the second after :59.
        shift_ms = 1_000 if text[17:19] == "60" else 0
        plain = text[:17] + "59" + text[19:] if shift_ms else text
        moment = dt.datetime.fromisoformat(plain.upper())
        since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        must(ts_ms == since // dt.timedelta(milliseconds=1) + shift_ms, "another moment")
    for value in (text, int.from_bytes(content[:9], "little", signed=True), float(len(text))):
        time_unit([value])
        for unit in ("moment", "text", "s", "ms", "us", "ns"):
            to_ms(value, unit)


TARGETS = (
    Target("arrow", run_arrow, arrow_seeds, (MARK, b"event_id", b"ts", b"\xff\x7f", b"features")),
    Target(
        "events",
        run_events,
        lambda: [*EXAMPLES, b"\n".join(EXAMPLES), EXAMPLES[0] + b"\n" + EXAMPLES[0], b"", b"{}"],
        TOKENS,
    ),
    Target(
        "timestamps",
        run_timestamps,
        lambda: [
            *(b"2026-03-01T12:00:00Z", b"2026-03-01 12:00:00.123456789+05:30", b"1e99"),
            *(b"2016-12-31T23:59:60Z", b"9999-12-31t23:59:59.999z", b"1970-01-01T00:00:00-00:01"),
            *(b"2016-12-31T22:59:60.5-01:00", b"2026-W09-7T12:00", b"20260301", b"0001-01-01"),
        ],
        (b"T", b"Z", b"+00:00", b"-23:59", b":60", b".999", b"9999-12-31", b"1970-01-01", b"W"),
    ),
)
