"""The contract of a detector bank: many detectors of one kind, advanced together.

A bank holds one detector per lane, in arrays. Its laws, which `tests/detectors/test_contract.py`
runs over every entry of the registry:

- the same firings and the same state bytes for any split of the rows into batches;
- a bank built from a snapshot goes on exactly as the one that was never interrupted;
- `update` does not keep or change the arrays of the batch;
- memory is a function of the number of lanes, not of the number of rows;
- NaN observes nothing; a constant lane divides by nothing;
- no value, and no snapshot that `build` takes, makes a kernel loop on or write elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from detectors.drift.ranks import LaneReference
from schemas.batch import I32, Batch
from schemas.findings import Firing

BankState = Mapping[str, NDArray[Any]]
"""Named arrays, little-endian, no object dtype. A snapshot shares no memory with the bank."""


Z_LIMIT: Final = 1e6
"""What lies beyond +-1e6 reference standard deviations counts as that, in every bank: so no sum of
them overflows, and a state is finite whatever was observed."""


class DetectorBank(Protocol):
    """Detectors of one kind, one per lane; lanes are numbered from 0 and added at the end."""

    def update(self, batch: Batch) -> list[Firing]:
        """Advance every lane of the batch over its rows; firings in no particular order."""
        ...

    def resize(self, n_lanes: int) -> None:
        """Make room for lanes 0..n_lanes-1; new ones are in their initial state. Never shrinks."""
        ...

    def reset(self, lanes: I32) -> None:
        """Put these lanes back into their initial state (their signal is gone or begins anew).

        That is the state of a new lane, its switch included.
        """
        ...

    def learn(self, lanes: I32, references: Sequence[LaneReference]) -> None:
        """Give these lanes, freshly reset, what their references held; each ends before them."""
        ...

    def set_arl0(self, lanes: I32, arl0: float) -> None:
        """From here on, so many events of the model between two false alarms of one lane."""
        ...

    def set_enabled(self, lanes: I32, enabled: bool) -> None:
        """Switch these lanes on or off; one that is off observes nothing and keeps its state.

        A new lane is on where the detector's config says `enabled`. The switch is state: it is in
        the snapshot. `update`, `reset` and this raise IndexError at a lane the bank has not.
        """
        ...

    def snapshot(self) -> BankState:
        """The whole state; a function of the observations alone, not of batches or capacity."""
        ...


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """One entry of the registry.

    `build(config, n_lanes, state)` makes a bank with that many lanes, from a snapshot or (None)
    from nothing; it raises `StateError` where the snapshot does not fit.
    """

    name: str
    version: int
    """Version of the algorithm and of its state; a checkpoint with another one is refused."""
    config_type: type[BaseModel]
    build: Callable[[Any, int, BankState | None], DetectorBank]
    is_for_reading: bool = False
    """Whether it only keeps what people read, and finds nothing. All others need the rows of the
    reference, which are kept until it is complete: to know what is within the budget."""
    has_budget: bool = False
    """Whether what it fires at follows from the false alarms that are accepted. What others find
    opens an alert only where it is as strong as that."""
    keeps_rhythm: bool = False
    """Whether it observes signals as they are, their daily or weekly rhythm left in."""
    watches_indicators: bool = True
    """Whether it watches signals of two values; where not, their whole budget is the others'."""
    watches_cells: bool = False
    """Whether it watches categories as a whole. Their cells are no numbers to any other one."""
    watches_errors_only: bool = False
    """Whether it is for errors, a 1 where something went wrong: it watches a share where the config
    names it for that signal, which says that its ones are errors, and nothing else."""


class StateError(ValueError):
    """A snapshot does not fit: another version, dtype, shape or a value out of range."""


def part_of(state: Mapping[str, BankState], name: str) -> BankState:
    """One part of the state of a fold. Raises `StateError` that names it."""
    if name not in state:
        raise StateError(f"the state has no part {name!r}")
    return state[name]


def require_array(
    state: BankState, name: str, dtype: np.dtype[Any] | type[Any], shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """A private, writable copy of one array of a snapshot, its dtype and shape checked.

    None in `shape` allows any length there. Raises `StateError` that names the array.
    """
    try:
        array = state[name]
    except KeyError:
        raise StateError(f"the state has no array {name!r}") from None
    if array.dtype != np.dtype(dtype):
        raise StateError(f"array {name!r} has dtype {array.dtype}, expected {np.dtype(dtype)}")
    fits = len(shape) == array.ndim and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise StateError(f"array {name!r} has shape {array.shape}, expected {shape}")
    return np.array(array, order="C", copy=True)
