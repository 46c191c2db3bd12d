"""The events topic on Kafka: a member of a classic, cooperative consumer group.

A paused partition is one that this member owns and does not fetch: pausing takes it out of the
fetcher's assignment, resuming puts it back at an explicit offset. So no message of an earlier
position can surface, and nothing ever depends on `auto.offset.reset`, which is `error`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from operator import lt
from typing import Any, Final, TypeVar

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from schemas.records import Records, TopicPartition
from streams.kafka_clients import (
    LOGGER,
    ClientConfigError,
    admin_config,
    consumer_config,
    describe,
    kafka_error,
    open_client,
)
from streams.kafka_epochs import UNKNOWN, LeaderEpochs, truncated
from streams.kafka_errors import (
    FENCED_INSTANCE,
    MISSING_TOPIC,
    OUT_OF_RANGE,
    is_passing,
    is_truncation,
)
from streams.kafka_group import GroupWatch
from streams.kafka_properties import KafkaValue
from streams.ports import EventLog, LogError, OwnershipLostError, RebalanceListener
from streams.recovery import OperatorNeededError

# consume() waits for n messages or for the timeout: longer is latency of every partly filled batch.
LONGEST_POLL_S: Final = 0.01
_METADATA_S: Final = 10.0

Answer = TypeVar("Answer")


class KafkaLog(EventLog):
    """One topic, read as a member of `group`. One thread owns it."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        group: str,
        instance: str | None = None,
        kafka_properties: Mapping[str, KafkaValue] | None = None,
        session_timeout_ms: int = 30_000,
        max_poll_interval_ms: int = 300_000,
    ) -> None:
        """Make the client; nothing is asked of the brokers before `subscribe` and `poll`.

        With `instance` the member is static (`group.instance.id`): killed and started again within
        `session_timeout_ms` it has its partitions back at once. Without it a killed member's
        partitions wait for that long.
        """
        config = consumer_config(
            bootstrap_servers,
            group,
            kafka_properties or {},
            instance=instance,
            session_timeout_ms=session_timeout_ms,
            max_poll_interval_ms=max_poll_interval_ms,
        )
        self.topic: Final = topic
        self.group: Final = group
        try:
            self.consumer: Final = open_client(Consumer, config, "consumer")
        except ClientConfigError as error:
            raise LogError(str(error)) from None
        self.epochs: Final = LeaderEpochs()
        """Told by whoever reads the commit, asked by whoever commits."""
        self._listener: RebalanceListener | None = None
        self._owned: set[TopicPartition] = set()
        self._next_offset: dict[TopicPartition, int] = {}  # of what is fetched: owned, not paused
        self._moved: set[TopicPartition] = set()  # (un)assigned since the last consume() began
        self._looking_back: set[TopicPartition] = set()  # fetched from the record before
        self._doubted: set[TopicPartition] = set()  # reported as truncated, and asked once more
        self._failure: BaseException | None = None
        self._closed = False
        self._watch: GroupWatch | None = None
        if instance is not None:
            own = admin_config(bootstrap_servers, kafka_properties or {})
            as_guest = {k: value for k, value in config.items() if k != "group.instance.id"}
            self._watch = GroupWatch(topic, group, own, as_guest)

    def subscribe(self, listener: RebalanceListener) -> None:
        """Join the group; the listener hears of assignments from inside `poll` and `close`."""
        self._listener = listener
        self.consumer.subscribe(
            [self.topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def poll(self, max_records: int, timeout_s: float) -> Mapping[TopicPartition, Records]:
        """Records by partition; waits 10 ms at most, whatever is asked for.

        What the listener raises comes out of here. After an error the log cannot be used, only
        closed. Raises `LogError`, and `OperatorNeededError` where the log was cut off and filled
        again behind what was folded.
        """
        self._raise_failure()
        self._moved.clear()
        if self._watch is not None:
            self._watch.tick(self.consumer.memberid)
        try:
            messages = self.consumer.consume(max_records, min(timeout_s, LONGEST_POLL_S))
        except KafkaException as error:
            self._failure = self._failure or LogError(describe(kafka_error(error)))
            raise self._failure from error
        self._raise_failure()
        if not messages:
            return {}
        try:
            return self._records(messages)
        except (LogError, OperatorNeededError) as error:
            self._failure = error
            raise

    def pause(self, tps: Iterable[TopicPartition]) -> None:
        """Stop fetching these partitions; they stay this member's."""
        fetched = [tp for tp in tps if tp in self._next_offset]
        if fetched:
            self._stop_fetching(fetched)

    def resume(self, tp: TopicPartition, offset: int) -> None:
        """Fetch this partition from `offset` on; one that is not owned (any more) is left alone."""
        if tp not in self._owned:
            return
        if tp in self._next_offset:
            self._stop_fetching([tp])
        self._start_fetching({tp: offset})

    def position(self, tp: TopicPartition) -> int | None:
        """The least offset that `poll` can deliver next; None for what is paused or not owned."""
        return self._next_offset.get(tp)

    def owned(self) -> frozenset[TopicPartition]:
        """The partitions that are this member's, paused ones included."""
        return frozenset(self._owned)

    def group_metadata(self) -> Any:  # confluent-kafka gives the type no name
        """Member and group generation, as a transaction must name them to be fenced.

        Raises `OwnershipLostError` where this is no member now: the broker would take a commit
        that names neither member nor generation from anybody.
        """
        member = self.consumer.memberid()
        metadata = self.consumer.consumer_group_metadata()
        # Asked twice: the membership may end between the two questions, in another thread.
        if not member or self.consumer.memberid() != member:
            raise OwnershipLostError(f"not a member of group {self.group} at the moment")
        return metadata

    def close(self) -> None:
        """Leave the group; a static member keeps its place until its session ends.

        The listener hears `on_revoked` first, unless the log has failed.
        """
        if self._closed:
            return
        self._closed = True
        failed_before = self._failure
        try:
            if self._watch is not None:
                self._watch.close()
            self.consumer.close()
        except KafkaException as error:
            raise LogError(describe(kafka_error(error))) from error
        finally:
            self._owned.clear()
            self._next_offset.clear()
        if failed_before is None and self._failure is not None:
            raise self._failure

    def _on_assign(self, _consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        tps = _ours(partitions)
        self._owned.update(tps)
        start: Mapping[TopicPartition, int] = {}
        if tps:
            start = self._heard(lambda listener: listener.on_assigned(tps), {})
        # Also with nothing to assign: without the call the client would assign by itself, at the
        # committed offsets.
        self._start_fetching({tp: start[tp] for tp in tps if tp in start})

    def _on_revoke(self, _consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        tps = _ours(partitions)
        if tps:
            self._heard(lambda listener: listener.on_revoked(tps), None)
        self._give_up(tps)

    def _on_lost(self, _consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        tps = _ours(partitions)
        if tps:
            self._heard(lambda listener: listener.on_lost(tps), None)
        self._give_up(tps)

    def _heard(self, tell: Callable[[RebalanceListener], Answer], otherwise: Answer) -> Answer:
        """Tell the listener; once anything has failed it is left alone, its state is not whole."""
        if self._failure is not None or self._listener is None:
            return otherwise
        try:
            return tell(self._listener)
        except BaseException as error:  # noqa: BLE001 - whatever it is, `poll` and `close` raise it
            # Not through the client, which would keep it, and by its traceback all that it meets.
            self._failure = error
            return otherwise

    def _start_fetching(
        self, starts: Mapping[TopicPartition, int], *, look_back: bool = True
    ) -> None:
        """Fetch from these offsets on, and the record before where its leader epoch is known."""
        self._moved.update(starts)
        back = {
            tp
            for tp, offset in starts.items()
            if look_back and self.epochs.before(tp, offset) != UNKNOWN
        }
        self._looking_back.difference_update(starts)
        self._looking_back |= back
        self.consumer.incremental_assign(
            [
                KafkaPartition(tp.topic, tp.partition, offset - (tp in back))
                for tp, offset in starts.items()
            ]
        )
        self._next_offset.update(starts)

    def _stop_fetching(self, tps: Iterable[TopicPartition]) -> None:
        fetched = [tp for tp in tps if self._next_offset.pop(tp, None) is not None]
        self._moved.update(fetched)
        self.consumer.incremental_unassign(
            [KafkaPartition(tp.topic, tp.partition) for tp in fetched]
        )

    def _read_again(self, tp: TopicPartition, offset: int) -> None:
        """After a rebalance in the middle of a call: what of it was fetched before is not known."""
        self._stop_fetching([tp])
        self._start_fetching({tp: offset})

    def _give_up(self, tps: Sequence[TopicPartition]) -> None:
        self._stop_fetching(tps)
        self._owned.difference_update(tps)
        self._doubted.difference_update(tps)
        self._looking_back.difference_update(tps)
        for tp in tps:
            self.epochs.forget(tp)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _records(self, messages: list[Message]) -> dict[TopicPartition, Records]:
        if any(map(Message.error, messages)):
            messages = self._without_errors(messages)
        polled: dict[TopicPartition, Records] = {}
        for number, run in _by_partition(messages).items():
            tp = TopicPartition(self.topic, number)
            if records := self._of_partition(tp, run):
                polled[tp] = records
        return polled

    def _of_partition(self, tp: TopicPartition, run: list[Message]) -> Records | None:
        """The records of one partition that may be delivered; moves its next offset."""
        expected = self._next_offset.get(tp)
        if expected is None:
            return None
        if tp in self._moved:
            self._read_again(tp, expected)
            return None
        offsets: list[Any] = list(map(Message.offset, run))
        if not all(map(lt, offsets, islice(offsets, 1, None))):
            raise LogError(f"{tp}: the client delivered offsets out of order")
        self.epochs.compare(tp, expected - (tp in self._looking_back), offsets, run)
        self._looking_back.discard(tp)
        self._doubted.discard(tp)
        if offsets[0] < expected:
            n_stale = sum(offset < expected for offset in offsets)
            del run[:n_stale], offsets[:n_stale]
            if not run:
                return None
        self.epochs.delivered(tp, run[-1], offsets[-1])
        self._next_offset[tp] = offsets[-1] + 1
        times_ms = [time_ms for _, time_ms in map(Message.timestamp, run)]
        keys: list[Any] = list(map(Message.key, run))
        values: list[Any] = list(map(Message.value, run))
        return Records(tp, offsets, times_ms, keys, values)

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        """The messages that are records.

        Raises `LogError` or `OperatorNeededError` for an error that does not pass.
        """
        good: list[Message] = []
        for message in messages:
            error = message.error()
            if error is None:
                good.append(message)
            elif (problem := self._problem(message, error)) is not None:
                raise LogError(problem)
        return good

    def _problem(self, message: Message, error: KafkaError) -> str | None:
        """What to say of an error that the worker cannot outlive; None for one that it can."""
        if error.code() in OUT_OF_RANGE:
            tp = _partition(self.topic, message.partition())
            expected = self._next_offset.get(tp)
            if expected is None:
                return None
            if tp in self._moved:
                self._read_again(tp, expected)
                return None
            if self._asked_again(tp, expected, error):
                return None
            return (
                f"{tp}: offset {expected} is not in the log: its retention has removed it, or the "
                f"topic was truncated or made again ({describe(error)}, at {message.offset()})"
            )
        if error.code() in MISSING_TOPIC:
            return (
                f"the topic {self.topic} does not exist; `driftsentry topics create` makes it "
                f"({describe(error)})"
            )
        if FENCED_INSTANCE in error.str():
            return (
                "another process has joined the group under this instance name and has taken this "
                f"one's place: give each a name of its own with --instance ({describe(error)})"
            )
        if is_passing(error):
            LOGGER.warning("consumer: %s", describe(error))
            return None
        return describe(error)

    def _asked_again(self, tp: TopicPartition, expected: int, error: KafkaError) -> bool:
        """Whether an offset that is not in the log, as it seems, is to be read once more.

        Raises `OperatorNeededError` where the leader says again that the log was truncated.
        """
        if tp in self._doubted:
            raise truncated(tp, expected, describe(error))
        if is_truncation(error):
            # A broker that was frozen takes itself for the leader for a moment after it wakes up,
            # and knows of no later epoch than its own. The record itself decides.
            LOGGER.warning("%s: the log seems truncated, looking: %s", tp, describe(error))
            self._doubted.add(tp)
            # So the client hears who leads now; where nobody answers, the second report decides.
            with suppress(KafkaException):
                self.consumer.list_topics(self.topic, _METADATA_S)
            self._read_again(tp, expected)
            return True
        if tp in self._looking_back:
            # Retention has removed all that was folded, and nothing is left to compare with.
            self._stop_fetching([tp])
            self._start_fetching({tp: expected}, look_back=False)
            return True
        return False


def _by_partition(messages: Sequence[Message]) -> dict[int, list[Message]]:
    """The messages of each partition, in order; they come in long runs of one partition."""
    of: dict[int, list[Message]] = {}
    if not messages:
        return of
    numbers: list[Any] = list(map(Message.partition, messages))
    ends = np.flatnonzero(np.diff(numbers)) + 1
    start = 0
    for stop in [*ends.tolist(), len(messages)]:
        of.setdefault(numbers[start], []).extend(messages[start:stop])
        start = stop
    return of


def _partition(topic: str, number: int | None) -> TopicPartition:
    return TopicPartition(topic, -1 if number is None else number)


def _ours(partitions: Iterable[KafkaPartition]) -> list[TopicPartition]:
    return sorted(TopicPartition(each.topic, each.partition) for each in partitions)
