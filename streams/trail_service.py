"""`driftsentry audit run`: one process that writes the audit trail until it is told to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Final

import structlog
from confluent_kafka import KafkaException

from streams.config import Settings
from streams.kafka_clients import describe, kafka_error, require_broker
from streams.kafka_properties import read_properties
from streams.ports import CommitError, FencedError, LogError, RefusedError
from streams.responder_probe import duty_groups
from streams.trail_kafka import KafkaTrail
from streams.trail_writer import TrailWriter

log = structlog.get_logger(__name__)

_POLL_S: Final = 0.5
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_HARD_END_S: Final = 20.0
_RETRY_S: Final = 60.0


class NoTransactionsError(Exception):
    """The broker is the mock, which knows no transactions."""


@dataclass(frozen=True, slots=True)
class TrailOptions:
    """What is said on the command line alone."""

    progress_s: float = 3_600.0
    """How often the workers' progress is noted."""
    head_file: Path | None = None
    """Where the head is kept, written anew after each record."""
    accept_reset: bool = False
    """Go on with a new chain where the topic is not what was left there."""


@dataclass(slots=True)
class TrailService:
    """The loop around a writer. `stopping` is set from a signal."""

    writer: TrailWriter
    options: TrailOptions
    now_s: Callable[[], float] = time.monotonic
    stopping: threading.Event = field(default_factory=threading.Event)
    _due_s: float = 0.0
    _told_head: str = ""

    def run(self) -> None:
        """Until it is stopped. Raises `TrailLostError`, `FencedError`, `RefusedError`.

        What passes is waited for: the trail is then taken up again from what is committed.
        """
        pause_s, is_start, is_taken = _FIRST_PAUSE_S, True, False
        while not self.stopping.is_set():
            try:
                if not is_taken:
                    self._take_up(is_start=is_start)
                    is_taken, is_start = True, False
                self._work()
                pause_s = _FIRST_PAUSE_S
            except (FencedError, RefusedError):
                raise
            except (CommitError, LogError, KafkaException, TimeoutError) as error:
                is_taken, reason = False, _reason(error)
                log.warning("the audit trail is taken up again", reason=reason, after_s=pause_s)
                self.stopping.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if is_taken:
            self.writer.end()
            self._keep_head()

    def _take_up(self, *, is_start: bool) -> None:
        self.writer.take_up(is_start=is_start)
        for lost in self.writer.lost:
            log.warning("source records were gone before the audit trail had them", **lost)
        head = self.writer.head
        log.info("audit trail taken up", chain=self.writer.chain, head=str(head))
        self._keep_head()

    def _work(self) -> None:
        n_unreadable = self.writer.n_unreadable
        self.writer.step(_POLL_S)
        if self.writer.n_unreadable > n_unreadable:
            n = self.writer.n_unreadable - n_unreadable
            log.warning("records of a source cannot be read; that is noted", n_records=n)
        if self.now_s() >= self._due_s:
            self._due_s = self.now_s() + self._note_progress()
        self._keep_head()

    def _note_progress(self) -> float:
        """Note it, if it can be seen; in how many seconds it is to be looked at again."""
        every_s = self.options.progress_s
        try:
            workers = self.writer.log.progress()
        except (LogError, KafkaException, TimeoutError) as error:
            log.warning("progress cannot be seen; it is looked at again", reason=_reason(error))
            return min(_RETRY_S, every_s)
        self.writer.note_progress(workers, every_s)
        log.info("audit trail head", head=str(self.writer.head))
        return every_s

    def _keep_head(self) -> None:
        path, head = self.options.head_file, str(self.writer.head)
        if path is None or self.writer.head is None or head == self._told_head:
            return
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            aside.write_text(f"{head}\n", encoding="ascii")
            aside.replace(path)
        except OSError as error:
            log.warning("the head was not kept in its file", reason=str(error))
        self._told_head = head


def run_trail(settings: Settings, options: TrailOptions) -> None:
    """Write the trail until SIGTERM or SIGINT; on the main thread.

    Raises `TrailLostError`, `TrailTopicError`, `NoTransactionsError`, `FencedError`,
    `RefusedError`, `ConfigError`, `ClientConfigError`; `NoBrokerError` where none answers at the
    start. Later it waits for them.
    """
    # First: each client would log every attempt to connect, hundreds until it gives up.
    require_broker(settings.bootstrap_servers, read_properties(settings.kafka))
    trail = KafkaTrail(settings)
    try:
        if trail.is_mock():
            raise NoTransactionsError(
                "this is librdkafka's mock broker, which knows no transactions: an audit trail "
                "needs a real one"
            )
        writer = TrailWriter(
            trail,
            groups=duty_groups(settings),
            release=release(),
            now_ms=lambda: time.time_ns() // 1_000_000,
            accept_reset=options.accept_reset,
        )
        service = TrailService(writer, options)
        hard_end = threading.Timer(_HARD_END_S, _end_hard)
        hard_end.daemon = True

        def stop(number: int, _frame: FrameType | None) -> None:
            log.info("stopping", signal=signal.Signals(number).name)
            if not service.stopping.is_set():
                service.stopping.set()
                hard_end.start()

        before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
        try:
            service.run()
            log.info("audit trail stopped", head=str(writer.head), n_written=writer.n_written)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            hard_end.cancel()
    finally:
        trail.close()


def release() -> str:
    """The version of this program."""
    try:
        return version("driftsentry")
    except PackageNotFoundError:
        return "not installed"


def _reason(error: Exception) -> str:
    if isinstance(error, KafkaException):
        return describe(kafka_error(error))
    return str(error) or "no broker answered in time"


def _end_hard() -> None:
    log.critical(
        "stopped hard: it did not end in time, as where brokers do not answer; nothing is lost, "
        "and what was not committed comes again"
    )
    os._exit(1)
