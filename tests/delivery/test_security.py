"""The security duty on a real broker: who searches for the boundary is named, whatever fails."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson
import pytest
from confluent_kafka.admin import AdminClient

from schemas.source_hash import SourceKey
from streams.group_offsets import GroupOffsets
from tests.delivery.attacked import ATTACKER, HONEST, MODEL, attacked
from tests.delivery.kit import Run, make_topics, wait_until
from tests.delivery.oracle import folded, journal_of, outputs_of
from tests.delivery.outputs import Said, check_equal
from tests.delivery.traffic import produce
from tests.delivery.verifying import call, copied, publish, records_of, report
from tests.faults.audit import check_states, stored_digests

N_EVENTS = 9_000
USER_UID = 31
"""What OCSF numbers an observable that is a user."""
KEY = b"a key that only this test has..."
DETECTION = {"reference_events": 500, "security": {"learn_events": 2_000}}


@pytest.fixture
def topic(kafka: str, unique_name: Callable[[str], str]) -> str:
    """Two partitions, in one of which the attacked model is."""
    name = unique_name("attacked")
    make_topics(AdminClient({"bootstrap.servers": kafka}), {name: 2})
    produce(kafka, name, list(attacked(N_EVENTS)))
    return name


def anomalies(run: Run) -> list[Said]:
    """What was told on the topic of anomalies, in its order."""
    return [
        said
        for stream, records in run.outputs().items()
        if stream.duty == "anomalies"
        for said in records
    ]


def accused(records: list[Said]) -> set[str]:
    """The pseudonyms of the sources that the records are about."""
    found: set[str] = set()
    for record in records:
        assert record.value is not None
        document = orjson.loads(record.value)
        found |= {each["value"] for each in document["observables"] if each["type_id"] == USER_UID}
    return found


def test_kills_change_nothing_of_what_is_told_of_an_attacker(
    kafka: str, redis_url: str, topic: str
) -> None:
    with Run(
        kafka,
        redis_url,
        topic,
        detection=DETECTION,
        worker={"poll_records": 48},
        duty="security",
        source_key=KEY,
    ) as run:
        for share, delay_s in ((0.2, 0.0), (0.45, 0.03), (0.6, 0.01)):
            worker = run.start(instance="a")
            run.wait_committed(int(share * N_EVENTS))
            time.sleep(delay_s)
            worker.kill()
        last = run.start(instance="a")
        # All may be committed before it has come up, and who has no handler yet ends at once.
        last.wait_said("partition assigned", 2)
        # And who is stopped in the middle of a replay leaves the checkpoint that it began with.
        replays = [line for line in last.said("partition assigned") if line["replay"] > 0]
        last.wait_said("replay complete", len(replays))
        run.wait_done()
        last.stop()
        assert not any(worker.said("checkpoint refused") for worker in run.workers)
        assert max(line["from_offset"] for line in last.said("partition assigned")) > 0
        workers = folded(run)
        check_equal(run.outputs(), outputs_of(workers))
        check_states(run, workers)
        told = anomalies(run)
        verified = report(run)
        assert verified["exit_code"] == 0, verified
        assert (verified["n_equal"], verified["n_events"]) == ({"anomalies": len(told)}, N_EVENTS)
        # Who was stopped at once had nothing of a partition without records to save.
        are_saved = len(stored_digests(run)) == len(run.ends())
        assert report(run, "--from", "checkpoint")["exit_code"] == (0 if are_saved else 3)
        look_for_what_is_wrong(run, len(told))
    key = SourceKey(KEY)
    assert accused(told) == {key.digest(ATTACKER).hex()}
    assert not {key.digest(source).hex() for source in HONEST} & accused(told)
    assert all(record.key == MODEL.encode() for record in told)


def look_for_what_is_wrong(run: Run, n_told: int) -> None:
    """`verify` finds a finding that is dropped, altered, or there twice."""

    def alter(records: list[Said]) -> list[Said]:
        value = orjson.loads(records[1].value or b"") | {"severity_id": 1}
        changed = records[1]._replace(value=orjson.dumps(value))
        return [*records[:1], changed, *records[2:]]

    dropped = copied(run, "anomalies", "dropped", lambda records: records[1:])
    found = report(run, anomalies=dropped)
    assert (found["exit_code"], found["differences"]) == (1, {"missing": 1})
    assert found["examples"][0]["seq"] == 1
    altered = copied(run, "anomalies", "altered", alter)
    found = report(run, anomalies=altered)
    assert (found["exit_code"], found["differences"]) == (1, {"altered": 1})
    assert found["examples"][0]["detail"].endswith(": data.severity_id")
    shown = call(run, anomalies=altered)
    assert any(line.startswith("altered: anomaly seq 2") for line in shown.stdout.splitlines())
    # Who has no key sees the numbers alone, and says so.
    keyless = {name: value for name, value in run.settings.items() if name != "source_key"}
    whole, run.settings = run.settings, keyless
    assert report(run)["exit_code"] == 3
    run.settings = whole
    publish(run, run.topics["anomalies"], records_of(run, "anomalies")[:1])
    found = report(run)
    assert (found["exit_code"], found["differences"]) == (1, {"duplicated": 1})
    assert found["n_equal"] == {"anomalies": n_told}


def committed(run: Run, group: str) -> int:
    """Records of the input that a group has committed."""
    groups = GroupOffsets(run.kafka, {})
    known = run.admin.list_topics(run.events).topics[run.events].partitions
    places = [(run.events, number) for number in known]
    return sum(each.offset for each in groups.committed(group, places, 60.0))


def test_both_duties_at_once_are_two_groups_and_end_together(
    kafka: str, redis_url: str, topic: str
) -> None:
    with Run(kafka, redis_url, topic, detection=DETECTION, duty="security", source_key=KEY) as run:
        worker = run.start(duty="all")
        run.wait_done()
        wait_until(lambda: committed(run, run.name) == N_EVENTS, run.logs)
        worker.stop(timeout_s=30.0)
        assert anomalies(run)
        assert {duty for duty in ("drift", "security") if journal_of(run, duty)} == {
            "drift",
            "security",
        }
        verified = orjson.loads(call(run, "--json").stdout)
        assert verified["exit_code"] == 0, verified
        assert [each["duty"] for each in verified["duties"]] == ["drift", "security"]
        n_told = {name: n for each in verified["duties"] for name, n in each["n_equal"].items()}
        assert n_told["anomalies"] == len(anomalies(run))
        lines = call(run).stdout.splitlines()
        assert [line.split(":")[0] for line in lines if ": Verified " in line] == [
            "drift",
            "security",
        ]
        (alone,) = orjson.loads(call(run, "--json", "--duty", "security").stdout)["duties"]
        assert alone["duty"] == "security"
