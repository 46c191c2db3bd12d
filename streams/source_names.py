"""From a pseudonym back to a name, for who holds the key: candidates are hashed and compared.

A keyed hash cannot be turned round. Names come from a list, or from the events themselves: there
they stand in clear.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from schemas.batch import U64
from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.limits import DecodeLimits
from schemas.records import TopicPartition
from schemas.source_hash import SourceKey
from streams.audit_reader import AuditReader

SHORT: Final = 12
"""So many hex digits of a pseudonym name a source in sentences: 48 bits."""
_MARK: Final = "\ufeff"
"""Some editors begin a file with it; a name may, too."""


class NameFinder(SourceKey):
    """A key that keeps the names whose hashes are wanted, of all that it is asked to hash."""

    __slots__ = ("_wanted", "found")

    found: dict[str, str]
    """By what was wanted: the name."""

    def __init__(self, key: bytes, wanted: Iterable[str]) -> None:
        """`wanted` are hashes in hex, or their first 12 digits or more."""
        super().__init__(key)
        self._wanted: dict[str, set[str]] = defaultdict(set)
        for each in wanted:
            self._wanted[each[:SHORT]].add(each)
        self.found = {}

    @property
    def has_all(self) -> bool:
        """Whether there is nothing left to look for."""
        return len(self.found) == sum(map(len, self._wanted.values()))

    def look_at(self, name: str) -> None:
        """Keep the name where it is one that is looked for."""
        digest = self.digest(name).hex()
        for each in self._wanted.get(digest[:SHORT], ()):
            if digest.startswith(each):
                self.found[each] = name

    def words(self, sources: list[str | None]) -> U64:
        """As of any key: decoding asks for the hashes of the sources it meets."""
        for name in dict.fromkeys(sources):
            if name:
                self.look_at(name)
        return super().words(sources)


def look_at_lines(finder: NameFinder, lines: Iterable[bytes]) -> int:
    """Look at a list of names, UTF-8 and one a line, until all are found.

    The number of lines that are no UTF-8, and so no name of a source.
    """
    n_bad = 0
    for number, line in enumerate(lines):
        if finder.has_all:
            break
        try:
            name = line.rstrip(b"\r\n").decode()
        except UnicodeDecodeError:
            n_bad += 1
            continue
        if name:
            finder.look_at(name)
        if number == 0 and name.startswith(_MARK):
            finder.look_at(name.removeprefix(_MARK))
    return n_bad


def look_at_topic(finder: NameFinder, reader: AuditReader, detection: DetectionConfig) -> int:
    """Look at the sources of the events that the topic still has, until all are found.

    Events are read by the rules of the workers: what they refused has no source. The number of
    events that were looked at. Raises `LogError`, `KafkaException`.
    """
    n_events, limits, fast_path = 0, DecodeLimits.of(detection), FastPath()
    for tp, start, end in _ranges(reader):
        for records in reader.events(tp, start, end):
            n_events += len(decode_records(tp, records, limits, finder, None, fast_path).events)
            if finder.has_all:
                return n_events
    return n_events


def _ranges(reader: AuditReader) -> Iterator[tuple[TopicPartition, int, int]]:
    topic = reader.topics.events
    for number in reader.partitions(topic):
        tp = TopicPartition(topic, number)
        low, high = reader.watermarks(tp)[:2]
        if low < high:
            yield tp, low, high
