"""The catalog as a part of a checkpoint: a JSON document for the names, arrays for the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from detectors.base import BankState, StateError, require_array
from detectors.catalog import Catalog
from detectors.kernels.observe import (
    KIND_ANY,
    KIND_LEARNING,
    SOURCE_CLASS,
    SOURCE_MISSING,
    SOURCE_OTHER,
    SOURCE_VALUE,
)
from detectors.monitor import NEVER, PREDICTION_CLASS, Monitor
from detectors.ranks_state import RanksReader, RanksWriter, RowsReader, snapshot_rows
from detectors.reference import N_PREDICTION_KINDS, N_VALUE_KINDS, Cohort
from detectors.signals import Scale, Signal
from schemas.batch import ModelKey

_MAX_LANES: Final = 10_000_000
"""The highest `bounds.max_lanes` of a config."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _CohortDocument(_Document):
    start: int
    end: int
    score: bool
    prediction: bool
    features: list[int]
    n_rows: int
    n_classes: int
    n_other_class: int


class _MonitorDocument(_Document):
    model_id: str
    model_version: str
    shard: int
    features: list[str]
    kinds: list[int]
    classes: list[str]
    prediction_role: int
    full: list[bool]
    awaits: list[bool]
    admitted: int
    events_per_week: float
    signals: list[list[int]]
    cohorts: list[_CohortDocument]


class _CatalogDocument(_Document):
    n_lanes: int
    models_full: bool
    learning_full: bool
    slots: list[_MonitorDocument | None]


def snapshot_catalog(catalog: Catalog, numbers: Sequence[int]) -> BankState:
    """The catalog, and the fold's counters, as arrays."""
    monitors = [monitor for monitor in catalog.slots if monitor is not None]
    cohorts = [cohort for monitor in monitors for cohort in monitor.cohorts]
    ranks = RanksWriter()
    scales = [signal.scale for monitor in monitors for signal in monitor.signals]
    document = {
        "n_lanes": catalog.lanes.n_lanes,
        "models_full": catalog.models_full,
        "learning_full": catalog.learning_full,
        "slots": [
            None if monitor is None else _document(monitor, ranks) for monitor in catalog.slots
        ],
    }
    return {
        **ranks.arrays(),
        **snapshot_rows([cohort.rows for cohort in cohorts if cohort.rows is not None]),
        "document": np.frombuffer(orjson.dumps(document), np.uint8).copy(),
        "numbers": np.array(numbers, np.int64),
        "n_events": catalog.n_events.copy(),
        "last_seen": catalog.last_seen.copy(),
        "scale": np.array([[s.constant, s.mean, s.sd] for s in scales], np.float64).reshape(-1, 3),
        "cohort_n_kind": _stack([c.n_kind for c in cohorts], np.int64, (N_VALUE_KINDS,)),
        "cohort_mean": _stack([c.mean for c in cohorts], np.float64, ()),
        "cohort_m2": _stack([c.m2 for c in cohorts], np.float64, ()),
        "cohort_output_n": _stack([c.output_n for c in cohorts], np.int64, ()),
        "cohort_output_mean": _stack([c.output_mean for c in cohorts], np.float64, ()),
        "cohort_output_m2": _stack([c.output_m2 for c in cohorts], np.float64, ()),
        "cohort_n_prediction_kind": _stack([c.n_prediction_kind for c in cohorts], np.int64, ()),
        "cohort_n_class": _stack([c.n_class for c in cohorts], np.int64, ()),
    }


def _stack(arrays: Sequence[NDArray[Any]], dtype: type[Any], tail: tuple[int, ...]) -> NDArray[Any]:
    return np.concatenate([np.zeros((0, *tail), dtype), *arrays])


def _document(monitor: Monitor, ranks: RanksWriter) -> dict[str, Any]:
    return {
        "model_id": monitor.key.model_id,
        "model_version": monitor.key.model_version,
        "shard": monitor.key.shard,
        "features": monitor.features,
        "kinds": monitor.kinds,
        "classes": monitor.classes,
        "prediction_role": monitor.prediction_role,
        "full": [monitor.features_full, monitor.classes_full, monitor.lanes_full],
        "awaits": [monitor.awaits_score, monitor.awaits_prediction],
        "admitted": monitor.admitted,
        "events_per_week": monitor.events_per_week,
        "signals": [
            [s.source, s.index, s.expected, s.scale.rule, s.lane, ranks.add(s.ranks)]
            for s in monitor.signals
        ],
        "cohorts": [
            {
                "start": cohort.start,
                "end": cohort.end,
                "score": cohort.score,
                "prediction": cohort.prediction,
                "features": cohort.features,
                "n_rows": -1 if cohort.rows is None else cohort.rows.n,
                "n_classes": len(cohort.n_class),
                "n_other_class": cohort.n_other_class,
            }
            for cohort in monitor.cohorts
        ],
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
    reader = _Reader(state)
    n_events = require_array(state, "n_events", np.int64, (n_slots,))
    last_seen = require_array(state, "last_seen", np.int64, (n_slots,))
    catalog.models_full = document.models_full
    catalog.learning_full = document.learning_full
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
        catalog.slot_of[monitor.key] = slot
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
    counts = [*numbers, *n_events.tolist(), *last_seen.tolist()]
    if min(counts) < 0 or max(counts) >= NEVER:
        raise StateError("a counter is negative, or larger than any that was counted")
    return numbers


class _Reader:
    """Cuts the arrays of a snapshot into those of each monitor, in order."""

    def __init__(self, state: BankState) -> None:
        self.scale = require_array(state, "scale", np.float64, (None, 3))
        self.arrays = {
            "n_kind": require_array(state, "cohort_n_kind", np.int64, (None, N_VALUE_KINDS)),
            "mean": require_array(state, "cohort_mean", np.float64, (None,)),
            "m2": require_array(state, "cohort_m2", np.float64, (None,)),
            "output_n": require_array(state, "cohort_output_n", np.int64, (None,)),
            "output_mean": require_array(state, "cohort_output_mean", np.float64, (None,)),
            "output_m2": require_array(state, "cohort_output_m2", np.float64, (None,)),
            "n_prediction_kind": require_array(
                state, "cohort_n_prediction_kind", np.int64, (None,)
            ),
            "n_class": require_array(state, "cohort_n_class", np.int64, (None,)),
        }
        self.at = dict.fromkeys(["scale", *self.arrays], 0)
        self.ranks = RanksReader(state)
        self.rows = RowsReader(state)

    def cut(self, name: str, length: int) -> NDArray[Any]:
        """The next `length` rows of one array."""
        array = self.scale if name == "scale" else self.arrays[name]
        start = self.at[name]
        if length < 0 or start + length > len(array):
            raise StateError(f"array {name!r} is too short")
        self.at[name] = start + length
        return array[start : start + length].copy()

    def finish(self) -> None:
        """Raise where an array is longer than the document says, or holds what no event leaves."""
        self.ranks.finish()
        self.rows.finish()
        for name, array in self.arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise StateError(f"array {name!r} has a value that is not finite")
            if array.dtype.kind == "i" and (array < 0).any():
                raise StateError(f"array {name!r} has a negative count")
        for name, at in self.at.items():
            if at != len(self.scale if name == "scale" else self.arrays[name]):
                raise StateError(f"array {name!r} is too long")

    def monitor(self, document: _MonitorDocument) -> Monitor:
        """One monitor."""
        n_features = len(document.features)
        n_classes = len(document.classes)
        kinds_known = all(0 <= k <= 4 or k in (KIND_ANY, KIND_LEARNING) for k in document.kinds)
        if len(document.kinds) != n_features or not kinds_known:
            raise StateError("a monitor's features and kinds do not agree")
        if not 0.0 <= document.events_per_week < math.inf:
            raise StateError("a monitor's rate is out of range")
        if len(document.full) != 3 or len(document.awaits) != 2:
            raise StateError("a monitor's switches are not as many as there are")
        if len(set(document.features)) < n_features or len(set(document.classes)) < n_classes:
            raise StateError("a monitor names a feature or a class twice")
        if not 0 <= document.prediction_role <= PREDICTION_CLASS:
            raise StateError("a monitor's prediction is of no known role")
        return Monitor(
            key=ModelKey(document.model_id, document.model_version, document.shard),
            features=document.features,
            kinds=document.kinds,
            classes=document.classes,
            prediction_role=document.prediction_role,
            signals=[self.signal(row, n_features, n_classes) for row in document.signals],
            cohorts=[self.cohort(each, n_features, n_classes) for each in document.cohorts],
            features_full=document.full[0],
            classes_full=document.full[1],
            lanes_full=document.full[2],
            awaits_score=document.awaits[0],
            awaits_prediction=document.awaits[1],
            admitted=document.admitted,
            events_per_week=document.events_per_week,
            feature_number={name: i for i, name in enumerate(document.features)},
            class_number={name: i for i, name in enumerate(document.classes)},
        )

    def signal(self, row: list[int], n_features: int, n_classes: int) -> Signal:
        """One signal and its scale."""
        if len(row) != 6:
            raise StateError("a signal is not six numbers")
        source, index, expected, rule, lane, ranks = row
        n_index = 1
        if source in (SOURCE_VALUE, SOURCE_MISSING):
            n_index = n_features
        elif source == SOURCE_CLASS:
            n_index = n_classes
        constant, mean, sd = self.cut("scale", 1)[0].tolist()
        fits = (
            0 <= source <= SOURCE_OTHER and 0 <= index < n_index and 0 <= expected <= KIND_LEARNING
        )
        if not (fits and rule in (0, 1) and lane >= -1 and 0 < sd < np.inf and np.isfinite(mean)):
            raise StateError("a signal is out of range")
        scale = Scale(rule, constant, mean, sd)
        return Signal(source, index, expected, scale, lane, self.ranks.get(ranks))

    def cohort(self, document: _CohortDocument, n_features: int, n_classes: int) -> Cohort:
        """One reference that is still learning."""
        if not all(0 <= feature < n_features for feature in document.features):
            raise StateError("a cohort learns a feature that does not exist")
        n = len(document.features)
        if document.n_classes > n_classes or document.n_other_class < 0:
            raise StateError("a cohort has seen classes that do not exist")
        return Cohort(
            start=document.start,
            end=document.end,
            score=document.score,
            prediction=document.prediction,
            features=document.features,
            n_kind=self.cut("n_kind", n),
            mean=self.cut("mean", n),
            m2=self.cut("m2", n),
            output_n=self.cut("output_n", 2),
            output_mean=self.cut("output_mean", 2),
            output_m2=self.cut("output_m2", 2),
            n_prediction_kind=self.cut("n_prediction_kind", N_PREDICTION_KINDS),
            n_class=self.cut("n_class", document.n_classes),
            n_other_class=document.n_other_class,
            rows=self.rows.read(document.n_rows, n),
        )
