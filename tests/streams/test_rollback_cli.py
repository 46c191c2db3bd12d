"""`driftsentry rollback` on librdkafka's mock broker: from what is told to what a person says."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from schemas.responses import RESPONSE, ApproveRollback, OpenRollback, Response
from schemas.rollback import FollowUpData, RollbackData
from streams.cli import main
from streams.config import Topics
from streams.embedded import EmbeddedBroker
from streams.incident_desk import as_bytes
from streams.incident_reader import TopicRecord, kafka_topics
from streams.responder_intake import Intake
from tests.streams.rollback_kit import Place, run
from tests.streams.test_rollback import ACT, settled, switch

NAMES: Final = ("rollback", "followup", "commands")
BECAUSE = ("--because", "it refuses everybody")


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        yield broker.bootstrap_servers
        # No client outlives its broker.
        gc.collect()


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ana")


class Scene:
    """Topics of its own, with what a responder has told."""

    def __init__(self, servers: str, unique_name: Callable[[str], str], place: Place) -> None:
        self.servers = servers
        self.topics = {name: unique_name(name) for name in NAMES}
        for topic in self.topics.values():
            # The mock broker makes what is asked for by name.
            AdminClient({"bootstrap.servers": servers}).list_topics(topic, timeout=20)
        (self.followup,), (self.request,) = place.followups(), place.requests()
        self.write(self.followup, self.request)

    def write(self, *records: FollowUpData | RollbackData) -> None:
        for each in records:
            name = "rollback" if isinstance(each, RollbackData) else "followup"
            key = each.request_id if isinstance(each, RollbackData) else each.followup_id
            self.produce(name, TopicRecord(key.encode(), as_bytes(each)))

    def produce(self, name: str, record: TopicRecord) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        producer.produce(self.topics[name], record.value, record.key, 0)
        assert producer.flush(20) == 0

    def run(self, *arguments: str) -> Result:
        environ = {f"DRIFTSENTRY_{name.upper()}_TOPIC": it for name, it in self.topics.items()}
        environ["DRIFTSENTRY_BOOTSTRAP_SERVERS"] = self.servers
        return CliRunner().invoke(main, ["rollback", *arguments], env=environ)

    def said(self) -> list[Response]:
        values = [value for _, value in kafka_topics(self.servers, {})(self.topics["commands"])]
        return [RESPONSE.validate_json(value) for value in values if value is not None]


@pytest.fixture
def scene(servers: str, unique_name: Callable[[str], str]) -> Scene:
    return Scene(servers, unique_name, settled(switch()))


def test_requests_and_follow_ups_are_listed(scene: Scene) -> None:
    result = scene.run("requests")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"{scene.request.request_id[:12]}  held       churn 8: a rollback is")
    (line,) = scene.run("followups").stdout.splitlines()
    assert line.startswith(f"{scene.followup.followup_id[:12]}  worse      churn 8 is worse than 7")
    machine = scene.run("requests", "--json", "--model", "churn").stdout
    assert RollbackData.model_validate_json(machine) == scene.request
    for name, said in (("requests", "no rollback request"), ("followups", "no new version")):
        other = scene.run(name, "--model", "other")
        assert (other.exit_code, other.stdout) == (0, "")
        assert said in other.stderr


def test_other_records_are_passed_over_and_that_is_said(scene: Scene) -> None:
    scene.produce("followup", TopicRecord(b"x", b"\x1b[2J"))
    result = scene.run("followups")
    assert len(result.stdout.splitlines()) == 1
    assert "1 record is of another form" in result.stderr


def test_a_follow_up_is_shown_before_and_after(scene: Scene) -> None:
    shown = scene.run("followup", scene.followup.followup_id[:6]).stdout
    assert "offsets 600 to 999 of partition 0 of events: 200 predictions, 200 with labels" in shown
    assert "3 intervals that together hold at 95%" in shown
    (row,) = [line for line in shown.splitlines() if line.startswith("all events")]
    assert row.endswith("200 and 200  worse")
    assert any(line.startswith("plan=a") for line in shown.splitlines())
    assert scene.run("followup", "abcd").exit_code == 1


def test_a_person_looks_and_approves(scene: Scene) -> None:
    name = scene.request.request_id
    refused = scene.run("approve", name, *BECAUSE)
    assert refused.exit_code == 3
    assert f"driftsentry rollback show {name[:12]}" in refused.stderr
    assert scene.run("show", name, "--unrecorded").exit_code == 0
    assert scene.said() == []
    shown = scene.run("show", name[:8])
    assert shown.exit_code == 0, shown.output
    assert "held       approval_needed" in shown.stdout
    assert "is recorded as opened-rollback-" in shown.stderr
    assert "was recorded before" in scene.run("show", name).stderr
    assert scene.run("approve", name, "--by", "ben", *BECAUSE).exit_code == 3
    approved = scene.run("approve", name, *BECAUSE)
    assert approved.exit_code == 0, approved.output
    opened, word = scene.said()
    assert isinstance(opened, OpenRollback)
    assert isinstance(word, ApproveRollback)
    assert (word.by, word.reason, word.request_id) == ("ana", "it refuses everybody", name)
    assert approved.stdout.strip() == word.command_id


def test_what_was_said_releases_the_request_and_says_who_had_looked(scene: Scene) -> None:
    for command in (("show",), ("approve", *BECAUSE)):
        assert scene.run(command[0], scene.request.request_id, *command[1:]).exit_code == 0
    place = settled(switch())
    intake = Intake(Topics())
    for offset, (_, value) in enumerate(kafka_topics(scene.servers, {})(scene.topics["commands"])):
        word = intake.word(offset, value, 0)
        assert word is not None
        run(place.desk.hear(word.model, word.said))
    (request,) = place.requests()
    assert (request.status, request.approved_by) == ("released", "ana")
    assert request.was_evidence_opened


def test_unseen_is_possible_and_an_empty_reason_is_not(scene: Scene) -> None:
    name = scene.request.request_id
    assert scene.run("approve", name, "--because", " ", "--unseen").exit_code == 2
    assert scene.run("approve", name, *BECAUSE, "--by", " ", "--unseen").exit_code == 2
    assert scene.run("approve", name, *BECAUSE, "--unseen").exit_code == 0
    (word,) = scene.said()
    assert isinstance(word, ApproveRollback)


def test_there_is_nothing_to_approve_of_what_is_released(
    servers: str, unique_name: Callable[[str], str]
) -> None:
    scene = Scene(servers, unique_name, settled(switch(), ACT))
    refused = scene.run("approve", scene.request.request_id, *BECAUSE, "--unseen")
    assert refused.exit_code == 1
    assert "is released: there is nothing to approve" in refused.stderr
    assert scene.said() == []
