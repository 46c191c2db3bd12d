"""What a model version predicts and what its score means; the table of slots that know it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState
from detectors.drift.lane_table import (
    MAX_N,
    Column,
    LaneTable,
    require_all,
    require_lanes,
    require_names,
)
from detectors.kernels import performance as kernels
from schemas.batch import F64, I32, I64

N_RELIABILITY: Final = 16
"""Bins of a reliability diagram; each is a whole number of score bins."""
MAX_BLOCK_ROWS: Final = 2**31 - 1


class Task(IntEnum):
    """What a model version predicts."""

    UNKNOWN = kernels.UNKNOWN
    BINARY = kernels.BINARY
    MULTICLASS = kernels.MULTICLASS
    REGRESSION = kernels.REGRESSION


class ScoreOf(IntEnum):
    """What a model version's score is."""

    NONE = kernels.NO_SCORE
    RANK = kernels.RANK
    """A number that orders: the higher, the more the positive class (or the surer)."""
    POSITIVE = kernels.POSITIVE
    """The probability of the positive class."""
    PREDICTED = kernels.PREDICTED
    """The probability of the class that was predicted."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How much a performance bank keeps of each slot.

    `n_blocks * block_rows` is the window of predictions; those of joined rows are given apart.
    Raises ValueError where a number is out of range.
    """

    n_blocks: int = 20
    block_rows: int = 500
    max_classes: int = 10
    """Classes with a row and a column of the confusion matrix; the others share one."""
    n_bins: int = 64
    """Bins of the score, a multiple of 16."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("n_blocks", 1, 1000),
            ("block_rows", 1, MAX_BLOCK_ROWS),
            ("max_classes", 2, 256),
            ("n_bins", N_RELIABILITY, 1024),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"`{name}` is {getattr(self, name)}: {low} to {high}")
        if self.n_bins % N_RELIABILITY:
            raise ValueError(f"`n_bins` is {self.n_bins}: a multiple of {N_RELIABILITY}")


SHAPE: Final = Shape()
"""What the fold keeps of a model version."""


def even_cuts(n_bins: int) -> F64:
    """(n_bins - 1,) cuts of probabilities: 3 t**2 - 2 t**3 at even t, so finer near 0 and 1.

    Close to sin(pi t / 2)**2, which makes a proportion's standard error the same everywhere, and
    of products alone: the same on every machine.
    """
    t = np.arange(1, n_bins) / n_bins
    cuts: F64 = t * t * (3.0 - 2.0 * t)
    return cuts


def quantile_cuts(score: F64, n_bins: int) -> F64:
    """(n_bins - 1,) cuts between which lie about as many of these (n,) scores, n > 0, all finite.

    For scores that are no probabilities, and for probabilities that all are tiny.
    """
    ordered = np.sort(score)
    return ordered[np.arange(1, n_bins) * len(ordered) // n_bins]


@dataclass(frozen=True, slots=True)
class Output:
    """What one model version predicts.

    Raises ValueError where the parts do not go together.
    """

    task: Task = Task.UNKNOWN
    score_of: ScoreOf = ScoreOf.NONE
    positive: int = -1
    """The number of the positive class of a binary model, else -1."""
    cuts: tuple[float, ...] = field(default=(), repr=False)
    """Of the score's bins, ascending; none: `even_cuts`."""

    def __post_init__(self) -> None:
        if (self.positive >= 0) != (self.task == Task.BINARY) or self.positive < -1:
            raise ValueError(
                f"`positive` is {self.positive} of a {self.task.name} model: "
                "give a binary one, and no other, the number of its positive class"
            )
        if self.score_of != ScoreOf.NONE and self.task not in {Task.BINARY, Task.MULTICLASS}:
            raise ValueError(f"`score_of`: a {self.task.name} model has no score that counts")
        if self.score_of == ScoreOf.POSITIVE and self.task == Task.MULTICLASS:
            raise ValueError("`score_of`: of several classes none is positive; use PREDICTED")
        if self.score_of == ScoreOf.RANK and not self.cuts:
            raise ValueError("`cuts`: a score that is no probability needs them: quantile_cuts")
        cuts = np.array(self.cuts)
        if not np.isfinite(cuts).all() or (np.diff(cuts) < 0.0).any():
            raise ValueError("`cuts` are not finite and ascending")


class SlotTable:
    """Slots, what each predicts, and what a bank keeps of it: `columns`, all of them reset at once.

    The first axis of each array is the slot. Raises `StateError` where `state` does not fit.
    """

    def __init__(
        self, shape: Shape, columns: tuple[Column, ...], n_slots: int, state: BankState | None
    ) -> None:
        self.shape = shape
        own = (
            Column("task", np.uint8, Task.UNKNOWN),
            Column("score_of", np.uint8, ScoreOf.NONE),
            Column("positive", np.int32, -1),
            Column("cuts", np.float64, tuple(even_cuts(shape.n_bins)), (shape.n_bins - 1,)),
            *columns,
        )
        if state is not None:
            require_names(state, {column.name for column in own})
        self._slots = LaneTable(own, n_slots, state)
        if state is not None:
            self._check_outputs()

    def _check_outputs(self) -> None:
        slots = self._slots
        task, score_of, positive = slots["task"], slots["score_of"], slots["positive"]
        require_all(task <= Task.REGRESSION, "task is unknown")
        require_all(score_of <= ScoreOf.PREDICTED, "score_of is unknown")
        is_binary = task == Task.BINARY
        require_all(
            np.where(is_binary, positive >= 0, positive == -1), "positive does not fit task"
        )
        require_all(positive < self.shape.max_classes, "positive is out of range")
        has_classes = is_binary | (task == Task.MULTICLASS)
        require_all((score_of == ScoreOf.NONE) | has_classes, "score_of does not fit task")
        require_all((score_of != ScoreOf.POSITIVE) | is_binary, "score_of does not fit task")
        require_all(np.isfinite(slots["cuts"]), "cuts is not finite")
        require_all(np.diff(slots["cuts"], axis=1) >= 0.0, "cuts is not ascending")

    @property
    def n_slots(self) -> int:
        """How many slots there are."""
        return self._slots.n_lanes

    def resize(self, n_slots: int) -> None:
        """Make room for slots 0..n_slots-1; new ones are unknown and empty. Never shrinks."""
        self._slots.resize(n_slots)

    def reset(self, slots: I32) -> None:
        """Make these slots unknown and empty. Raises IndexError at an unknown one."""
        self._slots.reset(slots)

    def declare(self, slot: int, output: Output) -> None:
        """Say what a slot predicts; what it held is forgotten.

        Raises IndexError at an unknown slot, ValueError where the output does not fit the shape.
        """
        if output.positive >= self.shape.max_classes:
            raise ValueError(
                f"`positive` is {output.positive}: below `max_classes`, {self.shape.max_classes}"
            )
        if output.cuts and len(output.cuts) != self.shape.n_bins - 1:
            raise ValueError(f"`cuts` has {len(output.cuts)}: give {self.shape.n_bins - 1}")
        self.reset(np.array([slot], np.int32))
        self._slots["task"][slot] = output.task
        self._slots["score_of"][slot] = output.score_of
        self._slots["positive"][slot] = output.positive
        if output.cuts:
            self._slots["cuts"][slot] = output.cuts

    def output(self, slot: int) -> Output:
        """What a slot predicts, its cuts among it. Raises IndexError at an unknown slot."""
        require_lanes(np.array([slot], np.int32), self.n_slots)
        return Output(
            Task(int(self._slots["task"][slot])),
            ScoreOf(int(self._slots["score_of"][slot])),
            int(self._slots["positive"][slot]),
            tuple(self._slots["cuts"][slot].tolist()),
        )

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The whole state; a function of the rows alone, not of batches or capacity."""
        return self._slots.snapshot()


def blocks_of(n_rows: int, n_blocks: int, block_rows: int, kept: int | None = None) -> list[int]:
    """The places in a ring that are used after so many rows, the oldest first.

    `kept`: of the latest so many blocks at most; None: of all that are kept.
    """
    last = (n_rows - 1) // block_rows
    kept = n_blocks if kept is None else min(kept, n_blocks)
    first = max(last - kept + 1, 0)
    return [number % n_blocks for number in range(first, last + 1)]


def held_by(n: I64, n_blocks: int, block_rows: int) -> I64:
    """(slots, blocks) rows that each place of a ring holds, of (slots,) rows so far.

    Raises `StateError` where there cannot be so many rows.
    """
    require_all((n >= 0) & (n <= MAX_N), "a number of rows is out of range")
    last = np.maximum(n - 1, 0) // block_rows
    back = (last[:, np.newaxis] - np.arange(n_blocks)) % n_blocks
    number = last[:, np.newaxis] - back
    held = np.clip(n[:, np.newaxis] - number * block_rows, 0, block_rows)
    return np.where(number >= 0, held, 0)
