"""Offsets that a tool moved, a topic made anew: the worker stops and asks, and a reset is said."""

from __future__ import annotations

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.launch import EXIT_OPERATOR
from tests.delivery.kit import SmallRun, WorkerProcess, make_topics, wait_until
from tests.delivery.oracle import expected_outputs, journal_of
from tests.delivery.outputs import check_equal
from tests.delivery.verifying import report


def fold_some(run: SmallRun, n: int = 2_000) -> None:
    """Let a worker fold n events and leave."""
    worker = run.start()
    run.send(n)
    run.wait_done()
    worker.stop()


def asks(worker: WorkerProcess, code: str) -> str:
    """The worker ends because a person has to decide; what it says."""
    assert worker.wait() == EXIT_OPERATOR, worker.log()
    (line,) = worker.said("a person has to decide")
    assert line["reason"].startswith(code), line
    assert "--accept-reset" in line["reason"]
    return str(line["reason"])


def remake(run: SmallRun) -> None:
    """Delete the input topic and make it again."""
    run.admin.delete_topics([run.events])[run.events].result(timeout=30)
    admin = AdminClient({"bootstrap.servers": run.kafka})
    wait_until(lambda: run.events not in admin.list_topics(timeout=10).topics, "still there")
    make_topics(admin, {run.events: 4})
    run.n_sent = 0


def test_an_offset_moved_back_is_asked_about_and_an_accepted_reset_begins_anew(
    small_run: SmallRun,
) -> None:
    fold_some(small_run)
    before = small_run.outputs()
    small_run.move_offsets({1: 200})

    reason = asks(small_run.start(), "offset_regression")
    assert f"{small_run.events}[1]" in reason
    assert "200" in reason
    assert small_run.outputs() == before

    accepting = small_run.start("--accept-reset")
    small_run.send(1_000)
    small_run.wait_done()
    accepting.stop()

    entries = journal_of(small_run)
    assert {n: [e.kind for e in of] for n, of in entries.items()} == {
        0: ["lineage"],
        1: ["lineage", "reset"],
        2: ["lineage"],
        3: ["lineage"],
    }
    old, new = entries[1]
    assert (new.offset, new.lineage.parent, new.lineage.n_resets) == (200, old.lineage.id, 1)
    assert "offset_regression" in new.reason
    check_equal(small_run.outputs(), expected_outputs(small_run, until={old.lineage.id: 500}))

    # The reset is done with: nobody has to say it twice, and the store has taken the new lineage.
    assert small_run.checkpoints()[1][0] == 750
    again = small_run.start("--accept-reset")
    small_run.send(100)
    small_run.wait_done()
    again.stop()
    assert len(journal_of(small_run)[1]) == 2
    assert not again.said("folding from")


def test_a_lost_offset_is_asked_about(small_run: SmallRun) -> None:
    fold_some(small_run, 800)
    small_run.admin.delete_consumer_groups([small_run.name])[small_run.name].result(timeout=30)
    assert small_run.committed() == {}

    reason = asks(small_run.start(), "offset_regression")
    assert "no committed offset" in reason


def test_an_offset_lost_with_the_journal_is_asked_about_where_the_store_knows(
    small_run: SmallRun,
) -> None:
    fold_some(small_run, 800)
    small_run.admin.delete_consumer_groups([small_run.name])[small_run.name].result(timeout=30)
    small_run.admin.delete_topics([small_run.journal])[small_run.journal].result(timeout=30)
    make_topics(small_run.admin, {f"{small_run.journal}-new": 1})
    topics = {**small_run.settings["topics"], "journal": f"{small_run.journal}-new"}

    reason = asks(small_run.start(topics=topics), "offset_regression")
    assert "checkpoint" in reason

    accepting = small_run.start("--accept-reset", topics=topics)
    small_run.wait_done()
    accepting.stop()
    # The store has let go of the old lineage.
    assert {kept[0] for kept in small_run.checkpoints().values()} == {200}
    again = small_run.start(topics=topics)
    small_run.send(100)
    small_run.wait_done()
    again.stop()
    assert not again.said("folding from")


def test_a_topic_made_again_is_asked_about(small_run: SmallRun) -> None:
    fold_some(small_run, 800)
    remake(small_run)
    small_run.send(1_200)

    asks(small_run.start(), "topic_recreated")

    accepting = small_run.start("--accept-reset")
    small_run.wait_done()
    accepting.stop()
    lineages = [entry.lineage for entry in journal_of(small_run)[0]]
    assert len(lineages) == 2
    assert lineages[0].topic_id != lineages[1].topic_id
    new = {entries[1].lineage.id for entries in journal_of(small_run).values()}
    found = {s: said for s, said in small_run.outputs().items() if s.lineage in new}
    expected = {s: said for s, said in expected_outputs(small_run).items() if s.lineage in new}
    check_equal(found, expected)
    assert len({stream.lineage for stream in found}) == 4
    # What the topic held before is gone, and `verify` claims nothing of it.
    verified = report(small_run)
    assert verified["exit_code"] == 3, verified
    assert not verified["differences"], verified


def test_a_log_cut_off_at_its_end_is_asked_about(small_run: SmallRun) -> None:
    fold_some(small_run, 400)
    small_run.move_offsets({3: 5_000})

    reason = asks(small_run.start(), "log_truncated")
    assert "5000" in reason


def test_an_offset_that_a_tool_has_set_is_asked_about(small_run: SmallRun) -> None:
    # Behind every checkpoint, within the log: only the missing metadata tells.
    fold_some(small_run, 400)
    small_run.move_offsets({0: 100})

    asks(small_run.start(), "offset_moved")


def test_a_partition_that_a_tool_emptied_before_the_start_begins_at_its_low_watermark(
    small_run: SmallRun,
) -> None:
    small_run.send(400)
    cut = [TopicPartition(small_run.events, 1, 30)]
    for future in small_run.admin.delete_records(cut).values():
        future.result(timeout=30)
    worker = small_run.start()
    small_run.wait_done()
    worker.stop()
    starts = {n: entries[0].offset for n, entries in journal_of(small_run).items()}
    assert starts == {0: 0, 1: 30, 2: 0, 3: 0}
    check_equal(small_run.outputs(), expected_outputs(small_run))
