"""The security duty of a partition: splits, restarts, another source key, refused records."""

from __future__ import annotations

import pytest

from schemas.config import DetectionConfig
from schemas.records import Record, TopicPartition
from schemas.source_hash import SourceKey
from streams.both_duties import arguments_of
from streams.checkpoint import state_digest
from streams.config import Settings, of_duty
from streams.duties import FormerKey, state_versions
from streams.lineage import Lineage
from streams.ports import Output
from streams.worker import Detection, OutputTopics, PartitionWorker
from tests.delivery.attacked import attacked
from tests.delivery.traffic import START_MS

TP = TopicPartition("events", 0)
LINEAGE = Lineage(deployment="d", duty="security", topic_id="t", partition=0, start_offset=0)
TOPICS = OutputTopics("anomalies", "dead", "journal")
CONFIG = DetectionConfig.model_validate({"security": {"learn_events": 500}})
KEY, OTHER = SourceKey(b"one key of sixteen bytes"), SourceKey(b"another key of sixteen bytes")
RECORDS = [
    Record(TP, i, START_MS + i, sent.key, sent.value)
    for i, sent in enumerate(attacked(1_600, since=600, every=4))
]


def worker(key: SourceKey = KEY, config: DetectionConfig = CONFIG) -> PartitionWorker:
    return PartitionWorker(TP, LINEAGE, Detection(config, key, "security"), 0, TOPICS)


def said(own: PartitionWorker, records: list[Record], step: int) -> list[Output]:
    for start in range(0, len(records), step):
        own.process(records[start : start + step])
    return own.take_outputs()


WHOLE = worker()
TOLD = said(WHOLE, RECORDS, len(RECORDS))


def test_an_attack_is_told_on_the_topic_of_anomalies_alone() -> None:
    assert TOLD
    assert {output.topic for output in TOLD} == {"anomalies"}
    assert WHOLE.n_alerts == len(TOLD)


@pytest.mark.parametrize("step", [1, 97])
def test_any_split_and_a_restart_say_the_same(step: int) -> None:
    first = worker()
    before = said(first, RECORDS[:900], step)
    again = PartitionWorker(TP, LINEAGE, first.detection, 0, TOPICS, first.checkpoint(), 900)
    assert before + said(again, RECORDS[900:], step) == TOLD
    assert state_digest(again.parts()) == state_digest(WHOLE.parts())


def test_refused_records_are_counted_and_left_to_the_drift_duty() -> None:
    own = worker()
    bad = [Record(TP, i, START_MS, b"credit", b"no json") for i in range(3)]
    assert said(own, bad, 3) == []
    assert own.n_dead == 3


def test_another_source_key_begins_anew_and_counts_on() -> None:
    own = worker()
    said(own, RECORDS[:1_000], 500)
    n_events = own.counts()["n_events"]
    own.switch(Detection(CONFIG.model_copy(update={"generation": 2}), OTHER, "security"), 1_000)
    assert own.counts()["n_events"] == n_events
    # The attack goes on, in what is the first traffic that the new state sees.
    assert said(own, RECORDS[1_000:1_400], 400) == []
    assert own.counts()["n_events"] == n_events + 400


def test_a_state_of_a_former_key_is_held_until_the_switch() -> None:
    first = worker()
    said(first, RECORDS[:900], 900)
    checkpoint = first.checkpoint()
    former = Detection(CONFIG, FormerKey(KEY.fingerprint), "security")
    held = PartitionWorker(TP, LINEAGE, former, 0, TOPICS, checkpoint)
    assert state_digest(held.parts()) == state_digest(checkpoint.parts)
    assert held.counts()["n_events"] == 900
    held.switch(Detection(CONFIG.model_copy(update={"generation": 2}), OTHER, "security"), 900)
    assert state_digest(held.parts()) != state_digest(checkpoint.parts)
    assert held.counts()["n_events"] == 900
    assert said(held, RECORDS[900:1_000], 100) == []


def test_the_duties_have_lineages_identities_and_groups_of_their_own() -> None:
    drift = LINEAGE.model_copy(update={"duty": "drift"})
    assert drift.id != LINEAGE.id
    assert Detection(CONFIG, KEY, "security").identity != Detection(CONFIG, KEY).identity
    assert state_versions("security").keys() != state_versions("drift").keys()
    settings = Settings(duty="all", group="g", liveness_window_s=60)
    assert of_duty(settings, "drift").group == "g"
    security = of_duty(settings, "security")
    assert (security.group, security.liveness_window_s) == ("g.security", 0)


@pytest.mark.parametrize(
    "given",
    [
        ["worker", "--duty", "all", "--config", "f"],
        ["worker", "--duty=all", "--config", "f"],
        ["worker", "--config", "f"],
    ],
)
def test_each_duty_gets_the_command_line_of_both(given: list[str]) -> None:
    assert arguments_of(given, "drift") == ["worker", "--config", "f", "--duty", "drift"]
