"""The events of which a reference is made: of a file, or of the events topic; both read only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from detectors.performance.fit import KnownLabels
from detectors.reference_fit import MAX_EVENTS, Fitted, fit_reference
from schemas.batch import Decoded, ModelKey
from schemas.commands import SetReference
from schemas.config import DetectionConfig, DetectorsConfig
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.limits import DecodeLimits
from schemas.records import TopicPartition
from schemas.reference import BadReferenceError, ReferenceDocument
from streams.audit_reader import AuditReader
from streams.config import Settings
from streams.kafka_properties import read_properties
from streams.label_book import LabelBook
from streams.lineage import load_journal
from streams.past import Past, taken
from streams.scan import ScanOptions, open_scan, run_scan
from streams.scan_story import opening_lines

PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Wish:
    """Of which events a reference is wanted."""

    model_id: str
    model_version: str
    n_events: int = MAX_EVENTS
    """The latest, at most."""
    since_ms: int | None = None
    until_ms: int | None = None
    """Events from one time on and before the other, by `ts`; None: without that bound."""

    def within(self, events: Decoded) -> Decoded:
        """Those of these events that lie between the times."""
        times = events.event_time_ms
        is_wanted = np.ones(len(events), np.bool_)
        if self.since_ms is not None:
            is_wanted &= times >= self.since_ms
        if self.until_ms is not None:
            is_wanted &= times < self.until_ms
        return events if is_wanted.all() else taken(events, np.flatnonzero(is_wanted))


class Gathered(NamedTuple):
    """Predictions of one model version, in their order, and their labels."""

    events: Decoded
    labels: KnownLabels


class Gathering:
    """The wanted events of one partition, or of one file, and the labels of their model."""

    def __init__(self, wish: Wish) -> None:
        self._wish: Final = wish
        self._past: Final = Past(wish.n_events, wish.model_id)
        self._names: Final[dict[ModelKey, None]] = {}
        self._labels: Final[dict[int, LabelBook]] = {}

    def take(self, events: Decoded) -> None:
        """Take in decoded events, in the order of the log."""
        self._names.update(dict.fromkeys(key for key in events.models if key.model_version))
        self._past.take(self._wish.within(events))
        for number, key in enumerate(events.models):
            rows = np.flatnonzero(events.is_label & (events.model == number))
            if key.model_id == self._wish.model_id and len(rows):
                # They come later than what they are about, and say no version.
                self._labels.setdefault(key.shard, LabelBook()).take(taken(events, rows))

    @property
    def names(self) -> set[str]:
        """The models, with their versions, that were met."""
        return {f"{key.model_id} {key.model_version}" for key in self._names}

    def events(self) -> Gathered | None:
        """Those of the model version; of several shards, of the one that has most."""
        wanted = self._wish.model_id, self._wish.model_version
        found: list[tuple[int, Decoded]] = []
        for key in self._names:
            events = self._past.of(key, self._wish.n_events) if key[:2] == wanted else None
            if events is not None:
                found.append((key.shard, events))
        if not found:
            return None
        shard, events = max(found, key=lambda each: len(each[1]))
        return Gathered(events, self._labels.get(shard, LabelBook()).of(events))


def fit_file(
    path: Path, options: ScanOptions, wish: Wish, *, say: Callable[[list[str]], None]
) -> Fitted:
    """Make a reference of a file, which is read as `driftsentry scan` reads it.

    `say` takes what the file was taken for. Raises `ScanError`, `BadReferenceError`.
    """
    scan, source = open_scan(path, options, purpose="make a reference of")
    say(opening_lines(scan, is_reference=True))
    gathering = Gathering(wish)
    detection = scan.detection
    # Nothing is to be detected on the way.
    off = DetectorsConfig.model_validate(
        {name: {"enabled": False} for name in ("moments", "focus")}
    )
    # So that event ids are told apart.
    joins = detection.labels.model_copy(update={"enabled": True})
    scan.detection = detection.model_copy(update={"detectors": off, "labels": joins})
    run_scan(scan, source, on_events=gathering.take, with_labels=True)
    found = gathering.events()
    if found is None:
        raise _nothing(wish, gathering.names, "the file")
    return fit_reference(found.events, detection, found.labels)


def fit_topic(
    settings: Settings, detection: DetectionConfig, wish: Wish, say: Callable[[str], None]
) -> Fitted:
    """Make a reference of the events that the topic still has.

    Of a model that several partitions hold, of the one that has most of its events. Raises
    `LogError`, `KafkaException`, `BadReferenceError`.
    """
    reader = AuditReader(
        settings.bootstrap_servers,
        settings.topics,
        group=settings.group,
        kafka_properties=read_properties(settings.kafka),
        patience_s=PATIENCE_S,
    )
    best: Gathered | None = None
    holders: list[str] = []
    names: set[str] = set()
    try:
        topic = settings.topics.events
        for number in reader.partitions(topic):
            gathering = _gather(reader, TopicPartition(topic, number), detection, wish)
            names |= gathering.names
            found = gathering.events()
            if found is None:
                continue
            holders.append(f"{len(found.events):,} in partition {number}")
            if best is None or len(found.events) > len(best.events):
                best = found
    finally:
        reader.close()
    if best is None:
        raise _nothing(wish, names, f"the topic {topic}")
    if len(holders) > 1:
        say(
            f"several partitions hold {wish.model_id} {wish.model_version}: {', '.join(holders)}; "
            "the one with most events is used"
        )
    return fit_reference(best.events, detection, best.labels)


class Found(NamedTuple):
    """A reference that was set, and where."""

    document: ReferenceDocument
    places: list[str]


def find_reference(settings: Settings, digest: str) -> Found | None:
    """The reference with this digest in the journals of a group; None: it was set in none.

    Raises `LogError`, `KafkaException`, `LineageError`.
    """
    reader = AuditReader(
        settings.bootstrap_servers,
        settings.topics,
        group=settings.group,
        kafka_properties=read_properties(settings.kafka),
        patience_s=PATIENCE_S,
    )
    try:
        topic = settings.topics.events
        tps = [TopicPartition(topic, number) for number in reader.partitions(topic)]
        journals = reader.journals(tps)
    finally:
        reader.close()
    document: ReferenceDocument | None = None
    places: list[str] = []
    for tp in tps:
        for entry in load_journal(journals[tp]):
            order = None if entry.command is None else entry.command.order
            if isinstance(order, SetReference) and order.digest == digest:
                document = order.document
                by = f", by {order.by}" if order.by else ""
                why = f": {order.reason}" if order.reason else ""
                places.append(
                    f"set for {order.model_id} {order.model_version} in {tp} at offset "
                    f"{entry.offset}{by}{why}"
                )
    return None if document is None else Found(document, places)


def _gather(
    reader: AuditReader, tp: TopicPartition, detection: DetectionConfig, wish: Wish
) -> Gathering:
    gathering, fast_path = Gathering(wish), FastPath()
    low, high = reader.watermarks(tp)[:2]
    if low < high:
        limits = replace(DecodeLimits.of(detection), event_ids=True)
        for records in reader.events(tp, low, high):
            gathering.take(decode_records(tp, records, limits, None, None, fast_path).events)
    return gathering


def _nothing(wish: Wish, names: set[str], where: str) -> BadReferenceError:
    known = ", ".join(sorted(names)[:20]) or "no model"
    return BadReferenceError(
        f"{where} has no prediction of model {wish.model_id}, version {wish.model_version}, within "
        f"the times that were asked for; it has {known}"
    )
