"""Every rule of delivery turned off in turn, to see who notices.

A mutant is a change of a few words in one function of the product, made in the running process. It
is hunted by the simulation, seed after seed, or, where no fault of the simulation can show it, by
the test that is named. One that nobody notices means that the rule is untested.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final, NamedTuple

from tests.simulation.mutant import Mutant
from tests.simulation.mutant_table import MUTANTS
from tests.simulation.patching import ENVIRONMENT, applied
from tests.simulation.run import quiet, run_seed

N_SEEDS: Final = 300
"""A mutant that lives through so many is taken for one that the simulation cannot catch."""
TEST_FAILED: Final = 1


class Verdict(NamedTuple):
    """Who caught a mutant; `layer` is empty where nobody did."""

    mutant: Mutant
    layer: str
    n_seeds: int
    how: str


def hunt(mutant: Mutant, n_seeds: int = N_SEEDS) -> Verdict:
    """Let the simulation, or the named test, look at the product with this mutant in it."""
    if mutant.test:
        return _hunt_by_test(mutant)
    seeds = dict.fromkeys([mutant.seed, *range(n_seeds)])
    with applied(mutant), quiet():
        for n_tried, seed in enumerate(seeds, 1):
            try:
                problem = run_seed(seed).problem
            except Exception as error:  # noqa: BLE001  whatever it breaks, it is noticed
                problem = f"{type(error).__name__}: {error}"
            if problem:
                return Verdict(mutant, "simulation", n_tried, problem)
    return Verdict(mutant, "", n_seeds, "it lives")


def _hunt_by_test(mutant: Mutant) -> Verdict:
    """Run one test in a process of its own, in which the mutant is applied before anything."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.simulation.patching"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:randomly", mutant.test],
        env={**os.environ, ENVIRONMENT: mutant.name},
        capture_output=True,
        text=True,
        check=False,
    )
    # Any other code means that the test did not run: wrong name, no broker, an import that fails.
    if done.returncode == TEST_FAILED:
        return Verdict(mutant, "test", 0, mutant.test)
    return Verdict(mutant, "", 0, f"{mutant.test} ended with {done.returncode}")


def hunt_all(mutants: Sequence[Mutant], n_jobs: int, n_seeds: int = N_SEEDS) -> Iterator[Verdict]:
    """All of them, in several processes."""
    with ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(hunt, mutants, [n_seeds] * len(mutants))


def main() -> int:
    """Print the table; 1 where a mutant lives."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants")
    parser.add_argument("--only", help="the name of one mutant")
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="how many at most")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in {None, mutant.name}]
    started_s = time.perf_counter()
    print(f"{'case':<6}{'mutant':<37}{'caught by':<12}{'seeds':>6}  how")
    verdicts = []
    for verdict in hunt_all(chosen, options.jobs, options.seeds):
        verdicts.append(verdict)
        mutant, layer, n_seeds, how = verdict
        seeds = str(n_seeds) if n_seeds else ""
        row = f"{mutant.rule:<6}{mutant.name:<37}{layer or 'NOBODY':<12}{seeds:>6}  {how[:90]}"
        print(row, flush=True)
    n_alive = sum(not verdict.layer for verdict in verdicts)
    n_simulated = sum(verdict.layer == "simulation" for verdict in verdicts)
    print(
        f"{len(verdicts)} mutants: {n_simulated} caught by the simulation, "
        f"{len(verdicts) - n_simulated - n_alive} by a named test, {n_alive} by nobody "
        f"({time.perf_counter() - started_s:.0f} s)"
    )
    return int(n_alive > 0 or not chosen)


if __name__ == "__main__":
    sys.exit(main())
