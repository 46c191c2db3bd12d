"""A whole deployment in one thread: broker, store, processes, time, and a seeded scheduler.

The scheduler picks who does what next; at every call of a port it may let the call fail before or
after its effect, end the process there, or let the rest of the world move on while the process
stands still (long enough, and it is a zombie). The same seed gives the same run.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from schemas.records import TopicPartition
from streams.memory_store import MemoryStore
from streams.ports import Output
from tests.simulation.attacks import MAX_PARTITIONS, attacked_traffic, duty_of, security_command
from tests.simulation.broker import SimulatedBroker
from tests.simulation.ports import Crashed
from tests.simulation.process import COMMANDS, GROUP, TOPICS_OF, Clock, Process
from tests.simulation.traffic import START_MS, command, traffic

MAX_DEPTH: Final = 3
"""How many processes may stand still inside a call at the same time."""
FOCUSES: Final[tuple[tuple[float, tuple[str, ...]], ...]] = (
    (0.0, ()),
    (0.25, ("publish", "in a transaction")),
    (0.4, ("before publish", "after publish")),
    (0.12, ("poll",)),
    (0.12, ("committed", "watermarks", "journal", "manifests", "segments")),
    (0.12, ("save", "reopen", "pause", "resume")),
)
"""Calls in which a run's faults come thick, and how thick; most runs have one kind of them."""
N_KINDS: Final = 5
OF_SHORT_RUNS: Final = (1, 2, 3, 4)
SHORT_RUN: Final = 24
"""Records of each partition in four runs of five: they end while references are being learned, at
half of the cost, and leave time for more seeds. The others have 40 to 90."""
MAX_CALM_TURNS: Final = 600
PATIENT_TURNS: Final = 15
"""A partition whose state could not be had during the faults is tried again within so many."""


class World:
    """One run. `run` gives it its faults and then its peace; the checks are the oracle's."""

    def __init__(self, seed: int, verbose: bool = False) -> None:
        self.seed = seed
        self.duty = duty_of(seed)
        self.verbose = verbose
        self.rng = rng = random.Random(seed)
        self.clock = Clock()
        self.stack: list[Process] = []
        self.broker = SimulatedBroker(self.at)
        self.store = MemoryStore(self.clock.monotonic_s)
        self.n_partitions = rng.choice((1, 1, 2, 2, 3))
        if self.duty == "security":
            self.n_partitions = min(self.n_partitions, MAX_PARTITIONS)
        self.topics = TOPICS_OF[self.duty]
        self.tps = [TopicPartition("events", p) for p in range(self.n_partitions)]
        for topic, n in (
            *(("events", self.n_partitions), (self.topics.alerts, 2), ("dead", 1), ("journal", 1)),
            (COMMANDS, 1),
        ):
            self.broker.create_topic(topic, n)
        self.n_said = 0
        self.is_short = seed % N_KINDS in OF_SHORT_RUNS
        n_records = rng.choice((40, 60, 90))
        if self.is_short:
            n_records = SHORT_RUN
        if self.duty == "security":
            self.to_produce = attacked_traffic(rng, "events", self.n_partitions)
        else:
            self.to_produce = traffic(rng, "events", self.n_partitions, n_records)
        self.fault_rate = rng.choice((0.001, 0.003, 0.01, 0.03))
        self.focused_rate, self.focus = rng.choice(FOCUSES)
        self.is_retention_cruel = rng.random() < 0.15
        self.exactly_once = rng.random() > 0.08
        self.generation = 1
        self.is_calm = False
        self.processes: list[Process] = []
        self.ghosts: list[Process] = []
        self.n_started = 0
        self.n_steps = 0
        self.hits: Counter[tuple[str, str]] = Counter()
        """What happened where: place and kind of fault."""

    def say(self, what: str) -> None:
        """A line of the story, for a seed that is looked at."""
        if self.verbose:
            print(f"{self.clock.now_s:8.1f}  {'  ' * len(self.stack)}{what}")

    # Faults

    def at(self, place: str, *errors: type[Exception]) -> None:
        """The process on top of the stack is here: see what happens to it."""
        if self.is_calm or not self.stack:
            return
        process = self.stack[-1]
        is_in_focus = any(word in place for word in self.focus)
        if self.rng.random() >= (self.focused_rate if is_in_focus else self.fault_rate):
            return
        kind = self.rng.randrange(10)
        if kind < 2:
            self.say(f"process {process.number} is killed {place}")
            self.hits[place, "killed"] += 1
            raise Crashed(place)
        if kind < 5 or not errors:
            if len(self.stack) <= MAX_DEPTH:
                self.hits[place, "paused"] += 1
                self._meanwhile(process, place)
            return
        error = self.rng.choice(errors)
        self.say(f"process {process.number} gets {error.__name__} {place}")
        self.hits[place, error.__name__] += 1
        raise error(f"{place}, in a simulation")

    def _meanwhile(self, process: Process, place: str) -> None:
        """The process stands still; the world does not."""
        self.say(f"process {process.number} stands still {place}")
        if self.rng.random() < 0.6:
            process.log.expire()
        if self.rng.random() < 0.3:
            self.broker.expire_transactions()
        for _ in range(self.rng.randrange(1, 25)):
            self.turn()
        if not process.is_alive:
            raise Crashed(place)
        self.say(f"process {process.number} goes on {place}")

    # One turn

    def turn(self) -> None:
        """Something happens."""
        self.clock.now_s += self.rng.random() * 0.6
        idle = [each for each in self.processes if each.is_alive and not each.n_busy]
        if not idle and self.rng.random() < 0.5 and len(self.processes) < 4:
            self.start()
        elif idle and self.rng.random() < 0.62:
            self._step(self.rng.choice(idle))
        else:
            self.rng.choices(ACTIONS, WEIGHTS)[0](self)
        self.processes = [each for each in self.processes if each.is_alive or each.n_busy]

    def _step(self, process: Process) -> None:
        self.n_steps += 1
        process.run(process.runner.step)
        if process.is_alive:
            foreign = set(process.runner.held) - process.log.owned()
            assert not foreign, f"process {process.number} keeps the state of {foreign}"

    def start(self) -> None:
        """A new process; one with an instance's name may find another one under that name."""
        if len(self.processes) >= 4:
            return
        instance = self.rng.choice((None, "a", "b"))
        self.n_started += 1
        self.say(f"process {self.n_started} starts as {instance}, generation {self.generation}")
        self.processes.append(Process(self, self.n_started, instance))

    def _idle(self) -> Process | None:
        idle = [each for each in self.processes if each.is_alive and not each.n_busy]
        return self.rng.choice(idle) if idle else None

    def _save(self) -> None:
        if (process := self._idle()) is not None:
            process.run(process.background.run_one)

    def _produce(self) -> None:
        if not self.to_produce:
            return
        stack, self.stack = self.stack, []  # no process is in this transaction
        transaction = self.broker.begin("up", self.broker.open_producer("up"))
        for output in self.to_produce[0]:
            self.broker.write(output, transaction)
        fate = self.rng.random()
        if fate > 0.15:  # else it is left open: whoever writes next makes a hole of it
            self.broker.end(transaction, commit=fate > 0.3)
        if fate > 0.3:
            self.to_produce.pop(0)
        self.stack = stack

    def _stop(self) -> None:
        if (process := self._idle()) is not None:
            self.say(f"process {process.number} is stopped")
            process.stop()

    def _kill(self) -> None:
        alive = [each for each in self.processes if each.is_alive]
        if alive:
            process = self.rng.choice(alive)
            self.say(f"process {process.number} is killed")
            process.end()

    def _silence(self) -> None:
        if (process := self._idle()) is not None:
            self.say(f"process {process.number} is thought dead")
            process.log.expire()

    def _bury(self) -> None:
        if self.ghosts:
            self.ghosts.pop(self.rng.randrange(len(self.ghosts))).log.expire()

    def _late_save(self) -> None:
        """A request of a process that is gone arrives."""
        for ghost in self.ghosts:
            if ghost.background.waiting and not self.store.unavailable:
                is_calm, self.is_calm = self.is_calm, True
                ghost.background.run_one()
                self.is_calm = is_calm
                return

    def _wipe(self) -> None:
        self.say("the store is wiped")
        self.store.wipe()

    def _roll_back(self) -> None:
        self.say("the store is rolled back")
        self.store.roll_back(self.rng.choice((1, 2)))

    def _toggle(self) -> None:
        self.store.unavailable = not self.store.unavailable
        self.say(f"the store is {'down' if self.store.unavailable else 'up'}")

    def _expire_transactions(self) -> None:
        self.broker.expire_transactions()

    def _trim(self) -> None:
        """Retention: as a rule behind the newest checkpoint, now and then in front of it."""
        tp = self.rng.choice(self.tps)
        partition = self.broker.partition(tp)
        committed = self.broker.stable_commit(GROUP, tp)
        if committed is None:
            return
        was_down, self.store.unavailable = self.store.unavailable, False
        kept = [stored.next_offset for stored in self.store.manifests(tp)]
        self.store.unavailable = was_down
        limit = max(kept, default=partition.low)
        before = self.rng.randint(partition.low, max(partition.low, limit))
        if self.is_retention_cruel and self.rng.random() < 0.5:
            before = committed.offset
        self.say(f"retention drops what lies before {before} of {tp}")
        self.broker.trim(tp, min(before, partition.stable))

    def _raise_generation(self) -> None:
        self.generation = min(self.generation + 1, 4)
        self.say(f"from now on processes start with generation {self.generation}")

    def _command(self) -> None:
        """A person says something: more often than not of something that there is."""
        self.n_said += 1
        value = self._said()
        self.say(f"a person says {value[:300].decode(errors='replace')}")
        stack, self.stack = self.stack, []
        self.broker.write(Output(COMMANDS, 0, b"", value, (), START_MS + self.n_said))
        self.stack = stack

    def _said(self) -> bytes:
        if self.duty == "security":
            return security_command(self.rng, self.n_said, self.n_partitions)
        alerts = [
            entry.record.value
            for number in range(2)
            for entry in self.broker.records(TopicPartition("alerts", number))
        ]
        return command(self.rng, self.n_said, self.n_partitions, alerts)

    # The whole

    def run(self) -> None:
        """Faults for a while, then peace: everything must be committed within so many turns."""
        while self.to_produce:
            self.turn()
        for _ in range(self.rng.randrange(60)):
            self.turn()
        self._calm_down()
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        for turn in range(MAX_CALM_TURNS):
            self.clock.now_s += 0.7
            while self.ghosts:
                self.ghosts.pop().log.expire()
            if not any(process.is_alive for process in self.processes):
                self.start()
            for process in list(self.processes):
                if process.is_alive:
                    self._step(process)
                    process.run(process.background.run_one)
            self.processes = [each for each in self.processes if each.is_alive]
            may_pause = turn > PATIENT_TURNS
            if all(self.is_done(tp) or (may_pause and self.is_paused(tp)) for tp in self.tps):
                break
        else:
            committed = [self.broker.stable_commit(GROUP, tp) for tp in self.tps]
            raise AssertionError(f"not live after {MAX_CALM_TURNS} turns: {committed}")
        for process in list(self.processes):
            process.stop()

    def run_undisturbed(self) -> None:
        """The same input, one process, no fault."""
        self.is_calm = True
        while self.to_produce:
            self._produce()
        self._come_to_rest()

    def _calm_down(self) -> None:
        self.say("no more faults")
        self.is_calm = True
        self.store.unavailable = False
        self.broker.expire_transactions()
        if self.rng.random() < 0.5:
            self.start()

    def is_done(self, tp: TopicPartition) -> bool:
        """Whether every record is folded and committed."""
        committed = self.broker.stable_commit(GROUP, tp)
        records = self.broker.records(tp)
        last = records[-1].record.offset if records else self.broker.partition(tp).low - 1
        return committed is not None and committed.offset > last

    def is_paused(self, tp: TopicPartition) -> bool:
        """Whether its owner says that it cannot have this partition's state."""
        return any(
            tp in process.runner.adrift and tp in process.log.owned()
            for process in self.processes
            if process.is_alive
        )


WEIGHTED: Final[dict[Callable[[World], None], float]] = {
    World._produce: 14.0,
    World._save: 9.0,
    World.start: 2.5,
    World._bury: 3.0,
    World._late_save: 0.6,
    World._stop: 0.7,
    World._kill: 0.7,
    World._silence: 1.2,
    World._wipe: 0.25,
    World._roll_back: 0.9,
    World._toggle: 0.8,
    World._expire_transactions: 0.4,
    World._trim: 0.9,
    World._raise_generation: 0.6,
    World._command: 1.0,
}
"""What can happen in a turn beside a step of a process, and how often."""
ACTIONS: Final = list(WEIGHTED)
WEIGHTS: Final = list(WEIGHTED.values())
