"""A sample of predictions whose features wait for the label; all others keep none.

Which predictions are in it follows from their keys alone: one of `SAMPLED_ONE_OF`. A row is kept
until so many newer ones have come, whether its label has or not. So what is kept is a function of
the log, and a block of rows that is full never changes: see `detectors.labels.rows`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.catalog import Catalog
from detectors.kernels.labels import HEAD, KEY, TAIL
from detectors.kernels.leakage import find_numbers, take_features
from detectors.labels.join import Given, Joined, Kept
from detectors.labels.rows import MAX_ROWS, Rows
from detectors.mixing import GOLDEN, told_apart
from detectors.monitor import Monitor
from detectors.outcome_sources import MAX_SAMPLED, SAMPLED_ONE_OF
from detectors.stretch import Columns, Stretch
from schemas.batch import F64, I32, I64, Bool, Decoded

F32 = NDArray[np.float32]

BLOCK_SAMPLED: Final = 2_048
"""Rows of a block: 288 KiB, which make a segment of their own in a checkpoint."""
_NUMBER, _TAG, _VALUES = 0, 1, 2
WORDS: Final = _VALUES + MAX_SAMPLED // 2
"""Of a row: the number of the prediction, whose features they are, and these."""


class Sampled(NamedTuple):
    """The predictions of a stretch that are in the sample, (k,) each, in order."""

    row: I64
    """The row of the poll."""
    words: I64
    """(k, WORDS)"""


class Found(NamedTuple):
    """What the sample holds of the joined rows of a stretch."""

    at: I64
    """(k,) of each joined row: its place among these, -1: it is not in the sample."""
    tag: I64
    """(m,) whose features they are: see `sample_tag`."""
    values: F32
    """(m, MAX_SAMPLED) NaN where a feature is missing."""


class FeatureSample:
    """The rows of one partition; `max_rows` is the bound.

    `state` is an earlier `snapshot()`; raises `StateError` where it does not fit.
    """

    def __init__(self, max_rows: int, state: BankState | None = None) -> None:
        self.max_rows = max_rows
        self._rows: Final = Rows("sample", BLOCK_SAMPLED, WORDS)
        if state is not None:
            self._restore(state)

    def __len__(self) -> int:
        return int(self._rows.at[TAIL] - self._rows.at[HEAD])

    @property
    def next_number(self) -> int:
        """No prediction that it has kept has this number, or a higher one."""
        held = self._rows.held(int(self._rows.at[HEAD]))
        return int(held[-1, _NUMBER]) + 1 if len(held) else 0

    def advance(self, sampled: Sampled, joined: Joined) -> Found:
        """Keep the predictions of a stretch, and find those that its labels are of.

        As if it were done row by row: what had given way by the row of a label is not found.
        """
        tail = int(self._rows.at[TAIL])
        self._append(sampled.words)
        at = np.full(len(joined), -1, np.int64)
        those = np.flatnonzero(is_sampled(joined.key))
        first = int(self._rows.at[HEAD])
        held = self._rows.held(first)
        place = np.empty(len(those), np.int64)
        find_numbers(np.ascontiguousarray(joined.number[those]), held, len(held), place)
        # So many were kept by the row of the label.
        n_kept = tail - first + np.searchsorted(sampled.row, joined.row[those], side="right")
        is_there = (place >= n_kept - self.max_rows) & (place >= 0) & (place < n_kept)
        place = place[is_there]
        at[those[is_there]] = np.arange(len(place))
        found = held[place]
        values = np.ascontiguousarray(found[:, _VALUES:]).view(np.float32)
        self._give_way()
        return Found(at, found[:, _TAG].copy(), values)

    def bound(self, max_rows: int) -> None:
        """Go on under another bound: what is beyond it goes now."""
        self.max_rows = max_rows
        self._give_way()

    def snapshot(self) -> dict[str, I64]:
        """The whole state: blocks of rows by their numbers, and where they begin and end."""
        return {**self._rows.snapshot(), "sampled": self._rows.at[[HEAD, TAIL]].astype(np.int64)}

    def _append(self, words: I64) -> None:
        self._rows.reserve(len(words))
        n_held = len(self._rows.held(int(self._rows.at[HEAD])))
        self._rows.at[TAIL] += len(words)
        self._rows.held(int(self._rows.at[HEAD]))[n_held:] = words

    def _give_way(self) -> None:
        at = self._rows.at
        at[HEAD] = max(int(at[HEAD]), int(at[TAIL]) - self.max_rows)

    def _restore(self, state: BankState) -> None:
        head, tail = require_array(state, "sampled", np.int64, (2,)).tolist()
        names = self._rows.restore(state, head, tail)
        if state.keys() != names | {"sampled"}:
            raise StateError("the state of the sample has an array too many")
        if tail - head > self.max_rows:
            raise StateError("the sample has more rows than `bounds.max_leakage_rows` allows")
        held = self._rows.held(self._rows.first)
        number, tag = held[:, _NUMBER], held[:, _TAG]
        if len(held) and not (
            number[0] >= 0 and number[-1] < MAX_ROWS and (np.diff(number) > 0).all()
        ):
            raise StateError("the predictions of the sample are not in order")
        if (tag < 0).any():
            raise StateError("a row of the sample is of nobody's features")


def is_sampled(key: I64) -> Bool:
    """(n,) whether the predictions with these keys are in the sample."""
    # The highest bits, which all of the key have a part in.
    found: Bool = key.view(np.uint64) * GOLDEN < np.uint64(2**64 // SAMPLED_ONE_OF)
    return found


def sample_tag(monitor: Monitor) -> int:
    """A number that follows from the features of this monitor that are kept."""
    if not monitor.sample_tag:
        names = told_apart(monitor.features[feature] for feature in monitor.sampled)
        hashed = blake2b(names, digest_size=8)
        monitor.sample_tag = int.from_bytes(hashed.digest(), "little") >> 1 | 1
    return monitor.sample_tag


def sample_of(
    catalog: Catalog,
    events: Decoded,
    number: F64,
    given: Given,
    stretch: Stretch,
    columns: Columns,
    kept: Kept,
) -> Sampled:
    """The rows of a stretch that the sample keeps: of predictions that wait, one of a few.

    `number` (v,) holds the values of the poll that are numbers.
    """
    here = kept.row - stretch.start
    slots = [s for s in stretch.block_slot.tolist() if catalog.monitor(s).sampled]
    keys = np.ascontiguousarray(given.words[kept.row, KEY])
    those = np.flatnonzero(is_sampled(keys) & np.isin(stretch.slot[here], slots))
    values = np.full((len(those), MAX_SAMPLED), np.nan, np.float32)
    words = np.zeros((len(those), WORDS), np.int64)
    words[:, _NUMBER] = kept.first + those
    value_ptr = events.value_ptr[stretch.start : stretch.stop]
    own: I32 = stretch.slot[here[those]]
    for slot in np.unique(own).tolist():
        monitor = catalog.monitor(slot)
        at = np.flatnonzero(own == slot)
        taken = values[at]
        features = np.array(monitor.sampled, np.int32)
        rows = here[those[at]].astype(np.int64)
        take_features(rows, features, value_ptr, columns.ptr, columns.column, number, taken)
        values[at] = taken
        words[at, _TAG] = sample_tag(monitor)
    words[:, _VALUES:] = values.view(np.int64)
    return Sampled(kept.row[those].astype(np.int64), words)
