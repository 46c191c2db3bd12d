"""The fold of the security duty: decoded events in, suspicions out; all state of one partition.

Pure and independent of batch boundaries, as `detectors.fold`. A call is cut into stretches where a
model gets a slot, where a population is complete, and at every multiple of `STANDING_EVENTS` events
of the lineage: only there the table of sources reads what the banks hold against whom, so that who
keeps a place does not depend on batches either.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import numpy as np

from detectors.base import BankState, StateError, part_of
from detectors.event_time import watermarks
from detectors.labels.join import (
    LABEL_COUNTERS,
    LABELS_VERSION,
    Given,
    Joined,
    LabelJoin,
    given_by,
)
from detectors.security.banks import SecurityBanks, kind_numbers, kinds_by_words
from detectors.security.base import SecurityRows, Suspicion
from detectors.security.calibration import KeptCalibrations, ModelCalibration, fit
from detectors.security.calibration_document import is_salted
from detectors.security.columns import PollColumns, columns_of
from detectors.security.fold_state import (
    Watched,
    kept_in,
    numbers_of,
    restore_watched,
    snapshot_watched,
)
from detectors.security.models import ModelSlots
from detectors.security.population import MAX_LEARNED_VALUES
from detectors.security.populations import Populations
from detectors.security.registry import LABEL_SECURITY_REGISTRY, SECURITY_REGISTRY
from detectors.security.sources import SOURCE_COUNTERS, SourceTable, needed_refusals
from schemas.batch import I32, I64, U64, Decoded, ModelKey
from schemas.config import DetectionConfig
from schemas.source_hash import SourceKey

SECURITY_VERSION: Final = 4
"""Version of the models' and populations' state and of the rules by which it changes."""
SOURCES_VERSION: Final = 2
"""The same of the table of sources."""
STANDING_EVENTS: Final = 1_024
"""Every so many events of the lineage it is read what is held against each source."""

SECURITY_COUNTERS: Final = (
    "n_events",
    "n_predictions",
    "n_labels",
    "n_refused_models",
    "n_evicted_models",
    "n_refused_features",
    "n_unfitted_detectors",
    "n_forgotten_calibrations",
    "n_sources_dropped",
    *SOURCE_COUNTERS,
    "n_suspicions",
    "n_held_suspicions",
    *LABEL_COUNTERS,
)


def security_versions() -> dict[str, int]:
    """The version of every part of the state, by part name."""
    own = {"security": SECURITY_VERSION, "sources": SOURCES_VERSION, "labels": LABELS_VERSION}
    banks = {name: spec.version for name, spec in SECURITY_REGISTRY.items()}
    return own | banks | {name: spec.version for name, spec in LABEL_SECURITY_REGISTRY.items()}


def salt_of(source_key: SourceKey | None) -> int:
    """What hashes and thresholds are salted with, 64 bits: a secret where there is a source key."""
    if source_key is None:
        return int.from_bytes(blake2b(b"driftsentry", digest_size=8).digest(), "little")
    return int.from_bytes(source_key.derived(b"security salt")[:8], "little")


class SecurityFold:
    """The state of one partition, advanced by `process`.

    Without a source key all clients of a model are one, as sources are not kept then. `state` is an
    earlier `snapshot()`; raises `StateError` where it does not fit.
    """

    def __init__(
        self,
        config: DetectionConfig,
        source_key: SourceKey | None,
        state: Mapping[str, BankState] | None = None,
    ) -> None:
        self.config = config
        self.counters: dict[str, int] = dict.fromkeys(SECURITY_COUNTERS, 0)
        self.watermark_ms = 0
        """The latest event time, events from the future left out."""
        self._source_key = source_key
        self._salt = salt_of(source_key)
        self._watched = self._nobody()
        if state is not None:
            own = part_of(state, "security")
            n_numbers = len(SECURITY_COUNTERS) + 1
            *counts, self.watermark_ms = restore_watched(self._watched, self._salt, own, n_numbers)
            self.counters.update(zip(SECURITY_COUNTERS, counts, strict=True))
        self.sources = self._table(None if state is None else part_of(state, "sources"))
        if (self.sources.owner >= 0).any():
            owners = set(self.sources.owner[self.sources.owner >= 0].tolist())
            if not owners <= self._watched.calibrations.keys():
                raise StateError("a source is followed whose model is not")
        self.banks = SecurityBanks(config, self._salt, state)
        self.labels: LabelJoin | None = None
        """None: labels are not joined."""
        if config.labels.enabled:
            joined = None if state is None else part_of(state, "labels")
            self.labels = LabelJoin(config.labels, self.counters, joined, self.watermark_ms)

    @property
    def versions(self) -> dict[str, int]:
        """The version of every part of the state, by part name."""
        return security_versions()

    @property
    def models(self) -> ModelSlots:
        """Which model has which slot."""
        return self._watched.models

    def calibration(self, slot: int) -> ModelCalibration | None:
        """What this slot's model is judged by; None while it learns."""
        return self._watched.calibrations.get(slot)

    def has_calibration(
        self, model_id: str, model_version: str, calibration: ModelCalibration
    ) -> bool:
        """Whether this is what was set last for a model version."""
        kept = self._watched.kept.get((model_id, model_version))
        return kept is not None and kept.is_as(calibration)

    def uncalibrated(self) -> list[tuple[ModelKey, str]]:
        """Which detectors that are on do not watch which model, for want of rows to judge by."""
        return [
            (self.models.key(slot), name)
            for slot, calibration in sorted(self._watched.calibrations.items())
            for name in self.banks
            if not calibration.of(name)
        ]

    def keep_on(self, state: BankState) -> None:
        """Take the calibrations that were set in another fold, whose part `security` this is.

        Under another key those hold that depend on none; the others are void.
        """
        for name, calibration in kept_in(state, len(SECURITY_COUNTERS) + 1).items():
            if not is_salted(calibration.population):
                self.set_calibration(*name, calibration)

    def count_on(self, state: BankState) -> None:
        """Take the counters and the time of another fold, whose part `security` this is.

        For one that begins anew within a lineage: under another key what is known of sources is
        void.
        """
        *counts, self.watermark_ms = numbers_of(state, len(SECURITY_COUNTERS) + 1)
        self.counters.update(zip(SECURITY_COUNTERS, counts, strict=True))

    def snapshot(self) -> dict[str, BankState]:
        """The whole state, by part: a function of the events alone."""
        numbers = [*self.counters.values(), self.watermark_ms]
        parts: dict[str, BankState] = {
            "security": snapshot_watched(self._watched, self._salt, numbers),
            "sources": self.sources.snapshot(),
        }
        if self.labels is not None:
            parts["labels"] = self.labels.snapshot()
        return parts | self.banks.snapshot()

    def process(self, events: Decoded) -> list[Suspicion]:
        """Fold these events; suspicions in the order of the log."""
        said: list[Suspicion] = []
        columns = columns_of(events, self.counters["n_events"], self._salt)
        watermark = watermarks(events, self.watermark_ms, self.config.max_future_ms)
        given = None if self.labels is None else given_by(events, watermark)
        start = 0
        while start < len(events):
            start = self._advance(columns, given, start, said)
        n_labels = int(np.count_nonzero(events.is_label))
        self.counters["n_events"] += len(events)
        self.counters["n_labels"] += n_labels
        self.counters["n_predictions"] += len(events) - n_labels
        self.counters["n_sources_dropped"] += events.n_sources_dropped
        self.counters["n_suspicions"] += len(said)
        self.watermark_ms = int(watermark[-1]) if len(watermark) else self.watermark_ms
        return sorted(said)

    def set_calibration(
        self, model_id: str, model_version: str, calibration: ModelCalibration
    ) -> None:
        """Judge the clients of a model version by this, from the next event on.

        Its detectors and sources begin anew. A version that is not watched yet will have it in
        place of learning. Raises `StateError`, and has changed nothing, where it is none.
        """
        calibration.check()
        name = model_id, model_version
        watched = self._watched
        self.counters["n_forgotten_calibrations"] += watched.kept.keep(name, calibration)
        for slot in watched.models.taken():
            if watched.models.key(slot)[:2] == name:
                self._begin_anew(slot)
                self._judge_by(slot, calibration)

    def reconfigure(self, config: DetectionConfig) -> None:
        """Go on under another config, from the next event on.

        Populations and calibrations stay. A detector whose parameters changed begins anew; all of
        them, and the table of sources, where the bounds on models or sources did. So do those of a
        model whose strictest calibration is of other kinds of clients now.
        """
        before, self.config = self.config, config
        old, new = before.security, config.security
        begin_anew = (old.max_models, old.max_sources) != (new.max_models, new.max_sources)
        self.models.min_idle = config.bounds.min_idle_records
        if begin_anew:
            self._move()
        else:
            self.sources.set_admit_after(new.admit_after)
            self.sources.set_kinds(self._kinds())
        self.banks.reconfigure(config, self._watched.calibrations, begin_anew=begin_anew)
        if not config.labels.enabled:
            self.labels = None
        elif self.labels is None:
            self.labels = LabelJoin(config.labels, self.counters)
        else:
            self.labels.reconfigure(config.labels)

    def _nobody(self) -> Watched:
        n_slots = self.config.security.max_models
        return Watched(
            ModelSlots(n_slots, self.config.bounds.min_idle_records),
            Populations(n_slots, self._salt),
            {},
            KeptCalibrations(),
        )

    def _table(self, state: BankState | None = None) -> SourceTable:
        own = self.config.security
        n_events = self.counters["n_events"]
        refusals = needed_refusals(self._salt)
        table = SourceTable(
            own.max_sources, own.admit_after, self.counters, state, n_events, refusals
        )
        table.set_kinds(self._kinds())
        return table

    def _kinds(self) -> dict[tuple[int, int], int]:
        """The kinds of the sources that the config names; none where sources are not kept."""
        numbers = kind_numbers(self.config)
        kinds = kinds_by_words(self.config, self._source_key)
        return {words: numbers.get(kind, 0) for words, kind in kinds.items()}

    def _move(self) -> None:
        """Put the models into as many slots as there are now; who is longest idle goes."""
        while len(self.models.slot_of) > self.config.security.max_models:
            self._evict(self.models.longest_idle())
        before, self._watched = self._watched, self._nobody()
        now = self._watched
        for slot, old in enumerate(before.models.taken()):
            now.models.give(slot, before.models.key(old), int(before.models.last_seen[old]))
            now.models.n_events[slot] = before.models.n_events[old]
            if old in before.populations.learning:
                now.populations.learning[slot] = before.populations.learning[old]
            else:
                now.calibrations[slot] = before.calibrations[old]
                now.populations.set(slot, before.calibrations[old].population)
        for name, calibration in before.kept.items():
            now.kept.keep(name, calibration)
        self.sources = self._table()

    def _advance(
        self, columns: PollColumns, given: Given | None, start: int, said: list[Suspicion]
    ) -> int:
        """Fold one stretch from row `start` on; returns where the next one begins."""
        events, first, n_said = columns.events, int(columns.number[start]), len(said)
        if first % STANDING_EVENTS == 0:
            self.sources.read_standing(self.banks.standing(), first)
        stop = min(len(events), start + STANDING_EVENTS - first % STANDING_EVENTS)
        stop, slot = self._admit(columns, start, stop)
        stop = self._until_learned(columns, slot, start, stop)
        slot = slot[: stop - start]
        self._watch(columns, slot, start, said)
        if self.labels is not None and given is not None:
            versions = self.models.slot_of_version
            joined, _ = self.labels.advance(given, start, slot, versions)
            found = self.banks.update_labels(joined)
            said += [_when_complete(each, joined, events) for each in found]
        is_known = slot >= 0
        is_prediction = ~events.is_label[start:stop]
        self.counters["n_refused_models"] += int(np.count_nonzero(is_prediction & ~is_known))
        models = self.models
        models.n_events += np.bincount(slot[is_known], minlength=len(models))
        # Of equal slots the last one stays.
        models.last_seen[slot[is_known]] = columns.number[start:stop][is_known]
        self._learn(columns, slot, start)
        # In the next stretch another model may be in the slot.
        said[n_said:] = [
            each._replace(model_key=models.keys[each.model] if each.model >= 0 else None)
            for each in said[n_said:]
        ]
        return stop

    def _admit(self, columns: PollColumns, start: int, stop: int) -> tuple[int, I32]:
        """Give the models of a stretch their slots.

        Returns where the stretch must end, which is before the first row, other than `start`, that
        may change who is watched; and each row's slot, -1 for labels and models without one.
        """
        events = columns.events
        slot = self._slots(events, start, stop)
        is_unknown = (slot < 0) & ~events.is_label[start:stop]
        if is_unknown[0]:
            number = int(columns.number[start])
            place = self.models.room(number)
            if place >= 0:
                if self.models.keys[place] is not None:
                    self._evict(place)
                self._begin(place, events.models[events.model[start]], number)
                slot = self._slots(events, start, stop)
                is_unknown = (slot < 0) & ~events.is_label[start:stop]
        is_unknown[0] = False
        if is_unknown.any():
            is_unknown &= columns.number[start:stop] >= self.models.admits_from()
        if is_unknown.any():
            stop = start + int(is_unknown.argmax())
        return stop, slot[: stop - start]

    def _slots(self, events: Decoded, start: int, stop: int) -> I32:
        slot_of = self.models.slot_of
        of_model = np.array([slot_of.get(key, -1) for key in events.models], np.int32)
        own: I32 = of_model[events.model[start:stop]]
        own[events.is_label[start:stop]] = -1
        return own

    def _evict(self, slot: int) -> None:
        """Take the slot back from its model, which is forgotten."""
        self._begin_anew(slot)
        self._watched.calibrations.pop(slot, None)
        self._watched.populations.forget(slot)
        self.models.free(slot)
        self.counters["n_evicted_models"] += 1

    def _begin_anew(self, slot: int) -> None:
        """Let the banks and the table of sources forget this slot's model."""
        self.sources.forget(slot)
        self.banks.forget(slot)

    def _begin(self, slot: int, key: ModelKey, number: int) -> None:
        """Give a free slot to a model that comes at this event."""
        self.models.give(slot, key, number)
        calibration = self._watched.kept.get((key.model_id, key.model_version))
        if calibration is None:
            self._watched.populations.begin(slot)
        else:
            self._judge_by(slot, calibration)

    def _judge_by(self, slot: int, calibration: ModelCalibration) -> None:
        self._watched.populations.set(slot, calibration.population)
        self._watched.calibrations[slot] = calibration
        self.banks.calibrate(slot, calibration)

    def _until_learned(self, columns: PollColumns, slot: I32, start: int, stop: int) -> int:
        """Where the stretch must end: behind the first row that completes a population."""
        length = np.diff(columns.events.value_ptr[start : stop + 1])
        for own, learning in self._watched.populations.learning.items():
            rows = np.flatnonzero(slot[: stop - start] == own)
            if len(rows):
                n = learning.n_until(length[rows], self.config.security.learn_events)
                if n <= len(rows):
                    stop = start + int(rows[n - 1]) + 1
        return stop

    def _watch(self, columns: PollColumns, slot: I32, start: int, said: list[Suspicion]) -> None:
        """Let the banks see the rows whose populations are known, and have any features at all."""
        events, populations = columns.events, self._watched.populations
        at = np.flatnonzero((slot >= 0) & (populations.n_dims[slot] > 0))
        if not len(at):
            return
        rows, model = at + start, slot[at]
        number, words = columns.number[rows], events.source[rows]
        row_hash, offset = columns.row_hash[rows], events.offset[rows]
        event_row, time = events.row[rows], events.event_time_ms[rows]
        placed = self.sources.place(model, words, number, row_hash, offset, event_row, time)
        said += placed.pressure
        scaled = populations.scale(columns, rows, model)
        n_held = self.banks.n_held
        found = self.banks.update(
            SecurityRows(
                offset=offset,
                event_row=event_row,
                event_time_ms=time,
                number=number,
                model=model,
                z=scaled.z,
                is_repeat=placed.is_repeat,
                row_hash=row_hash,
                source=placed.source,
                is_first=placed.is_first,
                kind=placed.kind,
                source_words=words,
                predicted=scaled.predicted,
                margin=scaled.margin,
                score=events.score[rows],
                n_dims=populations.n_dims,
                n_numbers=populations.n_numbers,
            )
        )
        self.counters["n_held_suspicions"] += self.banks.n_held - n_held
        said += [
            each if each.source < 0 else _with_source(each, offset, event_row, words)
            for each in (self._with_names(each) for each in found)
        ]

    def _with_names(self, suspicion: Suspicion) -> Suspicion:
        """The suspicion with the names of the features that it is about, where it is of any."""
        if not suspicion.columns:
            return suspicion
        names = self._watched.populations.names_of(suspicion.model, suspicion.columns)
        if not names:
            return suspicion
        return suspicion._replace(detail=f"{suspicion.detail}: {', '.join(names)}")

    def _learn(self, columns: PollColumns, slot: I32, start: int) -> None:
        """Learn the stretch's rows of models whose populations are not known yet."""
        own = self.config.security
        for of_slot, learning in sorted(self._watched.populations.learning.items()):
            rows = np.flatnonzero(slot == of_slot) + start
            if not len(rows):
                continue
            n_refused = learning.add(columns, rows, self.config.bounds.max_features)
            self.counters["n_refused_features"] += n_refused
            if learning.n_rows >= own.learn_events or learning.n_values >= MAX_LEARNED_VALUES:
                learned = self._watched.populations.freeze(of_slot)
                fitted, too_few = fit(learned, reviewed=False)
                self.counters["n_unfitted_detectors"] += len(too_few)
                population = self._watched.populations.frozen[of_slot]
                assert population is not None
                self._judge_by(of_slot, ModelCalibration(population, {"": fitted}, False))


def _with_source(suspicion: Suspicion, offset: I64, event_row: I32, words: U64) -> Suspicion:
    """The suspicion with the hash of its source: a place of the table may be another's soon.

    A bank fires at a row of the source that it is about; the rows are those of the stretch.
    """
    at = (offset == suspicion.offset) & (event_row == suspicion.event_row)
    low, high = words[int(at.argmax())].tolist()
    return suspicion._replace(source_words=(low, high))


def _when_complete(suspicion: Suspicion, joined: Joined, events: Decoded) -> Suspicion:
    """The suspicion at the event that brought label and prediction together.

    The bank says it of a label, which may have come long before its prediction: at that place
    nobody could have known, and it may lie in a poll that is over.
    """
    at = (joined.offset == suspicion.offset) & (joined.event_row == suspicion.event_row)
    row = int(joined.row[int(at.argmax())])
    return suspicion._replace(offset=int(events.offset[row]), event_row=int(events.row[row]))
