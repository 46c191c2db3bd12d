"""A signal: one monitored column of one model version, and how its values become z."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite, sqrt

from detectors.drift.ranks import Frequencies, Indicator, Ranks
from detectors.drift.rhythm import Rhythm
from detectors.kernels.observe import (
    MAX_RAW,
    RULE_DEPARTURE,
    RULE_Z,
    SOURCE_CATEGORY,
    SOURCE_CELL,
    SOURCE_CLASS,
    SOURCE_DUPLICATE,
    SOURCE_FUTURE,
    SOURCE_LATE,
    SOURCE_LATENCY,
    SOURCE_MISSING,
    SOURCE_MMD,
    SOURCE_NEW,
    SOURCE_OTHER,
    SOURCE_PATTERN,
    SOURCE_PREDICTION,
    SOURCE_RANGE,
    SOURCE_RESIDUAL,
    SOURCE_SCORE,
    SOURCE_STUCK,
    SOURCE_TYPE,
    SOURCE_TYPICAL,
    SOURCE_VALUE,
)
from detectors.outcome_sources import (
    BLOCKS,
    FIRST_OUTCOME,
    OF_GROUP,
    OUTCOME_SHARES,
    SOURCE_CALIBRATION,
    SOURCE_COVERAGE,
    SOURCE_DELAY,
    SOURCE_EXPECTED,
    SOURCE_FALSE_POSITIVE,
    SOURCE_GAP,
    SOURCE_LABEL,
    SOURCE_LEAKAGE,
    SOURCE_RECALL,
    SOURCE_RESIDUE,
    SOURCE_SELECTION,
    SOURCE_SLICE,
    SOURCE_SLICE_RESIDUE,
    SOURCE_WRONG,
)
from schemas.findings import Aspect
from schemas.signal_names import (
    CALIBRATION,
    ERROR,
    ERROR_GAP,
    EXPECTED_ERROR,
    FALSE_POSITIVE,
    JOINT_MISSING,
    JOINT_MMD,
    JOINT_RESIDUAL,
    LABEL_COVERAGE,
    LABEL_DELAY,
    LATENCY,
    LEAKAGE,
    QUALITY_DUPLICATE,
    QUALITY_FUTURE,
    QUALITY_LATE,
    QUALITY_RANGE,
    QUALITY_STUCK,
    QUALITY_TYPE,
    RECALL,
    REPRESENTATIVENESS,
    SELECTION,
    category_signal,
    class_signal,
    disparity_signal,
    feature_signal,
    label_signal,
    new_signal,
    other_signal,
    slice_signal,
)

JOINT_NAMES = {
    SOURCE_RESIDUAL: JOINT_RESIDUAL,
    SOURCE_MMD: JOINT_MMD,
    SOURCE_PATTERN: JOINT_MISSING,
}
"""The signals of all features together, by source."""
_OUTCOME_NAMES = {
    SOURCE_WRONG: ERROR,
    SOURCE_RESIDUE: ERROR,
    SOURCE_DELAY: LABEL_DELAY,
    SOURCE_COVERAGE: LABEL_COVERAGE,
    SOURCE_CALIBRATION: CALIBRATION,
    SOURCE_EXPECTED: EXPECTED_ERROR,
    SOURCE_GAP: ERROR_GAP,
    SOURCE_LEAKAGE: LEAKAGE,
}
_DISPARITY_NAMES = {
    SOURCE_SELECTION: SELECTION,
    SOURCE_RECALL: RECALL,
    SOURCE_FALSE_POSITIVE: FALSE_POSITIVE,
}
EVENT_NAMES = {
    SOURCE_LATENCY: LATENCY,
    SOURCE_LATE: QUALITY_LATE,
    SOURCE_FUTURE: QUALITY_FUTURE,
    SOURCE_DUPLICATE: QUALITY_DUPLICATE,
}
"""Those of the event as such, whatever its features are."""
QUALITY_NAMES = {
    SOURCE_RANGE: QUALITY_RANGE,
    SOURCE_STUCK: QUALITY_STUCK,
    SOURCE_TYPE: QUALITY_TYPE,
    SOURCE_TYPICAL: REPRESENTATIVENESS,
}
"""Those of what is wrong with any of its features."""
_NAMES = JOINT_NAMES | EVENT_NAMES | QUALITY_NAMES
RESOLUTION = 1e-9
"""Of a mean, in standard deviations: no mean over fewer than 1e18 rows is known so well."""
ROUNDING = 1e-12
"""Of a mean that comes of z, next to that of the reference, from which it is taken."""
_INPUTS = frozenset({SOURCE_VALUE, SOURCE_MISSING, SOURCE_CATEGORY, SOURCE_NEW, SOURCE_CELL})
_INDICATORS = frozenset(
    {SOURCE_MISSING, SOURCE_CLASS, SOURCE_OTHER, SOURCE_CATEGORY, SOURCE_NEW, SOURCE_PATTERN}
    | OUTCOME_SHARES
    | {SOURCE_LATE, SOURCE_FUTURE, SOURCE_DUPLICATE, SOURCE_RANGE, SOURCE_STUCK, SOURCE_TYPE}
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How raw values of a signal become z: its frozen reference.

    `rule` RULE_Z: z = (x - mean) / sd. RULE_DEPARTURE: the reference was constant; the lane
    observes the indicator "x departs from `constant`", whose mean and sd these are.
    """

    rule: int
    constant: float
    mean: float
    sd: float

    def raw(self, z: float) -> float:
        """The value, in the signal's units, that z stands for (a share, for RULE_DEPARTURE)."""
        return self.mean + z * self.sd


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal of a model version. `lane` is -1 where the config says not to monitor it."""

    source: int
    """SOURCE_* of `detectors.kernels.observe`."""
    index: int
    """Feature or class number; 0 for the others."""
    expected: int
    """The `ValueKind` the feature has in the reference (or KIND_ANY); 0 for other sources."""
    scale: Scale
    lane: int = -1
    category: int = 0
    """Of SOURCE_CATEGORY: its number among those of the feature. Of SOURCE_CELL: the cell of what
    the reference did not have."""
    ranks: Ranks | Indicator | Frequencies | None = field(default=None, compare=False, repr=False)
    """What its reference held, for detectors that ask more than its moments."""

    def raw(self, z: float, aspect: int) -> float:
        """What z stands for, in the signal's units: a mean, or a mean distance from one."""
        if aspect == Aspect.SPREAD:
            return z * self.scale.sd
        value = self.scale.raw(z)
        # Sums of rounded values miss what they come to: a share is no less than none.
        value = min(max(value, 0.0), 1.0) if self.is_share else value
        noise = max(RESOLUTION * self.scale.sd, ROUNDING * abs(self.scale.mean))
        return 0.0 if abs(value) < noise else value

    def reference_z(self, aspect: int) -> float:
        """Where the reference lies: 0 for means, for distances the mean one where it is known."""
        if aspect != Aspect.SPREAD or not isinstance(self.ranks, Ranks):
            return 0.0
        return self.ranks.raw[1] / self.ranks.n

    @property
    def rhythm(self) -> Rhythm | None:
        """What of it comes again by the hour, and is taken out of what its lane observes."""
        return self.ranks.rhythm if isinstance(self.ranks, Ranks) else None

    @property
    def is_share(self) -> bool:
        """Whether it is the share of events for which something holds."""
        return self.source in _INDICATORS or self.is_departure

    @property
    def is_output(self) -> bool:
        """Whether it is of what a model said, not of what it was given."""
        other = self.is_joint or self.is_of_event or self.is_quality or self.is_outcome
        return not (self.is_input or other)

    @property
    def is_outcome(self) -> bool:
        """Whether it is of what labels, or the lack of them, tell: then no event observes it."""
        return self.source >= FIRST_OUTCOME

    @property
    def is_error(self) -> bool:
        """Whether its ones are errors, whoever says so."""
        return self.source in (SOURCE_WRONG, SOURCE_SLICE)

    @property
    def is_error_of_number(self) -> bool:
        """Whether it is predicted less true, of all rows or of a group."""
        return self.source in (SOURCE_RESIDUE, SOURCE_SLICE_RESIDUE)

    @property
    def has_groups(self) -> bool:
        """Whether it is of all errors, of which groups may have more than their share."""
        return self.source in (SOURCE_WRONG, SOURCE_GAP, SOURCE_RESIDUE)

    @property
    def is_estimate(self) -> bool:
        """Whether it is the error that scores make one expect."""
        return self.source == SOURCE_EXPECTED

    @property
    def is_leakage(self) -> bool:
        """Whether it is of one feature, another one each time."""
        return self.source == SOURCE_LEAKAGE

    @property
    def block(self) -> int:
        """So many rows are one observation of it, where that does not depend on the model."""
        return BLOCKS.get(self.source, 1)

    @property
    def is_input(self) -> bool:
        """Whether it is of one feature, that of its `index`."""
        return self.source in _INPUTS

    @property
    def is_category(self) -> bool:
        """Whether it is the share of a category of a feature, or of new ones."""
        return self.source in (SOURCE_CATEGORY, SOURCE_NEW)

    @property
    def is_cells(self) -> bool:
        """Whether it is a category as a whole: its lane observes numbers of cells."""
        return self.source == SOURCE_CELL

    @property
    def is_joint(self) -> bool:
        """Whether it is derived of all features of a row together."""
        return self.source in JOINT_NAMES

    @property
    def is_of_event(self) -> bool:
        """Whether it is of the event as such: each version learns its own."""
        return self.source in EVENT_NAMES

    @property
    def is_quality(self) -> bool:
        """Whether it is of single events with something wrong among their features."""
        return self.source in QUALITY_NAMES

    @property
    def is_departure(self) -> bool:
        """Whether it is the share of events that depart from a constant reference."""
        return self.scale.rule == RULE_DEPARTURE


def signal_name(
    source: int, index: int, features: list[str], classes: list[str], category: str = ""
) -> str:
    """The signal's name, such as `feature:X`, `feature:X=V`, `score` or `joint:residual`."""
    if source in _OUTCOME_NAMES:
        return _OUTCOME_NAMES[source]
    if source in _DISPARITY_NAMES:
        return disparity_signal(_DISPARITY_NAMES[source], features[index])
    if source == SOURCE_LABEL:
        return label_signal(classes[index])
    if source in OF_GROUP:
        return slice_signal(features[index], category)
    if source in _NAMES:
        return _NAMES[source]
    if source == SOURCE_CATEGORY:
        return category_signal(features[index], category)
    if source == SOURCE_NEW:
        return new_signal(features[index])
    if source in (SOURCE_VALUE, SOURCE_CELL):
        return feature_signal(features[index])
    if source == SOURCE_MISSING:
        return f"missing:{features[index]}"
    if source == SOURCE_SCORE:
        return "score"
    if source == SOURCE_PREDICTION:
        return "prediction"
    if source == SOURCE_CLASS:
        return class_signal(classes[index])
    assert source == SOURCE_OTHER
    return other_signal()


CELL_SCALE = Scale(RULE_Z, 0.0, 0.0, 1.0)
"""Of cells, which are numbers of what is none."""


def share_scale(n_true: int, n: int) -> Scale:
    """The scale of an indicator that was true `n_true` times of `n` in the reference.

    An indicator that was never or always true has no spread; it gets that of half an occurrence
    in n + 1, so that one departure is large (some 60 sd at n = 2,000) and still finite.
    """
    p = n_true / n if 0 < n_true < n else abs(float(n_true > 0) - 0.5 / (n + 1))
    return Scale(RULE_Z, 0.0, p, sqrt(p * (1 - p)))


def number_scale(n: int, mean: float, m2: float) -> Scale | None:
    """The scale of a number from its reference moments; None where there were no numbers.

    `m2` is the sum of squared deviations; the standard deviation is the population's. A reference
    without any spread is constant: RULE_DEPARTURE. One whose spread is within rounding of its size
    has the sd of that rounding, so that what leaves it is seen and rounding alone is not.
    """
    if n == 0:
        return None
    if m2 > 0.0:
        sd = max(sqrt(m2 / n), 1e-12 * abs(mean), 1e-150)
        return Scale(RULE_Z, 0.0, mean, sd if isfinite(sd) else MAX_RAW)
    departure = share_scale(0, n)
    return Scale(RULE_DEPARTURE, mean, departure.mean, departure.sd)
