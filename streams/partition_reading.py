"""Up to where one partition is done with, while its records are still in many hands. Pure.

A record is handed out, and some time later it is handled. Everything below the first that is handed
out and not handled is done with, and so is what no reader is ever given: records of aborted
transactions and the markers that end transactions. So an offset committed from here skips nothing,
in whatever order records are handled, and reaches the end of the partition where all is handled.
"""

from __future__ import annotations


class PartitionReading:
    """What of one partition was handed out, since it was assigned, and is not handled yet."""

    __slots__ = ("_outstanding", "_read_to")

    def __init__(self) -> None:
        self._outstanding: set[int] = set()
        self._read_to: int | None = None

    def hand_out(self, offset: int) -> None:
        """The record at this offset is given to whoever handles it; twice is the same as once."""
        self._outstanding.add(offset)
        self.read_to(offset + 1)

    def handled(self, offset: int) -> None:
        """The record at this offset is done with; one that was not handed out changes nothing."""
        self._outstanding.discard(offset)

    def read_to(self, position: int) -> None:
        """Everything below this position was handed out, or is nothing that readers are given."""
        if self._read_to is None or position > self._read_to:
            self._read_to = position

    @property
    def n_outstanding(self) -> int:
        """Records that are handed out and not handled."""
        return len(self._outstanding)

    @property
    def done_to(self) -> int | None:
        """The offset to commit: nothing below it is left to do. None: nothing is known yet."""
        return min(self._outstanding) if self._outstanding else self._read_to
