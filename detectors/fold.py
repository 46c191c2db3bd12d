"""The fold: decoded events in, findings out; the whole state of one partition.

Pure and independent of batch boundaries: the same events, however they are split into calls, give
the same findings and the same state bytes. A call is cut into stretches at the rows where the
catalog changes (a model is admitted, a reference is complete); within a stretch every lane exists
from its first row to its last, so that each bank advances in one kernel call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.banks import Banks
from detectors.base import BankState, StateError, part_of
from detectors.catalog import Catalog
from detectors.catalog_state import restore_catalog, snapshot_catalog
from detectors.event_time import from_the_future, watermarks
from detectors.feature_sample import Sampled, sample_of
from detectors.finding_names import finding_of, signal_of
from detectors.kernels.labels import CODE, SLICES
from detectors.kernels.observe import (
    FIRST_DERIVED,
    SOURCE_TYPE,
    SOURCE_TYPICAL,
    count_unfit,
    gather_lanes,
    observe,
)
from detectors.kernels.rhythm import take_out
from detectors.labels.join import (
    LABEL_COUNTERS,
    LABELS_VERSION,
    Decided,
    Given,
    Joined,
    LabelJoin,
    given_by,
)
from detectors.learning import only_numbers
from detectors.monitor import NEVER, model_config, signal_config
from detectors.outcome_batch import outcome_batch
from detectors.outcome_signals import prepare
from detectors.outcomes import OUTCOMES_VERSION, Outcomes, Predictions
from detectors.quality import FLAG_DUPLICATE, FLAG_FUTURE, FLAG_LATE, fill_events, flags_of
from detectors.recent import RecentIds, recent_table
from detectors.registry import REGISTRY
from detectors.slice_marks import mark
from detectors.stretch import (
    Columns,
    Stretch,
    class_numbers,
    ends_of_runs,
    feature_columns,
    group,
    n_beyond,
    until_freeze,
)
from detectors.typicality import NAMING
from schemas.batch import F64, I32, I64, U8, Batch, Decoded, ModelKey
from schemas.config import DetectionConfig
from schemas.findings import (
    ErrorReference,
    Finding,
    Firing,
    GroupLoss,
    Notice,
)
from schemas.reference import ReferenceDocument

FOLD_VERSION = 10
"""Version of the catalog's state and of the rules by which it changes."""

COUNTERS = (
    "n_events",
    "n_predictions",
    "n_labels",
    "n_future",
    "n_late",
    "n_duplicates",
    "n_unknown_fields",
    "n_sources_dropped",
    "n_unfit_values",
    "n_refused_features",
    "n_refused_classes",
    "n_refused_signals",
    "n_refused_references",
    "n_forgotten_references",
    "n_refused_models",
    "n_evicted_models",
    "n_findings",
    *LABEL_COUNTERS,
)


def algorithm_versions() -> dict[str, int]:
    """The version of every part of the state, by part name."""
    own = {"fold": FOLD_VERSION, "labels": LABELS_VERSION, "outcomes": OUTCOMES_VERSION}
    return own | {name: spec.version for name, spec in REGISTRY.items()}


class Fold:
    """The state of one partition, advanced by `process`.

    `state` is an earlier `snapshot()`; raises `StateError` where it does not fit.
    """

    def __init__(
        self, config: DetectionConfig, state: Mapping[str, BankState] | None = None
    ) -> None:
        self.config = config
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self.watermark_ms = 0
        """The latest event time, events from the future left out."""
        self.catalog = Catalog(config, self.counters)
        if state is not None:
            numbers = restore_catalog(self.catalog, part_of(state, "fold"), len(COUNTERS) + 1)
            self.counters.update(zip(COUNTERS, numbers[:-1], strict=True))
            self.watermark_ms = numbers[-1]
        self.recent: RecentIds | None = None
        """The ids of the latest predictions; None where ids are not read."""
        if config.reads_event_ids:
            table = None if state is None else recent_table(part_of(state, "fold"))
            self.recent = RecentIds(table)
        self.banks = Banks(self.catalog, state)
        self.labels: LabelJoin | None = None
        """None: labels are not joined."""
        if config.labels.enabled:
            own = None if state is None else part_of(state, "labels")
            self.labels = LabelJoin(config.labels, self.counters, own, self.watermark_ms)
        self.outcomes: Outcomes | None = None
        """What labels tell of the model versions; None where labels are not joined."""
        if self.labels is not None:
            own = None if state is None else part_of(state, "outcomes")
            self.outcomes = Outcomes(config, self.catalog, self.counters, own)
            if self.outcomes.sample.next_number > self.labels.next_number:
                raise StateError("features wait for the label of a prediction that never came")
        self._broken: NDArray[np.int32] = np.zeros((len(NAMING), 0), np.int32)
        """Which feature of each row of the latest stretch broke first; no part of the state."""
        self.joined: list[Joined] = []
        """What the latest call of `process` joined, in log order; no part of the state."""

    def snapshot(self) -> dict[str, BankState]:
        """The whole state, by part: a function of the events alone."""
        numbers = [*self.counters.values(), self.watermark_ms]
        recent = np.zeros(0, np.int32) if self.recent is None else self.recent.table.copy()
        catalog = snapshot_catalog(self.catalog, numbers)
        parts: dict[str, BankState] = {"fold": {**catalog, "recent_ids": recent}}
        if self.labels is not None:
            parts["labels"] = self.labels.snapshot()
        if self.outcomes is not None:
            parts["outcomes"] = self.outcomes.snapshot()
        return parts | {name: bank.snapshot() for name, bank in self.banks.items()}

    def process(self, events: Decoded) -> list[Finding | Notice]:
        """Fold these events; findings and notices in (offset, row, model, lane, detector) order."""
        said: list[Finding | Notice] = []
        position = self.counters["n_events"]
        number = only_numbers(events.value, events.kind)
        watermark = watermarks(events, self.watermark_ms, self.config.max_future_ms)
        given = None if self.labels is None else given_by(events, watermark)
        flags = self._flags(events, watermark)
        self.joined = []
        start = 0
        while start < len(events):
            start = self._advance(events, number, given, flags, start, position, said)
        self._count(events, watermark, flags)
        return sorted(said, key=_order)

    def reconfigure(self, config: DetectionConfig) -> None:
        """Go on under another config, from the next event on.

        References and the events counted stay. A detector whose parameters changed begins anew
        on every lane, one whose parameters are the same keeps its state.
        """
        before, self.config = self.config, config
        if self.outcomes is not None and not config.labels.enabled:
            self.outcomes.stop()
        self.catalog.reconfigure(config)
        self.banks.reconfigure(before)
        if not config.reads_event_ids:
            self.recent = None
        elif self.recent is None:
            self.recent = RecentIds()
        if not config.labels.enabled:
            self.labels = self.outcomes = None
        elif self.labels is None:
            self.labels = LabelJoin(config.labels, self.counters)
            self.outcomes = Outcomes(config, self.catalog, self.counters)
        else:
            self.labels.reconfigure(config.labels)
        if self.outcomes is not None:
            self.outcomes.reconfigure(config)

    def set_reference(self, model_id: str, model_version: str, document: ReferenceDocument) -> None:
        """Compare a model version with this reference, from the next event on.

        Its detectors begin anew. A version that is not monitored yet will have it instead of
        learning one. Raises `BadReferenceError` where the document contradicts itself.
        """
        name = model_id, model_version
        self.catalog.set_reference(name, document, self.counters["n_events"])
        self._follow_catalog()

    def _follow_catalog(self) -> None:
        """Let what is kept by lane and by slot go with who has them now."""
        self.banks.take_fresh_lanes()
        if self.outcomes is not None:
            self.outcomes.follow()

    def _flags(self, events: Decoded, watermark: I64) -> U8:
        """(n,) what is wrong with each event as such, as bits; its id is known from here on."""
        future = from_the_future(events, self.config.max_future_ms)
        before = np.append(self.watermark_ms, watermark[:-1])
        late = ~future & (events.event_time_ms < before - self.config.max_late_ms)
        nothing = np.zeros(len(events), np.bool_)
        duplicate, has_id = nothing, nothing
        if self.recent is not None:
            duplicate, has_id = self.recent.duplicates(events)
        return flags_of(late, future, duplicate, has_id)

    def _count(self, events: Decoded, watermark: I64, flags: U8) -> None:
        """Count what needs no catalog."""
        n_labels = int(np.count_nonzero(events.is_label))
        self.counters["n_events"] += len(events)
        self.counters["n_labels"] += n_labels
        self.counters["n_predictions"] += len(events) - n_labels
        self.counters["n_future"] += int(np.count_nonzero(flags & FLAG_FUTURE))
        self.counters["n_late"] += int(np.count_nonzero(flags & FLAG_LATE))
        self.counters["n_duplicates"] += int(np.count_nonzero(flags & FLAG_DUPLICATE))
        self.counters["n_unknown_fields"] += events.n_unknown_fields
        self.counters["n_sources_dropped"] += events.n_sources_dropped
        self.watermark_ms = int(watermark[-1]) if len(watermark) else self.watermark_ms

    def _advance(
        self,
        events: Decoded,
        number: F64,
        given: Given | None,
        flags: U8,
        start: int,
        position: int,
        said: list[Finding | Notice],
    ) -> int:
        """Fold one stretch from `start` on; returns where the next one begins.

        `number` (v,) holds the values of the poll that are numbers, `given` its rows as labels and
        predictions wait for each other, if they do; `flags` (n,) are those of `detectors.quality`.
        """
        self._say_lanes(events, start, said)
        slot, stop = self._admit(events, start, position, said)
        stretch = until_freeze(self.catalog, group(self.catalog, slot, start, stop))
        stretch, columns = feature_columns(self.catalog, events, stretch)
        self.counters["n_refused_features"] += int(columns.n_unlearned.sum())
        said += [self._notice(events, start + row, bound) for row, bound in columns.full]
        predicted_class = class_numbers(self.catalog, events, stretch)
        self.counters["n_refused_classes"] += n_beyond(self.catalog, stretch, predicted_class)
        self._refuse(events, stretch, said)
        firings: list[Firing] = []
        if self.labels is not None and given is not None:
            versions = self.catalog.slot_of_version
            self._mark_groups(events, given, stretch, columns)
            joined, decided = self.labels.advance(given, start, stretch.slot, versions)
            self.joined.append(joined)
            sampled = sample_of(
                self.catalog, events, number, given, stretch, columns, self.labels.kept
            )
            firings = self._measure(events, given, stretch, joined, decided, sampled, said)
        batch = self._observe(
            events, number, flags, stretch, columns.ptr, columns.column, predicted_class
        )
        firings += self.banks.update(batch, self._without_rhythm(batch, stretch))
        said += [
            finding_of(
                self.config,
                self.catalog,
                firing,
                self._worst(events, firing),
                self._named(events, stretch, firing),
                self._error_reference(events, firing),
            )
            for firing in firings
        ]
        self.counters["n_findings"] += len(firings)
        self.catalog.n_events[stretch.block_slot] += np.diff(stretch.block_ptr)
        # Positions go beyond the 32 bits that are enough for the rows of a poll.
        last_row = stretch.rows[stretch.block_ptr[1:] - 1].astype(np.int64)
        self.catalog.last_seen[stretch.block_slot] = position + start + last_row
        self._freeze(events, stretch, said)
        return stretch.stop

    def _admit(
        self, events: Decoded, start: int, position: int, said: list[Finding | Notice]
    ) -> tuple[I32, int]:
        """Give the models of a stretch their slots.

        Returns each row's slot from `start` on, and where the stretch must end: before the first
        row, other than `start`, that may change who is monitored.
        """
        slot = self._slots(events, start)
        unknown = _unknown(events, start, slot)
        while unknown:
            row = unknown.pop(0)
            if not self.catalog.may_admit(position + start + row):
                continue
            if row > 0:
                return slot, start + row
            if self.catalog.admit(events.models[events.model[start]], position + start) >= 0:
                self._follow_catalog()
                self._say_bounds(events, start, said)
                slot = self._slots(events, start)
                unknown = _unknown(events, start, slot)
        return slot, len(events)

    def _slots(self, events: Decoded, start: int) -> I32:
        """Each row's slot, from `start` on; -1 for labels and for models without one."""
        slot_of = self.catalog.slot_of
        of_model = np.array([slot_of.get(key, -1) for key in events.models], np.int32)
        own: I32 = of_model[events.model[start:]]
        own[events.is_label[start:]] = -1
        return own

    def _measure(
        self,
        events: Decoded,
        given: Given,
        stretch: Stretch,
        joined: Joined,
        decided: Decided,
        sampled: Sampled,
        said: list[Finding | Notice],
    ) -> list[Firing]:
        """Let the performance of the model versions have the stretch's labels and predictions.

        What the detectors find in what these tell.
        """
        assert self.outcomes is not None
        at = np.flatnonzero(stretch.slot >= 0)
        rows = at + stretch.start
        predictions = Predictions(
            rows.astype(np.int32),
            stretch.slot[at],
            given.words[rows, CODE],
            events.score[rows],
            events.event_time_ms[rows],
        )
        self.outcomes.lanes.begin()
        unmeasured = self.outcomes.advance(joined, decided, predictions, sampled)
        if unmeasured >= 0 and not self.catalog.measured_full:
            self.catalog.measured_full = True
            key = self.catalog.monitor(int(joined.slot[unmeasured])).key
            row = int(joined.row[unmeasured])
            said.append(self._notice(events, row, "max_measured_models", key))
        series, refused = self.outcomes.lanes.take()
        self.banks.take_fresh_lanes()
        for slot, row in refused:
            self._refuse_signal(events, slot, row, said)
        if not series:
            return []
        batch = outcome_batch(events, stretch, self.catalog.n_events, series)
        return self.banks.update(batch, batch)

    def _mark_groups(
        self, events: Decoded, given: Given, stretch: Stretch, columns: Columns
    ) -> None:
        """Write beside the predictions which groups they are in."""
        words = np.zeros(stretch.stop - stretch.start, np.int64)
        mark(self.catalog, events, stretch, columns.ptr, columns.column, words)
        rows = stretch.rows + stretch.start
        given.words[rows, SLICES] = words[stretch.rows]

    def _refuse_signal(
        self, events: Decoded, slot: int, row: int, said: list[Finding | Notice]
    ) -> None:
        """Count a signal of labels that got no lane at this row, and say so once."""
        self.counters["n_refused_signals"] += 1
        monitor = self.catalog.monitor(slot)
        if not monitor.lanes_full:
            monitor.lanes_full = True
            said.append(self._notice(events, row, "max_lanes", monitor.key))

    def _refuse(self, events: Decoded, stretch: Stretch, said: list[Finding | Notice]) -> None:
        """Count the events of models there is no place for."""
        refused = np.flatnonzero(
            (stretch.slot < 0) & ~events.is_label[stretch.start : stretch.stop]
        )
        self.counters["n_refused_models"] += len(refused)
        if len(refused) and not self.catalog.models_full:
            self.catalog.models_full = True
            said.append(self._notice(events, stretch.start + int(refused[0]), "max_models"))

    def _observe(
        self,
        events: Decoded,
        number: F64,
        flags: U8,
        stretch: Stretch,
        column_ptr: I64,
        column: I32,
        predicted_class: I32,
    ) -> Batch:
        """Let the references learn, and make the banks' batch of what the lanes observe."""
        catalog, layout = self.catalog, self.catalog.layout
        rows = slice(stretch.start, stretch.stop)
        value_ptr, score, prediction = (
            events.value_ptr[rows],
            events.score[rows],
            events.prediction[rows],
        )
        unfit = np.empty(len(stretch.slot))
        self._broken = np.full((len(NAMING), len(stretch.slot)), -1, np.int32)
        self.counters["n_unfit_values"] += count_unfit(
            stretch.slot,
            layout.feature_ptr,
            layout.feature_kind,
            value_ptr,
            column_ptr,
            column,
            events.kind,
            unfit,
            self._broken[NAMING.index(SOURCE_TYPE)],
        )
        for b in np.flatnonzero(catalog.freeze_at[stretch.block_slot] < NEVER).tolist():
            slot = int(stretch.block_slot[b])
            of_block = stretch.rows[stretch.block_ptr[b] : stretch.block_ptr[b + 1]]
            monitor = catalog.monitor(slot)
            for cohort in monitor.cohorts:
                cohort.learn(
                    of_block[max(0, cohort.start - int(catalog.n_events[slot])) :],
                    value_ptr,
                    column_ptr,
                    column,
                    events.value,
                    events.kind,
                    None if number is events.value else events.categories,
                    self.config.bounds.max_categories,
                    score,
                    prediction,
                    events.prediction_kind[rows],
                    predicted_class,
                    len(monitor.classes),
                    events.event_time_ms[rows],
                    events.latency_ms[rows],
                    flags[rows],
                )
        derived = layout.joint.derive(
            stretch.rows,
            stretch.block_slot,
            stretch.block_ptr,
            value_ptr,
            column_ptr,
            column,
            events.value,
            events.kind,
            stretch.model_event,
        )
        fill_events(derived, events.latency_ms[rows], flags[rows])
        derived[SOURCE_TYPE - FIRST_DERIVED] = unfit
        layout.limits.check(
            stretch.rows,
            stretch.block_slot,
            stretch.block_ptr,
            value_ptr,
            column_ptr,
            column,
            number,
            derived,
            self._broken,
        )
        name_of = catalog.names.of_poll(events.categories)
        layout.typical.score(
            stretch.rows,
            stretch.block_slot,
            stretch.block_ptr,
            value_ptr,
            column_ptr,
            column,
            events.value,
            events.kind,
            name_of,
            stretch.model_event,
            derived,
            self._broken[NAMING.index(SOURCE_TYPICAL)],
        )
        n_lanes = np.diff(layout.ptr)[stretch.block_slot]
        block_value_ptr = ends_of_runs(np.diff(stretch.block_ptr) * n_lanes)
        value = np.empty(int(block_value_ptr[-1]))
        observe(
            stretch.rows,
            stretch.block_slot,
            stretch.block_ptr,
            block_value_ptr,
            layout.ptr,
            layout.source,
            layout.index,
            layout.expected,
            layout.rule,
            layout.constant,
            layout.mean,
            layout.sd,
            layout.category,
            layout.known_ptr,
            layout.known,
            layout.known_cell,
            value_ptr,
            column_ptr,
            column,
            number,
            events.value,
            events.kind,
            name_of,
            score,
            prediction,
            predicted_class,
            derived,
            value,
        )
        block_lane_ptr = ends_of_runs(n_lanes)
        lane = np.empty(int(block_lane_ptr[-1]), np.int32)
        gather_lanes(stretch.block_slot, layout.ptr, layout.lane, block_lane_ptr, lane)
        return Batch(
            tp=events.tp,
            offset=events.offset[rows],
            event_row=events.row[rows],
            event_time_ms=events.event_time_ms[rows],
            model=stretch.slot,
            model_event=stretch.model_event,
            row_index=stretch.rows,
            block_row_ptr=stretch.block_ptr,
            block_lane_ptr=block_lane_ptr,
            block_value_ptr=block_value_ptr,
            lane=lane,
            value=value,
        )

    def _without_rhythm(self, batch: Batch, stretch: Stretch) -> Batch:
        """The batch without the daily and weekly rhythms of its lanes; itself if none has one."""
        layout = self.catalog.layout
        if not len(layout.rhythm_hours):
            return batch
        value = batch.value.copy()
        take_out(
            stretch.rows,
            stretch.block_slot,
            batch.block_row_ptr,
            batch.block_value_ptr,
            layout.ptr,
            layout.rhythm,
            layout.rhythm_hours,
            layout.rhythm_knots,
            batch.event_time_ms,
            value,
        )
        return replace(batch, value=value)

    def _freeze(self, events: Decoded, stretch: Stretch, said: list[Finding | Notice]) -> None:
        """Complete the reference that ends with the stretch's last row, if one does."""
        slot = int(stretch.slot[-1])
        catalog = self.catalog
        if slot < 0 or catalog.n_events[slot] < catalog.freeze_at[slot]:
            return
        monitor = catalog.monitor(slot)
        config = signal_config(self.config, monitor)
        n_reserved, output = monitor.n_reserved, monitor.output
        signals, n_refused = monitor.freeze(
            int(catalog.n_events[slot]),
            config,
            self.config.bounds,
            self.config.joint,
            model_config(self.config, monitor.key.model_id).output,
        )
        catalog.n_reserved += monitor.n_reserved - n_reserved
        self.counters["n_refused_classes"] += n_refused
        if n_refused:
            said.append(self._notice(events, stretch.stop - 1, "max_classes"))
        if monitor.output != output:
            prepare(self.config, monitor)
            if self.outcomes is not None:
                self.outcomes.declared(slot)
        catalog.assign(slot, signals)
        self._follow_catalog()
        self._say_bounds(events, stretch.stop - 1, said)

    def _say_bounds(self, events: Decoded, row: int, said: list[Finding | Notice]) -> None:
        """Say what this row met: that models give way, that its model's signals got no lanes."""
        catalog = self.catalog
        if self.counters["n_evicted_models"] and not catalog.models_full:
            catalog.models_full = True
            said.append(self._notice(events, row, "max_models"))
        if catalog.features_refused and not catalog.features_full:
            catalog.features_full = True
            said.append(self._notice(events, row, "max_total_features"))
        catalog.features_refused = False
        if catalog.rows_refused and not catalog.learning_full:
            catalog.learning_full = True
            said.append(self._notice(events, row, "max_learning_values"))
        catalog.rows_refused = False
        self._say_lanes(events, row, said)

    def _say_lanes(self, events: Decoded, row: int, said: list[Finding | Notice]) -> None:
        """Say of which models signals have got no lanes by this row."""
        slots, self.catalog.short_of_lanes = self.catalog.short_of_lanes, []
        for slot in slots:
            monitor = self.catalog.slots[slot]
            if monitor is not None and not monitor.lanes_full:
                monitor.lanes_full = True
                said.append(self._notice(events, row, "max_lanes", monitor.key))

    def _worst(self, events: Decoded, firing: Firing) -> tuple[GroupLoss, ...]:
        """Of a firing on errors: the groups that have most of them, as of its row."""
        if self.outcomes is None or not signal_of(self.catalog, firing).has_groups:
            return ()
        return self.outcomes.lanes.worst_groups(firing.model, _row_of(events, firing))

    def _error_reference(self, events: Decoded, firing: Firing) -> ErrorReference | None:
        """What is known at a firing's row of how often its model version was wrong."""
        if self.outcomes is None:
            return None
        return self.outcomes.lanes.error_reference(firing.model, _row_of(events, firing))

    def _named(self, events: Decoded, stretch: Stretch, firing: Firing) -> str:
        """The feature to look at, as of a firing's row, where its signal is of no single one.

        Of leakage the one that tells most of the label; of what broke the first that did; of all
        features together the one that has been most unusual of late.
        """
        signal = signal_of(self.catalog, firing)
        if signal.source in NAMING:
            broken = self._broken[NAMING.index(signal.source)]
            feature = int(broken[_row_of(events, firing) - stretch.start])
            return self.catalog.monitor(firing.model).features[feature] if feature >= 0 else ""
        if self.outcomes is None or not signal.is_leakage:
            return ""
        return self.outcomes.lanes.leaking(firing.model, _row_of(events, firing))

    def _notice(self, events: Decoded, row: int, bound: str, key: ModelKey | None = None) -> Notice:
        """Say that this row asked for more than a bound allows, for its own model or this one."""
        key = key or events.models[events.model[row]]
        return Notice(
            offset=int(events.offset[row]),
            event_row=int(events.row[row]),
            model_id=key.model_id,
            model_version=key.model_version,
            shard=key.shard,
            bound=bound,
            limit=int(getattr(self.config.bounds, bound)),
            event_time_ms=int(events.event_time_ms[row]),
        )


def _row_of(events: Decoded, firing: Firing) -> int:
    """The row of the poll that made it fire."""
    at = (events.offset == firing.offset) & (events.row == firing.event_row)
    return int(at.argmax())


def _unknown(events: Decoded, start: int, slot: I32) -> list[int]:
    """The rows, counted from `start`, whose model has no slot."""
    rows: list[int] = np.flatnonzero((slot < 0) & ~events.is_label[start:]).tolist()
    return rows


def _order(said: Finding | Notice) -> tuple[int, int, int, int, str]:
    """The order in which policy hears of things; a notice comes before its row's findings."""
    if isinstance(said, Notice):
        return said.offset, said.event_row, -1, -1, said.bound
    return said.offset, said.event_row, said.model, said.lane, said.detector
