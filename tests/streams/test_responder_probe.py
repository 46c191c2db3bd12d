"""What the responder asks is asked again while the answer is one that passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain, repeat
from typing import Any

import pytest
from confluent_kafka import IsolationLevel, KafkaError, KafkaException

from schemas.config import DetectionConfig
from streams import kafka_clients, responder_probe
from streams.config import Settings
from streams.responder_probe import ResponderProbe
from tests.streams.test_doctor import UNREACHABLE

Asking = Callable[["Admin"], ResponderProbe]
PLACE = ("alerts", 0)
NO_LEADER = KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)
NO_COORDINATOR = KafkaError(KafkaError._WAIT_COORD)
NO_RIGHT = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)


class Ends:
    """The offset that a broker says."""

    def __init__(self, offset: int) -> None:
        self.offset = offset


class Group:
    """A described group."""

    members: Sequence[str] = ("one", "two")


class Admin:
    """Answers each question with the next of these."""

    def __init__(self, *answers: object) -> None:
        self.answers: Iterator[object] = chain(answers, repeat(answers[-1]))
        self.n_asked = 0

    def _future(self) -> Future[Any]:
        self.n_asked += 1
        future: Future[Any] = Future()
        answer = next(self.answers)
        if isinstance(answer, KafkaError):
            # A new one each time: one that stays would keep the client that it went through.
            future.set_exception(KafkaException(answer))
        else:
            future.set_result(answer)
        return future

    def list_offsets(self, places: dict[Any, object], **_: object) -> dict[Any, Any]:
        return {place: self._future() for place in places}

    def alter_consumer_group_offsets(self, requests: list[Any], **_: object) -> dict[str, Any]:
        return {requests[0].group_id: self._future()}

    def describe_consumer_groups(self, groups: list[str], **_: object) -> dict[str, Any]:
        return {groups[0]: self._future()}


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Asking:
    monkeypatch.setattr(kafka_clients, "_PAUSE_S", 0.0)

    def probe(admin: Admin) -> ResponderProbe:
        settings = Settings(bootstrap_servers=UNREACHABLE)
        reader: Any = None
        made = ResponderProbe(settings, DetectionConfig(), "group", reader)
        monkeypatch.setattr(made, "_admin", admin)
        return made

    return probe


class Place:
    """What a broker says of one partition of a group."""

    topic, partition = PLACE

    def __init__(self, offset: int, error: KafkaError | None = None) -> None:
        self.offset = offset
        self.error = error


class Places:
    """An answer about a group."""

    def __init__(self, *topic_partitions: Place) -> None:
        self.topic_partitions = topic_partitions


NO_LEADER_HERE = Places(Place(-1001, KafkaError(KafkaError.NOT_COORDINATOR)))


@pytest.mark.parametrize("first", [NO_LEADER, Ends(-1001)], ids=["no leader", "no offset"])
def test_ends_are_asked_for_again(asking: Asking, first: object) -> None:
    admin = Admin(first, first, Ends(7))
    ends = asking(admin).ends([PLACE], IsolationLevel.READ_COMMITTED)
    assert ends == {PLACE: 7}
    assert admin.n_asked == 3


@pytest.mark.parametrize("first", [NO_COORDINATOR, NO_LEADER_HERE], ids=["of all", "of one"])
def test_a_commit_is_tried_again(asking: Asking, first: object) -> None:
    admin = Admin(first, Places(Place(7)))
    asking(admin).commit({PLACE: 7})
    assert admin.n_asked == 2


def test_members_are_asked_for_again(asking: Asking) -> None:
    assert asking(Admin(NO_COORDINATOR, Group())).n_members() == 2


def test_what_does_not_pass_is_raised_at_once(asking: Asking) -> None:
    admin = Admin(NO_RIGHT)
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        asking(admin).ends([PLACE], IsolationLevel.READ_COMMITTED)
    assert admin.n_asked == 1


def test_patience_ends(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder_probe, "_PATIENCE_S", 0.0)
    with pytest.raises(KafkaException, match="NOT_LEADER_FOR_PARTITION"):
        asking(Admin(NO_LEADER)).ends([PLACE], IsolationLevel.READ_COMMITTED)
