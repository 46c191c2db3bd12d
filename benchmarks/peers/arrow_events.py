"""The same events as Arrow records: each holds 1,024 of them as columns."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
from confluent_kafka import Producer

from benchmarks.peers.events import MODEL, chunks
from benchmarks.pipeline import N_PARTITIONS, NAMES
from schemas.batch import F64

ROWS: Final = 1_024
"""Events of a record; the last one of a partition may hold fewer."""
TS_MS: Final = 1_795_428_000_123


def n_records(n: int) -> int:
    """How many records hold `n` events, which are spread over all partitions alike."""
    return N_PARTITIONS * -(-n // N_PARTITIONS // ROWS)


def produce_arrow(producer: Producer, topic: str, n: int) -> float:
    """Fill the topic; returns the mean size of an event in bytes."""
    waiting: list[F64] = [np.zeros((0, len(NAMES)))] * N_PARTITIONS
    n_bytes = n_sent = 0
    for start, values in chunks(n):
        is_last = start + len(values) == n
        for partition in range(N_PARTITIONS):
            mine = values[(partition - start) % N_PARTITIONS :: N_PARTITIONS]
            rows = np.concatenate([waiting[partition], mine])
            n_whole = len(rows) if is_last else len(rows) // ROWS * ROWS
            for at in range(0, n_whole, ROWS):
                value = record(rows[at : min(at + ROWS, n_whole)], n_sent)
                n_sent += ROWS
                n_bytes += len(value)
                producer.produce(topic, key=MODEL.encode(), value=value, partition=partition)
            waiting[partition] = rows[n_whole:]
        producer.flush()
    return n_bytes / n


def record(values: F64, first: int) -> bytes:
    """One IPC stream of these events, the fields those of the JSON events."""
    k = len(values)
    score = 1 / (1 + np.exp(-values[:, 0]))
    features = pa.StructArray.from_arrays(
        [pa.array(np.ascontiguousarray(column)) for column in values.T], NAMES
    )
    columns = {
        "type": pa.array(["prediction"] * k),
        "event_id": pa.array([f"0f8fad5b-d9cb-469f-a165-{i:012}" for i in range(first, first + k)]),
        "model_id": pa.array([MODEL] * k),
        "model_version": pa.array(["2026-11-01"] * k),
        "ts": pa.array(np.full(k, TS_MS)),
        "source": pa.array([f"client-{i % 500:04}" for i in range(first, first + k)]),
        "features": features,
        "prediction": pa.array((score > 0.5).astype(np.int64)),
        "score": pa.array(np.round(score, 6)),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written
