"""Events per second of the whole worker, beside a loop that only reads and parses.

    python -m benchmarks.pipeline [--events N] [--rounds N] [--quick] [--json]

Real Kafka (started for the run), JSON events of 20 numeric features and some 870 bytes in 4
partitions. The contestants take turns within one run, because machines are noisy:

- `bare`: consume and `orjson.loads`, nothing else, with the worker's own consumer settings;
- `driftsentry, 1 model`: the worker, exactly-once, checkpoints in Valkey, ADWIN and Page-Hinkley on
  every feature, its missingness, the score and the predicted class;
- `driftsentry, 1 model, focus`: with the detector that is on by default instead;
- `driftsentry, 1,000 models`: the same events spread over 1,000 models.

Timed is what comes after a warm-up in which the references are learned.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import orjson
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.kit.detection import RIVERS, joint_beside
from benchmarks.kit.report import FigureTable, parser, publish
from benchmarks.kit.rounds import middle, ratio
from benchmarks.kit.watch import Watch
from schemas.config import DetectionConfig, DetectorsConfig
from streams.config import Settings, Topics
from streams.embedded import EmbeddedValkey
from streams.kafka_clients import consumer_config
from streams.launch import build_runner
from streams.redis_address import RedisUrl
from tests.kit.kafka_server import KafkaCluster

N_FEATURES = 20
N_PARTITIONS = 4
REFERENCE_EVENTS = 50
BARE = "bare consume + orjson.loads"
NAMES = [f"transaction_value_{j:02}" for j in range(N_FEATURES)]


def event(i: int, model: str, values: list[float]) -> bytes:
    """One event as a service would emit it, about 870 bytes."""
    score = 1 / (1 + 2.718281828 ** -values[0])
    return orjson.dumps(
        {
            "type": "prediction",
            "event_id": f"0f8fad5b-d9cb-469f-a165-{i:012}",
            "model_id": model,
            "model_version": "2026-11-01",
            "ts": "2026-11-23T10:00:00.123Z",
            "source": f"client-{i % 500:04}",
            "features": dict(zip(NAMES, values, strict=True)),
            "prediction": int(score > 0.5),
            "score": round(score, 6),
        }
    )


def produce(servers: str, topic: str, n: int, n_models: int) -> float:
    """Fill the topic; returns the mean size of an event."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 20, "batch.size": 1_000_000})
    rng = np.random.default_rng(11)
    n_bytes = 0
    for start in range(0, n, 5_000):
        rows = np.round(rng.normal(size=(min(5_000, n - start), N_FEATURES)), 6).tolist()
        for i, values in enumerate(rows, start):
            model = f"model-{i % n_models:04}"
            value = event(i, model, values)
            n_bytes += len(value)
            # The one model is in every partition, so that all contestants read four of them.
            partition = i % N_PARTITIONS if n_models == 1 else (i % n_models) % N_PARTITIONS
            producer.produce(topic, key=model.encode(), value=value, partition=partition)
        producer.flush()
    return n_bytes / n


def bare(servers: str, topic: str, group: str, n_warm: int, n: int) -> dict[str, float]:
    """Consume and parse; nothing is done with the events."""
    config: dict[str, Any] = dict(
        consumer_config(servers, group, {}, session_timeout_ms=30_000, max_poll_interval_ms=300_000)
    )
    config["auto.offset.reset"] = "earliest"
    consumer = Consumer(config)
    consumer.subscribe([topic])
    loads = orjson.loads
    n_read = 0
    watch = Watch(n_warm)
    while n_read < n:
        messages = consumer.consume(1_024, 0.05)
        for message in messages:
            loads(message.value() or b"null")
        n_read += len(messages)
        watch.at(n_read)
    figures = watch.figures(n_read)
    consumer.close()
    return figures


def driftsentry(
    servers: str,
    redis_url: str,
    topic: str,
    group: str,
    n_warm: int,
    n: int,
    detectors: DetectorsConfig = RIVERS,
) -> dict[str, float]:
    """The worker as `driftsentry worker` builds it, until everything is committed."""
    settings = Settings(
        bootstrap_servers=servers,
        redis_url=RedisUrl(redis_url),
        group=group,
        instance="benchmark",
        topics=Topics(
            events=topic,
            alerts="driftsentry.alerts",
            dead_letter="driftsentry.dead-letter",
            journal="driftsentry.journal",
        ),
        checkpoint_topic_interval_s=0.0,
    )
    runner = build_runner(
        settings,
        DetectionConfig(
            reference_events=REFERENCE_EVENTS,
            detectors=detectors,
            joint=joint_beside(detectors),
        ),
    )
    runner.log.subscribe(runner)
    watch = Watch(n_warm)
    n_folded = n_committed = 0
    while n_committed < n:
        runner.step()
        n_folded = sum(held.worker.n_records for held in runner.held.values())
        n_committed = sum(held.committed for held in runner.held.values())
        watch.at(n_folded)
    figures = watch.figures(n_folded)
    runner.drain()
    runner.checkpointer.close(10)
    runner.log.close()
    runner.commits.close()
    runner.store.close()
    figures["alerts"] = sum(held.worker.n_alerts for held in runner.held.values())
    return figures


@contextmanager
def as_the_worker_runs() -> Iterator[None]:
    """The interpreter as `streams.launch.run` sets it: no cyclic collector."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def main() -> None:
    """Run, print the table, and with --json the same figures as the last line."""
    options_parser = parser("pipeline", __doc__)
    options_parser.add_argument("--events", type=int, default=200_000, help="timed events per run")
    options_parser.add_argument("--rounds", type=int, default=5, help="runs of each contestant")
    options = options_parser.parse_args()
    n_timed, n_rounds = (20_000, 1) if options.quick else (options.events, options.rounds)
    n_warm = 60_000
    n = n_warm + n_timed
    with KafkaCluster() as cluster, EmbeddedValkey() as valkey:
        servers = cluster.bootstrap_servers
        names = ["one", "thousand", "driftsentry.alerts", "driftsentry.dead-letter"]
        admin = AdminClient({"bootstrap.servers": servers})
        made = admin.create_topics(
            [NewTopic(name, N_PARTITIONS) for name in [*names, "driftsentry.journal"]]
        )
        for future in made.values():
            future.result()
        size = produce(servers, "one", n, 1)
        produce(servers, "thousand", n, 1_000)
        contestants: dict[str, Callable[[str], dict[str, float]]] = {
            BARE: lambda g: bare(servers, "one", g, n_warm, n),
            "driftsentry, 1 model": lambda g: driftsentry(servers, valkey.url, "one", g, n_warm, n),
            "driftsentry, 1 model, focus": lambda g: driftsentry(
                servers, valkey.url, "one", g, n_warm, n, DetectorsConfig()
            ),
            "driftsentry, 1,000 models": lambda g: driftsentry(
                servers, valkey.url, "thousand", g, n_warm, n
            ),
        }
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
        with as_the_worker_runs():
            for turn in range(n_rounds):
                for number, (name, contestant) in enumerate(contestants.items()):
                    runs[name].append(contestant(f"benchmark-{turn}-{number}"))
    figures = {name: of_name[middle(of_name)] for name, of_name in runs.items()}
    rates = {name: [run["events_per_s"] for run in of_name] for name, of_name in runs.items()}
    of_bare = {name: ratio(of_name, rates[BARE]) for name, of_name in rates.items()}
    table = FigureTable(
        "pipeline",
        f"{N_FEATURES} features, {size:.0f} bytes, median of {n_rounds} rounds",
        ("contestant", "of bare", "events/s", "us/event", "CPU s per million"),
        [
            (
                name,
                f"{of_bare[name]:.0%}",
                f"{f['events_per_s']:,.0f}",
                f"{f['us_per_event']:.2f}",
                f"{f['cpu_s_per_million']:.2f}",
            )
            for name, f in figures.items()
        ],
    )
    contestants_said = {name: f | {"of_bare": of_bare[name]} for name, f in figures.items()}
    publish(
        "pipeline",
        [table],
        {"event_bytes": round(size), "contestants": contestants_said, "runs": runs},
        options,
    )


if __name__ == "__main__":
    main()
