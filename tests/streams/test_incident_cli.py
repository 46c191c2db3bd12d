"""`driftsentry incident` on librdkafka's mock broker: from what happened to what a person says."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import orjson
import pytest

from schemas.incidents import IncidentData
from schemas.responses import ApproveQuarantine, OpenEvidence, OverruleIncident
from streams import cli_incident
from streams.embedded import EmbeddedBroker
from streams.incident_desk import as_bytes
from streams.incident_reader import TopicRecord
from tests.streams.incident_kit import alert, moved, silence
from tests.streams.incident_scene import Scene, written
from tests.streams.test_retraining_gate import ACT, attack, broken, only, worse

BECAUSE = ("--because", "a broken join")
CALM = alert(1, 0)
HARM = alert(2, 500, signals=[moved("error")], severity="critical")
POISONED = attack((5_100, 5_200))


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        yield broker.bootstrap_servers
        # No client outlives its broker.
        gc.collect()


@pytest.fixture
def scene(servers: str, unique_name: Callable[[str], str]) -> Scene:
    return Scene(servers, unique_name)


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ana")


# Lists


def test_open_incidents_are_listed_and_closed_ones_where_asked_for(scene: Scene) -> None:
    calm, harm = scene.happen(CALM, HARM)
    closed = calm.model_copy(update={"status": "closed", "closed_ms": 1})
    scene.write("incidents", written(closed))
    result = scene.run("list")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"{harm.incident_id[:12]}  CRITICAL opened   {harm.message}")
    lines = scene.run("list", "--all").stdout.splitlines()
    assert [each[:12] for each in lines] == [harm.incident_id[:12], calm.incident_id[:12]]
    of_model = scene.run("list", "--all", "--json", "--model", "churn").stdout.splitlines()
    assert [IncidentData.model_validate_json(each) for each in of_model] == [harm, closed]
    other = scene.run("list", "--model", "chur")
    assert (other.exit_code, other.stdout) == (0, "")
    assert "no open incident" in other.stderr


def test_an_incident_that_became_part_of_another_one_is_gone(scene: Scene) -> None:
    one, other = scene.happen(CALM, HARM)
    scene.write("incidents", TopicRecord(one.incident_id.encode(), None))
    (line,) = scene.run("list", "--all").stdout.splitlines()
    assert line.startswith(other.incident_id[:12])
    result = scene.run("show", one.incident_id)
    assert result.exit_code == 1
    assert f"there is no incident {one.incident_id}" in result.stderr
    assert "list --all" in result.stderr


def test_other_records_are_passed_over_and_that_is_said(scene: Scene) -> None:
    scene.happen(CALM)
    scene.write("incidents", TopicRecord(b"x", b"\x1b[2J"))
    result = scene.run("list")
    assert len(result.stdout.splitlines()) == 1
    assert "1 record is of another form" in result.stderr


def test_a_topic_that_is_missing_is_named_with_what_to_do(scene: Scene) -> None:
    for command in (["list"], ["show", "0" * 32], ["overrule", "0" * 32, "data_fault", *BECAUSE]):
        result = scene.run(*command, topics={"incidents": "nowhere"})
        assert result.exit_code == 1
        assert "there is no topic nowhere" in result.stderr
        assert "topics create" in result.stderr


# The evidence


def test_who_is_shown_all_evidence_is_recorded_once(scene: Scene) -> None:
    (found,) = scene.happen(CALM, silence(1), POISONED)
    result = scene.run("show", found.incident_id[:8])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(found.message)
    assert "NOT SHOWN" not in result.stdout
    (word,) = scene.said()
    assert isinstance(word, OpenEvidence)
    assert (word.deployment, word.model_id) == (found.deployment, found.model_id)
    assert (word.incident_id, word.by) == (found.incident_id, "ana")
    assert word.revision == found.revision
    assert word.evidence == {each.evidence_id: each.revision for each in found.evidence}
    assert f"that ana has seen it is recorded as {word.command_id}" in result.stderr
    again = scene.run("show", found.incident_id, "--json")
    assert "was recorded before" in again.stderr
    assert scene.said() == [word]
    document = orjson.loads(again.stdout)
    assert IncidentData.model_validate(document["incident"]) == found
    records = {each["evidence_id"]: each["record"] for each in document["evidence"]}
    assert records[f"{1:032x}"]["alert_id"] == f"{1:032x}"
    assert scene.run("show", found.incident_id, "--by", "bob").exit_code == 0
    assert [each.by for each in scene.said()] == ["ana", "bob"]


def test_one_may_look_without_a_record(scene: Scene) -> None:
    (found,) = scene.happen(CALM)
    result = scene.run("show", found.incident_id, "--unrecorded", topics={"commands": "nowhere"})
    assert result.exit_code == 0, result.output
    assert scene.said() == []


def test_who_could_not_be_shown_all_evidence_has_not_seen_it(scene: Scene) -> None:
    (found,) = scene.happen(CALM, POISONED)
    hidden = scene.run("show", found.incident_id, topics={"anomalies": "nowhere"})
    assert hidden.exit_code == 1
    assert "NOT SHOWN: there is no topic nowhere" in hidden.stdout
    assert "1 of 2 pieces of evidence could not be shown" in hidden.stderr
    assert scene.said() == []
    look = scene.run("show", found.incident_id, "--unrecorded", topics={"anomalies": "nowhere"})
    assert look.exit_code == 0


def test_a_user_without_a_name_has_to_give_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_incident, "user_name", lambda: "")
    (found,) = scene.happen(CALM)
    refused = scene.run("show", found.incident_id)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "say who you are, with --by NAME" in refused.stderr
    assert scene.run("show", found.incident_id, "--unrecorded").exit_code == 0
    assert scene.run("show", found.incident_id, "--by", "bob").exit_code == 0


# What a person says


def test_who_has_not_opened_the_evidence_cannot_overrule(scene: Scene) -> None:
    (found,) = scene.happen(CALM)
    command = ("overrule", found.incident_id[:6], "data_fault", *BECAUSE)
    refused = scene.run(*command)
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert f"driftsentry incident show {found.incident_id[:12]}" in refused.stderr
    assert scene.run("show", found.incident_id, "--by", "bob").exit_code == 0
    assert scene.run(*command).exit_code == 3
    assert scene.run("show", found.incident_id).exit_code == 0
    result = scene.run(*command)
    assert result.exit_code == 0, result.output
    *_, word = scene.said()
    assert isinstance(word, OverruleIncident)
    assert (word.command_id, word.by) == (result.stdout.strip(), "ana")
    assert (word.incident_id, word.verdict) == (found.incident_id, "data_fault")
    assert (word.deployment, word.model_id) == (found.deployment, found.model_id)
    assert word.reason == "a broken join"


def test_who_says_so_may_overrule_unseen(scene: Scene) -> None:
    (found,) = scene.happen(CALM)
    result = scene.run("overrule", found.incident_id, "data_fault", *BECAUSE, "--unseen")
    assert result.exit_code == 0, result.output
    # No opening goes with it: so the responder will say that it was not opened.
    (word,) = scene.said()
    assert isinstance(word, OverruleIncident)


def test_what_was_opened_before_two_became_one_counts_and_what_came_since_does_not(
    scene: Scene,
) -> None:
    late = alert(2, 90)
    _, former = scene.happen(CALM, late)
    assert scene.run("show", former.incident_id).exit_code == 0
    (found,) = scene.happen(CALM, alert(3, 45), late)
    assert found.incident_id != former.incident_id
    scene.write("incidents", TopicRecord(former.incident_id.encode(), None))
    command = ("overrule", former.incident_id[:12], "data_fault", *BECAUSE)
    assert scene.run(*command).exit_code == 3
    assert scene.run("show", found.incident_id).exit_code == 0
    result = scene.run(*command)
    assert result.exit_code == 0, result.output
    *_, word = scene.said()
    assert isinstance(word, OverruleIncident)
    assert word.incident_id == found.incident_id
    assert word.evidence == {f"{number:032x}": 1 for number in (1, 2, 3)}


def test_what_was_shown_is_what_is_overruled(scene: Scene) -> None:
    (found,) = scene.happen(CALM)
    # Its record is not known to the responder yet, and is shown all the same.
    scene.tell(alert(1, 5, revision=2))
    assert scene.run("show", found.incident_id).exit_code == 0
    command = ("overrule", found.incident_id, "data_fault", *BECAUSE)
    assert scene.run(*command).exit_code == 0
    scene.happen(CALM, alert(1, 5, revision=2), alert(1, 6, revision=3))
    refused = scene.run(*command)
    assert refused.exit_code == 3
    assert "has not opened all of the evidence as it is now" in refused.stderr
    assert scene.run(*command, "--unseen").exit_code == 0
    assert scene.run("show", found.incident_id).exit_code == 0
    assert scene.run(*command).exit_code == 0
    words = [each for each in scene.said() if isinstance(each, OverruleIncident)]
    assert [each.evidence for each in words] == [{f"{1:032x}": n} for n in (2, 3, 3)]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("nonsense", *BECAUSE), "is not one of"),
        (("data_fault",), "--because"),
        (("data_fault", "--because", " "), "say why"),
        (("data_fault", "--because", "x" * 257), "reason"),
        (("data_fault", *BECAUSE, "--by", ""), "--by NAME"),
    ],
)
def test_what_is_said_wrongly_is_refused(scene: Scene, given: tuple[str, ...], why: str) -> None:
    (found,) = scene.happen(CALM)
    result = scene.run("overrule", found.incident_id, *given, "--unseen")
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr
    assert scene.said() == []


def test_a_hostile_model_s_name_does_nothing_to_the_terminal(scene: Scene) -> None:
    name = "m\x1b[2J\r\u202e"
    (found,) = scene.happen(alert(1, model_id=name, message=f"{name} moved"))
    for command in (("list",), ("list", "--json"), ("show", found.incident_id)):
        result = scene.run(*command)
        assert result.exit_code == 0
        assert not {"\x1b", "\r", "\u202e"} & set(result.output)
    (word,) = scene.said()
    assert word.model_id == name


# Requests


def held(scene: Scene) -> tuple[IncidentData, str]:
    """An incident with poisoned labels, and the id of the request that it holds back."""
    records = (worse(), POISONED)
    (found,) = scene.happen(*records)
    request = only(*records)
    assert request.incident_id == found.incident_id
    scene.write("retraining", written(request))
    return found, request.request_id


def test_requests_are_listed_held_ones_first(scene: Scene) -> None:
    _, name = held(scene)
    released = only(worse()).model_copy(update={"request_id": "0" * 32})
    assert released.status == "released"
    scene.write("retraining", written(released))
    lines = scene.run("requests").stdout.splitlines()
    # The whole ids: a training job asks by them.
    assert [each[:43] for each in lines] == [f"{name}  held     ", f"{'0' * 32}  released "]
    as_json = scene.run("requests", "--model", "churn", "--json").stdout.splitlines()
    assert as_json[1].encode() == as_bytes(released)
    other = scene.run("requests", "--model", "x")
    assert (other.stdout, other.exit_code) == ("", 0)
    assert "no retraining request" in other.stderr


def test_a_quarantine_is_approved_by_who_has_seen_it_and_is_told_what_is_left_out(
    scene: Scene,
) -> None:
    found, name = held(scene)
    refused = scene.run("approve", name, *BECAUSE)
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert scene.run("show", found.incident_id).exit_code == 0
    result = scene.run("approve", name[:9], *BECAUSE)
    assert result.exit_code == 0, result.output
    assert "offsets 5100 to 5200 of partition 2" in result.stderr
    *_, word = scene.said()
    assert isinstance(word, ApproveQuarantine)
    assert (word.request_id, word.incident_id) == (name, found.incident_id)
    assert (word.revision, word.evidence_ids) == (found.revision, (f"{1_001:032x}",))
    assert (word.command_id, word.by) == (result.stdout.strip(), "ana")
    unseen = scene.run("approve", name, *BECAUSE, "--by", "bob", "--unseen")
    assert unseen.exit_code == 0
    assert [each.by for each in scene.said()] == ["ana", "ana", "bob"]


@pytest.mark.parametrize("n", [70, 300])
def test_of_many_anomalies_every_one_is_shown_approved_and_overruled(scene: Scene, n: int) -> None:
    attacks = [attack((5_100 + i, 5_200 + i), number=i + 1) for i in range(n)]
    (found,) = scene.happen(worse(), *attacks)
    request = only(worse(), *attacks)
    scene.write("retraining", written(request))
    assert scene.run("show", found.incident_id).exit_code == 0
    result = scene.run("approve", request.request_id, *BECAUSE)
    assert result.exit_code == 0, result.output
    assert "is not known" not in result.stderr
    result = scene.run("overrule", found.incident_id, "harmful_drift", *BECAUSE)
    assert result.exit_code == 0, result.output
    opened, approved, overruled = scene.said()
    assert isinstance(opened, OpenEvidence)
    assert isinstance(approved, ApproveQuarantine)
    assert isinstance(overruled, OverruleIncident)
    names = {f"{1_001 + i:032x}" for i in range(n)}
    assert set(approved.evidence_ids) == names
    assert opened.evidence == overruled.evidence
    assert names < set(opened.evidence)


def test_what_is_left_out_already_is_not_left_out_once_more(scene: Scene) -> None:
    records = [worse(), POISONED, attack((5_100, 5_200), number=2, is_complete=False)]
    (found,) = scene.happen(*records)
    request = only(*records, config=ACT)
    assert len(request.quarantine) == 1
    scene.write("retraining", written(request))
    assert scene.run("show", found.incident_id).exit_code == 0
    result = scene.run("approve", request.request_id, *BECAUSE)
    assert result.exit_code == 0, result.output
    assert "nothing more: it is that of the sources which are named" in result.stderr
    *_, word = scene.said()
    assert isinstance(word, ApproveQuarantine)
    assert set(word.evidence_ids) == {f"{1_001:032x}", f"{1_002:032x}"}, "both, if it is overruled"


def test_what_the_config_leaves_out_is_approved_of_where_broken_data_hold_it(scene: Scene) -> None:
    """So that who then says that the data are right lets no liars in."""
    records = [worse(), broken(is_over=False, partition=2), POISONED]
    (found,) = scene.happen(*records)
    request = only(*records, config=ACT)
    assert [each.reason for each in request.holds] == ["data_fault_open"]
    scene.write("retraining", written(request))
    assert scene.run("show", found.incident_id).exit_code == 0
    result = scene.run("approve", request.request_id, *BECAUSE)
    assert result.exit_code == 0, result.output
    *_, word = scene.said()
    assert isinstance(word, ApproveQuarantine)
    assert word.evidence_ids == (f"{1_001:032x}",)


def test_what_no_incident_names_is_not_waved_through_unseen(scene: Scene) -> None:
    """More of it than an incident can name: approved of unseen alone, in as many words as it takes.

    The order in which evidence is told says which is named.
    """
    attacks = [attack((5_100, 5_200), number=i + 1) for i in range(800)]
    (found,) = scene.happen(worse(), *attacks)
    request = only(worse(), *attacks)
    scene.write("retraining", written(request))
    assert scene.run("show", found.incident_id).exit_code == 0
    refused = scene.run("approve", request.request_id, *BECAUSE)
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert "has not opened 288 of the 800 anomalies that hold it" in refused.stderr
    result = scene.run("approve", request.request_id, *BECAUSE, "--unseen")
    assert result.exit_code == 0, result.output
    words = [each for each in scene.said() if isinstance(each, ApproveQuarantine)]
    assert [each.command_id for each in words] == result.stdout.split()
    assert [len(each.evidence_ids) for each in words] == [576, 224]
    assert len({one for each in words for one in each.evidence_ids}) == 800


def test_what_came_after_it_was_opened_has_to_be_seen_before_it_is_approved(scene: Scene) -> None:
    (found,) = scene.happen(worse())
    assert scene.run("show", found.incident_id).exit_code == 0
    held(scene)
    name = only(worse(), POISONED).request_id
    refused = scene.run("approve", name, *BECAUSE)
    assert refused.exit_code == 3
    assert "ana has not opened all of the evidence" in refused.stderr
    assert scene.run("show", found.incident_id).exit_code == 0
    assert scene.run("approve", name, *BECAUSE).exit_code == 0


def test_an_attack_that_is_an_incident_of_its_own_has_to_be_seen_too(scene: Scene) -> None:
    records = (worse(), attack((5_100, 5_200), technique="chaff"))
    found = scene.happen(*records)
    assert len(found) == 2
    request = only(*records)
    assert request.status == "held"
    scene.write("retraining", written(request))
    (other,) = [each for each in found if each.incident_id != request.incident_id]
    assert scene.run("show", request.incident_id).exit_code == 0
    refused = scene.run("approve", request.request_id, *BECAUSE)
    assert refused.exit_code == 3
    assert f"incident show {other.incident_id[:12]}" in refused.stderr
    assert scene.run("show", other.incident_id).exit_code == 0
    assert scene.run("approve", request.request_id, *BECAUSE).exit_code == 0


def test_what_no_attack_holds_back_cannot_be_approved(scene: Scene) -> None:
    (found,) = scene.happen(worse())
    scene.write("retraining", written(only(worse())))
    assert scene.run("show", found.incident_id).exit_code == 0
    result = scene.run("approve", only(worse()).request_id, *BECAUSE)
    assert result.exit_code == 1
    assert "is released: no attack holds it back" in result.stderr
    scene.write("retraining", written(only(worse(), facts=None)))
    result = scene.run("approve", only(worse()).request_id, *BECAUSE)
    assert "is held for window_not_settled: no attack holds it back" in result.stderr
    gone = scene.run("approve", "f" * 32, *BECAUSE)
    assert gone.exit_code == 1
    assert "there is no request" in gone.stderr
    assert len(scene.said()) == 1


def test_a_request_whose_incident_is_gone_is_not_approved(scene: Scene) -> None:
    found, name = held(scene)
    scene.write("incidents", TopicRecord(found.incident_id.encode(), None))
    result = scene.run("approve", name, *BECAUSE, "--unseen")
    assert result.exit_code == 1
    assert "it has become part of another one" in result.stderr
    assert scene.said() == []
