"""The catalog as a part of a checkpoint: a JSON document for the names, arrays for the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
from pydantic import ValidationError

from detectors.base import BankState, StateError, require_array
from detectors.catalog import Catalog
from detectors.kept_references import KeptDocument
from detectors.monitor import NEVER
from detectors.monitor_state import (
    MonitorDocument,
    MonitorReader,
    StateDocument,
    snapshot_monitors,
)

_MAX_LANES: Final = 10_000_000
"""The highest `bounds.max_lanes` of a config."""


class _CatalogDocument(StateDocument):
    n_lanes: int
    models_full: bool
    features_full: bool
    measured_full: bool
    learning_full: bool
    references: list[KeptDocument]
    slots: list[MonitorDocument | None]


def snapshot_catalog(catalog: Catalog, numbers: Sequence[int]) -> BankState:
    """The catalog, and the fold's counters, as arrays."""
    occupied = [slot for slot, monitor in enumerate(catalog.slots) if monitor is not None]
    documents, arrays = snapshot_monitors(
        [catalog.monitor(slot) for slot in occupied], catalog.written
    )
    slots: list[dict[str, Any] | None] = [None] * len(catalog.slots)
    for slot, of_slot in zip(occupied, documents, strict=True):
        slots[slot] = of_slot
    document = {
        "n_lanes": catalog.lanes.n_lanes,
        "models_full": catalog.models_full,
        "features_full": catalog.features_full,
        "measured_full": catalog.measured_full,
        "learning_full": catalog.learning_full,
        "references": catalog.references.documents(),
        "slots": slots,
    }
    return {
        **arrays,
        "references": catalog.references.array(),
        "document": np.frombuffer(orjson.dumps(document), np.uint8).copy(),
        "numbers": np.array(numbers, np.int64),
        "n_events": catalog.n_events.copy(),
        "last_seen": catalog.last_seen.copy(),
    }


def restore_catalog(catalog: Catalog, state: BankState, n_numbers: int) -> list[int]:
    """Fill an empty catalog from a snapshot; returns the fold's counters.

    Raises `StateError` where the snapshot contradicts itself: its bytes come from a store that
    others may write to.
    """
    try:
        raw = require_array(state, "document", np.uint8, (None,)).tobytes()
        document = _CatalogDocument.model_validate(orjson.loads(raw))
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise StateError(f"the catalog's document is not one: {error}") from None
    n_slots = len(document.slots)
    reader = MonitorReader(state)
    n_events = require_array(state, "n_events", np.int64, (n_slots,))
    last_seen = require_array(state, "last_seen", np.int64, (n_slots,))
    catalog.models_full = document.models_full
    catalog.features_full = document.features_full
    catalog.measured_full = document.measured_full
    catalog.learning_full = document.learning_full
    catalog.references.restore(document.references, state)
    taken: set[int] = set()
    for slot, of_slot in enumerate(document.slots):
        catalog.extend()
        if of_slot is None:
            continue
        monitor = reader.monitor(of_slot)
        lanes = [signal.lane for signal in monitor.signals if signal.lane >= 0]
        if taken.intersection(lanes) or len(set(lanes)) < len(lanes):
            raise StateError("a lane belongs to two signals")
        taken.update(lanes)
        if monitor.key in catalog.slot_of:
            raise StateError("a model has two slots")
        catalog.slots[slot] = monitor
        catalog.name(slot, monitor.key)
        catalog.n_reserved += monitor.n_reserved
        catalog.changed(slot)
        if not monitor.lanes_full and catalog.n_without_lanes(slot):
            catalog.short_of_lanes.append(slot)
    catalog.n_events, catalog.last_seen = n_events, last_seen
    n_lanes = document.n_lanes
    if n_lanes < 0 or (taken and max(taken) >= n_lanes):
        raise StateError("a lane lies beyond the number of lanes")
    if n_lanes > _MAX_LANES:
        raise StateError(f"{n_lanes} lanes are more than there can be")
    catalog.lanes.n_lanes = n_lanes
    is_free = np.ones(n_lanes, np.bool_)
    is_free[sorted(taken)] = False
    catalog.lanes.free = np.flatnonzero(is_free).tolist()
    reader.finish()
    numbers: list[int] = require_array(state, "numbers", np.int64, (n_numbers,)).tolist()
    is_taken = np.array([monitor is not None for monitor in catalog.slots], np.bool_)
    if n_events[~is_taken].any() or (last_seen[~is_taken] != NEVER).any():
        raise StateError("a slot that nobody has was seen")
    counts = [*numbers, *n_events.tolist(), *last_seen[is_taken].tolist()]
    if min(counts) < 0 or max(counts) >= NEVER:
        raise StateError("a counter is negative, or larger than any that was counted")
    return numbers
