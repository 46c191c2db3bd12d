"""Reads what the events topic says of a model's versions: windows to compare, and new versions.

As nobody's group member, committed records only, and nothing is changed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
import structlog

from detectors.monitor import model_config
from schemas.anomalies import OffsetRange
from schemas.batch import Decoded
from schemas.printable import masked
from schemas.records import TopicPartition
from schemas.responder_config import RollbackConfig
from schemas.retraining import CleanWindow, WindowPart
from streams.responder_ports import ModelName, WindowGoneError
from streams.version_facts import Slicing, VersionEvents, VersionTally
from streams.window_facts import WindowWish
from streams.window_reader import Decoder, EventReader, WindowError, decoded_records

log = structlog.get_logger(__name__)

_KEPT: Final = 256
"""Windows whose tallies are remembered."""
_KEPT_BYTES: Final = 64_000_000
"""Of their cells: there are up to 31 bytes of each label. The latest one is kept whatever it is."""


class KafkaVersionWindows:
    """`VersionWindows` of the events topic.

    A window that is settled never changes, so its tallies are remembered. One is read at a time, in
    a thread of its own: the loop goes on meanwhile.
    """

    def __init__(self, reader: EventReader, decoder: Decoder) -> None:
        self._reader: Final = reader
        self._decoder: Final = decoder
        self._said: Final[set[str]] = set()
        self._one_at_a_time: Final = asyncio.Lock()
        self._known: Final[OrderedDict[bytes, Mapping[str, VersionTally]]] = OrderedDict()

    async def tallies(
        self,
        model: ModelName,
        window: CleanWindow,
        lineages: Mapping[int, str],
        new: str,
        old: str | None,
    ) -> Mapping[str, VersionTally] | None:
        """What the events say; None where retention has removed some of them.

        Raises `WindowError`, `LogError`, `KafkaException`.
        """
        name = b"\0".join(
            [
                model.model_id.encode(),
                new.encode(),
                repr(old).encode(),
                window.model_dump_json().encode(),
                repr(sorted(lineages.items())).encode(),
            ]
        )
        async with self._one_at_a_time:
            known = self._known.get(name)
            if known is None:
                try:
                    known = await asyncio.to_thread(self._read, model, window, new, old)
                except WindowGoneError:
                    return None
                except WindowError as error:
                    self._warn(model, error)
                    raise
                self._known[name] = known
                self._forget()
            else:
                self._known.move_to_end(name)
        return known

    def _forget(self) -> None:
        """The ones that were asked for longest ago, where there are too many."""
        sizes = [
            sum(each.cells.n_bytes for each in tallies.values()) for tallies in self._known.values()
        ]
        n_bytes = sum(sizes)
        for size in sizes[:-1]:
            if len(self._known) <= _KEPT and n_bytes <= _KEPT_BYTES:
                break
            self._known.popitem(last=False)
            n_bytes -= size

    def _warn(self, model: ModelName, error: WindowError) -> None:
        reason = masked(str(error))
        if reason not in self._said:
            self._said.add(reason)
            log.warning(
                "a window of a new version cannot be read; it is followed later",
                model=masked(model.model_id),
                reason=reason,
            )

    def _read(
        self, model: ModelName, window: CleanWindow, new: str, old: str | None
    ) -> Mapping[str, VersionTally]:
        detection = self._decoder.detection
        slicing = Slicing(
            tuple(model_config(detection, model.model_id).slices),
            detection.labels.automatic_slices,
        )
        events = VersionEvents(
            model.model_id,
            window,
            slicing,
            max_future_ms=detection.max_future_ms,
            max_late_ms=detection.max_late_ms,
        )
        wish = WindowWish(model.model_id, new, window, ())
        for decoded in decoded_records(self._reader, wish, self._decoder):
            events.take(decoded)
        return events.tallies(new, old)


class Look(NamedTuple):
    """A stretch of a partition that is looked at: it ends before `end`, and the next begins there.

    Where a version is met in [`start`, `end`) that was not known, [`before`, `start`) is read too.
    """

    before: int
    start: int
    end: int


def looks(scanned: int | None, settled: int, low: int, config: RollbackConfig) -> Iterator[Look]:
    """What is to be looked at of a partition, in its order.

    They lie at places of the log, not where somebody happened to look: multiples of `look_every`.
    `scanned`: where the looking has come to; None where nobody has looked.
    """
    every = config.look_every
    # What retention has removed is passed over.
    at = max(low, 0 if scanned is None else scanned)
    while (end := (at // every + 1) * every) <= settled:
        yield Look(at, max(at, end - config.look_offsets), end)
        at = end


def met_in(events: Iterator[Decoded]) -> dict[tuple[str, str], int]:
    """By model and version the first offset of its predictions."""
    found: dict[tuple[str, str], int] = {}
    for decoded in events:
        own = ~decoded.is_label
        numbers, first = np.unique(decoded.model[own], return_index=True)
        offsets = decoded.offset[own][first].tolist()
        for number, offset in zip(numbers.tolist(), offsets, strict=True):
            key = decoded.models[number]
            name = key.model_id, key.model_version
            found[name] = min(offset, found.get(name, offset))
    return found


class VersionScan:
    """Looks for versions that begin. Only of one topic; every method waits for brokers."""

    def __init__(
        self, reader: EventReader, decoder: Decoder, topic: str, config: RollbackConfig
    ) -> None:
        self._reader: Final = reader
        self._decoder: Final = decoder
        self._topic: Final = topic
        self._config: Final = config

    def low(self, partition: int) -> int:
        """The first offset of a partition that can be read. Raises `LogError`."""
        return self._reader.watermarks(TopicPartition(self._topic, partition)).low

    def met(self, partition: int, first: int, end: int) -> dict[tuple[str, str], int]:
        """By model and version the first offset in [first, end) of its predictions.

        Empty where retention has removed some of it. Raises `LogError`.
        """
        if first >= end:
            return {}
        window = window_at({partition: (first, end - 1)}, self._topic)
        wish = WindowWish("", "", window, ())
        try:
            return met_in(decoded_records(self._reader, wish, self._decoder))
        except WindowGoneError:
            return {}


def window_at(spans: Mapping[int, tuple[int, int]], topic: str) -> CleanWindow:
    """Of these offsets, first and last, by partition."""
    return CleanWindow(
        topic=topic,
        parts=[
            WindowPart(
                partition=partition, ranges=[OffsetRange(first_offset=first, last_offset=last)]
            )
            for partition, (first, last) in sorted(spans.items())
        ],
        since_ms=None,
        until_ms=None,
        n_predictions=None,
        n_labels=None,
        n_quarantined=None,
    )
