"""Seconds from a worker's start to its first committed events: `python -m benchmarks.startup`.

With the kernel cache cold (numba compiles everything) and warm (as the image ships it), in turns;
the events wait in the topic. Cold is an empty NUMBA_CACHE_DIR of its own for each start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Final

from benchmarks.kit.report import FigureTable, parser, publish
from benchmarks.kit.servers import Servers, servers
from benchmarks.kit.worker_process import Progress, worker_process
from benchmarks.peers.events import fast_producer, produce
from benchmarks.pipeline import N_PARTITIONS
from streams.config import Topics

N_EVENTS: Final = 10_000
DETECTION: Final = {"reference_events": 500}
TIMEOUT_S: Final = 300.0
PAUSE_S: Final = 0.02
COLD: Final = "cold kernel cache"
WARM: Final = "warm kernel cache"


def start_s(site: Servers, topics: Topics, group: str, cache: str) -> float:
    """From the start of the process until a commit holds events."""
    progress = Progress(site, topics, group, N_PARTITIONS)
    started_s = time.perf_counter()
    with worker_process(site, topics, group, DETECTION, {"NUMBA_CACHE_DIR": cache}) as process:
        while progress.n_committed() == 0:
            if not process.is_running() or time.perf_counter() - started_s > TIMEOUT_S:
                raise RuntimeError(f"the worker did not get there:\n{process.log_text()}")
            time.sleep(PAUSE_S)
        taken_s = time.perf_counter() - started_s
    progress.close()
    return taken_s


def measure(site: Servers, topics: Topics, n_rounds: int) -> dict[str, list[float]]:
    """Seconds of each start."""
    taken: dict[str, list[float]] = {WARM: [], COLD: []}
    with tempfile.TemporaryDirectory(prefix="driftsentry-warm-") as warm:
        subprocess.run(
            [sys.executable, "-m", "detectors.warm"],
            check=True,
            env={**os.environ, "NUMBA_CACHE_DIR": warm},
            stdout=subprocess.DEVNULL,
        )
        for turn in range(n_rounds):
            print(f"round {turn + 1} ...", file=sys.stderr, flush=True)
            taken[WARM].append(start_s(site, topics, f"warm-{turn}", warm))
            with tempfile.TemporaryDirectory(prefix="driftsentry-cold-") as cold:
                taken[COLD].append(start_s(site, topics, f"cold-{turn}", cold))
    return taken


def main() -> None:
    """Run, print the table, and with --json the same figures as the last line."""
    options_parser = parser("startup", __doc__)
    options_parser.add_argument("--rounds", type=int, default=5)
    options = options_parser.parse_args()
    n_rounds = 1 if options.quick else options.rounds
    topics = Topics()
    with servers() as site:
        site.make_topics(topics.events, n_partitions=N_PARTITIONS)
        site.make_topics(topics.alerts, topics.dead_letter, topics.journal, n_partitions=1)
        produce(fast_producer(site.kafka), topics.events, N_EVENTS)
        taken = measure(site, topics, n_rounds)
    warm_s = median(taken[WARM])
    table = FigureTable(
        "startup",
        f"from the start of the process to the first committed events, {n_rounds} starts each",
        ("start", "of a warm one", "median s", "slowest s"),
        [
            (name, f"{median(of) / warm_s:.1f} x", f"{median(of):.1f}", f"{max(of):.1f}")
            for name, of in taken.items()
        ],
    )
    publish("startup", [table], {"seconds": taken}, options)


if __name__ == "__main__":
    main()
