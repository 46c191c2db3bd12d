"""What the audit trail notes of the records of other topics."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.audit_trail import AuditRecord, Head
from schemas.commands import Mute
from schemas.config import DetectionConfig
from schemas.incidents import IncidentData
from schemas.records import TopicPartition
from schemas.responses import ApproveQuarantine, OpenEvidence, OverruleIncident
from schemas.retraining import QuarantinePart
from streams.incident_desk import as_bytes
from streams.lineage import JournaledCommand, JournalEntry, Lineage
from streams.trail_check import check_trail
from streams.trail_facts import SOURCES, Fact, Unread, fact_of, noted, without_sources
from tests.streams.incident_kit import START_MS, alert, silence
from tests.streams.incident_scene import incidents
from tests.streams.test_retraining_gate import attack, only, worse
from tests.streams.trail_kit import CHAIN, GROUPS

RECORD_MS = START_MS + 777
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def unread(value: bytes | None, key: bytes | None = b"k", at_ms: int = RECORD_MS) -> Unread:
    return Unread(TopicPartition("topic", 3), 14, at_ms, key, value)


def fact(source: str, value: bytes | None, **given: Any) -> Fact:
    found = fact_of(source, unread(value, **given), GROUPS)
    assert found is not None
    return found


def record_of(found: Fact) -> AuditRecord:
    record = noted(CHAIN, Head(4, "ab" * 32), found, RECORD_MS + 5)
    assert check_trail([(0, record.dump())], [Head(4, "ab" * 32)]).is_whole
    return record


def incident(**verdict: Any) -> IncidentData:
    (found,) = incidents(alert(1), silence(1))
    return found.model_copy(update={"verdict": found.verdict.model_copy(update=verdict)})


def test_of_an_incident_how_it_was_decided_is_noted_at_its_event_time() -> None:
    said = incident(by="ana", note="a join", rule="overruled", was_evidence_opened=True)
    record = record_of(fact("incidents", as_bytes(said)))
    assert (record.kind, record.at_ms, record.clock) == ("incident", said.last_ms, "event")
    assert record.by == "ana"
    assert record.facts["incident_id"] == said.incident_id
    verdict = record.facts["verdict"]
    assert isinstance(verdict, dict)
    assert verdict["was_evidence_opened"] is True
    assert verdict["because"] == said.verdict.because
    assert record.facts["evidence_ids"] == [each.evidence_id for each in said.evidence]
    # What names sources stays where it is.
    assert "causes" not in record.facts
    assert "evidence" not in record.facts
    source = record.source
    assert source is not None
    assert (source.topic, source.partition, source.offset) == ("topic", 3, 14)
    assert source.digest == sha256(as_bytes(said)).hexdigest()


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        ("incidents", "incident_gone", "incident_id"),
        ("retraining", "retraining_gone", "request_id"),
        ("rollback", "rollback_gone", "request_id"),
        ("followup", "followup_gone", "followup_id"),
    ],
)
def test_that_something_is_none_any_more_is_noted(source: str, kind: str, name: str) -> None:
    # A request was taken for a record that cannot be read, and for held for ever.
    record = record_of(fact(source, None, key=b"0a0b"))
    assert (record.kind, record.facts) == (kind, {name: "0a0b"})
    assert (record.at_ms, record.clock) == (RECORD_MS, "record")


def test_of_a_request_its_holds_and_who_approved_are_noted_and_no_source() -> None:
    left_out = QuarantinePart(
        evidence_id="ab",
        partition=2,
        ranges=[],
        sources=["9f3b61c05d7a4e2b", "0a1b2c3d4e5f6071"],
        source_key=None,
        without_source=False,
    )
    held = only(worse(), attack((5_100, 5_300))).model_copy(update={"quarantine": [left_out]})
    record = record_of(fact("retraining", as_bytes(held)))
    assert record.kind == "retraining"
    assert record.facts["status"] == "held"
    holds, quarantine = record.facts["holds"], record.facts["quarantine"]
    assert isinstance(holds, list)
    assert isinstance(quarantine, list)
    assert [each["reason"] for each in holds if isinstance(each, dict)] == ["attack_suspected"]
    assert quarantine == [{"evidence_id": "ab", "partition": 2, "n_sources": 2}]
    for source in left_out.sources:
        assert source.encode() not in record.dump()
    approved = held.model_copy(update={"approved_by": "bob", "was_evidence_opened": False})
    record = record_of(fact("retraining", as_bytes(approved)))
    assert (record.by, record.facts["was_evidence_opened"]) == ("bob", False)
    released = only(worse())
    assert released.benefit is not None
    benefit = record_of(fact("retraining", as_bytes(released))).facts["benefit"]
    assert isinstance(benefit, dict)
    # A number with a fraction has no one form: it is text.
    assert benefit["loss"] == repr(released.benefit.loss)


PSEUDONYM = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
SHORT = PSEUDONYM[:12]


@pytest.mark.parametrize(
    ("text", "noted_as"),
    [
        (f"First: source {SHORT}: label poisoning", "First: source ***: label poisoning"),
        (f"source {PSEUDONYM} lies", "source *** lies"),
        (f"(Source: {SHORT.upper()}).", "(Source: ***)."),
        (f"sources {SHORT}, {PSEUDONYM} and 070000000000; go", "sources ***, *** and ***; go"),
        (f"sources {SHORT},{PSEUDONYM}/070000000000", "sources ***,***/***"),
        (f"source {SHORT}; source {SHORT}", "source ***; source ***"),
        # What else looks like it stays: ids, offsets, names, the word alone.
        (f"look at `driftsentry incident show {SHORT}`", None),
        (f"of 1 source, after retraining {PSEUDONYM}", None),
        ("offsets 123456789012 to 123456789013 of partition 0", None),
        ("the source decade, source abc123, open source, resource 0123456789ab", None),
        ("what has no source", None),
        ("", None),
    ],
)
def test_a_pseudonym_is_masked_behind_the_word_source(text: str, noted_as: str | None) -> None:
    assert without_sources(text) == (text if noted_as is None else noted_as)
    assert without_sources(without_sources(text)) == without_sources(text)


def test_the_message_of_an_incident_is_noted_without_the_pseudonyms_it_names() -> None:
    (said,) = incidents(worse(), attack((5_100, 5_200)))
    (name,) = {each.name for each in said.causes if each.kind == "source"}
    assert f"source {name[:12]}: label poisoning" in said.message
    record = record_of(fact("incidents", as_bytes(said)))
    assert record.facts["message"] == said.message.replace(name[:12], "***")
    assert name[:12].encode() not in record.dump()


@pytest.mark.parametrize("source", sorted(set(SOURCES) - {"journal", "commands"}))
def test_no_noted_text_of_a_record_has_a_pseudonym(source: str) -> None:
    text = f"source {SHORT}: probing"
    texts = dict.fromkeys(("message", "because", "note", "detail", "reason", "approval_note"), text)
    names = dict.fromkeys(("incident_id", "request_id", "followup_id", "liveness_id"), PSEUDONYM)
    value = orjson.dumps({**names, **texts, "verdict": texts, "holds": [texts]})
    record = record_of(fact(source, value))
    assert f"source {SHORT}".encode() not in record.dump()
    assert b"source ***: probing" in record.dump()
    # An id stays, even one that looks like it.
    assert PSEUDONYM.encode() in record.dump()


def test_what_people_say_of_a_source_is_noted_without_its_pseudonym() -> None:
    word = WORDS[0].model_copy(update={"reason": f"source {PSEUDONYM} is a canary"})
    said = word.model_dump(mode="json")
    record = record_of(fact("commands", orjson.dumps(said)))
    assert record.facts == {**said, "reason": "source *** is a canary"}
    order = WORDS[3].model_copy(update={"reason": f"source {SHORT} is loud"})
    command = JournaledCommand(number=1, topic_id="t", offset=4, said_ms=9, order=order)
    journaled = entry("command", document=None, command=command).dump()
    record = record_of(fact("journal", journaled, key=b"driftsentry|t|2"))
    assert record.facts["command"] == {
        **order.model_dump(mode="json"),
        "reason": "source *** is loud",
    }


def test_of_a_rollback_who_approved_is_noted() -> None:
    said = {
        "request_id": "ab",
        "status": "held",
        "model_id": "churn",
        "from_version": "8",
        "holds": [{"reason": "approval_needed", "detail": "ask", "evidence_ids": []}],
        "approved_by": "ana",
        "comparison": {"level": 0.95},
    }
    record = record_of(fact("rollback", orjson.dumps(said)))
    assert (record.kind, record.by, record.facts["from_version"]) == ("rollback", "ana", "8")
    assert record.facts["holds"] == [{"reason": "approval_needed", "detail": "ask"}]
    assert "comparison" not in record.facts


def test_how_a_new_version_compares_is_noted() -> None:
    said = {"followup_id": "ab", "status": "told", "verdict": "worse", "comparison": {"x": 0.5}}
    record = record_of(fact("followup", orjson.dumps(said)))
    assert (record.kind, record.facts["verdict"]) == ("followup", "worse")
    assert "comparison" not in record.facts


def test_a_silence_is_noted() -> None:
    record = record_of(fact("liveness", silence(1)))
    assert (record.kind, record.facts["kind"]) == ("liveness", "silence")


WORDS = [
    OverruleIncident(
        command_id="1", deployment="d", model_id="m", incident_id="ab" * 16, by="ana",
        reason="why", verdict="data_fault", evidence={"ef" * 16: 2},
    ),
    ApproveQuarantine(
        command_id="2", deployment="d", model_id="m", incident_id="ab" * 16, by="ana",
        request_id="cd" * 16, revision=3, evidence_ids=("ef" * 16,),
    ),
    OpenEvidence(
        command_id="3", deployment="d", model_id="m", incident_id="ab" * 16, by="ana",
        revision=3, evidence={"ef" * 16: 2},
    ),
    Mute(command_id="4", by="ana", model_id="m", from_ms=1, until_ms=2),
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.kind)
def test_what_people_say_is_noted_whole(word: Any) -> None:
    record = record_of(fact("commands", word.model_dump_json().encode()))
    assert (record.kind, record.by, record.clock) == ("said", "ana", "record")
    assert record.facts == word.model_dump(mode="json")


def entry(kind: str, **given: Any) -> JournalEntry:
    fields: dict[str, Any] = {
        "kind": kind,
        "lineage": Lineage(deployment="d", topic_id="t", partition=2, start_offset=5),
        "offset": 17,
        "generation": 3,
        "config": "c0",
        "versions": {"focus": 2},
        "document": DetectionConfig(generation=3),
        "reason": "log_truncated" if kind == "reset" else "",
    }
    return JournalEntry.model_validate({**fields, **given})


@pytest.mark.parametrize("kind", ["lineage", "config", "reset"])
def test_of_the_journal_every_change_of_a_fold_is_noted_with_its_config(kind: str) -> None:
    said = entry(kind)
    # The journal gives its records no time.
    record = record_of(fact("journal", said.dump(), key=b"driftsentry|t|2", at_ms=1))
    assert (record.kind, record.clock, record.at_ms) == (kind, "noted", RECORD_MS + 5)
    assert record.facts["lineage"] == said.lineage.id
    assert record.facts["config"] == "c0"
    document = record.facts["document"]
    assert isinstance(document, str)
    assert DetectionConfig.model_validate_json(document) == said.document
    assert record.facts["versions"] == {"focus": 2}


def test_a_command_that_took_effect_is_noted() -> None:
    command = JournaledCommand(number=1, topic_id="t", offset=4, said_ms=9, order=WORDS[3])
    said = entry("command", document=None, command=command)
    record = record_of(fact("journal", said.dump(), key=b"driftsentry.security|t|2"))
    assert (record.kind, record.by) == ("applied", "ana")
    assert record.facts["command"] == WORDS[3].model_dump(mode="json")


def test_the_journal_of_other_workers_is_not_ours() -> None:
    for key in (b"driftsentry2|t|2", b"", b"\xff", None):
        assert fact_of("journal", unread(entry("config").dump(), key), GROUPS) is None


BYTES = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5)),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["incident_id", "verdict", "request_id", "holds", "quarantine", "sources", "by",
                 "kind", "last_ms", "liveness_id", "benefit", "window", "approved_by", "ü"]
            ),
            inner,
            max_size=6,
        ),
        max_leaves=15,
    ).map(lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str)
          if _fits(value) else b"[]"),
)  # fmt: skip


def _fits(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


@UNHURRIED
@given(st.sampled_from(sorted(SOURCES)), BYTES, st.integers(-1, 2**63 - 1))
def test_whatever_stands_on_a_topic_can_be_noted(
    source: str, value: bytes | None, at_ms: int
) -> None:
    found = fact_of(source, unread(value, b"driftsentry|t|0", at_ms), GROUPS)
    assert found is not None
    record_of(found)


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_what_cannot_be_read_is_noted_with_the_reason(source: str) -> None:
    record = record_of(fact(source, b'{"incident_id": 1', key=b"driftsentry|t|0"))
    assert (record.kind, record.facts["expected"]) == ("unreadable", source)
    assert record.facts["reason"]


def test_a_text_of_any_length_fits_into_a_record() -> None:
    said = {"incident_id": "ab", "verdict": {"by": "x" * 900_000, "note": "y" * 900_000}}
    record = record_of(fact("incidents", orjson.dumps(said)))
    assert len(record.dump()) < 500_000
    assert record.by == "x" * 256
    assert record.facts["left_out"] == ["verdict"]


def test_json_of_any_depth_is_noted() -> None:
    for depth in (60, 200, 900, 100_000):
        value = b'{"request_id": "ab", "benefit": ' + b"[" * depth + b"]" * depth + b"}"
        make: Callable[[], Fact] = lambda value=value: fact("retraining", value)  # type: ignore[misc]  # noqa: E731
        assert record_of(make()).kind in {"retraining", "unreadable"}
