"""On a real Alertmanager: what stands there is what is open, once each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog

from streams.notify_addresses import WITHIN, AddressPolicy
from streams.notify_alertmanager import MAX_ALERTS, AlertmanagerSink
from streams.notify_config import AlertmanagerSettings, alertmanager_endpoint
from streams.notify_http import Answer, Poster, UnreachableError
from tests.kit.alertmanager_server import (
    MISSING,
    Alertmanager,
    alertmanager_command,
    alertmanager_server,
)
from tests.kit.install import ci_forbids_skips
from tests.kit.loud_lines import say_at_the_end
from tests.streams.notify_kit import KIND_OF, Queue, entry, held, incident, released

TOKEN = "t0ken"  # noqa: S105


@pytest.fixture
def manager(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Alertmanager]:
    if alertmanager_command() is None:
        assert not ci_forbids_skips(), MISSING
        say_at_the_end(request.config, f"NO REAL ALERTMANAGER: ITS TESTS DID NOT RUN ({MISSING})")
        pytest.skip(MISSING)
    with alertmanager_server(tmp_path) as server:
        yield server


OPENED = ExitStack()


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close every poster after its test."""
    with OPENED:
        yield


def sink_for(url: str, queue: Queue, receiver: Any = None, **settings: Any) -> AlertmanagerSink:
    chosen = AlertmanagerSettings(url=url, **settings)
    return AlertmanagerSink(
        "am",
        chosen,
        KIND_OF,
        tail=queue,
        receiver=receiver
        or OPENED.enter_context(
            Poster(alertmanager_endpoint(url, chosen), AddressPolicy.of(WITHIN), timeout_s=20.0)
        ),
        # Of the tests' records, which are of another year.
        now_ms=lambda: int(time.time() * 1000),
    )


def now_entry(record: Any, **given: Any) -> Any:
    """A record that is written now."""
    return entry(record, **given)._replace(timestamp_ms=int(time.time() * 1000))


def labels_of(alerts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((each["labels"]["alertname"], each["labels"]["severity"]) for each in alerts)


def test_what_is_open_stands_once_and_ends_when_it_is_closed(manager: Alertmanager) -> None:
    low, critical = incident("low"), incident("critical")
    request = held()
    queue = Queue()
    sink = sink_for(manager.url, queue, generator_url="https://drift.example/{id}")
    for each in (low, critical, request):
        sink.hear(now_entry(each))
    for _ in range(3):
        sink.send()
    assert sink.counts.n_failed == 0
    found = manager.alerts()
    assert labels_of(found) == [
        ("DriftsentryIncident", "critical"),
        ("DriftsentryIncident", "low"),
        ("DriftsentryRetrainingHeld", "low"),
    ]
    by_id = {each["labels"].get("incident_id"): each for each in found}
    shown = by_id[critical.incident_id]
    assert shown["annotations"]["summary"] == critical.message
    assert shown["generatorURL"] == f"https://drift.example/{critical.incident_id}"
    assert shown["labels"]["model"] == "churn"
    assert {each["status"]["state"] for each in found} <= {"active", "unprocessed"}

    sink.hear(now_entry(critical.model_copy(update={"status": "closed", "closed_ms": 1})))
    sink.hear(now_entry(released().model_copy(update={"request_id": request.request_id})))
    sink.hear(now_entry(None, key=low.incident_id.encode()))
    sink.send()
    assert labels_of(manager.alerts()) == [("DriftsentryRetrainingReleased", "low")]
    assert sink.counts.n_failed == 0


def test_a_restart_tells_the_same_alerts(manager: Alertmanager) -> None:
    one = incident()
    for _ in range(2):
        sink = sink_for(manager.url, Queue())
        sink.hear(now_entry(one))
        sink.send()
    (found,) = manager.alerts()
    assert found["labels"]["incident_id"] == one.incident_id


def test_a_changed_severity_leaves_one_alert(manager: Alertmanager) -> None:
    one = incident("low")
    sink = sink_for(manager.url, Queue())
    sink.hear(now_entry(one))
    sink.send()
    sink.hear(now_entry(one.model_copy(update={"severity": "critical"})))
    sink.send()
    assert labels_of(manager.alerts()) == [("DriftsentryIncident", "critical")]


def test_more_than_go_into_one_post_arrive_all(manager: Alertmanager) -> None:
    sink = sink_for(manager.url, Queue())
    n_sent = 2 * MAX_ALERTS + 1
    one = incident()
    for number in range(n_sent):
        name = f"{number:032x}"
        sink.hear(now_entry(one.model_copy(update={"incident_id": name})))
    sink.send()
    assert len(manager.alerts()) == n_sent
    assert sink.counts.n_attempts == 3


def test_what_hostile_names_are_in_events_an_alertmanager_takes_the_alert(
    manager: Alertmanager,
) -> None:
    one = incident(model_id='"}\n\x00\U0001f600{{ .Labels }}', deployment="")
    sink = sink_for(manager.url, Queue())
    sink.hear(now_entry(one))
    sink.send()
    assert sink.counts.n_failed == 0
    assert len(manager.alerts()) == 1


class Scripted:
    """Answers as it is told, and keeps what it was sent."""

    def __init__(self, *answers: Answer | UnreachableError) -> None:
        self.answers = list(answers)
        self.got: list[tuple[bytes, dict[str, str]]] = []

    def post(self, body: bytes, headers: Any) -> Answer:
        self.got.append((body, dict(headers)))
        answer = self.answers.pop(0) if self.answers else Answer(200, None, "")
        if isinstance(answer, UnreachableError):
            raise answer
        return answer


def test_what_fails_is_said_once_and_sent_again() -> None:
    receiver = Scripted(UnreachableError("down"), Answer(400, None, "bad"))
    sink = sink_for("http://am:9093", Queue(), receiver, allow_http=True)
    sink.hear(now_entry(incident()))
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            sink.send()
    assert [each["log_level"] for each in logs] == ["warning", "info"]
    assert (sink.counts.n_failed, sink.counts.n_taken) == (2, 1)
    assert not sink.counts.is_failing


def test_nothing_is_sent_before_all_is_read_and_then_again_and_again() -> None:
    one = incident()
    queue = Queue([now_entry(one), now_entry(one.model_copy(update={"revision": 2}))])
    receiver = Scripted()
    # Its shortest interval; only that it comes again is looked at.
    sink = sink_for("http://am:9093", queue, receiver, allow_http=True, resend_s=1)
    stopping = threading.Event()
    at_first: list[int] = []

    def next_entry() -> Any:
        if not queue.is_whole:
            at_first.append(len(receiver.got))
        if len(receiver.got) == 2:
            stopping.set()
        return Queue.next(queue)

    queue.next = next_entry  # type: ignore[method-assign]  # it looks on
    sink.run(stopping)
    assert set(at_first) == {0}
    assert len(receiver.got) == 2


def test_a_record_that_is_none_is_counted() -> None:
    sink = sink_for("http://am:9093", Queue(), Scripted(), allow_http=True)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            sink.hear(entry(incident())._replace(value=b"{"))
    assert sink.counts.n_unreadable == 2
    assert len(logs) == 1
