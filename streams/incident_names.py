"""From what a person types to an incident or a request: an id, or the beginning of one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from schemas.incidents import IncidentData
from schemas.printable import masked
from streams.identity import incident_id

MIN_PREFIX: Final = 4
"""So many digits must be given: fewer soon name another one."""
_PREFIX: Final = re.compile(rf"[0-9a-f]{{{MIN_PREFIX},32}}")
_MAX_NAMED: Final = 8
Named = TypeVar("Named")


class UnknownNameError(ValueError):
    """What was typed names nothing, or more than one thing; the message says what to do."""


def names_of(incident: IncidentData) -> frozenset[str]:
    """Its name, and those that it had, or that incidents had which became part of it.

    Of the evidence that its record names: of much, the first and the latest.
    """
    evidence = (each.evidence_id for each in incident.evidence)
    before = (incident_id(incident.deployment, incident.model_id, each) for each in evidence)
    return frozenset({incident.incident_id, *before})


def incident_named(typed: str, incidents: Iterable[IncidentData]) -> IncidentData:
    """The one incident of this name. Raises `UnknownNameError`.

    An incident that became part of another one is that other one.
    """
    own = {each.incident_id: each for each in incidents}
    prefix = id_prefix(typed, "incident")
    if not any(name.startswith(prefix) for name in own):
        found = [each for each in own.values() if _had(each, prefix)]
        if len(found) == 1:
            return found[0]
    return one_named(prefix, own, "incident")


def one_named(typed: str, known: Mapping[str, Named], what: str) -> Named:
    """What has this id, or alone has one that begins like this. Raises `UnknownNameError`.

    `what` says of what kind they are.
    """
    prefix = id_prefix(typed, what)
    if prefix in known:
        return known[prefix]
    found = sorted(name for name in known if name.startswith(prefix))
    if len(found) == 1:
        return known[found[0]]
    if not found:
        raise UnknownNameError(
            f"there is no {what} {prefix}; `driftsentry {_LISTED[what]}` names those that there are"
        )
    more = f" and {len(found) - _MAX_NAMED:,} more" if len(found) > _MAX_NAMED else ""
    named = masked(", ".join(found[:_MAX_NAMED]))
    raise UnknownNameError(f"{len(found):,} begin with {prefix}: {named}{more}; give more digits")


def _had(incident: IncidentData, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names_of(incident))


_LISTED: Final = {
    "incident": "incident list --all",
    "request": "incident requests",
    "rollback": "rollback requests",
    "follow-up": "rollback followups",
}


def id_prefix(typed: str, what: str) -> str:
    """How the id of what a person means begins. Raises `UnknownNameError` where they typed none."""
    prefix = typed.strip().lower()
    if _PREFIX.fullmatch(prefix) is None:
        raise UnknownNameError(
            f"{masked(typed)!r} names no {what}: give its id, or at least the first {MIN_PREFIX} "
            "of its 32 hex digits"
        )
    return prefix
