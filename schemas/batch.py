"""The columns of one poll: as decoded, and as the detector banks see them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.records import Reject, TopicPartition

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


class ModelKey(NamedTuple):
    """What a monitor is kept for: a model version, or one shard of it."""

    model_id: str
    model_version: str
    shard: int = -1
    """-1 where the model is not sharded."""


class ValueKind(IntEnum):
    """What a feature's JSON value was. Only of a `NUMBER` is its value a number."""

    NUMBER = 0
    NULL = 1
    STRING = 2
    BOOLEAN = 3
    INVALID = 4


class PredictionKind(IntEnum):
    """What an event's `prediction` was, or its `label`."""

    ABSENT = 0
    INTEGER = 1
    NUMBER = 2
    STRING = 3
    BOOLEAN = 4


@dataclass(frozen=True, slots=True)
class Decoded:
    """The accepted events of one poll of one partition, as columns in offset order.

    Decoding is stateless: the same records give the same columns, whatever came before.
    Where rows are labels (`is_label`), the columns of the prediction hold the label, and those of
    features and score their empty value.
    """

    tp: TopicPartition
    offset: I64
    """(n,) record offset."""
    row: I32
    """(n,) index of the event within its record; 0 for JSON."""
    record_time_ms: I64
    """(n,) Kafka record timestamp, epoch ms."""
    event_time_ms: I64
    """(n,) the event's own `ts`, epoch ms."""
    is_label: Bool
    """(n,)"""
    model: I32
    """(n,) index into `models`."""
    models: list[ModelKey]
    """The distinct model keys, in order of first appearance; a label's has version ""."""
    shape: I32
    """(n,) index into `shapes`; -1 for labels."""
    shapes: list[tuple[str, ...]]
    """The distinct tuples of feature names, each in order of the names (by code points).

    The order of the names in a JSON object says nothing, as RFC 8259 has it.
    """
    value_ptr: I64
    """(n + 1,) row i has `value[value_ptr[i]:value_ptr[i + 1]]`, in its shape's order."""
    value: F64
    """(v,) the number, never infinite. Ask `kind` first, since a category has a code here: of a
    `STRING` the index into `categories` (-1: a name too long to be kept), of a `BOOLEAN` 0 or 1.
    NaN where there is nothing."""
    kind: U8
    """(v,) `ValueKind` of each value."""
    categories: list[str]
    """The distinct values of features that are strings, in order of first appearance."""
    score: F64
    """(n,) `score`, or the one derived from `probabilities`; NaN where the event has neither."""
    prediction_kind: U8
    """(n,) `PredictionKind` of the prediction, or of the label."""
    prediction: F64
    """(n,) the number predicted, or that of the label (a boolean as 0 or 1); NaN for strings and
    absent ones."""
    predicted_class: I32
    """(n,) index into `classes` of integers, strings and booleans, else -1."""
    classes: list[str]
    """The distinct class names: a string as it is, an integer in decimal, `true` or `false`."""
    source: U64
    """(n, 2) the keyed hash of `source` or `label_source` as two words; 0, 0 where absent."""
    event_id: U64
    """(n,) the keyed fingerprint of `event_id`; 0 in all rows where nobody asks for it."""
    latency_ms: F64
    """(n,) how long the model took; NaN where the event does not say."""
    n_unknown_fields: int
    """How many unknown top-level fields were ignored in this poll's accepted events."""
    n_sources_dropped: int
    """How many sources were dropped because no source key is configured."""

    def __len__(self) -> int:
        return len(self.offset)


class Decoding(NamedTuple):
    """What `decode_records` returns: the good events, and every refused record in offset order."""

    events: Decoded
    rejects: list[Reject]


@dataclass(frozen=True, slots=True)
class Batch:
    """What the detector banks see of one stretch of one partition: dense blocks, one per model.

    Block b holds the rows of one model version in offset order, and for each of its lanes one
    value per row. Its k = block_row_ptr[b+1] - block_row_ptr[b] rows are
    `row_index[block_row_ptr[b]:block_row_ptr[b+1]]` (indices into `offset`), its lanes are
    `lane[block_lane_ptr[b]:block_lane_ptr[b+1]]`, and lane number j of the block observes
    `value[block_value_ptr[b] + j * k : block_value_ptr[b] + (j + 1) * k]`: time order, contiguous.
    A lane occurs at most once in a batch. NaN means: nothing observed, skip; nothing is infinite.
    """

    tp: TopicPartition
    offset: I64
    """(n,) record offset of each row, ascending."""
    event_row: I32
    """(n,) index of the event within its record; 0 for JSON."""
    event_time_ms: I64
    """(n,) epoch ms."""
    model: I32
    """(n,) model-version number (slot) of each row."""
    model_event: I64
    """(n,) how many events of its model version came before this row."""
    row_index: I32
    """(n,) the rows grouped by block."""
    block_row_ptr: I64
    """(b + 1,)"""
    block_lane_ptr: I64
    """(b + 1,)"""
    block_value_ptr: I64
    """(b + 1,)"""
    lane: I32
    """(sum of the blocks' lanes,) lane numbers."""
    value: F64
    """(block_value_ptr[-1],) standardised observations z; NaN where nothing is observed."""
