"""What only a client that misbehaves would show of the transactional producer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams import kafka_commits
from streams.kafka_commits import KafkaCommits
from streams.kafka_errors import TIMED_OUT
from streams.kafka_log import KafkaLog
from streams.ports import IndeterminateError


class WaitsForEver:
    """A producer of which the first `n_stuck` never hear of their coordinator."""

    n_stuck = 0
    n_made = 0

    def __init__(self, _config: Any, **_options: Any) -> None:
        type(self).n_made += 1
        self._is_stuck = self.n_made <= self.n_stuck

    def init_transactions(self, _timeout_s: float) -> None:
        if self._is_stuck:
            raise KafkaException(KafkaError(TIMED_OUT, "no coordinator", retriable=True))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaLog]:
    monkeypatch.setattr(kafka_commits, "Producer", WaitsForEver)
    monkeypatch.setattr(kafka_commits, "_OPEN_TRY_S", 0.1)
    monkeypatch.setattr(WaitsForEver, "n_made", 0)
    log = KafkaLog("localhost:1", "events", group="g")
    yield log
    log.close()


def test_a_producer_that_does_not_find_its_coordinator_is_given_up_for_a_new_one(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers stood still for half a minute, and sometimes for a whole one, when a broker died."""
    monkeypatch.setattr(WaitsForEver, "n_stuck", 2)
    KafkaCommits(log, "localhost:1", journal_topic="journal", open_timeout_s=60)
    assert WaitsForEver.n_made == 3


def test_where_no_producer_finds_it_nobody_knows(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WaitsForEver, "n_stuck", 1_000)
    with pytest.raises(IndeterminateError, match="no coordinator"):
        KafkaCommits(log, "localhost:1", journal_topic="journal", open_timeout_s=0.3)
    assert WaitsForEver.n_made > 1
