"""How the worker scales: one and several in a group, all beginning at one moment.

The events lie in one Kafka transaction. The workers join, share the partitions and wait; when the
transaction is committed, all of its events can be read at once.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

from benchmarks.kit.children import Child
from benchmarks.kit.report import FigureTable
from benchmarks.kit.servers import Servers
from benchmarks.peers.contest import Sizes
from benchmarks.peers.events import fast_producer, produce
from benchmarks.peers.task import Task
from benchmarks.pipeline import N_PARTITIONS


def worker_rates(
    site: Servers, sizes: Sizes, n_workers: int, n_rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Figures of each round, by number of workers; they take turns."""
    rates: dict[str, list[dict[str, float]]] = {"1": [], str(n_workers): []}
    for turn in range(n_rounds):
        for n in (1, n_workers):
            print(f"{n} workers ...", file=sys.stderr, flush=True)
            rates[str(n)].append(group_rate(site, sizes, n, f"scaling.{turn}.{n}"))
    return rates


def group_rate(site: Servers, sizes: Sizes, n_workers: int, topic: str) -> dict[str, float]:
    """Events per second of all workers, from the commit until everything is committed by them."""
    site.make_topics(topic, f"{topic}.alerts", n_partitions=N_PARTITIONS)
    producer = fast_producer(site.kafka, topic)
    producer.init_transactions(60)
    producer.begin_transaction()
    produce(producer, topic, sizes.n)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Child(
                    "benchmarks.peers.worker",
                    Task(
                        servers=site.kafka,
                        topic=topic,
                        group=topic,
                        n_events=sizes.n // n_workers,
                        n_records=sizes.n // n_workers,
                        n_warm=0,
                        n_reference=sizes.n_reference,
                        redis_url=site.redis_url,
                        alerts=f"{topic}.alerts",
                        n_own_partitions=N_PARTITIONS // n_workers,
                        instance=f"worker-{number}",
                    ),
                )
            )
            for number in range(n_workers)
        ]
        for worker in workers:
            worker.answer()
        started_s = time.monotonic()
        producer.commit_transaction(60)
        answers = [worker.answer() for worker in workers]
    wall_s = max(answer["ended_s"] for answer in answers) - started_s
    return {
        "events_per_s": sizes.n / wall_s,
        "cpu_s_per_million": sum(a["cpu_s_per_million"] for a in answers) / n_workers,
        "peak_rss_mib": max(answer["peak_rss_mib"] for answer in answers),
    }


def scaling_table(rates: dict[str, list[dict[str, float]]]) -> FigureTable:
    """The best of each number of workers."""
    fastest = {n: max(of, key=lambda run: run["events_per_s"]) for n, of in rates.items()}
    alone = fastest["1"]["events_per_s"]
    return FigureTable(
        "workers",
        "workers of one group on this machine, beside the broker and Valkey; "
        "references are learned within the time; the fastest round of each",
        ("workers", "of one", "events/s", "CPU s per million", "peak MiB of one"),
        [
            (
                n,
                f"{figures['events_per_s'] / alone:.2f} x",
                f"{figures['events_per_s']:,.0f}",
                f"{figures['cpu_s_per_million']:.1f}",
                f"{figures['peak_rss_mib']:,.0f}",
            )
            for n, figures in fastest.items()
        ],
    )
