"""Running seeds: one, or thousands in several processes."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Final, NamedTuple

import structlog

from streams.recovery import OperatorNeededError
from tests.simulation.oracle import check
from tests.simulation.world import World

CHUNK: Final = 10
"""Seeds that a process is given at a time."""


class Outcome(NamedTuple):
    """What one seed came to."""

    seed: int
    problem: str
    """Empty where everything was as it should be."""
    n_steps: int
    n_started: int
    hits: Counter[tuple[str, str]]

    @property
    def command(self) -> str:
        """What repeats it."""
        return f"make sim SEED={self.seed}"


def run_seed(seed: int, verbose: bool = False) -> Outcome:
    """One run with its checks; the worker's own log is silent unless `verbose`."""
    world = World(seed, verbose)
    problem = ""
    try:
        world.run()
        check(world)
    except (AssertionError, OperatorNeededError) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        problem = f"{error or type(error).__name__} ({where.filename}:{where.lineno})"
        if verbose:
            traceback.print_exc()
    return Outcome(seed, problem, world.n_steps, world.n_started, world.hits)


def run_seeds(seeds: Sequence[int], n_jobs: int) -> Generator[Outcome]:
    """Many, in order of the seeds; those that have not begun are dropped with the iterator."""
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    # Not forked: compiled kernels and threads of libraries do not survive that everywhere.
    with ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn")) as pool:
        try:
            for outcomes in pool.map(_run_quietly, chunks):
                yield from outcomes
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_quietly(seeds: Sequence[int]) -> list[Outcome]:
    with quiet():
        return [run_seed(seed) for seed in seeds]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the worker's log, which would cost more than the rest."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
