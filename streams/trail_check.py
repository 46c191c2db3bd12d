"""Whether an audit trail is whole, and else which record breaks it and how. Pure.

A record that was changed and hashed anew is given away by the one behind it. What nothing gives
away is the end: a trail from which the last records were taken, or to which somebody who may write
there has added some, is whole in itself. A head that is kept elsewhere shows that.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from schemas.audit_check import BreakKind, TrailBreak, TrailVerification
from schemas.audit_trail import (
    GENESIS,
    AuditRecord,
    AuditRecordError,
    Head,
    read_audit_record,
)

MAX_BREAKS: Final = 20
"""So many are told; all are counted."""


@dataclass(slots=True)
class _Break:
    kind: BreakKind
    seq: int
    place: int
    detail: str
    until: int = 0
    """Of missing records the last one."""


@dataclass(slots=True)
class _Run:
    """Records in a row that stand before others which should come first, or are none of ours."""

    broken: _Break
    before: Head
    link: str
    first: AuditRecord
    end: Head | None = None
    """Its last record, once the chain was found to go on before it."""


@dataclass(slots=True)
class TrailCheck:
    """Checks a trail record by record; `place` is an offset or a line, ascending."""

    heads: Iterable[Head] = ()
    chain: str | None = None
    n_records: int = 0
    first: AuditRecord | None = None
    last: Head | None = None
    """The latest record that is in its place."""
    _kept: dict[int, list[Head]] = field(default_factory=dict)
    _found: list[str] = field(default_factory=list)
    _unlike: dict[str, _Break] = field(default_factory=dict)
    """By kept head what stands in its place; none of a head that another chain has."""
    _breaks: list[_Break] = field(default_factory=list)
    _oldest: int = 1
    """The number of the trail's first record."""
    _n_beyond: int = 0
    _link: str = ""
    """The hash that the next record must name; empty where it cannot be known."""
    _n_strange: int = 0
    """Records behind `last` that may stand for some of the chain."""
    _doubt: _Break | None = None
    """A link that does not fit, until the next record says on which side of it the change is."""
    _seen: array[int] = field(default_factory=lambda: array("Q"))
    """The first eight bytes of every record's hash, from `first` on; 0 where there is none."""
    _last_place: int = 0
    _run: _Run | None = None
    """The latest records that were ahead of their turn."""

    def __post_init__(self) -> None:
        for head in self.heads:
            self._kept.setdefault(head.seq, []).append(head)

    def take(self, place: int, value: bytes | None) -> AuditRecord | None:
        """Check the next record; it comes back where it is one, whether in its place or not."""
        self._last_place = place
        try:
            record = read_audit_record(value)
            own_hash = record.content_hash()
        except AuditRecordError as error:
            self._strange("foreign", place, f"is no record of an audit trail: {error}")
            return None
        if own_hash != record.hash:
            self._strange(
                "changed", place, f"calls itself seq {record.seq}, and its content has another hash"
            )
            return None
        if self.chain is not None and record.chain != self.chain:
            if record.seq == 1 and record.prev == GENESIS and record.kind == "begun":
                self._restart(place, record)
                return record
            self._strange("foreign", place, f"belongs to chain {record.chain}, not {self.chain}")
            return None
        self.n_records += 1
        if self.chain is None:
            self._begin(place, record)
        elif record.seq > self._expected:
            self._ahead(place, record)
        elif record.seq < self._expected:
            self._behind(place, record)
        else:
            self._in_turn(place, record)
        return record

    def result(self) -> TrailVerification:
        """What was found; nothing may be taken after it."""
        run = self._run
        if run is not None and run.end is not None:
            if self._is_known(run.first.seq - 1, run.first.prev):
                self.last = run.end  # the end of the chain, out of its place
            else:
                run.broken.kind = "foreign"
                run.broken.detail = (
                    f"a record that calls itself seq {run.first.seq} stands here, and the chain "
                    "goes on without it"
                )
        first_seq = None if self.first is None else self.first.seq
        end = 0 if self.last is None else self.last.seq
        self._compare_beginning()
        open_heads = [
            head
            for heads in self._kept.values()
            for head in heads
            if str(head) not in self._unlike and str(head) not in self._found
        ]
        # Before the oldest record there may have been others, of whichever chain.
        before = [head for head in open_heads if head.seq < self._oldest - 1]
        for head in open_heads:
            if head.seq > end and head not in before:
                text = f"the trail ends at seq {end}, and the head of seq {head.seq} was kept"
                self._add(_Break("truncated", end + 1, self._last_place, text))
        # Of the first chain, if it does not begin with its first record, some may have gone.
        gone = [name for name, each in self._unlike.items() if each.seq < self._oldest - 1]
        for name in gone:
            del self._unlike[name]
        begins = self._begins(first_seq)
        told = sorted([*self._breaks, *self._unlike.values()], key=lambda each: each.place)
        n_breaks, breaks = len(told) + self._n_beyond, told[:MAX_BREAKS]
        return TrailVerification(
            is_whole=not breaks and begins in ("first_record", "kept_head"),
            begins=begins,
            chain=self.chain,
            first_seq=first_seq,
            n_records=self.n_records,
            head=None if self.last is None else str(self.last),
            heads_found=self._found,
            heads_before=[*(str(head) for head in before), *gone],
            n_breaks=n_breaks,
            breaks=[
                TrailBreak(kind=each.kind, seq=each.seq, place=each.place, detail=each.detail)
                for each in breaks
            ],
        )

    @property
    def _expected(self) -> int:
        return 1 if self.last is None else self.last.seq + 1

    def _begins(
        self, first_seq: int | None
    ) -> Literal["first_record", "kept_head", "unknown", "empty"]:
        if first_seq is None:
            return "empty"
        if first_seq == 1:
            return "first_record"
        before = {str(head) for head in self._kept.get(first_seq - 1, ())}
        return "kept_head" if before & set(self._found) else "unknown"

    def _begin(self, place: int, record: AuditRecord) -> None:
        self.chain, self.first, self._oldest = record.chain, record, record.seq
        if record.seq == 1 and record.prev != GENESIS:
            self._add(_Break("changed", 1, place, "the first record names one before it"))
        self._place(record)

    def _restart(self, place: int, record: AuditRecord) -> None:
        text = f"chain {record.chain} begins: {record.facts.get('reason')}"
        self._add(_Break("restarted", self._expected, place, text))
        self._compare_beginning()
        self.chain, self.first, self.n_records = record.chain, record, self.n_records + 1
        self._seen, self._run, self._doubt = array("Q"), None, None
        self._place(record)

    def _in_turn(self, place: int, record: AuditRecord) -> None:
        if self._doubt is not None:
            # The one in doubt is linked to by this: what it says of the one before holds.
            if record.prev != self._link:
                self._doubt.seq += 1
                self._doubt.detail = "the records before and behind it name other hashes"
                self._link = record.prev
            self._doubt = None
        if self._link and record.prev != self._link:
            assert self.last is not None
            self._doubt = _Break(
                "changed",
                self.last.seq,
                place,
                f"seq {record.seq} names another hash of it than it has",
            )
            self._add(self._doubt)
        self._place(record)
        self._go_on()

    def _ahead(self, place: int, record: AuditRecord) -> None:
        expected, n_strange, run = self._expected, self._n_strange, self._run
        self._doubt = None
        if run is not None and run.end is not None and record.prev == run.end.hash:
            self._run = None  # what stood ahead is linked to
        # What stood in between, as many as there was room for, was said already; and so was what
        # stood before its turn.
        first_missing = self._first_absent(expected + n_strange, record.seq)
        if first_missing < record.seq:
            last = record.seq - 1
            which = f"seq {first_missing}" if first_missing == last else (
                f"seq {first_missing} to {last}"
            )  # fmt: skip
            text = f"{which} should stand before seq {record.seq}"
            broken = _Break("missing", first_missing, place, text, last)
            self._add(broken)
            if self.last is not None:
                self._run = _Run(broken, self.last, self._link, record)
        self._fill(record.seq)
        self._place(record)

    def _behind(self, place: int, record: AuditRecord) -> None:
        seq, run = record.seq, self._run
        if (
            run is not None
            and run.end is None
            and seq == run.before.seq + 1
            and record.prev == (run.link or record.prev)
        ):
            run.broken.kind = "reordered"
            run.broken.detail = f"seq {seq} stands at {place}, behind later ones"
            run.end, self._doubt = self.last, None
            self._place(record)
            self._go_on()
            return
        for each in self._breaks:
            if each.kind in ("missing", "reordered") and each.seq <= seq <= each.until:
                each.kind = "reordered"
                each.detail = f"seq {seq} stands at {place}, behind later ones"
                self._mark(record)
                return
        assert self.first is not None
        n = seq - self.first.seq
        known = self._seen[n] if 0 <= n < len(self._seen) else 0
        if self._is_known(seq, record.hash):
            self._add(_Break("doubled", seq, place, f"seq {seq} stands here again"))
        elif known:
            text = f"another record calls itself seq {seq}"
            self._add(_Break("foreign", seq, place, text))
        else:
            # It stands where a record was that could not be read, or not at all.
            self._add(_Break("reordered", seq, place, f"seq {seq} stands behind later ones"))
            self._mark(record)

    def _go_on(self) -> None:
        """Go on behind the records that stood ahead of their turn, where their turn is now."""
        run, last = self._run, self.last
        if run is None or run.end is None or last is None:
            return
        if run.first.seq == last.seq + 1 and run.first.prev == self._link:
            self.last, self._link, self._run = run.end, run.end.hash, None

    def _strange(self, kind: BreakKind, place: int, detail: str) -> None:
        self._add(_Break(kind, self._expected + self._n_strange, place, detail))
        self._n_strange += 1
        self._doubt = None

    def _place(self, record: AuditRecord) -> None:
        self.last, self._link, self._n_strange = record.head, record.hash, 0
        self._fill(record.seq)
        self._mark(record)
        for head in self._kept.get(record.seq, ()):
            self._compare(head, record.hash, self._last_place)

    def _compare(self, head: Head, found: str, place: int) -> None:
        """A kept head does not say of which chain it is: where one has it, no other need have."""
        name = str(head)
        if head.hash == found:
            self._unlike.pop(name, None)
            if name not in self._found:
                self._found.append(name)
        elif name not in self._found:
            text = f"seq {head.seq} has another hash than the head that was kept"
            self._unlike.setdefault(name, _Break("changed", head.seq, place, text))

    def _compare_beginning(self) -> None:
        """Compare heads with what the first record of a chain says of the one before it."""
        if self.first is not None:
            for head in self._kept.get(self.first.seq - 1, ()):
                self._compare(head, self.first.prev, self._last_place)

    def _is_known(self, seq: int, digest: str) -> bool:
        """Whether the record of this number and hash was seen."""
        n = 0 if self.first is None else seq - self.first.seq
        return 0 <= n < len(self._seen) and self._seen[n] == _short(digest)

    def _first_absent(self, start: int, end: int) -> int:
        """The first of these numbers of which no record was seen; `end` where there is none."""
        assert self.first is not None
        first, known = self.first.seq, self._seen
        for seq in range(start, min(end, first + len(known))):
            if not known[seq - first]:
                return seq
        return min(end, max(start, first + len(known)))

    def _fill(self, seq: int) -> None:
        """Room for the hashes of the records before this one."""
        assert self.first is not None
        n_missing = seq - self.first.seq - len(self._seen)
        # A record that claims to be far ahead must not take memory for what is not there.
        if 0 < n_missing <= _MAX_HOLE:
            self._seen.extend([0] * n_missing)

    def _mark(self, record: AuditRecord) -> None:
        assert self.first is not None
        n = record.seq - self.first.seq
        if 0 <= n < len(self._seen):
            self._seen[n] = _short(record.hash)
        elif n == len(self._seen):
            self._seen.append(_short(record.hash))

    def _add(self, broken: _Break) -> None:
        if len(self._breaks) < MAX_BREAKS:
            self._breaks.append(broken)
        else:
            self._n_beyond += 1


_MAX_HOLE: Final = 1_000_000


def _short(digest: str) -> int:
    return int(digest[:16], 16) or 1


def check_trail(
    records: Iterable[tuple[int, bytes | None]], heads: Iterable[Head] = ()
) -> TrailVerification:
    """What is found of all these records: place and value."""
    check = TrailCheck(tuple(heads))
    for place, value in records:
        check.take(place, value)
    return check.result()


def summary_lines(found: TrailVerification, where: Mapping[str, str]) -> list[str]:
    """What was found, as lines for a terminal; `where` has `name`, and `place` (offset or line)."""
    name, word = where["name"], where["place"]
    if found.begins == "empty" and not found.breaks:
        return [f"{name}: there is no record"]
    lines = [
        f"BROKEN {each.kind} at {word} {each.place}: seq {each.seq}: {each.detail}"
        for each in found.breaks
    ]
    if found.n_breaks > len(found.breaks):
        lines.append(f"and {found.n_breaks - len(found.breaks):,} further breaks")
    if found.begins == "unknown":
        lines.append(
            f"NOT ALL VERIFIED: it begins at seq {found.first_seq}; what was before is not there. "
            f"Keep heads, and name that of seq {(found.first_seq or 1) - 1} with --head"
        )
    lines += [f"kept head {head} is in it" for head in found.heads_found]
    # Where another chain was begun, nobody can tell of which one a head is that is not there.
    is_one = all(each.kind != "restarted" for each in found.breaks)
    where_from = "is" if is_one else "is not in it, and cannot be checked if it is"
    lines += [
        f"kept head {head} {where_from} of before its beginning" for head in found.heads_before
    ]
    what = "whole" if found.is_whole else "broken" if found.n_breaks else "not all verified"
    lines.append(f"{name}: {found.n_records:,} records, {what}; head {found.head}")
    return lines
