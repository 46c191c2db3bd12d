"""Milliseconds from an event to its alert, at half of what a worker can do.

    python -m benchmarks.latency [--seconds N] [--share 0.5] [--quick] [--json]

First the worker folds a backlog as fast as it can: that is what it can do here. Then a producer
sends events at half of that pace, 20 of them a second such that one event raises an alert. Latency
is the time from that event's record timestamp, which its producer sets, to the moment at which a
`read_committed` consumer holds the alert. Worker (`driftsentry worker`, its defaults), producer,
consumer, broker and Valkey share the machine.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import numpy as np
import orjson
from confluent_kafka import Consumer

from benchmarks.kit.children import Child
from benchmarks.kit.report import FigureTable, parser, publish
from benchmarks.kit.servers import Servers, servers
from benchmarks.kit.worker_process import Progress, worker_process
from benchmarks.latency.feed import Feed
from benchmarks.peers.contest import Sizes
from benchmarks.peers.scaling import group_rate
from benchmarks.pipeline import N_PARTITIONS
from streams.config import Topics

GROUP: Final = "latency"
DETECTION: Final = {
    "reference_events": 50,
    "policy": {"cooldown_events": 0},
    "detectors": {"adwin": {"enabled": True}, "page_hinkley": {"enabled": True}},
}
SIGNAL: Final = "feature:transaction_value_00"
TARGET_MS: Final = 250
WARM_S: Final = 5.0
PATIENCE_S: Final = 120.0
"""How long the worker may take to catch up after the last event."""


class AlertWatch:
    """A consumer of alerts in a thread: when each arrived after the event that triggered it."""

    def __init__(self, site: Servers, topic: str) -> None:
        self.latency_ms: list[float] = []
        """Of every alert."""
        self.n_expected = 0
        """Alerts of Page-Hinkley on the feature in which the spikes are."""
        self._consumer = Consumer(
            {
                "bootstrap.servers": site.kafka,
                "group.id": "latency-alerts",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.subscribe([topic])
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._is_over.is_set():
            message = self._consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            # An alert's record has the timestamp of the record that triggered it.
            self.latency_ms.append(time.time() * 1e3 - message.timestamp()[1])
            alert = orjson.loads(message.value() or b"null")
            self.n_expected += alert["status"] != "resolved" and any(
                (moved["signal"], moved["found_offset"]) == (SIGNAL, alert["trigger_offset"])
                and "page_hinkley" in moved["detectors"]
                for moved in alert["signals"]
            )

    def close(self) -> None:
        """Stop reading."""
        self._is_over.set()
        self._thread.join()
        self._consumer.close()


def measure(site: Servers, events_per_s: float, timed_s: float) -> dict[str, float]:
    """Feed the worker and watch its alerts. Raises RuntimeError where a spike raised none."""
    topics = Topics()
    site.make_topics(topics.events, n_partitions=N_PARTITIONS)
    site.make_topics(topics.alerts, n_partitions=1)
    feed = Feed(site.kafka, topics.events, events_per_s, WARM_S, timed_s)
    progress = Progress(site, topics, GROUP, N_PARTITIONS)
    watch = AlertWatch(site, topics.alerts)
    try:
        with worker_process(site, topics, GROUP, DETECTION) as worker:
            wait(lambda: "partition assigned" in worker.log_text(), "take up its partitions")
            with Child("benchmarks.latency.feed", feed) as child:
                sent = child.answer()
            wait(lambda: progress.n_committed() >= sent["n_events"], "catch up")
            wait(lambda: watch.n_expected >= sent["n_spikes"], "alert of every spike")
    finally:
        watch.close()
        progress.close()
    latency_ms = np.array(watch.latency_ms)
    return sent | {
        "n_alerts": len(latency_ms),
        "p50_ms": float(np.percentile(latency_ms, 50)),
        "p99_ms": float(np.percentile(latency_ms, 99)),
        "max_ms": float(latency_ms.max()),
    }


def wait(is_so: Callable[[], bool], what: str) -> None:
    """Ask ten times a second. Raises RuntimeError where it takes too long."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"the worker did not {what} within {PATIENCE_S:g} s")
        time.sleep(0.1)


def main() -> None:
    """Run, print the table, and with --json the same figures as the last line."""
    options_parser = parser("latency", __doc__)
    options_parser.add_argument("--seconds", type=float, default=30.0, help="timed")
    options_parser.add_argument("--share", type=float, default=0.5, help="of the worker's capacity")
    options = options_parser.parse_args()
    timed_s = 5.0 if options.quick else options.seconds
    sizes = Sizes.quick() if options.quick else Sizes.of(200_000)
    with servers() as site:
        site.make_topics("driftsentry.dead-letter", n_partitions=N_PARTITIONS)
        site.make_topics("driftsentry.journal", n_partitions=1)
        print("capacity ...", file=sys.stderr, flush=True)
        capacity = group_rate(site, sizes, 1, "latency.capacity")["events_per_s"]
        print("latency ...", file=sys.stderr, flush=True)
        figures = measure(site, capacity * options.share, timed_s)
    table = FigureTable(
        "latency",
        f"event to alert at {options.share:.0%} of capacity ({capacity:,.0f} events/s), "
        f"{timed_s:g} s",
        ("percentile", f"of {TARGET_MS} ms", "ms", "alerts", "events/s", "producer behind, ms"),
        [
            (
                name,
                f"{figures[key] / TARGET_MS:.0%}",
                f"{figures[key]:,.0f}",
                f"{figures['n_alerts']:,}",
                f"{figures['events_per_s']:,.0f}",
                f"{figures['behind_ms']:,.0f}",
            )
            for name, key in (("p50", "p50_ms"), ("p99", "p99_ms"), ("longest", "max_ms"))
        ],
    )
    publish("latency", [table], figures | {"capacity_events_per_s": capacity}, options)


if __name__ == "__main__":
    main()
