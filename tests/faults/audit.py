"""What a run that was disturbed has published and kept, against one that was not.

Each record of the alerts and dead letters is compared with its counterpart; the numbers are what
the table of faults shows. `audit` is where a deployment is judged: everything that is asked of one
that has come through a fault is asked there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.records import TopicPartition as InputPartition
from streams.checkpoint import fetch_checkpoint, state_digest
from streams.kafka_clients import answered_offset, ask_patiently
from streams.redis_store import RedisStore
from streams.worker import PartitionWorker
from tests.delivery.kit import Run
from tests.delivery.oracle import folded, outputs_of
from tests.delivery.outputs import OFFSETS, Outputs, Said, check_sequences
from tests.delivery.verifying import call
from tests.faults.deployment import SOURCE_KEY, Deployment

_OFFSETS_TOPIC: Final = "__consumer_offsets"
_HANGING_S: Final = 20.0


class Verdict(NamedTuple):
    """How many records came out, and how many of them, or besides them, are wrong."""

    n_outputs: int
    n_lost: int
    n_duplicated: int
    n_out_of_place: int
    """Records that are not, byte for byte and number for number, what they should be."""

    @property
    def is_clean(self) -> bool:
        """Whether the two are equal."""
        return not (self.n_lost or self.n_duplicated or self.n_out_of_place)


def compared(found: Outputs, expected: Outputs) -> Verdict:
    """Compare by lineage and duty: what is lost, there twice, or not where and what it should be.

    A record is known by its `ce_id`; one that nobody expects is out of place.
    """
    n_lost = n_duplicated = n_out_of_place = 0
    for stream in found.keys() | expected.keys():
        mine, theirs = found.get(stream, []), expected.get(stream, [])
        wanted = {said.header("ce_id"): said for said in theirs}
        times = Counter(said.header("ce_id") for said in mine)
        n_lost += sum(name not in times for name in wanted)
        n_duplicated += sum(n - 1 for n in times.values())
        n_out_of_place += sum(_is_out_of_place(said, wanted) for said in mine)
    n_outputs = sum(len(records) for records in found.values())
    return Verdict(n_outputs, n_lost, n_duplicated, n_out_of_place)


def _is_out_of_place(said: Said, wanted: Mapping[str, Said]) -> bool:
    # The sequence number is a header: equal bytes are equal places.
    return wanted.get(said.header("ce_id")) != said


def audit(run: Deployment) -> Verdict:
    """Bring the run to rest and judge it against its input and journal, folded anew in here.

    Raises `AssertionError` for whatever the verdict does not count: a commit short of the log's
    end, a transaction that hangs, counters or a state other than those of the fold, a divergence,
    and where `driftsentry verify`, which judges from outside, says otherwise.
    """
    run.quiesce()
    check_no_hanging_transaction(run)
    workers = folded(run)
    found, expected = run.outputs(), outputs_of(workers)
    verdict = compared(found, expected)
    if verdict.is_clean:
        # In their own words: no gap, no repeat.
        check_sequences(found)
    check_states(run, workers)
    check_commits(run, workers)
    said = [worker.log() for worker in run.workers if worker.said("state_divergence")]
    assert not said, said[0]
    verified = call(run)
    assert (verified.exit_code == 0) == verdict.is_clean, (verdict, verified.output)
    return verdict


def compared_with_undisturbed(run: Deployment) -> Verdict:
    """The run at rest against one worker that folds the same topic anew and that nobody disturbs.

    Raises `AssertionError` where the two end with different states.
    """
    calm_url = run.redis_url.rpartition("/")[0] + "/0"
    key = None if run.source_key is None else SOURCE_KEY
    with Run(
        run.kafka, calm_url, run.events, detection=run.detection, duty=run.duty, source_key=key
    ) as calm:
        worker = calm.start()
        calm.wait_done()
        worker.stop()
        assert stored_digests(calm) == stored_digests(run)
        return compared(run.outputs(), calm.outputs())


def check_commits(run: Deployment, workers: Iterable[PartitionWorker]) -> None:
    """The latest commit of each partition says what the fold says of that offset."""
    committed, metadata = run.positions(), run.metadata()
    for worker in _last_of_each_partition(workers):
        number = worker.tp.partition
        assert committed[number] == worker.next_offset, (number, committed, worker.next_offset)
        mine, theirs = worker.metadata(), metadata[number]
        assert theirs is not None, f"{worker.tp}: a commit without metadata"
        for name in ("lineage", "generation", "config", "n_events", "n_alerts", "n_dead"):
            assert getattr(theirs, name) == getattr(mine, name), (worker.tp, name)


def check_states(run: Run, workers: Iterable[PartitionWorker]) -> None:
    """The newest checkpoint of each partition holds the state of the fold, bit for bit."""
    digests = stored_digests(run)
    for worker in _last_of_each_partition(workers):
        if worker.n_records == 0 and worker.tp.partition not in digests:
            # Who was stopped at once had nothing of a partition without records to save.
            continue
        assert digests[worker.tp.partition] == state_digest(worker.parts()), worker.tp


def stored_digests(run: Run) -> dict[int, str]:
    """The digest of the state in the newest checkpoint of each partition that has one."""
    store = RedisStore(run.redis_url, group=run.group, prefix=run.name)
    found: dict[int, str] = {}
    try:
        for number in run.ends():
            tp = InputPartition(run.events, number)
            if kept := store.manifests(tp):
                manifest = kept[0].manifest
                checkpoint = fetch_checkpoint(manifest, partial(store.segments, tp), None)
                found[number] = state_digest(checkpoint.parts)
    finally:
        store.close()
    return found


def check_no_hanging_transaction(run: Run) -> None:
    """Whatever was begun on the outputs, the journal and the offsets has ended.

    A transaction of a worker that was killed may take its timeout; one that is open for longer
    than that hangs.
    """
    topics = [*run.topics.values(), run.journal, _OFFSETS_TOPIC]
    deadline_s = time.monotonic() + _HANGING_S
    while (stable := _ends(run.admin, topics, IsolationLevel.READ_COMMITTED)) != (
        written := _ends(run.admin, topics, IsolationLevel.READ_UNCOMMITTED)
    ):
        behind = {tp: (stable[tp], end) for tp, end in written.items() if stable[tp] != end}
        assert time.monotonic() < deadline_s, f"open transactions (stable end, end): {behind}"
        time.sleep(0.1)


def _ends(
    admin: AdminClient, topics: Iterable[str], isolation: IsolationLevel
) -> dict[tuple[str, int], int]:
    def ask() -> dict[tuple[str, int], int]:
        known = admin.list_topics(timeout=10).topics
        asked: dict[TopicPartition, Any] = {
            TopicPartition(topic, number): OFFSETS.latest()
            for topic in topics
            for number in known[topic].partitions
        }
        answers = admin.list_offsets(asked, isolation_level=isolation)
        return {
            (tp.topic, tp.partition): answered_offset(answer.result(timeout=30).offset)
            for tp, answer in answers.items()
        }

    # Where a leader has just moved, somebody may not have heard of it.
    return ask_patiently(ask, _HANGING_S)


def _last_of_each_partition(workers: Iterable[PartitionWorker]) -> Iterable[PartitionWorker]:
    """The lineage that each partition is in now."""
    return {worker.tp.partition: worker for worker in workers}.values()
