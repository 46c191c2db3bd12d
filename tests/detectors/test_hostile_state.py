"""No snapshot, however made up, makes a kernel read or write beyond its arrays.

The kernels are compiled with bounds checks for this, in a process of its own: there an access
beyond an array is an IndexError, where the shipped machine code would write into other memory.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from detectors.base import StateError
from detectors.fold import Fold
from detectors.labels import join
from detectors.labels.identity import version_code
from detectors.labels.join import LABEL_COUNTERS, Given, LabelJoin, given_by
from detectors.performance.labelled import LabelledPerformance
from detectors.performance.metrics import metrics
from detectors.performance.unlabelled import UnlabelledPerformance
from detectors.registry import REGISTRY
from schemas.batch import Decoded, ModelKey, ValueKind
from schemas.config import (
    AdwinConfig,
    DetectionConfig,
    DetectorsConfig,
    FocusConfig,
    JointConfig,
    KswinConfig,
    LabelsConfig,
    PageHinkleyConfig,
    TrendConfig,
    WindowsConfig,
)
from schemas.error_config import DdmConfig, EddmConfig, FhddmConfig, HddmAConfig, HddmWConfig
from tests.detectors import joined
from tests.detectors.batches import batch_of, one_model, teach
from tests.detectors.decoded import MODEL, Event, decoded, table
from tests.kit import checked_kernels

N_TRIES = 1500
N_LANES = 3
CONFIGS = {
    "adwin": AdwinConfig(
        enabled=True, clock=1, max_buckets=3, delta=0.9, min_window_length=1, grace_period=0
    ),
    "focus": FocusConfig(enabled=True, baseline_rows=20),
    "page_hinkley": PageHinkleyConfig(enabled=True, min_instances=1, threshold=1.0),
    "kswin": KswinConfig(enabled=True, seed=3, window_size=17, stat_size=8, alpha=0.2),
    "windows": WindowsConfig(enabled=True, window_events=30),
    "trend": TrendConfig(enabled=True, block_rows=5, n_blocks=24, n_scales=3),
    "ddm": DdmConfig(enabled=True, warm_start=1, warning_threshold=0.0, drift_threshold=1.0),
    "eddm": EddmConfig(enabled=True, warm_start=1, alpha=1.0, beta=1.0),
    "hddm_a": HddmAConfig(enabled=True, drift_confidence=0.9, two_sided_test=True),
    "hddm_w": HddmWConfig(enabled=True, drift_confidence=0.9, lambda_val=0.3, two_sided_test=True),
    "fhddm": FhddmConfig(
        enabled=True, sliding_window_size=19, short_window_size=5, confidence_level=0.5
    ),
}
NUMBERS = {
    "f": [0.0, -1.0, 1e308, -1e308, 5e-324, np.inf, np.nan],
    "i": [0, 1, -1, 2, 3, 7, 2**31, 2**53, 2**53 + 1, 2**62, -(2**63), 2**63 - 1],
    "u": [0, 1, 2, 3, 4, 5, 127, 128, 255],
    "b": [0, 1],
}


def made_up(rng: np.random.Generator, state: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A few entries, or a whole ADWIN window, replaced by others."""
    state = {name: array.copy() for name, array in state.items()}
    if "bucket_total" in state and rng.random() < 0.5:
        # Windows whose parts agree with each other, of shapes that no stream gives.
        n_levels = int(rng.choice([0, 1, 2, 10, 52, 54, 55, 80]))
        top = int(rng.integers(1, 5))
        full = rng.random() < 0.3
        counts = rng.integers(top if full else 1, top + 1, (N_LANES, n_levels)).astype(np.uint8)
        n_buckets = int(counts.sum())
        sizes = [1 << level for level in range(n_levels)]
        n = [sum(int(c) * s for c, s in zip(row, sizes, strict=True)) for row in counts]
        state["n"] = np.array([min(k, 2**63 - 1) for k in n], np.int64)
        if rng.random() < 0.3:
            state["n"][:] = rng.choice([0, 1, 50])
        state["counts"] = counts
        state["bucket_total"] = rng.normal(size=n_buckets)
        state["bucket_deviation"] = rng.random(n_buckets)
        state["bucket_offset"] = rng.integers(0, 100, n_buckets)
    for _ in range(int(rng.integers(0, 4))):
        name = str(rng.choice(sorted(state)))
        if state[name].size:
            at = int(rng.integers(0, state[name].size))
            number = rng.choice(np.array(NUMBERS[state[name].dtype.kind], object))
            if state[name].dtype.kind in "iu":
                limits = np.iinfo(state[name].dtype)
                number = min(max(number, int(limits.min)), int(limits.max))
            elif state[name].dtype == np.float32 and 3e38 < abs(number) < np.inf:
                number = 3e38 if number > 0.0 else -3e38
            state[name].flat[at] = number
    return state


def attack() -> None:
    """Build a bank from each made-up snapshot; where one is taken, the bank must live on."""
    for name, spec in REGISTRY.items():
        rng = np.random.default_rng(17)
        config = CONFIGS.get(name, spec.config_type())
        values = rng.normal(size=(200, N_LANES))
        values[:, 0] += np.arange(200) // 50
        stream = one_model(values)
        honest = spec.build(config, N_LANES, None)
        teach(honest, range(N_LANES), eager=True)
        honest.update(batch_of(stream, 0, 100))
        n_taken = 0
        for _ in range(N_TRIES):
            try:
                bank = spec.build(config, N_LANES, made_up(rng, dict(honest.snapshot())))
            except StateError:
                continue
            n_taken += 1
            bank.update(batch_of(stream, 100, 200))
            bank.snapshot()
        assert N_TRIES // 20 < n_taken < N_TRIES, (name, n_taken)


def attack_joint() -> None:
    """The same for what features say together: its arrays are read by a kernel of the fold."""
    rng = np.random.default_rng(18)
    joint = JointConfig(block_events=20)
    config = DetectionConfig(
        reference_events=400, joint=joint, detectors=DetectorsConfig(focus=FocusConfig())
    )
    x = rng.normal(size=(600, 4))
    x[rng.random(x.shape) < 0.1] = np.nan
    columns = {f"f{i}": x[:, i] for i in range(4)}
    events = table(MODEL, columns, np.zeros(600), np.zeros(600), 0)
    kind = np.where(np.isnan(events.value), ValueKind.NULL, ValueKind.NUMBER).astype(np.uint8)
    events = replace(events, kind=kind)
    honest = Fold(config)
    honest.process(_rows(events, 0, 490))
    state = honest.snapshot()
    own = {n: a for n, a in state["fold"].items() if n.startswith(("joint_", "partial_"))}
    assert all(array.size for array in own.values()), own
    n_taken = 0
    n_tries = N_TRIES // 10
    for _ in range(n_tries):
        changed = {**state["fold"], **made_up(rng, own)}
        try:
            fold = Fold(config, {**state, "fold": changed})
        except StateError:
            continue
        n_taken += 1
        fold.process(_rows(events, 490, 600))
        Fold(config, fold.snapshot())
    assert n_tries // 20 < n_taken < n_tries, n_taken


def attack_performance() -> None:
    """The same for the banks of labels and of scores, and what is read from their states."""
    rng = np.random.default_rng(19)
    rows = joined.random_rows(rng, 400)
    first, second = joined.batches(rows, [300])
    honest, scores = joined.labelled(), joined.unlabelled()
    honest.update(first)
    scores.update(joined.without_labels(first))
    scores.learn(0, honest.total(0))
    n_tries = N_TRIES // 3
    n_taken = [0, 0]
    for _ in range(n_tries):
        try:
            bank = LabelledPerformance(
                joined.SHAPE, joined.WINDOWS, joined.N_SLOTS, made_up(rng, honest.snapshot())
            )
        except StateError:
            continue
        n_taken[0] += 1
        bank.update(second)
        for slot in range(joined.N_SLOTS):
            for window in joined.WINDOWS:
                metrics(bank.window(slot, window))
            metrics(bank.total(slot))
    for _ in range(n_tries):
        try:
            other = UnlabelledPerformance(
                joined.SHAPE, joined.N_SLOTS, made_up(rng, scores.snapshot())
            )
        except StateError:
            continue
        n_taken[1] += 1
        other.update(joined.without_labels(second))
        for slot in range(joined.N_SLOTS):
            other.estimate(slot)
    assert all(n_tries // 20 < n < n_tries for n in n_taken), n_taken


def attack_labels() -> None:
    """The same for what waits: the join's kernel goes where its index and its numbers lead."""
    rng = np.random.default_rng(19)
    config = LabelsConfig(enabled=True, max_delay_ms=1_000, max_early_ms=500, max_pending=90)
    counters = dict.fromkeys(LABEL_COUNTERS, 0)
    model = ModelKey("m", "1")
    slots = {version_code(model): 0}

    def given(start: int, stop: int) -> tuple[Given, NDArray[np.int32]]:
        events = decoded(
            [
                Event(i, model=model, is_label=i % 3 == 0, prediction=i % 5, ts=10 * i, event_id=k)
                for i, k in zip(range(start, stop), of_event[start:stop], strict=True)
            ]
        )
        return given_by(events, events.event_time_ms), np.where(events.is_label, -1, 0).astype("i4")

    of_event = rng.integers(0, 120, 600).tolist()
    honest = LabelJoin(config, counters)
    events, slot = given(0, 400)
    honest.advance(events, 0, slot, slots)
    state = dict(honest.snapshot())
    assert len(state) > 6, state.keys()
    assert all(array.size for array in state.values())
    later, slot = given(400, 600)
    n_taken = 0
    for _ in range(N_TRIES):
        try:
            fold = LabelJoin(config, counters, made_up(rng, state), 4_000)
        except StateError:
            continue
        n_taken += 1
        fold.advance(later, 0, slot, slots)
        LabelJoin(config, counters, fold.snapshot(), 6_000)
    assert N_TRIES // 20 < n_taken < N_TRIES, n_taken


def _rows(events: Decoded, start: int, stop: int) -> Decoded:
    """Some rows of a table: the columns by event, cut; values stay where they are."""
    rows = slice(start, stop)
    names = ("offset", "row", "record_time_ms", "event_time_ms", "is_label", "model", "shape")
    outputs = ("score", "prediction_kind", "prediction", "predicted_class", "source", "event_id")
    cut = {name: getattr(events, name)[rows] for name in (*names, *outputs)}
    return replace(events, value_ptr=events.value_ptr[start : stop + 1], **cut)


def test_no_snapshot_leads_beyond_an_array() -> None:
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.detectors.test_hostile_state"],
        cwd=root,
        env=checked_kernels.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert run.returncode == 0, run.stderr[-4000:]


if __name__ == "__main__":
    attack()
    attack_joint()
    attack_performance()
    with (
        mock.patch.object(join, "BLOCK_PREDICTIONS", 16),
        mock.patch.object(join, "BLOCK_ANSWERS", 8),
    ):
        attack_labels()
