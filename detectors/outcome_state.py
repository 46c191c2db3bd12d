"""The signals of labels as state: what they have learned so far, and the blocks under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.kernels.observe import MAX_RAW
from detectors.leakage import NOBODY, LeakageBlock
from detectors.monitor import Monitor
from detectors.outcome_lanes import Watch, watch_of
from detectors.outcome_scores import ONE
from detectors.outcome_signals import MAX_REFERENCE
from detectors.outcome_sources import BLOCK_ROWS, LEAKAGE_ROWS, MAX_SAMPLED
from detectors.slice_counts import CELLS, N_BLOCKS
from detectors.slices import MAX_GROUPS

WATCH_ARRAYS: Final = frozenset(
    {
        *("learned", "n_learned", "blocks", "slice_rows", "slice_counts", "slice_losses"),
        *("leakage_rows", "leakage_labels", "leakage_values", "leakage_last"),
    }
)


def snapshot_watches(watches: Sequence[Watch | None]) -> dict[str, NDArray[Any]]:
    """The state of these, in their order: arrays of all of them, one after the other."""
    there = [watch for watch in watches if watch is not None]
    learning = [values for watch in there for values in watch.learning]
    counts = [watch.counts for watch in there if watch.counts is not None]
    losses = [each.losses for each in counts if each.losses is not None]
    leakage = [watch.leakage for watch in there if watch.leakage is not None]
    return {
        "learned": np.concatenate([np.zeros(0), *(x for values in learning for x in values)]),
        "n_learned": np.array([sum(map(len, values)) for values in learning], np.int64),
        "blocks": np.array([[*w.expected, *w.gap] for w in there], np.int64).reshape(-1, 4),
        "slice_rows": np.array([each.n_rows for each in counts], np.int64),
        # (slices of all, blocks, groups, cells)
        "slice_counts": np.concatenate(
            [
                np.zeros((0, N_BLOCKS, MAX_GROUPS + 1, CELLS), np.int32),
                *(each.ring.transpose(1, 0, 2, 3) for each in counts),
            ]
        ),
        # The same of those that predict numbers.
        "slice_losses": np.concatenate(
            [
                np.zeros((0, N_BLOCKS, MAX_GROUPS + 1, 2), np.int64),
                *(each.transpose(1, 0, 2, 3) for each in losses),
            ]
        ),
        "leakage_rows": np.array([each.n_rows for each in leakage], np.int64),
        "leakage_labels": np.concatenate(
            [np.zeros(0, np.int32), *(each.labels[: each.n_rows] for each in leakage)]
        ),
        "leakage_values": np.concatenate(
            [
                np.zeros((0, MAX_SAMPLED), np.float32),
                *(each.values[: each.n_rows] for each in leakage),
            ]
        ),
        # Which feature told most, and how well.
        "leakage_last": np.array([each.last for each in leakage], np.float64).reshape(-1, 2),
    }


class WatchReader:
    """Cuts the arrays of a snapshot into those of each model version, in order.

    Raises `StateError` where they contradict themselves, or the signals.
    """

    def __init__(self, state: BankState) -> None:
        of_groups = (None, N_BLOCKS, MAX_GROUPS + 1)
        self._arrays = {
            "learned": require_array(state, "learned", np.float64, (None,)),
            "n_learned": require_array(state, "n_learned", np.int64, (None,)),
            "blocks": require_array(state, "blocks", np.int64, (None, 4)),
            "slice_rows": require_array(state, "slice_rows", np.int64, (None,)),
            "slice_counts": require_array(state, "slice_counts", np.int32, (*of_groups, CELLS)),
            "slice_losses": require_array(state, "slice_losses", np.int64, (*of_groups, 2)),
            "leakage_rows": require_array(state, "leakage_rows", np.int64, (None,)),
            "leakage_labels": require_array(state, "leakage_labels", np.int32, (None,)),
            "leakage_values": require_array(
                state, "leakage_values", np.float32, (None, MAX_SAMPLED)
            ),
            "leakage_last": require_array(state, "leakage_last", np.float64, (None, 2)),
        }
        self._at = dict.fromkeys(self._arrays, 0)

    def read(self, monitor: Monitor) -> Watch:
        """That of the next model version."""
        watch = watch_of(monitor)
        expected, sum_of_expected, gap, sum_of_gap = self._cut("blocks", 1)[0].tolist()
        if not (0 <= expected < BLOCK_ROWS and 0 <= sum_of_expected <= expected * ONE):
            raise StateError("a block of expected errors is out of range")
        if not (0 <= gap < BLOCK_ROWS and abs(sum_of_gap) <= gap * ONE):
            raise StateError("a block of unexpected errors is out of range")
        watch.expected, watch.gap = [expected, sum_of_expected], [gap, sum_of_gap]
        for number, signal in watch.signals():
            n = int(self._cut("n_learned", 1)[0])
            # It may have begun under a config that wants longer references.
            most = MAX_REFERENCE if signal.ranks is None else 1
            if not 0 <= n < most:
                raise StateError("a signal of labels has learned more than its reference")
            x = self._cut("learned", n)
            is_fit = np.isin(x, (0.0, 1.0)) if signal.is_share else np.abs(x) <= MAX_RAW
            if not is_fit.all():
                raise StateError("a signal of labels has learned what it cannot observe")
            watch.learning[number] = [x] if n else []
        if watch.counts is not None:
            watch.counts.n_rows = int(self._cut("slice_rows", 1)[0])
            rings = self._cut("slice_counts", watch.counts.n_slices)
            watch.counts.ring = np.ascontiguousarray(rings.transpose(1, 0, 2, 3))
            if watch.counts.losses is not None:
                sums = self._cut("slice_losses", watch.counts.n_slices)
                watch.counts.losses = np.ascontiguousarray(sums.transpose(1, 0, 2, 3))
            if not watch.counts.is_consistent():
                raise StateError("the counts of a slice are of no rows")
        if watch.leakage is not None:
            n_classes = 0 if monitor.output is None else len(monitor.output.classes)
            self._read_leakage(watch.leakage, n_classes)
        return watch

    def _read_leakage(self, block: LeakageBlock, n_classes: int) -> None:
        """Fill the block of one model version."""
        n = int(self._cut("leakage_rows", 1)[0])
        if not 0 <= n < LEAKAGE_ROWS:
            raise StateError("a block of features and labels is out of range")
        labels, values = self._cut("leakage_labels", n), self._cut("leakage_values", n)
        if not ((labels >= 0) & (labels < n_classes)).all():
            raise StateError("a block of features and labels has a label of no class")
        if not np.isnan(values[:, block.n_features :]).all():
            raise StateError("a block of features and labels has a feature too many")
        block.n_rows, block.labels[:n], block.values[:n] = n, labels, values
        feature, strength = self._cut("leakage_last", 1)[0].tolist()
        is_place = feature in range(NOBODY, block.n_features)
        if not (is_place and 0.0 <= strength <= 1.0):
            raise StateError("no feature tells so much of the label")
        block.last = int(feature), strength

    def finish(self) -> None:
        """Raise where an array is longer than the model versions say."""
        for name, at in self._at.items():
            if at != len(self._arrays[name]):
                raise StateError(f"array {name!r} is too long")

    def _cut(self, name: str, length: int) -> NDArray[Any]:
        start = self._at[name]
        self._at[name] = start + length
        if self._at[name] > len(self._arrays[name]):
            raise StateError(f"array {name!r} is too short")
        return self._arrays[name][start : start + length].copy()
