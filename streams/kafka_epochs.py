"""Leader epochs: how a log that was cut off and filled again beyond the commit is noticed.

A partition's leader epoch rises with every election, and each record keeps the one that it was
written under. So the epoch of the record before an offset names the log up to there: where it has
become another, a leader without these records was elected, and has written others in their place.
The epoch is committed with the offset (KIP-320), and compared with the record that is there when
the partition is read again. librdkafka 2.16 does not do that: it validates a position when the
leader changes, not the offset of an assignment (docs/decisions/0022-leader-epochs.md).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from confluent_kafka import Message

from schemas.records import TopicPartition
from streams.recovery import OperatorNeededError

UNKNOWN: Final = -1
"""The client's word for no epoch: it is neither committed nor compared."""


class LeaderEpochs:
    """Of each partition the epoch before two offsets: the committed one, and the next to be read.

    Nothing here is done for each record: of a run the last one is looked at.
    """

    def __init__(self) -> None:
        self._committed: Final[dict[TopicPartition, tuple[int, int]]] = {}
        self._next: Final[dict[TopicPartition, tuple[int, int]]] = {}

    def committed(self, tp: TopicPartition, offset: int, epoch: int | None) -> None:
        """Note what the group has committed; without an epoch nothing can be compared."""
        self._committed.pop(tp, None)
        if offset >= 0 and epoch is not None:
            self._committed[tp] = offset, epoch

    def before(self, tp: TopicPartition, offset: int) -> int:
        """The leader epoch of the record right before this offset; `UNKNOWN` where it is not known.

        Where it is known that record was delivered: there was no hole.
        """
        for known in (self._next.get(tp), self._committed.get(tp)):
            if known is not None and known[0] == offset:
                return known[1]
        return UNKNOWN

    def compare(
        self, tp: TopicPartition, start: int, offsets: Sequence[int], messages: Sequence[Message]
    ) -> None:
        """Compare what is known with these messages: all that the log has from `start` on.

        `offsets` are theirs, and rise. Raises `OperatorNeededError`: none of them may be folded.
        """
        for known in (self._committed.get(tp), self._next.get(tp)):
            if known is None or known[1] == UNKNOWN or not start < known[0] <= offsets[-1] + 1:
                continue
            offset, epoch = known
            at = bisect_left(offsets, offset - 1)
            if offsets[at] != offset - 1:
                said = f"the record before it had leader epoch {epoch}, and is gone"
                raise truncated(tp, offset, said)
            found = messages[at].leader_epoch()
            if found is not None and found != epoch:
                said = f"the record before it had leader epoch {epoch}, and has {found} now"
                raise truncated(tp, offset, said)

    def delivered(self, tp: TopicPartition, last: Message, offset: int) -> None:
        """Note the last message of a run, which has this offset."""
        epoch = last.leader_epoch()
        self._next[tp] = offset + 1, UNKNOWN if epoch is None else epoch

    def forget(self, tp: TopicPartition) -> None:
        """The partition may be another member's."""
        self._committed.pop(tp, None)
        self._next.pop(tp, None)


def truncated(tp: TopicPartition, offset: int, said: str) -> OperatorNeededError:
    """Records that were folded are not in the log any more; how it showed is `said`."""
    return OperatorNeededError(
        "log_truncated",
        tp,
        f"the log before offset {offset} is not the one that was folded: {said}. Records were lost "
        "(an unclean leader election, or a broker's disk), and others may have taken their "
        "offsets. Set the group's offset with Kafka's own tools to where to go on, or delete it, "
        "and start once with --accept-reset to begin a new lineage there (alerts get new "
        "identities).",
    )
