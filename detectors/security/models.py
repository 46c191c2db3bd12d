"""Which model versions are watched: slots, given and taken back in the order of the log."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.labels.identity import version_code
from schemas.batch import I64, ModelKey

NEVER: Final = -1
"""Of a free slot: the number of its latest event."""


class ModelSlots:
    """The slots 0..M-1 of one partition.

    A full table gives away the slot whose model is longest idle, if it is for `min_idle` events of
    the partition: else a flood of names would push out the living.
    """

    def __init__(self, n_slots: int, min_idle: int) -> None:
        self.min_idle = min_idle
        self.keys: list[ModelKey | None] = [None] * n_slots
        self.slot_of: dict[ModelKey, int] = {}
        self.slot_of_version: dict[int, int] = {}
        """Derived: the same by `version_code`."""
        self.last_seen: I64 = np.full(n_slots, NEVER, np.int64)
        """(M,) number of each model's latest event."""
        self.n_events: I64 = np.zeros(n_slots, np.int64)
        """(M,) predictions of each model."""
        self.n_changes = 0
        """Slots given so far, for whoever caches their numbers; no part of the state."""

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, slot: int) -> ModelKey:
        """The model in this slot, which is not free."""
        key = self.keys[slot]
        assert key is not None
        return key

    def taken(self) -> list[int]:
        """The slots that are not free, ascending."""
        return sorted(self.slot_of.values())

    def longest_idle(self) -> int:
        """The slot whose model has been idle longest."""
        return min(self.slot_of.values(), key=lambda slot: int(self.last_seen[slot]))

    def room(self, number: int) -> int:
        """The slot that a new model gets at this event, free or not; -1: there is none for it."""
        if len(self.slot_of) < len(self.keys):
            return self.keys.index(None)
        oldest = self.longest_idle()
        return oldest if number - int(self.last_seen[oldest]) >= self.min_idle else -1

    def admits_from(self) -> int:
        """The number of the first event at which a new model may get a slot, as of now."""
        if len(self.slot_of) < len(self.keys):
            return 0
        return int(self.last_seen.min()) + self.min_idle

    def give(self, slot: int, key: ModelKey, number: int) -> None:
        """Give a free slot to this model, which has none, at this event."""
        self.keys[slot] = key
        self.slot_of[key] = slot
        self.slot_of_version[version_code(key)] = slot
        self.last_seen[slot] = number
        self.n_changes += 1

    def free(self, slot: int) -> None:
        """Take the slot back from its model."""
        key = self.key(slot)
        del self.slot_of[key], self.slot_of_version[version_code(key)]
        self.keys[slot] = None
        self.last_seen[slot] = NEVER
        self.n_events[slot] = 0
        self.n_changes += 1
