"""What decoding costs: `orjson.loads` alone beside `decode_records`, in one run.

Each contestant gets the same slices of records in turn, many times over; of each slice the least
processor time counts, as the least disturbed one. The garbage collector is off, as in the worker.
`slow` is the way of an event that no template takes; `decode` is what a worker does.
"""

from __future__ import annotations

import argparse
import gc
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import thread_time
from typing import Any, Final

import orjson
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types

from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.limits import DecodeLimits
from schemas.records import Record, TopicPartition
from schemas.source_hash import SourceKey
from schemas.templates import Compiled

N_EVENTS: Final = 4_096
SLICE: Final = 1_024
ARROW_ROWS: Final = 2_048
N_FEATURES: Final = 20
_TP: Final = TopicPartition("driftsentry.events", 0)
_KEY: Final = SourceKey(b"the benchmark's source key")
_START_MS: Final = 1_772_366_400_000

Change = Callable[[int, dict[str, Any]], dict[str, Any]]


def event(i: int, dice: random.Random, n_models: int) -> dict[str, Any]:
    """One event of about 860 bytes with 20 numeric features."""
    return {
        "type": "prediction",
        "event_id": f"{dice.getrandbits(128):032x}",
        "model_id": f"census-income-{i % n_models}",
        "model_version": "2026.02.14-3",
        "ts": _START_MS + i,
        "source": f"client-{dice.randrange(500):04}",
        "features": {
            f"numeric_feature_{j:02}": round(dice.gauss(0, 100), 6) for j in range(N_FEATURES)
        },
        "prediction": dice.randrange(2),
        "score": round(dice.random(), 6),
        "latency_ms": round(dice.expovariate(0.2), 3),
    }


def _as_text_time(_: int, e: dict[str, Any]) -> dict[str, Any]:
    return {
        **e,
        "ts": datetime.fromtimestamp(e["ts"] / 1_000, UTC).isoformat().replace("+00:00", "Z"),
    }


def _with_nulls(i: int, e: dict[str, Any]) -> dict[str, Any]:
    return {**e, "features": {**e["features"], f"numeric_feature_{i % 4:02}": None}}


def _with_text(_: int, e: dict[str, Any]) -> dict[str, Any]:
    return {**e, "features": {**e["features"], "numeric_feature_03": "Utrecht"}}


def _with_labels(i: int, e: dict[str, Any]) -> dict[str, Any]:
    label = {"type": "label", "event_id": e["event_id"], "model_id": e["model_id"]}
    return e if i % 2 else {**label, "ts": e["ts"], "label": e["prediction"]}


def _two_producers(i: int, e: dict[str, Any]) -> dict[str, Any]:
    return e if i % 2 else {**e, "shard": None}


def _one_in_a_hundred_bad(i: int, e: dict[str, Any]) -> dict[str, Any]:
    return e if i % 100 else {**e, "score": "high"}


def _never_alike(i: int, e: dict[str, Any]) -> dict[str, Any]:
    return {**e, "features": {**e["features"], f"odd_{i}": i}}


def _always_unknown(_: int, e: dict[str, Any]) -> dict[str, Any]:
    return {**e, "unheard_of": 1}


CASES: Final[dict[str, tuple[int, Change]]] = {
    "one model": (1, lambda _, e: e),
    "1,000 models": (1_000, lambda _, e: e),
    "ts as RFC 3339": (1, _as_text_time),
    "one null in each": (1, _with_nulls),
    "one text feature": (1, _with_text),
    "half are labels": (1, _with_labels),
    "two forms of event": (1, _two_producers),
    "1 in 100 is refused": (1, _one_in_a_hundred_bad),
    "hostile: none alike": (1, _never_alike),
    "an unknown field": (1, _always_unknown),
}


def records(n_models: int, change: Change, n_events: int) -> list[Record]:
    """The records of one case."""
    dice = random.Random(7)
    made = []
    for i in range(n_events):
        e = change(i, event(i, dice, n_models))
        made.append(Record(_TP, i, _START_MS + i, e["model_id"].encode(), orjson.dumps(e)))
    return made


def measure(case: str, n_events: int, n_rounds: int) -> dict[str, Any]:
    """The best of `n_rounds` of each contestant on each slice, in microseconds per event."""
    n_models, change = CASES[case]
    polled = records(n_models, change, n_events)
    limits = DecodeLimits()
    values = [r.value for r in polled if r.value is not None]
    fast_path = FastPath(Compiled())
    decoding = decode_records(_TP, polled, limits, _KEY, None, fast_path)
    fast_path.n_slow.clear()
    contestants: dict[str, Callable[[slice], object]] = {
        "loads": lambda some: [orjson.loads(value) and None for value in values[some]],
        "slow": lambda some: decode_records(_TP, polled[some], limits, _KEY, None),
        "fast": lambda some: decode_records(_TP, polled[some], limits, _KEY, None, fast_path),
    }
    us = dict.fromkeys(contestants, 0.0)
    gc.collect()
    gc.freeze()
    gc.disable()
    for start in range(0, n_events, SLICE):
        some = slice(start, start + SLICE)
        best = dict.fromkeys(contestants, float("inf"))
        for _ in range(n_rounds):
            for name, contestant in contestants.items():
                started = thread_time()
                contestant(some)
                best[name] = min(best[name], thread_time() - started)
        us = {name: us[name] + best[name] / n_events * 1e6 for name in us}
    gc.enable()
    n_slow = sum(fast_path.n_slow.values()) / n_rounds
    loads_us, slow_us, fast_us = us.values()
    return {
        "case": case,
        "bytes_per_event": round(sum(map(len, values)) / n_events),
        "n_rejects": len(decoding.rejects),
        "loads_us": round(loads_us, 3),
        "slow_us": round(slow_us, 3),
        "decode_us": round(fast_us, 3),
        "slow_ratio": round(slow_us / loads_us, 2),
        "ratio": round(fast_us / loads_us, 2),
        "slow_share": round(n_slow / n_events, 3),
    }


def arrow_records(n_events: int) -> list[Record]:
    """The events of the first case, in records of `ARROW_ROWS`."""
    made = []
    dice = random.Random(7)
    for start in range(0, n_events, ARROW_ROWS):
        events = [event(i, dice, 1) for i in range(start, min(start + ARROW_ROWS, n_events))]
        batch = pa.RecordBatch.from_pylist(events)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        value = sink.getvalue().to_pybytes()
        made.append(Record(_TP, start, _START_MS + start, events[0]["model_id"].encode(), value))
    return made


def measure_arrow(n_events: int, n_rounds: int) -> dict[str, Any]:
    """The same events as Arrow streams, in microseconds per event."""
    polled = arrow_records(n_events)
    total_us = 0.0
    for record in polled:
        best = float("inf")
        for _ in range(n_rounds):
            started = thread_time()
            decoding = decode_records(_TP, [record], DecodeLimits(), _KEY, None)
            best = min(best, thread_time() - started)
        assert not decoding.rejects
        total_us += best * 1e6
    n_bytes = sum(len(record.value or b"") for record in polled)
    return {
        "rows_per_record": ARROW_ROWS,
        "bytes_per_event": round(n_bytes / n_events),
        "decode_us": round(total_us / n_events, 3),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and with `--json` the same as one object on the last line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--events", type=int, default=N_EVENTS)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args(arguments)
    print(
        "case                  bytes  loads us  slow us  ratio  decode us  ratio  slow %  refused"
    )
    rows = []
    for case in CASES:
        row = measure(case, options.events, options.rounds)
        rows.append(row)
        print(
            f"{case:20} {row['bytes_per_event']:6} {row['loads_us']:9.2f} "
            f"{row['slow_us']:8.2f} {row['slow_ratio']:6.2f} {row['decode_us']:10.2f} "
            f"{row['ratio']:6.2f} {100 * row['slow_share']:7.1f} {row['n_rejects']:8}"
        )
    arrow = measure_arrow(options.events, options.rounds)
    ratio = arrow["decode_us"] / rows[0]["loads_us"]
    print(
        f"Arrow, {ARROW_ROWS} rows a record: {arrow['bytes_per_event']} bytes and "
        f"{arrow['decode_us']:.2f} us an event, {ratio:.2f} of orjson.loads for one in JSON"
    )
    if options.json:
        found = {"benchmark": "decode", "n_features": N_FEATURES, "cases": rows, "arrow": arrow}
        print(orjson.dumps(found).decode())


if __name__ == "__main__":
    main()
