"""What a person says to the workers: the records of the commands topic, and their journal form.

A worker applies a command at its next barrier and journals it there, whole: a replay reads events
and journal alone, never this topic. Times are those of events (`ts`), in epoch milliseconds.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from schemas.calibration import (
    MAX_CALIBRATION_BYTES,
    BadCalibrationError,
    CalibrationDocument,
    calibration_digest,
    require_calibration_size,
)
from schemas.documents import first_problem
from schemas.limits import MAX_ID_CHARS, MAX_TS_MS
from schemas.printable import masked
from schemas.reference import (
    MAX_REFERENCE_BYTES,
    BadReferenceError,
    ReferenceDocument,
    digest_of,
    require_size,
)

MAX_COMMAND_BYTES: Final = 32_768
MAX_SET_BYTES: Final = max(MAX_REFERENCE_BYTES, MAX_CALIBRATION_BYTES) + MAX_COMMAND_BYTES
"""Of a command that sets a reference or a calibration: it holds it."""
MAX_REASON_CHARS: Final = 256
_MAX_SAID: Final = 300

_Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
_Time = Annotated[int, Field(ge=0, le=MAX_TS_MS)]


class CommandError(ValueError):
    """A record of the commands topic is no command."""


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    command_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = Field(
        description="Names the command; `withdraw` refers to it."
    )
    by: Annotated[str, Field(max_length=MAX_ID_CHARS)] = Field(
        default="", description="Who said it."
    )
    reason: Annotated[str, Field(max_length=MAX_REASON_CHARS)] = Field(
        default="", description="Why, for whoever reads it in an alert or in the journal."
    )


class _Spell(_Said):
    """A time within which something holds for the alerts of a model."""

    model_id: _Id = Field(description="The model it is about.")
    model_version: _Id | None = Field(default=None, description="Only this version of it.")
    signal: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS + 16)] | None = Field(
        default=None, description="Only this signal, as alerts name it: `feature:X`, `score`."
    )
    from_ms: _Time = Field(description="From events of this time on.")
    until_ms: _Time = Field(description="Until events of this time, exclusively.")

    @model_validator(mode="after")
    def _is_some_time(self) -> Self:
        if self.from_ms >= self.until_ms:
            raise ValueError("`until_ms` must lie after `from_ms`")
        return self


class Mute(_Spell):
    """Hold the alerts of a model back; once it is over, what is still away then is told."""

    kind: Literal["mute"] = "mute"


class PlannedChange(_Spell):
    """A change is expected: alerts opened within that time say so, in `planned`."""

    kind: Literal["planned_change"] = "planned_change"


class Acknowledge(_Said):
    """A person knows of an alert: of it only what is worse, or its end, is told from here on."""

    kind: Literal["acknowledge"] = "acknowledge"
    alert_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] = Field(
        description="The alert, open by now."
    )


class Withdraw(_Said):
    """End a mute or a planned change before its time."""

    kind: Literal["withdraw"] = "withdraw"
    withdraws: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = Field(
        description="The `command_id` of what is to end."
    )


class SetReference(_Said):
    """Compare a model version with this reference from here on; its detectors begin anew.

    A version that is not monitored yet will have it instead of learning one.
    """

    kind: Literal["reference"] = "reference"
    model_id: _Id = Field(description="The model it is for.")
    model_version: _Id = Field(description="The version it is for.")
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] = Field(
        description="Of `document`: what a person has looked at."
    )
    document: ReferenceDocument = Field(description="As `driftsentry reference fit` wrote it.")

    @model_validator(mode="after")
    def _holds_what_it_names(self) -> Self:
        try:
            canonical = require_size(self.document)
        except BadReferenceError as error:
            raise ValueError(str(error)) from None
        if digest_of(canonical) != self.digest:
            raise ValueError(f"`digest` must be that of `document`, {digest_of(canonical)}")
        return self


class SetCalibration(_Said):
    """Judge the clients of a model version by this calibration from here on.

    For the security duty, whose detectors begin anew for that version. A version that has sent
    nothing yet will have it instead of learning one.
    """

    kind: Literal["calibration"] = "calibration"
    model_id: _Id = Field(description="The model it is for.")
    model_version: _Id = Field(description="The version it is for.")
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] = Field(
        description="Of `document`: what a person has looked at."
    )
    document: CalibrationDocument = Field(description="As `security calibrate` wrote it.")

    @model_validator(mode="after")
    def _holds_what_it_names(self) -> Self:
        try:
            canonical = require_calibration_size(self.document)
        except BadCalibrationError as error:
            raise ValueError(str(error)) from None
        if calibration_digest(canonical) != self.digest:
            raise ValueError(
                f"`digest` must be that of `document`, {calibration_digest(canonical)}"
            )
        return self


class RunOut(_Said):
    """The time of a mute or a planned change is over: a worker journals it, nobody sends it."""

    kind: Literal["run_out"] = "run_out"


Spell = Mute | PlannedChange
"""What holds for a time."""
Command = Mute | PlannedChange | Acknowledge | Withdraw | SetReference | SetCalibration
"""What a person may say."""
Order = Command | RunOut
"""What a worker may journal."""

COMMAND: Final[TypeAdapter[Command]] = TypeAdapter(Annotated[Command, Field(discriminator="kind")])
"""The contract of the commands topic."""


_SETS: Final = (b'"reference"', b'"calibration"')


def read_command(value: bytes | None) -> Command:
    """The command in a record's value. Raises `CommandError`, which names the field."""
    is_large = value is not None and any(kind in value for kind in _SETS)
    most = MAX_SET_BYTES if is_large else MAX_COMMAND_BYTES
    if value is None or len(value) > most:
        raise CommandError(f"a command is one JSON object of at most {most} bytes")
    try:
        command = COMMAND.validate_json(value)
    except ValidationError as error:
        # What it says may hold what was sent.
        said = masked(first_problem(error, "the value"))
        raise CommandError(said[:_MAX_SAID] + "..." * (len(said) > _MAX_SAID)) from None
    if len(value) > MAX_COMMAND_BYTES and not isinstance(command, SetReference | SetCalibration):
        raise CommandError(
            f"a command but `reference` and `calibration` has at most {MAX_COMMAND_BYTES} bytes"
        )
    return command
