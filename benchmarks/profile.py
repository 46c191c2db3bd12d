"""Where an event's microseconds go: `python -m benchmarks.profile`.

The worker of `benchmarks.pipeline` on real Kafka, one model, with a watch around each stage. A
stage's time is its own: what it calls that is a stage too is not in it. Wall time, as the loop sees
it. The watches go once a poll, not once an event.
"""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.kit.report import FigureTable, parser, publish
from benchmarks.kit.watch import Watch
from benchmarks.pipeline import (
    N_FEATURES,
    N_PARTITIONS,
    as_the_worker_runs,
    bare,
    driftsentry,
    produce,
)
from detectors import fold
from detectors.drift.adwin import AdwinBank
from detectors.drift.moments import MomentsBank
from detectors.drift.page_hinkley import PageHinkleyBank
from schemas.convert import Converter
from schemas.fast_path import FastPath
from schemas.judge import Judge
from streams import worker
from streams.embedded import EmbeddedValkey
from streams.kafka_log import KafkaLog
from streams.runner import Runner
from tests.kit.kafka_server import KafkaCluster

STAGES: Final[tuple[tuple[Any, str, str], ...]] = (
    (KafkaLog, "poll", "fetch: librdkafka's messages become Python's"),
    (KafkaLog, "_records", "fetch: messages become records"),
    (FastPath, "decode", "decode: parse, take apart"),
    (Judge, "judge", "decode: judge columns"),
    (Converter, "part", "decode: make arrays"),
    (worker, "decode_records", "decode: the rest"),
    (fold, "observe", "fold: standardise"),
    (AdwinBank, "update", "fold: ADWIN"),
    (PageHinkleyBank, "update", "fold: Page-Hinkley"),
    (MomentsBank, "update", "fold: moments"),
    (fold.Fold, "process", "fold: the rest"),
    (Runner, "commit", "commit: transaction"),
    (Runner, "step", "the loop itself"),
)
"""Where each stage begins: an owner, its function, and what it is called here."""


class Stages:
    """Own time of each stage, from the event at which the warm-up is over."""

    def __init__(self) -> None:
        self.own_s: dict[str, float] = defaultdict(float)
        self._inside: list[float] = []
        """Of each stage under way, what its inner stages have taken."""

    def watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inside.append(0.0)
            start_s = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                took_s = time.perf_counter() - start_s
                self.own_s[name] += took_s - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took_s

        return timed

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch the stages of the worker that runs meanwhile."""
        patches = [
            mock.patch.object(owner, name, self.watched(stage, getattr(owner, name)))
            for owner, name, stage in STAGES
        ]
        at = Watch.at

        def begin(watch: Watch, n: int) -> None:
            was_warm = watch.n_start > 0
            at(watch, n)
            if watch.n_start and not was_warm:
                self.own_s.clear()

        patches.append(mock.patch.object(Watch, "at", begin))
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in reversed(patches):
                patch.stop()


def main() -> None:
    """Run, print the table, and with --json the same figures as the last line."""
    options_parser = parser("profile", __doc__)
    options_parser.add_argument("--events", type=int, default=400_000, help="timed events")
    options = options_parser.parse_args()
    n_warm = 60_000
    n = n_warm + (20_000 if options.quick else options.events)
    stages = Stages()
    with KafkaCluster() as cluster, EmbeddedValkey() as valkey:
        servers = cluster.bootstrap_servers
        names = ["one", "driftsentry.alerts", "driftsentry.dead-letter", "driftsentry.journal"]
        admin = AdminClient({"bootstrap.servers": servers})
        made = admin.create_topics([NewTopic(name, N_PARTITIONS) for name in names])
        for future in made.values():
            future.result()
        produce(servers, "one", n, 1)
        with as_the_worker_runs():
            base = bare(servers, "one", "profile-bare", n_warm, n)
            with stages.on():
                figures = driftsentry(servers, valkey.url, "one", "profile", n_warm, n)
    whole_us = figures["us_per_event"]
    own_us = {name: stages.own_s[name] / figures["n_timed"] * 1e6 for _, _, name in STAGES}
    rows = [(name, f"{us / whole_us:.0%}", f"{us:.2f}") for name, us in own_us.items()]
    rows.append(("all of it", "100%", f"{whole_us:.2f}"))
    rows.append(
        ("beside it: bare consume + orjson.loads", f"{base['us_per_event'] / whole_us:.0%}",
         f"{base['us_per_event']:.2f}")
    )  # fmt: skip
    table = FigureTable(
        "profile",
        f"the worker's time for an event of {N_FEATURES} features, by stage",
        ("stage", "of all", "us/event"),
        rows,
    )
    publish(
        "profile",
        [table],
        {"own_us_per_event": own_us, "worker": figures, "bare": base},
        options,
    )


if __name__ == "__main__":
    main()
