"""A deployment with responders: what they read, written in transactions, and what they say."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import orjson
import yaml
from confluent_kafka import (
    Consumer,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from schemas.incidents import IncidentData
from schemas.retraining import RetrainingData
from streams.kafka_clients import ask_patiently
from streams.kafka_errors import is_passing
from streams.lineage import Lineage, Metadata
from streams.process_guard import ProcessGuard
from tests.delivery.kit import WorkerProcess, commit_for, make_topics, wait_until
from tests.streams.incident_kit import START_MS, alert, moved, silence
from tests.streams.test_retraining_gate import attack, worse
from tests.streams.window_kit import labelled, predicted

NUMBERS: Final = itertools.count(1)
N_PARTITIONS: Final = 2
EVENTS_PARTITION: Final = 2
"""Where the alerts say that their events are."""
N_EVENTS: Final = 600
WAIT_S: Final = 240.0

LINEAGE: Final = Lineage(
    deployment="driftsentry", topic_id="town", partition=EVENTS_PARTITION, start_offset=0
)
"""The fold that alerts and commits speak of."""
METADATA: Final = Metadata(
    lineage=LINEAGE,
    generation=1,
    config="",
    config_from=0,
    n_events=N_EVENTS,
    n_alerts=0,
    n_dead=0,
    checkpoint=-1,
    digest="",
    digest_offset=0,
).dump()
OUTPUTS: Final = ("incidents", "retraining", "rollback", "followup")

Record = tuple[str, str, bytes]
"""Topic (`alerts`, ...), model and value."""


class Town:
    """Input topics of a deployment, shared by the responders of any number of groups."""

    def __init__(self, kafka: str, redis_url: str, directory: Path) -> None:
        self.kafka = kafka
        self.redis_url = redis_url
        self.directory = directory
        self.guard = ProcessGuard()
        self.name = f"town-{os.getpid()}-{next(NUMBERS)}"
        self.admin = AdminClient({"bootstrap.servers": kafka})
        self.inputs = {
            each: f"{self.name}.{each}" for each in ("alerts", "anomalies", "liveness", "commands")
        }
        self.events = f"{self.name}.events"
        make_topics(
            self.admin,
            {
                **{
                    name: 1 if each == "commands" else N_PARTITIONS
                    for each, name in self.inputs.items()
                },
                self.events: EVENTS_PARTITION + 1,
            },
        )
        self._writers = itertools.count()
        self._processes: list[WorkerProcess] = []

    def run(self, command: list[str], log: Path) -> WorkerProcess:
        """Start a process that ends with the town at the latest."""
        process = WorkerProcess(command, guard=self.guard, log=log)
        self._processes.append(process)
        return process

    def write_events(self) -> None:
        """Predictions of `churn` 7 and their labels, a second apart; half of them are wrong."""
        producer = Producer({"bootstrap.servers": self.kafka})
        for number in range(N_EVENTS // 2):
            ts = START_MS + 2_000 * number
            for event in (
                predicted(number, number % 2, ts=ts),
                labelled(number, 1, ts=ts + 1_000),
            ):
                producer.produce(self.events, orjson.dumps(event), b"churn", EVENTS_PARTITION)
        assert producer.flush(60) == 0

    def write(self, records: Sequence[Record], *, is_aborted: bool = False) -> None:
        """One transaction."""
        transactional_id = f"{self.name}.{next(self._writers)}"
        producer = Producer(
            {
                "bootstrap.servers": self.kafka,
                "transactional.id": transactional_id,
                "retry.backoff.ms": 5,
                "retry.backoff.max.ms": 20,
            }
        )
        producer.init_transactions(60)
        producer.begin_transaction()
        for topic, model, value in records:
            partition = 0 if topic == "commands" else sum(model.encode()) % N_PARTITIONS
            producer.produce(self.inputs[topic], value, model.encode(), partition)
        assert producer.flush(60) == 0
        if is_aborted:
            producer.abort_transaction(60)
        else:
            producer.commit_transaction(60)

    def close(self) -> None:
        """End every process."""
        for each in self._processes:
            each.end()
        self.guard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Responders:
    """Responders of one group, with a Redis prefix and output topics of their own."""

    def __init__(self, town: Town, **responder: Any) -> None:
        self.town = town
        self.name = f"{town.name}-{next(NUMBERS)}"
        self.outputs = {each: f"{self.name}.{each}" for each in OUTPUTS}
        make_topics(town.admin, dict.fromkeys(self.outputs.values(), 2))
        settings = {
            "group": self.name,
            "redis_prefix": self.name,
            "topics": {**town.inputs, **self.outputs, "events": town.events},
            "log_format": "json",
            "session_timeout_ms": 6_000,
            "responder": {
                "sweep_s": 0.5,
                "retraining": {
                    "window_offsets": 100,
                    "max_doublings": 0,
                    "min_labels": 1,
                    "min_label_coverage": 0.1,
                },
                **responder,
            },
        }
        self.config = town.directory / f"{self.name}.yaml"
        self.config.write_text(yaml.safe_dump({"worker": settings}), encoding="utf-8")
        self.processes: list[WorkerProcess] = []
        self._numbers = itertools.count()
        self._reader = Consumer(
            {"bootstrap.servers": town.kafka, "group.id": f"{self.name}.responder"}
        )

    def command(self, *options: str) -> list[str]:
        """The command line."""
        command = [sys.executable, "-m", "streams", "respond", "--config", str(self.config)]
        command += ["--bootstrap-servers", self.town.kafka, "--redis-url", self.town.redis_url]
        return [*command, *options]

    def start(self, *options: str, is_alone: bool = True) -> WorkerProcess:
        """Start one, without a supervisor unless told."""
        log = self.town.directory / f"{self.name}-{next(self._numbers)}.log"
        options = ("--no-supervisor", *options) if is_alone else options
        process = self.town.run(self.command(*options), log)
        self.processes.append(process)
        return process

    def start_odd(self, how: str, *options: str) -> WorkerProcess:
        """Start one to which something happens once: `tests.delivery.odd_responder` says what."""
        log = self.town.directory / f"{self.name}-{next(self._numbers)}.log"
        marker = self.town.directory / f"{self.name}-{how}"
        own = [sys.executable, "-m", "tests.delivery.odd_responder", how, str(marker)]
        command = [*own, *self.command(*options)[3:]]
        process = self.town.run(command, log)
        self.processes.append(process)
        return process

    def rebuild(self) -> str:
        """Rebuild, to the end; what it printed."""
        log = self.town.directory / f"{self.name}-{next(self._numbers)}.log"
        process = self.town.run(self.command("--rebuild"), log)
        assert process.wait(WAIT_S) == 0, process.log()
        return process.log()

    def fold(self, offset: int = N_EVENTS) -> None:
        """Commit events as the workers of both duties do that have folded them up to here."""
        for group in (self.name, f"{self.name}.security"):
            place = TopicPartition(self.town.events, EVENTS_PARTITION, offset, METADATA)
            commit_for(self.town.kafka, group, place)

    def committed(self) -> int:
        """Offsets committed over all partitions that are read."""
        asked = [
            TopicPartition(self.town.inputs[each], number)
            for each in ("alerts", "anomalies", "liveness")
            for number in range(N_PARTITIONS)
        ]
        found = ask_patiently(lambda: self._reader.committed(asked, 60), WAIT_S)
        return sum(max(0, each.offset) for each in found)

    def readable(self) -> int:
        """Where committed records end, over the same."""
        config = {"bootstrap.servers": self.town.kafka, "group.id": "none"}
        reader = Consumer({**config, "isolation.level": "read_committed"})
        try:
            return sum(
                ends_of(reader, TopicPartition(self.town.inputs[each], number))[1]
                for each in ("alerts", "anomalies", "liveness")
                for number in range(N_PARTITIONS)
            )
        finally:
            reader.close()

    def wait_read(self) -> None:
        """Wait until the group has committed all that can be read."""
        wait_until(lambda: self._alive() and self.committed() >= self.readable(), self.logs, WAIT_S)

    def records(self, output: str) -> Iterator[tuple[str, bytes | None]]:
        """Every record of an output topic, of each key in its order."""
        config = {"bootstrap.servers": self.town.kafka, "group.id": "none"}
        reader = Consumer({**config, "enable.auto.commit": "false"})
        try:
            topic = self.outputs[output]
            for number in range(2):
                low, high = ends_of(reader, TopicPartition(topic, number))
                if high <= low:
                    continue
                reader.assign([TopicPartition(topic, number, low)])
                at = low
                while at < high:
                    for message in reader.consume(1_000, 1.0):
                        if (error := message.error()) is not None:
                            assert is_passing(error), error
                            continue
                        key, value, offset = message.key(), message.value(), message.offset()
                        assert isinstance(key, bytes)
                        assert offset is not None
                        at = offset + 1
                        yield key.decode(), value if isinstance(value, bytes) else None
        finally:
            reader.close()

    def compacted(self) -> dict[str, bytes]:
        """What compaction leaves of all output topics."""
        latest = {
            f"{output}/{key}": value
            for output in self.outputs
            for key, value in self.records(output)
        }
        return {key: value for key, value in sorted(latest.items()) if value is not None}

    def requests(self) -> list[RetrainingData]:
        """Every record of a request."""
        return [
            RetrainingData.model_validate_json(value)
            for _, value in self.records("retraining")
            if value is not None
        ]

    def incidents(self) -> dict[str, IncidentData]:
        """The incidents as they are now."""
        return {
            key.partition("/")[2]: IncidentData.model_validate_json(value)
            for key, value in self.compacted().items()
            if key.startswith("incidents/")
        }

    def wait_released(self, n: int) -> None:
        """Wait until so many requests are released."""

        def released() -> bool:
            return self._alive() and n <= len(
                {each.request_id for each in self.requests() if each.status == "released"}
            )

        wait_until(released, lambda: f"{self.compacted()}\n{self.logs()}", WAIT_S)

    def stop(self) -> None:
        """End all that run, as asked."""
        for process in self.processes:
            if process.is_running():
                process.stop(60)
        self._reader.close()

    def logs(self) -> str:
        """What they said last."""
        return "\n".join(f"-- {i}:\n{each.log()}" for i, each in enumerate(self.processes))

    def _alive(self) -> bool:
        assert any(each.is_running() for each in self.processes), f"all ended\n{self.logs()}"
        return True


def ends_of(reader: Consumer, place: TopicPartition) -> tuple[int, int]:
    """Where a partition begins and ends."""
    low, high = ask_patiently(lambda: reader.get_watermark_offsets(place, 60), WAIT_S)
    return int(low), int(high)


def story(n_models: int = 6) -> list[Record]:
    """Alerts, findings and silences of `churn` and other models, in the order of their times.

    Of `churn` errors rise at offset 100 of the events, and that is found within the clean window.
    Of others all kinds of things are said, that join incidents and end them.
    """
    rising = moved("error", before=0.1, change_offset=100, found_offset=150)
    more: dict[str, Any] = {
        "signals": [rising],
        "change_offset": 100,
        "opened_offset": 150,
        "trigger_offset": 150,
        "lineage": LINEAGE.id,
    }
    found: list[tuple[float, Record]] = [(0, ("alerts", "churn", worse(1, 0, **more)))]
    for number in range(1, n_models):
        model = f"model-{number}"
        first = 100 * number
        for place, minute in enumerate((0, 50, 120 + number, 400, 401)):
            each = alert(first + place, minute, model_id=model, partition=EVENTS_PARTITION)
            found.append((minute, ("alerts", model, each)))
            over = alert(
                first + place,
                minute + 20,
                model_id=model,
                partition=EVENTS_PARTITION,
                revision=2,
                status="resolved",
                resolution="returned",
            )
            found.append((minute + 20, ("alerts", model, over)))
        quiet = silence(60 + number, model_id=model, partition=EVENTS_PARTITION)
        found.append((60 + number, ("liveness", model, quiet)))
        finding = orjson.loads(attack((5_100, 5_300), number=number))
        finding["resources"][0]["name"] = model
        found.append((90, ("anomalies", model, orjson.dumps(finding))))
    found.sort(key=lambda each: each[0])
    return [record for _, record in found]


def stray(number: int) -> list[Record]:
    """What an aborted transaction holds: it would open incidents, and join others."""
    return [
        ("alerts", "churn", alert(9_000 + number, 30)),
        ("alerts", "model-1", alert(9_100 + number, 80, model_id="model-1")),
        ("anomalies", "churn", attack((110, 150), number=900 + number)),
    ]


def command(kind: str, incident_id: str, model: str, **more: object) -> Record:
    """What a person says."""
    fields: Mapping[str, object] = {
        "kind": kind,
        "command_id": f"{kind}-{next(NUMBERS)}",
        "deployment": "driftsentry",
        "model_id": model,
        "incident_id": incident_id,
        "by": "ana",
        **more,
    }
    return "commands", model, orjson.dumps(fields)
