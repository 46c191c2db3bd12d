"""How alerts and anomalies become incidents: times by which they are put together and closed."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from schemas.strict import Strict

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
MAX_SPELL_MS: Final = 366 * _DAY_MS

Spell = Annotated[int, Field(ge=0, le=MAX_SPELL_MS)]


class IncidentConfig(Strict):
    """When evidence belongs together, and when an incident is over. All times are event times."""

    join_ms: Spell = 60 * _MINUTE_MS
    """Evidence of one model that begins within this time after other evidence has spread belongs to
    the same incident. Where labels come later than this, errors open an incident of their own."""
    quiet_ms: Spell = 60 * _MINUTE_MS
    """An incident is closed when all of its evidence has ended and nothing was said so long."""
    stale_ms: Spell = 7 * _DAY_MS
    """Evidence that has not ended, and of which nothing was said for this time, counts as ended."""
    keep_ms: Spell = 90 * _DAY_MS
    """How long the evidence of a closed incident is kept after its last word. Evidence that comes
    later than this is not taken in. It is as long as anomalies stay on their topic; a rebuild could
    not have back what is older."""
    keep_unended_ms: Spell = MAX_SPELL_MS
    """The same where some of it has not ended: more may be said of it. Of a model version there are
    at most as many such alerts as a worker holds open."""
