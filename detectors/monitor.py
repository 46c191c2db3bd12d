"""One monitor: what is known of one model version, from its first event on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from detectors.categories import NO_CATEGORIES, Categories, NameNumbers
from detectors.drift.joint import Joint, Partial, empty_partial
from detectors.drift.rhythm import Rhythm
from detectors.joint_fit import fit_joint
from detectors.joint_table import Watched
from detectors.kernels.observe import (
    KIND_LEARNING,
    SOURCE_CATEGORY,
    SOURCE_CELL,
    SOURCE_DUPLICATE,
    SOURCE_FUTURE,
    SOURCE_LATE,
    SOURCE_LATENCY,
    SOURCE_MMD,
    SOURCE_PATTERN,
    SOURCE_RANGE,
    SOURCE_RESIDUAL,
    SOURCE_STUCK,
    SOURCE_TYPE,
    SOURCE_TYPICAL,
)
from detectors.limits import Limits, freeze_limits
from detectors.outcome_sources import OF_GROUP
from detectors.performance.declare import NUMBERS, declared
from detectors.performance.outputs import SHAPE
from detectors.quality import derived_of, freeze_events
from detectors.reference import (
    Cohort,
    freeze_classes,
    freeze_features,
    freeze_number,
    freeze_score,
    is_class,
)
from detectors.signals import Signal, signal_name
from detectors.typicality import Scored, Typical, freeze_typical, scored
from schemas.batch import F64, I32, U8, ModelKey
from schemas.config import (
    BoundsConfig,
    DetectionConfig,
    JointConfig,
    ModelConfig,
    OutputConfig,
    SignalConfig,
)
from schemas.reference import ModelOutput
from schemas.signal_names import feature_signal

# What a model's prediction is, once its reference is complete.
PREDICTION_LEARNING, PREDICTION_NUMBER, PREDICTION_CLASS = range(3)

# Outputs that no event has had yet; their reference begins with the first that has.
AWAITS_SCORE, AWAITS_PREDICTION = 1, 2

NEVER = 2**62


@dataclass(slots=True)
class Monitor:
    """A model version's features, classes, frozen signals, and the references still learning."""

    key: ModelKey
    features: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    """The expected `ValueKind` of each feature; KIND_LEARNING before its reference is complete."""
    categories: list[Categories] = field(default_factory=list)
    """Those of each feature in its reference."""
    classes: list[str] = field(default_factory=list)
    prediction_role: int = PREDICTION_LEARNING
    signals: list[Signal] = field(default_factory=list)
    cohorts: list[Cohort] = field(default_factory=list)
    features_full: bool = False
    """Whether the bound on features was reached (said once)."""
    classes_full: bool = False
    lanes_full: bool = False
    feature_number: dict[str, int] = field(default_factory=dict)
    class_number: dict[str, int] = field(default_factory=dict)
    admitted: int = 0
    """Position in the partition at which it was admitted: tells it from one that gave way."""
    awaits_score: bool = False
    """Whether no event had a score while its reference was learned: it begins with the first."""
    awaits_prediction: bool = False
    first_event: int = 0
    """The event of its model version before which it began: 0, or where its reference was set."""
    events_per_week: float = 0.0
    """By the event times of its reference, frozen with it; 0: unknown."""
    reference: str = ""
    """The digest of the reference that a person has set; empty: it learns its own."""
    output: ModelOutput | None = None
    """What it predicts and what its score is; None before its reference, or without predictions."""
    slices: list[int] = field(default_factory=list)
    """The features whose categories are groups of its labels: see `detectors.slices`."""
    slice_tag: int = 0
    """Derived: what `detectors.slices` tells these slices and groups by; 0: not known yet."""
    sampled: list[int] = field(default_factory=list)
    """The features that a sample of its predictions keeps: see `detectors.feature_sample`."""
    sample_tag: int = 0
    """Derived: what tells these features from others; 0: not known yet."""
    n_outcomes: int = 0
    """How many signals of labels share its budget, whether or not labels have come for them."""
    joint: Joint | None = None
    """What is frozen of its features together, by the first reference that has two of them."""
    partial: Partial | None = None
    """The current block of `joint:mmd`; there is one where there is `joint`."""
    limits: Limits | None = None
    """What the numbers of its first reference that has some keep to."""
    typical: Typical | None = None
    """How unusual which values of its features are; frozen with `limits`."""
    scoring: Scored | None = None
    """Derived: what `scored` says."""
    watching: Watched | None = None
    """Derived: what `watched` says."""
    columns: tuple[F64, U8, list[Rhythm | None], list[I32]] | None = None
    """Derived: the signals that have lanes, the features, the signals' rhythms and what is known of
    their categories, as `detectors.layout` wants them."""

    @property
    def next_freeze(self) -> int:
        """The model event before which the next reference is complete."""
        return min((cohort.end for cohort in self.cohorts), default=NEVER)

    @property
    def n_reserved(self) -> int:
        """How many values the rows of its references may come to."""
        return sum(cohort.n_reserved for cohort in self.cohorts)

    @property
    def n_lanes(self) -> int:
        """How many of its signals are watched."""
        return sum(signal.lane >= 0 for signal in self.signals)

    @property
    def n_sharing(self) -> int:
        """How many signals share its budget: those of labels from when it is known which."""
        of_events = sum(signal.lane >= 0 for signal in self.signals if not signal.is_outcome)
        return of_events + self.n_outcomes

    @property
    def inputs_frozen(self) -> bool:
        """Whether any input reference is complete, so that a new version can inherit it."""
        return any(kind != KIND_LEARNING for kind in self.kinds)

    def name(self, signal: Signal) -> str:
        """The signal's name."""
        category = ""
        if signal.source == SOURCE_CATEGORY or signal.source in OF_GROUP:
            category = self.categories[signal.index].names[signal.category]
        return signal_name(signal.source, signal.index, self.features, self.classes, category)

    def config_of(self, signal: Signal, config: Mapping[str, SignalConfig]) -> SignalConfig:
        """What the config says of the signal; of a category's share else what of its feature."""
        own = config.get(self.name(signal)) if config else None
        if own is None and config and signal.is_category:
            own = config.get(feature_signal(self.features[signal.index]))
        return own or _DEFAULT

    def block_of(self, signal: Signal) -> int:
        """So many of the model's events are one observation of the signal."""
        if signal.source != SOURCE_MMD or self.joint is None:
            return signal.block
        return max(self.joint.block_events, 1)

    @property
    def n_learned(self) -> int:
        """How many features it has that it does not learn any more: what others can take over."""
        return sum(kind != KIND_LEARNING for kind in self.kinds)

    def add_features(self, names: Sequence[str], cohort: Cohort) -> None:
        """Learn features that the first event of the cohort is the first to carry."""
        for name in names:
            number = len(self.features)
            self.features.append(name)
            self.kinds.append(KIND_LEARNING)
            self.categories.append(NO_CATEGORIES)
            self.feature_number[name] = number
            cohort.add_feature(number)

    def begin_outputs(self, cohort: Cohort, *, score: bool, prediction: bool) -> None:
        """Learn outputs that were awaited and that the cohort's first event is first to carry."""
        cohort.score |= score
        cohort.prediction |= prediction
        self.awaits_score &= not score
        self.awaits_prediction &= not prediction

    def cohort_of(self, event: int) -> Cohort | None:
        """The cohort that begins with this event, if one does."""
        return next((c for c in self.cohorts if c.start == event), None)

    def add_cohort(self, cohort: Cohort) -> None:
        """Learn one more reference; they stand in the order of their beginnings."""
        self.cohorts.append(cohort)
        self.cohorts.sort(key=lambda each: each.start)

    def add_class(self, name: str) -> None:
        """Learn a predicted class."""
        self.class_number[name] = len(self.classes)
        self.classes.append(name)

    def take_features(self, other: Monitor) -> None:
        """Take over those features of another monitor that it does not learn any more."""
        for name, kind, categories in zip(
            other.features, other.kinds, other.categories, strict=True
        ):
            if kind != KIND_LEARNING:
                self.feature_number[name] = len(self.features)
                self.features.append(name)
                self.kinds.append(kind)
                self.categories.append(categories)

    def inherit(self, parent: Monitor) -> None:
        """Take over the input reference of an earlier version of the model (lanes begin anew)."""
        self.events_per_week = parent.events_per_week
        self.take_features(parent)
        for signal in parent.signals:
            if signal.is_input:
                number = self.feature_number[parent.features[signal.index]]
                self.signals.append(replace(signal, index=number, lane=-1))
            elif signal.is_joint or signal.is_quality:
                self.signals.append(replace(signal, lane=-1))
        self.take_joint(parent)

    def take_joint(self, other: Monitor) -> None:
        """Take over what is frozen of another monitor's features together; a block begins anew."""
        at = {
            number: self.feature_number[name]
            for number, name in enumerate(other.features)
            if name in self.feature_number
        }
        if other.joint is not None:
            self.joint = other.joint.renumbered(at)
            self.partial = empty_partial(self.joint)
        if other.limits is not None:
            self.limits = other.limits.renumbered(at)
        if other.typical is not None:
            self.typical = other.typical.renumbered(at)

    @property
    def watched(self) -> Watched | None:
        """What is frozen of its features together, and which of it has lanes; None: nothing has."""
        if self.joint is None or self.partial is None:
            return None
        if self.watching is None:
            sources = {signal.source for signal in self.signals if signal.lane >= 0}
            self.watching = Watched(
                self.joint,
                self.partial,
                self.kinds,
                residual=SOURCE_RESIDUAL in sources,
                mmd=SOURCE_MMD in sources,
                missing=SOURCE_PATTERN in sources,
            )
        return self.watching

    def scored(self, names: NameNumbers) -> Scored | None:
        """How unusual its rows are is told by this; None where nobody watches it."""
        if self.typical is None:
            return None
        if self.scoring is None:
            if not any(s.source == SOURCE_TYPICAL and s.lane >= 0 for s in self.signals):
                return None
            self.scoring = scored(self.typical, self.kinds, self.categories, names)
        return self.scoring

    def freeze(
        self,
        event: int,
        config: Mapping[str, SignalConfig],
        bounds: BoundsConfig,
        joint: JointConfig,
        wish: OutputConfig,
    ) -> tuple[list[Signal], int]:
        """Complete the references that end before model event `event`.

        Returns their signals, without lanes, and how many of their predictions were of a class
        beyond the bound.
        """
        complete: list[Signal] = []
        n_beyond = 0
        for cohort in [c for c in self.cohorts if c.end == event]:
            new: list[Signal] = []
            frozen = freeze_features(cohort, self.features, config, bounds)
            for feature, kind in frozen.kinds.items():
                self.kinds[feature] = kind
                self.categories[feature] = frozen.categories[feature]
            new += frozen.signals
            if cohort.score:
                score = freeze_score(cohort)
                new += score
                self.awaits_score = not score
            if cohort.prediction:
                new += self._freeze_prediction(cohort, config, bounds.max_classes)
                n_beyond += cohort.n_other_class * self.classes_full
            if cohort.score or cohort.prediction:
                self._freeze_output(cohort, wish)
            if cohort.rows is not None:
                self.events_per_week = self.events_per_week or cohort.rows.events_per_week()
                derived = derived_of(cohort.rows)
                known = (*self.signals, *complete)
                if (cohort.score or cohort.prediction) and not any(
                    signal.is_of_event for signal in known
                ):
                    new += freeze_events(derived)
                if not any(signal.is_quality for signal in known):
                    self.limits, own = freeze_limits(
                        cohort.rows, cohort.features, self.kinds, new, derived
                    )
                    new += own
                    self.typical, own = freeze_typical(
                        cohort.rows, cohort.features, self.kinds, self.categories, derived
                    )
                    new += own
                stated = [self.config_of(s, config).rhythm for s in new]
                ranks = cohort.rows.ranks(new, cohort.features, cohort.tallies, stated, derived)
                new = [replace(s, ranks=of) for s, of in zip(new, ranks, strict=True)]
                new += self._freeze_joint(cohort, new, config, joint)
            self.cohorts.remove(cohort)
            complete += new
        return complete, n_beyond

    def _freeze_joint(
        self,
        cohort: Cohort,
        signals: Sequence[Signal],
        config: Mapping[str, SignalConfig],
        joint: JointConfig,
    ) -> list[Signal]:
        """The signals of the cohort's features together, where there are none of others yet."""
        if self.joint is not None:
            return []
        found = fit_joint(cohort, signals, self.features, self.kinds, config, joint)
        if found is None:
            return []
        self.joint, new = found
        self.partial = empty_partial(self.joint)
        return new

    def _freeze_output(self, cohort: Cohort, wish: OutputConfig) -> None:
        """Say what is predicted and what the score is, as the cohort's rows show it."""
        if self.prediction_role == PREDICTION_NUMBER:
            self.output = NUMBERS
        elif self.prediction_role == PREDICTION_CLASS:
            predicted, score = np.zeros(0, np.int32), np.zeros(0)
            if cohort.rows is not None:
                predicted = cohort.rows.column("predicted_class").astype(np.int32)
                score = cohort.rows.column("score")
            self.output = declared(self.classes, predicted, score, SHAPE, wish)

    def _freeze_prediction(
        self, cohort: Cohort, config: Mapping[str, SignalConfig], max_classes: int
    ) -> list[Signal]:
        self.awaits_prediction = cohort.has_no_prediction
        if self.awaits_prediction:
            return []
        if not is_class(cohort, config):
            self.prediction_role = PREDICTION_NUMBER
            self.classes.clear()
            self.class_number.clear()
            return freeze_number(cohort)
        self.prediction_role = PREDICTION_CLASS
        self.classes_full = cohort.limit_classes(max_classes)
        for name in self.classes[max_classes:]:
            del self.class_number[name]
        del self.classes[max_classes:]
        return freeze_classes(cohort, self.classes)


_DEFAULT = SignalConfig()


def model_config(config: DetectionConfig, model_id: str) -> ModelConfig:
    """What the config says of this model; the defaults where it says nothing."""
    return config.model.get(model_id, ModelConfig())


def signal_config(config: DetectionConfig, monitor: Monitor) -> Mapping[str, SignalConfig]:
    """What the config says of this model's signals, by signal name."""
    return model_config(config, monitor.key.model_id).signals


def is_monitored(config: DetectionConfig, monitor: Monitor, signal: Signal) -> bool:
    """Whether the config wants this signal to have a lane.

    A category as a whole has one where windows are compared, and nowhere else a part of the budget.
    A signal of labels has one from when its reference is complete.
    """
    if signal.is_outcome and signal.ranks is None:
        return False
    own = monitor.config_of(signal, signal_config(config, monitor))
    compares = config.detectors.windows.enabled
    switch = {
        SOURCE_CELL: compares and (own.detectors is None or "windows" in own.detectors),
        SOURCE_RESIDUAL: config.joint.residual,
        SOURCE_MMD: config.joint.mmd,
        SOURCE_PATTERN: config.joint.missing,
        SOURCE_LATENCY: config.quality.latency,
        SOURCE_LATE: config.quality.late,
        SOURCE_FUTURE: config.quality.future,
        SOURCE_DUPLICATE: config.quality.duplicate is not False and config.reads_event_ids,
        SOURCE_RANGE: config.quality.range,
        SOURCE_STUCK: config.quality.stuck,
        SOURCE_TYPE: config.quality.type,
        SOURCE_TYPICAL: config.quality.representativeness,
    }
    return own.monitor and switch.get(signal.source, True)


def reference_events(config: DetectionConfig, key: ModelKey) -> int:
    """How many events form the reference of this model."""
    own = model_config(config, key.model_id).reference_events
    return config.reference_events if own is None else own
