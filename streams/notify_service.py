"""From settings to running sinks: a thread for each, so that a bad receiver holds up no other."""

from __future__ import annotations

import os
import signal
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import orjson
import structlog

from streams.config import Settings
from streams.config_errors import ConfigError, Problem
from streams.credentials import bearer_token, webhook_keys, webhook_url
from streams.kafka_clients import ClientConfigError, require_broker
from streams.kafka_properties import KafkaValue, read_properties
from streams.notify_addresses import WITHIN, AddressPolicy
from streams.notify_alertmanager import AlertmanagerSink, TopicTail
from streams.notify_config import (
    AlertmanagerSettings,
    SinkSettings,
    WebhookSettings,
    alertmanager_endpoint,
    webhook_endpoint,
)
from streams.notify_http import Poster, tls_context
from streams.notify_news import Kind, kinds_of
from streams.notify_reader import GroupReader
from streams.notify_undelivered import Undelivered
from streams.notify_webhook import Counts, WebhookSink
from streams.ports import LogError

log = structlog.get_logger(__name__)

STATUS_S: Final = 60.0
READY_S: Final = 2.0
STOP_S: Final = 40.0
"""A stop that takes longer, since a receiver or brokers hang, ends hard: what was not committed is
told again."""
_STILL_S: Final = 90.0
"""A sink that has not gone round its loop for so long hangs. One attempt may take 60 s."""


@dataclass(slots=True)
class Running:
    """One sink at work."""

    name: str
    run: Callable[[threading.Event], None]
    counts: Callable[[], Counts]
    is_joined: Callable[[], bool]
    """Whether it has its partitions, or has read its topics once."""
    turned_s: Callable[[], float]
    """When its loop was last seen to go on, on the monotonic clock."""
    error: BaseException | None = None
    thread: threading.Thread | None = None

    def is_ready(self, now_s: float) -> bool:
        """Whether it is at work. What its receiver answers does not enter: see its counts."""
        is_alive = self.thread is not None and self.thread.is_alive()
        return is_alive and self.is_joined() and now_s - self.turned_s() < _STILL_S


def run_notify(settings: Settings, ready_file: Path | None) -> int:
    """Tell everybody of everything until SIGTERM or SIGINT; the process's exit code.

    Raises `ConfigError` where a secret, a file or a URL cannot be used.
    """
    stopping = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    with ExitStack() as opened:
        try:
            sinks = open_sinks(settings, opened)
        except (LogError, ClientConfigError) as error:
            log.critical("stopped", reason=str(error))
            return 1
        try:
            failed = _watch(sinks, stopping, ready_file)
        finally:
            stopping.set()
            _join(sinks)
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)
        for each in sinks:
            log.info("notify stopped", sink=each.name, **_said(each.counts()))
        return 1 if failed else 0


def open_sinks(settings: Settings, opened: ExitStack) -> list[Running]:
    """Every receiver of the settings, joined; closed with `opened`.

    Raises `ConfigError`, `ClientConfigError`, `LogError`.
    """
    properties = read_properties(settings.kafka)
    notify = settings.notify
    sinks = [
        _webhook(settings, name, each, properties, opened) for name, each in notify.webhooks.items()
    ]
    sinks += [
        _alertmanager(settings, name, each, properties, opened)
        for name, each in notify.alertmanagers.items()
    ]
    return sinks


def group_of(settings: Settings, name: str) -> str:
    """The consumer group of a receiver."""
    return f"{settings.group}.notify.{name}"


def _webhook(
    settings: Settings,
    name: str,
    webhook: WebhookSettings,
    properties: dict[str, KafkaValue],
    opened: ExitStack,
) -> Running:
    path = f"worker.notify.webhooks.{name}"
    try:
        target = webhook_endpoint(webhook_url(webhook, name), settings.notify)
    except ValueError as error:
        raise ConfigError(Problem(f"{path}.url", str(error))) from None
    keys = webhook_keys(webhook, name)
    poster = Poster(
        target,
        AddressPolicy.of(webhook.allow_private_addresses),
        timeout_s=webhook.timeout_s,
        tls=_tls(webhook, path),
    )
    opened.callback(poster.close)
    kinds = _kinds(settings, webhook)
    # A reader would log every attempt to connect, hundreds until it gives up.
    require_broker(settings.bootstrap_servers, properties)
    reader = GroupReader(
        settings.bootstrap_servers,
        group_of(settings, name),
        list(kinds),
        properties,
        start=webhook.start,
        session_timeout_ms=settings.session_timeout_ms,
    )
    opened.callback(reader.close)
    letters = Undelivered(settings.bootstrap_servers, settings.topics.undelivered, properties)
    sink = WebhookSink(name, webhook, keys, kinds, reader=reader, receiver=poster, letters=letters)
    log.info("a webhook is told", sink=name, place=target.place, topics=list(kinds))
    return Running(
        name,
        sink.run,
        lambda: sink.counts,
        lambda: reader.assigned is not None,
        lambda: reader.turned_s,
    )


def _alertmanager(
    settings: Settings,
    name: str,
    manager: AlertmanagerSettings,
    properties: dict[str, KafkaValue],
    opened: ExitStack,
) -> Running:
    path = f"worker.notify.alertmanagers.{name}"
    try:
        target = alertmanager_endpoint(manager.url, manager)
    except ValueError as error:
        raise ConfigError(Problem(f"{path}.url", str(error))) from None
    poster = Poster(
        target,
        AddressPolicy.of(WITHIN),
        timeout_s=manager.timeout_s,
        tls=_tls(manager, path),
    )
    opened.callback(poster.close)
    kinds = _kinds(settings, manager)
    # A reader would log every attempt to connect, hundreds until it gives up.
    require_broker(settings.bootstrap_servers, properties)
    group = group_of(settings, name)
    tail = TopicTail(settings.bootstrap_servers, group, list(kinds), properties)
    opened.callback(tail.close)
    sink = AlertmanagerSink(
        name,
        manager,
        kinds,
        tail=tail,
        receiver=poster,
        bearer_token=bearer_token(manager, name),
    )
    log.info("an Alertmanager is told", sink=name, place=target.place, topics=list(kinds))
    return Running(
        name,
        sink.run,
        lambda: sink.counts,
        lambda: tail.is_whole,
        lambda: tail.turned_s,
    )


def _kinds(settings: Settings, sink: SinkSettings) -> dict[str, Kind]:
    """By topic what its records are, of those that this receiver is told of."""
    return {getattr(settings.topics, each.about): each for each in kinds_of(sink.about)}


def _tls(sink: SinkSettings, path: str) -> ssl.SSLContext:
    try:
        return tls_context(sink.ca_file)
    except OSError as error:
        text = f"cannot be used: {error.strerror or error}"
        raise ConfigError(Problem(f"{path}.ca_file", text)) from None


def _watch(sinks: list[Running], stopping: threading.Event, ready_file: Path | None) -> bool:
    """Run all until asked to stop, or one of them ends; whether one failed."""
    for each in sinks:
        each.thread = threading.Thread(target=_run, args=(each, stopping), name=each.name)
        each.thread.daemon = True
        each.thread.start()
    status_due_s = time.monotonic() + STATUS_S
    while not stopping.wait(READY_S if ready_file is not None else 0.5):
        now_s = time.monotonic()
        _write_ready(ready_file, sinks, now_s)
        if now_s >= status_due_s:
            status_due_s = now_s + STATUS_S
            for each in sinks:
                log.info("status", sink=each.name, **_said(each.counts()))
    return any(each.error is not None for each in sinks)


def _run(sink: Running, stopping: threading.Event) -> None:
    try:
        sink.run(stopping)
    except LogError as error:
        sink.error = error
        log.critical("stopped", sink=sink.name, reason=str(error))
    except BaseException as error:
        sink.error = error
        log.exception("a receiver's thread has failed; the process ends", sink=sink.name)
    finally:
        # One that has ended would be missed by nobody: the process ends, and is started again.
        stopping.set()


def _join(sinks: list[Running]) -> None:
    deadline_s = time.monotonic() + STOP_S
    for each in sinks:
        if each.thread is not None and each.thread.is_alive():
            each.thread.join(max(0.0, deadline_s - time.monotonic()))
            if each.thread.is_alive():
                log.critical(
                    "stopped hard: a receiver or brokers hang; what was not committed is told again"
                )
                os._exit(1)


def _write_ready(path: Path | None, sinks: list[Running], now_s: float) -> None:
    """Write the file anew while every sink is at work, so that its age tells; else remove it."""
    if path is None:
        return
    if not all(each.is_ready(now_s) for each in sinks):
        path.unlink(missing_ok=True)
        return
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(orjson.dumps({each.name: asdict(each.counts()) for each in sinks}) + b"\n")
    beside.replace(path)


def _said(counts: Counts) -> dict[str, int | bool]:
    """Counts as fields of a line, without what is zero."""
    return {name: value for name, value in asdict(counts).items() if value}
