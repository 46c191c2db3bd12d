"""Who is monitored: model versions in slots, their signals in lanes, all within bounds.

Everything here is decided in log order, by position alone: which slot and lane a model gets, which
model gives way, when a reference is complete. It is part of the state.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from detectors.categories import NameNumbers
from detectors.joint_table import JointTable
from detectors.kept_references import KeptReferences, VersionName
from detectors.labels.identity import version_code
from detectors.lanes import LanePool
from detectors.layout import Layout, build_layout
from detectors.learning import Rows
from detectors.limits import LimitTable
from detectors.monitor import (
    AWAITS_PREDICTION,
    AWAITS_SCORE,
    NEVER,
    Monitor,
    is_monitored,
    reference_events,
)
from detectors.monitor_state import WrittenSignals
from detectors.outcome_signals import prepare
from detectors.reference import Cohort
from detectors.reference_document import monitor_of
from detectors.registry import REGISTRY
from detectors.signals import Signal
from detectors.typicality import TypicalTable
from schemas.batch import I32, I64, U8, ModelKey
from schemas.config import DetectionConfig
from schemas.reference import ReferenceDocument


class Catalog:
    """The table of monitors of one partition.

    `fresh_lanes` collects the lanes given until the fold has told the banks.
    """

    def __init__(self, config: DetectionConfig, counters: dict[str, int]) -> None:
        self.config = config
        self._counters = counters
        self.slots: list[Monitor | None] = []
        self.slot_of: dict[ModelKey, int] = {}
        self.slot_of_version: dict[int, int] = {}
        """Derived: the same by `version_code`."""
        self.n_events: I64 = np.zeros(0, np.int64)
        """(slots,) prediction events of each model version."""
        self.last_seen: I64 = np.zeros(0, np.int64)
        """(slots,) position of each model version's latest event."""
        self.lanes = LanePool()
        self.models_full = False
        """Whether the bound on models was reached (said once)."""
        self.written: Final = WrittenSignals()
        """What the latest snapshot made of the signals; no part of the state."""
        self.short_of_lanes: list[int] = []
        """Slots whose signals got no lanes, until the fold has said so."""
        self.freeze_at: I64 = np.zeros(0, np.int64)
        """(slots,) the model event before which each slot's next reference is complete."""
        self.n_reserved = 0
        """Derived: values that all references being learned may come to keep."""
        self.features_full = False
        """Whether the bound on features of all models was reached (said once)."""
        self.features_refused = False
        """Whether a version could not take over another's, until the fold has said so."""
        self.measured_full = False
        """Whether the bound on model versions with metrics was reached (said once)."""
        self.learning_full = False
        """Whether one found no room for its rows (said once)."""
        self.rows_refused = False
        """Whether that was a new model's, until the fold has said so."""
        self.fresh_lanes: dict[int, int] = {}
        """Lanes given since the banks were last told, and to which slot."""
        self.prediction_role: U8 = np.zeros(0, np.uint8)
        """(slots,) derived: PREDICTION_* of each model version."""
        self.awaits: U8 = np.zeros(0, np.uint8)
        """(slots,) derived: AWAITS_* of the outputs that no event of the model has had yet."""
        self.feature_list: I32 = np.zeros(0, np.int32)
        """(slots,) derived: slots with equal numbers have the same features in the same order."""
        self.references = KeptReferences()
        """The references that people have set, for the versions that are admitted from now on."""
        self.feature_count: I64 = np.zeros(0, np.int64)
        """(slots,) derived: how many features each model version has."""
        self._feature_lists: dict[tuple[str, ...], int] = {}
        self.n_changes = 0
        """Admissions and evictions so far, for whoever caches slot numbers."""
        self.names = NameNumbers()
        """Derived: numbers for the names of categories."""
        self._layout: Layout | None = None
        self._joint: JointTable | None = None
        self._limits: LimitTable | None = None
        self._typical: TypicalTable | None = None

    @property
    def layout(self) -> Layout:
        """The flat form of the catalog as it is now."""
        if self._layout is None:
            self._layout = self._build()
            if self.names.is_stale():
                for slot in self.slot_of.values():
                    self.monitor(slot).columns = self.monitor(slot).scoring = None
                self.names.clear()
                self._layout = self._build()
                self.names.settle()
            self._joint, self._limits = self._layout.joint, self._layout.limits
            self._typical = self._layout.typical
        return self._layout

    def _build(self) -> Layout:
        return build_layout(self.slots, self.names, self._joint, self._limits, self._typical)

    def changed(self, slot: int) -> None:
        """Derive anew what depends on this slot: features, kinds, references or lanes changed."""
        monitor = self.slots[slot]
        self._layout = None
        self.freeze_at[slot] = NEVER if monitor is None else monitor.next_freeze
        self.feature_count[slot] = 0 if monitor is None else len(monitor.features)
        if monitor is None:
            return
        monitor.columns = monitor.watching = monitor.scoring = None
        self.prediction_role[slot] = monitor.prediction_role
        self.awaits[slot] = (
            AWAITS_SCORE * monitor.awaits_score + AWAITS_PREDICTION * monitor.awaits_prediction
        )
        if len(self._feature_lists) > 2 * len(self.slots) + 64:
            self._feature_lists.clear()
            for other in self.slot_of.values():
                self._number_features(other)
        self._number_features(slot)

    def _number_features(self, slot: int) -> None:
        features = tuple(self.monitor(slot).features)
        number = self._feature_lists.setdefault(features, len(self._feature_lists))
        self.feature_list[slot] = number

    def extend(self) -> None:
        """Make one more slot, empty."""
        self.slots.append(None)
        self.n_events = np.append(self.n_events, 0)
        self.last_seen = np.append(self.last_seen, 0)
        self.freeze_at = np.append(self.freeze_at, NEVER)
        self.prediction_role = np.append(self.prediction_role, np.uint8(0))
        self.feature_list = np.append(self.feature_list, np.int32(0))
        self.feature_count = np.append(self.feature_count, 0)
        self.awaits = np.append(self.awaits, np.uint8(0))

    def name(self, slot: int, key: ModelKey) -> None:
        """Let the model be found in this slot."""
        self.slot_of[key] = self.slot_of_version[version_code(key)] = slot

    def monitor(self, slot: int) -> Monitor:
        """The monitor in an occupied slot."""
        monitor = self.slots[slot]
        assert monitor is not None
        return monitor

    @property
    def room_for_features(self) -> int:
        """How many features more there may be; below 0 where the bound was lowered since."""
        return self.config.bounds.max_total_features - int(self.feature_count.sum())

    def may_admit(self, position: int) -> bool:
        """Whether there may be a place for a new model at this position of the partition.

        Conservative where rows before `position` are not folded yet: it may say yes too often.
        """
        if len(self.slot_of) < self.config.bounds.max_models:
            return True
        return bool(position - self.last_seen.min() > self.config.bounds.min_idle_records)

    def admit(self, key: ModelKey, position: int) -> int:
        """Give the model a slot; -1 where all are taken and none has been idle long enough."""
        if len(self.slot_of) >= self.config.bounds.max_models:
            if not self.may_admit(position):
                return -1
            self.evict(self.longest_idle())
        slot = next((s for s, monitor in enumerate(self.slots) if monitor is None), len(self.slots))
        if slot == len(self.slots):
            self.extend()
        monitor = self.references.monitor(key, position) or self._learner(key, position)
        self.name(slot, key)
        self.n_events[slot] = 0
        self.last_seen[slot] = position
        self._begin(slot, monitor)
        self.n_changes += 1
        return slot

    def _learner(self, key: ModelKey, position: int) -> Monitor:
        """A monitor that learns its own reference, of inputs where no earlier version has one."""
        parent = self._latest_version(key)
        end = reference_events(self.config, key)
        outputs = Cohort(start=0, end=end, score=True, prediction=True)
        monitor = Monitor(key, cohorts=[outputs], admitted=position)
        self.rows_refused |= not self.keep_rows(outputs)
        if parent is not None and parent.n_learned <= self.room_for_features:
            monitor.inherit(parent)
        elif parent is not None:
            self.features_refused = True
        return monitor

    def _begin(self, slot: int, monitor: Monitor) -> None:
        """Put a monitor into this slot, which is its model's, and give its signals lanes."""
        signals, monitor.signals = monitor.signals, []
        prepare(self.config, monitor)
        self.slots[slot] = monitor
        if signals:
            self.assign(slot, signals)
        self.changed(slot)

    def set_reference(self, name: VersionName, document: ReferenceDocument, position: int) -> None:
        """Let every shard of this model version begin anew against this reference.

        Those that are admitted later have it from their first event on. Raises `BadReferenceError`,
        and has changed nothing, where the document contradicts itself.
        """
        monitor_of(document, ModelKey(*name))
        self._counters["n_forgotten_references"] += self.references.keep(name, document)
        for key in sorted(key for key in self.slot_of if key[:2] == name):
            slot = self.slot_of.get(key)
            # For want of lanes it may have given way to a shard before it.
            if slot is None:
                continue
            old = self.monitor(slot)
            self._take_back(old)
            monitor = monitor_of(document, key, position)
            monitor.features_full, monitor.lanes_full = old.features_full, old.lanes_full
            monitor.first_event = int(self.n_events[slot])
            self._begin(slot, monitor)

    def has_reference(self, name: VersionName, digest: str) -> bool:
        """Whether this reference is what the model version has, and what it will have."""
        kept = self.references.get(name)
        return (kept is not None and kept.digest == digest) and all(
            self.monitor(slot).reference == digest
            for key, slot in self.slot_of.items()
            if key[:2] == name
        )

    def keep_rows(self, cohort: Cohort) -> bool:
        """Let a reference that just began keep its rows; False where there is no room for them.

        In log order. It keeps none, and that is as it should be, where no detector asks for them.
        """
        detectors = self.config.detectors
        if not any(
            getattr(detectors, name).enabled
            for name, spec in REGISTRY.items()
            if not spec.is_for_reading
        ):
            return True
        cohort.rows = Rows()
        return self.reserve(cohort, 0)

    def reserve(self, cohort: Cohort, n_before: int) -> bool:
        """Make room for the rows of a reference that has grown; False where it now keeps none.

        `n_before` values were reserved for it. To be asked in log order.
        """
        self.n_reserved += cohort.n_reserved - n_before
        if cohort.rows is None or self.n_reserved <= self.config.bounds.max_learning_values:
            return True
        self.n_reserved -= cohort.n_reserved
        cohort.rows = None
        self._counters["n_refused_references"] += 1
        return False

    def _latest_version(self, key: ModelKey) -> Monitor | None:
        """The most recently seen other version of the model that has an input reference."""
        versions = [
            (int(self.last_seen[slot]), slot)
            for other, slot in self.slot_of.items()
            if (other.model_id, other.shard) == (key.model_id, key.shard)
            and self.monitor(slot).inputs_frozen
        ]
        return self.monitor(max(versions)[1]) if versions else None

    def longest_idle(self) -> int:
        """The slot whose model has been idle longest."""
        return min(self.slot_of.values(), key=lambda slot: int(self.last_seen[slot]))

    def evict(self, slot: int) -> None:
        """Forget the model in this slot and take its lanes back."""
        monitor = self.monitor(slot)
        self._take_back(monitor)
        del self.slot_of[monitor.key], self.slot_of_version[version_code(monitor.key)]
        self._counters["n_evicted_models"] += 1
        self.slots[slot] = None
        self.n_events[slot] = 0
        self.last_seen[slot] = NEVER
        self.n_changes += 1
        self.changed(slot)

    def _take_back(self, monitor: Monitor) -> None:
        """Take back the lanes of a monitor that is gone, and the room for its rows."""
        for signal in monitor.signals:
            if signal.lane >= 0:
                self.lanes.give_back(signal.lane)
        self.n_reserved -= monitor.n_reserved

    def assign(self, slot: int, signals: list[Signal]) -> bool:
        """Add frozen signals to the model in this slot, with lanes where they are monitored.

        All of them or none get lanes; False, and it is `short_of_lanes`, where the bound on lanes
        allows none, even after models that have been idle long enough gave way.
        """
        monitor = self.monitor(slot)
        wanted = [is_monitored(self.config, monitor, signal) for signal in signals]
        bounds = self.config.bounds
        while self.lanes.room(bounds.max_lanes) < sum(wanted):
            oldest = self.longest_idle()
            idle = self.last_seen[slot] - self.last_seen[oldest]
            if oldest == slot or idle <= bounds.min_idle_records:
                monitor.signals += [replace(signal, lane=-1) for signal in signals]
                self.changed(slot)
                self._refuse_signals(slot, sum(wanted))
                return False
            self.evict(oldest)
        for signal, monitored in zip(signals, wanted, strict=True):
            lane = self.lanes.take() if monitored else -1
            monitor.signals.append(replace(signal, lane=lane))
            if monitored:
                self.fresh_lanes[lane] = slot
        self.changed(slot)
        return True

    def n_without_lanes(self, slot: int) -> int:
        """How many signals of this model have no lane though they are to be monitored."""
        monitor = self.monitor(slot)
        without = [signal for signal in monitor.signals if signal.lane < 0]
        return sum(is_monitored(self.config, monitor, signal) for signal in without)

    def _refuse_signals(self, slot: int, n: int) -> None:
        """Count signals of the model in this slot that got no lanes; the fold is to say so."""
        self._counters["n_refused_signals"] += n
        if not self.monitor(slot).lanes_full:
            self.short_of_lanes.append(slot)

    def take_fresh_lanes(self) -> dict[int, int]:
        """The lanes given since the last call, each once, and the slot that has it."""
        fresh, self.fresh_lanes = self.fresh_lanes, {}
        return fresh

    def reconfigure(self, config: DetectionConfig) -> None:
        """Go on under another config: references stay, lanes follow what is monitored now."""
        self.config = config
        while len(self.slot_of) > config.bounds.max_models:
            self.evict(self.longest_idle())
        for slot in sorted(self.slot_of.values()):
            monitor = self.slots[slot]
            if monitor is None:
                continue
            if not any(signal.is_outcome for signal in monitor.signals):
                prepare(config, monitor)
            for at, signal in enumerate(monitor.signals):
                wanted = is_monitored(config, monitor, signal)
                if wanted and signal.lane < 0 and self.lanes.room(config.bounds.max_lanes):
                    monitor.signals[at] = replace(signal, lane=self.lanes.take())
                    self.fresh_lanes[monitor.signals[at].lane] = slot
                elif not wanted and signal.lane >= 0:
                    self.lanes.give_back(signal.lane)
                    monitor.signals[at] = replace(signal, lane=-1)
            n_refused = self.n_without_lanes(slot)
            if n_refused:
                self._refuse_signals(slot, n_refused)
            self.changed(slot)
