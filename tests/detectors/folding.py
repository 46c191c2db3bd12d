"""Events folded as tests of the fold want them, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from detectors.base import BankState
from detectors.fold import Fold
from schemas.config import (
    AdwinConfig,
    BoundsConfig,
    DetectionConfig,
    DetectorsConfig,
    FocusConfig,
    KswinConfig,
    LabelsConfig,
    PageHinkleyConfig,
    QualityConfig,
    WindowsConfig,
)
from schemas.findings import Finding, Notice
from tests.detectors.decoded import Event, decoded

SMALL = DetectionConfig(
    reference_events=20,
    arl0=100,
    bounds=BoundsConfig(
        max_models=2,
        max_features=4,
        max_classes=3,
        max_lanes=12,
        max_learning_values=250,
        min_idle_records=5,
    ),
    labels=LabelsConfig(
        enabled=True, max_delay_ms=40_000, max_early_ms=15_000, max_pending=12, max_early=4
    ),
    detectors=DetectorsConfig(
        adwin=AdwinConfig(enabled=True),
        focus=FocusConfig(enabled=True, baseline_rows=20),
        page_hinkley=PageHinkleyConfig(enabled=True, min_instances=2, threshold=3.0),
        kswin=KswinConfig(enabled=True, seed=3, window_size=12, stat_size=5, alpha=0.2),
        windows=WindowsConfig(enabled=True, window_events=20),
    ),
)

NO_QUALITY = QualityConfig(
    latency=False,
    late=False,
    future=False,
    range=False,
    stuck=False,
    type=False,
    representativeness=False,
)

Said = list[Finding | Notice]


def fold_in(fold: Fold, events: Sequence[Event], cuts: Sequence[int]) -> Said:
    said: Said = []
    edges = [0, *sorted(cuts), len(events)]
    for start, stop in pairwise(edges):
        said += fold.process(decoded(events[start:stop]))
    return said


def as_bytes(parts: Mapping[str, BankState]) -> dict[str, bytes]:
    return {
        f"{part}/{name}": f"{array.dtype}{array.shape}".encode() + array.tobytes()
        for part, state in parts.items()
        for name, array in state.items()
    }


def normal_events(n: int, *, shift_at: int, shift: float, seed: int = 1) -> list[Event]:
    rng = np.random.default_rng(seed)
    return [
        Event(i, {"x": float(rng.normal()) + (shift if i >= shift_at else 0.0)}, score=0.5)
        for i in range(n)
    ]


def findings(said: Said, signal: str) -> list[Finding]:
    return [f for f in said if isinstance(f, Finding) and f.signal == signal]


def notices(said: Said) -> list[Notice]:
    return [n for n in said if isinstance(n, Notice)]
