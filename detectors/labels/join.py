"""The join: predictions wait for the labels that come for them. See docs/labels.md for its rules.

Pure, and independent of batches: what is joined, counted and kept follows from the events in the
order of the log. Time is the latest event time so far, so that a replay sees the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from detectors.base import BankState, StateError, require_array
from detectors.kernels import labels as kernel
from detectors.labels.identity import model_id_code, value_codes, version_code
from detectors.labels.rows import IndexedRows, Rows, WaitingRows
from detectors.labels.validity import check_answers, check_labels, check_predictions
from schemas.batch import F64, I32, I64, U8, Bool, Decoded
from schemas.config import LabelsConfig

LABELS_VERSION: Final = 2
"""Version of the rules of the join and of its state."""

LABEL_COUNTERS: Final = (*kernel.COUNTERS, "n_unmonitored_labels", "n_unmeasured_labels")

BLOCK_PREDICTIONS: Final = 4_096
"""Predictions of a block: 320 KiB, which make a segment of their own in a checkpoint."""
BLOCK_ANSWERS: Final = 8_192
"""The same of answers: 128 KiB."""
_LABEL_WORDS: Final = kernel.TAKEN
_FORGET_AFTER: Final = 4
"""An expired prediction is remembered for a quarter of `max_delay_ms`, so that its labels are known
to be too late."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Labels of one stretch that have found their predictions, in the order of the log; k of them.

    A label is at its place in the log, or, where it came first, at that of its prediction.
    """

    row: I32
    """(k,) the row of the poll that made the pair complete: label or prediction, what came last."""
    slot: I32
    """(k,) the slot of the model version that predicted."""
    offset: I64
    """(k,) record offset of the label."""
    event_row: I32
    """(k,) index of the label within its record."""
    predicted: F64
    """(k,) the number predicted; NaN for strings, and where nothing was."""
    predicted_code: I64
    """(k,) what was predicted: see `detectors.labels.identity`; 0 where nothing was."""
    score: F64
    """(k,) NaN where there was none."""
    label: F64
    """(k,) the label as a number; NaN for strings."""
    label_code: I64
    """(k,) equal to `predicted_code` where the prediction was right."""
    event_time_ms: I64
    """(k,) of the prediction."""
    delay_ms: I64
    """(k,) from the prediction's `ts` to the label's; below 0 where that says so."""
    source: I64
    """(k, 2) the keyed hash of the prediction's source."""
    label_source: I64
    """(k, 2) that of the label's."""
    slices: I64
    """(k,) the groups that the prediction belongs to: see `detectors.slices`; 0: none."""
    key: I64
    """(k,) that of the join: the event's fingerprint and its model."""
    number: I64
    """(k,) that of the prediction among all that were ever kept."""

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True)
class Decided:
    """Predictions whose time for a label is over, (k,) each, in the order in which they came."""

    row: I32
    """The row of the poll at whose time it is over; ascending."""
    slot: I32
    """The slot of the model version that predicted."""
    is_labelled: Bool

    def __len__(self) -> int:
        return len(self.row)


class Kept(NamedTuple):
    """The predictions of a stretch that wait for a label from now on."""

    row: I32
    """(k,) the row of the poll; ascending."""
    first: int
    """The number of the first of them; the others follow."""


@dataclass(frozen=True, slots=True)
class Given:
    """The events of a poll as the tables keep them."""

    words: I64
    """(n, WORDS)"""
    is_label: Bool
    """(n,)"""


def given_by(events: Decoded, watermark: I64) -> Given:
    """The rows of a poll; `watermark` (n,) is the latest event time up to and with each row."""
    words = np.zeros((len(events), kernel.WORDS), np.int64)
    is_label = events.is_label
    of_model = np.array([model_id_code(key) for key in events.models], np.int64)
    of_version = np.array([version_code(key) for key in events.models], np.int64)
    words[:, kernel.KEY] = events.event_id.view(np.int64) ^ of_model[events.model]
    words[:, kernel.TIME] = events.event_time_ms
    words[:, kernel.SEEN] = watermark
    words[:, kernel.VALUE] = events.prediction.view(np.int64)
    words[:, kernel.CODE] = value_codes(events)
    words[:, kernel.SOURCE_LOW : kernel.SOURCE_HIGH + 1] = events.source.view(np.int64)
    # What only one of the two kinds has stands at the same places.
    words[:, kernel.VERSION] = np.where(is_label, events.offset, of_version[events.model])
    words[:, kernel.SCORE] = np.where(is_label, events.row, events.score.view(np.int64))
    return Given(words, is_label)


class LabelJoin:
    """The predictions and labels of one partition that wait for each other.

    `counters` are the fold's. `state` is an earlier `snapshot()`, `watermark_ms` the latest event
    time by then; raises `StateError` where it does not fit.
    """

    def __init__(
        self,
        config: LabelsConfig,
        counters: dict[str, int],
        state: BankState | None = None,
        watermark_ms: int = 0,
    ) -> None:
        self.config = config
        self._counters = counters
        self.pending: Final = IndexedRows("pending", BLOCK_PREDICTIONS, kernel.WORDS, 1)
        self.answers: Final = Rows("answers", BLOCK_ANSWERS, 2)
        self.early: Final = WaitingRows("early", 1, _LABEL_WORDS, 1)
        self.kept = Kept(np.zeros(0, np.int32), 0)
        """Of the latest stretch; no part of the state."""
        if state is not None:
            self._restore(state, watermark_ms)

    @property
    def next_number(self) -> int:
        """That of the next prediction that is kept."""
        return int(self.pending.at[kernel.TAIL])

    def advance(
        self, given: Given, start: int, slot: I32, slot_of_version: Mapping[int, int]
    ) -> tuple[Joined, Decided]:
        """Fold the rows of a stretch, from row `start` of the poll on.

        What they make complete, and whose time they end.

        `slot` (m,) is -1 for labels and for predictions of models that are not monitored, which are
        not kept; `slot_of_version` says by `version_code` where those stand that are.
        """
        rows = slice(start, start + len(slot))
        what = np.where(
            given.is_label[rows],
            kernel.LABEL,
            np.where(slot >= 0, kernel.PREDICTION, kernel.IGNORED),
        ).astype(np.uint8)
        words = given.words[rows]
        row, prediction, label, decided, kept = self._join(what, words)
        self.kept = Kept(kept + np.int32(start), int(self.pending.at[kernel.TAIL]) - len(kept))
        predictions, labels = self.pending.words[prediction], words[row]
        came_first = label >= 0
        labels[came_first] = self.early.words[label[came_first], : kernel.WORDS]
        own = _slots(predictions[:, kernel.VERSION], slot_of_version)
        self._counters["n_unmonitored_labels"] += int(np.count_nonzero(own < 0))
        is_there = own >= 0
        joined = _joined(
            row[is_there] + start,
            own[is_there],
            predictions[is_there],
            labels[is_there],
            prediction[is_there] + self.pending.at[kernel.BASE],
        )
        return joined, self._decided(decided, start, slot_of_version)

    def _decided(self, row: I32, start: int, slot_of_version: Mapping[int, int]) -> Decided:
        """The predictions up to the oldest that still waits, as `row` (k,) has their ends."""
        at = np.flatnonzero(row >= 0)
        first = int(self.pending.at[kernel.EXPIRED] - self.pending.at[kernel.BASE]) - len(row)
        words = self.pending.words[first + at]
        slot = _slots(words[:, kernel.VERSION], slot_of_version)
        there = np.flatnonzero(slot >= 0)
        return Decided(
            row[at[there]] + np.int32(start), slot[there], words[there, kernel.ANSWER] != 0
        )

    def _join(self, what: U8, words: I64) -> tuple[I32, I64, I64, I32, I32]:
        """Advance the tables; see `detectors.kernels.labels.join`.

        Of each pair the row that made it complete, and where its two rows stand in the tables;
        then the rows at which predictions ended, and those of predictions that are kept now.
        """
        n = len(what)
        for table in (self.pending, self.answers, self.early):
            table.reserve(n)
        config = self.config
        limits = np.array(
            [
                config.max_delay_ms,
                config.max_delay_ms + config.max_delay_ms // _FORGET_AFTER,
                config.max_pending,
                config.max_early_ms,
                config.max_early,
            ],
            np.int64,
        )
        counts = np.zeros(len(kernel.COUNTERS), np.int64)
        row, prediction, label = np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.int64)
        first = int(self.pending.at[kernel.EXPIRED])
        tail = int(self.pending.at[kernel.TAIL])
        ended, kept = np.empty(tail - first + n, np.int32), np.empty(n, np.int32)
        n_joined = kernel.join(
            what,
            words,
            limits,
            self.pending.words,
            self.pending.at,
            self.pending.index,
            self.answers.words,
            self.answers.at,
            self.early.words,
            self.early.at,
            self.early.index,
            counts,
            row,
            prediction,
            label,
            ended,
            kept,
        )
        for name, count in zip(kernel.COUNTERS, counts.tolist(), strict=True):
            self._counters[name] += count
        n_ended = int(self.pending.at[kernel.EXPIRED]) - first
        n_kept = int(self.pending.at[kernel.TAIL]) - tail
        pairs = row[:n_joined], prediction[:n_joined], label[:n_joined]
        return *pairs, ended[:n_ended], kept[:n_kept]

    def reconfigure(self, config: LabelsConfig) -> None:
        """Go on under other bounds: what is beyond them goes now, what is too old with the time."""
        self.config = config
        self._join(np.zeros(0, np.uint8), np.zeros((0, kernel.WORDS), np.int64))

    def snapshot(self) -> BankState:
        """The whole state: a function of the events alone.

        Blocks of predictions and of answers by their numbers, the labels that wait, and where the
        tables stand.
        """
        pending, answers = self.pending.at, self.answers.at
        numbers = [
            *(pending[kernel.HEAD], pending[kernel.EXPIRED], pending[kernel.TAIL]),
            *(answers[kernel.HEAD], answers[kernel.TAIL]),
        ]
        return {
            **self.pending.snapshot(),
            **self.answers.snapshot(),
            "early": self.early.waiting(),
            "numbers": np.array(numbers, np.int64),
        }

    def _restore(self, state: BankState, watermark_ms: int) -> None:
        """Take a snapshot; raises `StateError` where it contradicts itself."""
        numbers = require_array(state, "numbers", np.int64, (5,)).tolist()
        head, expired, tail, answers_head, answers_tail = numbers
        names = self.pending.restore(state, head, tail)
        if not head <= expired <= tail:
            raise StateError("more predictions are expired than there are")
        if tail - head > self.config.max_pending:
            raise StateError("more predictions are kept than `labels.max_pending` allows")
        self.pending.at[kernel.EXPIRED] = expired
        check_predictions(self.pending.held(self.pending.first), watermark_ms)
        names |= self.answers.restore(state, answers_head, answers_tail)
        check_answers(
            self.answers.held(self.answers.first), answers_head - self.answers.first, head, tail
        )
        early = require_array(state, "early", np.int64, (None, _LABEL_WORDS))
        if len(early) > self.config.max_early:
            raise StateError("more labels wait than `labels.max_early` allows")
        check_labels(early, watermark_ms)
        if state.keys() - names != {"early", "numbers"}:
            raise StateError("the state of the labels has an array too many")
        if self.pending.build_index() or self.early.take(early):
            raise StateError("an event waits twice")
        kept = self.answers.held(answers_head)
        of_kept = kept[kept[:, 0] >= head]
        base = int(self.pending.at[kernel.BASE])
        self.pending.words[of_kept[:, 0] - base, kernel.ANSWER] = of_kept[:, 1]


def _joined(row: I32, slot: I32, predictions: I64, labels: I64, numbers: I64) -> Joined:
    """The columns of pairs: rows of the two tables, one beside the other."""

    def number(words: I64, word: int) -> F64:
        return np.ascontiguousarray(words[:, word]).view(np.float64)

    sources = slice(kernel.SOURCE_LOW, kernel.SOURCE_HIGH + 1)
    return Joined(
        row=row,
        slot=slot,
        offset=labels[:, kernel.OFFSET],
        event_row=labels[:, kernel.EVENT_ROW].astype(np.int32),
        predicted=number(predictions, kernel.VALUE),
        predicted_code=predictions[:, kernel.CODE],
        score=number(predictions, kernel.SCORE),
        label=number(labels, kernel.VALUE),
        label_code=labels[:, kernel.CODE],
        event_time_ms=np.ascontiguousarray(predictions[:, kernel.TIME]),
        delay_ms=labels[:, kernel.TIME] - predictions[:, kernel.TIME],
        source=predictions[:, sources],
        label_source=labels[:, sources],
        slices=predictions[:, kernel.SLICES],
        key=np.ascontiguousarray(predictions[:, kernel.KEY]),
        number=numbers,
    )


def _slots(versions: I64, slot_of_version: Mapping[int, int]) -> I32:
    """(k,) the slots of these version codes; -1: none."""
    used, place = np.unique(versions, return_inverse=True)
    slots = [slot_of_version.get(version, -1) for version in used.tolist()]
    return np.array(slots, np.int32)[place.reshape(-1)]
