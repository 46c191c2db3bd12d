"""One lineage's numbering on one output topic: what the fold says against what stands there. Pure.

What the fold says comes in the order of `seq`; the table is sorted by it: one walk through both.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from streams.audit_observed import (
    Observed,
    OutputDuty,
    Seen,
    Table,
    content_digest,
    input_offset,
    murmur2_partition,
    name_number,
)
from streams.audit_verdict import Difference, Kind, Verdict


class _Absent(NamedTuple):
    """An expected record that is not there."""

    seq: int
    ce_id: str
    input_offset: int
    is_expired: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Whose numbering it is."""

    duty: OutputDuty
    partition: int
    lineage: str
    start_offset: int
    """Where the lineage began."""


class Ledger:
    """Takes every record that the fold says; then `close` says what is left over.

    `base` is the last number before the first record that is folded: up to there only numbers are
    looked at. `repeats_allowed`: outputs come at least once.
    """

    def __init__(
        self,
        place: Place,
        observed: Observed,
        base: int,
        verdict: Verdict,
        *,
        repeats_allowed: bool,
    ) -> None:
        self.place: Final = place
        self.table: Final[Table] = observed.table(place.duty, place.lineage)
        self.next_seq = base + 1
        self._base: Final = base
        self._low: Final = observed.low[place.duty]
        self._verdict: Final = verdict
        self._repeats_allowed: Final = repeats_allowed
        self._seq: Final[list[int]] = self.table.seq.tolist()
        self._first: Final = int(np.searchsorted(self.table.seq, base + 1))
        """The first record of the table that is compared by content."""
        self._next = self._first
        self._n_unnumbered: Final = int(np.searchsorted(self.table.seq, 1))
        numbered = slice(self._n_unnumbered, None)
        partitions, rows = np.unique(self.table.partition[numbered], return_index=True)
        self._first_seq: Final[dict[int, int]] = dict(
            zip(partitions.tolist(), self.table.seq[numbered][rows].tolist(), strict=True)
        )
        """The first number that each output partition holds."""
        self._absent: list[_Absent] = []
        """Owed, and not there."""
        self._pending: list[_Absent] = []
        """Not there, and owed only if a later one is there."""

    @property
    def has_more(self) -> bool:
        """Whether records are there that the fold has not come to."""
        return self._next < len(self._seq)

    def expect(self, seen: Seen, *, is_owed: bool) -> None:
        """The fold says this record under the next number; `is_owed`: it must be there."""
        seq = self.next_seq
        self.next_seq += 1
        first = self._next
        while self._next < len(self._seq) and self._seq[self._next] == seq:
            self._next += 1
        if first == self._next:
            at = input_offset(self.place.duty, seen)
            absent = _Absent(seq, seen.header("ce_id"), at, self._is_expired(seen.key, seq))
            (self._absent if is_owed else self._pending).append(absent)
            return
        # What is said later is there: so all before it had been committed.
        self._absent += self._pending
        self._pending.clear()
        self._compare(seen, range(first, self._next))

    def _compare(self, seen: Seen, rows: range) -> None:
        """Records of the expected number are there: one must be right, and no other there."""
        table, content = self.table, content_digest(seen)
        equal = [
            i
            for i in rows
            if table.content[i].tobytes() == content
            and int(table.timestamp_ms[i]) in {-1, seen.timestamp_ms}
        ]
        kept = equal[0] if equal else rows[0]
        if equal:
            self._verdict.n_equal[self.place.duty] += 1
        else:
            self._differs(Kind.ALTERED, "its content is not what the fold says", kept, seen)
        for i in rows:
            if i == kept:
                continue
            if i not in equal and self._repeats_allowed:
                self._differs(Kind.ALTERED, "a repeat with other content", i, seen)
            elif self._repeats_allowed:
                self._verdict.n_repeats += 1
            else:
                text = "it is there again" if i in equal else "its seq is there again, as another"
                self._differs(Kind.DUPLICATED, text, i, seen)

    def close(self, n_later: int) -> None:
        """Nothing more is folded; numbers up to `n_later` may be of commits made meanwhile."""
        self._verdict.n_beyond_end += len(self._pending)
        self._look_at_numbers(self._base, self._first)
        self._look_at_rest(n_later)
        for absent in self._absent:
            if absent.is_expired:
                self._verdict.n_expired += 1
            else:
                self._verdict.differs(self._missing(absent))
        self._look_at_order()

    def close_unfolded(self, n_said: int) -> None:
        """Nothing was folded: only numbers are looked at; the commit speaks of so many."""
        for i in range(self._n_unnumbered):
            self._differs(Kind.EXTRA, "it has no readable ce_sequence", i)
        self._look_at_numbers(max(n_said, self.table.max_seq), len(self._seq))
        self._look_at_order()

    def _look_at_numbers(self, last: int, end: int) -> None:
        """Tell of numbers 1 to `last`, in rows before `end`, that are left out or there twice."""
        start = self._n_unnumbered
        known = np.unique(self.table.seq[start:end])
        self._verdict.n_only_numbered += len(known)
        for before, after in pairwise([0, *known.tolist(), last + 1]):
            n_absent = after - before - 1
            if n_absent > 0 and not self._is_expired(None, after - 1):
                names = f"{before + 1}" if n_absent == 1 else f"{before + 1} to {after - 1}"
                self._verdict.differs(self._difference(Kind.SEQ_GAP, f"seq {names} is not there"))
        for i in range(start + 1, end):
            if self._seq[i] != self._seq[i - 1]:
                continue
            if self._repeats_allowed and self.table.content[i] == self.table.content[i - 1]:
                self._verdict.n_repeats += 1
            else:
                self._differs(Kind.DUPLICATED, "its seq is there again", i)

    def _look_at_rest(self, n_later: int) -> None:
        """Records that the fold has not come to: of later commits, or there without reason."""
        table = self.table
        later = max(self._next, int(np.searchsorted(table.seq, n_later, "right")))
        self._verdict.n_later += later - self._next
        rest = [*range(self._n_unnumbered), *range(later, len(self._seq))]
        if not rest:
            return
        known = frozenset(table.name[self._n_unnumbered : self._next].tolist())
        absent = {name_number(each.ce_id): each for each in self._absent}
        for i in rest:
            name = int(table.name[i])
            moved = absent.pop(name, None)
            if moved is not None:
                self._absent.remove(moved)
                text = f"its seq is {self._seq[i]}, and should be {moved.seq}"
                self._differs(Kind.ALTERED, text, i)
            elif name in known:
                self._differs(Kind.DUPLICATED, "its ce_id is there again, under another seq", i)
            elif 0 <= int(table.input_offset[i]) < self.place.start_offset:
                text = f"the lineage began later, at {self.place.start_offset}"
                self._differs(Kind.ORPHAN, text, i)
            else:
                self._differs(Kind.EXTRA, "up to what is committed the fold does not say it", i)

    def _look_at_order(self) -> None:
        """Within a partition of the output topic numbers rise; those there twice are told of."""
        table = self.table
        _, inverse, times = np.unique(table.seq, return_inverse=True, return_counts=True)
        rows = np.flatnonzero((times[inverse] == 1) & (table.seq > 0))
        rows = rows[np.lexsort((table.offset[rows], table.partition[rows]))]
        same = table.partition[rows[1:]] == table.partition[rows[:-1]]
        falls = same & (table.seq[rows[1:]] < table.seq[rows[:-1]])
        for i in np.flatnonzero(falls).tolist():
            text = f"it stands behind seq {self._seq[rows[i]]}"
            self._differs(Kind.OUT_OF_ORDER, text, int(rows[i + 1]))

    def _is_expired(self, key: bytes | None, seq: int) -> bool:
        """Whether the topic's retention may have removed the record of this number.

        Kafka drops whole beginnings of partitions: so where the partition of the key has lost
        its beginning, and holds nothing of this lineage before that number.
        """
        low = self._low
        asked = low if key is None else [murmur2_partition(key, len(low))]
        return any(
            low.get(partition, 0) > 0 and self._first_seq.get(partition, seq) >= seq
            for partition in asked
        )

    def _missing(self, absent: _Absent) -> Difference:
        place = self.place
        return Difference(
            Kind.MISSING,
            place.partition,
            place.lineage,
            "the fold says it, and it is not there",
            place.duty,
            absent.seq,
            absent.ce_id,
            absent.input_offset,
        )

    def _difference(self, kind: Kind, detail: str) -> Difference:
        place = self.place
        return Difference(kind, place.partition, place.lineage, detail, place.duty)

    def _differs(self, kind: Kind, detail: str, row: int, expected: Seen | None = None) -> None:
        place, table = self.place, self.table
        self._verdict.differs(
            Difference(
                kind,
                place.partition,
                place.lineage,
                detail,
                place.duty,
                max(0, self._seq[row]),
                "" if expected is None else expected.header("ce_id"),
                int(table.input_offset[row]),
                table.position(row),
                expected,
            )
        )
