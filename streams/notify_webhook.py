"""Tells one receiver by signed POSTs, record after record, until each is taken or given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import orjson
import structlog
from tenacity import (
    RetryCallState,
    Retrying,
    retry_all,
    retry_if_exception_type,
    stop_after_delay,
)
from tenacity.wait import wait_exponential_jitter

from schemas.undelivered import UndeliveredData
from streams.notify_config import WebhookSettings
from streams.notify_http import Answer, UnreachableError
from streams.notify_news import Kind, News, NewsError, TopicEntry, is_wanted, news_of
from streams.notify_signing import message_id, signed_headers
from streams.ports import LogError

log = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
REFUSED_FOR_GOOD: Final = frozenset({410, 413})
"""The receiver is gone, or will never take so long a body: asking again is of no use."""


class Reader(Protocol):
    """Where records come from: `streams.notify_reader.GroupReader`."""

    def next(self) -> TopicEntry | None:
        """The next record, or None where there is none for a moment."""

    def done(self, entry: TopicEntry) -> None:
        """It is told, or given up."""

    def rest(self, entry: TopicEntry, seconds: float, stopping: threading.Event) -> None:
        """Wait, and stay a reader."""

    def is_lost(self, entry: TopicEntry) -> bool:
        """Whether somebody else reads it by now."""


class Receiver(Protocol):
    """Who is told: `streams.notify_http.Poster`."""

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send. Raises `UnreachableError`."""


class Letters(Protocol):
    """Where it is said what was not taken: `streams.notify_undelivered.Undelivered`."""

    def publish(self, letter: UndeliveredData) -> None:
        """Write it. Raises `LogError`."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of what was read, since the process began; and how it is now."""

    n_taken: int = 0
    n_passed_over: int = 0
    n_unreadable: int = 0
    n_attempts: int = 0
    n_failed: int = 0
    n_undelivered: int = 0
    is_failing: bool = False
    """Whether the latest attempt failed."""


class NotTakenError(Exception):
    """An attempt failed; the message says how."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s: Final = retry_after_s


class _RefusedForGoodError(NotTakenError):
    """Another attempt would be refused as well."""


class WebhookSink:
    """One receiver of `worker.notify.webhooks`. For one thread."""

    def __init__(
        self,
        name: str,
        settings: WebhookSettings,
        secrets: Sequence[bytes],
        kind_of: Mapping[str, Kind],
        *,
        reader: Reader,
        receiver: Receiver,
        letters: Letters,
    ) -> None:
        """`kind_of`: by topic what its records are."""
        self.name: Final = name
        self.counts = Counts()
        self._settings: Final = settings
        self._secrets: Final = tuple(secrets)
        self._kind_of: Final = dict(kind_of)
        self._reader: Final = reader
        self._receiver: Final = receiver
        self._letters: Final = letters

    def run(self, stopping: threading.Event) -> None:
        """Tell until asked to stop. Raises `LogError`."""
        while not stopping.is_set():
            entry = self._reader.next()
            if entry is not None:
                self.take(entry, stopping)

    def take(self, entry: TopicEntry, stopping: threading.Event) -> None:
        """Tell of one record and commit it; what is stopped or lost on the way is not committed."""
        kind = self._kind_of[entry.topic]
        try:
            news = news_of(kind, entry)
        except NewsError as error:
            if not self.counts.n_unreadable:
                log.warning(
                    "a record cannot be told and is passed over; more of them are only counted",
                    sink=self.name,
                    topic=entry.topic,
                    partition=entry.partition,
                    offset=entry.offset,
                    reason=str(error),
                )
            self._count(n_unreadable=1)
            self._reader.done(entry)
            return
        if not is_wanted(news, self._settings, self._settings.statuses):
            self._count(n_passed_over=1)
            self._reader.done(entry)
            return
        while not self._is_over(entry, stopping):
            if self._told(news, entry, stopping):
                self._reader.done(entry)
                return

    def _told(self, news: News, entry: TopicEntry, stopping: threading.Event) -> bool:
        """Whether it was taken, or given up and that is said."""
        body = body_of(news)
        message = message_id(news.about, entry.key, entry.value)
        n_before = self.counts.n_attempts

        is_too_long = stop_after_delay(self._settings.give_up_s)

        def is_over(state: RetryCallState) -> bool:
            return self._is_over(entry, stopping) or is_too_long(state)

        def attempt() -> None:
            # The pause before it may have been cut short.
            if self._is_over(entry, stopping):
                raise NotTakenError("stopped")
            self._attempt(message, body)

        retrying = Retrying(
            retry=retry_all(retry_if_exception_type(NotTakenError), _is_worth_it),
            stop=is_over,
            wait=_pause,
            sleep=lambda seconds: self._reader.rest(entry, float(seconds), stopping),
            reraise=True,
        )
        try:
            retrying(attempt)
        except NotTakenError as error:
            if self._is_over(entry, stopping):
                return False
            return self._given_up(
                UndeliveredData(
                    sink=self.name,
                    topic=entry.topic,
                    partition=entry.partition,
                    offset=entry.offset,
                    key=entry.key.decode(errors="replace"),
                    message_id=message,
                    type=news.type,
                    reason=str(error),
                    n_attempts=self.counts.n_attempts - n_before,
                    gave_up_ms=int(time.time() * 1000),
                )
            )
        self._count(n_taken=1)
        return True

    def _attempt(self, message: str, body: bytes) -> None:
        headers = signed_headers(self._secrets, message, int(time.time()), body)
        self._count(n_attempts=1)
        try:
            answer = self._receiver.post(body, headers)
        except UnreachableError as error:
            raise self._failed(NotTakenError(str(error))) from None
        if answer.is_success:
            if self.counts.is_failing:
                log.info("the receiver takes again what it is told", sink=self.name)
            self.counts = replace(self.counts, is_failing=False)
            return
        reason = f"status {answer.status}"
        if answer.status in REFUSED_FOR_GOOD:
            raise self._failed(_RefusedForGoodError(reason))
        raise self._failed(NotTakenError(reason, answer.retry_after_s))

    def _failed(self, error: NotTakenError) -> NotTakenError:
        if not self.counts.is_failing:
            log.warning(
                "the receiver does not take what it is told; it is tried again",
                sink=self.name,
                reason=str(error),
            )
        self._count(n_failed=1)
        self.counts = replace(self.counts, is_failing=True)
        return error

    def _given_up(self, letter: UndeliveredData) -> bool:
        log.error(
            "a record was not taken and is given up",
            sink=self.name,
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            message_id=letter.message_id,
            attempts=letter.n_attempts,
            reason=letter.reason,
        )
        try:
            self._letters.publish(letter)
        except LogError as error:
            log.warning(
                "what was not taken cannot be written down; it is told again",
                sink=self.name,
                reason=str(error),
            )
            return False
        self._count(n_undelivered=1)
        return True

    def _is_over(self, entry: TopicEntry, stopping: threading.Event) -> bool:
        return stopping.is_set() or self._reader.is_lost(entry)

    def _count(self, **more: int) -> None:
        now = {name: getattr(self.counts, name) + n for name, n in more.items()}
        self.counts = replace(self.counts, **now)


def body_of(news: News) -> bytes:
    """The body that is sent and signed: the same bytes for the same record."""
    return orjson.dumps({"type": news.type, "timestamp": news.time, "data": news.data})


_grown: Final = wait_exponential_jitter(initial=FIRST_PAUSE_S, max=LONGEST_PAUSE_S)


def _pause(state: RetryCallState) -> float:
    """Twice as long each time, with a random part; or as long as the receiver asks, if longer."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked_s = error.retry_after_s if isinstance(error, NotTakenError) else None
    return min(max(float(_grown(state)), asked_s or 0.0), LONGEST_PAUSE_S)


def _is_worth_it(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome is not None else None
    return not isinstance(error, _RefusedForGoodError)
