"""The Faust app of the responder: how it is made, how it reads, and how it is run.

Faust is asked for little: to share partitions among responders and to hand out records. What it
would do beside that is switched off: tables, a leader, topics of its own, a web server, a directory
for its files, settings from the environment, extensions that are installed by chance. `run_app`
takes the place of Faust's worker, which would take over stdout, the log and the signals.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableSequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

import faust
from faust.auth import Credentials, SASLCredentials, SSLCredentials
from faust.types import AgentT, EventT, StreamT, TransportT
from faust.types.fixups import FixupT

from streams.committed_transport import CommittedConsumer, CommittedTransport, FaustChangedError
from streams.config import Settings
from streams.responder_connection import Connection, connection
from streams.tasks import call_off

_STOP_S: Final = 20.0
_REQUEST_S: Final = 40.0


@dataclass(frozen=True, slots=True)
class Received:
    """One committed record, as it stands in the log."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """As the broker has it; -1 where it has none."""
    key: bytes | None
    value: bytes | None
    """None: a tombstone."""
    headers: tuple[tuple[str, bytes], ...]
    """In their order; a name may come more than once."""


Handler = Callable[[Received], Awaitable[None]]
"""Returns when the record is done with; what it raises ends the app, and the record comes again."""


class StalledError(RuntimeError):
    """The app did not end in time."""


class ResponderApp(faust.App):
    """A Faust app that reads committed records, and leaves alone what is not its business."""

    def _new_transport(self) -> TransportT:
        return CommittedTransport(self.conf.broker_consumer, self)

    def _init_fixups(self) -> MutableSequence[FixupT]:
        # Those that are installed by chance would change how it runs.
        return []

    def _create_directories(self) -> None:
        """None: without tables there is nothing to keep in one."""


def responder_group(settings: Settings) -> str:
    """The responder's own consumer group."""
    return f"{settings.group}.responder"


def make_app(settings: Settings, environ: Mapping[str, str] = os.environ) -> faust.App:
    """An app without agents, see `consume`; call it in the event loop that is to run it.

    `environ` is for the references in the settings alone. Raises `ConfigError` where the settings
    cannot be translated, `FaustChangedError` where the installed Faust is another one.
    """
    for name in ("_new_transport", "_init_fixups", "_create_directories"):
        if not callable(getattr(faust.App, name, None)):
            raise FaustChangedError(f"the installed faust-streaming lacks App.{name}")
    to = connection(settings, environ)
    session_s = settings.session_timeout_ms / 1000
    app = ResponderApp(
        responder_group(settings),
        # Otherwise variables such as BROKER_URL would win over what is said here.
        env={},
        autodiscover=False,
        broker=";".join(f"kafka://{_bracketed(host)}:{port}" for host, port in to.brokers),
        broker_client_id=to.client_id,
        broker_credentials=_credentials(to),
        broker_commit_interval=settings.commit_interval_ms / 1000,
        broker_session_timeout=session_s,
        broker_rebalance_timeout=max(session_s, 10.0),
        broker_heartbeat_interval=min(0.5, session_s / 6),
        # It must not be shorter than a session.
        broker_request_timeout=max(_REQUEST_S, session_s),
        consumer_group_instance_id=settings.instance,
        # What is said of incidents is a function of all alerts that are kept.
        consumer_auto_offset_reset="earliest",
        key_serializer="raw",
        value_serializer="raw",
        processing_guarantee="at_least_once",
        producer_request_timeout=_REQUEST_S,
        # A handler that fails ends the app. Faust would go on with the next record.
        agent_supervisor="mode.CrashingSupervisor",
        store="memory://",
        stream_wait_empty=False,
        stream_buffer_maxsize=256,
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    app.finalize()
    return app


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _credentials(to: Connection) -> Credentials | None:
    if to.mechanism is not None:
        return SASLCredentials(
            username=to.username,
            password=to.password,
            mechanism=to.mechanism,
            ssl_context=to.tls,
        )
    return None if to.tls is None else SSLCredentials(to.tls)


def consume(app: faust.App, topic: str, handle: Handler, *, name: str) -> AgentT[Any]:
    """Have every committed record of a topic handled at least once, in the order of its partition.

    A record's offset is committed only after `handle` has returned. The topic must exist: Faust's
    client would have a broker make it that makes topics by itself.
    """

    async def agent(stream: StreamT[Any]) -> None:
        # With them a record is acknowledged whatever becomes of it, also when its handler fails.
        stream.enable_acks = False
        async for event in stream.events():
            await handle(_received(event))
            event.ack()

    # So it is called in the log.
    agent.__name__ = agent.__qualname__ = name
    # `allow_empty`: a tombstone would be taken for a value that cannot be decoded, and be skipped.
    channel = app.topic(topic, key_type=bytes, value_type=bytes, allow_empty=True)
    return app.agent(channel, name=name)(agent)


def _received(event: EventT[Any]) -> Received:
    message = event.message
    headers = message.headers or ()
    return Received(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=-1 if message.timestamp is None else round(message.timestamp * 1000),
        key=message.key,
        value=message.value,
        headers=tuple(headers.items() if isinstance(headers, Mapping) else headers),
    )


def done_to(app: faust.App) -> dict[tuple[str, int], int]:
    """By assigned partition of the app: everything committed below this offset is handled."""
    done = _consumer(app).done_to()
    return {(tp.topic, tp.partition): offset for tp, offset in done.items()}


def assigned_to(app: faust.App) -> set[tuple[str, int]] | None:
    """Topics and partitions that are the app's; None while they are being shared out."""
    if not app.started or app.rebalancing:
        return None
    consumer = _consumer(app)
    if not consumer.has_assignment:
        return None
    return {(tp.topic, tp.partition) for tp in consumer.assignment()}


def _consumer(app: faust.App) -> CommittedConsumer:
    consumer = app.consumer
    if not isinstance(consumer, CommittedConsumer):
        raise TypeError("the app was not made by make_app")
    return consumer


class _Calm(logging.Filter):
    """Lets each message through now and then: of a broker that is away there are hundreds a second.

    One message is one template, whatever is filled in.
    """

    def __init__(self, every_s: float = 10.0) -> None:
        super().__init__()
        self._every_s = every_s
        self._said_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it was not said within the last seconds."""
        template = str(record.msg)
        last_s = self._said_s.get(template)
        if last_s is not None and record.created - last_s < self._every_s:
            return False
        self._said_s[template] = record.created
        return True


_LOUD: Final = (
    "aiokafka",
    "aiokafka.client",
    "aiokafka.conn",
    "aiokafka.cluster",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
)
"""Filters hold for a logger's own lines alone."""


def quiet_faust(level: int = logging.WARNING) -> None:
    """Let Faust and its client write to the log what is at least this severe."""
    for name in ("aiokafka", "faust", "mode"):
        logging.getLogger(name).setLevel(level)
    for name in _LOUD:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Calm) for each in logger.filters):
            logger.addFilter(_Calm())
    # It warns of each commit that takes longer than the time between two: no harm is done.
    logging.getLogger("mode.timers").setLevel(max(level, logging.ERROR))


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


async def unless_stopped(work: Coroutine[Any, Any, object], stop: asyncio.Event) -> bool:
    """Do it, or call it off once `stop` is set; whether to go on. Raises what it failed of."""
    doing = asyncio.create_task(work)
    told = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({doing, told}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
    finally:
        await call_off((doing, told))
    return not stop.is_set()


async def run_app(app: faust.App, stop: asyncio.Event) -> None:
    """Run the app until `stop` is set. Raises what it failed of, or `StalledError` at its end.

    What is being handled when it ends is given up, and comes again.
    """
    starting = asyncio.create_task(app.start())
    told = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(app.wait_until_stopped())
    try:
        await asyncio.wait({starting, told, ended}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and not starting.cancelled() and starting.exception() is None:
            await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        try:
            await asyncio.wait_for(app.stop(), _STOP_S)
        except TimeoutError:
            raise StalledError(f"the app did not end within {_STOP_S:g} s") from None
        finally:
            results = await call_off((starting, told, ended))
            _consumer(app).close_unused_loop()
    if app.crash_reason is not None:
        raise app.crash_reason
    if isinstance(results[0], Exception):
        raise results[0]
