"""What stands on the output topics, kept small: 64 bytes a record, whatever its size. Pure: no I/O.

A record is remembered by its number, digests of its name and content, its times and its place, so
that millions of alerts can be compared with the fold; whoever wants to see one reads it again.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from schemas.batch import I64
from streams.duties import Duty
from streams.ports import Output

OutputDuty = Literal["alerts", "dead_letter", "anomalies"]
OUTPUTS_OF: Final[Mapping[Duty, tuple[OutputDuty, ...]]] = {
    "drift": ("alerts", "dead_letter"),
    "security": ("anomalies",),
}
"""Where each duty publishes. The security duty counts refused records, and tells of none."""
INPUT_OFFSET: Final[Mapping[OutputDuty, tuple[str, ...]]] = {
    "alerts": ("trigger_offset",),
    "dead_letter": ("offset",),
    "anomalies": ("unmapped", "trigger_offset"),
}
"""The way to the field of the data that names the input record."""

MAX_FOREIGN: Final = 1_000
"""So many foreign lineages are counted by name; the rest together."""

_NONE: Final = b"\xff" * 8


class Seen(NamedTuple):
    """A record of an output topic, whole. `timestamp_ms` -1: the broker's, not the producer's."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp_ms: int

    def header(self, name: str) -> str:
        """The first header of this name; "" where there is none."""
        found = (value for key, value in self.headers if key == name and value is not None)
        return next(found, b"").decode("utf-8", "replace")

    @property
    def sequence(self) -> int:
        """Its number within its lineage; 0 where it has none that can be read."""
        text = self.header("ce_sequence")
        # As long as the largest offset of Kafka, and no larger than it.
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else 0
        return number if number < 1 << 63 else 0


class Position(NamedTuple):
    """Where a record stands on its output topic."""

    partition: int
    offset: int


def as_seen(output: Output) -> Seen:
    """The output as its readers see it once it is published."""
    return Seen(output.key, output.value, output.headers, max(1, output.timestamp_ms))


def content_digest(seen: Seen) -> bytes:
    """16 bytes that stand for key, value and headers, in which no two different ones look alike."""
    digest = blake2b(digest_size=16)
    named = (part for name, value in seen.headers for part in (name.encode(), value))
    for piece in (seen.key, seen.value, *named):
        digest.update(_NONE if piece is None else len(piece).to_bytes(8))
        digest.update(piece or b"")
    return digest.digest()


def name_number(ce_id: str) -> int:
    """A `ce_id` as 64 bits."""
    return int.from_bytes(blake2b(ce_id.encode(), digest_size=8).digest(), signed=True)


def input_offset(duty: OutputDuty, seen: Seen) -> int:
    """The offset of the input record that caused it; -1 where it says none."""
    try:
        found: Any = orjson.loads(seen.value or b"")
    except orjson.JSONDecodeError:
        return -1
    for name in INPUT_OFFSET[duty]:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, int) and 0 <= found < 1 << 63 else -1


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The records of one lineage on one topic as columns, by `seq`; equal ones as they stand."""

    seq: I64
    name: I64
    """`name_number` of the `ce_id`."""
    content: npt.NDArray[np.void]
    timestamp_ms: I64
    input_offset: I64
    partition: I64
    offset: I64

    @property
    def max_seq(self) -> int:
        """The highest number; 0 where there is none."""
        return int(self.seq[-1]) if len(self.seq) else 0

    def position(self, i: int) -> Position:
        """Where record i stands."""
        return Position(int(self.partition[i]), int(self.offset[i]))


class _Columns:
    """A table that grows."""

    def __init__(self) -> None:
        self._numbers = tuple(array("q") for _ in range(6))
        self._content = bytearray()

    def add(self, duty: OutputDuty, seen: Seen, position: Position) -> None:
        row = (
            seen.sequence,
            name_number(seen.header("ce_id")),
            seen.timestamp_ms,
            input_offset(duty, seen),
            *position,
        )
        for column, value in zip(self._numbers, row, strict=True):
            column.append(value)
        self._content += content_digest(seen)

    def n_bytes(self) -> int:
        return len(self._content) + sum(len(c) * c.itemsize for c in self._numbers)

    def table(self) -> Table:
        columns = [np.array(column, np.int64) for column in self._numbers]
        seq, name, timestamp_ms, input_offset_, partition, offset = columns
        order = np.lexsort((offset, partition, seq))
        content = np.frombuffer(bytes(self._content), "V16")
        return Table(
            seq[order],
            name[order],
            content[order],
            timestamp_ms[order],
            input_offset_[order],
            partition[order],
            offset[order],
        )


@dataclass(slots=True)
class Observed:
    """The records of a duty's output topics, those of `lineages` in detail, the others counted.

    `low` gives the first retained offset of each output partition.
    """

    lineages: frozenset[str]
    low: Mapping[OutputDuty, Mapping[int, int]]
    foreign: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Records of other lineages, by the deployment and the lineage they name."""
    _columns: dict[tuple[OutputDuty, str], _Columns] = field(default_factory=dict)

    def add(self, duty: OutputDuty, seen: Seen, position: Position) -> None:
        """Remember one record; those of one output partition come in their order."""
        lineage = seen.header("ce_lineage")
        if lineage in self.lineages:
            self._columns.setdefault((duty, lineage), _Columns()).add(duty, seen, position)
            return
        deployment = seen.header("ce_source").removeprefix("/driftsentry/")
        name = (deployment[:200], lineage[:64])
        is_counted = name in self.foreign or len(self.foreign) < MAX_FOREIGN
        self.foreign[name if is_counted else ("", "")] += 1

    def extend(self, duty: OutputDuty, records: Iterable[tuple[Position, Seen]]) -> None:
        """Remember these records."""
        for position, seen in records:
            self.add(duty, seen, position)

    @property
    def n_bytes(self) -> int:
        """What the records take."""
        return sum(columns.n_bytes() for columns in self._columns.values())

    def table(self, duty: OutputDuty, lineage: str) -> Table:
        """What there is of a lineage on one topic; given away: it is not kept here any longer."""
        return self._columns.pop((duty, lineage), _Columns()).table()


def murmur2_partition(key: bytes, n_partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key (murmur2, seed 0x9747b28c)."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) - len(key) % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if rest := key[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    h ^= h >> 15
    return (h & 0x7FFFFFFF) % n_partitions
