"""Any order of commits, crashes, replays, switches, losses and resets, chosen and shrunk.

The simulation's scheduler goes for numbers; here hypothesis chooses what happens next, and cuts a
failing story down to the few steps that matter.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from schemas.records import TopicPartition
from streams.ports import Committed
from streams.recovery import OperatorNeededError
from tests.simulation.oracle import check
from tests.simulation.ports import Crashed
from tests.simulation.process import GROUP
from tests.simulation.run import quiet
from tests.simulation.world import World

PLACES = [
    f"{when} {call}"
    for when in ("before", "after")
    for call in ("poll", "publish", "committed", "journal", "manifests", "save")
] + ["in a transaction: record written", "in a transaction: offset added"]


class PlannedWorld(World):
    """A world without chance: only what was planned goes wrong, once."""

    planned: tuple[str, int] | None = None

    def at(self, place: str, *errors: type[Exception]) -> None:
        if self.planned is None or self.planned[0] != place or not self.stack:
            return
        which, self.planned = self.planned[1], None
        kinds: list[type[BaseException]] = [Crashed, *errors]
        raise kinds[which % len(kinds)](place)


class RecoveryMachine(RuleBasedStateMachine):
    """At the end of every story: rest, and the checks of the simulation."""

    def __init__(self) -> None:
        super().__init__()
        self.world: PlannedWorld | None = None

    @initialize(seed=st.integers(0, 50))
    def open(self, seed: int) -> None:
        self.world = PlannedWorld(seed)
        self.world.exactly_once = True
        self.produce(3)
        self.start()
        self.work(4, 1.0)

    @property
    def here(self) -> PlannedWorld:
        assert self.world is not None
        return self.world

    @rule(n=st.integers(1, 3))
    def produce(self, n: int) -> None:
        for _ in range(n):
            self.here._produce()

    @rule()
    def start(self) -> None:
        self.here.start()

    @rule(n=st.integers(1, 6), seconds=st.sampled_from([0.1, 1.0, 4.0]))
    def work(self, n: int, seconds: float) -> None:
        for _ in range(n):
            for process in self.here.processes:
                self.here.clock.now_s += seconds
                if process.is_alive:
                    self.here._step(process)

    @rule()
    def save(self) -> None:
        self.here._save()

    @rule(place=st.sampled_from(PLACES), which=st.integers(0, 4))
    def plan(self, place: str, which: int) -> None:
        self.here.planned = place, which

    @rule(
        what=st.sampled_from(
            [
                *(World._kill, World._stop, World._silence, World._bury, World._late_save),
                *(World._expire_transactions, World._trim, World._raise_generation),
            ]
        )
    )
    def happen(self, what: object) -> None:
        assert callable(what)
        what(self.here)

    @rule(what=st.sampled_from([World._wipe, World._roll_back, World._toggle]))
    def lose(self, what: object) -> None:
        assert callable(what)
        what(self.here)

    @rule()
    def restart(self) -> None:
        """All processes die at once, and another begins."""
        for process in self.here.processes:
            process.end()
        self._forget_the_dead()
        self.here.start()

    @precondition(lambda self: self.world is not None and self.movable())
    @rule()
    def move_an_offset_back_and_restore_it(self) -> None:
        """A tool moves the committed offset: the worker stops and asks, and does nothing else."""
        world = self.here
        tp, committed, offset = self.movable()[0]
        world.planned = None
        for process in world.processes:
            process.end()
        self._forget_the_dead()
        world.broker.commit(GROUP, tp, Committed(offset, ""))
        world.start()
        (process,) = world.processes
        with pytest.raises(OperatorNeededError, match="offset_regression"):
            process.run(process.runner.step)
        process.end()
        self._forget_the_dead()
        world.broker.commit(GROUP, tp, committed)

    def _forget_the_dead(self) -> None:
        world = self.here
        world.processes.clear()
        while world.ghosts:
            world.ghosts.pop().log.expire()

    def movable(self) -> list[tuple[TopicPartition, Committed, int]]:
        """Partitions with a checkpoint, each with its commit and an offset before that one."""
        world = self.here
        if world.store.unavailable:
            return []
        found = []
        for tp in world.tps:
            committed = world.broker.stable_commit(GROUP, tp)
            kept = [stored.next_offset for stored in world.store.manifests(tp)]
            if committed is not None and kept and max(kept) > world.broker.partition(tp).low:
                found.append((tp, committed, max(kept) - 1))
        return found

    @invariant()
    def checkpoints_are_behind_the_commits(self) -> None:
        world = self.world
        if world is None or world.store.unavailable:
            return
        for tp in world.tps:
            for stored in world.store.manifests(tp):
                committed = world.broker.stable_commit(GROUP, tp)
                assert committed is not None
                assert stored.next_offset <= committed.offset

    def teardown(self) -> None:
        if self.world is None:
            return
        self.here.planned = None
        self.here.processes = [each for each in self.here.processes if each.is_alive]
        while self.here.to_produce:
            self.here._produce()
        self.here._calm_down()
        self.here._come_to_rest()
        check(self.here)


def test_any_story_ends_with_the_outputs_of_an_undisturbed_run() -> None:
    with quiet():
        run_state_machine_as_test(
            RecoveryMachine,
            settings=settings(
                max_examples=60,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
