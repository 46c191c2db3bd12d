"""What `driftsentry rollback` asks of a cluster, and what it says to the responder."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.commands import CommandError
from schemas.printable import masked
from schemas.responses import OpenRollback, read_response
from schemas.rollback import FollowUpData, RollbackData
from streams.cli_options import EXIT_DECISION, fail
from streams.incident_view import SHORT
from streams.response_cluster import ResponseCluster


class RollbackCluster(ResponseCluster):
    """Topics with rollback requests and follow-ups."""

    def requests(self) -> dict[str, RollbackData]:
        """Every rollback request as it is now, by its id."""
        return self.records_now(self.topics.rollback, RollbackData, lambda each: each.request_id)

    def followups(self) -> dict[str, FollowUpData]:
        """Every follow-up as it is now, by its id."""
        return self.records_now(self.topics.followup, FollowUpData, lambda each: each.followup_id)

    def request(self, typed: str) -> RollbackData:
        """The one that a person means."""
        return self.one_of(typed, self.requests(), "rollback")

    def followup(self, typed: str) -> FollowUpData:
        """The one that a person means."""
        return self.one_of(typed, self.followups(), "follow-up")

    def has_opened(self, by: str, request: RollbackData) -> bool:
        """Whether it is recorded that this person was shown what a request rests on."""
        return any(
            each.by == by and each.request_id == request.request_id for each in self._openings()
        )

    def require_opened(self, by: str, request: RollbackData) -> None:
        """Refuse, with exit code 3, where this person has not been shown it."""
        if not self.has_opened(by, request):
            raise fail(
                masked(
                    f"{by} has not looked at what it rests on: do it with `driftsentry rollback "
                    f"show {request.request_id[:SHORT]}`, or say --unseen, which stands in the "
                    "record for all to read"
                ),
                EXIT_DECISION,
            )

    def say(self, kind: str, request: RollbackData, by: str, reason: str = "") -> str:
        """Check what a person says of a request, send it, and give its id."""
        return self.send(kind, request, by, reason, request_id=request.request_id)

    def _openings(self) -> Iterator[OpenRollback]:
        for _, value in self.read(self.topics.commands):
            try:
                word = read_response(value)
            except CommandError:
                continue
            if isinstance(word, OpenRollback):
                yield word
