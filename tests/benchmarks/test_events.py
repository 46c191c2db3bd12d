"""All contestants get the same events."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pytest

from benchmarks.peers.arrow_events import ROWS, n_records, produce_arrow
from benchmarks.peers.events import MOVED, PERIOD, chunks, produce
from benchmarks.peers.river_monitor import Reference
from benchmarks.pipeline import N_PARTITIONS


class Kept:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.values: dict[int, list[bytes]] = {p: [] for p in range(N_PARTITIONS)}

    def produce(self, _topic: str, *, key: bytes, value: bytes, partition: int) -> None:
        assert key == b"model-0000"
        self.values[partition].append(value)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("n", [40, 5_000, 12_344])
def test_arrow_records_hold_the_events_of_the_json_records(n: int) -> None:
    json: Any = Kept()
    arrow: Any = Kept()
    produce(json, "events", n)
    produce_arrow(arrow, "events", n)
    assert sum(map(len, arrow.values.values())) == n_records(n)
    for partition, values in json.values.items():
        records = [pa.ipc.open_stream(value).read_all() for value in arrow.values[partition]]
        assert all(record.num_rows == ROWS for record in records[:-1])
        rows = [row for record in records for row in record.to_pylist()]
        events = [orjson.loads(value) for value in values]
        assert [row["features"] for row in rows] == [event["features"] for event in events]
        assert [row["prediction"] for row in rows] == [event["prediction"] for event in events]
        assert [row.keys() for row in rows] == [event.keys() for event in events]


def test_a_longer_run_begins_with_the_events_of_a_shorter_one() -> None:
    short = np.concatenate([values for _, values in chunks(7_000)])
    long = np.concatenate([values for _, values in chunks(23_000)])
    assert (long[:7_000] == short).all()


def test_some_features_move_and_others_do_not() -> None:
    values = np.concatenate([values for _, values in chunks(2 * PERIOD)])
    moved = values[PERIOD:].mean(axis=0) - values[:PERIOD].mean(axis=0)
    assert moved[MOVED] == pytest.approx(0.5, abs=0.06)
    assert np.delete(moved, np.r_[MOVED]) == pytest.approx(0, abs=0.06)


def test_the_reference_is_mean_and_population_deviation() -> None:
    values = np.random.default_rng(1).normal(3, 2, 500)
    reference = Reference()
    for x in values.tolist():
        reference.learn(x)
    assert reference.mean == pytest.approx(values.mean())
    assert reference.sd == pytest.approx(values.std())
