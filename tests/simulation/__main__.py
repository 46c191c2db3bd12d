"""Run seeds, or look at one: `python -m tests.simulation --seeds 0:2000`, or `--seed 17`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.run import run_seed, run_seeds


def _range(words: str) -> range:
    first, colon, last = words.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise argparse.ArgumentTypeError(f"{words!r} is no FROM:TO with FROM below TO, as 0:1000")
    return range(int(first), int(last))


def main() -> int:
    """Print how many seeds a second, and every failing one with the command that repeats it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, help="one seed, with its story and the worker's log")
    parser.add_argument("--seeds", type=_range, default="0:1000", metavar="FROM:TO")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.seed is not None:
        outcome = run_seed(options.seed, verbose=True)
        print(outcome)
        return int(bool(outcome.problem))
    started_s = time.perf_counter()
    n_seeds = n_steps = n_faults = n_started = n_failed = 0
    for outcome in run_seeds(options.seeds, options.jobs):
        n_seeds += 1
        n_steps += outcome.n_steps
        n_faults += outcome.hits.total()
        n_started += outcome.n_started
        if outcome.problem:
            n_failed += 1
            print(f"seed {outcome.seed}: {outcome.problem}\n  {outcome.command}", flush=True)
    elapsed_s = time.perf_counter() - started_s
    print(
        f"{n_seeds} seeds in {elapsed_s:.0f} s ({n_seeds / elapsed_s:.1f} a second, "
        f"{options.jobs} processes): {n_steps} turns of the worker's loop, {n_started} processes, "
        f"{n_faults} faults inside calls; {n_failed} failed"
    )
    return int(n_failed > 0)


if __name__ == "__main__":
    sys.exit(main())
