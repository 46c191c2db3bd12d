"""Events through the workers of both duties and what they say through responders, in memory.

The code is that of `driftsentry worker` and `driftsentry respond`: records are decoded, folded and
told by a `PartitionWorker` of each duty; what they publish is read by the responder's intake and
goes to its desk; windows are read and exported as `driftsentry window export` does. What is not
here is Kafka and Redis: one partition, a store in memory, and after each poll everything that was
said of it has been read.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, NamedTuple

import orjson

from schemas.config import DetectionConfig
from schemas.incidents import IncidentData
from schemas.records import Record, Records, TopicPartition
from schemas.responder_config import IncidentConfig, RetrainingConfig
from schemas.retraining import RetrainingData
from schemas.source_hash import SourceKey
from streams.config import Topics
from streams.duties import Duty
from streams.incident_desk import IncidentDesk
from streams.incident_evidence import Evidence
from streams.incident_reasons import Said
from streams.lineage import Lineage
from streams.ports import Watermarks
from streams.responder_intake import Intake
from streams.responder_memory import MemoryIncidentStore, MemoryOutlet
from streams.responder_ports import FoldPlace, InputPartition, ModelName
from streams.responder_settling import WATERMARK_EVENTS, watermark_of
from streams.responder_windows import HeldWindows
from streams.window_reader import Decoder, KafkaEventWindows
from streams.worker import Detection, OutputTopics, PartitionWorker

KEY: Final = SourceKey(b"the key of the benchmarks of incidents")
TOPICS: Final = Topics()
TP: Final = TopicPartition(TOPICS.events, 0)
MODEL: Final = "m"
VERSION: Final = "1"
START_MS: Final = 1_790_000_000_000
SECOND_MS: Final = 1_000
"""Between two predictions; a label comes with its own."""


class EventLog:
    """The events topic: `EventReader` of one partition, offset i is record i."""

    def __init__(self, values: Sequence[bytes], times_ms: Sequence[int]) -> None:
        n = len(values)
        key = MODEL.encode()
        self.records: Final = Records(TP, [*range(n)], [*times_ms], [key] * n, [*values])
        self.times_ms: Final = times_ms

    def __len__(self) -> int:
        return len(self.records)

    def watermarks(self, _tp: TopicPartition) -> Watermarks:
        """All of it is there."""
        return Watermarks(0, len(self))

    def events(
        self, _tp: TopicPartition, start: int, end: int, at_once: int = 4_096
    ) -> Iterator[list[Record]]:
        """The records in [start, end)."""
        for first in range(start, end, at_once):
            yield list(self.records[first : min(first + at_once, end)])


@dataclass(frozen=True, slots=True)
class EventColumns:
    """n predictions with their labels, as the services that send them know them."""

    features: Mapping[str, Sequence[float | str]]
    """(n,) each."""
    predicted: Sequence[int]
    score: Sequence[float]
    source: Sequence[str]
    label: Sequence[int]
    label_source: Sequence[str]

    def log(self, delay: int = 0) -> EventLog:
        """Each label comes `delay` predictions after its own; what is late stands at the end."""
        n = len(self.predicted)
        names = list(self.features)
        columns = [self.features[name] for name in names]
        waiting: deque[int] = deque()
        values: list[bytes] = []
        times_ms: list[int] = []
        for i, row in enumerate(zip(*columns, strict=True)):
            time_ms = START_MS + SECOND_MS * i
            own = self._common("prediction", i, time_ms) | {
                "model_version": VERSION,
                "features": dict(zip(names, row, strict=True)),
                "prediction": self.predicted[i],
                "score": self.score[i],
                "source": self.source[i],
            }
            values.append(orjson.dumps(own))
            times_ms.append(time_ms)
            waiting.append(i)
            while waiting and (waiting[0] + delay <= i or i == n - 1):
                values.append(self._label(waiting.popleft(), time_ms))
                times_ms.append(time_ms)
        return EventLog(values, times_ms)

    def _label(self, i: int, time_ms: int) -> bytes:
        own = {"label": self.label[i], "label_source": self.label_source[i]}
        return orjson.dumps(self._common("label", i, time_ms) | own)

    @staticmethod
    def _common(kind: str, i: int, time_ms: int) -> dict[str, Any]:
        return {"type": kind, "event_id": f"e{i}", "model_id": MODEL, "ts": time_ms}


class Written(NamedTuple):
    """One record that the responder has written, and how far the log was folded by then."""

    offset: int
    key: str
    value: bytes | None


@dataclass(slots=True)
class Responder:
    """One responder with a store of its own, and what it has written."""

    desk: IncidentDesk
    store: MemoryIncidentStore
    outlet: MemoryOutlet
    said: list[Written] = field(default_factory=list)
    _parsed: list[tuple[int, IncidentData] | None] = field(default_factory=list)

    def incidents(self) -> list[IncidentData]:
        """As the compacted topic has them, by their beginnings."""
        found = [
            IncidentData.model_validate_json(value)
            for key, value in self.outlet.compacted().items()
            if key.startswith("incident/")
        ]
        return sorted(found, key=lambda each: (each.start_ms, each.incident_id))

    def requests(self) -> list[RetrainingData]:
        """As the compacted topic has them, by their windows."""
        found = [
            RetrainingData.model_validate_json(value)
            for key, value in self.outlet.compacted().items()
            if key.startswith("retraining/")
        ]
        return sorted(found, key=lambda each: (span_of(each), each.request_id))

    def told_of_incidents(self) -> list[tuple[int, IncidentData]]:
        """Each record of an incident that has a value, with how far the log was folded by then."""
        for each in self.said[len(self._parsed) :]:
            is_one = each.key.startswith("incident/") and each.value is not None
            self._parsed.append(
                (each.offset, IncidentData.model_validate_json(each.value or b""))
                if is_one
                else None
            )
        return [each for each in self._parsed if each is not None]

    def note(self, offset: int) -> None:
        """Take down what has been written since."""
        for each in self.outlet.records[len(self.said) :]:
            self.said.append(Written(offset, each.key, each.value))


def span_of(request: RetrainingData) -> tuple[int, int]:
    """The first offset of a request's window and its last, of the one partition there is."""
    ranges = [each for part in request.window.parts for each in part.ranges]
    return ranges[0].first_offset, ranges[-1].last_offset


class Chain:
    """Both workers of a partition, and responders that hear the same and decide by other rules."""

    def __init__(
        self,
        log: EventLog,
        detection: DetectionConfig,
        retraining: Sequence[RetrainingConfig],
    ) -> None:
        """A responder for each of `retraining`."""
        self.log: Final = log
        self.detection: Final = detection
        self.decoder: Final = Decoder(detection, KEY)
        self.n_folded = 0
        self.n_evidence: Final[Counter[str]] = Counter()
        """Records that were evidence, by topic."""
        self._workers: Final = [
            _worker(detection, "drift", TOPICS.alerts),
            _worker(detection, "security", TOPICS.anomalies),
        ]
        self._fold_of_alerts: Final = FoldPlace(TP.partition, self._workers[0].lineage.id)
        self._intake: Final = Intake(TOPICS)
        self._places: Final = count()
        windows = HeldWindows(KafkaEventWindows(log, self.decoder))
        self.responders: Final[list[Responder]] = []
        for number, config in enumerate(retraining):
            store, outlet = MemoryIncidentStore(), MemoryOutlet()
            desk = IncidentDesk(
                store,
                outlet,
                windows,
                IncidentConfig(),
                config,
                events_topic=TP.topic,
                writer=f"responder-{number}",
            )
            self.responders.append(Responder(desk, store, outlet))

    async def run(self, poll: int, stop: int | None = None) -> None:
        """Fold the log up to `stop`, a poll at a time, and respond to each."""
        end = len(self.log) if stop is None else stop
        while self.n_folded < end:
            first, self.n_folded = self.n_folded, min(self.n_folded + poll, end)
            await self._respond(self._fold(self.log.records[first : self.n_folded]))

    async def hear(self, responder: Responder, said: Said) -> None:
        """Let a person say something."""
        model = ModelName(self.detection.deployment, MODEL)
        await responder.desk.hear(model, said)
        await responder.desk.sweep()
        responder.note(self.n_folded)

    def _fold(self, records: Records) -> list[Evidence]:
        found: list[Evidence] = []
        for worker in self._workers:
            worker.process(records)
            for output in worker.take_outputs():
                if output.topic == TOPICS.dead_letter:
                    raise AssertionError(f"an event was refused: {output.value!r}")
                evidence = self._intake.evidence(output.topic, 0, next(self._places), output.value)
                if evidence is not None:
                    self.n_evidence[output.topic] += 1
                    found.append(evidence)
        if self._intake.n_refused:
            raise AssertionError(f"the intake refused {dict(self._intake.n_refused)}")
        return found

    async def _respond(self, evidence: Sequence[Evidence]) -> None:
        last = self.log.times_ms[max(self.n_folded - WATERMARK_EVENTS, 0) : self.n_folded]
        watermark_ms = watermark_of(last)
        assert watermark_ms is not None
        place = InputPartition(self.detection.deployment, TP.partition)
        for responder in self.responders:
            for each in evidence:
                await responder.desk.take(each)
            # Everything that was said of these events has been read.
            await responder.store.raise_settled({self._fold_of_alerts: self.n_folded})
            await responder.store.raise_watermarks({place: watermark_ms})
            await responder.desk.sweep()
            responder.note(self.n_folded)


def _worker(detection: DetectionConfig, duty: Duty, topic: str) -> PartitionWorker:
    lineage = Lineage(
        deployment=detection.deployment,
        duty=duty,
        topic_id="of-the-benchmark",
        partition=TP.partition,
        start_offset=0,
    )
    topics = OutputTopics(topic, TOPICS.dead_letter, TOPICS.journal)
    return PartitionWorker(TP, lineage, Detection(detection, KEY, duty), 0, topics)
