"""One input topic with eight models: two streams of real data, six that are generated.

Every run of a test reads the same topic, so what two runs say can be compared byte by byte.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
from confluent_kafka import KafkaError, Message, Producer

from schemas.batch import F64
from streams.census import read_sample

START_MS = 1_790_000_000_000
N_PARTITIONS = 4
LATE = 500
"""So many predictions of the census later comes a label."""
NO_ELEC2 = (
    "NO ELEC2: DRIFTSENTRY_DATA names no directory with elec2.csv.gz; a generated stream of the "
    "same shape takes its place"
)


class Sent(NamedTuple):
    """One record to be: partition None leaves the choice to the key."""

    key: bytes
    value: bytes | None
    partition: int | None = None


def event(model: str, i: int, version: str = "1", kind: str = "prediction", **more: object) -> Sent:
    """An event under the key that it needs."""
    shard = more.get("shard")
    fields = {
        "type": kind,
        "event_id": f"{model}-{i}",
        "model_id": model,
        "model_version": version,
        "ts": START_MS + i,
        **more,
    }
    key = model if shard is None else f"{model}/{shard}"
    return Sent(key.encode(), orjson.dumps(fields))


def census(n: int) -> Iterator[Sent]:
    """Real rows, what a real model said of them, and some time later the truth for every fifth."""
    sample = read_sample()
    columns = {name: column.tolist() for name, column in sample.features.items()}
    for i in range(min(n, len(sample))):
        yield event(
            "employment-ma",
            i,
            features={name: column[i] for name, column in columns.items()},
            prediction=int(sample.prediction[i]),
            score=float(sample.probability[i]),
            source=f"county-{i % 7}",
        )
        about = i - LATE
        if about >= 0 and i % 5 == 0:
            truth = int(sample.employed[about])
            yield event("employment-ma", about, kind="label", ts=START_MS + i, label=truth)


def elec2_path() -> Path | None:
    """The real electricity prices, where this machine has them."""
    path = Path(os.environ.get("DRIFTSENTRY_DATA", "")) / "elec2.csv.gz"
    return path if "DRIFTSENTRY_DATA" in os.environ and path.is_file() else None


def elec2(n: int) -> Iterator[Sent]:
    """Electricity prices; the model says what was true the half hour before."""
    path = elec2_path()
    if path is None:
        rng = np.random.default_rng(2)
        prices = np.cumsum(rng.normal(0, 0.01, (n, 7)), axis=0)
        up = np.diff(prices[:, 0], prepend=0.0) > 0
        truth = np.where(up, "UP", "DOWN").tolist()
        names = ["period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer", "day"]
        rows = [dict(zip(names, map(float, row), strict=True)) for row in prices]
    else:
        with gzip.open(path, "rt") as lines:
            table = list(csv.DictReader(lines))[:n]
        truth = [row.pop("class") for row in table]
        rows = [{name: float(value) for name, value in row.items()} for row in table]
    for i, row in enumerate(rows):
        yield event("electricity", i, features=row, prediction=truth[max(0, i - 1)])
        if i % 10 == 0:
            yield event("electricity", i, kind="label", label=truth[i])


def noise(seed: int, n: int, n_features: int) -> F64:
    """Independent normal columns."""
    return np.random.default_rng(seed).normal(size=(n, n_features))


def named(row: Sequence[float]) -> dict[str, object]:
    """Features f0, f1, ..."""
    return {f"f{j}": float(value) for j, value in enumerate(row)}


def abrupt(n: int) -> Iterator[Sent]:
    """Every feature jumps, at two thirds of the way."""
    values = noise(3, n, 10)
    values[2 * n // 3 :] += 1.5
    for i, row in enumerate(values.tolist()):
        p = 1 / (1 + np.exp(-sum(row) / 3))
        yield event("abrupt", i, features=named(row), prediction=bool(p > 0.5), score=float(p))


def rise(n: int) -> Iterator[Sent]:
    """A regression whose inputs and output rise slowly; its version changes in the middle."""
    values = noise(4, n, 6) + np.linspace(0, 3, n)[:, np.newaxis]
    for i, row in enumerate(values.tolist()):
        version = "2" if i >= n // 2 else "1"
        yield event("rise", i, version, features=named(row), prediction=sum(row) * 1.25)


def gaps(n: int) -> Iterator[Sent]:
    """Values go missing, ever more of them: null, absent, or of the wrong kind."""
    rng = np.random.default_rng(5)
    for i, row in enumerate(noise(5, n, 8).tolist()):
        features = named(row)
        for name in list(features):
            if rng.random() < (0.02 if i < n // 2 else 0.3):
                how = int(rng.integers(3))
                if how == 0:
                    del features[name]
                else:
                    features[name] = None if how == 1 else [1]
        yield event("gaps", i, features=features, score=float(rng.random()))


def classes(n: int) -> Iterator[Sent]:
    """Strings and truth values; more classes than are watched, so a bound is reached."""
    rng = np.random.default_rng(6)
    for i in range(n):
        n_classes = 3 if i < n // 2 else 80
        features = {
            "plan": ["basic", "plus", "pro"][int(rng.integers(3))],
            "is_student": bool(rng.random() < (0.2 if i < n // 2 else 0.6)),
            "age": int(rng.integers(18, 90)),
        }
        yield event(
            "classes",
            i,
            features=features,
            prediction=f"c{int(rng.integers(n_classes))}",
            slices={"country": ["NL", "DE"][i % 2]},
        )


def halves(n: int) -> Iterator[Sent]:
    """A model in two shards, which lie in two partitions; probabilities instead of a score."""
    values = noise(7, n, 4)
    values[n // 2 :, 0] -= 2.0
    for i, row in enumerate(values.tolist()):
        p = 0.5 + 0.4 * float(np.tanh(row[0]))
        yield event(
            "halves",
            i,
            features=named(row),
            prediction="yes" if p > 0.5 else "no",
            probabilities={"no": 1 - p, "yes": p},
            shard=i % 2,
        )


def broken(n: int) -> Iterator[Sent]:
    """A model that changes, and every eleventh record of which is refused."""
    values = noise(8, n, 3)
    values[n // 2 :] *= 3.0
    bad: list[bytes | None] = [
        b"not json",
        b"",
        None,
        b'{"type": "prediction"}',
        b'{"type": "prediction", "score": NaN}',
        b"\xff\xfe",
        orjson.dumps({"type": "prediction", "padding": "x" * 70_000}),
    ]
    for i, row in enumerate(values.tolist()):
        if i % 11 == 10:
            value = bad[i // 11 % len(bad)]
            # Large ones are few.
            yield Sent(b"broken", value if i % 1_001 == 10 or value != bad[-1] else b"[")
        elif i % 97 == 5:
            yield Sent(b"broken", event("another", i, features={}).value)
        else:
            yield event("broken", i, features=named(row), prediction=1, unheard_of=i)


def eight_models(n_real: int, n_generated: int, seed: int = 1) -> list[Sent]:
    """The events of all eight models, each model's in their order, mixed."""
    streams = [
        list(census(n_real)),
        list(elec2(n_real)),
        *(list(make(n_generated)) for make in (abrupt, rise, gaps, classes, halves, broken)),
    ]
    turns = np.repeat(np.arange(len(streams)), [len(stream) for stream in streams])
    np.random.default_rng(seed).shuffle(turns)
    iterators = [iter(stream) for stream in streams]
    return [next(iterators[turn]) for turn in turns.tolist()]


def small_stream(
    n: int, first: int = 0, shift_at: int = 1 << 30, *, labelled: bool = False
) -> list[Sent]:
    """n events of models m0 to m3, each in the partition of its number; some are refused.

    `first` is the number of the first one; a stream can be sent in parts. Two features of every
    model move at `shift_at`, and again and again. `labelled`: the models predict classes, and every
    seventh event is the label of one that came 400 before it, from event 10,000 on a wrong one
    every second time.
    """
    sent: list[Sent] = []
    values = np.random.default_rng(9).normal(size=(first + n, 3))
    for i in range(first, first + n):
        number = i % N_PARTITIONS
        model = f"m{number}"
        row = values[i] + [0.0, 2.0 * (i >= shift_at), float(i // 800 % 2)]
        about = i - 400
        if i % 37 == 36:
            sent.append(Sent(model.encode(), b"not json", number))
        elif labelled and about >= 0 and i % 7 == 6:
            said = int(values[about, 0] > 0.0) ^ int(i % 2 == 0 and i >= 10_000)
            one = event(model, about, kind="label", ts=START_MS + i, label=said)
            sent.append(one._replace(partition=number))
        elif labelled:
            p = 1.0 / (1.0 + float(np.exp(-row[0])))
            one = event(model, i, features=named(row.tolist()), prediction=int(p > 0.5), score=p)
            sent.append(one._replace(partition=number))
        else:
            one = event(model, i, features=named(row.tolist()), score=0.5 + 0.1 * (i % 3))
            sent.append(one._replace(partition=number))
    return sent


def produce(bootstrap_servers: str, topic: str, records: Sequence[Sent], first: int = 0) -> None:
    """Append the records, in their order; record i has the timestamp START_MS + first + i."""
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer({
        "bootstrap.servers": bootstrap_servers,
        "enable.idempotence": True,
        "linger.ms": 5,
        "partitioner": "murmur2_random",
        "message.max.bytes": 2_000_000,
    })  # fmt: skip
    for i, sent in enumerate(records):
        partition = -1 if sent.partition is None else sent.partition
        while True:
            try:
                producer.produce(
                    topic,
                    sent.value,
                    sent.key,
                    partition,
                    on_delivery=delivered,
                    timestamp=START_MS + first + i,
                )
            except BufferError:
                producer.poll(0.05)
                continue
            break
        if i % 1_000 == 0:
            producer.poll(0)
    assert producer.flush(30) == 0
    assert not failed, failed[0]
