"""How well the models of a file predict: read off the fold's banks, chunk by chunk of rows.

A chunk is some thousand predictions of one model. What is expected of them is read when the last
one was made, what came true when the last of their labels has come. Nothing is counted here: both
are asked of the fold between two records.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from detectors.fold import Fold
from detectors.kernels.performance import ABSOLUTE, SQUARE
from detectors.monitor import NEVER, Monitor
from detectors.outcome_groups import loss_unit
from detectors.performance.groups import SliceMetrics
from detectors.performance.intervals import Measure
from detectors.performance.metrics import Metrics, metrics
from detectors.performance.outputs import SHAPE
from detectors.performance.tally import Tally
from schemas.batch import ModelKey
from schemas.records import Record
from schemas.reference import ModelOutput

MAX_MODELS: Final = 20
"""Further ones are folded as well, and not told of."""
MIN_CHUNK: Final = 100
"""Predictions of the last chunk, if there are others."""
_WANTED_CHUNKS: Final = 28


class Chunk(NamedTuple):
    """Some predictions of one model, one after the other."""

    first: int
    """Its first row."""
    stop: int
    """The row after its last one."""
    n: int
    """Predictions."""
    n_labels: int
    """Those of them that got one."""
    realised: Measure | None
    """The accuracy, or of numbers the mean absolute error; None where no label came, or where the
    errors are lost beside one out of all bounds in an earlier chunk."""
    estimate: Measure | None
    """The accuracy that scores made one expect; None where nothing said so when the chunk began."""

    @property
    def departs(self) -> bool:
        """Whether the interval of the estimate does not hold what came true."""
        if self.estimate is None or self.realised is None:
            return False
        return not self.estimate.low <= self.realised.value <= self.estimate.high


@dataclass(slots=True)
class Groups:
    """How the groups of slices fared, of the latest 10,000 labels at most up to some row."""

    row: int
    slices: dict[str, SliceMetrics]


@dataclass(slots=True)
class ModelPerformance:
    """What is known of one model version, from the row after its reference on."""

    model: ModelKey
    is_number: bool
    """Whether it predicts numbers: the measure is the mean absolute error, else the accuracy."""
    first_row: int
    chunks: list[Chunk] = field(default_factory=list)
    total: Metrics | None = None
    """None: no label came."""
    windows: dict[int, Metrics] = field(default_factory=dict)
    """Of the latest labels at the end of the file, by how many a window holds at most."""
    class_names: list[str] = field(default_factory=list)
    groups: Groups | None = None
    """At the end of the file; None without slices."""
    worst_groups: Groups | None = None
    """At the end of the chunk that was worst."""

    @property
    def measure(self) -> Measure | None:
        """Of all rows from `first_row` on."""
        return None if self.total is None else _measure(self.total, is_number=self.is_number)

    @property
    def worst(self) -> Chunk | None:
        """The chunk with the lowest accuracy, or the largest error; None of less than two."""
        known = [chunk for chunk in self.chunks if chunk.realised is not None]
        if len(known) < 2:
            return None
        return min(known, key=lambda chunk: _goodness(chunk, is_number=self.is_number))


class _Due(NamedTuple):
    """Labels to be read once those of all rows before `row` have come."""

    row: int
    following: _Following
    chunk: Chunk | None
    """None: it is where the first chunk begins."""


@dataclass(slots=True)
class _Following:
    """A model version that is followed, and its chunk under way."""

    monitor: Monitor
    output: ModelOutput
    told: ModelPerformance
    first_row: int
    first_event: int
    """Of the model, as the fold counts them."""
    n_measured: int | None
    """Predictions that the banks had when the chunk began; None: none of them."""
    has_estimate: bool
    begin: Tally | None = None
    """Labels that are no chunk's; None: none."""
    last: Tally | None = None
    """Labels up to the latest chunk."""


class Performance:
    """Follows the models of a file of `n_rows`, whose labels come `delay` rows late.

    `n_reference`: rows of the shortest reference. A model that is met later and has a shorter one
    than the room that there is by then is followed from a row a little later on.
    """

    def __init__(self, n_rows: int, delay: int, n_reference: int) -> None:
        self._n_rows: Final = n_rows
        self._delay: Final = delay
        block, most = SHAPE.block_rows, SHAPE.block_rows * SHAPE.n_blocks
        wanted = round(n_rows / _WANTED_CHUNKS / block) * block
        self.chunk: Final = min(max(wanted, block), most)
        """Predictions of a chunk: whole blocks of the banks, which keep no more than that."""
        self._following: dict[ModelKey, _Following] = {}
        self._due: deque[_Due] = deque()
        self._until = min(n_reference, self.chunk)
        """The row before which there is nothing to be looked at."""

    @property
    def models(self) -> list[ModelPerformance]:
        """Those that got a label, in the order in which they were met."""
        followed = [each.told for each in self._following.values()]
        return [told for told in followed if told.total is not None]

    def parts(self, fold: Fold, records: list[Record], stride: int) -> Iterator[list[Record]]:
        """The records in pieces, to be folded one by one: after each `look` is to be called.

        `stride`: offsets a row.
        """
        start = 0
        while start < len(records):
            row = records[start].offset // stride
            # Rows that cannot be read are passed over.
            self._read_due(fold, row)
            limit = max(self._until, row + 1) * stride
            stop = bisect_left(records, limit, start, key=lambda record: record.offset)
            yield records[start:stop]
            start = stop

    def look(self, fold: Fold, row: int) -> None:
        """Read what is to be read: all before this row has been folded."""
        if fold.outcomes is None:
            self._until = row + self._n_rows
            return
        room = self.chunk
        for key, slot in fold.catalog.slot_of.items():
            following = self._followed(fold, key, slot, row)
            if following is not None:
                room = min(room, self._closed(fold, following, slot, row))
            elif fold.catalog.monitor(slot).output is None and fold.catalog.freeze_at[slot] < NEVER:
                left = fold.catalog.freeze_at[slot] - fold.catalog.n_events[slot]
                room = min(room, max(int(left), 1))
        self._read_due(fold, row)
        self._until = min([row + room, *(due.row for due in islice(self._due, 1))])

    def close(self, fold: Fold) -> None:
        """The last prediction was made; labels may come."""
        for key, following in self._following.items():
            slot = fold.catalog.slot_of.get(key)
            if slot is None or fold.catalog.monitor(slot) is not following.monitor:
                continue
            n = int(fold.catalog.n_events[slot]) - following.first_event
            if n >= MIN_CHUNK or (n and not following.told.chunks and not self._is_due(following)):
                self._close(fold, following, slot, self._n_rows, n)

    def finish(self, fold: Fold) -> None:
        """The last label has come."""
        self._read_due(fold, None)
        for key, following in self._following.items():
            slot = fold.catalog.slot_of.get(key)
            if slot is None or fold.catalog.monitor(slot) is not following.monitor:
                continue
            assert fold.outcomes is not None
            told, total = following.told, fold.outcomes.total_of(slot)
            if total is not None:
                found = _metrics_since(total, following.begin, following.monitor)
                told.total = found if found.n_rows else None
            known = fold.outcomes.metrics_of(slot)
            told.windows = {} if known is None else known.windows
            told.class_names = fold.outcomes.class_names(slot)
            told.groups = _groups(fold, slot, self._n_rows)

    def _followed(self, fold: Fold, key: ModelKey, slot: int, row: int) -> _Following | None:
        """How the model in this slot is followed, from now on where it was not; None: it is not."""
        monitor = fold.catalog.monitor(slot)
        following = self._following.get(key)
        if following is not None:
            if following.monitor is monitor and following.output is monitor.output:
                return following
            self._due = deque(due for due in self._due if due.following is not following)
            del self._following[key]
        if monitor.output is None or len(self._following) >= MAX_MODELS:
            return None
        told = ModelPerformance(key, not monitor.output.classes, row)
        following = _Following(monitor, monitor.output, told, row, 0, None, has_estimate=False)
        self._begin(fold, following, slot, row)
        self._following[key] = following
        self._due.append(_Due(row + self._delay, following, None))
        return following

    def _begin(self, fold: Fold, following: _Following, slot: int, row: int) -> None:
        """Begin a chunk."""
        assert fold.outcomes is not None
        following.first_row = row
        following.first_event = int(fold.catalog.n_events[slot])
        following.n_measured = fold.outcomes.n_predictions_of(slot)
        following.has_estimate = fold.outcomes.estimate_of(slot, 1) is not None

    def _closed(self, fold: Fold, following: _Following, slot: int, row: int) -> int:
        """Close the chunk under way if it is full; for how many predictions there is room now."""
        assert fold.outcomes is not None
        n = int(fold.catalog.n_events[slot]) - following.first_event
        measured = fold.outcomes.n_predictions_of(slot)
        # Chunks end with blocks of the banks, as soon as these have any.
        under_way = n if measured is None else measured % self.chunk
        is_full = n >= self.chunk if measured is None else n > 0 and not under_way and measured > 0
        if not is_full:
            return self.chunk - under_way
        self._close(fold, following, slot, row, n)
        self._begin(fold, following, slot, row)
        return self.chunk

    def _close(self, fold: Fold, following: _Following, slot: int, row: int, n: int) -> None:
        assert fold.outcomes is not None
        measured, estimate = fold.outcomes.n_predictions_of(slot), None
        is_whole = measured is not None and measured - (following.n_measured or 0) == n
        if following.has_estimate and is_whole:
            of_chunk = fold.outcomes.estimate_of(slot, -(-n // SHAPE.block_rows))
            estimate = None if of_chunk is None else of_chunk.accuracy
        chunk = Chunk(following.first_row, row, n, 0, None, estimate)
        self._due.append(_Due(row + self._delay, following, chunk))

    def _is_due(self, following: _Following) -> bool:
        return any(due.following is following and due.chunk is not None for due in self._due)

    def _read_due(self, fold: Fold, row: int | None) -> None:
        """Read the labels of what is due by this row; None: of all."""
        while self._due and (row is None or self._due[0].row <= row):
            _, following, chunk = self._due.popleft()
            slot = fold.catalog.slot_of.get(following.told.model)
            if slot is None or fold.catalog.monitor(slot) is not following.monitor:
                continue
            assert fold.outcomes is not None
            total = fold.outcomes.total_of(slot)
            if chunk is None:
                following.begin = following.last = total
                continue
            if total is not None:
                found = _metrics_since(total, following.last, following.monitor)
                measure = _measure(found, is_number=following.told.is_number)
                chunk = chunk._replace(n_labels=found.n_rows, realised=measure)
            following.last = total
            following.told.chunks.append(chunk)
            if chunk is following.told.worst:
                following.told.worst_groups = _groups(fold, slot, chunk.stop)


def _metrics_since(total: Tally, earlier: Tally | None, monitor: Monitor) -> Metrics:
    """Of the rows that came after an earlier tally.

    Without MAE and RMSE where the sums were so large already, by an error or a few out of all
    bounds, that the errors of these rows are lost in their rounding.
    """
    if earlier is None:
        return metrics(total)
    found, unit = metrics(total.since(earlier)), loss_unit(monitor)
    rounding = np.spacing([earlier.sum_of(ABSOLUTE), earlier.sum_of(SQUARE)])
    if (rounding > [unit, unit * unit]).any():
        return replace(found, mae=None, rmse=None)
    return found


def _measure(found: Metrics, *, is_number: bool) -> Measure | None:
    return found.mae if is_number else found.accuracy


def _goodness(chunk: Chunk, *, is_number: bool) -> float:
    assert chunk.realised is not None
    return -chunk.realised.value if is_number else chunk.realised.value


def _groups(fold: Fold, slot: int, row: int) -> Groups | None:
    assert fold.outcomes is not None
    slices = fold.outcomes.slices_of(slot)
    return Groups(row, slices) if slices else None
