"""Responders on a real broker: whatever happens to them, topics end as in an undisturbed run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka.cimpl import NewPartitions

from tests.delivery.kit import wait_until
from tests.delivery.responding import Responders, Town, command, story, stray
from tests.kit.kafka_server import KafkaCluster


@pytest.fixture
def town(kafka: str, redis_url: str, tmp_path: Path) -> Iterator[Town]:
    with Town(kafka, redis_url, tmp_path) as made:
        yield made


def write_all(town: Town) -> None:
    """The whole story, in transactions with aborted ones between."""
    records = story()
    for number, at in enumerate(range(0, len(records), 7)):
        town.write(records[at : at + 7])
        town.write(stray(number), is_aborted=True)


def undisturbed(town: Town) -> Responders:
    """One responder that nobody disturbs, after it has told everything."""
    responders = Responders(town)
    responders.fold()
    responders.start()
    responders.wait_read()
    responders.wait_released(1)
    return responders


def wait_alike(one: Responders, other: Responders) -> None:
    """Wait until the topics of both say the same."""
    wait_until(
        lambda: one.compacted() == other.compacted(),
        lambda: f"{one.compacted()}\n{other.compacted()}\n{one.logs()}\n{other.logs()}",
        240,
    )


def check_requests(responders: Responders) -> None:
    """Each request was released once, and never changed after."""
    requests = responders.requests()
    released = [each for each in requests if each.status == "released"]
    assert released
    for each in released:
        assert {one.model_dump_json() for one in released if one.request_id == each.request_id} == {
            each.model_dump_json()
        }
        last = [one for one in requests if one.request_id == each.request_id][-1]
        assert last == each


def test_a_kill_a_rebalance_and_a_broker_that_restarts_leave_no_trace(
    redis_url: str, tmp_path: Path
) -> None:
    with KafkaCluster() as cluster, Town(cluster.bootstrap_servers, redis_url, tmp_path) as town:
        town.write_events()
        records = story()
        parts = [records[at : at + 7] for at in range(0, len(records), 7)]
        third = len(parts) // 3
        disturbed = Responders(town)

        def write(number: int) -> None:
            town.write(parts[number])
            town.write(stray(number), is_aborted=True)

        for number in range(third):
            write(number)
        first = disturbed.start()
        # It is in the middle of it: something is told, not everything is committed.
        wait_until(disturbed.compacted, disturbed.logs, 240)
        first.kill()
        second = disturbed.start()
        for number in range(third, 2 * third):
            write(number)
        third_one = disturbed.start()
        third_one.wait_said("responder ready")
        disturbed.fold(150)
        cluster.nodes[0].restart()
        cluster.wait_in_sync()
        # A broker's end may end one, and its supervisor starts it again.
        disturbed.start(is_alone=False)
        for number in range(2 * third, len(parts)):
            write(number)
        if second.is_running():
            second.kill()
        disturbed.fold()
        disturbed.wait_read()
        disturbed.wait_released(1)

        plain = undisturbed(town)
        wait_alike(disturbed, plain)
        for each in (disturbed, plain):
            check_requests(each)
        assert len(plain.incidents()) > 6
        assert {each.model_id for each in plain.incidents().values()} == {
            record[1] for record in records
        }
        disturbed.stop()
        plain.stop()


def test_what_a_person_says_is_heard_and_a_rebuild_finds_everything_again(town: Town) -> None:
    town.write_events()
    write_all(town)
    responders = undisturbed(town)
    name, incident = next(
        each for each in responders.incidents().items() if each[1].model_id == "model-1"
    )
    evidence = {each.evidence_id: each.revision for each in incident.evidence}
    said = {"verdict": "data_fault", "reason": "a join", "evidence": evidence}
    town.write([command("overrule", name, "model-1", **said)])

    def overruled() -> bool:
        verdict = responders.incidents()[name].verdict
        return (verdict.by, verdict.covers) == ("ana", evidence)

    wait_until(overruled, responders.logs, 120)
    before = responders.compacted()
    responders.processes[-1].stop(60)
    wait_until(lambda: not members(responders), responders.logs, 60)
    responders.rebuild()
    assert responders.compacted() == before
    # And it goes on from there, without reading anything again.
    process = responders.start()
    process.wait_said("responder ready")
    responders.wait_read()
    process.stop(60)
    assert responders.compacted() == before
    responders.stop()


def members(responders: Responders) -> int:
    group = f"{responders.name}.responder"
    described = responders.town.admin.describe_consumer_groups([group])[group].result(timeout=30)
    return len(described.members)


def test_a_responder_whose_redis_was_emptied_stops_and_says_what_to_do(town: Town) -> None:
    write_all(town)
    responders = Responders(town)
    process = responders.start()
    responders.wait_read()
    process.stop(60)
    with redis.Redis.from_url(town.redis_url) as client:
        client.flushdb()
    process = responders.start()
    assert process.wait(120) == 3
    assert process.said("--rebuild")
    before = responders.compacted()
    responders.rebuild()
    assert responders.compacted() == before
    responders.stop()


def test_topics_that_are_not_alike_are_refused(town: Town) -> None:
    town.admin.create_partitions([NewPartitions(town.inputs["alerts"], 3)])[
        town.inputs["alerts"]
    ].result(timeout=60)
    process = Responders(town).start()
    assert process.wait(120) == 3
    assert process.said("have different numbers of partitions")


def test_it_is_ready_by_a_file_and_its_supervisor_starts_it_again(town: Town) -> None:
    ready = town.directory / "ready"
    write_all(town)
    responders = Responders(town)
    process = responders.start("--ready-file", str(ready), is_alone=False)
    # It says so after it has written the file: killed between the two it would say it only once.
    process.wait_said("responder ready")
    wait_until(ready.exists, responders.logs, 120)
    child = int(process.said("responder started")[0]["pid"])
    os.kill(child, signal.SIGKILL)
    process.wait_said("is started again")
    process.wait_said("responder ready", 2)
    responders.wait_read()
    process.stop(60)
    assert not ready.exists()
    responders.stop()


def test_bytes_that_are_no_record_are_passed_over(town: Town) -> None:
    town.write([("alerts", "churn", b"{}"), ("alerts", "churn", b"\xff"), *story()[:2]])
    responders = Responders(town)
    process = responders.start()
    responders.wait_read()
    assert len(process.said("cannot be read and is passed over")) == 1
    assert responders.incidents()
    process.stop(60)
    assert process.said("responder stopped")[0]["refused"] == {town.inputs["alerts"]: 2}
    responders.stop()
