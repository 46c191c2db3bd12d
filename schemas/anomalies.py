"""What goes out to security teams: an OCSF 1.8.0 Detection Finding, one revision of one anomaly.

The Open Cybersecurity Schema Framework (https://schema.ocsf.io/1.8.0/classes/detection_finding)
says what the attributes mean; here is which of them a finding has. What it has no place for stands
under `unmapped`. Evidence is places, counts and statistics: no value of a feature is in it but the
category that names a slice (`unmapped.details`). What is not known is left out, never null.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.alerts import Severity

OCSF_VERSION: Final = "1.8.0"
CLASS_UID: Final = 2004
"""Detection Finding."""

AnomalyStatus = Literal["opened", "updated", "closed"]
Ending = Literal["quiet", "room"]
ActivityId = Literal[1, 2, 3]
SeverityId = Literal[1, 2, 3, 4, 5]
ConfidenceId = Literal[1, 2, 3]
Hex = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]

ACTIVITIES: Final[dict[int, str]] = {1: "Create", 2: "Update", 3: "Close"}
SEVERITIES: Final[dict[int, str]] = {
    1: "Informational",
    2: "Low",
    3: "Medium",
    4: "High",
    5: "Critical",
}
SEVERITY_OF: Final[dict[int, Severity]] = {
    1: "low",
    2: "low",
    3: "medium",
    4: "high",
    5: "critical",
}
"""Ours for `severity_id`; what is only informational is no more than low."""
CONFIDENCES: Final[dict[int, str]] = {1: "Low", 2: "Medium", 3: "High"}


class _Ocsf(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NamedUid(_Ocsf):
    """A tactic, a technique, a sub-technique or a mitigation of MITRE ATLAS."""

    uid: str
    name: str


class Attack(_Ocsf):
    """What the finding is in MITRE ATLAS."""

    version: str = Field(description="Of ATLAS.")
    tactic: NamedUid
    technique: NamedUid
    sub_technique: NamedUid | None = None
    mitigation: NamedUid | None = None


class Analytic(_Ocsf):
    """One detector."""

    uid: str
    name: str
    type_id: Literal[2, 3] = 3
    type: Literal["Behavioral", "Statistical"] = "Statistical"


class FindingInfo(_Ocsf):
    """What was found."""

    uid: Hex = Field(description="Names the anomaly; the same in every run over the same log.")
    title: str
    desc: str = Field(description="The finding as a sentence.")
    types: list[str] = Field(description="The kind of attack, as `unmapped.technique`.")
    analytic: Analytic = Field(description="The detector that found it first.")
    related_analytics: list[Analytic] | None = Field(
        default=None, description="Those that joined, in order."
    )
    attacks: list[Attack] = Field(description="What it is above all comes first.")
    created_time: int = Field(description="`ts` of the event at which it was opened.")
    modified_time: int = Field(description="`ts` of the event that this record is told for.")
    first_seen_time: int = Field(description="`ts` of its earliest evidence.")
    last_seen_time: int = Field(description="`ts` of its latest evidence.")
    related_events_count: int = Field(description="Events that count as evidence.")


class Resource(_Ocsf):
    """The model that it is aimed at."""

    uid: str = Field(description="Model and version, and shard where there is one.")
    name: str = Field(description="The model.")
    version: str = Field(description="Its version.")
    namespace: str = Field(description="The deployment's name, as the detection config says it.")
    type: Literal["AI Model"] = "AI Model"
    role_id: Literal[1] = 1
    role: Literal["Target"] = "Target"


class User(_Ocsf):
    """A source: whoever stands in `source` or `label_source` of the events, as a pseudonym."""

    uid: Hex = Field(description="The keyed hash of its name; `driftsentry source resolve`.")
    domain: str = Field(description="The id of the key: hashes of two keys do not compare.")
    type_id: Literal[99] = 99
    type: Literal["Pseudonym"] = "Pseudonym"


class Actor(_Ocsf):
    """Who did it, as far as events say."""

    user: User


class OffsetRange(_Ocsf):
    """Records of the input partition, both ends included."""

    first_offset: int = Field(ge=0)
    last_offset: int = Field(ge=0)


class EvidenceData(_Ocsf):
    """Where the evidence lies, and how much there is."""

    lineage: str
    partition: int = Field(description="Input partition of the offsets.")
    ranges: list[OffsetRange] = Field(description="At most 16, ascending, apart.")
    n_hits: int = Field(description="Events that count as evidence.")
    n_seen: int = Field(description="Events among which the latest of them were.")


class Evidences(_Ocsf):
    """One source's part; the first holds the places and counts of all."""

    name: Literal["queries", "labels"] = "queries"
    actor: Actor | None = None
    data: EvidenceData | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.actor is None and self.data is None:
            raise ValueError("evidence has an actor or data")
        return self


class Timespan(_Ocsf):
    """From one `ts` to another."""

    start_time: int
    end_time: int
    type_id: Literal[9] = 9
    type: Literal["Time Interval"] = "Time Interval"


class Observation(_Ocsf):
    """A number, as text."""

    value: str
    count: int | None = None
    timespan: Timespan | None = None


class Observed(_Ocsf):
    """What a detector measured, or what it compares with."""

    observation_parameter: str = Field(
        description="The detector's statistic; `suspect_slices`: how many slices are suspect of "
        "the same."
    )
    observation_type: Literal["Deviation Analysis"] = "Deviation Analysis"
    observed_pattern: str | None = Field(
        default=None,
        description="Of a baseline: `usual`, `threshold`, or `expected`, which is how many events "
        "would be evidence where all is well; of an anomaly what else is to be named, such as a "
        "pair of classes.",
    )
    observations: list[Observation]


class AnalysisTarget(_Ocsf):
    """What was looked at."""

    name: str
    type: Literal["AI Model", "Source", "Partition"]


class AnomalyAnalysis(_Ocsf):
    """What one detector saw."""

    analysis_targets: list[AnalysisTarget]
    anomalies: list[Observed]
    baselines: list[Observed]


class Observable(_Ocsf):
    """What a finding can be searched by."""

    name: str
    type_id: Literal[31, 38]
    type: Literal["User Object: uid", "Resource Details Object: name"]
    value: str


class Remediation(_Ocsf):
    """What to do."""

    desc: str
    references: list[str] | None = None


class Product(_Ocsf):
    """Who says it."""

    name: Literal["driftsentry"] = "driftsentry"
    vendor_name: Literal["driftsentry"] = "driftsentry"


class Metadata(_Ocsf):
    """Of the record."""

    version: Literal["1.8.0"] = OCSF_VERSION
    product: Product = Product()
    uid: str = Field(description="Names the record: the anomaly, a dot, the revision.")
    sequence: int = Field(description="As `unmapped.seq`.")


class Quarantine(_Ocsf):
    """What a retraining gate keeps out of the training data, within the ranges of offsets.

    The events of these sources, and with `without_source` those that give none; where neither is
    said, or not all sources could be named, every event within the ranges.
    """

    partition: int = Field(description="Input partition of the offsets.")
    ranges: list[OffsetRange] = Field(description="Of offsets, both ends included; at most 16.")
    since_ms: int = Field(description="`ts` of the earliest evidence.")
    until_ms: int = Field(description="`ts` of the latest.")
    sources: list[Hex] = Field(
        description="Pseudonyms, those with most evidence first; at most 32."
    )
    source_key: str | None = Field(default=None, description="The id of their key.")
    without_source: bool = Field(description="Whether events that give no source take part.")
    is_complete: bool = Field(description="False where more sources took part than are named.")


class Unmapped(_Ocsf):
    """What OCSF has no place for: order and origin, as alerts have them, and the quarantine."""

    revision: int = Field(description="1 for the first record of an anomaly.")
    seq: int = Field(description="Gapless number per lineage on this topic, from 1.")
    status: AnomalyStatus = Field(description="As `activity_id`, in our words.")
    ending: Ending | None = Field(
        default=None,
        description="Why it is closed. `quiet`: no new evidence came for so many events of the "
        "partition as the config says. `room`: more anomalies were open than are kept.",
    )
    technique: str = Field(
        description="`probing`, `extraction`, `inversion`, `membership`, `off_distribution`, "
        "`label_poisoning`, `backdoor`, `frog_boiling`, `volume`, `chaff`, `pressure`, "
        "`data_change`."
    )
    is_exposure: bool = Field(
        description="A rank of how much of a model a source has seen: never an accusation."
    )
    detectors: list[str] = Field(description="In order of their first firing.")
    is_provisional: bool = Field(
        description="Whether thresholds come of unreviewed first events, of any of the detectors."
    )
    n_sources: int = Field(description="How many sources take part.")
    details: list[str] = Field(
        description="Class pairs, slices, features: what else is to be named."
    )
    deployment: str = Field(description="The deployment's name, as the detection config says it.")
    lineage: str = Field(description="The unbroken fold that this anomaly comes from.")
    partition: int = Field(description="Input partition of the offsets.")
    shard: int | None = Field(default=None, description="The shard seen, where there are any.")
    trigger_offset: int = Field(description="The record that this is told for.")
    trigger_row: int = Field(description="The event within that record; 0 for JSON.")
    opened_offset: int = Field(description="The record at which it was opened.")
    quarantine: Quarantine = Field(description="What to keep out of training data: below.")


class AnomalyData(_Ocsf):
    """The `data` of a record on the anomalies topic: an OCSF Detection Finding.

    (`finding_info.uid`, `unmapped.revision`) names the record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Anomaly")

    activity_id: ActivityId = Field(description="1 opened, 2 updated, 3 closed.")
    activity_name: Literal["Create", "Update", "Close"] = Field(description="The same in words.")
    category_uid: Literal[2] = Field(default=2, description="Findings.")
    category_name: Literal["Findings"] = Field(default="Findings", description="In words.")
    class_uid: Literal[2004] = Field(default=CLASS_UID, description="Detection Finding.")
    class_name: Literal["Detection Finding"] = Field(
        default="Detection Finding", description="In words."
    )
    type_uid: Literal[200401, 200402, 200403] = Field(description="Class and activity together.")
    time: int = Field(description="`ts` of the event that this record is told for, epoch ms.")
    start_time: int = Field(description="`ts` of the earliest evidence.")
    end_time: int = Field(description="`ts` of the latest.")
    count: int = Field(description="Events that count as evidence.")
    severity_id: SeverityId = Field(description="1 informational to 5 critical.")
    severity: Literal["Informational", "Low", "Medium", "High", "Critical"] = Field(
        description="In words."
    )
    confidence_id: ConfidenceId = Field(description="1 low to 3 high.")
    confidence: Literal["Low", "Medium", "High"] = Field(description="In words.")
    confidence_score: int = Field(
        ge=0,
        le=100,
        description="40 for one detector, 60 for two that agree, 70 for more; 20 more where all "
        "their thresholds are reviewed, 10 where some are.",
    )
    is_alert: bool = Field(description="False of an exposure, and where it is closed.")
    status_id: Literal[1, 99] = Field(description="1 new; 99, with `status` Ended, where closed.")
    status: Literal["New", "Ended"] = Field(description="In words.")
    status_detail: str | None = Field(default=None, description="Why it is closed.")
    message: str = Field(description="The finding as a sentence.")
    metadata: Metadata = Field(description="Version of OCSF, product, name of the record.")
    finding_info: FindingInfo = Field(description="Title, detectors, MITRE ATLAS, times.")
    resources: list[Resource] | None = Field(default=None, description="The model.")
    evidences: list[Evidences] = Field(description="Places and counts, and the sources.")
    anomaly_analyses: list[AnomalyAnalysis] = Field(description="One for each detector.")
    observables: list[Observable] | None = Field(
        default=None, description="The sources and the model, to be searched by."
    )
    remediation: Remediation = Field(description="What to do, and what ATLAS has against it.")
    unmapped: Unmapped = Field(description="What OCSF has no place for: below.")

    @model_validator(mode="after")
    def _siblings_agree(self) -> Self:
        """Each number and its caption say the same, as OCSF wants it."""
        captions = {
            "activity_name": ACTIVITIES[self.activity_id],
            "severity": SEVERITIES[self.severity_id],
            "confidence": CONFIDENCES[self.confidence_id],
            "status": "New" if self.status_id == 1 else "Ended",
        }
        wrong = [name for name, caption in captions.items() if getattr(self, name) != caption]
        if self.type_uid != CLASS_UID * 100 + self.activity_id:
            wrong.append("type_uid")
        if wrong:
            raise ValueError(f"does not fit its number: {', '.join(wrong)}")
        return self

    def as_ocsf(self) -> dict[str, Any]:
        """The finding as JSON's objects; what is not known is left out."""
        return self.model_dump(exclude_none=True)
