"""Events of models whose version changes, and desks that follow them, all in memory."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from schemas.config import DetectionConfig
from schemas.records import Record
from schemas.responder_config import IncidentConfig, RetrainingConfig, RollbackConfig
from schemas.retraining import CleanWindow
from schemas.rollback import FollowUpData, RollbackData
from streams.incident_desk import IncidentDesk
from streams.responder_memory import MemoryIncidentStore, MemoryOutlet, MemoryWindows
from streams.responder_ports import FoldPlace, IncidentStore, ModelName
from streams.retraining_gate import WindowFacts
from streams.rollback_desk import RollbackDesk
from streams.version_facts import Slicing, VersionEvents, VersionTally
from streams.version_look import VersionLook
from streams.version_reader import VersionScan
from streams.window_facts import WindowWish
from streams.window_reader import Decoder, decoded_records
from tests.streams.window_kit import TOPIC, MemoryEvents, labelled, predicted, record

MODEL: Final = ModelName("driftsentry", "churn")
LINEAGE: Final = "f" * 32
"""Of every fold, unless it is told otherwise."""
CONFIG: Final = RollbackConfig(
    window_offsets=400,
    max_doublings=1,
    min_labels=100,
    min_group_labels=30,
    look_every=100,
    look_offsets=40,
)
DETECTION: Final = DetectionConfig()
DECODER: Final = Decoder(DETECTION, None)
Answer = TypeVar("Answer")


def served(
    start: int,
    n: int,
    version: str | Callable[[int], str],
    is_wrong: Callable[[int], bool] = lambda _: False,
    *,
    is_labelled: Callable[[int], bool] = lambda _: True,
    plan: Callable[[int], str] = lambda i: "ab"[i % 2],
    partition: int = 0,
    **more: Any,
) -> list[Record]:
    """n predictions from this offset on, at even places, each with its label or nothing behind.

    Their classes are 0 and 1, by fours; `is_wrong`, `is_labelled`, `plan` are asked by number.
    """
    found = []
    for i in range(n):
        number, guess = start // 2 + i, (i // 4) % 2
        name = version if isinstance(version, str) else version(i)
        event = predicted(
            number, guess, model_version=name, features={"plan": plan(i), "age": i}, **more
        )
        key = str(event["model_id"])
        found.append(record(start + 2 * i, event, partition, key))
        if is_labelled(i):
            true = 1 - guess if is_wrong(i) else guess
            outcome = labelled(number, true, model_id=key)
            found.append(record(start + 2 * i + 1, outcome, partition, key))
    return found


def every(n: int) -> Callable[[int], bool]:
    """One in n."""
    return lambda i: i % n == 0


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """To the end; nothing here waits for anybody."""
    try:
        while True:
            work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


class VersionsOf:
    """`VersionWindows` of records in memory."""

    def __init__(self, events: MemoryEvents) -> None:
        self.events: Final = events
        self.n_readings = 0

    async def tallies(
        self,
        model: ModelName,
        window: CleanWindow,
        lineages: Mapping[int, str],
        new: str,
        old: str | None,
    ) -> Mapping[str, VersionTally] | None:
        """Read, and count."""
        assert {each.partition for each in window.parts} <= lineages.keys()
        self.n_readings += 1
        found = VersionEvents(
            model.model_id,
            window,
            Slicing(),
            max_future_ms=DETECTION.max_future_ms,
            max_late_ms=DETECTION.max_late_ms,
        )
        wish = WindowWish(model.model_id, new, window, ())
        for decoded in decoded_records(self.events, wish, DECODER):
            found.take(decoded)
        return found.tallies(new, old)


async def ask(question: Callable[[], Any]) -> Any:
    """Brokers that answer at once."""
    return question()


class Place:
    """A topic with events, and a responder that follows the versions in it."""

    def __init__(
        self,
        records: Sequence[Record],
        config: RollbackConfig = CONFIG,
        *,
        high: int = 100_000,
        store: MemoryIncidentStore | None = None,
        topic: MemoryOutlet | None = None,
        name: str = "a",
    ) -> None:
        self.events = MemoryEvents(records, high=high, at_once=64)
        self.config = config
        self.store = MemoryIncidentStore() if store is None else store
        self.topic = MemoryOutlet() if topic is None else topic
        self.windows = VersionsOf(self.events)
        self.desk = desk_at(self.store, self.topic, self.windows, config, name)
        self.versions = VersionLook(
            self.store,
            self.desk,
            VersionScan(self.events, DECODER, TOPIC, config),
            config,
            "driftsentry",
        )

    def settle(self, *offsets: int, lineage: str = LINEAGE) -> None:
        """Let the first offsets of partitions 0, 1, ... be settled, one call after the other."""
        wanted = {FoldPlace(partition, lineage): at for partition, at in enumerate(offsets)}
        while True:
            settled = run(self.versions.look(wanted, ask))
            run(self.store.raise_settled(settled))
            if settled == wanted:
                break
        run(self.desk.sweep())

    def followups(self) -> list[FollowUpData]:
        """What stands on the topic."""
        return [FollowUpData.model_validate_json(each) for each in self.told("followup")]

    def requests(self) -> list[RollbackData]:
        """What stands on the topic."""
        return [RollbackData.model_validate_json(each) for each in self.told("rollback")]

    def told(self, kind: str) -> list[bytes]:
        """The latest record of each key of a kind."""
        return [
            value for key, value in self.topic.compacted().items() if key.partition("/")[0] == kind
        ]


def desk_at(
    store: IncidentStore,
    topic: MemoryOutlet,
    windows: VersionsOf,
    config: RollbackConfig,
    name: str,
) -> IncidentDesk:
    """A responder's work."""
    return IncidentDesk(
        store,
        topic,
        MemoryWindows(WindowFacts(9_000, 8_000, 1_600, 0, 1, 2)),
        IncidentConfig(),
        RetrainingConfig(),
        events_topic=TOPIC,
        writer=name,
        rollbacks=RollbackDesk(store, windows, config, events_topic=TOPIC),
    )
