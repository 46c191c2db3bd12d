"""Monitors as state: a document for the names of each, arrays for the numbers of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from operator import is_
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from detectors.base import BankState, StateError, require_array
from detectors.categories import Categories, n_cells
from detectors.categories_state import documents_of, read_categories, read_tallies
from detectors.drift.ranks import Frequencies
from detectors.joint_state import JointReader, snapshot_joints
from detectors.kernels.observe import (
    CELL_NEW,
    CELL_OTHER,
    FIRST_DERIVED,
    KIND_ANY,
    KIND_LEARNING,
    SOURCE_CATEGORY,
    SOURCE_CELL,
    SOURCE_CLASS,
    SOURCE_MMD,
    SOURCE_PATTERN,
    SOURCE_RANGE,
    SOURCE_RESIDUAL,
    SOURCE_STUCK,
    SOURCE_TYPICAL,
)
from detectors.limits import LimitsReader, snapshot_limits
from detectors.monitor import NEVER, PREDICTION_CLASS, PREDICTION_NUMBER, Monitor
from detectors.outcome_sources import (
    MAX_SAMPLED,
    OF_FEATURE,
    OF_GROUP,
    OUTCOME_SOURCES,
    SOURCE_LABEL,
    SOURCE_SLICE_RESIDUE,
)
from detectors.performance.outputs import SHAPE
from detectors.ranks_state import RanksReader, RanksWriter, RowsReader, snapshot_rows
from detectors.reference import N_PREDICTION_KINDS, N_VALUE_KINDS, Cohort
from detectors.signals import Scale, Signal
from detectors.slices import MAX_SLICES, groups_of
from detectors.typicality_state import TypicalReader, snapshot_typical
from schemas.batch import ModelKey, ValueKind
from schemas.reference import DIGEST, FeatureCategories, ModelOutput


class StateDocument(BaseModel):
    """A part of a state that is JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _CohortDocument(StateDocument):
    start: int
    end: int
    score: bool
    prediction: bool
    features: list[int]
    names: list[list[str]]
    n_rows: int
    n_classes: int
    n_other_class: int


class MonitorDocument(StateDocument):
    """One monitor: its names, and where its numbers are."""

    model_id: str
    model_version: str
    shard: int
    features: list[str]
    kinds: list[int]
    categories: list[FeatureCategories]
    classes: list[str]
    prediction_role: int
    full: list[bool]
    awaits: list[bool]
    admitted: int
    first_event: int
    events_per_week: float
    reference: str
    joint: bool
    slices: list[int]
    sampled: list[int]
    n_outcomes: int
    n_limits: int
    n_typical: int
    output: ModelOutput | None
    signals: list[list[int]]
    cohorts: list[_CohortDocument]


class WrittenSignals:
    """The signals of monitors as state. They never change, so what was written of them stays.

    References are most of a state's parts: to gather those of 10,000 signals takes a tenth of a
    second, to see that they are the same ones a thousandth.
    """

    def __init__(self) -> None:
        self._signals: list[Signal] = []
        self.numbers: list[list[int]] = []
        """Those of each signal, in the order of the monitors."""
        self.arrays: dict[str, NDArray[Any]] = {}
        """Nobody may write to them: snapshots share them."""
        self._write()

    def take(self, monitors: Sequence[Monitor]) -> None:
        """Let it be those of these monitors."""
        signals = [signal for monitor in monitors for signal in monitor.signals]
        n = len(signals)
        if n != len(self._signals) or not all(map(is_, signals, self._signals)):
            self._signals = signals
            self._write()

    def _write(self) -> None:
        ranks = RanksWriter()
        self.numbers = [
            [s.source, s.index, s.expected, s.scale.rule, s.lane, ranks.add(s.ranks), s.category]
            for s in self._signals
        ]
        scales = [(s.scale.constant, s.scale.mean, s.scale.sd) for s in self._signals]
        scale = np.array(scales, np.float64).reshape(-1, 3)
        self.arrays = {**ranks.arrays(), "scale": scale}
        for array in self.arrays.values():
            array.setflags(write=False)


def snapshot_monitors(
    monitors: Sequence[Monitor], written: WrittenSignals | None = None
) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """The document of each monitor, and the arrays of all of them.

    `written` is what was written of their signals before, and is brought up to date.
    """
    written = written or WrittenSignals()
    written.take(monitors)
    numbers = iter(written.numbers)
    documents = [
        _document(monitor, list(islice(numbers, len(monitor.signals)))) for monitor in monitors
    ]
    cohorts = [cohort for monitor in monitors for cohort in monitor.cohorts]
    tallies = [tally for cohort in cohorts for tally in cohort.tallies]
    joints = [
        (monitor.joint, monitor.partial)
        for monitor in monitors
        if monitor.joint is not None and monitor.partial is not None
    ]
    return documents, {
        **written.arrays,
        **snapshot_joints(joints),
        **snapshot_limits([each.limits for each in monitors if each.limits is not None]),
        **snapshot_typical([each.typical for each in monitors if each.typical is not None]),
        **snapshot_rows([cohort.rows for cohort in cohorts if cohort.rows is not None]),
        "cohort_n_kind": _stack([c.n_kind for c in cohorts], np.int64, (N_VALUE_KINDS,)),
        "cohort_mean": _stack([c.mean for c in cohorts], np.float64, ()),
        "cohort_m2": _stack([c.m2 for c in cohorts], np.float64, ()),
        "cohort_n_category": np.array([n for t in tallies for n in t.counts], np.int64),
        "cohort_others": np.array([(t.n_long, t.n_true) for t in tallies], np.int64).reshape(-1, 2),
        "cohort_output_n": _stack([c.output_n for c in cohorts], np.int64, ()),
        "cohort_output_mean": _stack([c.output_mean for c in cohorts], np.float64, ()),
        "cohort_output_m2": _stack([c.output_m2 for c in cohorts], np.float64, ()),
        "cohort_n_prediction_kind": _stack([c.n_prediction_kind for c in cohorts], np.int64, ()),
        "cohort_n_class": _stack([c.n_class for c in cohorts], np.int64, ()),
    }


def _stack(arrays: Sequence[NDArray[Any]], dtype: type[Any], tail: tuple[int, ...]) -> NDArray[Any]:
    return np.concatenate([np.zeros((0, *tail), dtype), *arrays])


def _document(monitor: Monitor, signals: list[list[int]]) -> dict[str, Any]:
    return {
        "model_id": monitor.key.model_id,
        "model_version": monitor.key.model_version,
        "shard": monitor.key.shard,
        "features": monitor.features,
        "kinds": monitor.kinds,
        "categories": [each.model_dump() for each in documents_of(monitor.categories)],
        "classes": monitor.classes,
        "prediction_role": monitor.prediction_role,
        "full": [monitor.features_full, monitor.classes_full, monitor.lanes_full],
        "awaits": [monitor.awaits_score, monitor.awaits_prediction],
        "admitted": monitor.admitted,
        "first_event": monitor.first_event,
        "events_per_week": monitor.events_per_week,
        "reference": monitor.reference,
        "joint": monitor.joint is not None,
        "slices": monitor.slices,
        "sampled": monitor.sampled,
        "n_outcomes": monitor.n_outcomes,
        "n_limits": 0 if monitor.limits is None else len(monitor.limits.features),
        "n_typical": 0 if monitor.typical is None else len(monitor.typical.features),
        "output": None if monitor.output is None else monitor.output.model_dump(),
        "signals": signals,
        "cohorts": [
            {
                "start": cohort.start,
                "end": cohort.end,
                "score": cohort.score,
                "prediction": cohort.prediction,
                "features": cohort.features,
                "names": [list(tally.number) for tally in cohort.tallies],
                "n_rows": -1 if cohort.rows is None else cohort.rows.n,
                "n_classes": len(cohort.n_class),
                "n_other_class": cohort.n_other_class,
            }
            for cohort in monitor.cohorts
        ],
    }


MAX_OUTCOMES = 1_024
"""More signals of labels than any model version has."""
_OF_LIMITS = (SOURCE_RANGE, SOURCE_STUCK)
_UNIT = Scale(0, 0.0, 0.0, 1.0)


class MonitorReader:
    """Cuts the arrays of a snapshot into those of each monitor, in order.

    Raises `StateError` where they contradict themselves, or each other.
    """

    def __init__(self, state: BankState) -> None:
        self.scale = require_array(state, "scale", np.float64, (None, 3))
        self.arrays = {
            "n_kind": require_array(state, "cohort_n_kind", np.int64, (None, N_VALUE_KINDS)),
            "mean": require_array(state, "cohort_mean", np.float64, (None,)),
            "m2": require_array(state, "cohort_m2", np.float64, (None,)),
            "n_category": require_array(state, "cohort_n_category", np.int64, (None,)),
            "others": require_array(state, "cohort_others", np.int64, (None, 2)),
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
        self.joints = JointReader(state)
        self.limits = LimitsReader(state)
        self.typical = TypicalReader(state)

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
        self.joints.finish()
        self.limits.finish()
        self.typical.finish()
        for name, array in self.arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise StateError(f"array {name!r} has a value that is not finite")
            if array.dtype.kind == "i" and (array < 0).any():
                raise StateError(f"array {name!r} has a negative count")
        for name, at in self.at.items():
            if at != len(self.scale if name == "scale" else self.arrays[name]):
                raise StateError(f"array {name!r} is too long")

    def monitor(self, document: MonitorDocument) -> Monitor:
        """One monitor."""
        n_features = len(document.features)
        n_classes = len(document.classes)
        kinds_known = all(0 <= k <= 4 or k in (KIND_ANY, KIND_LEARNING) for k in document.kinds)
        if len(document.kinds) != n_features or not kinds_known:
            raise StateError("a monitor's features and kinds do not agree")
        if not 0.0 <= document.events_per_week < math.inf:
            raise StateError("a monitor's rate is out of range")
        if not 0 <= document.first_event < NEVER:
            raise StateError("a monitor begins before its first event")
        if document.reference and not DIGEST.fullmatch(document.reference):
            raise StateError("a monitor's reference has no digest")
        if len(document.full) != 3 or len(document.awaits) != 2:
            raise StateError("a monitor's switches are not as many as there are")
        if len(set(document.features)) < n_features or len(set(document.classes)) < n_classes:
            raise StateError("a monitor names a feature or a class twice")
        if not 0 <= document.prediction_role <= PREDICTION_CLASS:
            raise StateError("a monitor's prediction is of no known role")
        categories = read_categories(document.categories, document.kinds)
        monitor = Monitor(
            key=ModelKey(document.model_id, document.model_version, document.shard),
            features=document.features,
            kinds=document.kinds,
            categories=categories,
            classes=document.classes,
            prediction_role=document.prediction_role,
            signals=[self.signal(row, categories, n_classes) for row in document.signals],
            slices=document.slices,
            sampled=document.sampled,
            n_outcomes=document.n_outcomes,
            cohorts=[self.cohort(each, n_features, n_classes) for each in document.cohorts],
            features_full=document.full[0],
            classes_full=document.full[1],
            lanes_full=document.full[2],
            awaits_score=document.awaits[0],
            awaits_prediction=document.awaits[1],
            admitted=document.admitted,
            first_event=document.first_event,
            events_per_week=document.events_per_week,
            reference=document.reference,
            feature_number={name: i for i, name in enumerate(document.features)},
            class_number={name: i for i, name in enumerate(document.classes)},
        )
        monitor.output = _read_output(document)
        _check_slices(monitor)
        _check_sampled(monitor)
        if document.joint:
            monitor.joint, monitor.partial = self.joints.read(n_features)
        _check_joint(monitor)
        monitor.limits = self.limits.read(document.n_limits, document.kinds)
        if monitor.limits is None and any(s.source in _OF_LIMITS for s in monitor.signals):
            raise StateError("a signal is of limits that do not exist")
        monitor.typical = self.typical.read(document.n_typical, document.kinds, categories)
        if monitor.typical is None and any(s.source == SOURCE_TYPICAL for s in monitor.signals):
            raise StateError("a signal is of scores that do not exist")
        return monitor

    def signal(self, row: list[int], categories: list[Categories], n_classes: int) -> Signal:
        """One signal and its scale; `categories` are those of each feature."""
        if len(row) != 7:
            raise StateError("a signal is not seven numbers")
        source, index, expected, rule, lane, ranks, category = row
        n_index, n_categories = 1, 1
        if Signal(source, index, expected, _UNIT).is_input or source in OF_FEATURE:
            n_index = len(categories)
        elif source in (SOURCE_CLASS, SOURCE_LABEL):
            n_index = n_classes
        is_of_category = source == SOURCE_CATEGORY or source in OF_GROUP
        if is_of_category and 0 <= index < n_index:
            n_categories = len(categories[index].names)
        elif source == SOURCE_CELL:
            n_categories = max(CELL_OTHER, CELL_NEW) + 1
        constant, mean, sd = self.cut("scale", 1)[0].tolist()
        fits = (
            (
                0 <= source <= SOURCE_CELL
                or FIRST_DERIVED <= source <= SOURCE_TYPICAL
                or source in OUTCOME_SOURCES
            )
            and 0 <= index < n_index
            and 0 <= expected <= KIND_LEARNING
            and 0 <= category < n_categories
        )
        if not (fits and rule in (0, 1) and lane >= -1 and 0 < sd < np.inf and np.isfinite(mean)):
            raise StateError("a signal is out of range")
        scale = Scale(rule, constant, mean, sd)
        signal = Signal(source, index, expected, scale, lane, category, self.ranks.get(ranks))
        n_own = n_cells(categories[index].cells) if signal.is_cells else 0
        if signal.is_cells and n_own == 0:
            raise StateError("a feature has too few categories to compare all of them")
        if isinstance(signal.ranks, Frequencies):
            if len(signal.ranks.counts) != n_own:
                raise StateError("a reference has other cells than its categories")
        elif signal.is_cells and signal.ranks is not None:
            raise StateError("a category has a reference of numbers")
        return signal

    def cohort(self, document: _CohortDocument, n_features: int, n_classes: int) -> Cohort:
        """One reference that is still learning."""
        if not all(0 <= feature < n_features for feature in document.features):
            raise StateError("a cohort learns a feature that does not exist")
        n = len(document.features)
        if document.n_classes > n_classes or document.n_other_class < 0:
            raise StateError("a cohort has seen classes that do not exist")
        if len(document.names) != n:
            raise StateError("a cohort's categories are not as many as its features")
        n_kind = self.cut("n_kind", n)
        counts = [self.cut("n_category", len(names)) for names in document.names]
        return Cohort(
            start=document.start,
            end=document.end,
            score=document.score,
            prediction=document.prediction,
            features=document.features,
            n_kind=n_kind,
            mean=self.cut("mean", n),
            m2=self.cut("m2", n),
            tallies=read_tallies(document.names, counts, self.cut("others", n), n_kind),
            output_n=self.cut("output_n", 2),
            output_mean=self.cut("output_mean", 2),
            output_m2=self.cut("output_m2", 2),
            n_prediction_kind=self.cut("n_prediction_kind", N_PREDICTION_KINDS),
            n_class=self.cut("n_class", document.n_classes),
            n_other_class=document.n_other_class,
            rows=self.rows.read(document.n_rows, n),
        )


def _read_output(document: MonitorDocument) -> ModelOutput | None:
    """What is predicted. Raises where it is not what the monitor's predictions are."""
    own = document.output
    if own is None:
        return None
    role = PREDICTION_CLASS if own.classes else PREDICTION_NUMBER
    if document.prediction_role != role:
        raise StateError("a monitor's output is not what it predicts")
    n_bins = {len(own.cuts) + 1} if own.cuts else {SHAPE.n_bins}
    if own.counts is not None:
        n_bins.add(len(own.counts[0]))
    if n_bins != {SHAPE.n_bins}:
        raise StateError(f"a monitor's score has other bins than {SHAPE.n_bins}")
    return own


def _check_sampled(monitor: Monitor) -> None:
    """Raise where a feature that is kept until labels come is none, or is no number."""
    sampled = monitor.sampled
    if sampled != sorted(set(sampled)) or len(sampled) > MAX_SAMPLED:
        raise StateError("the features that wait for labels are not in order, or too many")
    numbers = {f for f, kind in enumerate(monitor.kinds) if kind == ValueKind.NUMBER}
    if not numbers.issuperset(sampled):
        raise StateError("a feature that waits for labels is no number")
    if not sampled and any(signal.is_leakage for signal in monitor.signals):
        raise StateError("a signal is of features that wait for labels, and there are none")


def _check_slices(monitor: Monitor) -> None:
    """Raise where a slice, or a signal of its groups, is of no categories."""
    slices = monitor.slices
    if len(set(slices)) < len(slices) or len(slices) > MAX_SLICES:
        raise StateError("a monitor has a slice twice, or too many of them")
    if not all(0 <= feature < len(monitor.features) for feature in slices):
        raise StateError("a slice is of a feature that does not exist")
    groups = {feature: groups_of(monitor.categories[feature]) for feature in slices}
    own = [signal for signal in monitor.signals if signal.is_outcome]
    if not 0 <= monitor.n_outcomes < MAX_OUTCOMES or len(own) > monitor.n_outcomes:
        raise StateError("a monitor has more signals of labels than have a share of its budget")
    for signal in own:
        if signal.source in OF_FEATURE and signal.index not in groups:
            raise StateError("a signal is of groups, and their feature is no slice")
        if signal.source in OF_GROUP and signal.category not in groups[signal.index]:
            raise StateError("a signal is of a group that the slice has not")
        if signal.ranks is None and signal.lane >= 0:
            raise StateError("a signal of labels has a lane before its reference")
    if own and monitor.output is None:
        raise StateError("a monitor has signals of labels, and no output")
    if monitor.output is not None:
        of_numbers = not monitor.output.classes
        of_groups = [signal.source for signal in own if signal.source in OF_GROUP]
        if any((source == SOURCE_SLICE_RESIDUE) is not of_numbers for source in of_groups):
            raise StateError("the errors of a group are not of what is predicted")


def _check_joint(monitor: Monitor) -> None:
    """Raise where a signal of all features together is of a reference that is not there."""
    own = monitor.joint
    there = {
        SOURCE_RESIDUAL: own is not None and len(own.components) > 0,
        SOURCE_MMD: own is not None and own.block_events > 0,
        SOURCE_PATTERN: own is not None and len(own.missing) > 0,
    }
    if not all(there.get(signal.source, True) for signal in monitor.signals):
        raise StateError("a signal is of a joint reference that does not exist")
    used = [] if own is None else [*own.features.tolist(), *own.missing.tolist()]
    if any(monitor.kinds[feature] == KIND_LEARNING for feature in used):
        raise StateError("a feature has no kind, and a joint reference is of it")
