"""What groups have committed, asked by who is no member of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streams import group_offsets
from streams.group_offsets import GroupOffsets
from streams.ports import LogError
from tests.streams.test_doctor import UNREACHABLE
from tests.streams.test_responder_probe import NO_COORDINATOR, PLACE, Place

NO_RIGHT = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)


class Message:
    """What a client says beside its answers."""

    def __init__(self, error: KafkaError) -> None:
        self._error = error

    def error(self) -> KafkaError:
        return self._error


class Reader:
    """Answers with each of these in turn, the last one for ever."""

    def __init__(self, *answers: object, beside: KafkaError | None = None) -> None:
        self.answers: Iterator[object] = chain(answers, repeat(answers[-1]))
        self.beside = [] if beside is None else [Message(NO_COORDINATOR), Message(beside)]
        self.n_asked = 0
        self.timeouts: list[float] = []

    def committed(self, _places: Sequence[KafkaPartition], timeout_s: float) -> list[Any]:
        self.n_asked += 1
        self.timeouts.append(timeout_s)
        answer = next(self.answers)
        if isinstance(answer, KafkaError):
            raise KafkaException(answer)
        return [answer]

    def poll(self, _timeout_s: float) -> Message | None:
        return self.beside.pop(0) if self.beside else None


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Readers to be given out, the first one first."""
    readers: list[Any] = []
    monkeypatch.setattr(group_offsets, "open_client", lambda *_: readers.pop(0))
    return readers


def ask(patience_s: float = 60.0, groups: GroupOffsets | None = None) -> list[int]:
    found = (groups or GroupOffsets(UNREACHABLE, {})).committed("group", [PLACE], patience_s)
    return [each.offset for each in found]


@pytest.mark.parametrize(
    "first",
    [NO_COORDINATOR, Place(-1001, KafkaError(KafkaError.NOT_COORDINATOR))],
    ids=["of all", "of one"],
)
def test_a_group_is_asked_again(made: list[Any], first: object) -> None:
    reader = Reader(first, first, Place(7))
    made.append(reader)
    assert ask() == [7]
    assert reader.n_asked == 3
    # Slow brokers are waited for.
    assert reader.timeouts == [1.0, 2.0, 4.0]


def test_what_is_not_committed_is_left_out(made: list[Any]) -> None:
    made.append(Reader(Place(-1001)))
    assert ask() == []
    assert GroupOffsets(UNREACHABLE, {}).committed("group", [], 60.0) == []


def test_a_refusal_is_raised_at_once(made: list[Any]) -> None:
    reader = Reader(NO_COORDINATOR, beside=NO_RIGHT)
    made.append(reader)
    with pytest.raises(KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
        ask()
    assert reader.n_asked == 1
    made.append(Reader(NO_RIGHT))
    with pytest.raises(KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
        ask()


def test_patience_ends(made: list[Any]) -> None:
    made.append(Reader(NO_COORDINATOR))
    with pytest.raises(KafkaException, match="_WAIT_COORD"):
        ask(0.0)


def test_a_client_is_kept_until_it_is_renewed(made: list[Any]) -> None:
    made += [Reader(Place(7)), Reader(Place(8))]
    groups = GroupOffsets(UNREACHABLE, {})
    assert [ask(groups=groups), ask(groups=groups)] == [[7], [7]]
    groups.renew()
    assert ask(groups=groups) == [8]


def test_a_refusal_is_told_again_by_a_new_client(made: list[Any]) -> None:
    # One client says it once.
    made += [Reader(NO_COORDINATOR, beside=NO_RIGHT), Reader(NO_COORDINATOR, beside=NO_RIGHT)]
    groups = GroupOffsets(UNREACHABLE, {})
    for _ in range(2):
        with pytest.raises(KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
            ask(groups=groups)


def test_a_client_that_cannot_be_made_is_no_answer_either() -> None:
    with pytest.raises(LogError, match="cannot be made"):
        GroupOffsets(UNREACHABLE, {"no.such": 1}).committed("group", [PLACE], 1.0)


def test_a_coordinator_that_has_moved_ends_nobody() -> None:
    command = [sys.executable, "-m", "tests.streams.moved_coordinator"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout) == (0, "7 True\n"), ran.stderr
