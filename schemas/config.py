"""Detection config: what changes the fold, and nothing else.

Brokers, paths and intervals are process settings (`streams/config.py`). A detection config has a
`generation`; its identity is the hash of its content, so that two workers cannot disagree unseen.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import comb
from typing import Annotated, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from schemas.error_config import DdmConfig, EddmConfig, FhddmConfig, HddmAConfig, HddmWConfig
from schemas.security_config import SecurityConfig
from schemas.strict import NonNegativeFloat, PositiveFloat, Strict

MAX_CATEGORIES: Final = 1_024
MAX_SKEW_MS: Final = 10 * 365 * 86_400_000
MAX_LABEL_WINDOWS: Final = 5


def _a_rate(given: object) -> object:
    if isinstance(given, str) and _is_rate(given):
        return given
    example = "1 per week and model"
    if isinstance(given, int | float) and _is_rate(f"{given} per week"):
        # A number alone: what is missing is the time.
        example = f"{given} per week"
    raise ValueError(
        f"should be like `{example}`: a number above 0, then per hour, day, week, month or year"
    )


def _is_rate(text: str) -> bool:
    found = _RATE.fullmatch(text)
    return found is not None and float(found["number"]) > 0.0


_RATE: Final = re.compile(
    r"(?P<number>[0-9]{1,6}(\.[0-9]{1,6})?) per (hour|day|week|month|year)( and model)?"
)
FalseAlerts = Annotated[
    str, BeforeValidator(_a_rate), Field(examples=["1 per week and model", "0.5 per day"])
]
"""How many false alerts of a model are accepted in a time."""
Arl0 = Annotated[float, Field(ge=100, le=1e15)]
"""Mean number of events of a model between two false alarms of one signal."""


class MomentsConfig(Strict):
    """Running mean and variance of every signal; never fires."""

    enabled: bool = True


class AdwinConfig(Strict):
    """ADWIN (Bifet and Gavalda 2007), parameters as in river."""

    enabled: bool = False
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.002
    clock: Annotated[int, Field(ge=1, le=65536)] = 32
    max_buckets: Annotated[int, Field(ge=2, le=64)] = 5
    min_window_length: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    grace_period: Annotated[int, Field(ge=0, le=1_000_000)] = 10


class PageHinkleyConfig(Strict):
    """Page-Hinkley (Page 1954), two-sided, parameters as in river, on standardised values."""

    enabled: bool = False
    min_instances: Annotated[int, Field(ge=1, le=1_000_000_000)] = 30
    delta: NonNegativeFloat = 0.05
    threshold: PositiveFloat = 131.0
    alpha: Annotated[float, Field(gt=0, le=1)] = 1.0


class KswinConfig(Strict):
    """KSWIN (Raab, Heusinger and Schleif 2020), parameters as in river. Needs a `seed`."""

    enabled: bool = False
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = Field(
        default=None, validate_default=True
    )
    """Of the draws from the window: any number, but the same on every worker. Needed where it is
    enabled."""
    window_size: Annotated[int, Field(ge=4, le=4_096)] = 100
    """Values of the window; each takes 8 bytes a signal."""
    stat_size: Annotated[int, Field(ge=2, le=2_048)] = Field(default=30, validate_default=True)
    """So many of the last values are compared with as many drawn from those before them."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.005, validate_default=True)
    """Fires where the p-value is not above it and the distance is above 0.1."""

    @field_validator("seed")
    @classmethod
    def _seeded(cls, seed: int | None, info: ValidationInfo) -> int | None:
        if seed is None and info.data.get("enabled"):
            raise ValueError("and KSWIN draws at random; write `seed: 1`, or any other number")
        return seed

    @field_validator("stat_size")
    @classmethod
    def _drawable(cls, stat_size: int, info: ValidationInfo) -> int:
        window_size: int | None = info.data.get("window_size")
        if window_size is not None and 2 * stat_size > window_size:
            raise ValueError(
                f"should be at most half of `window_size`, which is {window_size}: as many are "
                "drawn from the rest of the window; lower it or raise `window_size`"
            )
        return stat_size

    @field_validator("alpha")
    @classmethod
    def _reachable(cls, alpha: float, info: ValidationInfo) -> float:
        stat_size: int | None = info.data.get("stat_size")
        if stat_size is not None and Fraction(alpha) * comb(2 * stat_size, stat_size) < 2:
            least = 2 / comb(2 * stat_size, stat_size)
            raise ValueError(
                f"is below {least:.3g}, the least p-value of two samples of `stat_size` "
                f"{stat_size}, so that it would never fire; raise it or `stat_size`"
            )
        return alpha


class FocusConfig(Strict):
    """FOCuS (Romano, Eckley, Fearnhead and Rigaill 2023) within a false-alarm budget."""

    enabled: bool = True
    baseline_rows: Annotated[int, Field(ge=20, le=1_000_000)] = 2_000
    """After a change, so many rows of the signal become the baseline that it works against."""


class WindowsConfig(Strict):
    """Windows of events against the frozen reference, within a false-alarm budget."""

    enabled: bool = False
    window_events: Annotated[int, Field(ge=20, le=1_000_000)] = 2_000
    """So many events of a model, counted from its first one on, are compared at a time."""


class TrendConfig(Strict):
    """Mann-Kendall's test on means of blocks of rows, within a false-alarm budget."""

    enabled: bool = False
    block_rows: Annotated[int, Field(ge=5, le=1_000_000)] = 2_000
    """So many rows of the signal are one block of the finest scale."""
    n_blocks: Annotated[int, Field(ge=24, le=256)] = 64
    """So many of the latest blocks are looked at together; each takes 16 bytes a signal."""
    n_scales: Annotated[int, Field(ge=1, le=6)] = 3
    """Each scale has blocks of four of the one before it, and looks four times as far back."""


class JointConfig(Strict):
    """Signals of all features of a model together. Each counts when a reference is complete."""

    residual: bool = True
    """`joint:residual`: how far an event lies from the correlation of the numeric features."""
    mmd: bool = True
    """`joint:mmd`: how far a block of events lies from that correlation, whatever changed in it."""
    missing: bool = True
    """`joint:missing`: whether an event lacks an unusual combination of features."""
    block_events: Annotated[int, Field(ge=20, le=50_000)] = 100
    """So many events of a model are a block of `joint:mmd`; a reference needs 20 of them."""
    max_features: Annotated[int, Field(ge=2, le=64)] = 64
    """The first so many numeric features of a model, in the order in which they came and by name,
    are looked at together."""


class QualityConfig(Strict):
    """Signals of what is wrong with single events. Each counts when a reference is complete."""

    latency: bool = True
    """`latency`: how long the model took, where events say it (`latency_ms`)."""
    late: bool = True
    """`quality:late`: whether an event is late by more than `max_late_ms`."""
    future: bool = True
    """`quality:future`: whether its `ts` lies in the future by more than `max_future_ms`."""
    duplicate: bool | None = None
    """`quality:duplicate`: whether a recent prediction had its `event_id`. Absent: where labels are
    joined. Elsewhere nothing reads ids, and to read them takes some 6 % of a worker's time."""
    range: bool = True
    """`quality:range`: whether a number lies far beyond what the reference held."""
    stuck: bool = True
    """`quality:stuck`: whether a number that hardly ever does repeats its previous value."""
    type: bool = True
    """`quality:type`: whether a value is of another kind than in the reference."""
    representativeness: bool = True
    """`representativeness`: how unusual the values of an event are by the reference, over all its
    features."""


class LabelsConfig(Strict):
    """The join of labels with the predictions that they are about."""

    enabled: bool = False
    """Keep predictions until their labels come. Each takes some 100 bytes while it is kept."""
    max_delay_ms: Annotated[int, Field(ge=1_000, le=MAX_SKEW_MS)] = 30 * 86_400_000
    """A prediction waits so long for its label, by the latest `ts` of its partition."""
    max_early_ms: Annotated[int, Field(ge=0, le=MAX_SKEW_MS)] = 3_600_000
    """A label that comes before its prediction waits so long for it, by the same clock."""
    max_pending: Annotated[int, Field(ge=1, le=8_000_000)] = 1_000_000
    """Predictions of a partition that are kept; the oldest gives way to one more."""
    max_early: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Labels of a partition that wait for their prediction; the oldest gives way to one more."""
    calibration_labels: Annotated[int, Field(ge=100, le=10_000_000)] = 2_000
    """The first so many labels of a model version say what its score means, unless its reference
    says it."""
    reference_labels: Annotated[int, Field(ge=80, le=1_000_000)] = 2_000
    """The first so many labels of a model version are the reference of its errors; the first fourth
    of as many in a group that of the group's."""
    automatic_slices: Annotated[int, Field(ge=0, le=7)] = 4
    """Features with up to eight categories whose groups are watched though the config names no
    slices, or fewer than seven."""
    windows: Annotated[
        list[Annotated[int, Field(ge=100, le=10_000_000, multiple_of=10)]],
        Field(min_length=1, max_length=MAX_LABEL_WINDOWS),
    ] = Field(default=[1_000, 10_000, 100_000])
    """Metrics are told of so many of the latest labels of a model version, beside those of all: up
    to five windows, ascending, multiples of 10. Each moves on by a tenth of itself, and takes 16 KB
    a model version."""

    @field_validator("windows")
    @classmethod
    def _ascending(cls, windows: list[int]) -> list[int]:
        if windows != sorted(set(windows)):
            raise ValueError(f"should ascend, each once: `{sorted(set(windows))}`")
        return windows


class DetectorsConfig(Strict):
    """One section per entry of the detector registry, by its name."""

    moments: MomentsConfig = MomentsConfig()
    adwin: AdwinConfig = AdwinConfig()
    focus: FocusConfig = FocusConfig()
    page_hinkley: PageHinkleyConfig = PageHinkleyConfig()
    kswin: KswinConfig = KswinConfig()
    windows: WindowsConfig = WindowsConfig()
    trend: TrendConfig = TrendConfig()
    ddm: DdmConfig = DdmConfig()
    eddm: EddmConfig = EddmConfig()
    hddm_a: HddmAConfig = HddmAConfig()
    hddm_w: HddmWConfig = HddmWConfig()
    fhddm: FhddmConfig = FhddmConfig()


class SignalConfig(Strict):
    """Refines one signal of one model."""

    monitor: bool = True
    """False: the signal gets no lanes."""
    detectors: list[str] | None = None
    """Names of the detectors that run on it; absent: all that are enabled. `ddm`, `eddm`, `hddm_a`,
    `hddm_w` and `fhddm` are for errors: they run where they are named, and on shares only."""
    kind: Literal["number", "category"] | None = None
    """Of a feature, or of `prediction`: what it is, whatever the reference suggests."""
    rhythm: Literal["day", "week", "none"] | None = None
    """Of a number: whether it follows the time of day, or of day and week, by `ts`. Absent: what
    its reference shows. It counts when a reference is complete, and needs three periods of it."""


class OutputConfig(Strict):
    """What a model predicts, where that cannot be told from its predictions."""

    positive: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """The positive one of two classes. By default the one whose predictions have the higher scores,
    and where these do not say it the one that sorts last: `1`, `true`, `yes`."""
    score: Literal["positive", "predicted", "rank"] | None = None
    """Whose probability the score is, that of the positive class or of the one predicted; or any
    number that is the higher the more. By default what the first predictions look like."""


class ModelConfig(Strict):
    """Refines one model, all its versions."""

    reference_events: Annotated[int, Field(ge=20, le=1_000_000)] | None = None
    false_alerts: FalseAlerts | None = None
    arl0: Arl0 | None = None
    output: OutputConfig = OutputConfig()
    slices: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=7)
    ] = Field(default_factory=list)
    """Features that are categories: their groups are compared by their errors, and where there are
    two classes by how they are treated. 15 groups each at most, the most frequent ones."""
    signals: dict[str, SignalConfig] = Field(default_factory=dict)
    """By signal name: `feature:X`, `feature:X=V`, `missing:X`, `score`, `prediction`, `class:V`,
    `joint:residual`, `joint:mmd`, `joint:missing`, `latency`, `quality:...`. What is said of
    `feature:X` holds for its categories of which nothing is said."""


class BoundsConfig(Strict):
    """What can never grow past it, whatever is sent. All per partition, save where said."""

    max_models: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    """Model versions monitored at the same time."""
    max_features: Annotated[int, Field(ge=1, le=4_096)] = 1_024
    """Features of one model version."""
    max_total_features: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Features of all model versions together, those that a version takes over from an earlier one
    among them."""
    max_classes: Annotated[int, Field(ge=2, le=1_024)] = 64
    """Predicted classes of one model version; further ones are counted as `class:__other__`."""
    max_categories: Annotated[int, Field(ge=2, le=MAX_CATEGORIES)] = 64
    """Categories of one feature that are known by name; of one that has more in its reference
    nobody can say what is new."""
    max_category_signals: Annotated[int, Field(ge=1, le=64)] = 8
    """Categories of one feature whose shares are signals: its most frequent ones."""
    max_lanes: Annotated[int, Field(ge=1, le=10_000_000)] = 200_000
    """Monitored signals of all models together."""
    max_measured_models: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Model versions whose labels become metrics, 107 KB each; those that get labels first."""
    max_leakage_rows: Annotated[int, Field(ge=0, le=1_000_000)] = 65_536
    """Predictions whose features wait for a label, 144 bytes each, while labels are joined: one of
    eight, the latest ones. See `leakage`."""
    max_learning_values: Annotated[int, Field(ge=0, le=10_000_000_000)] = 32_000_000
    """Values that all references being learned keep, 9 bytes each. One beyond it keeps none: its
    signals have no reference that a detector with a budget could use."""
    min_idle_records: Annotated[int, Field(ge=0, le=1_000_000_000_000)] = 1_000
    """A full table gives the longest idle model's place away only after it has been idle for
    this many records of the partition: else a flood of new names would push out the living."""


class PolicyConfig(Strict):
    """From findings to alerts."""

    cooldown_events: Annotated[int, Field(ge=0, le=1_000_000_000_000)] = 1_000
    """Findings whose change points lie within so many events of their model belong to one alert."""
    min_effect: Annotated[float, Field(ge=0.0, le=10.0, allow_inf_nan=False)] = 0.0
    """What lies nearer to its reference than so many of its standard deviations opens no alert, and
    is named in none. It is found all the same, and counted."""
    confirm: bool = False
    """Tell of a change only once it is confirmed: by a second signal or detector, or since the
    working baseline, 2,000 events by default, lies away from the reference as well."""


class DetectionConfig(Strict):
    """Everything that changes which alerts come out of the same events."""

    generation: Annotated[int, Field(ge=1, le=2**31)] = 1
    """Raise it with every change of this section; a partition never goes back to a lower one."""
    deployment: Annotated[
        str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._-]+$")
    ] = "driftsentry"
    """Part of every alert's identity: keep it when group, topics or Redis move."""
    models: Literal["learned", "listed"] = "learned"
    """`listed`: events of models that `model` does not name are dead-lettered."""
    reference_events: Annotated[int, Field(ge=20, le=1_000_000)] = 2_000
    """How many first events of a model form its frozen reference."""
    false_alerts: FalseAlerts = "1 per week and model"
    """The false alerts that you accept. What a detector with a budget needs to fire follows from
    it, from the model's events a week and from the number of its signals."""
    arl0: Arl0 | None = None
    """Stated directly: events of a model between two false alarms of one signal. It wins over
    `false_alerts`."""
    max_event_bytes: Annotated[int, Field(ge=1_024, le=1_048_576)] = 65_536
    max_future_ms: Annotated[int, Field(ge=0, le=MAX_SKEW_MS)] = 300_000
    """How far `ts` may lie after its record's timestamp before the event is counted as future."""
    max_late_ms: Annotated[int, Field(ge=0, le=MAX_SKEW_MS)] = 300_000
    """How far `ts` may lie before the latest one of its partition before it is counted as late."""
    dead_letter_excerpt: bool = False
    """Put a refused record's first 256 bytes into its dead letter: they may be personal data."""
    bounds: BoundsConfig = BoundsConfig()
    detectors: DetectorsConfig = DetectorsConfig()
    joint: JointConfig = JointConfig()
    quality: QualityConfig = QualityConfig()
    labels: LabelsConfig = LabelsConfig()
    policy: PolicyConfig = PolicyConfig()
    security: SecurityConfig = SecurityConfig()
    model: dict[str, ModelConfig] = Field(default_factory=dict)
    """By `model_id`."""

    @property
    def reads_event_ids(self) -> bool:
        """Whether the ids of events are read: for labels, or to find duplicates."""
        return self.labels.enabled or bool(self.quality.duplicate)
