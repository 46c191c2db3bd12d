"""Liveness beside the loop: what the worker tells, and that nothing of it touches the fold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson
import pytest
from confluent_kafka import Producer
from structlog.testing import capture_logs

from schemas.config import DetectionConfig
from schemas.liveness import LivenessData
from schemas.records import Record, TopicPartition
from streams.alert_reader import as_cloudevent, as_sentence, read_alerts
from streams.embedded import EmbeddedBroker
from streams.kafka_liveness import KafkaLiveness
from streams.liveness_teller import LivenessTeller
from streams.memory_broker import MemoryBroker
from streams.ports import Output
from streams.runner import Runner
from tests.streams.events import START_MS, prediction
from tests.streams.test_runner import EVENTS, House, Run

WINDOW_S = 10
PER_STEP = 10
"""Events of each partition in a second: 100 in a window."""
CONFIG = DetectionConfig(reference_events=100)
PATIENCE_S = 30.0


@dataclass
class MemoryLink:
    """A `LivenessLink` over the broker in memory."""

    broker: MemoryBroker
    n_lost: int = 0
    reason: str = ""
    answers: bool = True
    n_marks: int = 0
    """Offsets at the end of each partition that hold no record."""
    sent: list[Output] = field(default_factory=list)
    asked: list[TopicPartition] = field(default_factory=list)
    ended: dict[TopicPartition, int] = field(default_factory=dict)

    def ask_ends(self, tps: Sequence[TopicPartition]) -> None:
        self.asked = list(tps)
        self.ended = {}
        if self.answers:
            self.ended = {tp: self.broker.partition(tp).high + self.n_marks for tp in tps}

    def ends(self) -> dict[TopicPartition, int]:
        return self.ended

    def send(self, outputs: Sequence[Output]) -> None:
        self.sent += outputs

    def close(self) -> None:
        self.asked = []


@dataclass
class Site:
    """One worker on the broker in memory, second by second, with traffic of its partitions."""

    house: House
    run: Run
    runner: Runner
    link: MemoryLink
    n_sent: int = 0

    def windows(self, n: int, *, sends: Sequence[TopicPartition] = EVENTS) -> list[LivenessData]:
        before = len(self.link.sent)
        for _ in range(n * WINDOW_S):
            for tp in sends:
                self.house.produce([self._event(tp, i) for i in range(PER_STEP)])
            self.n_sent += PER_STEP
            self.run.step(self.runner)
        return [LivenessData.model_validate_json(each.value) for each in self.link.sent[before:]]

    def _event(self, tp: TopicPartition, i: int) -> Record:
        number = self.n_sent + i
        # By its own time an event comes every millisecond, in `prediction`; here every 100 ms.
        model = f"m{tp.partition}"
        value = orjson.loads(prediction(number, {"x": number % 7}, model=model))
        value["ts"] = START_MS + 100 * number
        return Record(tp, number, START_MS + 100 * number, model.encode(), orjson.dumps(value))


@pytest.fixture
def site() -> Site:
    house = House()
    run = house.run("told")
    runner = run.worker(CONFIG)
    link = MemoryLink(house.broker)
    runner.liveness = teller(link, house)
    return Site(house, run, runner, link)


def teller(link: MemoryLink, house: House) -> LivenessTeller:
    return LivenessTeller(
        link, "liveness", WINDOW_S, lambda: START_MS + round(1000 * house.clock.now_s)
    )


def test_a_partition_s_model_that_falls_silent_is_told_of_and_the_other_is_not(site: Site) -> None:
    assert site.windows(5) == []
    (told,) = site.windows(5, sends=EVENTS[:1])
    assert (told.kind, told.model_id, told.partition, told.topic) == ("silence", "m1", 1, "events")
    assert told.n_expected == pytest.approx(300, rel=0.1)
    (over,) = site.windows(2)
    assert (over.kind, over.recovered_from, over.model_id) == ("recovered", "silence", "m1")
    (first, _) = site.link.sent
    headers = dict(first.headers)
    assert (first.topic, first.key, first.partition) == ("liveness", b"m1", -1)
    assert headers["ce_id"] == told.liveness_id.encode()
    assert headers["ce_type"] == b"io.driftsentry.liveness.silent.v1"
    assert (headers["ce_severitytext"], headers["ce_inputpartition"]) == (b"ERROR", b"1")
    assert not {"ce_sequence", "ce_lineage"} & headers.keys()
    assert abs(first.timestamp_ms - told.until_ms) < 2_000


def test_nothing_is_told_while_brokers_do_not_answer_or_the_worker_lags(site: Site) -> None:
    site.windows(5)
    site.link.answers = False
    assert site.windows(10, sends=[]) == []
    site.link.answers = True
    assert {told.model_id for told in site.windows(5, sends=[])} == {"m0", "m1"}
    site.windows(2)
    # Both are sent, and the worker does not read one of them.
    site.runner.log.pause([EVENTS[1]])
    assert site.windows(10) == []


def test_marks_of_transactions_at_the_end_are_no_lag(site: Site) -> None:
    site.windows(5)
    site.link.n_marks = 1
    assert {told.kind for told in site.windows(6, sends=[])} == {"silence"}


def test_nothing_is_told_of_what_was_taken_up_before_it_was_heard(site: Site) -> None:
    site.windows(5)
    site.runner.drain()
    site.runner.log.close()
    site.runner = site.run.worker(CONFIG)
    site.runner.liveness = teller(site.link, site.house)
    assert site.windows(15, sends=[]) == []
    assert site.windows(5) == []
    assert len(site.windows(5, sends=[])) == 2


def test_a_partition_that_is_lost_is_watched_no_more(site: Site) -> None:
    site.windows(5)
    site.runner.on_lost(EVENTS)
    assert site.windows(6, sends=[]) == []
    assert site.link.asked == []


def test_outputs_and_commits_are_those_of_a_worker_without_it(site: Site) -> None:
    site.windows(3)
    site.windows(5, sends=EVENTS[:1])
    assert site.link.sent
    site.runner.drain()
    without = site.house.run("without")
    quiet = without.worker(CONFIG)
    without.finish(quiet)
    assert without.outputs() == site.run.outputs()
    for tp in EVENTS:
        states = [runner.held[tp].worker for runner in (quiet, site.runner)]
        assert states[0].next_offset == states[1].next_offset
        assert states[0].counts() == states[1].counts()
        assert states[0].parts().keys() == states[1].parts().keys()


def test_what_is_lost_is_said_and_detection_goes_on(site: Site) -> None:
    site.windows(1)
    site.link.n_lost, site.link.reason = 3, "no such topic"
    with capture_logs() as lines:
        site.windows(2)
    said = [each for each in lines if each["event"].startswith("liveness not told")]
    assert [(each["lost"], each["reason"]) for each in said] == [(3, "no such topic")]
    assert all(held.worker.next_offset == 300 for held in site.runner.held.values())


# On Kafka


@pytest.fixture
def opened() -> Iterator[Callable[[str], KafkaLiveness]]:
    links: list[KafkaLiveness] = []

    def make(servers: str) -> KafkaLiveness:
        links.append(KafkaLiveness(servers))
        return links[-1]

    yield make
    for link in links:
        link.close()


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


OUTPUT = Output(
    "", -1, b"m", b'{"severity":"high","message":"m 1: no prediction"}', (("ce_id", b"1"),), 5
)


@pytest.mark.kafka
def test_ends_are_those_of_committed_records_and_what_is_sent_is_read(
    kafka: str, new_topic: Callable[..., str], opened: Callable[[str], KafkaLiveness]
) -> None:
    topic = new_topic("events", 2)
    tps = [TopicPartition(topic, number) for number in range(2)]
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    producer.init_transactions(PATIENCE_S)
    producer.begin_transaction()
    producer.produce(topic, b"x", partition=1)
    producer.commit_transaction(PATIENCE_S)
    producer.begin_transaction()
    producer.produce(topic, b"x", partition=1)
    producer.flush(PATIENCE_S)
    link = opened(kafka)
    link.ask_ends(tps)
    until(lambda: len(link.ends()) == 2)
    assert link.ends() == {tps[0]: 0, tps[1]: 2}  # a record and the mark of its transaction
    producer.abort_transaction(PATIENCE_S)

    link.send([OUTPUT._replace(topic=topic)] * 2)
    link.close()
    assert link.n_lost == 0
    read = list(read_alerts(kafka, topic, {}, from_beginning=True, follow=False))
    events = [as_cloudevent(each) for each in read if each.value() != b"x"]
    assert [event["id"] for event in events] == ["1", "1"]
    assert as_sentence(events[0]).endswith("HIGH     m 1: no prediction")


@pytest.mark.kafka
def test_a_missing_topic_costs_records_and_nothing_else(
    kafka: str, unique_name: Callable[[str], str], opened: Callable[[str], KafkaLiveness]
) -> None:
    link, topic = opened(kafka), unique_name("missing")
    link.send([OUTPUT._replace(topic=topic)])
    link.ask_ends([TopicPartition(topic, 0)])

    def is_lost() -> bool:
        link.ask_ends([])
        return link.n_lost == 1

    until(is_lost)
    assert "UNKNOWN_T" in link.reason
    assert link.ends() == {}


def test_brokers_that_do_not_answer_hold_nothing_up_and_the_queue_is_bounded(
    monkeypatch: pytest.MonkeyPatch, opened: Callable[[str], KafkaLiveness]
) -> None:
    monkeypatch.setattr("streams.kafka_liveness.MAX_WAITING", 10)
    monkeypatch.setattr("streams.kafka_liveness._LEAVE_S", 0.0)
    link = opened("127.0.0.1:1")
    link.ask_ends(EVENTS)
    link.send([OUTPUT._replace(topic="t")] * 25)
    link.ask_ends(EVENTS)
    assert link.ends() == {}
    assert (link.n_lost, link.reason) == (15, "too many wait to be sent")


def test_the_mock_broker_answers_too(opened: Callable[[str], KafkaLiveness]) -> None:
    with EmbeddedBroker() as broker:
        link = opened(broker.bootstrap_servers)
        link.send([OUTPUT._replace(topic="t")] * 3)
        until(lambda: link._producer.flush(1.0) == 0)
        tps = [TopicPartition("t", number) for number in range(4)]
        link.ask_ends(tps)
        until(lambda: sum(link.ends().values()) == 3)
        link.close()
