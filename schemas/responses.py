"""What a person says to the responder: of an incident, of a request. Records of the commands topic.

Workers pass over them: nothing of the fold hangs on them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.commands import MAX_COMMAND_BYTES, MAX_REASON_CHARS, Command, CommandError
from schemas.documents import first_problem
from schemas.incidents import Reason
from schemas.limits import MAX_ID_CHARS
from schemas.printable import masked

MAX_REVISION: Final = 2**53 - 1
MAX_EVIDENCE_IDS: Final = 576
"""So many fit into a command, and no incident names more."""

_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_Revision = Annotated[
    int, Field(ge=1, le=MAX_REVISION, description="Of the incident, as it was shown.")
]
_Evidence = Annotated[
    dict[_Hex, Annotated[int, Field(ge=1, le=MAX_REVISION)]],
    Field(
        min_length=1,
        max_length=MAX_EVIDENCE_IDS,
        description="The evidence that was shown: by id the revision of it.",
    ),
]
_EvidenceIds = Annotated[
    tuple[_Hex, ...],
    Field(
        min_length=1, max_length=MAX_EVIDENCE_IDS, description="The evidence that was shown, by id."
    ),
]


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    command_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = Field(
        description="Names what was said."
    )
    deployment: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)] = Field(
        description="The deployment's name, as the incident has it."
    )
    model_id: Annotated[str, Field(max_length=MAX_ID_CHARS)] = Field(
        description="The model of the incident; empty where it is about a partition."
    )
    by: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)] = Field(
        description="Who said it."
    )
    reason: Annotated[str, Field(max_length=MAX_REASON_CHARS)] = Field(
        default="", description="Why, for whoever reads it in the incident."
    )


class _Said(_Word):
    incident_id: _Hex = Field(description="The incident that it is about.")


class OverruleIncident(_Said):
    """An incident is of this reason, whatever the rules say. The latest word counts.

    It lets through what it names, and nothing that is found later.
    """

    kind: Literal["overrule"] = "overrule"
    verdict: Reason = Field(description="What it is.")
    evidence: _Evidence


class ApproveQuarantine(_Said):
    """A retraining may go on with the events left out that these anomalies speak of, and no more.

    What is found later holds it again.
    """

    kind: Literal["approve"] = "approve"
    request_id: _Hex = Field(description="The request.")
    revision: _Revision
    evidence_ids: _EvidenceIds


class OpenEvidence(_Said):
    """A person has been shown the evidence of an incident, by `driftsentry incident show`."""

    kind: Literal["opened"] = "opened"
    revision: _Revision
    evidence: _Evidence


class ApproveRollback(_Word):
    """A rollback may be done, whatever holds it back."""

    kind: Literal["approve_rollback"] = "approve_rollback"
    request_id: _Hex = Field(description="The rollback request.")


class OpenRollback(_Word):
    """A person has been shown what a rollback rests on, by `driftsentry rollback show`."""

    kind: Literal["opened_rollback"] = "opened_rollback"
    request_id: _Hex = Field(description="The rollback request.")


Response = OverruleIncident | ApproveQuarantine | OpenEvidence | ApproveRollback | OpenRollback
"""What the responder hears."""
RESPONSE: Final[TypeAdapter[Response]] = TypeAdapter(
    Annotated[Response, Field(discriminator="kind")]
)
SAID: Final[TypeAdapter[Command | Response]] = TypeAdapter(
    Annotated[Command | Response, Field(discriminator="kind")]
)
"""The contract of the commands topic: what workers obey, and what the responder hears."""
_KINDS: Final = frozenset({"overrule", "approve", "opened", "approve_rollback", "opened_rollback"})
_MAX_SAID: Final = 300


def is_response(value: bytes | None) -> bool:
    """Whether a record is for the responder, and no worker's business."""
    if value is None or len(value) > MAX_COMMAND_BYTES:
        return False
    try:
        said = orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    kind = said.get("kind") if isinstance(said, dict) else None
    return isinstance(kind, str) and kind in _KINDS


def read_response(value: bytes | None) -> Response | None:
    """What a record says to the responder; None of what is for workers.

    Raises `CommandError`, which names the field.
    """
    if value is None or not is_response(value):
        return None
    try:
        return RESPONSE.validate_json(value)
    except ValidationError as error:
        said = masked(first_problem(error, "the value"))
        raise CommandError(said[:_MAX_SAID] + "..." * (len(said) > _MAX_SAID)) from None
