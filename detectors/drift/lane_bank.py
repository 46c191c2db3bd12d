"""What the banks have in common whose lanes stand in one table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from detectors.base import BankState
from detectors.drift.firings import FiringBuffer
from detectors.drift.lane_table import Column, LaneTable, require_lanes, require_names
from detectors.drift.ranks import LaneReference
from detectors.kernels.compile import DONE, NO_LANE
from schemas.batch import F64, I32, I64, Batch
from schemas.findings import Firing


def walk(batch: Batch) -> tuple[I64, I64, I64, I32, F64, I32, I64]:
    """By what the kernels go over a batch and say where they fire: their first arguments."""
    return (
        batch.block_row_ptr,
        batch.block_lane_ptr,
        batch.block_value_ptr,
        batch.lane,
        batch.value,
        batch.row_index,
        batch.offset,
    )


class LaneBank:
    """Lanes, their switch, and how a kernel goes over a batch; a detector adds what it observes.

    One of `columns` is `enabled`. Raises `StateError` where `state` has other arrays than these
    and those of `beside`, which the detector keeps itself.
    """

    def __init__(
        self,
        columns: tuple[Column, ...],
        n_lanes: int,
        state: BankState | None,
        beside: Collection[str] = (),
    ) -> None:
        if state is not None:
            require_names(state, {column.name for column in columns}.union(beside))
        self._lanes = LaneTable(columns, n_lanes, state)

    def resize(self, n_lanes: int) -> None:
        """Make room for lanes 0..n_lanes-1."""
        self._lanes.resize(n_lanes)

    def reset(self, lanes: I32) -> None:
        """Put these lanes, and their switch, back into the initial state."""
        self._lanes.reset(lanes)

    def learn(self, lanes: I32, references: Sequence[LaneReference]) -> None:
        """Nothing: the lanes' values are standardised, and that is all this detector asks."""

    def set_arl0(self, lanes: I32, arl0: float) -> None:
        """Nothing: its parameters say when it fires, at whatever rate that is."""

    def set_enabled(self, lanes: I32, enabled: bool) -> None:
        """Switch these lanes on or off; a lane that is off observes nothing."""
        require_lanes(lanes, self._lanes.n_lanes)
        self._lanes["enabled"][lanes] = enabled

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The arrays of the bank, the first axis of each is the lane."""
        return self._lanes.snapshot()

    def _advance(
        self, name: str, batch: Batch, fired: FiringBuffer, go_on: Callable[[], int]
    ) -> Iterator[list[Firing]]:
        """What fires, a full buffer at a time; `go_on` calls the kernel, which returns a status.

        Raises IndexError at a lane that the bank has not.
        """
        fired.start()
        while True:
            status = go_on()
            if status == NO_LANE:
                require_lanes(batch.lane, self._lanes.n_lanes)
            yield fired.drain(name, batch)
            if status == DONE:
                return
