"""`python -m tests.fuzz [TARGET...]`: fuzz readers of foreign bytes, each in a process of its own.

The time is divided over the targets. Where there is no atheris (it has wheels for Linux on x86-64),
every file of the corpus is run once instead, and the report says so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.registry import MODULES, corpus
from tests.fuzz.runs import HAS_ATHERIS, Nursery, Run, fuzz, keep, replay

NOT_GUIDED = "NO ATHERIS HERE: EVERY FILE OF THE CORPUS RUNS ONCE, AND NOTHING IS FUZZED"


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(MODULES))
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--runs", type=int, help="at most so many inputs for each target")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the fuzzer; 0 takes another each time"
    )
    parser.add_argument("--jobs", type=int, default=1, help="targets at the same time")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input, once")
    parser.add_argument("--corpus", action="store_true", help="run the corpus once, do not fuzz")
    parser.add_argument("--keep", action="store_true", help="put what was found into the corpus")
    given = parser.parse_args(words)
    if unknown := set(given.targets) - MODULES.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if given.replay and len(given.targets) != 1:
        parser.error("--replay needs the one target whose input it is")
    return given


def runs(given: argparse.Namespace) -> Iterator[Run]:
    """Those asked for, in the order of the targets, each as soon as it is there."""
    names = given.targets or list(MODULES)
    if given.replay:
        yield replay(names[0], [given.replay])
        return

    def run(name: str) -> Run:
        if not HAS_ATHERIS or given.corpus:
            return replay(name, corpus(name))
        seconds = given.jobs * given.seconds / len(names)
        return fuzz(name, seconds, given.runs, given.seed, nursery)

    # One at a time they share a process that has imported everything; side by side they cannot.
    nursery = Nursery(names) if given.jobs == 1 and len(names) > 1 else None
    try:
        with ThreadPoolExecutor(max_workers=given.jobs) as pool:
            yield from pool.map(run, names)
    finally:
        if nursery is not None:
            nursery.close()


def line(run: Run) -> str:
    """One line of the report."""
    guided = f"{run.per_second:>9,} {run.n_covered:>9,}" if run.is_guided else f"{'-':>9} {'-':>9}"
    verdict = "FAILED" if run.failure else "ok"
    return f"{run.name:<12} {run.n_executions:>12,} {guided} {run.n_corpus:>8}  {verdict}"


def main(words: Sequence[str] | None = None) -> int:
    """Run, report, and return how the process should end: 1 where an input failed."""
    given = arguments(words)
    if not HAS_ATHERIS:
        print(NOT_GUIDED, file=sys.stderr)
    print(f"{'target':<12} {'executions':>12} {'a second':>9} {'branches':>9} {'corpus':>8}")
    failures = []
    for run in runs(given):
        print(line(run), flush=True)
        if run.failure:
            failures.append(run.failure)
        elif given.keep and run.is_guided:
            print(f"{'':<12} {keep(run.name)} files kept", flush=True)
    for failure in failures:
        print(f"\n{failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
