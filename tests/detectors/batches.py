"""Streams for banks: rows of several models, cut into batches as the fold cuts them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from detectors.base import BankState, DetectorBank
from detectors.drift.ranks import LaneReference, fit, fit_indicator
from schemas.batch import F64, I32, I64, Batch
from schemas.findings import Firing
from schemas.records import TopicPartition

TP = TopicPartition("events", 3)
COLUMNS = [field.name for field in fields(Batch) if field.name != "tp"]


@dataclass(frozen=True)
class Stream:
    """Rows in offset order; of each row the values of its model's lanes, NaN where missing."""

    offset: I64
    model: I32
    lanes: list[I32]
    """By model, its lane numbers."""
    value: F64
    """(n, most lanes of a model); a row uses as many columns as its model has lanes."""

    def __len__(self) -> int:
        return len(self.offset)

    @cached_property
    def model_event(self) -> I64:
        """(n,) how many rows of its model came before each row."""
        count = np.zeros(len(self), np.int64)
        for model in range(len(self.lanes)):
            rows = np.flatnonzero(self.model == model)
            count[rows] = np.arange(len(rows))
        return count


def one_model(values: F64, first_offset: int = 0) -> Stream:
    """A stream of one model; values (n,) or (n, lanes)."""
    columns = values.reshape(len(values), -1)
    n, n_lanes = columns.shape
    return Stream(
        np.arange(first_offset, first_offset + n),
        np.zeros(n, np.int32),
        [np.arange(n_lanes, dtype=np.int32)],
        columns,
    )


def batch_of(stream: Stream, start: int, stop: int, *, read_only: bool = True) -> Batch:
    """Rows start..stop-1 as one batch: a block for each model that occurs."""
    rows = np.arange(start, stop)
    row_index: list[I64] = []
    lane: list[I32] = []
    value: list[F64] = []
    row_ptr, lane_ptr, value_ptr = [0], [0], [0]
    for model, lanes in enumerate(stream.lanes):
        here = np.flatnonzero(stream.model[rows] == model)
        if not len(here):
            continue
        row_index.append(here)
        lane.append(lanes)
        value.append(stream.value[rows[here], : len(lanes)].T.ravel())
        row_ptr.append(row_ptr[-1] + len(here))
        lane_ptr.append(lane_ptr[-1] + len(lanes))
        value_ptr.append(value_ptr[-1] + len(here) * len(lanes))
    batch = Batch(
        tp=TP,
        offset=stream.offset[rows],
        event_row=np.zeros(len(rows), np.int32),
        event_time_ms=1_000 + 10 * rows.astype(np.int64),
        model=stream.model[rows],
        model_event=stream.model_event[rows],
        row_index=np.concatenate([np.zeros(0, np.int64), *row_index]).astype(np.int32),
        block_row_ptr=np.array(row_ptr, np.int64),
        block_lane_ptr=np.array(lane_ptr, np.int64),
        block_value_ptr=np.array(value_ptr, np.int64),
        lane=np.concatenate([np.zeros(0, np.int32), *lane]).astype(np.int32),
        value=np.concatenate([np.zeros(0, np.float64), *value]),
    )
    for name in COLUMNS:
        getattr(batch, name).flags.writeable = not read_only
    return batch


def split(stream: Stream, cuts: Iterable[int]) -> Iterator[Batch]:
    """The stream as batches that end at each of `cuts` and at its end; some may be empty."""
    start = 0
    for cut in [*sorted(cuts), len(stream)]:
        yield batch_of(stream, start, cut)
        start = cut


def feed(bank: DetectorBank, batches: Iterable[Batch]) -> list[Firing]:
    """All firings of these batches, in their order of policy."""
    return sorted(firing for batch in batches for firing in bank.update(batch))


def teach(bank: DetectorBank, lanes: Iterable[int], *, eager: bool = False) -> None:
    """Give lanes references: normal ones, every third that of an indicator.

    By lane number, so that whoever teaches a lane again teaches it the same. `eager`: with as many
    alarms as a budget can ask for.
    """
    for lane in lanes:
        rng = np.random.default_rng(lane)
        x = rng.normal(size=400)
        ranks = fit_indicator(x, 1.0) if lane % 3 == 2 else fit(x)
        arl0 = 100.0 if eager else 1e4
        bank.learn(np.array([lane], np.int32), [LaneReference(ranks, arl0)])


def state_bytes(state: BankState) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """What a checkpoint would hold of a snapshot."""
    return {k: (a.dtype.str, a.shape, a.tobytes()) for k, a in state.items()}


KINDS = ("normal", "constant", "two", "rounded", "heavy", "ramp", "alternating", "tiny", "huge")


def noise(rng: np.random.Generator, kind: str, n: int) -> F64:
    """One of the kinds of `KINDS`."""
    match kind:
        case "constant":
            return np.zeros(n)
        case "two":
            return np.less(rng.random(n), 0.1).astype(np.float64)
        case "rounded":
            return np.round(rng.normal(size=n))
        case "heavy":
            return rng.standard_cauchy(size=n)
        case "ramp":
            return np.linspace(0.0, 3.0, n)
        case "alternating":
            return np.arange(n, dtype=np.float64) % 2.0
        case "tiny":
            return rng.normal(size=n) * 1e-300
        case "huge":
            return rng.choice([-1e6, 1e6], size=n)
        case _:
            return rng.normal(size=n)


def random_values(rng: np.random.Generator, n: int) -> F64:
    """One lane: stretches of different levels and kinds, sometimes with gaps."""
    parts: list[F64] = []
    left = n
    kind = str(rng.choice(KINDS))
    level = 0.0
    while left > 0:
        k = min(left, int(rng.integers(1, 400)))
        left -= k
        if rng.random() < 0.3:
            kind = str(rng.choice(KINDS))
        if rng.random() < 0.5:
            level = float(rng.choice([0.0, 1.0, -3.0, 0.1, 1e3, rng.normal()]))
        scale = float(rng.choice([0.0, 0.01, 1.0, 1.0, 5.0]))
        parts.append(level + scale * noise(rng, kind, k))
    values = np.clip(np.concatenate(parts), -1e6, 1e6)
    if rng.random() < 0.5:
        values[rng.random(n) < rng.choice([0.05, 0.9])] = np.nan
    return values


def random_stream(rng: np.random.Generator, n: int, n_models: int = 3) -> Stream:
    """Rows of several models, each with a few lanes; offsets have gaps."""
    n_lanes = [int(rng.integers(1, 4)) for _ in range(n_models)]
    numbers = rng.permutation(sum(n_lanes)).astype(np.int32)
    lanes = np.split(numbers, np.cumsum(n_lanes)[:-1])
    model = rng.integers(0, n_models, n).astype(np.int32)
    value = np.full((n, max(n_lanes)), np.nan)
    for m in range(n_models):
        rows = np.flatnonzero(model == m)
        for j in range(n_lanes[m]):
            value[rows, j] = random_values(rng, len(rows)) if len(rows) else 0.0
    return Stream(np.cumsum(rng.integers(1, 3, n)).astype(np.int64), model, lanes, value)
