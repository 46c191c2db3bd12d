"""Faust's Kafka transport, made to read committed records only, and to commit what is handled.

Faust reads records of open and aborted transactions too, unless it writes in transactions itself.
And it tells from gaps between offsets what was handled, which fails where transactions leave gaps:

- After a record at offset 0 and a gap, nothing of that partition is committed any more.
- A record after a gap counts as handled before it is, as soon as a later one is.
- The marker at a partition's end is never passed, so that an idle group lags for ever.

So offsets come from `PartitionReading` here. All of this leans on private names of Faust, which is
therefore pinned; `check_faust` says which of them are gone.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, ClassVar, Final

import aiokafka  # type: ignore[import-untyped]  # it comes without type hints
from aiokafka.consumer.fetcher import (  # type: ignore[import-untyped]  # the same
    READ_COMMITTED,
)
from aiokafka.coordinator.assignors.range import (  # type: ignore[import-untyped]  # the same
    RangePartitionAssignor,
)
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message
from faust.types.transports import ConsumerCallback, ConsumerT, TPorTopicSet, TransportT
from faust.types.tuples import ack_lock

from streams.partition_reading import PartitionReading

_METHODS: Final[tuple[tuple[type, tuple[str, ...]], ...]] = (
    (
        driver.AIOKafkaConsumerThread,
        ("_create_worker_consumer", "_ensure_consumer", "_fetch_records", "call_thread"),
    ),
    (
        driver.Consumer,
        ("_new_consumer_thread", "_new_offset", "_add_gap", "_filter_tps_with_pending_acks"),
    ),
)
_ATTRIBUTES: Final[tuple[tuple[type, tuple[str, ...]], ...]] = (
    (driver.Consumer, ("_acked", "_acked_index", "_committed_offset")),
)


class FaustChangedError(RuntimeError):
    """The installed Faust or aiokafka is not the one this transport was written for."""


def missing_names() -> list[str]:
    """The private names of Faust that are needed here and are gone, as `Class.name`."""
    missing = [
        f"{owner.__name__}.{name}"
        for owner, names in _METHODS
        for name in names
        if not callable(getattr(owner, name, None))
    ]
    for owner, names in _ATTRIBUTES:
        known = {name for each in owner.__mro__ for name in inspect.get_annotations(each)}
        missing += [f"{owner.__name__}.{name}" for name in names if name not in known]
    return missing


def check_faust() -> None:
    """Raise `FaustChangedError` where what this transport leans on is not there."""
    if missing := missing_names():
        raise FaustChangedError(
            f"the installed faust-streaming lacks {', '.join(missing)}, without which records of "
            "open and aborted transactions would be taken for committed ones; install the version "
            "that driftsentry names"
        )


class CommittedConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that fetches: committed records, and how far that came."""

    positions: Mapping[TP, int]
    """Where each partition stood when the last fetch was handed over."""

    def __post_init__(self) -> None:
        """Begin without positions."""
        super().__post_init__()
        self.positions = {}

    async def on_start(self) -> None:
        """Start the client. Raises `FaustChangedError` unless it reads committed records only."""
        await super().on_start()
        level = getattr(getattr(self._consumer, "_fetcher", None), "_isolation_level", None)
        if level != READ_COMMITTED:
            raise FaustChangedError(
                f"the consumer's isolation level is {level!r}, not read_committed: it would be "
                "given records of open and aborted transactions"
            )

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        security = driver.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context)
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            # Partition n of every topic goes to the same member: topics with the same number of
            # partitions and the same key meet in one process.
            partition_assignment_strategy=(RangePartitionAssignor,),
            enable_auto_commit=False,
            auto_offset_reset=conf.consumer_auto_offset_reset,
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=_milliseconds(conf.broker_max_poll_interval),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            request_timeout_ms=_milliseconds(conf.broker_request_timeout),
            check_crcs=conf.broker_check_crcs,
            session_timeout_ms=_milliseconds(conf.broker_session_timeout),
            rebalance_timeout_ms=_milliseconds(conf.broker_rebalance_timeout),
            heartbeat_interval_ms=_milliseconds(conf.broker_heartbeat_interval),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
            isolation_level="read_committed",
            **security,
        )

    def highwater(self, tp: TP) -> int:
        """The end of what can be read: where the first open transaction begins."""
        return int(self._ensure_consumer().last_stable_offset(tp) or 0)

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> RecordMap:
        """Fetch, and keep where the partitions stand then; see `positions`."""
        records: RecordMap = await self.call_thread(
            self._fetch_with_positions, active_partitions or set(), timeout
        )
        return records

    async def _fetch_with_positions(self, active: set[TP], timeout: float) -> RecordMap:
        # In the client's own thread, and nothing is awaited between the records and the positions.
        consumer = self._ensure_consumer()
        wanted = set(active)
        records = await self._fetch_records(consumer, active, timeout=timeout)
        self.positions = dict(_positions(consumer, wanted))
        return records


def _positions(
    consumer: aiokafka.AIOKafkaConsumer, partitions: set[TP]
) -> Iterator[tuple[TP, int]]:
    subscription = consumer._subscription.subscription  # noqa: SLF001 - `position` may wait
    assignment = None if subscription is None else subscription.assignment
    if assignment is None:
        return
    for tp in partitions & set(assignment.tps):
        state = assignment.state_value(tp)
        if state.has_valid_position:
            yield tp, int(state.position)


def _milliseconds(seconds: float | None) -> int:
    return int((seconds or 0) * 1000)


class CommittedConsumer(driver.Consumer):
    """Hands out committed records, and commits up to the first that is not handled."""

    _thread: CommittedConsumerThread

    def __init__(self, transport: TransportT, callback: ConsumerCallback, **more: Any) -> None:
        self._readings: defaultdict[TP, PartitionReading] = defaultdict(PartitionReading)
        self._n_assignments = 0
        self._positions: Mapping[TP, int] = {}
        self._fetched: Mapping[TP, int] = {}
        super().__init__(transport, self._handing_out(callback), **more)

    @property
    def has_assignment(self) -> bool:
        """Whether partitions were ever shared out, be it that none was left for this one."""
        return self._n_assignments > 0

    def done_to(self) -> dict[TP, int]:
        """By assigned partition: everything below this offset is handled."""
        self._take_in_handled()
        found = {tp: reading.done_to for tp, reading in self._readings.items()}
        return {tp: offset for tp, offset in found.items() if offset is not None}

    def ack(self, message: Message) -> bool:
        """Note that a record is handled, also below what Faust holds to be committed.

        It holds a commit that failed in a rebalance to be done; the records come again then.
        """
        is_new = super().ack(message)
        if message.acked:
            self._readings[message.tp].handled(message.offset)
        return is_new

    async def commit_and_end_transactions(self) -> None:
        """Commit once more at the end. Faust would take one that is under way for it."""
        await self.maybe_wait_for_commit_to_finish()
        await super().commit_and_end_transactions()

    def close_unused_loop(self) -> None:
        """Close the event loop of a thread that was made and not started; Faust leaves it open."""
        loop = self._thread.thread_loop
        if not loop.is_running() and not loop.is_closed():
            loop.close()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """Fetch and hand out; then what lies behind the last record is read as well."""
        assignment = self._n_assignments
        self._positions, self._fetched = {}, {}
        last: dict[TP, int] = {}
        async for tp, message in super().getmany(timeout):
            last[tp] = message.offset
            yield tp, message
        # Where a rebalance came between, some of it may not have been handed out.
        if assignment == self._n_assignments and self.flow_active:
            for tp, position in self._positions.items():
                if last.get(tp) == self._fetched.get(tp):
                    self._readings[tp].read_to(position)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget what is handed out: whoever is assigned begins at the committed offset."""
        self._begin_anew()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Begin with what is assigned now."""
        self._begin_anew()
        await super().on_partitions_assigned(assigned, generation_id)

    def _begin_anew(self) -> None:
        self._n_assignments += 1
        self._readings.clear()

    def _handing_out(self, deliver: ConsumerCallback) -> Callable[[Message], Awaitable[None]]:
        async def hand_out(message: Message) -> None:
            # Before it is delivered: from then on it may be handled at any time.
            self._readings[message.tp].hand_out(message.offset)
            await deliver(message)

        return hand_out

    def _new_consumer_thread(self) -> CommittedConsumerThread:
        return CommittedConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> RecordMap:
        records = await super()._getmany(active_partitions, timeout)
        self._positions = self._thread.positions
        self._fetched = {tp: fetched[-1].offset for tp, fetched in records.items() if fetched}
        return records

    def _take_in_handled(self) -> None:
        """Faust collects the offsets of handled records by partition; they are looked at here."""
        with ack_lock:
            for tp, offsets in list(self._acked.items()):
                for offset in offsets:
                    self._readings[tp].handled(offset)
                self._acked_index[tp].difference_update(offsets)
                offsets.clear()

    def _filter_tps_with_pending_acks(self, topics: TPorTopicSet | None = None) -> Iterator[TP]:
        # All of them: the end of a partition is passed without a record, too.
        self._take_in_handled()
        for tp in list(self._readings):
            if topics is None or tp in topics or tp.topic in topics:
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        return self._readings[tp].done_to

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: a gap between offsets says nothing of what is handled."""


class CommittedTransport(driver.Transport):
    """Kafka, of which an app is given committed records only. Raises `FaustChangedError`."""

    Consumer: ClassVar[type[ConsumerT]] = CommittedConsumer

    def __init__(self, *arguments: Any, **more: Any) -> None:
        check_faust()
        super().__init__(*arguments, **more)
