"""Where a kernel writes what has fired, and how it becomes `Firing` objects."""

from __future__ import annotations

import numpy as np

from schemas.batch import Batch
from schemas.findings import Firing


class FiringBuffer:
    """Arrays for `capacity` firings, and the cursor of the kernel that fills them.

    A kernel that finds them full returns, and goes on from its cursor once they are drained: a
    batch may hold any number of firings, and the buffer never grows.
    """

    def __init__(self, capacity: int = 256) -> None:
        self.cursor = np.zeros(5, np.int64)
        self.row = np.empty(capacity, np.int64)
        self.lane = np.empty(capacity, np.int32)
        self.numbers = np.zeros((capacity, 7), np.float64)
        """(capacity, 7) statistic, threshold, before, after, n_before, n_after, aspect."""
        self.change_offset = np.empty(capacity, np.int64)

    def start(self) -> None:
        """Put the cursor to the beginning of a batch."""
        self.cursor[:] = 0

    def drain(self, detector: str, batch: Batch) -> list[Firing]:
        """Take out what has fired so far, with its trigger rows looked up in the batch."""
        n_fired = int(self.cursor[3])
        self.cursor[3] = 0
        firings = []
        for k in range(n_fired):
            row = int(self.row[k])
            numbers = self.numbers[k].tolist()
            firings.append(
                Firing(
                    offset=int(batch.offset[row]),
                    event_row=int(batch.event_row[row]),
                    model=int(batch.model[row]),
                    lane=int(self.lane[k]),
                    detector=detector,
                    event_time_ms=int(batch.event_time_ms[row]),
                    model_event=int(batch.model_event[row]),
                    statistic=numbers[0],
                    threshold=numbers[1],
                    before=numbers[2],
                    after=numbers[3],
                    change_offset=int(self.change_offset[k]),
                    n_before=int(numbers[4]),
                    n_after=int(numbers[5]),
                    aspect=int(numbers[6]),
                )
            )
        return firings
