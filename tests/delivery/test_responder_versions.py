"""Responders on a real broker follow a new version: what is asked for is asked for once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from schemas.rollback import FollowUpData, RollbackData
from tests.delivery.kit import wait_until
from tests.delivery.responding import EVENTS_PARTITION, NUMBERS, WAIT_S, Responders, Town
from tests.streams.rollback_kit import every, served

N_EACH = 300
"""Predictions of a version; each has its label behind it."""
ROLLBACK = {
    "policy": "ask",
    "window_offsets": 200,
    "max_doublings": 1,
    "min_labels": 60,
    "min_group_labels": 30,
    "look_every": 100,
    "look_offsets": 50,
}


@pytest.fixture
def town(kafka: str, redis_url: str, tmp_path: Path) -> Iterator[Town]:
    with Town(kafka, redis_url, tmp_path) as made:
        yield made


def write_versions(town: Town) -> None:
    """Version 7, wrong one time in ten, and then version 8, wrong one time in two."""
    producer = Producer({"bootstrap.servers": town.kafka})
    for each in [*served(0, N_EACH, "7", every(10)), *served(2 * N_EACH, N_EACH, "8", every(2))]:
        producer.produce(town.events, each.value, b"churn", EVENTS_PARTITION)
    assert producer.flush(60) == 0


def requests(responders: Responders) -> list[RollbackData]:
    """Every record of a rollback request."""
    return [
        RollbackData.model_validate_json(value)
        for _, value in responders.records("rollback")
        if value is not None
    ]


def wait_status(responders: Responders, status: str) -> None:
    wait_until(
        lambda: any(each.status == status for each in requests(responders)),
        responders.logs,
        WAIT_S,
    )


def word(kind: str, request: RollbackData, by: str = "ana") -> tuple[str, str, bytes]:
    fields = {
        "kind": kind,
        "command_id": f"{kind}-{next(NUMBERS)}",
        "deployment": request.deployment,
        "model_id": request.model_id,
        "request_id": request.request_id,
        "by": by,
    }
    return "commands", request.model_id, orjson.dumps(fields)


def test_a_rollback_is_asked_for_once_whoever_dies_and_released_when_a_person_says_so(
    town: Town,
) -> None:
    write_versions(town)
    disturbed = Responders(town, rollback=ROLLBACK)
    disturbed.fold(2 * N_EACH + 100)
    first = disturbed.start()
    # The new version has been found, and its window is not settled.
    wait_until(lambda: list(disturbed.records("followup")), disturbed.logs, WAIT_S)
    assert requests(disturbed) == []
    first.kill()
    disturbed.start()
    disturbed.start()
    disturbed.fold(4 * N_EACH)
    wait_status(disturbed, "held")
    (held,) = {each.model_dump_json() for each in requests(disturbed)}
    request = RollbackData.model_validate_json(held)
    assert (request.from_version, request.to_version) == ("8", "7")
    assert [each.reason for each in request.holds] == ["approval_needed"]
    assert request.comparison.groups[0].n_new == 100

    town.write([word("opened_rollback", request), word("approve_rollback", request)])
    wait_status(disturbed, "released")
    plain = Responders(town, rollback=ROLLBACK)
    plain.fold(4 * N_EACH)
    plain.start()
    wait_status(plain, "released")
    wait_until(lambda: disturbed.compacted() == plain.compacted(), disturbed.logs, WAIT_S)
    released = [each for each in requests(disturbed) if each.status == "released"]
    assert len({each.model_dump_json() for each in released}) == 1
    assert released[0].approved_by == "ana"
    assert released[0].was_evidence_opened
    followups = [
        FollowUpData.model_validate_json(value)
        for key, value in plain.compacted().items()
        if key.startswith("followup/")
    ]
    assert [(each.model_version, each.verdict) for each in followups] == [("8", "worse")]

    before = disturbed.compacted()
    disturbed.stop()
    assert "records read" in disturbed.rebuild()
    assert disturbed.compacted() == before
    plain.stop()
