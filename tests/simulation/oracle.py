"""What a run should have published: its log and its journal folded here, in one go, undisturbed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from schemas.records import TopicPartition
from streams.checkpoint import fetch_checkpoint, state_digest
from streams.lineage import JournalEntry, Metadata, load_journal, load_metadata
from streams.ports import Output, StoredManifest
from streams.recovery import in_force
from streams.topics import journal_key
from streams.worker import Detection, PartitionWorker
from tests.simulation.attacks import KEY
from tests.simulation.process import GROUP, TOPICS_OF
from tests.simulation.world import World

Row = tuple[int, bytes | None, bytes | None, tuple[tuple[str, bytes], ...], int]
"""seq, key, value, headers, timestamp."""


@dataclass
class Expected:
    """One partition's outputs, by topic in order of `seq`, and its state where it was asked for."""

    rows: dict[str, list[Row]]
    digests: dict[tuple[int, int, int], str] = field(default_factory=dict)
    """By offset, generation and number of commands: both change between two records."""


def check(world: World) -> None:
    """Compare all that a finished run has left with what it should have. Raises AssertionError."""
    found = found_rows(world)
    for tp in world.tps:
        entries = journal_of(world, tp)
        committed = world.broker.stable_commit(GROUP, tp)
        if committed is None:
            assert not entries, f"{tp}: journaled and not committed"
            continue
        metadata = load_metadata(committed.metadata)
        assert metadata is not None
        if not world.exactly_once:
            entries = in_force(entries, metadata.lineage, metadata)
        _check_journal(tp, entries)
        kept = world.store.manifests(tp)
        assert all(stored.next_offset <= committed.offset for stored in kept)
        if not world.is_done(tp):
            _check_pause(world, tp, entries, kept, committed.offset)
        # Without transactions outputs can be ahead of a commit that never came.
        end = committed.offset if world.exactly_once else world.broker.partition(tp).high
        expected = fold(world, tp, entries, end, [s.next_offset for s in kept])
        for topic, n_committed in numbered(world, metadata).items():
            mine, theirs = found.pop((topic, tp.partition), []), expected.rows[topic]
            if not world.exactly_once:
                # A crash repeats them: with the same bytes, or it is no repeat.
                mine = sorted(set(mine))
                theirs = theirs[: max(n_committed, len(mine))]
                if len(entries) > 1:
                    # They may even be repeated under the next generation, or after a command.
                    assert {row[0] for row in mine} >= set(range(1, n_committed + 1))
                    continue
            _check_rows(f"{topic} of {tp}", mine, theirs)
            assert len(theirs) == n_committed or not world.exactly_once
        for stored in kept:
            fetch = partial(world.store.segments, tp)
            state = fetch_checkpoint(stored.manifest, fetch, None)
            at = stored.next_offset, state.generation, int(state.fields["n_commands"])
            assert state_digest(state.parts) == expected.digests.get(at), (
                f"{tp}: the checkpoint at {stored.next_offset} is not the state there"
            )
    assert not found, f"outputs of partitions that were never committed: {list(found)}"


def numbered(world: World, metadata: Metadata) -> dict[str, int]:
    """The last number of each topic that the duty writes, as the commit has it."""
    topics = TOPICS_OF[world.duty]
    if world.duty == "security":
        # Refused records are counted by it, and told by the drift duty.
        return {topics.alerts: metadata.n_alerts}
    return {topics.alerts: metadata.n_alerts, topics.dead_letter: metadata.n_dead}


def found_rows(world: World) -> dict[tuple[str, int], list[Row]]:
    """What a reader of committed records sees, by topic and input partition, in order of `seq`."""
    rows: dict[tuple[str, int], list[Row]] = {}
    topics = TOPICS_OF[world.duty]
    for topic in (topics.alerts, topics.dead_letter):
        for number in range(world.broker.n_partitions(topic)):
            for entry in world.broker.records(TopicPartition(topic, number)):
                record = entry.record
                row = _row(record.key, record.value, entry.headers, record.timestamp_ms)
                partition = int(dict(entry.headers)["ce_inputpartition"])
                rows.setdefault((topic, partition), []).append(row)
    for of_stream in rows.values():
        of_stream.sort(key=lambda row: row[0])
    return rows


def journal_of(world: World, tp: TopicPartition) -> list[JournalEntry]:
    """The journal of one partition."""
    key = journal_key(GROUP, tp)
    entries = world.broker.records(TopicPartition(TOPICS_OF[world.duty].journal, 0))
    return load_journal([e.record.value or b"" for e in entries if e.record.key == key])


def fold(
    world: World,
    tp: TopicPartition,
    entries: Sequence[JournalEntry],
    end: int,
    digests_at: Sequence[int],
) -> Expected:
    """Fold what lies before `end`; the journal says what happens between."""
    first, topics = entries[0], TOPICS_OF[world.duty]
    worker = PartitionWorker(tp, first.lineage, _detection(first), 0, topics)
    switches = list(entries[1:])
    expected = Expected({topics.alerts: [], topics.dead_letter: []})
    records = [r for r in world.broker.all_records(tp) if first.offset <= r.offset < end]
    at = 0
    for cut in sorted({*digests_at, *(entry.offset for entry in switches), end}):
        stretch = [record for record in records[at:] if record.offset < cut]
        at += len(stretch)
        if stretch:
            worker.process(stretch)
        if cut in digests_at:
            _note_digest(expected, worker, cut)
        while switches and switches[0].offset == cut:
            entry = switches.pop(0)
            if entry.command is not None:
                worker.obey(entry.command, cut, tells=True)
            else:
                worker.switch(_detection(entry), cut)
            if cut in digests_at:
                _note_digest(expected, worker, cut)
    for output in worker.take_outputs():
        expected.rows[output.topic].append(_row_of(output))
    return expected


def _detection(entry: JournalEntry) -> Detection:
    assert entry.document is not None
    duty = entry.lineage.duty
    return Detection(entry.document, KEY if duty == "security" else None, duty)


def _note_digest(expected: Expected, worker: PartitionWorker, offset: int) -> None:
    at = offset, worker.detection.config.generation, worker.n_commands
    expected.digests[at] = state_digest(worker.parts())


def _row_of(output: Output) -> Row:
    return _row(output.key, output.value, output.headers, max(1, output.timestamp_ms))


def _row(
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str, bytes], ...],
    timestamp_ms: int,
) -> Row:
    return int(dict(headers)["ce_sequence"]), key, value, headers, timestamp_ms


def _check_rows(what: str, found: list[Row], expected: list[Row]) -> None:
    numbers = [row[0] for row in found]
    assert numbers == list(range(1, len(expected) + 1)), (
        f"{what}: seq {numbers}, expected 1 to {len(expected)}"
    )
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == theirs, f"{what}: seq {mine[0]} is {mine[2]!r}, expected {theirs[2]!r}"


def _check_journal(tp: TopicPartition, entries: Sequence[JournalEntry]) -> None:
    assert entries, f"{tp}: committed, and no journal"
    assert len({entry.lineage.id for entry in entries}) == 1, f"{tp}: two lineages"
    numbers = [entry.command.number for entry in entries if entry.command is not None]
    assert numbers == list(range(1, len(numbers) + 1)), f"{tp}: commands {numbers}"
    said = [e.command.offset for e in entries if e.command is not None and e.command.offset >= 0]
    assert said == sorted(set(said)), f"{tp}: commands of the places {said}"
    configs = [entry for entry in entries if entry.command is None]
    kinds = [entry.kind for entry in configs]
    assert kinds == ["lineage"] + ["config"] * (len(configs) - 1), f"{tp}: the journal has {kinds}"
    generations = [entry.generation for entry in configs]
    assert generations == sorted(set(generations)), f"{tp}: generations went {generations}"


def _check_pause(
    world: World,
    tp: TopicPartition,
    entries: Sequence[JournalEntry],
    kept: Sequence[StoredManifest],
    committed: int,
) -> None:
    """A partition that stands still has lost its log and its checkpoints, both."""
    low = world.broker.partition(tp).low
    assert entries[0].offset < low, f"{tp}: paused, though the log has the lineage's start"
    usable = [stored.next_offset for stored in kept if low <= stored.next_offset <= committed]
    assert not usable, f"{tp}: paused, though there is a checkpoint at {usable}"
