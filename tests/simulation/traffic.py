"""What the producers upstream send in a simulation: few events, in which much happens.

References are as short as the config allows, detectors are nervous: so a run of a few hundred
records learns references, fires, cools down, refuses records, and meets a second model version.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import orjson

from schemas.config import (
    AdwinConfig,
    BoundsConfig,
    DetectionConfig,
    DetectorsConfig,
    FocusConfig,
    JointConfig,
    KswinConfig,
    LabelsConfig,
    PageHinkleyConfig,
    PolicyConfig,
    QualityConfig,
    TrendConfig,
    WindowsConfig,
)
from schemas.error_config import DdmConfig, EddmConfig, FhddmConfig, HddmAConfig, HddmWConfig
from streams.ports import Output
from tests.streams.events import label, prediction
from tests.streams.reference_kit import reference, set_reference

EVERYTHING: Final = 1_000_000
START_MS: Final = 1_790_000_000_000
BAD: Final = (b"not json", b"", b'{"type": "prediction"}')


def detection_config(generation: int) -> DetectionConfig:
    """The config of a generation: each has other thresholds, every second another detector."""
    return DetectionConfig(
        generation=generation,
        reference_events=20,
        arl0=100 + generation,
        # Of the first one references keep no rows: every finding opens an alert.
        bounds=BoundsConfig(max_learning_values=0 if generation == 1 else 1_000_000),
        joint=JointConfig(residual=generation % 2 == 0, mmd=False, missing=generation % 2 == 0),
        detectors=DetectorsConfig(
            adwin=AdwinConfig(enabled=generation % 2 == 1, clock=4, delta=0.05),
            focus=FocusConfig(enabled=generation % 2 == 0, baseline_rows=20),
            page_hinkley=PageHinkleyConfig(
                enabled=True, min_instances=5, threshold=3.0 + generation
            ),
            kswin=KswinConfig(
                enabled=generation % 2 == 0, seed=generation, window_size=16, stat_size=8, alpha=0.1
            ),
            windows=WindowsConfig(enabled=generation % 2 == 0, window_events=20),
        ),
        labels=LabelsConfig(
            enabled=generation % 2 == 0, max_early_ms=20, max_pending=30, max_early=3
        ),
        policy=PolicyConfig(cooldown_events=10 + generation),
    )


def config_of(seed: int, generation: int) -> DetectionConfig:
    """The config of a run; seeds from `EVERYTHING` on have everything on."""
    return (detection_config if seed < EVERYTHING else everything_config)(generation)


def everything_config(generation: int) -> DetectionConfig:
    """With all of it on, in every generation: detectors, joint signals, labels, confirmation."""
    config = detection_config(2 * generation)
    return config.model_copy(
        update={
            "generation": generation,
            "arl0": 100.0 + generation,
            "joint": JointConfig(block_events=20),
            "quality": QualityConfig(duplicate=True),
            "detectors": config.detectors.model_copy(
                update={
                    "adwin": AdwinConfig(enabled=True, clock=4, delta=0.05),
                    "trend": TrendConfig(enabled=True, block_rows=5, n_blocks=24, n_scales=2),
                    "ddm": DdmConfig(enabled=True),
                    "eddm": EddmConfig(enabled=True),
                    "hddm_a": HddmAConfig(enabled=True),
                    "hddm_w": HddmWConfig(enabled=True),
                    "fhddm": FhddmConfig(enabled=True),
                }
            ),
            "policy": config.policy.model_copy(
                update={"confirm": generation % 3 == 1, "min_effect": 0.1 * (generation % 3 == 2)}
            ),
        }
    )


def traffic(rng: random.Random, topic: str, n_partitions: int, n: int) -> list[list[Output]]:
    """`n` records for each partition, cut into the transactions in which they are produced.

    A label goes before every sixth of them.
    """
    chunks: list[list[Output]] = []
    for partition in range(n_partitions):
        records = [_record(rng, topic, partition, i, n) for i in range(n)]
        at = 0
        while at < n:
            size = rng.choice((1, 4, 12, 30))
            chunk = records[at : at + size]
            for i in range(min(n, at + size) - 1, at - 1, -1):
                if i % 6 == 5:
                    chunk.insert(i - at, _label(topic, partition, i))
            chunks.append(chunk)
            at += size
    rng.shuffle(order := [chunk[0].partition for chunk in chunks])
    queues = {p: [c for c in chunks if c[0].partition == p] for p in range(n_partitions)}
    return [queues[partition].pop(0) for partition in order]


def command(
    rng: random.Random, number: int, n_partitions: int, alerts: Sequence[bytes | None]
) -> bytes:
    """What a person says: of a model that there is, or of one of the alerts."""
    what = rng.choice(
        ("mute", "mute", "planned_change", "withdraw", "acknowledge", "reference", "nonsense")
    )
    if what == "nonsense":
        return rng.choice((b"", b"{", b'{"kind": "mute"}'))
    said: dict[str, object] = {"kind": what, "command_id": f"c{number}", "by": "ann"}
    if what == "reference":
        # Of one version or the other, there or yet to come; the same one may be set again.
        model, version = f"m{rng.randrange(n_partitions)}{rng.randrange(2)}", rng.choice("12")
        document = reference(level=rng.choice((0.0, 3.0)))
        return set_reference(document, f"c{number}", model, version).model_dump_json().encode()
    if what == "withdraw":
        said["withdraws"] = f"c{rng.randint(1, number)}"
    elif what == "acknowledge":
        known = [orjson.loads(value or b"")["alert_id"] for value in alerts]
        said["alert_id"] = rng.choice([*known, "0" * 32])
    else:
        start = rng.randrange(90)
        said["model_id"] = f"m{rng.randrange(n_partitions)}{rng.randrange(2)}"
        said["signal"] = rng.choice((None, None, "feature:x"))
        said["from_ms"] = START_MS + start
        said["until_ms"] = START_MS + start + rng.choice((5, 20, 60, 1_000))
    return orjson.dumps(said)


def _label(topic: str, partition: int, i: int) -> Output:
    """Before record i, of an event of its model: an earlier one or a later one, or one refused."""
    model = f"m{partition}{int(i % 4 == 3)}"
    about = i + (-4, -8, -40, 4, -4, 8)[i // 6 % 6]
    value = label(about, i % 5 // 2, model=model, ts=START_MS + i)
    return Output(topic, partition, model.encode(), value, (), START_MS + i)


def _record(rng: random.Random, topic: str, partition: int, i: int, n: int) -> Output:
    model = f"m{partition}{int(i % 4 == 3)}"
    level = 3.0 if n * 0.5 <= i < n * 0.8 else 0.0
    value = prediction(
        i,
        {
            "x": rng.gauss(level, 1.0),
            "y": rng.gauss(0.0, 1.0) if rng.random() > 0.1 else None,
            "kind": "abab"[i % 4] if level == 0.0 or i % 3 else "new",
        },
        model=model,
        version="2" if i > 0.7 * n and i % 4 == 0 else "1",
        score=rng.random(),
    )
    if i % 17 == 16:
        value = BAD[i // 17 % len(BAD)]
    return Output(topic, partition, model.encode(), value, (), START_MS + i)
