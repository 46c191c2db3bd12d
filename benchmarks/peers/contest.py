"""Who takes part, on how many events, and the turns they take."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.kit.children import run_child
from benchmarks.kit.isolated import EnvironmentMissingError
from benchmarks.kit.servers import Servers
from benchmarks.peers.arrow_events import ROWS, n_records, produce_arrow
from benchmarks.peers.environment import quix_python
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
    n_found: int = 0


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
            ARROW: lambda: self._own(self._arrow()),
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
            events_of_record=ROWS,
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
            0 if found is None else len(found),
        )

    def _own(self, task: Task) -> Run:
        self.site.make_topics(task.alerts, n_partitions=1)
        run = self._peer("worker", task)
        published = list(
            read_alerts(task.servers, task.alerts, {}, from_beginning=True, follow=False)
        )
        if run.found and not published:
            raise AssertionError("there were findings and no alert")
        if run.found is not None and len(run.found) != run.n_found:
            raise AssertionError("a finding came twice")
        return run
