"""What the responder decides by: when evidence is one incident, when a retraining is safe."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.incidents import Reason
from schemas.strict import FROM_LIST, Strict

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
MAX_SPELL_MS: Final = 366 * _DAY_MS

Spell = Annotated[int, Field(ge=0, le=MAX_SPELL_MS)]


class IncidentConfig(Strict):
    """When evidence belongs together, and when an incident is over. All times are event times."""

    join_ms: Spell = 60 * _MINUTE_MS
    """Evidence of one model that begins within this time after other evidence has spread belongs to
    the same incident. So does what is found later of a change that began before. Where labels come
    later than this, errors open an incident of their own."""
    quiet_ms: Spell = 60 * _MINUTE_MS
    """An incident is closed when all of its evidence has ended and nothing was said so long."""
    stale_ms: Spell = 7 * _DAY_MS
    """Evidence that has not ended, and of which nothing was said for this time, counts as ended."""
    benign_after_ms: Spell = 0
    """Benign drift is an incident once it has lasted so long; what comes back sooner is none. All
    else is one at once, and benign drift that turns out to be harm as well. 0: at once."""
    keep_ms: Spell = 90 * _DAY_MS
    """How long the evidence of a closed incident is kept after its last word. Evidence that comes
    later than this is not taken in. It is as long as anomalies stay on their topic; a rebuild could
    not have back what is older."""
    keep_unended_ms: Spell = MAX_SPELL_MS
    """The same where some of it has not ended: more may be said of it. Of a model version there are
    at most as many such alerts as a worker holds open."""
    unknown_ms: Spell = 7 * _DAY_MS
    """What a person says of an incident that nobody knows is kept so long, and then dropped: from
    its record's timestamp to the event time up to which all was read of the partition that is
    furthest. The incident may come meanwhile."""


class RetrainingConfig(Strict):
    """When a retraining is asked for, and what holds it back. Offsets are of the events topic."""

    reasons: Annotated[tuple[Reason, ...], Field(min_length=1), FROM_LIST] = ("harmful_drift",)
    """Incidents of these reasons ask for a retraining; what a person says counts as the reason."""
    window_offsets: Annotated[int, Field(ge=100, le=100_000_000)] = 20_000
    """Length of the clean window from where the change began, in offsets of each partition."""
    max_doublings: Annotated[int, Field(ge=0, le=16)] = 4
    """So often the window is doubled where too few of its predictions have labels in it."""
    min_label_coverage: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least share of the window's predictions that have their label in the window."""
    min_labels: Annotated[int, Field(ge=1)] = 500
    """Least number of labels in the window, those in quarantine left out."""
    quarantine: Literal["ask", "act"] = "ask"
    """What follows where an attack is suspected in the window and all its sources are named: `ask`
    holds the request until a person approves of the quarantine, `act` releases it without them."""
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.3
    """With `act`: the largest share of the window's labels that may be left out without asking."""
    cooldown_ms: Spell = _DAY_MS
    """After a request for a model was released, none whose window begins within this time from the
    end of that one's is released before that time is over, in event time."""


class RollbackConfig(Strict):
    """How a new version of a model is compared with the last one. Offsets are of the events topic.

    Which windows are compared, and on which labels, follows from these and the events alone.
    """

    policy: Literal["observe", "ask", "act"] = "ask"
    """What follows where a new version is worse: `observe` only says so in its follow-up, `ask`
    holds a rollback request until a person approves, `act` releases it. Nobody carries it out."""
    window_offsets: Annotated[int, Field(ge=100, le=100_000_000)] = 20_000
    """So many offsets of each partition from the new version's first event are looked at, and as
    many before it where the last version has stopped."""
    max_doublings: Annotated[int, Field(ge=0, le=16)] = 4
    """So often the windows are doubled while one of the versions has too few labels."""
    min_labels: Annotated[int, Field(ge=30)] = 500
    """Least number of labelled predictions of each version. The first windows that have them
    decide, and no longer ones."""
    min_group_labels: Annotated[int, Field(ge=30)] = 100
    """A group is compared where each version has so many labelled predictions in it."""
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """That all intervals of one comparison hold, by Bonferroni over its groups."""
    least_loss: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """A version is worse where the whole interval of the difference lies above this: a share of
    wrong predictions, or for numbers in their own unit."""
    look_every: Annotated[int, Field(ge=100, le=1_000_000)] = 5_000
    """New versions are looked for in the last `look_offsets` of each so many offsets of a partition
    that are settled; where one is seen, all of them are read for its first event."""
    look_offsets: Annotated[int, Field(ge=10, le=1_000_000)] = 1_000
    """As many as `look_every`, or more, read everything."""
