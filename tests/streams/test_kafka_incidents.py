"""`driftsentry incident` on a real Kafka: only what is committed has happened."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from schemas.incidents import IncidentData
from schemas.responses import OverruleIncident
from tests.streams.incident_kit import alert
from tests.streams.incident_scene import Scene, incidents, written

pytestmark = pytest.mark.kafka


def test_what_was_aborted_has_not_happened_and_is_no_evidence(
    kafka: str, new_topic: Callable[..., str], unique_name: Callable[[str], str]
) -> None:
    scene = Scene(kafka, new_topic)
    (found,) = scene.happen(alert(1))
    (aborted,) = incidents(alert(2, 5, revision=2))
    later = alert(1, 5, revision=2, message="never told")
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": unique_name("t")})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(scene.topics["incidents"], written(aborted).value, aborted.incident_id, 0)
    producer.produce(scene.topics["incidents"], None, found.incident_id, 0)
    producer.produce(scene.topics["alerts"], later, b"churn", 0)
    assert producer.flush(30) == 0
    producer.abort_transaction(30)

    (line,) = scene.run("list", "--all", "--json").stdout.splitlines()
    assert IncidentData.model_validate_json(line) == found
    shown = scene.run("show", found.incident_id, "--by", "ana")
    assert shown.exit_code == 0, shown.output
    assert "never told" not in shown.stdout
    overruled = scene.run(
        *("overrule", found.incident_id, "data_fault", "--because", "a join", "--by", "ana")
    )
    assert overruled.exit_code == 0, overruled.output
    *_, word = scene.said()
    assert isinstance(word, OverruleIncident)
    assert word.command_id == overruled.stdout.strip()


def test_a_later_record_and_a_tombstone_count_before_compaction_has_been_there(
    kafka: str, new_topic: Callable[..., str]
) -> None:
    scene = Scene(kafka, new_topic)
    one, other = scene.happen(alert(1), alert(2, 500))
    later = one.model_copy(update={"revision": 9})
    scene.write("incidents", written(later), written(other)._replace(value=None))
    (line,) = scene.run("list", "--json").stdout.splitlines()
    assert IncidentData.model_validate_json(line) == later
