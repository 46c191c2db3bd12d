"""One responder process: what its agents hand records to, and what runs beside them.

Beside the agents run three loops: the words of people, the sweep with its look at progress, and the
watch that says whether it is ready and ends the process where it has come to a standstill. What any
of them raises ends the app, and so the process; what it had not acknowledged comes again.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, TypeVar
from uuid import uuid4

import structlog
from confluent_kafka import KafkaException

from schemas.config import DetectionConfig
from schemas.source_hash import SourceKey
from streams.audit_reader import AuditReader
from streams.config import Settings
from streams.credentials import redis_client_address, source_key
from streams.incident_desk import IncidentDesk
from streams.kafka_clients import describe, kafka_error
from streams.kafka_commands import KafkaCommandLog
from streams.kafka_properties import read_properties
from streams.opened import audit_reader_of
from streams.ports import LogError
from streams.responder import add_agents
from streams.responder_app import (
    Handler,
    Received,
    assigned_to,
    make_app,
    quiet_faust,
    responder_group,
    run_app,
)
from streams.responder_intake import Intake
from streams.responder_outlet import KafkaOutlet
from streams.responder_ports import (
    FoldPlace,
    IncidentStoreError,
    InputPartition,
    StoreLostError,
    UnreadableStoreError,
)
from streams.responder_probe import ResponderProbe
from streams.responder_pulse import LOOK_S, Pulse
from streams.responder_redis import RedisIncidentStore
from streams.responder_settling import OutputPlace, Settling, watermark_of
from streams.responder_topics import check_topics
from streams.responder_watch import Seen, Watch, write_ready
from streams.responder_windows import HeldWindows
from streams.rollback_desk import RollbackDesk
from streams.tasks import call_off, in_thread
from streams.version_look import VersionLook
from streams.version_reader import KafkaVersionWindows, VersionScan
from streams.window_reader import Decoder, KafkaEventWindows

log = structlog.get_logger(__name__)

STOP_S: Final = 45.0
"""A stop that takes longer, as where brokers do not answer, ends hard: to Kafka it is a crash."""

_COMMANDS_S: Final = 0.5
_WATCH_S: Final = 2.0
_AGAIN_S: Final = 1.0
_ASK_S: Final = 45.0
Answer = TypeVar("Answer")


class RebuildNeededError(Exception):
    """Redis does not have what the group has acknowledged: a person has to decide."""


class StalledResponderError(Exception):
    """There is something to read, everything answers, and nothing is committed."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How one process is run."""

    stall_s: float = 120.0
    """A standstill of so long ends the process."""
    ready_file: Path | None = None
    """There while the responder is ready."""
    parent: int | None = None
    """The process that has started this one to restart it; where it is gone, so is this."""


class Responder:
    """Everything one process has open. Make it in the loop; `close` it."""

    def __init__(self, settings: Settings, detection: DetectionConfig) -> None:
        """Raises `ConfigError`, `ClientConfigError`, `LogError`, `StoreError`."""
        properties = read_properties(settings.kafka)
        topics = settings.topics
        self.settings: Final = settings
        self.deployment: Final = detection.deployment
        self.reader: Final[AuditReader] = audit_reader_of(settings)
        self.group: Final = responder_group(settings)
        self.probe: Final = ResponderProbe(settings, detection, self.group, self.reader)
        check_topics(self.probe, settings)
        self.intake: Final = Intake(topics)
        self.store: Final = RedisIncidentStore(
            redis_client_address(settings), prefix=settings.redis_prefix
        )
        self.outlet: Final = KafkaOutlet(
            settings.bootstrap_servers,
            {
                "incident": topics.incidents,
                "retraining": topics.retraining,
                "rollback": topics.rollback,
                "followup": topics.followup,
            },
            properties,
        )
        key = source_key(settings)
        decoder = Decoder(detection, None if key is None else SourceKey(key))
        rollback = settings.responder.rollback
        self.desk: Final = IncidentDesk(
            self.store,
            self.outlet,
            HeldWindows(KafkaEventWindows(self.reader, decoder)),
            settings.responder.incidents,
            settings.responder.retraining,
            events_topic=topics.events,
            # Never twice: a flight of that name may still be under way.
            writer=uuid4().hex,
            rollbacks=RollbackDesk(
                self.store,
                KafkaVersionWindows(self.reader, decoder),
                rollback,
                events_topic=topics.events,
            ),
        )
        self._versions: Final = VersionLook(
            self.store,
            self.desk,
            VersionScan(self.reader, decoder, topics.events, rollback),
            rollback,
            self.deployment,
        )
        self._settling: Final = Settling()
        self._settled: dict[FoldPlace, int] = {}

    async def open_store(self) -> None:
        """Name the store, or find it named. Raises `RebuildNeededError` where it was emptied."""
        if await patiently(self.store.epoch) is None:
            done = await self.ask(self.probe.done)
            if any(done.values()):
                raise RebuildNeededError(
                    f"{self.store.name} holds nothing of this responder, and its group "
                    f"{self.group} has read alerts before: Redis was emptied, or this is another "
                    "one, or another prefix. Stop every responder and run `driftsentry respond "
                    "--rebuild`, which reads the topics again"
                )
        await self.store.start(uuid4().hex)

    async def take(self, received: Received) -> None:
        """A handler of the agents: returns when what follows from the record is told."""
        evidence = self.intake.evidence(
            received.topic, received.partition, received.offset, received.value
        )
        if evidence is not None:
            await patiently(lambda: self.desk.take(evidence))

    def handlers(self) -> dict[str, Handler]:
        """By topic."""
        return dict.fromkeys(self.intake.readers, self.take)

    async def ask(self, ask: Callable[[], Answer]) -> Answer:
        """Ask brokers in a thread. Raises `KafkaException`, `LogError`; then with a new client."""
        try:
            return await in_thread(ask, _ASK_S)
        except TimeoutError:
            self.probe.renew()
            raise LogError(f"brokers gave no answer within {_ASK_S:g} s") from None
        except (KafkaException, LogError):
            self.probe.renew()
            raise

    async def settle(self) -> None:
        """Look how far everything is read, and note it. Raises `KafkaException`, `LogError`."""
        look = await self.ask(self.probe.look)
        done = await self.ask(self.probe.done)
        can_settle = {
            place: offset
            for place, offset in self._settling.advance(look, done).items()
            if offset > self._settled.get(place, -1)
        }
        # Versions first: what is known of them at a settled offset must not hang on who looked.
        settled = {
            place: offset
            for place, offset in (await self._versions.look(can_settle, self.ask)).items()
            if offset > self._settled.get(place, -1)
        }
        watermarks = {}
        for place, offset in settled.items():
            times = await self.ask(partial(self.probe.event_times, place.partition, offset))
            watermark_ms = watermark_of(times)
            if watermark_ms is not None:
                watermarks[InputPartition(self.deployment, place.partition)] = watermark_ms
        await self.store.raise_settled(settled)
        await self.store.raise_watermarks(watermarks)
        self._settled.update(settled)

    async def close(self) -> None:
        """Close every client."""
        self.outlet.close()
        self.reader.close()
        await self.store.close()


async def patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer; asked again while Redis, or what is read of Kafka, is away.

    What is lost or unreadable does not come back: that is raised.
    """
    said = ""
    while True:
        try:
            return await ask()
        except (StoreLostError, UnreadableStoreError):
            raise
        except (IncidentStoreError, LogError) as error:
            if str(error) != said:
                said = str(error)
                log.warning("the responder waits: nothing is acknowledged meanwhile", reason=said)
        await asyncio.sleep(_AGAIN_S)


async def run_responder(
    settings: Settings, detection: DetectionConfig, options: RunOptions
) -> None:
    """Run until SIGTERM or SIGINT.

    Raises what it failed of: `RebuildNeededError` and `TopicsUnfitError` need a person.
    """
    stop = asyncio.Event()
    hard_end = threading.Timer(STOP_S, _end_hard)
    hard_end.daemon = True
    pulse = Pulse(math.ceil(options.stall_s / LOOK_S))

    def end() -> None:
        if hard_end.ident is None:
            hard_end.start()
        # From here on that bounds it: Faust joins its threads in the loop, which then stands still.
        pulse.close()
        stop.set()

    hear_signals(end)
    quiet_faust()
    responder = Responder(settings, detection)
    commands = KafkaCommandLog(
        settings.bootstrap_servers,
        settings.topics.commands,
        group=responder.group,
        # Places are offsets alone.
        topic_id_of=lambda topic: topic,
        kafka_properties=read_properties(settings.kafka),
    )
    beside: list[asyncio.Task[None]] = []
    try:
        await responder.open_store()
        app = make_app(settings)
        add_agents(app, responder.handlers())
        log.info("responder started", group=responder.group, pid=os.getpid())
        work: list[Callable[[], Awaitable[None]]] = [
            lambda: _hear(responder, commands),
            lambda: _sweep(responder, settings.responder.sweep_s),
            lambda: _watch(responder, options, lambda: assigned_to(app), stop),
            lambda: _beat(pulse),
        ]
        beside += [asyncio.create_task(_ending(each, stop)) for each in work]
        pulse.start()
        await run_app(app, stop)
    finally:
        # It is not called off: a thread that waits for a broker would keep the process.
        end()
        results = await call_off(beside)
        write_ready(options.ready_file, None)
        pulse.close()
        await asyncio.to_thread(commands.close)
        await responder.close()
    for each in results:
        if isinstance(each, Exception):
            raise each
    log.info("responder stopped", refused=dict(responder.intake.n_refused))


def hear_signals(end: Callable[[], None]) -> None:
    """Have SIGTERM and SIGINT call `end` in the running event loop, and nothing once it is closed.

    A loop's own handlers go with it: who asks a second time, while the process is about to end,
    would kill it.
    """
    loop = asyncio.get_running_loop()

    def ask(_number: int, _frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # closed
            loop.call_soon_threadsafe(end)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)


def _end_hard() -> None:
    log.critical(
        "stopped hard: it did not end in time, as where brokers do not answer; nothing is lost, "
        "and what was not committed comes again"
    )
    os._exit(1)


async def _ending(work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Do it; where it fails, the app is to end."""
    try:
        await work()
    except Exception as error:
        # At once: an end that does not end in time would be told in its place.
        log.error("the responder ends", reason=str(error))  # noqa: TRY400 - its trace comes last
        stop.set()
        raise


async def _beat(pulse: Pulse) -> None:
    """Say that the loop goes on."""
    while True:
        pulse.beat()
        await asyncio.sleep(LOOK_S / 2)


async def _hear(responder: Responder, commands: KafkaCommandLog) -> None:
    """What people say, from the beginning of the topic: hearing it twice is as once."""
    while True:
        for record in await asyncio.to_thread(commands.read):
            word = responder.intake.word(record.offset, record.value, record.timestamp_ms)
            if word is not None:
                await patiently(partial(responder.desk.hear, word.model, word.said))
        await asyncio.sleep(_COMMANDS_S)


async def _sweep(responder: Responder, every_s: float) -> None:
    said = ""
    while True:
        try:
            await responder.settle()
        except (KafkaException, LogError) as error:
            reason = _reason(error)
            if reason != said:
                log.warning("progress cannot be seen; it is looked at again", reason=reason)
            said = reason
        except IncidentStoreError as error:
            if isinstance(error, StoreLostError | UnreadableStoreError):
                raise
        else:
            said = ""
        await patiently(responder.desk.sweep)
        await asyncio.sleep(every_s)


async def _watch(
    responder: Responder,
    options: RunOptions,
    assigned: Callable[[], set[OutputPlace] | None],
    stop: asyncio.Event,
) -> None:
    """Keep the ready file, and end at a standstill."""
    watch = Watch(options.stall_s)
    loop = asyncio.get_running_loop()
    while True:
        if options.parent is not None and os.getppid() != options.parent:
            log.warning("the process that restarts this responder is gone: it ends")
            stop.set()
            return
        seen: Seen | None = None
        with suppress(KafkaException, LogError, IncidentStoreError):
            # Without Redis and brokers nothing can move, and a restart would mend nothing.
            await responder.store.epoch()
            done = await responder.ask(responder.probe.done)
            ends = await responder.ask(responder.probe.readable)
            seen = Seen(assigned(), done, ends)
        state = watch.at(loop.time(), seen)
        write_ready(options.ready_file, state if state.is_ready else None)
        if state.has_changed:
            log.info(
                "responder ready" if state.is_ready else "responder not ready",
                lag=state.lag,
                partitions=state.n_partitions,
            )
        if state.is_stalled:
            raise StalledResponderError(
                f"{state.lag} records are to be read, and nothing was committed for "
                f"{options.stall_s:g} s, though Redis and brokers answer"
            )
        await asyncio.sleep(_WATCH_S)


def _reason(error: KafkaException | LogError) -> str:
    return describe(kafka_error(error)) if isinstance(error, KafkaException) else str(error)
