"""Which leader epochs are known, committed and compared."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import TopicPartition
from streams.kafka_epochs import UNKNOWN, LeaderEpochs
from streams.kafka_errors import is_truncation
from streams.kafka_outbox import kafka_offsets
from streams.ports import Committed
from streams.recovery import OperatorNeededError

TP, OTHER = TopicPartition("events", 0), TopicPartition("events", 1)


def deliver(epochs: LeaderEpochs, records: Sequence[tuple[int, int]], start: int = -1) -> None:
    """A run of records, offset and leader epoch of each: all that there are from `start` on."""
    messages = [Message("events", 0, offset, leader_epoch=epoch) for offset, epoch in records]
    offsets = [offset for offset, _ in records]
    epochs.compare(TP, offsets[0] if start < 0 else start, offsets, messages)
    epochs.delivered(TP, messages[-1], offsets[-1])


def test_a_commit_carries_the_epoch_of_the_record_right_before_it() -> None:
    epochs = LeaderEpochs()
    deliver(epochs, [(7, 2), (8, 3)])
    for offset, epoch in ((9, 3), (8, None), (10, None)):
        (sent,) = kafka_offsets({TP: Committed(offset, "said")}, epochs)
        assert (sent.topic, sent.partition, sent.offset) == ("events", 0, offset)
        assert (sent.metadata, sent.leader_epoch) == ("said", epoch)
    (sent,) = kafka_offsets({OTHER: Committed(9, "")}, epochs)
    assert repr(sent.leader_epoch) == "None"  # declared int
    deliver(epochs, [(9, -1)])
    assert epochs.before(TP, 10) == UNKNOWN


def test_what_was_committed_is_known_until_it_is_read_anew_or_the_partition_goes() -> None:
    epochs = LeaderEpochs()
    epochs.committed(TP, 9, 3)
    deliver(epochs, [(9, 4), (12, 4)])
    assert [epochs.before(TP, offset) for offset in (9, 10, 13)] == [3, UNKNOWN, 4]
    epochs.committed(TP, 9, None)
    assert [epochs.before(TP, offset) for offset in (9, 13)] == [UNKNOWN, 4]
    epochs.committed(TP, 9, 3)
    epochs.committed(TP, -1001, 0)
    assert epochs.before(TP, 9) == UNKNOWN
    epochs.committed(TP, 9, 3)
    epochs.forget(TP)
    assert [epochs.before(TP, offset) for offset in (9, 13)] == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("now", [2, 5])
def test_another_epoch_before_the_commit_is_another_log(now: int) -> None:
    """Also an earlier one: a replica that fell behind long ago had become the leader."""
    epochs = LeaderEpochs()
    epochs.committed(TP, 9, 3)
    deliver(epochs, [(6, now), (7, now)])
    with pytest.raises(OperatorNeededError, match=f"leader epoch 3, and has {now} now") as caught:
        deliver(epochs, [(8, now), (9, now)])
    assert caught.value.code == "log_truncated"
    assert epochs.before(TP, 10) == UNKNOWN


def test_a_record_that_is_gone_is_noticed_between_two_runs_too() -> None:
    epochs = LeaderEpochs()
    epochs.committed(TP, 9, 3)
    deliver(epochs, [(6, 3), (7, 3)])
    with pytest.raises(OperatorNeededError, match="leader epoch 3, and is gone"):
        deliver(epochs, [(9, 5)], start=8)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=30),
    st.sets(st.integers(1, 29)),
    st.sampled_from(["unchanged", "epoch", "gone"]),
    st.data(),
)
def test_an_unchanged_log_is_taken_for_one_however_it_is_read_and_a_changed_one_never(
    steps: list[tuple[int, int]], cuts: set[int], change: str, chosen: st.DataObject
) -> None:
    records: list[tuple[int, int]] = []
    offset = epoch = 0
    for gap, rise in steps:
        offset, epoch = offset + gap + 1, epoch + rise
        records.append((offset, epoch))
    last = chosen.draw(st.integers(0, len(records) - 1), "the last one folded")
    first = chosen.draw(st.integers(0, last), "the first one replayed")
    committed, its_epoch = records[last][0] + 1, records[last][1]
    bounds = [first, *sorted(cut for cut in cuts if first < cut < len(records)), len(records)]
    start, n_folded = records[first][0], 0
    epochs = LeaderEpochs()
    epochs.committed(TP, committed, its_epoch + (change == "epoch"))
    lost = {records[last]} if change == "gone" else set()
    is_noticed = False
    for begin, end in pairwise(bounds):
        run = [record for record in records[begin:end] if record not in lost]
        if not run:
            continue
        try:
            deliver(epochs, run, start)
        except OperatorNeededError:
            is_noticed = True
            break
        start = run[-1][0] + 1
        n_folded = end
    if change == "unchanged":
        assert (is_noticed, n_folded) == (False, len(records))
        assert epochs.before(TP, records[-1][0] + 1) == epoch
    else:
        # Before anything behind the commit is folded; a log that ends there is said elsewhere.
        assert is_noticed or (change == "gone" and last == len(records) - 1)
        assert n_folded <= last + 1


def test_only_what_the_client_calls_a_truncation_is_one() -> None:
    def error(name: str, text: str) -> KafkaError:
        return KafkaError(getattr(KafkaError, name), text)

    said = "at offset 80: Local: Partition log truncation detected (broker 1)"
    assert is_truncation(error("_AUTO_OFFSET_RESET", said))
    assert is_truncation(error("_LOG_TRUNCATION", "said otherwise"))
    assert not is_truncation(error("_AUTO_OFFSET_RESET", "Broker: Offset out of range"))
    assert not is_truncation(error("_TRANSPORT", said))
