"""The demo run: what it needs, how it sends, how it ends, and the whole of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams import demo
from streams.demo import run_demo
from streams.demo_flow import DemoFlow
from streams.demo_models import demo_models
from streams.embedded import EmbeddedBroker
from streams.traffic_producer import TrafficError, TrafficProducer, run_demo_producer
from tests.streams.demo_kit import DELIVERY, MODELS
from tests.streams.incident_kit import alert


def test_missing_extras_are_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_EXTRAS", ("matplotlib", "no_such_package"))
    assert run_demo() == 2
    out = capsys.readouterr().out
    assert "no_such_package" in out
    assert "matplotlib" not in out
    assert "pip install 'driftsentry[demo]'" in out


def consumed(broker: EmbeddedBroker, topic: str, n_records: int) -> list[tuple[bytes, bytes]]:
    """So many records of a topic; their order holds within a partition."""
    reader = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "test"})
    reader.assign([TopicPartition(topic, partition, 0) for partition in range(4)])
    found: list[tuple[bytes, bytes]] = []
    deadline_s = time.monotonic() + 20
    while len(found) < n_records and time.monotonic() < deadline_s:
        for message in reader.consume(1000, 0.2):
            key, value = message.key(), message.value()
            assert message.error() is None
            assert isinstance(key, bytes)
            assert isinstance(value, bytes)
            found.append((key, value))
    reader.close()
    return found


def test_the_demo_producer_sends_the_traffic_and_begins_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = tuple(
        replace(model, prediction=model.prediction[:20], score=model.score[:20], labels=None)
        for model in demo_models()
    )
    monkeypatch.setattr("streams.traffic_producer.demo_models", lambda: short)
    with EmbeddedBroker() as broker:
        assert (
            run_demo_producer(broker.bootstrap_servers, "events", rate=5_000, n_events=150) == 150
        )
        records = consumed(broker, "events", 150)
    events = [orjson.loads(value) for _, value in records]
    assert all(key.decode() == e["model_id"] for (key, _), e in zip(records, events, strict=True))
    assert len({event["event_id"] for event in events}) == 150
    for model in short:
        mine = [event for event in events if event["model_id"] == model.model_id]
        assert len(mine) == 30
        assert [e["features"] for e in mine[20:]] == [e["features"] for e in mine[:10]]


def test_a_producer_that_reaches_nobody_says_so() -> None:
    producer = TrafficProducer(
        "127.0.0.1:9", "events", {"message.timeout.ms": "300", "log_level": "0"}
    )
    producer.send(b"k", b"v")
    with pytest.raises(TrafficError):
        producer.flush(5)
    producer.close()


def test_a_closed_producer_tells_of_no_delivery() -> None:
    # An interrupt may have lost the delivery before it, and who hears of the next would be misled.
    told: list[int] = []
    with EmbeddedBroker() as broker:
        producer = TrafficProducer(broker.bootstrap_servers, "events")
        producer.send(b"k", b"v", lambda _, offset: told.append(offset))
        assert consumed(broker, "events", 1)
        producer.close()

    assert producer.n_in_flight_bytes == 0
    assert not told


def commit_all(broker: EmbeddedBroker, group: str) -> None:
    """A group's worker has folded all that is there."""
    worker = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": group})
    ends = [
        TopicPartition("driftsentry.events", p, until)
        for p in range(4)
        for until in [worker.get_watermark_offsets(TopicPartition("driftsentry.events", p))[1]]
    ]
    worker.commit(offsets=ends, asynchronous=False)
    worker.close()


def test_the_flow_waits_for_both_duties_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.demo_flow._MAX_UNFOLDED_BYTES", 40_000)
    with EmbeddedBroker() as broker:
        flow = DemoFlow(
            broker.bootstrap_servers, ["nobody", "nobody.security"], MODELS, seconds=0.1
        )
        flow.start_clock()
        stuck = flow.progress()
        # What is on its way to the broker counts as not folded, so that the last one may be late.
        while stuck.n_sent == 0 or flow.progress().n_sent > stuck.n_sent:
            stuck = flow.progress()
            for _ in range(20):
                flow.step()
        commit_all(broker, "nobody")
        for _ in range(20):
            flow.step()
        half = flow.progress()
        commit_all(broker, "nobody.security")
        for _ in range(20):
            flow.step()
        later = flow.progress()
        flow.close()
    assert 50 < stuck.n_sent < 300
    assert stuck.n_consumed == 0
    assert (half.n_consumed, half.n_sent) == (0, stuck.n_sent), "the other duty is behind"
    assert later.n_consumed == stuck.n_sent
    assert stuck.n_sent < later.n_sent < 600


def test_an_alert_that_is_faster_than_its_events_delivery_is_put_to_its_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Deliveries are not heard of until somebody asks for them.
    monkeypatch.setattr(TrafficProducer, "serve", lambda *_: None)
    with EmbeddedBroker() as broker:
        flow = DemoFlow(broker.bootstrap_servers, ["nobody"], MODELS, seconds=50_000.0)
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        for partition in range(4):
            told = alert(
                partition, model_id=DELIVERY.model_id, partition=partition, trigger_offset=0
            )
            producer.produce("driftsentry.alerts", told)
        assert producer.flush(20) == 0
        while len(flow.book.alerts) < 4:
            flow.step()
        flow.close()
    # One of the partitions is that of the model.
    assert max(each.model_event for each in flow.book.alerts) >= 0


def test_events_have_the_times_of_the_story_however_fast_they_are_sent() -> None:
    with EmbeddedBroker() as broker:
        flow = DemoFlow(broker.bootstrap_servers, ["nobody"], MODELS, seconds=50_000.0)
        while flow.progress().n_sent < 200:
            flow.step()
        records = consumed(broker, "driftsentry.events", 200)
        flow.close()
    times = [
        datetime.fromisoformat(event["ts"]).timestamp()
        for event in (orjson.loads(value) for _, value in records)
        if event["model_id"] == DELIVERY.model_id and event["type"] == "prediction"
    ]
    assert len(times) >= 15
    every_s = 50_000.0 / len(DELIVERY)
    for before, after in pairwise(times):
        assert 0.5 * every_s < after - before < 1.5 * every_s


def test_a_worker_that_ends_ends_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    report = tmp_path / "report.html"
    assert run_demo(tty=False, report=report, worker_command=lambda _b, _r: command) == 1
    out = capsys.readouterr().out
    assert "the worker has ended" in out
    assert "no such thing" in out
    assert not report.exists()


def test_a_worker_that_does_nothing_ends_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_READY_WITHIN_S", 1.0)
    command = [sys.executable, "-c", "import time; print('I sleep', flush=True); time.sleep(60)"]
    report = tmp_path / "report.html"
    assert run_demo(tty=False, report=report, worker_command=lambda _b, _r: command) == 1
    out = capsys.readouterr().out
    assert "the worker has folded nothing for 1 s" in out
    assert "I sleep" in out


def test_a_worker_that_is_too_slow_is_told_of_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_PATIENCE_S", 0.5)
    report = tmp_path / "report.html"
    status = run_demo(
        seconds=0.5,
        tty=False,
        report=report,
        worker_command=lambda broker, _: [sys.executable, "-c", COMMITS_ONE_RECORD, broker],
    )
    assert status == 1
    assert "NOT AS EXPECTED" in capsys.readouterr().out
    assert "Not as expected." in report.read_text(encoding="utf-8")


COMMITS_ONE_RECORD = """
import signal, sys, time
from confluent_kafka import Consumer, TopicPartition

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
for group in ("driftsentry", "driftsentry.security"):
    worker = Consumer({"bootstrap.servers": sys.argv[1], "group.id": group})
    for partition in range(4):
        one = [TopicPartition("driftsentry.events", partition, 1)]
        worker.commit(offsets=one, asynchronous=False)
time.sleep(60)
"""

INTERRUPTED = """
import sys
from pathlib import Path
from streams.demo import run_demo

worker = "import os, time; open({pid!r}, 'w').write(str(os.getpid())); time.sleep(99)"
sys.exit(
    run_demo(
        tty=False,
        report=Path({report!r}),
        worker_command=lambda _broker, _redis: [sys.executable, "-c", worker],
    )
)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(tmp_path: Path, how: signal.Signals) -> None:
    script = INTERRUPTED.format(pid=str(tmp_path / "pid"), report=str(tmp_path / "r.html"))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    pid_file = tmp_path / "pid"
    deadline_s = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    worker = int(pid_file.read_text())
    process.send_signal(how)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Stopped" in out
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_the_whole_demo(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    command = [sys.executable, "-m", "streams", "demo", "--no-tty", "--seconds", "12"]
    done = subprocess.run(
        [*command, "--report", str(report)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": every change was seen" in done.stdout
    assert "59,564 events sent" in done.stdout
    assert "59,560 folded, 4 refused" in done.stdout
    assert "ALERT 1 [" in done.stdout
    assert "ANOMALY 1 [" in done.stdout
    assert "no honest client was accused" in done.stdout
    assert "</html>" in report.read_text(encoding="utf-8")


def test_the_demo_producer_command_stops_on_sigterm() -> None:
    with EmbeddedBroker() as broker:
        command = [sys.executable, "-m", "streams", "demo-producer", "--rate", "300"]
        process = subprocess.Popen(
            [*command, "--bootstrap-servers", broker.bootstrap_servers],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert len(consumed(broker, "driftsentry.events", 50)) >= 50
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "events delivered; done" in out
