"""Reads the clean window of a retraining request from the events topic: the responder's view of it.

Nobody's group member, committed records only, in bounded time, and nothing is changed. Where some
of the window is not there any more, or not yet, that is an error: half of a window is none.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import orjson

from schemas.batch import Decoded
from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.limits import DecodeLimits
from schemas.records import Record, TopicPartition
from schemas.retraining import CleanWindow, QuarantinePart
from schemas.source_hash import SourceKey
from streams.ports import LogError, Watermarks
from streams.responder_ports import ModelName, WindowGoneError
from streams.retraining_gate import WindowFacts
from streams.window_facts import WindowEvents, WindowWish

_KEPT: Final = 1_024
"""Facts that are remembered: a few numbers each."""


class WindowError(LogError):
    """Events of a window cannot be read: they are not there yet."""


class EventReader(Protocol):
    """What is needed of the events topic: `streams.audit_reader.AuditReader` has it."""

    def watermarks(self, tp: TopicPartition) -> Watermarks:
        """The partition's readable range now. Raises `LogError`."""

    def events(self, tp: TopicPartition, start: int, end: int) -> Iterator[list[Record]]:
        """The committed records of a partition in [start, end). Raises `LogError`."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """How workers read events: by which config, with which key."""

    detection: DetectionConfig
    source_key: SourceKey | None


def window_records(reader: EventReader, wish: WindowWish) -> Iterator[list[Record]]:
    """The committed records of a window, by partition and in the order of the log.

    Raises `WindowGoneError` or `WindowError` where the topic does not have all of its offsets, else
    `LogError`.
    """
    topic = wish.window.topic
    for partition, first, last in wish.spans():
        tp = TopicPartition(topic, partition)
        low, high = reader.watermarks(tp)
        if low > first:
            raise WindowGoneError(
                f"{tp} begins at offset {low}, and the window at {first}: retention has removed "
                f"events of it. Let {topic} keep them longer (retention.ms), or retrain on events "
                "from elsewhere"
            )
        if high <= last:
            raise WindowError(
                f"{tp} can be read up to offset {high - 1}, and the window ends at {last}: wait "
                "until its events have come, and open transactions are over"
            )
        yield from reader.events(tp, first, last + 1)


def decoded_records(reader: EventReader, wish: WindowWish, decoder: Decoder) -> Iterator[Decoded]:
    """The events of a window as workers read them, with the fingerprints of their ids.

    Raises what `window_records` raises.
    """
    detection = decoder.detection
    limits, fast_path = replace(DecodeLimits.of(detection), event_ids=True), FastPath()
    listed = frozenset(detection.model) if detection.models == "listed" else None
    for records in window_records(reader, wish):
        if records:
            tp = records[0].tp
            yield decode_records(tp, records, limits, decoder.source_key, listed, fast_path).events


def read_window(reader: EventReader, wish: WindowWish, decoder: Decoder) -> WindowEvents:
    """All events of a window, joined.

    Raises `QuarantineKeyError`, and what `window_records` raises.
    """
    detection, source_key = decoder.detection, decoder.source_key
    events = WindowEvents(
        wish,
        source_key,
        max_future_ms=detection.max_future_ms,
        max_late_ms=detection.max_late_ms,
    )
    for decoded in decoded_records(reader, wish, decoder):
        events.take(decoded)
    return events


class KafkaEventWindows:
    """`EventWindows` of the events topic.

    A window that is settled never changes, so its facts are remembered. One is read at a time, in a
    thread of its own: the loop goes on meanwhile.
    """

    def __init__(self, reader: EventReader, decoder: Decoder) -> None:
        self._reader: Final = reader
        self._decoder: Final = decoder
        self._one_at_a_time: Final = asyncio.Lock()
        self._known: Final[OrderedDict[bytes, WindowFacts]] = OrderedDict()

    async def facts(
        self,
        model: ModelName,
        version: str,
        window: CleanWindow,
        quarantine: Sequence[QuarantinePart],
    ) -> WindowFacts:
        """What the events of the window say.

        Raises `QuarantineKeyError`, `WindowError`, `LogError`, `KafkaException`.
        """
        wish = WindowWish(model.model_id, version, window, tuple(quarantine))
        name = _name_of(wish)
        async with self._one_at_a_time:
            known = self._known.get(name)
            if known is None:
                known = await asyncio.to_thread(self._read, wish)
                if len(self._known) >= _KEPT:
                    self._known.popitem(last=False)
                self._known[name] = known
            else:
                self._known.move_to_end(name)
        return known

    def _read(self, wish: WindowWish) -> WindowFacts:
        return read_window(self._reader, wish, self._decoder).facts()


def _name_of(wish: WindowWish) -> bytes:
    """All that its facts hang on."""
    return orjson.dumps(
        [
            wish.model_id,
            wish.model_version,
            wish.window.topic,
            [list(each) for each in wish.spans()],
            [part.model_dump(mode="json") for part in wish.quarantine],
        ]
    )
