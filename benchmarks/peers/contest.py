"""Who takes part, on how many events, and the turns they take."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import orjson

from benchmarks.kit.children import run_child
from benchmarks.kit.servers import Servers
from benchmarks.peers.arrow_events import ROWS, n_records, produce_arrow
from benchmarks.peers.environment import EnvironmentMissingError, quix_python
from benchmarks.peers.events import fast_producer, produce
from benchmarks.peers.task import Found, Task
from benchmarks.pipeline import N_PARTITIONS
from streams.alert_reader import read_alerts

BARE: Final = "bare consume + orjson.loads"
OWN: Final = "driftsentry, exactly-once"
ARROW: Final = "driftsentry, Arrow records"
PLAIN: Final = "confluent-kafka + river, plain loop"
QUIX: Final = "Quix Streams + river"
FAUST: Final = "Faust + river"

_FEATURE: Final = "feature:"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many events: `n` for the fast, `n_few` for those who would take minutes."""

    n: int
    n_warm: int
    n_few: int
    n_few_warm: int
    n_arrow: int
    """Of those in Arrow records: some polls of them hold what JSON needs many for."""
    n_reference: int
    """First events of each partition."""

    @classmethod
    def of(cls, n_timed: int) -> Self:
        """A real run."""
        return cls(n_timed + 60_000, 60_000, 40_000, 10_000, 5 * n_timed + 60_000, 500)

    @classmethod
    def quick(cls) -> Self:
        """Enough to see that everything works: both detectors fire on both kinds of change."""
        return cls(32_000, 4_000, 16_000, 4_000, 200_000, 500)


@dataclass(frozen=True, slots=True)
class Run:
    """One turn of one contestant."""

    figures: dict[str, Any]
    n_events: int
    found: frozenset[Found] | None
    """None: it looks for nothing."""


@dataclass(slots=True)
class Contest:
    """The topics are filled; `run` lets everyone take turns."""

    site: Servers
    sizes: Sizes
    event_bytes: float = 0.0
    not_run: list[str] = field(default_factory=list)
    _n_turns: int = 0

    def __post_init__(self) -> None:
        names = ("peers", "peers.few", "peers.arrow", "driftsentry.dead-letter")
        self.site.make_topics(*names, n_partitions=N_PARTITIONS)
        self.site.make_topics("driftsentry.journal", n_partitions=1)
        producer = fast_producer(self.site.kafka)
        self.event_bytes = produce(producer, "peers", self.sizes.n)
        produce(producer, "peers.few", self.sizes.n_few)
        produce_arrow(producer, "peers.arrow", self.sizes.n_arrow)

    def run(self, n_rounds: int) -> dict[str, list[Run]]:
        """Everyone's runs, by name; who cannot take part is in `not_run`."""
        contestants: dict[str, Callable[[], Run]] = {
            BARE: lambda: self._peer("loop", self._task(detect=False)),
            OWN: lambda: self._own(self._task()),
            ARROW: lambda: self._own(self._arrow(), ROWS),
            PLAIN: lambda: self._peer("loop", self._task()),
        }
        try:
            python = quix_python()
        except EnvironmentMissingError as error:
            self.not_run.append(f"{QUIX}: {error}")
        else:
            contestants[QUIX] = lambda: self._peer("quix_app", self._task(), python)
        contestants[FAUST] = lambda: self._peer("faust_app", self._few())
        runs: dict[str, list[Run]] = {name: [] for name in contestants}
        for _ in range(n_rounds):
            for name, contestant in contestants.items():
                print(f"{name} ...", file=sys.stderr, flush=True)
                runs[name].append(contestant())
        return runs

    def _task(self, *, detect: bool = True) -> Task:
        return Task(
            servers=self.site.kafka,
            topic="peers",
            group=self._new_name("group"),
            n_events=self.sizes.n,
            n_records=self.sizes.n,
            n_warm=self.sizes.n_warm,
            n_reference=self.sizes.n_reference,
            detect=detect,
            redis_url=self.site.redis_url,
            alerts=self._new_name("alerts"),
        )

    def _few(self) -> Task:
        return Task(
            servers=self.site.kafka,
            topic="peers.few",
            group=self._new_name("group"),
            n_events=self.sizes.n_few,
            n_records=self.sizes.n_few,
            n_warm=self.sizes.n_few_warm,
            n_reference=self.sizes.n_reference,
        )

    def _arrow(self) -> Task:
        return replace(
            self._task(),
            topic="peers.arrow",
            n_events=self.sizes.n_arrow,
            n_records=n_records(self.sizes.n_arrow),
        )

    def _new_name(self, what: str) -> str:
        self._n_turns += 1
        return f"{what}-{self._n_turns}"

    def _peer(self, module: str, task: Task, python: str | Path = sys.executable) -> Run:
        figures = run_child(f"benchmarks.peers.{module}", task, python=python)
        found = figures.pop("found")
        return Run(
            figures,
            task.n_events,
            None if found is None else frozenset(Found(*one) for one in found),
        )

    def _own(self, task: Task, events_of_record: int = 1) -> Run:
        self.site.make_topics(task.alerts, n_partitions=1)
        figures = run_child("benchmarks.peers.worker", task)
        del figures["found"]
        return Run(figures, task.n_events, found_in(self.site.kafka, task.alerts, events_of_record))


def found_in(kafka: str, alerts: str, events_of_record: int) -> frozenset[Found]:
    """What the alerts on a topic say of features; other signals the peers do not watch.

    As an offset each has the number of the event in its partition.
    """
    found = []
    for message in read_alerts(kafka, alerts, {}, from_beginning=True, follow=False):
        alert = orjson.loads(message.value() or b"null")
        if alert["signal"].startswith(_FEATURE):
            # Without a cooldown only findings at one event share an alert, and each adds itself.
            signal, detector = alert["signal"].removeprefix(_FEATURE), alert["detectors"][-1]
            number = alert["trigger_offset"] * events_of_record + alert["trigger_row"]
            found.append(Found(alert["partition"], number, signal, detector))
    if len(found) != len(set(found)):
        raise AssertionError("an alert came twice")
    return frozenset(found)
