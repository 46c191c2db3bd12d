"""What is said by the clock of how many events come: the data of the liveness topic."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.alerts import Severity

Trouble = Literal["silence", "low_volume", "high_volume"]
LivenessKind = Literal["silence", "low_volume", "high_volume", "recovered"]


class LivenessData(BaseModel):
    """The `data` of a record on the liveness topic: events stay away, or come in other numbers.

    It is said by the worker's clock and is no part of the fold: it may come twice, with the same
    `liveness_id`, and has no `seq`.
    """

    model_config = ConfigDict(
        frozen=True,
        title="Liveness",
        json_schema_extra={
            "examples": [
                {
                    "liveness_id": "0c4f9f8f6e0d8f2f1f3a775b1c0c7c1e",
                    "kind": "silence",
                    "recovered_from": None,
                    "severity": "high",
                    "deployment": "driftsentry",
                    "model_id": "churn",
                    "model_version": "7",
                    "shard": None,
                    "topic": "driftsentry.events",
                    "partition": 2,
                    "window_start_ms": 1795428000000,
                    "window_ms": 60000,
                    "since_ms": 1795425960000,
                    "until_ms": 1795428000000,
                    "n_events": 0,
                    "n_expected": 1190.0,
                    "message": "churn 7: no prediction for 34 minutes, where about 1,190 were to "
                    "be expected. Look at the service that sends them, at the errors of its "
                    "producer, and at topic driftsentry.events, partition 2.",
                }
            ]
        },
    )

    liveness_id: str = Field(
        description="Of deployment, model, version, shard, window and kind: what two workers say "
        "of one window has one id."
    )
    kind: LivenessKind = Field(
        description="`silence`: no prediction comes any more. `low_volume`, `high_volume`: less "
        "than a quarter, more than four times of what is to be expected. `recovered`: that is over."
    )
    recovered_from: Trouble | None = Field(
        description="What is over; null where nothing has recovered."
    )
    severity: Severity = Field(
        description="Silence is `high`, another volume `medium`, a recovery `low`."
    )
    deployment: str
    model_id: str
    model_version: str
    shard: int | None = Field(description="The shard, where the model is sharded.")
    topic: str
    partition: int
    window_start_ms: int = Field(
        description="Beginning of the model's window in which this was said, epoch milliseconds of "
        "the worker's clock."
    )
    window_ms: int = Field(
        description="Length of the model's windows: the shortest power of two times "
        "`liveness_window_s` in which 20 predictions are to be expected."
    )
    since_ms: int = Field(
        description="Since when it is so: of silence the end of the window with the latest "
        "prediction, of another volume the beginning of the first such window."
    )
    until_ms: int = Field(description="Until when it was so.")
    n_events: int = Field(description="Predictions folded from `since_ms` to `until_ms`.")
    n_expected: float = Field(
        description="How many were to be expected in that time, at the rate of the model's "
        "reference."
    )
    message: str = Field(description="The same as a sentence, and where to look.")
