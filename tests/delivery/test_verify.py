"""`driftsentry verify` on a real cluster: it agrees with an honest run and finds what is wrong."""

from __future__ import annotations

from typing import Any

import orjson
from confluent_kafka import TopicPartition

from tests.delivery.kit import SmallRun, wait_until
from tests.delivery.oracle import journal_of
from tests.delivery.outputs import Said, n_records
from tests.delivery.verifying import call, copied, publish, records_of, report

SECOND = {"generation": 2, "detectors": {"page_hinkley": {"enabled": True, "threshold": 20.0}}}


def fold(run: SmallRun, n: int, *options: str, **settings: Any) -> None:
    """Let a worker fold n more events and leave."""
    worker = run.start(*options, **settings)
    run.send(n)
    run.wait_done()
    worker.stop()


def test_kills_a_switched_config_and_an_accepted_reset_are_verified(small_run: SmallRun) -> None:
    run = small_run
    first = run.start(instance="a")
    run.send(2_000)
    run.wait_committed(700)
    first.kill()
    second = run.start(instance="a")
    run.wait_done()
    # While a worker goes on.
    run.send(2_000)
    live = report(run)
    assert live["exit_code"] == 0, live
    run.wait_done()
    second.kill()
    # No static member any more: the group must be empty when its offsets are moved.
    fold(run, 1_200, detection=SECOND)
    run.move_offsets({1: 200})
    fold(run, 800, "--accept-reset", detection=SECOND)
    kinds = [entry.kind for entry in journal_of(run)[1]]
    assert kinds == ["lineage", "config", "reset"]

    found = report(run)
    outputs = run.outputs()
    assert found["exit_code"] == 0, found
    assert found["differences"] == {}
    assert found["n_partitions"] == 4
    # Of partition 1: the replaced lineage once more, up to its last output at least.
    assert found["n_events"] > sum(run.ends().values())
    assert found["n_equal"] == {
        duty: n_records(outputs, duty) for duty in ("alerts", "dead_letter")
    }
    assert found["n_equal"]["alerts"] > 10
    assert found["foreign"] == []

    result = call(run)
    assert result.exit_code == 0
    last = result.stdout.splitlines()[-1]
    assert last.startswith("Verified ")
    assert "in 4 partitions from the start to the committed offsets" in last
    assert "exactly once" in last

    newest = report(run, "--from", "checkpoint", "--partition", "1", "--partition", "2")
    assert newest["exit_code"] == 0, newest
    assert newest["n_partitions"] == 2


def test_a_duplicated_a_dropped_and_an_altered_alert_are_found(small_run: SmallRun) -> None:
    run = small_run
    fold(run, 4_000)

    def drop(records: list[Said]) -> list[Said]:
        return records[:3] + records[4:]

    def alter(records: list[Said]) -> list[Said]:
        value = orjson.loads(records[3].value or b"") | {"severity": "low", "effect": 0.01}
        changed = records[3]._replace(value=orjson.dumps(value))
        return [*records[:3], changed, *records[4:]]

    honest = report(run, alerts=copied(run, "alerts", "honest", lambda records: records))
    assert honest["exit_code"] == 0, honest
    n_alerts = honest["n_equal"]["alerts"]
    assert n_alerts > 10

    dropped = report(run, alerts=copied(run, "alerts", "dropped", drop))
    assert dropped["exit_code"] == 1
    assert dropped["differences"] == {"missing": 1}
    assert dropped["n_equal"]["alerts"] == n_alerts - 1
    (example,) = dropped["examples"]
    assert (example["duty"], example["kind"]) == ("alerts", "missing")

    topic = copied(run, "alerts", "altered", alter)
    altered = report(run, alerts=topic)
    assert altered["exit_code"] == 1
    assert altered["differences"] == {"altered": 1}
    assert altered["examples"][0]["detail"].endswith(": data.severity, data.effect")
    assert altered["examples"][0]["ce_id"] == example["ce_id"]
    assert altered["examples"][0]["seq"] == example["seq"] == 4
    result = call(run, alerts=topic)
    assert result.exit_code == 1
    *lines, sentence = result.stdout.splitlines()
    assert any(line.startswith("altered: alert seq ") for line in lines)
    assert sentence.startswith("Differences found in ")
    assert sentence.endswith(": 1 altered.")

    # Kafka cannot take a record away; it can take another one in.
    publish(run, run.topics["alerts"], records_of(run, "alerts")[3:4])
    duplicated = report(run)
    assert duplicated["exit_code"] == 1
    assert duplicated["differences"] == {"duplicated": 1}
    assert duplicated["n_equal"]["alerts"] == n_alerts
    lenient = report(run, "--mode", "at-least-once")
    assert lenient["exit_code"] == 0, lenient
    assert lenient["n_repeats"] == 1

    assert report(run, "--partition", "2", "--partition", "3")["n_partitions"] == 2


def test_what_cannot_be_verified_is_said_and_never_claimed(small_run: SmallRun) -> None:
    run = small_run
    run.send(1_200)
    nobody = report(run)
    assert nobody["exit_code"] == 3
    assert "has committed nothing" in nobody["sentence"]
    fold(run, 2_000)
    cut = [TopicPartition(run.events, 1, 100)]
    for future in run.admin.delete_records(cut).values():
        future.result(timeout=30)

    result = call(run)
    assert result.exit_code == 3
    assert "Could not verify all" in result.stdout.splitlines()[-1]
    assert "the log holds nothing before 100" in result.stdout
    assert report(run, "--partition", "0")["exit_code"] == 0
    later = report(run, "--from", "checkpoint")
    assert later["exit_code"] == 0, later
    assert later["n_partitions"] == 4
    assert "from the oldest checkpoint" in later["sentence"]
    with run.store() as store:
        store.flushdb()
    assert report(run, "--from", "checkpoint")["exit_code"] == 3

    unknown = call(run, "--partition", "99")
    assert unknown.exit_code == 2
    assert "has no partition 99" in unknown.stderr
    nothing = call(run, alerts=f"{run.name}.nowhere")
    assert nothing.exit_code == 3
    assert "there is no topic" in nothing.stderr


def test_a_config_switch_where_the_lineage_begins_is_followed(small_run: SmallRun) -> None:
    first = small_run.start()
    wait_until(lambda: small_run.committed() == dict.fromkeys(range(4), 0), first.log)
    first.stop()
    fold(small_run, 2_000, detection=SECOND)
    for entries in journal_of(small_run).values():
        assert [(entry.kind, entry.offset) for entry in entries] == [("lineage", 0), ("config", 0)]
    assert report(small_run)["exit_code"] == 0
    assert report(small_run, "--from", "checkpoint")["exit_code"] == 0
