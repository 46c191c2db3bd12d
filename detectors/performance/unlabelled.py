"""The bank of what scores tell before labels come: by slot, a window of predictions by bin."""

from __future__ import annotations

import numpy as np

from detectors.base import BankState
from detectors.drift.lane_table import MAX_N, Column, require_all, require_lanes
from detectors.kernels.performance import unlabelled_update
from detectors.performance.calibration import calibrate
from detectors.performance.estimate import Estimate, estimate
from detectors.performance.intervals import LEVEL
from detectors.performance.outputs import (
    ScoreOf,
    Shape,
    SlotTable,
    Task,
    blocks_of,
    held_by,
)
from detectors.performance.rows import ScoredRows
from detectors.performance.tally import Tally
from schemas.batch import F64, I64


class UnlabelledPerformance(SlotTable):
    """Folds predictions; `estimate` says what the metrics of a slot's window should be.

    Its state are whole numbers: rows by bin of the score, and the labelled rows that say what a
    score means. The window of a slot is its last predictions: as many blocks of `block_rows` as the
    shape has, the newest of which may not be full. So it holds more than
    `(n_blocks - 1) * block_rows` of them and at most `n_blocks * block_rows`, and which it holds
    does not depend on batches.
    """

    def __init__(self, shape: Shape, n_slots: int, state: BankState | None = None) -> None:
        cells = (2, shape.n_bins)
        columns = (
            Column("rows", np.int64, 0),
            Column("refused", np.int64, 0),
            Column("reference", np.int64, 0, cells),
            Column("block_times", np.int64, 0, (shape.n_blocks, 2)),
            Column("block_cells", np.int32, 0, (shape.n_blocks, *cells)),
        )
        super().__init__(shape, columns, n_slots, state)
        if state is not None:
            self._check()

    def update(self, rows: ScoredRows) -> None:
        """Fold rows. Raises IndexError at an unknown slot, and folds none of them."""
        require_lanes(rows.slot, self.n_slots)
        slots = self._slots
        unlabelled_update(
            rows.slot,
            rows.predicted_class,
            rows.score,
            rows.event_time_ms,
            slots["task"],
            slots["positive"],
            slots["score_of"],
            slots["cuts"],
            slots["rows"],
            slots["refused"],
            slots["block_times"],
            slots["block_cells"],
            self.shape.block_rows,
            self.n_slots,
        )

    def learn(self, slot: int, reference: Tally) -> None:
        """Let the labelled rows of a tally say what the slot's scores mean, in place of others.

        Raises IndexError at an unknown slot, ValueError where the tally's output is not the slot's.
        """
        if reference.output != self.output(slot):
            raise ValueError(
                f"slot {slot} predicts {self.output(slot)}, the reference {reference.output}: "
                "take the reference from the same model version, with the same cuts"
            )
        self._slots["reference"][slot] = reference.histogram

    def teach(self, slot: int, counts: I64) -> None:
        """Let the (2, bins) counts of a reference say what the slot's scores mean.

        Raises IndexError at an unknown slot, ValueError at another number of bins.
        """
        require_lanes(np.array([slot], np.int32), self.n_slots)
        if counts.shape != (2, self.shape.n_bins):
            raise ValueError(f"`counts` is of shape {counts.shape}: give (2, {self.shape.n_bins})")
        self._slots["reference"][slot] = counts

    def probabilities(self, slot: int) -> F64 | None:
        """(bins,) the probability of the outcome by bin of the score; None: no reference says it.

        Raises IndexError at an unknown slot.
        """
        require_lanes(np.array([slot], np.int32), self.n_slots)
        calibration = calibrate(self._slots["reference"][slot])
        return None if calibration is None else calibration.p

    def estimate(
        self, slot: int, level: float = LEVEL, n_blocks: int | None = None
    ) -> Estimate | None:
        """What is expected of the slot's window; None where no reference says what scores mean.

        `n_blocks` is as in `window`. Raises IndexError at an unknown slot, ValueError unless
        0 < level < 1.
        """
        output = self.output(slot)
        calibration = calibrate(self._slots["reference"][slot])
        if calibration is None:
            return None
        return estimate(self.window(slot, n_blocks), calibration, output.task, level)

    def n_rows(self, slot: int) -> int:
        """How many predictions of a slot were folded. Raises IndexError at an unknown slot."""
        require_lanes(np.array([slot], np.int32), self.n_slots)
        return int(self._slots["rows"][slot])

    def window(self, slot: int, n_blocks: int | None = None) -> I64:
        """(2, bins) the slot's last predictions by bin: of the negative class, of the positive one.

        Of a model with several classes all are in the second row. `n_blocks`: those of the latest
        so many blocks, the newest of which may not be full; None: of all that are kept.
        """
        require_lanes(np.array([slot], np.int32), self.n_slots)
        blocks = self._blocks(slot, n_blocks)
        window: I64 = self._slots["block_cells"][slot, blocks].sum(axis=0, dtype=np.int64)
        return window

    def times(self, slot: int) -> tuple[int, int]:
        """The least and the greatest event time of the slot's window, epoch ms; 0 without rows."""
        require_lanes(np.array([slot], np.int32), self.n_slots)
        blocks = self._blocks(slot)
        if not blocks:
            return 0, 0
        held = self._slots["block_times"][slot, blocks]
        return int(held[:, 0].min()), int(held[:, 1].max())

    def refused(self, slot: int) -> int:
        """How many scores of the slot should have been probabilities, and were none."""
        require_lanes(np.array([slot], np.int32), self.n_slots)
        return int(self._slots["refused"][slot])

    def _blocks(self, slot: int, kept: int | None = None) -> list[int]:
        n_rows = int(self._slots["rows"][slot])
        return blocks_of(n_rows, self.shape.n_blocks, self.shape.block_rows, kept)

    def _check(self) -> None:
        slots = self._slots
        task, score_of = slots["task"], slots["score_of"]
        rows, cells, reference = slots["rows"], slots["block_cells"], slots["reference"]
        held = held_by(rows, self.shape.n_blocks, self.shape.block_rows)
        require_all((slots["refused"] >= 0) & (slots["refused"] <= rows), "refused is out of range")
        require_all((reference >= 0) & (reference <= MAX_N), "reference is out of range")
        require_all(cells >= 0, "block_cells is out of range")
        n = cells.sum(axis=(2, 3), dtype=np.int64)
        require_all(n <= held, "block_cells does not fit rows")
        has_score = score_of != ScoreOf.NONE
        require_all(has_score | (n.sum(axis=1) == 0), "block_cells does not fit score_of")
        only_second = task != Task.MULTICLASS
        require_all(
            only_second | (cells[:, :, 0].sum(axis=(1, 2), dtype=np.int64) == 0),
            "block_cells does not fit task",
        )
        empty = reference.sum(axis=(1, 2)) == 0
        require_all(has_score | empty, "reference does not fit score_of")
        times = slots["block_times"]
        require_all(times[..., 0] <= times[..., 1], "block_times is wrong")
