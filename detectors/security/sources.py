"""The table of sources: who is followed, decided in the order of the log and within fixed bounds.

A source is a name of one model's clients; those without a name are one for each model. New names
are only counted, by a doorkeeper, until they have sent `admit_after` events. A full table gives
away the place that is longest idle, but never that of a source that was just there, nor of one
against which something stands: so a flood of names neither grows memory nor pushes out who is
watched. Where nobody can give way, the name is refused, counted, and that is a finding of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.base import BankState, StateError, require_array
from detectors.kernels import sources as kernel
from detectors.mixing import splitmix64
from detectors.security.base import Suspicion, Technique
from schemas.batch import I32, I64, U64, Bool

NAME: Final = "sources"

RING: Final = 256
"""Distinct rows of a source that are remembered, to know which it sends again."""
MIN_IDLE: Final = 1_000
"""Events of the partition for which a source has to be idle before its place is given away."""
PROTECTED_FOR: Final = 1_000_000
"""The same for one against which something stands."""
DOOR_MEMORY: Final = 100_000
"""The doorkeeper forgets a name that did not come again for so many events."""
REFUSALS: Final = 32
"""About so many refusals are a finding (`needed_refusals`), then each doubling; after `QUIET`
events without one it is over.

One alone is none: somebody may just have come while all others were there."""
QUIET: Final = 1_024
_MIN_DOOR: Final = 4_096
_MAX_DOOR: Final = 1 << 20
_NEVER: Final = 2**62
"""Larger than any number or count that is reached."""

SOURCE_COUNTERS: Final = (
    "n_admitted_sources",
    "n_evicted_sources",
    "n_refused_sources",
    "n_forgotten_names",
    "n_repeats",
)
"""In the order of the kernel's counts."""


def needed_refusals(salt: int) -> int:
    """24 to 40, by the deployment's salt: nobody can learn elsewhere how many are not told."""
    mixed = int(splitmix64(np.array([salt], np.uint64))[0])
    return REFUSALS - 8 + mixed % 17


Kinds = Mapping[tuple[int, int], int]
"""Keyed hash of a source -> the number of its kind, 1 or more; all others are of kind 0."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What the table says of the rows of a stretch, n of them."""

    source: I32
    """(n,) place of the row's source; -1: it has none."""
    is_first: Bool
    """(n,) whether the place was given to it at this row."""
    is_repeat: Bool
    """(n,) whether it has sent exactly this row among its latest ones."""
    kind: I32
    """(n,)"""
    pressure: list[Suspicion]


class SourceTable:
    """The table of one partition, with `n_places` places; `refusals` are a finding.

    `counters` are the fold's. `state` is an earlier `snapshot()`, `number` that of the next event
    by then; raises `StateError` where it does not fit.
    """

    def __init__(
        self,
        n_places: int,
        admit_after: int,
        counters: dict[str, int],
        state: BankState | None = None,
        number: int = 0,
        refusals: int = REFUSALS,
    ) -> None:
        self.n_places: Final = n_places
        self._counters = counters
        self._limits: I64 = np.array(
            [admit_after, MIN_IDLE, PROTECTED_FOR, DOOR_MEMORY, refusals, QUIET], np.int64
        )
        self.names: U64 = np.zeros((n_places, 2), np.uint64)
        self.owner: I32 = np.full(n_places, -1, np.int32)
        """(S,) slot of the model; -1: the place is free."""
        self.last: I64 = np.zeros(n_places, np.int64)
        """(S,) number of the source's latest event."""
        self._ring: U64 = np.zeros((n_places, RING), np.uint64)
        self._ring_n: I64 = np.zeros(n_places, np.int64)
        self.standing: I32 = np.zeros(n_places, np.int32)
        """(S,) as it was read last; of a source that came after that 0."""
        self._is_protected = np.zeros(n_places, np.uint8)
        n_door = min(max(_power_of_two(4 * n_places), _MIN_DOOR), _MAX_DOOR)
        self._door_tag: U64 = np.zeros(n_door, np.uint64)
        self._door_model: I32 = np.zeros(n_door, np.int32)
        self._door_n: I32 = np.zeros(n_door, np.int32)
        self._door_last: I64 = np.zeros(n_door, np.int64)
        self._at: I64 = np.zeros(kernel.N_AT, np.int64)
        self._index: I32 = np.zeros(_power_of_two(4 * n_places), np.int32)
        self._before: I32 = np.zeros(n_places + 2, np.int32)
        self._after: I32 = np.zeros(n_places + 2, np.int32)
        self._kind_words: U64 = np.zeros((0, 2), np.uint64)
        self._kind_of: I32 = np.zeros(0, np.int32)
        if state is not None:
            self._restore(state, number)
        self._link()
        if kernel.index_places(self.names, self.owner, self._index):
            raise StateError("a source has two places")

    def __len__(self) -> int:
        """How many sources are followed."""
        return int(np.count_nonzero(self.owner >= 0))

    def set_admit_after(self, admit_after: int) -> None:
        """From the next event on."""
        self._limits[kernel.ADMIT_AFTER] = admit_after

    def set_kinds(self, kinds: Kinds) -> None:
        """Know these sources' kinds, from the next event on; no part of the state."""
        known = sorted(kinds.items())
        self._kind_words = np.array([name for name, _ in known], np.uint64).reshape(-1, 2)
        self._kind_of = np.array([kind for _, kind in known], np.int32)

    def place(
        self, model: I32, words: U64, number: I64, row_hash: U64, offset: I64, event_row: I32,
        time: I64,
    ) -> Placed:  # fmt: skip
        """Find or give the sources of these rows their places, in this order.

        `model` (n,) slots, `words` (n, 2) names, `number` (n,) ascending positions in the lineage,
        `row_hash` (n,); `offset`, `event_row` and `time` (n,) say where and when they were.
        """
        n = len(model)
        source, kind = np.empty(n, np.int32), np.empty(n, np.int32)
        is_first, is_repeat = np.empty(n, np.bool_), np.empty(n, np.bool_)
        fired = np.empty((n, kernel.N_FIRED), np.int64)
        counts = np.zeros(kernel.N_COUNTS, np.int64)
        n_fired = kernel.place_rows(
            model,
            words,
            number,
            row_hash,
            offset,
            time,
            self._limits,
            self._kind_words,
            self._kind_of,
            self.names,
            self.owner,
            self.last,
            self._ring,
            self._ring_n,
            self.standing,
            self._is_protected,
            self._before,
            self._after,
            self._index,
            self._door_tag,
            self._door_model,
            self._door_n,
            self._door_last,
            self._at,
            counts,
            source,
            is_first,
            is_repeat,
            kind,
            fired,
        )
        for name, count in zip(SOURCE_COUNTERS, counts.tolist(), strict=True):
            self._counters[name] += count
        pressure = [
            Suspicion(
                offset=int(offset[row]),
                event_row=int(event_row[row]),
                model=int(model[row]),
                source=-1,
                detector=NAME,
                technique=Technique.PRESSURE,
                event_time_ms=int(time[row]),
                statistic=float(n_refused),
                threshold=float(self._limits[kernel.NEEDS]),
                n_hits=n_refused,
                n_seen=n_seen,
                first_offset=first_offset,
                first_time_ms=first_time,
                is_provisional=False,
            )
            for row, n_refused, n_seen, first_offset, first_time in fired[:n_fired].tolist()
        ]
        return Placed(source, is_first, is_repeat, kind, pressure)

    def read_standing(self, standing: I32, number: int) -> None:
        """Protect those places against which most stands, at most half of the table.

        `standing` (S,) is what stands against each place at this event of the lineage; it may be
        anything where the place is free.
        """
        is_taken = self.owner >= 0
        self.standing[:] = np.where(is_taken, np.maximum(standing, 0), 0)
        held = np.flatnonzero((self.standing > 0) & (number - self.last < PROTECTED_FOR))
        bound = self.n_places // 2
        if len(held) > bound:
            most_first = np.lexsort((-self.last[held], -self.standing[held].astype(np.int64)))
            held = held[most_first[:bound]]
        is_protected = np.zeros(self.n_places, np.uint8)
        is_protected[held] = 1
        if not np.array_equal(is_protected, self._is_protected):
            self._is_protected = is_protected
            self._link()

    def forget(self, model: int) -> None:
        """Free the places of this model's sources: its slot is given to another model."""
        own = self.owner == model
        self.owner[own] = -1
        for array in (self.names, self.last, self._ring, self._ring_n, self.standing):
            array[own] = 0
        self._is_protected[own] = 0
        at_door = (self._door_model == model) & (self._door_n > 0)
        for array in (self._door_tag, self._door_model, self._door_n, self._door_last):
            array[at_door] = 0
        self._at[kernel.FREE] = 0
        self._link()
        self._index[:] = 0
        kernel.index_places(self.names, self.owner, self._index)

    def _link(self) -> None:
        """Make the two lists anew: a place stands where its latest event was."""
        taken = np.flatnonzero(self.owner >= 0)
        for end, is_in in ((self.n_places, 0), (self.n_places + 1, 1)):
            own = taken[self._is_protected[taken] == is_in]
            order = own[np.argsort(self.last[own], kind="stable")]
            ring = np.concatenate([[end], order, [end]]).astype(np.int32)
            self._after[ring[:-1]] = ring[1:]
            self._before[ring[1:]] = ring[:-1]

    def snapshot(self) -> BankState:
        """The whole state: the places that are taken, the doorkeeper, the present spell."""
        place = np.flatnonzero(self.owner >= 0).astype(np.int32)
        entry = np.flatnonzero(self._door_n > 0).astype(np.int32)
        return {
            "place": place,
            "names": self.names[place],
            "owner": self.owner[place],
            "last": self.last[place],
            "ring": self._ring[place],
            "ring_n": self._ring_n[place],
            "standing": self.standing[place],
            "is_protected": self._is_protected[place],
            "door": entry,
            "door_tag": self._door_tag[entry],
            "door_model": self._door_model[entry],
            "door_n": self._door_n[entry],
            "door_last": self._door_last[entry],
            "refusals": self._at[kernel.N_REFUSED :].copy(),
        }

    def _restore(self, state: BankState, number: int) -> None:
        """Take a snapshot; raises `StateError` where it contradicts itself."""
        place = require_array(state, "place", np.int32, (None,))
        _require_ascending(place, self.n_places, "place")
        k = len(place)
        self.names[place] = require_array(state, "names", np.uint64, (k, 2))
        owner = require_array(state, "owner", np.int32, (k,))
        last = require_array(state, "last", np.int64, (k,))
        ring = require_array(state, "ring", np.uint64, (k, RING))
        ring_n = require_array(state, "ring_n", np.int64, (k,))
        standing = require_array(state, "standing", np.int32, (k,))
        is_protected = require_array(state, "is_protected", np.uint8, (k,))
        _require_range(owner, 0, 2**31 - 1, "owner")
        _require_range(last, 0, number, "last")
        if len(np.unique(last)) < k:
            raise StateError("two sources have sent the same event")
        _require_range(ring_n, 1, _NEVER, "ring_n")
        if ring[np.arange(RING) >= ring_n[:, np.newaxis]].any():
            raise StateError("array 'ring' has rows beyond those that were sent")
        _require_range(standing, 0, 2**31, "standing")
        _require_range(is_protected, 0, 2, "is_protected")
        if (is_protected > standing).any() or np.count_nonzero(is_protected) > self.n_places // 2:
            raise StateError("a place is protected that cannot be")
        self.owner[place], self.last[place] = owner, last
        self._ring[place], self._ring_n[place] = ring, ring_n
        self.standing[place], self._is_protected[place] = standing, is_protected
        self._restore_door(state, number)
        spell = require_array(state, "refusals", np.int64, (kernel.N_AT - kernel.N_REFUSED,))
        n_refused, first, latest, following, first_offset, first_time = spell.tolist()
        _require_range(spell, 0, _NEVER, "refusals")
        if n_refused and not (first <= latest < number and n_refused <= latest - first + 1):
            raise StateError("more sources were refused than came")
        needed = int(self._limits[kernel.NEEDS])
        if n_refused and not needed <= following <= max(needed, 2 * n_refused):
            raise StateError("refusals are told at a count that is none")
        if not n_refused and any((first, latest, following, first_offset, first_time)):
            raise StateError("a spell of refusals has none")
        self._at[kernel.N_REFUSED :] = spell
        if state.keys() - _ARRAYS:
            raise StateError("the state of the sources has an array too many")

    def _restore_door(self, state: BankState, number: int) -> None:
        entry = require_array(state, "door", np.int32, (None,))
        _require_ascending(entry, len(self._door_n), "door")
        k = len(entry)
        model = require_array(state, "door_model", np.int32, (k,))
        n = require_array(state, "door_n", np.int32, (k,))
        last = require_array(state, "door_last", np.int64, (k,))
        _require_range(model, 0, 2**31 - 1, "door_model")
        _require_range(n, 1, 1_001, "door_n")
        _require_range(last, 0, number, "door_last")
        self._door_tag[entry] = require_array(state, "door_tag", np.uint64, (k,))
        self._door_model[entry], self._door_n[entry] = model, n
        self._door_last[entry] = last


_ARRAYS: Final = frozenset(
    (
        *("place", "names", "owner", "last", "ring", "ring_n", "standing", "is_protected"),
        *("door", "door_tag", "door_model", "door_n", "door_last", "refusals"),
    )
)


def _power_of_two(n: int) -> int:
    """The lowest one that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


def _require_range(array: I32 | I64, first: int, stop: int, name: str) -> None:
    if len(array) and not (first <= array.min() and array.max() < stop):
        raise StateError(f"array {name!r} has a number out of range")


def _require_ascending(array: I32, stop: int, name: str) -> None:
    _require_range(array, 0, stop, name)
    if (np.diff(array) <= 0).any():
        raise StateError(f"array {name!r} does not ascend")
