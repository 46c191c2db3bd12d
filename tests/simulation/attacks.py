"""What the producers upstream send where the security duty is simulated: clients, and one attacker.

A model needs at least 200 events before its clients are judged. So the first record of each model
is an Arrow stream of as many: then a few dozen records bring findings, and later streams the
thousand events after which the table of sources looks what is held against whom.
"""

from __future__ import annotations

import random
from typing import Final

import numpy as np
import orjson

from schemas.batch import F64
from schemas.config import DetectionConfig, LabelsConfig
from schemas.source_hash import SourceKey
from streams.duties import Duty
from streams.ports import Output
from tests.delivery.attacked import WEIGHTS, honest, probability
from tests.schemas.arrow_streams import json_of, stream_of
from tests.simulation.traffic import BAD, EVERYTHING, START_MS
from tests.streams.calibration_kit import calibration, set_calibration
from tests.streams.events import label

N_LEARNED: Final = 200
N_SOURCES: Final = 5
ATTACKERS: Final = ("mallory", "trudy", "eve")
STEP: Final = 0.05
N_QUIET: Final = 1_100
"""Events at the end of a partition, after which what was found is over."""
KEY: Final = SourceKey(b"a key that only the simulation has")
MAX_PARTITIONS: Final = 2
SHARE: Final = 30
"""One seed in so many simulates the security duty, whose fold costs more than that of drift."""
N_RECORDS: Final = 24
"""Of each partition, beside those of which populations are learned and anomalies end."""


def duty_of(seed: int) -> Duty:
    """What the workers of a run are for."""
    return "security" if seed < EVERYTHING and seed % SHARE == 7 else "drift"


def security_config(generation: int) -> DetectionConfig:
    """The config of a generation: other detectors, labels and bounds in every second one."""
    is_even = generation % 2 == 0
    return DetectionConfig.model_validate({
        "generation": generation,
        "labels": LabelsConfig(enabled=is_even, max_early_ms=20, max_pending=30, max_early=3),
        "security": {
            "learn_events": N_LEARNED,
            "max_models": 3,
            "max_sources": 16 if generation < 3 else 17,
            "admit_after": 1 + generation % 2,
            "quiet_events": 1_024,
            "detectors": {
                "neighbours": {"probing": {"flips": 2, "near": 2}},
                "provenance": {"members": 2, "capacity": 256},
                "exposure": {"enabled": is_even},
                "label_poisoning": {"enabled": is_even},
            },
        },
    })  # fmt: skip


def attacked_traffic(rng: random.Random, topic: str, n_partitions: int) -> list[list[Output]]:
    """The records of each partition, cut into the transactions in which they are produced."""
    numbers = np.random.default_rng(rng.randrange(1 << 32))
    queues: dict[int, list[list[Output]]] = {}
    for partition in range(n_partitions):
        records = _records(numbers, topic, partition)
        queues[partition] = []
        while records:
            size = rng.choice((1, 4, 12, 30))
            queues[partition].append(records[:size])
            records = records[size:]
    order = [partition for partition, chunks in queues.items() for _ in chunks]
    rng.shuffle(order)
    return [queues[partition].pop(0) for partition in order]


def _records(rng: np.random.Generator, topic: str, partition: int) -> list[Output]:
    """Events of two versions of a model, with refused records and labels between them.

    Every fourth record is a stream of two dozen. Of four events three are attackers', each of whom
    goes along the boundary from a place of its own.
    """
    model = f"m{partition}"
    key = model.encode()
    edges = on_boundary(honest(rng, len(ATTACKERS)))
    found: list[Output] = []
    n, n_events = N_RECORDS, 0

    def send(value: bytes) -> None:
        found.append(Output(topic, partition, key, value, (), START_MS + len(found)))

    def events(version: str, n_rows: int, *, is_attack: bool) -> list[dict[str, object]]:
        nonlocal n_events
        numbers = range(n_events, n_events + n_rows)
        sources = [f"client-{i % N_SOURCES}" for i in numbers]
        x = honest(rng, n_rows)
        for row, i in enumerate(numbers):
            if is_attack and (which := i % 4):
                sources[row] = ATTACKERS[which - 1]
                x[row] = edges[which - 1] + STEP * x[row]
        n_events += n_rows
        x = np.round(x, 6)
        rows = zip(numbers, x.tolist(), probability(x).tolist(), sources, strict=True)
        return [_event(model, version, *row) for row in rows]

    send(stream_of(events("1", N_LEARNED, is_attack=False)))
    for i in range(n):
        if i == n // 2:
            send(stream_of(events("2", N_LEARNED, is_attack=False)))
        if i % 17 == 16:
            send(BAD[i // 17 % len(BAD)])
        if i % 6 == 5:
            send(label(n_events - 4, i % 2, model=model, ts=START_MS + n_events))
        version = "2" if i > 0.7 * n and i % 3 == 0 else "1"
        if i % 4 == 2:
            send(stream_of(events(version, 24, is_attack=True)))
        else:
            send(json_of(*events(version, 1, is_attack=True)))
    for _ in range(2):
        send(stream_of(events("1", N_QUIET // 2, is_attack=False)))
    return found


def security_command(rng: random.Random, number: int, n_partitions: int) -> bytes:
    """What a person says: a calibration, or what is nothing to this duty, or to nobody."""
    what = rng.choice(("calibration", "calibration", "mute", "nonsense"))
    if what == "nonsense":
        return rng.choice((b"", b"{", b'{"kind": "mute"}'))
    model = f"m{rng.randrange(n_partitions)}"
    if what == "calibration":
        # Of one version or the other, there or yet to come; the same one may be set again.
        document = calibration(700, seed=rng.choice((1, 2)))
        order = set_calibration(document, f"c{number}", model, rng.choice("12"))
        return order.model_dump_json().encode()
    said = {"command_id": f"c{number}", "by": "ann", "reason": "a test", "model_id": model}
    return orjson.dumps({"kind": "mute", **said, "from_ms": START_MS, "until_ms": START_MS + 1_000})


def on_boundary(x: F64) -> F64:
    """(n, d) the points of the boundary that lie nearest to these."""
    nearest: F64 = x - (x @ WEIGHTS)[:, np.newaxis] * WEIGHTS / (WEIGHTS @ WEIGHTS)
    return nearest


def _event(
    model: str, version: str, i: int, x: list[float], p: float, source: str
) -> dict[str, object]:
    return {
        "type": "prediction",
        "event_id": f"e{i}",
        "model_id": model,
        "model_version": version,
        "ts": START_MS + i,
        "features": {f"f{k}": value for k, value in enumerate(x)},
        "prediction": int(p > 0.5),
        "probabilities": {"0": 1.0 - p, "1": p},
        "source": source,
    }
