"""What labels tell of each model version, and what its scores make one expect before they come.

Pure, and independent of batches. A model version takes a row of the banks with its first label, as
many of them as the config allows, and gives it back when it gives way or gets another reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

import numpy as np

from detectors.base import BankState, StateError, require_array
from detectors.catalog import Catalog
from detectors.feature_sample import FeatureSample, Found, Sampled, sample_tag
from detectors.finding_names import block_reference
from detectors.kernels.observe import RULE_DEPARTURE
from detectors.labels.join import Decided, Joined
from detectors.leakage import NOBODY, SUSPICIOUS, SampledLabels
from detectors.monitor import Monitor
from detectors.outcome_groups import loss_unit
from detectors.outcome_lanes import (
    OutcomeLanes,
    Watch,
    begin,
    end,
    shorten,
)
from detectors.outcome_rows import Expected, LabelledRows, Outcome
from detectors.outcome_scores import UNKNOWN_ERROR, Scores
from detectors.outcome_signals import prepare
from detectors.outcome_state import WATCH_ARRAYS, WatchReader, snapshot_watches
from detectors.performance.declare import output_of
from detectors.performance.estimate import Estimate
from detectors.performance.expected import ExpectedError, beside_reference
from detectors.performance.groups import SliceMetrics, slice_metrics
from detectors.performance.labelled import LabelledPerformance
from detectors.performance.measured import Measured, measured
from detectors.performance.numbering import NO_CLASS, Numbering
from detectors.performance.outputs import SHAPE, Output, Task
from detectors.performance.rows import JoinedRows, ScoredRows
from detectors.performance.tally import Tally
from detectors.performance.unlabelled import UnlabelledPerformance
from detectors.slices import named_groups
from schemas.batch import F64, I32, I64, Bool
from schemas.config import DetectionConfig
from schemas.reference import ModelOutput

OUTCOMES_VERSION: Final = 5
"""Version of the rules by which the banks are fed."""
_FREE: Final = -1
_NOTHING_FOUND: Final = Found(
    np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
)
_MOST_ROWS: Final = 10_000
"""The highest `bounds.max_measured_models` of a config."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions of a stretch, (n,) each; `row` counts from the beginning of the poll."""

    row: I32
    slot: I32
    code: I64
    """What was predicted: see `detectors.labels.identity`."""
    score: F64
    event_time_ms: I64


class Leakage(NamedTuple):
    """The feature that alone tells most of the label, by the last block of labels."""

    feature: str
    strength: float
    """|2 AUC - 1|: 0 nothing, 1 all."""
    reference: float | None
    """The mean of the strongest in the reference; None before it is complete."""
    was_in_reference: bool
    """Whether some feature all but told the label while the reference was learned: it is never
    alerted then."""


class _Owner(NamedTuple):
    """Whose a row of the banks is."""

    slot: int
    monitor: Monitor
    """Another one in the slot has nothing of the row."""
    numbering: Numbering
    watch: Watch
    """Its signals."""
    scores: Scores


class Outcomes:
    """The performance of the model versions of one partition.

    `counters` are the fold's. `state` is an earlier `snapshot()`; raises `StateError` where it does
    not fit.
    """

    def __init__(
        self,
        config: DetectionConfig,
        catalog: Catalog,
        counters: dict[str, int],
        state: BankState | None = None,
    ) -> None:
        self.config = config
        self._catalog = catalog
        self._counters = counters
        self.lanes: Final = OutcomeLanes(config, catalog)
        self._p: dict[int, F64 | None] = {}
        """Derived: by row, what its scores mean by bin; None: nobody knows."""
        self._calibrated: dict[int, int] = {}
        """By row, at which row of the poll its score was calibrated, in this stretch."""
        self._owners: list[_Owner | None] = []
        """By row; None: it is free."""
        self._row_of: dict[int, int] = {}
        """Derived: the row of each slot that has one."""
        banks: tuple[BankState | None, BankState | None, BankState | None] = (None, None, None)
        n_rows = 0
        if state is not None:
            banks = _parted(state)
            slots = require_array(state, "slots", np.int64, (None,)).tolist()
            n_rows = len(slots)
        windows = config.labels.windows
        self.labelled: Final = LabelledPerformance(SHAPE, windows, n_rows, banks[0])
        self.unlabelled: Final = UnlabelledPerformance(SHAPE, n_rows, banks[1])
        self.sample: Final = FeatureSample(config.bounds.max_leakage_rows, banks[2])
        self._found = _NOTHING_FOUND
        """Of the latest stretch: what the sample holds of its labels."""
        if state is not None:
            self._restore(slots, WatchReader(state))

    def advance(
        self, joined: Joined, decided: Decided, predictions: Predictions, sampled: Sampled
    ) -> int:
        """Fold what a stretch has brought; the first pair for which there was no room, -1: none.

        What the signals of labels have observed is kept in `lanes` until it is taken.
        """
        first = self._first_labels(joined)
        self._found = self.sample.advance(sampled, joined)
        row_of = np.full(len(self._catalog.slots), _FREE, np.int32)
        row_of[list(self._row_of)] = list(self._row_of.values())
        self._fold_joined(joined, row_of)
        self._fold_decided(decided, row_of, first)
        self._fold_predictions(predictions, row_of, first)
        self._calibrated.clear()
        self._found = _NOTHING_FOUND
        beyond = np.flatnonzero(row_of[joined.slot] == _FREE)
        self._counters["n_unmeasured_labels"] += len(beyond)
        return int(beyond[0]) if len(beyond) else -1

    def reconfigure(self, config: DetectionConfig) -> None:
        """Go on under another config; who is measured stays so, whatever its bound."""
        before = self.config.labels.calibration_labels
        self.config = self.lanes.config = config
        self.sample.bound(config.bounds.max_leakage_rows)
        self.labelled.set_windows(config.labels.windows)
        self.follow()
        for row, owner in enumerate(self._owners):
            if owner is None:
                continue
            if not any(signal.is_outcome for signal in owner.monitor.signals):
                # The catalog has said anew what its labels tell, slices among it.
                self._owners[row] = owner._replace(watch=begin(config, owner.monitor))
            shorten(config, owner.watch)
            n_labels = self.labelled.n_rows(row)
            if _calibrates(owner) and config.labels.calibration_labels <= n_labels < before:
                self.unlabelled.learn(row, self.labelled.total(row))
                self._p.pop(row, None)

    def follow(self) -> None:
        """Give back the rows of monitors that are gone, or have another reference now.

        To be called wherever the catalog gives a slot to another one.
        """
        gone = [
            row
            for row, owner in enumerate(self._owners)
            if owner is not None and self._catalog.slots[owner.slot] is not owner.monitor
        ]
        for row in gone:
            owner, self._owners[row] = self._owners[row], None
            assert owner is not None
            del self._row_of[owner.slot]
            self._p.pop(row, None)
        if gone:
            self.labelled.reset(np.array(gone, np.int32))
            self.unlabelled.reset(np.array(gone, np.int32))

    def declared(self, slot: int) -> None:
        """The monitor in this slot has said anew what it predicts: what was counted is over."""
        if slot in self._row_of:
            row = self._row_of[slot]
            end(self._catalog, self._owner(row).watch)
            prepare(self.config, self._catalog.monitor(slot))
            self._begin(row, slot)

    def stop(self) -> None:
        """Take all signals of labels back, with their lanes: labels are no longer joined."""
        for owner in self._owners:
            if owner is not None:
                end(self._catalog, owner.watch)

    def metrics_of(self, slot: int) -> Measured | None:
        """In total and by window; None where no label has come."""
        row = self._row_of.get(slot)
        return None if row is None else measured(self.labelled, row)

    def total_of(self, slot: int) -> Tally | None:
        """What metrics in total are read from; None where no label has come."""
        row = self._row_of.get(slot)
        return None if row is None else self.labelled.total(row)

    def n_predictions_of(self, slot: int) -> int | None:
        """How many predictions are measured so far; None where no label has come."""
        row = self._row_of.get(slot)
        return None if row is None else self.unlabelled.n_rows(row)

    def estimate_of(self, slot: int, n_blocks: int | None = None) -> Estimate | None:
        """What is expected of the latest predictions; None before the score is calibrated.

        `n_blocks`: of the latest so many blocks of predictions; None: of the whole window.
        """
        row = self._row_of.get(slot)
        return None if row is None else self.unlabelled.estimate(row, n_blocks=n_blocks)

    def expected_error_of(self, slot: int) -> ExpectedError | None:
        """What is expected of the latest predictions beside the reference of `expected_error`.

        None before both are known.
        """
        row = self._row_of.get(slot)
        found = None if row is None else self.unlabelled.estimate(row)
        if row is None or found is None or found.accuracy is None:
            return None
        own = [s for _, s in self._owner(row).watch.signals() if s.is_estimate]
        reference = block_reference(own[0]) if own else None
        if reference is None:
            return None
        right = found.accuracy
        n = max(found.n_rows // reference.rows, 1)
        value, low, high = 1.0 - right.value, 1.0 - right.high, 1.0 - right.low
        return beside_reference(value, low, high, n, reference[:3])

    def slices_of(self, slot: int) -> dict[str, SliceMetrics]:
        """How the latest labels say that groups are treated, by feature; empty without slices."""
        row = self._row_of.get(slot)
        if row is None:
            return {}
        owner = self._owner(row)
        counts, monitor = owner.watch.counts, owner.monitor
        if counts is None:
            return {}
        is_binary = owner.scores.output.task == Task.BINARY
        return {
            monitor.features[feature]: slice_metrics(
                counts.window(place),
                dict(named_groups(monitor.categories[feature])),
                is_binary=is_binary,
                loss_unit=loss_unit(monitor),
            )
            for place, feature in enumerate(monitor.slices)
        }

    def leakage_of(self, slot: int) -> Leakage | None:
        """Which feature tells most of the label; None before a block has said so."""
        row = self._row_of.get(slot)
        watch = None if row is None else self._owner(row).watch
        if watch is None or watch.leakage is None or watch.leakage.last[0] == NOBODY:
            return None
        monitor = watch.monitor
        place, strength = watch.leakage.last
        frozen = [s.scale for _, s in watch.signals() if s.is_leakage and s.ranks is not None]
        reference = None
        if frozen:
            is_constant = frozen[0].rule == RULE_DEPARTURE
            reference = frozen[0].constant if is_constant else frozen[0].mean
        return Leakage(
            monitor.features[monitor.sampled[place]],
            strength,
            reference,
            reference is not None and reference >= SUSPICIOUS,
        )

    def class_names(self, slot: int) -> list[str]:
        """The classes of the monitor in this slot, by the numbers that its metrics use."""
        output = self._catalog.monitor(slot).output
        return [] if output is None else output.classes

    def snapshot(self) -> BankState:
        """The whole state: a function of the events alone."""
        return {
            **snapshot_watches([None if o is None else o.watch for o in self._owners]),
            "slots": np.array([_FREE if o is None else o.slot for o in self._owners], np.int64),
            **{f"labelled_{name}": array for name, array in self.labelled.snapshot().items()},
            **{f"unlabelled_{name}": array for name, array in self.unlabelled.snapshot().items()},
            **self.sample.snapshot(),
        }

    def _first_labels(self, joined: Joined) -> dict[int, int]:
        """Give rows to those that got their first label; by slot, the poll's row it came in."""
        slots, at = np.unique(joined.slot, return_index=True)
        first: dict[int, int] = {}
        for place in np.argsort(at).tolist():
            slot = int(slots[place])
            if slot in self._row_of:
                continue
            if None in self._owners:
                row = self._owners.index(None)
            elif len(self._owners) < self.config.bounds.max_measured_models:
                row = len(self._owners)
                self._owners.append(None)
                self.labelled.resize(row + 1)
                self.unlabelled.resize(row + 1)
            else:
                continue
            self._begin(row, slot)
            first[slot] = int(joined.row[at[place]])
        return first

    def _begin(self, row: int, slot: int) -> None:
        monitor = self._catalog.monitor(slot)
        said, output = self._own(row, slot, begin(self.config, monitor))
        self._p.pop(row, None)
        self.labelled.declare(row, output)
        self.unlabelled.declare(row, output)
        if said is not None and said.counts is not None:
            self.unlabelled.teach(row, np.array(said.counts, np.int64))

    def _own(self, row: int, slot: int, watch: Watch) -> tuple[ModelOutput | None, Output]:
        """Let the row be that of the monitor in this slot; what that predicts."""
        said = watch.monitor.output
        output = Output() if said is None else output_of(said)
        numbering = Numbering(() if said is None else said.classes)
        self._owners[row] = _Owner(slot, watch.monitor, numbering, watch, Scores(output))
        self._row_of[slot] = row
        return said, output

    def _owner(self, row: int) -> _Owner:
        owner = self._owners[row]
        assert owner is not None
        return owner

    def _fold_joined(self, joined: Joined, row_of: I32) -> None:
        row = row_of[joined.slot]
        kept = np.flatnonzero(row != _FREE)
        if not len(kept):
            return
        own = row[kept]
        predicted, label = np.empty(len(kept), np.int32), np.empty(len(kept), np.int32)
        for one in np.unique(own).tolist():
            those = own == one
            at = kept[those]
            predicted[those], label[those] = self._owner(one).numbering.pairs(
                joined.predicted_code[at], joined.label_code[at]
            )
        rows = JoinedRows(
            slot=own,
            predicted_class=predicted,
            predicted=np.ascontiguousarray(joined.predicted[kept]),
            score=np.ascontiguousarray(joined.score[kept]),
            label_class=label,
            label=np.ascontiguousarray(joined.label[kept]),
            event_time_ms=np.ascontiguousarray(joined.event_time_ms[kept]),
        )
        start = 0
        since: dict[int, int] = {}
        for stop, one in self._calibrations(own):
            self.labelled.update(_cut(rows, start, stop))
            start = since[one] = stop
            self.unlabelled.learn(one, self.labelled.total(one))
            self._p.pop(one, None)
            self._calibrated[one] = int(joined.row[kept[stop - 1]])
        self.labelled.update(_cut(rows, start, len(own)))
        for one in np.unique(own).tolist():
            those = np.flatnonzero(own == one)
            self._observe_labels(
                one, joined, kept[those], _picked(rows, those), those < since.get(one, 0)
            )

    def _observe_labels(
        self, one: int, joined: Joined, at: I64, rows: JoinedRows, is_before: Bool
    ) -> None:
        """Let the signals of one row of the banks see its labels, `rows`, `at` these of `joined`.

        `is_before`: its score was not calibrated yet.
        """
        owner = self._owner(one)
        guess, label = rows.predicted_class, rows.label_class
        positive = owner.scores.output.positive
        expected = self._expected(one, guess, rows.score)
        expected[is_before] = UNKNOWN_ERROR
        with np.errstate(over="ignore", invalid="ignore"):
            residue = rows.predicted - rows.label
        is_number = owner.scores.output.task == Task.REGRESSION
        outcomes = LabelledRows(
            row=joined.row[at],
            is_wrong=guess != label,
            has_error=~np.isnan(residue) if is_number else (guess >= 0) & (label >= 0),
            residue=residue,
            label_class=label,
            is_positive=guess == positive,
            is_true=label == positive,
            delay_s=joined.delay_ms[at] / 1_000.0,
            quantile=owner.scores.quantiles(guess, label, rows.score, joined.key[at]),
            expected=expected,
            groups=joined.slices[at],
            sampled=self._sampled(owner.monitor, joined.row[at], label, at),
        )
        self.lanes.labelled(owner.slot, owner.watch, outcomes)

    def _sampled(self, monitor: Monitor, row: I32, label: I32, at: I64) -> SampledLabels:
        """Those of these labels whose predictions are in the sample, with the same features."""
        place = self._found.at[at]
        there = np.flatnonzero(place >= 0)
        there = there[self._found.tag[place[there]] == sample_tag(monitor)]
        n_classes = 0 if monitor.output is None else len(monitor.output.classes)
        own = label[there]
        own = np.where(own < n_classes, own, np.int32(NO_CLASS))
        return SampledLabels(row[there], own, self._found.values[place[there]])

    def _expected(self, one: int, guess: I32, score: F64) -> I64:
        """(n,) expected errors of predictions, UNKNOWN_ERROR where nothing says what to expect."""
        if one not in self._p:
            self._p[one] = self.unlabelled.probabilities(one)
        return self._owner(one).scores.expected(guess, score, self._p[one])

    def _fold_decided(self, decided: Decided, row_of: I32, first: Mapping[int, int]) -> None:
        row = row_of[decided.slot]
        for one in np.unique(row[row != _FREE]).tolist():
            owner = self._owner(one)
            those = (row == one) & (decided.row > first.get(owner.slot, -1))
            outcome = Outcome(decided.row[those], decided.is_labelled[those])
            self.lanes.decided(owner.slot, owner.watch, outcome)

    def _calibrations(self, own: I32) -> list[tuple[int, int]]:
        """After which of these joined rows which score is calibrated, in order."""
        found: list[tuple[int, int]] = []
        wanted = self.config.labels.calibration_labels
        for one in np.unique(own).tolist():
            if not _calibrates(self._owner(one)):
                continue
            missing = wanted - self.labelled.n_rows(one)
            those = np.flatnonzero(own == one)
            if 0 < missing <= len(those):
                found.append((int(those[missing - 1]) + 1, one))
        return sorted(found)

    def _fold_predictions(
        self, predictions: Predictions, row_of: I32, first: Mapping[int, int]
    ) -> None:
        row = row_of[predictions.slot]
        # Who has had no label yet by then is not measured.
        since = np.full(len(row_of), -1, np.int64)
        for slot, label_row in first.items():
            since[slot] = label_row
        is_measured: Bool = (row != _FREE) & (predictions.row > since[predictions.slot])
        kept = np.flatnonzero(is_measured)
        if not len(kept):
            return
        own = row[kept]
        predicted = np.empty(len(kept), np.int32)
        for one in np.unique(own).tolist():
            those = np.flatnonzero(own == one)
            owner, at = self._owner(one), kept[those]
            guess = owner.numbering.numbers(predictions.code[at])
            predicted[those] = guess
            error = self._expected(one, guess, predictions.score[at])
            error[predictions.row[at] <= self._calibrated.get(one, -1)] = UNKNOWN_ERROR
            self.lanes.predicted(owner.slot, owner.watch, Expected(predictions.row[at], error))
        self.unlabelled.update(
            ScoredRows(
                slot=own,
                predicted_class=predicted,
                score=np.ascontiguousarray(predictions.score[kept]),
                event_time_ms=np.ascontiguousarray(predictions.event_time_ms[kept]),
            )
        )

    def _restore(self, slots: list[int], watches: WatchReader) -> None:
        """Find the owners of the rows. Raises `StateError` where the state contradicts itself."""
        taken = [slot for slot in slots if slot != _FREE]
        if len(set(taken)) < len(taken):
            raise StateError("two rows are of one model version")
        if len(slots) > _MOST_ROWS:
            raise StateError("more model versions are measured than the config allows")
        self._owners += [None] * len(slots)
        for row, slot in enumerate(slots):
            if slot == _FREE:
                continue
            if not 0 <= slot < len(self._catalog.slots) or self._catalog.slots[slot] is None:
                raise StateError("a row is of a model version that does not exist")
            watch = watches.read(self._catalog.monitor(slot))
            _, wanted = self._own(row, slot, watch)
            for bank in (self.labelled, self.unlabelled):
                found = bank.output(row)
                same = (found.task, found.score_of, found.positive)
                if same != (wanted.task, wanted.score_of, wanted.positive):
                    raise StateError("a row is of another output than its model version")
        watches.finish()
        for slot, monitor in enumerate(self._catalog.slots):
            if monitor is None or slot in self._row_of:
                continue
            if any(signal.is_outcome for signal in monitor.signals):
                raise StateError("a model version has signals of labels, and no labels")


def _calibrates(owner: _Owner) -> bool:
    """Whether its labels are to say what its score means."""
    said = owner.monitor.output
    return said is not None and said.score_of != "none" and said.counts is None


def _cut(rows: JoinedRows, start: int, stop: int) -> JoinedRows:
    return JoinedRows(
        rows.slot[start:stop],
        rows.predicted_class[start:stop],
        rows.predicted[start:stop],
        rows.score[start:stop],
        rows.label_class[start:stop],
        rows.label[start:stop],
        rows.event_time_ms[start:stop],
    )


def _picked(rows: JoinedRows, at: I64) -> JoinedRows:
    return JoinedRows(*(np.ascontiguousarray(getattr(rows, f.name)[at]) for f in fields(rows)))


def _parted(state: BankState) -> tuple[BankState, BankState, BankState]:
    """The states of the banks and of the sample. Raises `StateError` at something else."""
    parts: tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]
    parts = ({}, {}, {})
    for name, array in state.items():
        prefix, _, own = name.partition("_")
        if prefix in {"labelled", "unlabelled"}:
            parts[prefix == "unlabelled"][own] = array
        elif prefix in {"sample", "sampled"}:
            parts[2][name] = array
        elif name != "slots" and name not in WATCH_ARRAYS:
            raise StateError(f"the state of the outcomes has no array {name!r}")
    return parts
