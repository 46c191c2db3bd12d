"""A receiver is told record after record, signed, until each is taken or given up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from standardwebhooks.webhooks import Webhook

from schemas.incidents import IncidentData
from streams.notify_addresses import AddressPolicy, endpoint
from streams.notify_config import WebhookSettings
from streams.notify_http import Poster, tls_context
from streams.notify_news import TopicEntry
from streams.notify_signing import secret_bytes
from streams.notify_webhook import LONGEST_PAUSE_S, WebhookSink
from tests.kit.https_receiver import OK, SECRETS, Got, Receiver, hang_up, https_receiver, status
from tests.streams.notify_kit import KIND_OF, Pile, Queue, entry, held, incident, released


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with https_receiver(tmp_path) as server:
        yield server


class Told:
    """A sink on this receiver, and all that is around it."""

    def __init__(self, receiver: Receiver, *entries: TopicEntry, **settings: Any) -> None:
        self.queue, self.pile, self.stopping = Queue(entries), Pile(), threading.Event()
        self.poster = Poster(
            endpoint(receiver.url),
            AddressPolicy.of(["127.0.0.1/32"]),
            timeout_s=20.0,
            tls=tls_context(str(receiver.ca_file)),
        )
        self.sink = WebhookSink(
            "pager",
            WebhookSettings(url=receiver.url, secrets=("${env:A}", "${env:B}"), **settings),
            [secret_bytes(each) for each in SECRETS],
            KIND_OF,
            reader=self.queue,
            receiver=self.poster,
            letters=self.pile,
        )

    def run(self) -> WebhookSink:
        """Take all that is there."""
        with self.poster:
            while not self.stopping.is_set() and (each := self.queue.next()) is not None:
                self.sink.take(each, self.stopping)
        return self.sink


def verified(got: Got) -> list[Any]:
    """The body, where each of the secrets verifies it, by an implementation that is not ours."""
    return [Webhook(secret).verify(got.body, got.headers) for secret in SECRETS]


def test_records_arrive_signed_in_their_order(receiver: Receiver) -> None:
    one, request = incident(), held()
    gone = entry(None, 2, key=one.incident_id.encode())
    told = Told(receiver, entry(one, 0), entry(request, 1), gone)
    sink = told.run()
    first, second, third = receiver.got
    opened = verified(first)
    assert opened[0] == opened[1]
    assert opened[0]["type"] == "io.driftsentry.incident.opened.v1"
    assert IncidentData.model_validate(opened[0]["data"]) == one
    assert verified(second)[0]["type"] == "io.driftsentry.retraining.held.v1"
    assert verified(third)[1]["data"] == {"incident_id": one.incident_id, "status": "gone"}
    assert told.queue.committed == [0, 1, 2]
    assert (sink.counts.n_taken, sink.counts.n_failed) == (3, 0)
    assert len({each.headers["webhook-id"] for each in receiver.got}) == 3


def test_what_fails_is_sent_again_under_the_same_id(receiver: Receiver) -> None:
    receiver.then(status(500), hang_up, status(302, location=receiver.url), OK)
    told = Told(receiver, entry(incident(), 7))
    sink = told.run()
    assert len(receiver.got) == 4
    assert len({(each.headers["webhook-id"], each.body) for each in receiver.got}) == 1
    for each in receiver.got:
        verified(each)
    assert told.queue.committed == [7]
    assert (sink.counts.n_attempts, sink.counts.n_failed, sink.counts.n_taken) == (4, 3, 1)
    assert not sink.counts.is_failing


def test_after_a_restart_and_at_another_offset_the_id_is_the_same(receiver: Receiver) -> None:
    for offset in (3, 900):
        Told(receiver, entry(incident(), offset)).run()
    one, other = receiver.got
    assert one.headers["webhook-id"] == other.headers["webhook-id"]
    assert one.body == other.body


def test_pauses_grow_to_a_longest_and_the_receiver_may_ask_for_more(receiver: Receiver) -> None:
    receiver.then(*[status(503)] * 12, status(429, retry_after="200"), OK)
    told = Told(receiver, entry(incident()))
    told.run()
    *grown, asked = told.queue.pauses
    assert len(grown) == 12
    assert all(1 <= each <= LONGEST_PAUSE_S for each in grown)
    for number, each in enumerate(grown):
        assert min(2**number, LONGEST_PAUSE_S) <= each <= 2**number + 1
    assert 200 <= asked <= LONGEST_PAUSE_S


def test_nobody_waits_longer_because_a_receiver_asks_for_a_week(receiver: Receiver) -> None:
    receiver.then(status(429, retry_after="604800"), OK)
    told = Told(receiver, entry(incident()))
    told.run()
    assert told.queue.pauses == [LONGEST_PAUSE_S]


def test_what_is_not_taken_in_time_is_written_down_and_the_next_is_told(
    receiver: Receiver,
) -> None:
    receiver.then(status(500), OK)
    # Whatever an attempt takes, it is longer than this.
    told = Told(receiver, entry(incident(), 4), entry(held(), 5), give_up_s=1e-9)
    with structlog.testing.capture_logs() as logs:
        sink = told.run()
    (letter,) = told.pile.letters
    assert (letter.sink, letter.topic, letter.offset) == ("pager", "incidents", 4)
    assert (letter.reason, letter.n_attempts) == ("status 500", 1)
    assert letter.message_id == receiver.got[0].headers["webhook-id"]
    assert letter.key == incident().incident_id
    assert told.queue.committed == [4, 5]
    assert (sink.counts.n_undelivered, sink.counts.n_taken) == (1, 1)
    assert [each["log_level"] for each in logs] == ["warning", "error", "info"]


@pytest.mark.parametrize("code", [410, 413])
def test_who_is_gone_is_not_asked_twice(receiver: Receiver, code: int) -> None:
    receiver.then(status(code))
    told = Told(receiver, entry(incident(), 4))
    told.run()
    assert len(receiver.got) == 1
    assert [each.reason for each in told.pile.letters] == [f"status {code}"]
    assert told.queue.committed == [4]


def test_what_cannot_be_written_down_is_told_again(receiver: Receiver) -> None:
    receiver.then(status(410), status(410), OK)
    told = Told(receiver, entry(incident(), 4))
    told.pile.n_lost = 2
    told.run()
    assert told.pile.letters == []
    assert told.queue.committed == [4]
    assert len({each.headers["webhook-id"] for each in receiver.got}) == 1


def test_a_stop_leaves_what_was_not_taken_uncommitted(receiver: Receiver) -> None:
    receiver.then(status(500))
    told = Told(receiver, entry(incident(), 4), entry(held(), 5))
    told.queue.on_rest = told.stopping.set
    told.run()
    assert len(receiver.got) == 1
    assert (told.queue.committed, told.pile.letters) == ([], [])


def test_a_record_that_is_another_members_by_now_is_left_to_it(receiver: Receiver) -> None:
    receiver.then(status(500), OK)
    told = Told(receiver, entry(incident(), 4))

    def take_away() -> None:
        told.queue.is_taken_away = True

    told.queue.on_rest = take_away
    told.run()
    assert len(receiver.got) == 1
    assert (told.queue.committed, told.pile.letters) == ([], [])


def test_only_what_is_asked_for_is_told_and_the_rest_is_committed(receiver: Receiver) -> None:
    told = Told(
        receiver,
        entry(incident("low"), 0),
        entry(incident("critical"), 1),
        entry(incident("critical", status="closed", closed_ms=1), 2),
        entry(held(), 3),
        entry(released(), 4),
        min_severity="high",
        statuses=("opened", "released"),
    )
    sink = told.run()
    assert [orjson.loads(each.body)["type"] for each in receiver.got] == [
        "io.driftsentry.incident.opened.v1",
        "io.driftsentry.retraining.released.v1",
    ]
    assert told.queue.committed == [0, 1, 2, 3, 4]
    assert sink.counts.n_passed_over == 3


def test_reasons_choose_incidents_and_requests(receiver: Receiver) -> None:
    assert incident().verdict.reason == "harmful_drift"
    told = Told(receiver, entry(incident(), 0), reasons=("suspected_poisoning",))
    told.run()
    told = Told(receiver, entry(incident(), 0), reasons=("harmful_drift", "data_fault"))
    told.run()
    assert len(receiver.got) == 1


def test_what_is_no_record_of_ours_is_passed_over_and_said_once(receiver: Receiver) -> None:
    whole = entry(incident(), 3)
    strange = [
        whole._replace(offset=0, value=b"{}"),
        whole._replace(offset=1, value=b"\xff"),
        whole._replace(offset=2, key=b"another"),
    ]
    told = Told(receiver, *strange, whole)
    with structlog.testing.capture_logs() as logs:
        sink = told.run()
    assert len(receiver.got) == 1
    assert told.queue.committed == [0, 1, 2, 3]
    assert sink.counts.n_unreadable == 3
    assert [each["log_level"] for each in logs] == ["warning"]
