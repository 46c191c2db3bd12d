"""The `security` section of the detection config: what the security duty looks for, and how much.

Each detector has a section by its name in the registry. Its thresholds come of benign traffic
(`driftsentry security calibrate`) and are not here: here is how many hits make an alarm.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.strict import Strict

_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_Hits = Annotated[int, Field(ge=2, le=64)]
_Window = Annotated[int, Field(ge=2, le=1_024)]


class ProbingConfig(Strict):
    """Near-neighbour queries of one source whose predictions flip, or that lie on the boundary.

    Where benign queries of a model do so more often, it takes more of them than is said here.
    """

    enabled: bool = True
    flips: _Hits = 3
    """Alarms at so many near pairs with different predictions ..."""
    flips_of: _Window = 64
    """... among so many distinct queries of a source."""
    near: _Hits = 8
    """Or at so many queries that are near an earlier one and on the boundary ..."""
    near_of: _Window = 32
    """... among so many."""

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> Self:
        if self.flips > self.flips_of or self.near > self.near_of:
            raise ValueError("more hits are asked for than there are queries among which they are")
        return self


class QueryDistanceConfig(Strict):
    """PRADA: the distribution of a source's distances to its nearest query is no longer normal."""

    enabled: bool = True


class InversionConfig(Strict):
    """Climbs of one class's score in small steps."""

    enabled: bool = True
    steps: _Count = 20
    """Alarms at a run of so many steps, or more where benign queries climb."""


class NeighboursConfig(Strict):
    """Detectors that go by the nearest of a source's latest queries, which is searched for once."""

    enabled: bool = True
    """Whether there is any of them: a source's queries are not even kept if not."""
    probing: ProbingConfig = ProbingConfig()
    query_distance: QueryDistanceConfig = QueryDistanceConfig()
    inversion: InversionConfig = InversionConfig()


class ProvenanceConfig(Strict):
    """Clusters of near queries across sources."""

    enabled: bool = True
    members: _Count = 12
    """A cluster alarms from so many distinct queries on."""
    capacity: Annotated[int, Field(ge=256, le=1_000_000)] = 16_384
    """Events of the partition that are remembered; what lies farther back is linked to nothing."""


class OffDistributionConfig(Strict):
    """Windows of a source that lie off the benign rows of the same predicted classes."""

    enabled: bool = True


class ExposureConfig(Strict):
    """How much of a model each source has seen: a rank, never an accusation."""

    enabled: bool = True


class LabelPoisoningConfig(Strict):
    """Labels of one source that disagree with confident predictions, and backdoor slices."""

    enabled: bool = True


class BaselineGuardConfig(Strict):
    """Sources that pull the baseline away slowly from where all others are."""

    enabled: bool = True


class VolumeConfig(Strict):
    """Sources that send far more than they used to, floods of new sources, one-sided answers."""

    enabled: bool = True


class DataBreaksConfig(Strict):
    """States that many sources of a model get into together: what is found of them is held back."""

    enabled: bool = True


class SecurityDetectorsConfig(Strict):
    """One section per entry of the registry of security detectors, by its name."""

    neighbours: NeighboursConfig = NeighboursConfig()
    provenance: ProvenanceConfig = ProvenanceConfig()
    off_distribution: OffDistributionConfig = OffDistributionConfig()
    exposure: ExposureConfig = ExposureConfig()
    label_poisoning: LabelPoisoningConfig = LabelPoisoningConfig()
    baseline_guard: BaselineGuardConfig = BaselineGuardConfig()
    volume: VolumeConfig = VolumeConfig()
    data_breaks: DataBreaksConfig = DataBreaksConfig()


class SecurityConfig(Strict):
    """The security duty. The drift duty reads nothing of it."""

    learn_events: Annotated[int, Field(ge=200, le=100_000)] = 2_000
    """The first so many events of a model say what is usual where no calibration was given."""
    max_models: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Model versions that are watched at the same time."""
    max_sources: Annotated[int, Field(ge=16, le=1_000_000)] = 1_024
    """Sources of a partition that are followed at the same time, at most 64 KB each."""
    admit_after: Annotated[int, Field(ge=1, le=1_000)] = 4
    """A new source is followed from so many events on, before which its name alone is counted."""
    quiet_events: Annotated[int, Field(ge=1_024, le=1_000_000_000)] = 100_000
    """An anomaly is over after so many events of the partition without new evidence."""
    kinds: dict[_Name, list[_Name]] = Field(default_factory=dict, max_length=7)
    """Kind of client -> the sources that are of it, as they stand in events. All others are judged
    by the strictest kind that anybody is of: an attacker would choose the laxest."""
    detectors: SecurityDetectorsConfig = SecurityDetectorsConfig()
