"""What goes out: the data of an alert and of a dead letter, as their consumers read it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Severity = Literal["low", "medium", "high", "critical"]
Unit = Literal["value", "share", "departures", "spread", "shape"]
ErrorOf = Literal["class", "number"]
Direction = Literal["rose", "fell", "changed"]
Status = Literal["opened", "updated", "resolved"]
Standing = Literal["moved", "returning", "returned", "superseded"]
Resolution = Literal["returned", "superseded", "forgotten", "new_reference"]
Vanished = Literal["category", "others"]


class WindowDistances(BaseModel):
    """How far a window of events lies from the reference, on its bins or categories."""

    model_config = ConfigDict(frozen=True)

    psi: float = Field(description="Population stability index, in nats: 0 or more.")
    js: float = Field(description="Jensen-Shannon divergence, in bits: 0 to 1.")
    ks: float | None = Field(
        description="Largest difference of the distribution functions: 0 to 1; null for a category."
    )
    wasserstein: float | None = Field(
        description="Wasserstein-1 distance, in reference standard deviations; null for a category."
    )
    chi: float | None = Field(
        description="Of a category: root of the symmetric chi-squared distance, 0 to 2, how far "
        "any score of it moves at most, in standard deviations."
    )
    new: float | None = Field(
        description="Of a category: share of the values that the reference did not have; null too "
        "where it had more than are known by name."
    )
    vanished: tuple[str, ...] = Field(
        description="Values of a category that the window lacks though ten or more were to be "
        "expected, the most frequent first; at most eight."
    )


class WorstGroup(BaseModel):
    """A group of a slice that has significantly more of the errors than of the predictions."""

    model_config = ConfigDict(frozen=True)

    signal: str = Field(description="That of its own errors: `error:F=V`.")
    of_errors: float = Field(
        description="Its share of the wrong predictions, or where numbers are predicted of the "
        "absolute error, among the latest one to two thousand labels: its share of the loss."
    )
    of_events: float = Field(description="Its share of the predictions that these labels are of.")


class ExpectedBeside(BaseModel):
    """The error rate that scores make one expect, now and in the reference, with 95 % intervals.

    Intervals are of means, by how blocks of 50 predictions varied in the reference.
    """

    model_config = ConfigDict(frozen=True)

    value: float | None = Field(
        description="Since the change; null where only the spread has moved, or where it was "
        "always the same in the reference."
    )
    low: float | None
    high: float | None
    reference: float = Field(description="In the reference.")
    reference_low: float
    reference_high: float


class ErrorsInReference(BaseModel):
    """How often the reference's labels say that the model version was wrong."""

    model_config = ConfigDict(frozen=True)

    n_errors: int = Field(ge=0, description="Of its labels, those that say so.")
    n_labels: int = Field(ge=1, description="At least 20.")

    @model_validator(mode="after")
    def _are_of_them(self) -> Self:
        if self.n_errors > self.n_labels:
            raise ValueError("`n_errors` is more than `n_labels`")
        return self


class MovedSignal(BaseModel):
    """One signal of an alert: what it did."""

    model_config = ConfigDict(frozen=True)

    signal: str = Field(
        description="`feature:X`, `feature:X=V`, `missing:X`, `score`, `prediction`, `class:V`, "
        "`joint:...`, or of labels `error`, `error:F=V`, `error_gap`, `expected_error`, "
        "`calibration`, `label:V`, `label_delay`, `label_coverage`, `selection_ratio:F`, "
        "`recall_gap:F`, `false_positive_gap:F`, `leakage`."
    )
    unit: Unit = Field(
        description="What `before` and `after` are: values of the signal; shares of events; shares "
        "of events that depart from a constant reference; mean distances of its values from the "
        "reference mean; `shape`: means, where it is the distribution that changed; null of a "
        "category."
    )
    direction: Direction = Field(
        description="Which way it went; of a shape, its mean. `changed`: a category as a whole."
    )
    effect: float = Field(
        description="How far it has been from its reference at most, in reference standard "
        "deviations; signed. Of what may say that data broke or that the model is worse, since it "
        "was on the other side. Of a shape, the Wasserstein distance of all its rows; of a "
        "category its `chi`."
    )
    before: float | None = Field(description="Mean before the change, in the signal's units.")
    after: float | None = Field(
        description="Mean since the change; null where it rests on fewer than 20 events."
    )
    standing: Standing = Field(
        description="`returning`: it was seen to come back, over few events as yet. `returned`: it "
        "is back within 0.1 standard deviations of its reference. "
        "`superseded`: it has moved again, in a later alert."
    )
    detectors: list[str] = Field(description="What has fired on it, in order of first firing.")
    change_offset: int = Field(description="About where its change began.")
    found_offset: int = Field(description="The record at which it was first found.")
    distances: WindowDistances | None = Field(
        default=None,
        description="For reading, of the latest window that the detector `windows` found to "
        "differ: `psi` (nats), `js` (bits), `ks`, `wasserstein` (reference standard deviations), "
        "of a category `psi`, `js`, `chi`, `new`, `vanished`.",
    )
    error_of: ErrorOf | None = Field(
        default=None,
        description="Of `error` and `error:F=V`: what the model predicts. Of a `class` the signal "
        "is the share of wrong predictions, of a `number` predicted less true.",
    )
    expected: ExpectedBeside | None = Field(
        default=None,
        description="Of `expected_error`: what scores make one expect (`value`, from `low` to "
        "`high`) and what they did in the reference (`reference`, from `reference_low` to "
        "`reference_high`), with intervals of 95 %.",
    )
    worst_groups: list[WorstGroup] = Field(
        default_factory=list,
        description="Of `error` and `error_gap`: the groups of slices that have more of the errors "
        "(of the absolute error, where numbers are predicted) than of the predictions, and more "
        "than chance would give them, when it was last found or had settled; at most three, the "
        "worst first.",
    )
    named_feature: str | None = Field(
        default=None,
        description="Of `leakage`: the feature that told most of the label, when last found. Of "
        "`quality:range`, `quality:stuck`, `quality:type`: the first feature of which this was so, "
        "in the event at which it was last found. Of `representativeness`: the feature that had "
        "been most unusual of late by then.",
    )
    part_factor: float | None = Field(
        default=None,
        description="Of a number: the factor by which a part of its values seems to be larger "
        "since the change, one that units differ by; null where there is none, or nobody knows.",
    )
    vanished: Vanished | None = Field(
        default=None,
        description="Of the share of a category, where 30 values or more of what is gone were to "
        "be expected and at most a fiftieth of its share is left. `category`: it has vanished. "
        "`others`: all other categories of its feature have.",
    )


class AlertData(BaseModel):
    """The `data` of a record on the alerts topic: one revision of one alert.

    An alert is an episode: all that is known of one change of one model. `signal` is the one that
    went furthest, and what stands beside it is of that signal; `signals` holds all.

    It holds means over at least 20 events or nothing: no value of a single event, no minimum, no
    maximum. (`alert_id`, `revision`) names the record; `seq` has no gaps within a `lineage`.
    """

    model_config = ConfigDict(
        frozen=True,
        title="Alert",
        json_schema_extra={
            "examples": [
                {
                    "alert_id": "5b1c0c7c1e0f4c9f8f6e0d8f2f1f3a77",
                    "revision": 1,
                    "seq": 17,
                    "kind": "drift",
                    "status": "opened",
                    "resolution": None,
                    "deployment": "driftsentry",
                    "lineage": "a3d1f0c2b4e5968778695a4b3c2d1e0f",
                    "model_id": "employment-ma",
                    "model_version": "1",
                    "shard": None,
                    "signal": "feature:RELP",
                    "detectors": ["focus"],
                    "severity": "medium",
                    "effect": -0.31,
                    "before": 2.61,
                    "after": 1.03,
                    "unit": "value",
                    "change_offset": 137950,
                    "trigger_offset": 138511,
                    "trigger_row": 0,
                    "opened_offset": 138511,
                    "partition": 2,
                    "event_time_ms": 1795405378000,
                    "planned": None,
                    "training_serving_skew": False,
                    "acknowledged_by": None,
                    "error_reference": {"n_errors": 372, "n_labels": 2000},
                    "signals": [
                        {
                            "signal": "feature:RELP",
                            "unit": "value",
                            "direction": "fell",
                            "effect": -0.31,
                            "before": 2.61,
                            "after": 1.03,
                            "standing": "moved",
                            "detectors": ["focus"],
                            "change_offset": 137950,
                            "found_offset": 138511,
                            "distances": None,
                            "error_of": None,
                            "expected": None,
                            "worst_groups": [],
                            "named_feature": None,
                            "part_factor": None,
                            "vanished": None,
                        }
                    ],
                    "n_signals": 1,
                    "n_faults_unnamed": 0,
                    "n_findings": 1,
                    "budget_share": 1.0,
                    "message": "employment-ma 1: feature RELP fell from 2.61 to 1.03 (-0.31 sd "
                    "from its reference) since about offset 137950, found by FOCuS at offset "
                    "138511.",
                }
            ]
        },
    )

    alert_id: str = Field(description="Names the alert; the same in every run over the same log.")
    revision: int = Field(description="1 for the first record of an alert, 2 for its first update.")
    seq: int = Field(description="Gapless number per lineage on this topic, from 1.")
    kind: Literal["drift", "bound"] = Field(
        description="`drift`: a signal moved. `bound`: a limit was reached, not all is watched."
    )
    status: Status = Field(
        description="`opened`: the first record of it. `updated`: more is known. `resolved`: no "
        "signal of it is away from its reference any more, or it is no longer followed."
    )
    resolution: Resolution | None = Field(
        description="Why it is resolved. `returned`: its signals have come back. `superseded`: "
        "they have moved again, in a later alert. `forgotten`: too many alerts are open, or "
        "its model gave way to others and has moved since it came back. `new_reference`: a person "
        "has set another reference for its model."
    )
    deployment: str
    lineage: str = Field(description="The unbroken fold that this alert comes from.")
    model_id: str
    model_version: str
    shard: int | None = Field(description="The shard that was seen, where the model is sharded.")
    signal: str = Field(
        description="`feature:X`, `feature:X=V`, `missing:X`, `score`, `prediction`, `class:V`, "
        "`joint:...`, one of labels as in `signals`, or `bound:NAME`."
    )
    detectors: list[str] = Field(description="What has fired so far, in order of first firing.")
    severity: Severity
    effect: float | None = Field(
        description="How far the signal has been from its reference at most, in reference "
        "standard deviations; signed."
    )
    before: float | None = Field(description="Mean before the change, in the signal's units.")
    after: float | None = Field(
        description="Mean since the change; null where it rests on fewer than 20 events."
    )
    unit: Unit = Field(description="What `before` and `after` are, as in `signals`.")
    change_offset: int = Field(description="About where the change began.")
    trigger_offset: int = Field(
        description="The record at which the detector fired; where a person's command brought this "
        "about, the one before which it took effect."
    )
    trigger_row: int = Field(description="The event within that record; 0 for JSON.")
    opened_offset: int = Field(description="The trigger of its first finding.")
    partition: int = Field(description="Input partition of these offsets.")
    event_time_ms: int = Field(
        description="`ts` of the triggering event, epoch milliseconds; where a person's command "
        "brought this about, when it was said."
    )
    training_serving_skew: bool = Field(
        default=False,
        description="Whether it differs from a reference that a person has set since that was set, "
        "within 1,000 events of its model: the reference was made of other data than are served.",
    )
    planned: str | None = Field(
        default=None,
        description="Why the change was expected, where it was found within a planned change.",
    )
    acknowledged_by: str | None = Field(
        default=None,
        description="Who knows of it. From then on it is told of where it gets worse, where data "
        "break or are back, where harm begins or ends, and at its end.",
    )
    error_reference: ErrorsInReference | None = Field(
        default=None,
        description="Of its model version, whatever has moved: what `error` was in the reference. "
        "Null where numbers are predicted, and before so many labels have come that `error` has a "
        "reference.",
    )
    signals: list[MovedSignal] = Field(
        description="Its signals, those first that are away from the reference, then by size: at "
        "most 20, and the one that the trigger is about, `error`, `error_gap`, `expected_error`, "
        "and 64 in all that say that data broke, and 64 that say that the model is worse."
    )
    n_signals: int = Field(description="How many there are.")
    n_faults_unnamed: int = Field(
        description="How many more say that data broke, are still away, and are not named."
    )
    n_findings: int = Field(description="How often detectors have fired for it so far.")
    budget_share: float | None = Field(
        description="Changes of the model found in the week before it, itself included, over the "
        "false alerts that are accepted in a week: those too that were not told of, for a mute or "
        "want of confirmation. Null where the model's rate is not known."
    )
    message: str = Field(description="The alert as a sentence.")


class DeadLetterData(BaseModel):
    """The `data` of a record on the dead-letter topic: what was refused, where, and why."""

    model_config = ConfigDict(
        frozen=True,
        title="Dead letter",
        json_schema_extra={
            "examples": [
                {
                    "seq": 3,
                    "lineage": "a3d1f0c2b4e5968778695a4b3c2d1e0f",
                    "reason": "not_json",
                    "detail": "the value is not JSON; send one JSON object per record",
                    "topic": "driftsentry.events",
                    "partition": 2,
                    "offset": 4711,
                    "row": 0,
                    "length": 18,
                    "digest": "b2d5c4c6c8f6a6f1f3f5d9d1e0a1b2c3",
                    "excerpt": None,
                }
            ]
        },
    )

    seq: int = Field(description="Gapless number per lineage on this topic, from 1.")
    lineage: str
    reason: str = Field(description="A reason code; docs/events.md lists them.")
    detail: str = Field(description="The field and the remedy.")
    topic: str
    partition: int
    offset: int
    row: int = Field(
        description="The event within that record; 0 for JSON, and for an Arrow stream as a whole."
    )
    length: int = Field(description="Length of the refused value in bytes.")
    digest: str = Field(description="blake2b-128 of the refused value, hex.")
    excerpt: Annotated[str | None, Field(description="First 256 bytes, base64; off by default.")]
