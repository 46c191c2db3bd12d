"""What a run should have published: its input and its journal folded here, without Kafka or Redis.

So a test can tell what is right also where the config changed on the way, or a lineage was reset.
"""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Message

from schemas.records import Record, TopicPartition
from streams.lineage import JournalEntry, load_journal
from streams.worker import Detection, OutputTopics, PartitionWorker
from tests.delivery.kit import Run
from tests.delivery.outputs import Outputs, Said, Stream, read_to_end

TOPICS = OutputTopics("alerts", "dead_letter", "journal")
ANOMALIES = OutputTopics("anomalies", "dead_letter", "journal")
CREATE_TIME = 1


def journal_of(run: Run, duty: str = "drift") -> dict[int, list[JournalEntry]]:
    """Each input partition's journal of a duty, in log order."""
    entries: dict[int, list[JournalEntry]] = {}
    for message in read_to_end(run.kafka, run.journal):
        key = message.key()
        assert isinstance(key, bytes)
        number = int(key.decode().rsplit("|", 1)[1])
        found = load_journal([message.value() or b""])
        entries.setdefault(number, []).extend(e for e in found if e.lineage.duty == duty)
    return entries


def folded(run: Run, until: Mapping[str, int] | None = None) -> list[PartitionWorker]:
    """Each lineage of the journal, folded to its end; one of `until` ends before that offset."""
    workers: list[PartitionWorker] = []
    records: dict[int, list[Record]] = {}
    for message in read_to_end(run.kafka, run.events):
        record = _record(message)
        records.setdefault(record.tp.partition, []).append(record)
    for number, entries in journal_of(run, run.duty).items():
        for first in entries:
            if first.kind in {"config", "command"}:
                continue
            assert first.document is not None
            lineage = first.lineage
            assert lineage.start_offset == first.offset
            worker = PartitionWorker(
                TopicPartition(run.events, number),
                lineage,
                Detection(first.document, run.source_key, lineage.duty),
                first.offset,
                TOPICS if lineage.duty == "drift" else ANOMALIES,
            )
            worker.switches = [
                entry
                for entry in entries
                if entry.kind in {"config", "command"} and entry.lineage.id == lineage.id
            ]
            worker.tells_again = True
            end = (until or {}).get(lineage.id, 1 << 62)
            of_lineage = [r for r in records.get(number, []) if first.offset <= r.offset < end]
            if of_lineage:
                worker.process(of_lineage)
            if lineage.id not in (until or {}):
                worker.settle()
            workers.append(worker)
    return workers


def outputs_of(workers: list[PartitionWorker]) -> Outputs:
    """What these workers have to say, taken from them."""
    outputs: Outputs = {}
    for worker in workers:
        for output in worker.take_outputs():
            said = Said(
                output.key, output.value, output.headers, (CREATE_TIME, output.timestamp_ms)
            )
            stream = Stream(output.topic, worker.tp.partition, worker.lineage.id)
            outputs.setdefault(stream, []).append(said)
    return outputs


def expected_outputs(run: Run, until: Mapping[str, int] | None = None) -> Outputs:
    """What the journal's lineages say of the input; one of `until` ends before that offset."""
    return outputs_of(folded(run, until))


def _record(message: Message) -> Record:
    number, offset = message.partition(), message.offset()
    assert number is not None
    assert offset is not None
    _, timestamp_ms = message.timestamp()
    tp = TopicPartition(str(message.topic()), number)
    return Record(tp, offset, timestamp_ms, message.key(), message.value())
