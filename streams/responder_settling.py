"""Up to which events everything that was said of them has been read. Pure.

At a look it is asked first how far every duty has committed the events, and then where alerts and
anomalies end. A worker's alerts are in the log before the commit of their events can be seen, so
all that was said of those events lies before these ends. Once the responders' own group has
committed past them, those events are settled.

The ends are those of the log, open transactions included. Where a reader of committed records must
stop would not do: it stops at the first open transaction, and what a worker has committed behind
that one is not read yet.

What is settled is settled of a fold: commits say of which lineage they are, and on which topic.
Where the topic was made anew its offsets begin again under another lineage, and release nothing
that an alert of the former one asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from streams.responder_ports import FoldPlace

WATERMARK_EVENTS: Final = 100
"""Of how many events the median time counts."""

OutputPlace = tuple[str, int]
"""A topic of alerts or anomalies, and a partition."""


class Look(NamedTuple):
    """What was seen at one moment; `folded` was asked for before `ends`."""

    folded: Mapping[FoldPlace, int]
    """By partition of the events and its fold, where every duty has committed: the least of their
    offsets."""
    ends: Mapping[OutputPlace, int]
    """Where each partition of alerts and anomalies ends, open transactions included."""


class Settling:
    """Looks, each of which settles something as soon as the responders have read up to its ends.

    One look at a time is waited for: a younger one has later ends, and waiting for ever younger
    ones would never be over while there is always something new.
    """

    def __init__(self) -> None:
        self._pending: Look | None = None

    def advance(self, look: Look, done: Mapping[OutputPlace, int]) -> dict[FoldPlace, int]:
        """By partition of the events and its fold the first offset that is not settled.

        `done` is up to where the responders' group has committed, asked for after the look.
        """
        if _is_passed(look, done):
            self._pending = None
            return dict(look.folded)
        before = self._pending
        if before is None:
            self._pending = look
            return {}
        if not _is_passed(before, done):
            return {}
        self._pending = look
        return dict(before.folded)


class DutyCommit(NamedTuple):
    """How far one duty has folded a partition, as its commit says."""

    offset: int
    lineage: str
    topic_id: str
    """Of the events topic whose offsets these are."""


def least(commits: Sequence[Mapping[int, DutyCommit]]) -> dict[FoldPlace, int]:
    """The least commit of all duties, by partition and the lineage of the first of the duties.

    Of partitions of which each of them has one, all of them on the same topic: where it was made
    anew one of them may still be where the former one was.
    """
    if not commits:
        return {}
    found = {}
    for partition in sorted(set(commits[0]).intersection(*commits[1:])):
        own = [each[partition] for each in commits]
        if len({each.topic_id for each in own}) == 1:
            place = FoldPlace(partition, own[0].lineage)
            found[place] = min(each.offset for each in own)
    return found


def watermark_of(times_ms: Sequence[int]) -> int | None:
    """The event time up to which a partition counts as read; None without an event.

    `times_ms` are those of the last events before its settled offset, at most `WATERMARK_EVENTS`
    count. Their median: one event that claims to be of the future moves it by no more than one
    place, and it takes half of them to lead it astray.
    """
    last = sorted(times_ms[-WATERMARK_EVENTS:])
    return last[(len(last) - 1) // 2] if last else None


def _is_passed(look: Look, done: Mapping[OutputPlace, int]) -> bool:
    return all(done.get(place, 0) >= end for place, end in look.ends.items())
