"""One responder process: what its agents hand records to, and what runs beside them.

Beside the agents run three loops: the words of people, the sweep with its look at progress, and the
watch that says whether it is ready and ends the process where it has come to a standstill. What any
of them raises ends the app, and so the process; what it had not acknowledged comes again.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
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
    hear_signals,
    make_app,
    quiet_faust,
    responder_group,
    run_app,
    unless_stopped,
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
from streams.responder_supervisor import mind_parent
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

_EARLY_STOP_S: Final = 5.0
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

    async def open(self) -> None:
        """Look at the topics and the store. Raises `TopicsUnfitError`, `RebuildNeededError`."""
        await self.check_topics()
        await self.open_store()

    async def check_topics(self) -> None:
        """Raises `TopicsUnfitError`; `KafkaException`, `LogError` where brokers do not answer."""
        await self.ask(partial(check_topics, self.probe, self.settings))

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
    commands: KafkaCommandLog | None = None
    beside: list[asyncio.Task[None]] = []

    def begin(work: Callable[[], Awaitable[None]]) -> None:
        beside.append(asyncio.create_task(_ending(work, stop)))

    try:
        if options.parent is not None:
            begin(partial(mind_parent, options.parent, stop))
        if await unless_stopped(responder.open(), stop):
            commands = _commands(settings, responder.group)
            app = make_app(settings)
            add_agents(app, responder.handlers())
            log.info("responder started", group=responder.group, pid=os.getpid())
            begin(partial(_hear, responder, commands))
            begin(partial(_sweep, responder, settings.responder.sweep_s))
            begin(partial(_watch, responder, options, partial(assigned_to, app)))
            begin(partial(_beat, pulse))
            pulse.start()
            await run_app(app, stop)
        elif not any(each.done() and each.exception() for each in beside):
            _end_soon()
    finally:
        # It is not called off: a thread that waits for a broker would keep the process.
        end()
        results = await call_off(beside)
        write_ready(options.ready_file, None)
        pulse.close()
        if commands is not None:
            await asyncio.to_thread(commands.close)
        await responder.close()
    for each in results:
        if isinstance(each, Exception):
            raise each
    log.info("responder stopped", refused=dict(responder.intake.n_refused))


def _end_soon() -> None:
    """End with 0 though a thread still waits for brokers, as the end of a loop does for the thread.

    Nothing has begun that it would leave undone.
    """
    timer = threading.Timer(_EARLY_STOP_S, os._exit, (0,))
    timer.daemon = True
    timer.start()


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


def _commands(settings: Settings, group: str) -> KafkaCommandLog:
    return KafkaCommandLog(
        settings.bootstrap_servers,
        settings.topics.commands,
        group=group,
        # Places are offsets alone.
        topic_id_of=lambda topic: topic,
        kafka_properties=read_properties(settings.kafka),
    )


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
) -> None:
    """Keep the ready file, and end at a standstill."""
    watch = Watch(options.stall_s)
    loop = asyncio.get_running_loop()
    while True:
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
