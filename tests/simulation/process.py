"""One worker process of a simulation: the real runner on simulated ports, from start to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from schemas.records import TopicPartition
from streams.checkpoints import Cadence, Held
from streams.duties import Duty
from streams.memory_commands import MemoryCommandLog
from streams.ports import CommitError, LogError
from streams.recovery import RecoverySettings
from streams.runner import Runner
from streams.topics import journal_key
from streams.worker import Detection, OutputTopics
from tests.simulation.attacks import KEY, security_config
from tests.simulation.ports import (
    Crashed,
    SimulatedBackground,
    SimulatedCommits,
    SimulatedLog,
    SimulatedStore,
)
from tests.simulation.traffic import config_of

if TYPE_CHECKING:
    from tests.simulation.world import World

GROUP: Final = "g"
TOPICS_OF: Final[Mapping[Duty, OutputTopics]] = {
    "drift": OutputTopics("alerts", "dead", "journal"),
    "security": OutputTopics("anomalies", "dead", "journal"),
}
COMMANDS: Final = "commands"


@dataclass(eq=False)
class Clock:
    """Time that moves when it is told to."""

    now_s: float = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class SimulatedRunner(Runner):
    """The runner; a replay that differs from what was committed is a failure here."""

    def _diverged(self, tp: TopicPartition, held: Held, problem: str) -> bool:
        assert self._has_moved(tp, held.taken_up_at), f"state_divergence at {tp}: {problem}"
        return super()._diverged(tp, held, problem)


def detection_of(world: World, generation: int) -> Detection:
    """What a process folds by that has the configuration of this generation."""
    if world.duty == "security":
        return Detection(security_config(generation), KEY, "security")
    return Detection(config_of(world.seed, generation), None)


@dataclass(eq=False)
class Process:
    """One worker process, from its start to its end."""

    world: World
    number: int
    instance: str | None
    runner: Runner = field(init=False)
    log: SimulatedLog = field(init=False)
    background: SimulatedBackground = field(init=False)
    is_alive: bool = True
    n_busy: int = 0
    """On the stack: it stands still inside a call."""

    def __post_init__(self) -> None:
        world, topics = self.world, TOPICS_OF[self.world.duty]
        self.log = SimulatedLog(world.broker, "events", group=GROUP, instance=self.instance)
        commits = SimulatedCommits(
            self.log,
            journal_topic=topics.journal,
            instance=self.instance,
            exactly_once=world.exactly_once,
        )
        self.log.places = commits.places = self
        self.background = SimulatedBackground(self)
        self.runner = SimulatedRunner(
            log=self.log,
            commits=commits,
            store=SimulatedStore(world.store, self, world.broker, GROUP),
            clock=world.clock,
            # Not every process has the new file yet.
            detection=detection_of(world, max(1, world.generation - world.rng.choice((0, 0, 1)))),
            topics=topics,
            recovery=RecoverySettings(),
            journal_key=lambda tp: journal_key(GROUP, tp),
            cadence=Cadence(
                poll_records=world.rng.choice((4, 11, 37, 200)),
                commit_interval_s=(commit_interval_s := world.rng.choice((0.0, 0.3, 1.5, 4.0))),
                # In two of three worlds an alert waits as long as anything else.
                alert_interval_s=world.rng.choice((0.05, commit_interval_s, commit_interval_s)),
                checkpoint_interval_s=world.rng.choice((0.5, 3.0)),
                view_interval_s=20.0,
            ),
            background=self.background,
            commands=MemoryCommandLog(world.broker, COMMANDS),
        )
        self.log.subscribe(self.runner)

    def at(self, place: str, *errors: type[Exception]) -> None:
        """What happens to this process here."""
        self.world.at(place, *errors)

    def wants(self, chance: float) -> bool:
        """A seeded decision."""
        return self.world.rng.random() < chance

    def run(self, what: Callable[[], object]) -> None:
        """Let the process do something; whatever it raises ends it."""
        self.world.stack.append(self)
        self.n_busy += 1
        try:
            what()
        except Crashed:
            self.end()
        except (LogError, CommitError) as error:
            # What `Runner.run` does on its way out.
            self.world.say(f"process {self.number} ends: {type(error).__name__}: {error}")
            with suppress(Crashed, CommitError):
                self.runner._leave()
            self.end()
        finally:
            self.n_busy -= 1
            self.world.stack.pop()

    def stop(self) -> None:
        """What `Runner.run` does once `stopping` is set."""

        def drain_and_leave() -> None:
            self.runner.drain()
            self.runner._leave()

        self.run(drain_and_leave)
        self.end()

    def end(self) -> None:
        """The process is gone; its membership and its requests under way are not yet."""
        if self.is_alive:
            self.is_alive = False
            self.world.ghosts.append(self)
