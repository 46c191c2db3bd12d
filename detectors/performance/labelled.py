"""The bank of what labels tell: by slot, counts and sums of joined rows, in total and by window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.drift.lane_table import MAX_N, Column, require_all, require_lanes
from detectors.kernels.performance import (
    ABSOLUTE,
    BRIER,
    CLASSES,
    FOURTH,
    LOG_LOSS,
    MOST_ERROR,
    N_BLOCKS,
    N_COUNTS,
    N_SUMS,
    NUMBERS,
    POOLED,
    REFUSED,
    RIGHT,
    ROWS,
    SCORED,
    SQUARE,
    labelled_update,
)
from detectors.performance.outputs import (
    MAX_BLOCK_ROWS,
    ScoreOf,
    Shape,
    SlotTable,
    Task,
    blocks_of,
    held_by,
)
from detectors.performance.rows import JoinedRows
from detectors.performance.tally import Tally
from schemas.batch import I64

MOST_LOSS: Final = 37.0
"""No log loss is as large: 52 ln 2."""
_ROUNDING: Final = 1.001
_PARTS: Final = ("times", "counts", "confusion", "histogram", "score_sums", "sums")


class LabelledPerformance(SlotTable):
    """Folds joined rows; `total` and `window` give what metrics are read from.

    `windows` are numbers of rows, whole multiples of `N_BLOCKS`. A window of n rows is the last
    rows of a slot in `N_BLOCKS` blocks, the newest of which may not be full. So it holds more than
    n - n / N_BLOCKS rows and at most n, and which it holds does not depend on batches. Raises
    ValueError at other windows, `StateError` where `state` has others or does not fit.
    """

    def __init__(
        self,
        shape: Shape,
        windows: Sequence[int],
        n_slots: int,
        state: BankState | None = None,
    ) -> None:
        self.windows: tuple[int, ...] = tuple(windows)
        for window in self.windows:
            if window % N_BLOCKS or not 1 <= window // N_BLOCKS <= MAX_BLOCK_ROWS:
                raise ValueError(
                    f"a window of {window} rows: give a multiple of {N_BLOCKS}, above 0"
                )
        if len(set(self.windows)) < len(self.windows):
            raise ValueError(f"`windows` are {self.windows}: give each once")
        own = state
        if state is not None:
            saved = require_array(state, "windows", np.int64, (None,)).tolist()
            if saved != list(self.windows):
                raise StateError(f"the state has windows {saved}, expected {list(self.windows)}")
            own = {name: array for name, array in state.items() if name != "windows"}
        super().__init__(shape, _columns(shape, len(self.windows)), n_slots, own)
        if state is not None:
            self._check()

    def update(self, rows: JoinedRows) -> None:
        """Fold rows. Raises IndexError at an unknown slot, and folds none of them."""
        require_lanes(rows.slot, self.n_slots)
        slots = self._slots
        labelled_update(
            rows.slot,
            rows.predicted_class,
            rows.predicted,
            rows.score,
            rows.label_class,
            rows.label,
            rows.event_time_ms,
            slots["task"],
            slots["positive"],
            slots["score_of"],
            slots["cuts"],
            slots["times"],
            slots["counts"],
            slots["confusion"],
            slots["histogram"],
            slots["score_sums"],
            slots["sums"],
            slots["block_times"],
            slots["block_counts"],
            slots["block_confusion"],
            slots["block_histogram"],
            slots["block_score_sums"],
            slots["block_sums"],
            slots["since"],
            self._block_rows,
            self.n_slots,
        )

    def n_rows(self, slot: int) -> int:
        """How many rows of a slot were folded. Raises IndexError at an unknown slot."""
        require_lanes(np.array([slot], np.int32), self.n_slots)
        return int(self._slots["counts"][slot, ROWS])

    def total(self, slot: int) -> Tally:
        """All rows of a slot since it was declared. Raises IndexError at an unknown slot."""
        output = self.output(slot)
        return Tally(output, *(self._slots[name][slot].copy() for name in _PARTS))

    def window(self, slot: int, window: int) -> Tally:
        """The last rows of a slot, by one of `windows`.

        Raises IndexError at an unknown slot, ValueError at an unknown window.
        """
        output = self.output(slot)
        which = self.windows.index(window)
        n_rows = int(self._slots["counts"][slot, ROWS] - self._slots["since"][slot, which])
        places = blocks_of(n_rows, N_BLOCKS, window // N_BLOCKS)
        blocks = [which * N_BLOCKS + place for place in places]
        parts: list[NDArray[Any]] = []
        for name in _PARTS:
            own = self._slots[f"block_{name}"][slot]
            if name == "times":
                held = own[blocks] if blocks else np.zeros((1, 2), np.int64)
                parts.append(np.array([held[:, 0].min(), held[:, 1].max()]))
                continue
            # One after the other, the oldest first: numpy may sum up in any order.
            added = np.zeros(own.shape[1:], self._slots[name].dtype)
            for block in blocks:
                added += own[block]
            parts.append(added)
        return Tally(output, *parts)

    def set_windows(self, windows: Sequence[int]) -> None:
        """Go on with these windows: one that was there keeps its rows, another begins empty.

        Raises ValueError as the constructor does, and then nothing has changed.
        """
        former, n_slots = self.windows, self.n_slots
        if tuple(windows) == former:
            return
        other = LabelledPerformance(self.shape, windows, n_slots)
        for name in self._slots.names:
            if name != "since" and not name.startswith("block_"):
                other._slots[name][:n_slots] = self._slots[name][:n_slots]
        other._slots["since"][:] = other._slots["counts"][:, np.newaxis, ROWS]
        for place, window in enumerate(other.windows):
            if window not in former:
                continue
            before = former.index(window)
            other._slots["since"][:, place] = self._slots["since"][:n_slots, before]
            for name in _PARTS:
                own, kept = other._slots[f"block_{name}"], self._slots[f"block_{name}"]
                own[:, _ring(place)] = kept[:n_slots, _ring(before)]
        self.windows, self._slots = other.windows, other._slots

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The whole state; a function of the rows and of when which windows were set."""
        return {**super().snapshot(), "windows": np.array(self.windows, np.int64)}

    @property
    def _block_rows(self) -> I64:
        return np.array(self.windows, np.int64) // N_BLOCKS

    def _check(self) -> None:
        slots = self._slots
        counts, since = slots["counts"], slots["since"]
        rows = counts[:, ROWS]
        require_all((rows >= 0) & (rows <= MAX_N), "a number of rows is out of range")
        n = rows[:, np.newaxis] - since
        require_all((since >= 0) & (n >= 0), "since is out of range")
        for prefix in ("", "block_"):
            parts = {name: slots[prefix + name] for name in _PARTS}
            _check_parts(prefix, parts, slots["task"], slots["score_of"])
            require_all(parts["times"][..., 0] <= parts["times"][..., 1], f"{prefix}times is wrong")
        for place, window in enumerate(self.windows):
            ring = _ring(place)
            held = held_by(n[:, place], N_BLOCKS, window // N_BLOCKS)
            require_all(
                slots["block_counts"][:, ring, ROWS] == held, "block_counts does not fit counts"
            )
            for name in ("counts", "confusion", "histogram"):
                own = slots[f"block_{name}"][:, ring].sum(axis=1, dtype=np.int64)
                require_all(own <= slots[name], f"block_{name} is more than {name}")


def _columns(shape: Shape, n_windows: int) -> tuple[Column, ...]:
    """The arrays of such a bank; blocks are those of the first window, then of the next one."""
    c, b, k = shape.max_classes + 1, shape.n_bins, n_windows * N_BLOCKS
    return (
        Column("times", np.int64, 0, (2,)),
        Column("counts", np.int64, 0, (N_COUNTS,)),
        Column("confusion", np.int64, 0, (c, c)),
        Column("histogram", np.int64, 0, (2, b)),
        Column("score_sums", np.float64, 0.0, (b,)),
        Column("sums", np.float64, 0.0, (N_SUMS,)),
        Column("since", np.int64, 0, (n_windows,)),
        Column("block_times", np.int64, 0, (k, 2)),
        Column("block_counts", np.int32, 0, (k, N_COUNTS)),
        Column("block_confusion", np.int32, 0, (k, c, c)),
        Column("block_histogram", np.int32, 0, (k, 2, b)),
        Column("block_score_sums", np.float64, 0.0, (k, b)),
        Column("block_sums", np.float64, 0.0, (k, N_SUMS)),
    )


def _ring(place: int) -> slice:
    """The blocks of the window at this place."""
    return slice(place * N_BLOCKS, (place + 1) * N_BLOCKS)


def _check_parts(
    prefix: str, parts: dict[str, NDArray[Any]], task: NDArray[np.uint8], of: NDArray[np.uint8]
) -> None:
    """Raise `StateError` where counts and sums of the same rows contradict each other."""
    counts = parts["counts"].astype(np.int64)
    lead = counts.shape[:-1]

    def holds(condition: NDArray[np.bool_], what: str) -> None:
        require_all(condition, f"{prefix}{what}")

    def by_slot(flag: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return flag.reshape((-1,) + (1,) * (len(lead) - 1))

    rows, classes = counts[..., ROWS], counts[..., CLASSES]
    scored, numbers = counts[..., SCORED], counts[..., NUMBERS]
    holds(counts >= 0, "counts is out of range")
    holds(np.maximum(classes, scored + counts[..., REFUSED]) <= rows, "counts is out of range")
    holds(np.maximum(counts[..., RIGHT], counts[..., POOLED]) <= classes, "counts is out of range")
    holds(numbers <= rows, "counts is out of range")
    has_classes = by_slot((task == Task.BINARY) | (task == Task.MULTICLASS))
    holds(has_classes | (classes + scored + counts[..., REFUSED] == 0), "counts does not fit task")
    holds(by_slot(task == Task.REGRESSION) | (numbers == 0), "counts does not fit task")
    holds(by_slot(of != ScoreOf.NONE) | (scored == 0), "counts does not fit score_of")
    confusion = parts["confusion"].astype(np.int64)
    most = classes[..., np.newaxis, np.newaxis]
    holds((confusion >= 0) & (confusion <= most), "confusion is out of range")
    holds(confusion.sum(axis=(-2, -1)) == classes, "confusion does not fit counts")
    same = np.trace(confusion, axis1=-2, axis2=-1)
    right, pooled = counts[..., RIGHT], counts[..., POOLED]
    last = confusion[..., -1, -1]
    holds((right <= same) & (right >= same - last), "confusion does not fit counts")
    beyond = confusion[..., -1, :].sum(axis=-1) + confusion[..., :, -1].sum(axis=-1) - last
    holds(pooled == beyond, "confusion does not fit counts")
    histogram = parts["histogram"].astype(np.int64)
    most = scored[..., np.newaxis, np.newaxis]
    holds((histogram >= 0) & (histogram <= most), "histogram is out of range")
    holds(histogram.sum(axis=(-2, -1)) == scored, "histogram does not fit counts")
    sums, score_sums = parts["sums"], parts["score_sums"]
    holds(np.isfinite(sums) & (sums >= 0.0), "sums is out of range")
    holds(np.isfinite(score_sums) & (score_sums >= 0.0), "score_sums is out of range")
    holds(score_sums <= histogram.sum(axis=-2) * _ROUNDING, "score_sums is out of range")
    has_losses = by_slot(of >= ScoreOf.POSITIVE)
    n = scored * has_losses * _ROUNDING
    for first, loss in ((LOG_LOSS, MOST_LOSS), (BRIER, 1.0)):
        holds(sums[..., first] <= n * loss, "sums is out of range")
        holds(sums[..., first + 1] <= n * loss * loss, "sums is out of range")
    holds(has_losses[..., np.newaxis] | (score_sums == 0.0), "score_sums does not fit score_of")
    m = numbers * _ROUNDING
    for which, power in ((ABSOLUTE, 1), (SQUARE, 2), (FOURTH, 4)):
        holds(sums[..., which] <= m * MOST_ERROR**power, "sums is out of range")
