"""What an audit has found: differences by kind with examples, and what it could not see. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from streams.audit_observed import OutputDuty, Position, Seen


class Kind(StrEnum):
    """How what stands on the output topics, or in the commit, differs from the fold."""

    MISSING = "missing"
    """The fold says it, and it is not there."""
    DUPLICATED = "duplicated"
    """It is there more than once: its number, or its `ce_id`."""
    ALTERED = "altered"
    """It is there, with other content."""
    OUT_OF_ORDER = "out of order"
    """It stands behind one of a higher number, in the same partition."""
    EXTRA = "extra"
    """The fold does not say it, up to what is committed."""
    ORPHAN = "before the lineage"
    """An extra one that names an input record from before its lineage began."""
    SEQ_GAP = "seq gap"
    """Numbers are left out where nothing was folded again."""
    METADATA = "commit metadata differs"
    """The commit says something else of the state than the fold does."""
    DIGEST = "state digest differs"
    """The commit or a checkpoint knows another state at that offset."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `seq` 0, `input_offset` -1: of none."""

    kind: Kind
    partition: int
    """Of the input."""
    lineage: str
    detail: str
    duty: OutputDuty | None = None
    seq: int = 0
    ce_id: str = ""
    input_offset: int = -1
    position: Position | None = None
    expected: Seen | None = None
    """What should stand at `position`, for an altered record."""

    def as_json(self) -> dict[str, Any]:
        """The difference as an object of plain values; what is not known is left out."""
        said: dict[str, Any] = {
            "kind": self.kind.value,
            "partition": self.partition,
            "lineage": self.lineage,
            "detail": self.detail,
        }
        if self.duty is not None:
            said["duty"] = self.duty
        if self.seq:
            said["seq"] = self.seq
        if self.ce_id:
            said["ce_id"] = self.ce_id
        if self.input_offset >= 0:
            said["input_offset"] = self.input_offset
        if self.position is not None:
            said["output_partition"], said["output_offset"] = self.position
        return said


@dataclass(slots=True)
class Verdict:
    """What was verified, what differs, what could not be seen. Verdicts add up."""

    n_examples: int = 5
    """Examples kept of each kind."""
    n_events: int = 0
    """Records folded."""
    n_equal: Counter[OutputDuty] = field(default_factory=Counter)
    """Records that are there as the fold says."""
    n_repeats: int = 0
    """Repeats that at-least-once allows."""
    n_later: int = 0
    """Records of commits that were made after the audit began."""
    n_only_numbered: int = 0
    """Records of which only the numbers were looked at: gaps and repeats, not content."""
    n_expired: int = 0
    """Expected records that the output topic's retention may have removed."""
    n_beyond_end: int = 0
    """Expected records after the last one seen of a lineage whose end nobody knows."""
    n_differences: Counter[Kind] = field(default_factory=Counter)
    examples: list[Difference] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    """What could not be verified, in sentences."""
    notes: list[str] = field(default_factory=list)
    """What else a reader should know."""

    def differs(self, difference: Difference) -> None:
        """Count a difference and keep it where it is one of the first of its kind."""
        self.n_differences[difference.kind] += 1
        if sum(e.kind == difference.kind for e in self.examples) < self.n_examples:
            self.examples.append(difference)

    def note(self, text: str) -> None:
        """Say this once."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, other: Verdict) -> None:
        """Take in another verdict."""
        self.n_events += other.n_events
        self.n_equal += other.n_equal
        self.n_repeats += other.n_repeats
        self.n_later += other.n_later
        self.n_only_numbered += other.n_only_numbered
        self.n_expired += other.n_expired
        self.n_beyond_end += other.n_beyond_end
        for kind, n in other.n_differences.items():
            self.n_differences[kind] += n
        for kind in Kind:
            of_kind = [e for e in other.examples if e.kind == kind]
            n_kept = sum(e.kind == kind for e in self.examples)
            self.examples += of_kind[: max(0, self.n_examples - n_kept)]
        self.unverified += other.unverified
        for text in other.notes:
            self.note(text)


def differing_fields(expected: Seen, found: Seen) -> list[str]:
    """Which parts of a record differ: `key`, `timestamp`, headers, fields of the data."""
    names = [] if expected.key == found.key else ["key"]
    if found.timestamp_ms not in {-1, expected.timestamp_ms}:
        names.append("timestamp")
    names += _differing_headers(expected.headers, found.headers)
    if expected.value != found.value:
        mine, theirs = _object(expected.value), _object(found.value)
        fields = [
            f"data.{name}"
            for name in dict.fromkeys((*mine, *theirs))
            if name not in mine or name not in theirs or mine[name] != theirs[name]
        ]
        names += fields or ["value"]
    return names


def _differing_headers(
    expected: Iterable[tuple[str, bytes | None]], found: Iterable[tuple[str, bytes | None]]
) -> list[str]:
    mine, theirs = tuple(expected), tuple(found)
    if mine == theirs:
        return []
    names = dict.fromkeys(name for name, _ in (*mine, *theirs))
    differing = [
        f"header {name}"
        for name in names
        if [v for n, v in mine if n == name] != [v for n, v in theirs if n == name]
    ]
    return differing or ["order of headers"]


def _object(value: bytes | None) -> dict[str, Any]:
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
