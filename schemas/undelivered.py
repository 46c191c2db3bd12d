"""What goes out of `driftsentry notify` where a receiver does not take what it is told."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class UndeliveredData(BaseModel):
    """The `data` of a record on the topic of what was not delivered.

    It says which record, and holds nothing of it: that one is on its own topic, where the latest of
    its key is what holds.
    """

    model_config = ConfigDict(frozen=True, title="Undelivered")

    sink: str = Field(description="The receiver's name in the settings.")
    topic: str = Field(description="Where the record stands that was not taken.")
    partition: int = Field(description="Its partition.")
    offset: int = Field(description="Its offset.")
    key: str = Field(description="Its key: the id of the incident or the request.")
    message_id: str = Field(description="The `webhook-id` under which it was sent.")
    type: str = Field(description="The type under which it was sent.")
    reason: str = Field(description="How the last attempt failed.")
    n_attempts: int = Field(description="How often it was sent.")
    gave_up_ms: int = Field(description="When it was given up, by the clock of this process.")
