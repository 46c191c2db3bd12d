"""Streams of predictions and labels in which a feature tells the label; all are in the sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detectors.feature_sample import is_sampled
from detectors.labels.identity import model_id_code
from schemas.batch import ModelKey
from schemas.config import DetectionConfig, LabelsConfig
from tests.detectors.decoded import Event

MODEL = ModelKey("m", "1")
CONFIG = DetectionConfig(
    reference_events=200,
    arl0=1e7,
    labels=LabelsConfig(
        enabled=True, calibration_labels=200, reference_labels=400, max_delay_ms=200_000
    ),
)


def ids_in_the_sample(n: int) -> list[int]:
    """n event ids whose predictions keep their features: else eight times as many are needed."""
    every = np.arange(1, 40 * n + 1_000, dtype=np.int64)
    ids: list[int] = every[is_sampled(every ^ model_id_code(MODEL))][:n].tolist()
    assert len(ids) == n
    return ids


def stream(
    n: int,
    copies: Callable[[int], float] = lambda _: 0.0,
    *,
    delay: int = 30,
    share: float = 0.4,
    seed: int = 1,
) -> list[Event]:
    """n predictions a second apart, and each one's label so many predictions later.

    The feature `late` is noise, and with weight `copies` the label. Its values are numbers of two
    digits, so that there are ties.
    """
    rng = np.random.default_rng(seed)
    positive, noise = rng.random(n) < share, rng.normal(size=(n, 3))
    score = np.clip(0.25 + 0.3 * positive + 0.15 * noise[:, 0], 0.01, 0.99)
    ids = ids_in_the_sample(n)
    made: list[Event] = []

    def add(i: int, at: int, *, is_label: bool) -> None:
        features = {} if is_label else _features(i)
        said = int(positive[i]) if is_label else int(score[i] >= 0.5)
        made.append(
            Event(
                len(made),
                features=features,
                model=ModelKey("m", "") if is_label else MODEL,
                prediction=said,
                score=float("nan") if is_label else float(score[i]),
                event_id=ids[i],
                is_label=is_label,
                ts=1_000 * at,
                record_ts=1_000 * at,
            )
        )

    def _features(i: int) -> dict[str, object]:
        late = noise[i, 1] + copies(i) * float(positive[i])
        return {
            "colour": "red" if i % 3 else "blue",
            "x": round(float(noise[i, 0]), 1),
            "late": None if i % 17 == 0 else round(float(late), 1),
            "y": round(float(noise[i, 2]), 1),
        }

    for at in range(n + delay):
        if at < n:
            add(at, at, is_label=False)
        if at >= delay:
            add(at - delay, at, is_label=True)
    return made
