"""News, readers and letters for tests of who is told of what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from pydantic import BaseModel

from schemas.incidents import IncidentData
from schemas.retraining import RetrainingData
from schemas.rollback import RollbackData
from schemas.undelivered import UndeliveredData
from streams.notify_news import KINDS, Kind, TopicEntry
from streams.ports import LogError
from tests.streams.incident_kit import alert, moved
from tests.streams.incident_scene import incidents, written
from tests.streams.test_retraining_gate import attack, only, worse
from tests.streams.test_rollback import settled, switch

KIND_OF: dict[str, Kind] = {each.about: each for each in KINDS}
"""Topics with the names of what they are about."""
TOPIC_OF: dict[type[BaseModel], str] = {
    IncidentData: "incidents",
    RetrainingData: "retraining",
    RollbackData: "rollback",
}
WRITTEN_MS = 1_795_430_000_000


def incident(severity: str = "high", **update: object) -> IncidentData:
    """An open incident; one of another severity is of another alert, and so another incident."""
    number = ("low", "medium", "high", "critical").index(severity) + 1
    (found,) = incidents(alert(number, 0, signals=[moved("error")], severity=severity))
    return found.model_copy(update=update)


def held() -> RetrainingData:
    """A request that an attack holds."""
    return only(worse(), attack((5_100, 5_200)))


def released() -> RetrainingData:
    """One that is released."""
    return only(worse())


def worse_version() -> RollbackData:
    """A rollback request that waits for a person."""
    (request,) = settled(switch()).requests()
    return request


def entry(
    record: BaseModel | None, offset: int = 0, *, about: str = "", key: bytes | None = None
) -> TopicEntry:
    """A record of its topic; None is one without a value."""
    if record is None:
        assert key is not None
        return TopicEntry(about or "incidents", 0, offset, key, None, WRITTEN_MS)
    topic = TOPIC_OF[type(record)]
    name, value = written(record)
    return TopicEntry(about or topic, 0, offset, key or name, value, WRITTEN_MS)


class Queue:
    """A reader of these records, which never really waits."""

    def __init__(self, entries: Iterable[TopicEntry] = ()) -> None:
        self.entries = list(entries)
        self.committed: list[int] = []
        self.pauses: list[float] = []
        self.is_taken_away = False
        self.on_rest: Callable[[], None] = lambda: None
        self.is_whole = False

    def next(self) -> TopicEntry | None:
        if self.entries:
            return self.entries.pop(0)
        self.is_whole = True
        return None

    def done(self, entry: TopicEntry) -> None:
        self.committed.append(entry.offset)

    def rest(self, _entry: TopicEntry, seconds: float, _stopping: threading.Event) -> None:
        self.pauses.append(seconds)
        self.on_rest()

    def is_lost(self, _entry: TopicEntry) -> bool:
        return self.is_taken_away


class Pile:
    """Letters that were written; the first `n_lost` are refused."""

    def __init__(self, n_lost: int = 0) -> None:
        self.letters: list[UndeliveredData] = []
        self.n_lost = n_lost

    def publish(self, letter: UndeliveredData) -> None:
        if self.n_lost:
            self.n_lost -= 1
            raise LogError("no broker")
        self.letters.append(letter)
