"""Calibrations, and a worker of the security duty, for tests of whoever sets and obeys them."""

from __future__ import annotations

import functools

import numpy as np

from detectors.security.calibration_fit import CalibrationRows, Choice
from schemas.batch import F64, Decoded
from schemas.calibration import CalibrationDocument
from schemas.commands import SetCalibration
from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.limits import DecodeLimits
from schemas.records import Record
from schemas.security_config import SecurityConfig
from schemas.source_hash import SourceKey
from streams.attack_traffic import boundary_walk, honest, probability
from streams.lineage import Lineage
from streams.worker import Detection, OutputTopics, PartitionWorker
from tests.streams.events import TP, prediction, record

KEY = SourceKey(b"a key of 16 bytes or more")
OTHER_KEY = SourceKey(b"another key of 16 bytes or more")
CONFIG = DetectionConfig(
    security=SecurityConfig(
        learn_events=300, max_models=2, max_sources=64, kinds={"batch": ["client-1"]}
    )
)
LINEAGE = Lineage(
    deployment="driftsentry", duty="security", topic_id="t", partition=0, start_offset=0
)
TOPICS = OutputTopics("anomalies", "dead", "journal")


def records(
    x: F64, sources: list[str], start: int = 0, *, regions: bool = False, version: str = "1"
) -> list[Record]:
    """Predictions of these rows, with what the model says of them."""
    p = probability(x)
    made = []
    for i in range(len(x)):
        features: dict[str, object] = {f"f{k}": float(v) for k, v in enumerate(x[i])}
        if regions:
            features["region"] = "eu" if x[i, 0] > 0.0 else "us"
        value = prediction(
            start + i,
            features,
            version=version,
            prediction=int(p[i] > 0.5),
            score=float(p[i]),
            source=sources[i],
        )
        made.append(record(start + i, value))
    return made


def benign(n: int, seed: int = 1, start: int = 0, *, regions: bool = False) -> list[Record]:
    """n predictions of 20 honest clients."""
    rng = np.random.default_rng(seed)
    sources = [f"client-{k}" for k in rng.integers(20, size=n)]
    return records(np.round(honest(rng, n), 6), sources, start, regions=regions)


def attack(n: int, start: int) -> list[Record]:
    """n predictions of somebody who looks for the boundary."""
    rng = np.random.default_rng(5)
    return records(np.round(boundary_walk(rng, n), 6), ["mallory"] * n, start)


def decoded(taken: list[Record], key: SourceKey | None = KEY) -> Decoded:
    """These records as the decoder gives them."""
    return decode_records(TP, taken, DecodeLimits.of(CONFIG), key, None).events


@functools.cache
def calibration(
    n: int = 700, *, seed: int = 1, regions: bool = False, n_batch: int = 0
) -> CalibrationDocument:
    """Of n benign predictions, and so many more of the kind `batch`."""
    rows = CalibrationRows(Choice("m", "1"), CONFIG, KEY)
    rows.take("", decoded(benign(n, seed, regions=regions)))
    if n_batch:
        rows.take("batch", decoded(benign(n_batch, seed + 1, regions=regions)))
    return rows.fit()


def set_calibration(
    document: CalibrationDocument, name: str = "c1", model: str = "m", version: str = "1"
) -> SetCalibration:
    """The command that sets it for this model version."""
    return SetCalibration(
        command_id=name,
        by="ann",
        model_id=model,
        model_version=version,
        digest=document.digest,
        document=document,
    )


def security_worker(key: SourceKey | None = KEY, live_from: int = 0) -> PartitionWorker:
    """One that has seen nothing."""
    detection = Detection(CONFIG, key, "security")
    return PartitionWorker(TP, LINEAGE, detection, 0, TOPICS, live_from=live_from)
