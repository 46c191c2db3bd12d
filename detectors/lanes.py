"""Lane numbers: given lowest first, taken back, never more than the bound."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field


@dataclass(slots=True)
class LanePool:
    """Which lanes are free. Deterministic: the lowest free number is given first."""

    n_lanes: int = 0
    """Lanes 0..n_lanes-1 have been given at some time."""
    free: list[int] = field(default_factory=list)
    """A heap of the free ones among them."""

    def room(self, bound: int) -> int:
        """How many more lanes can be given under the bound."""
        return max(0, bound - self.n_lanes + len(self.free))

    def take(self) -> int:
        """The lowest free lane."""
        if self.free:
            return heapq.heappop(self.free)
        self.n_lanes += 1
        return self.n_lanes - 1

    def give_back(self, lane: int) -> None:
        """Take back a lane whose signal is gone."""
        heapq.heappush(self.free, lane)
