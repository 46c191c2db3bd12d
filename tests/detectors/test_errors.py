"""The banks that watch errors, beside river's detectors on the same zeros and ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detectors.base import StateError
from detectors.kernels.marks import N_LEVELS
from detectors.registry import REGISTRY
from schemas.batch import F64
from schemas.config import DetectorsConfig
from schemas.error_config import DdmConfig, EddmConfig, FhddmConfig, HddmAConfig, HddmWConfig
from schemas.findings import Firing
from tests.detectors.batches import batch_of, one_model, state_bytes
from tests.detectors.damage import Arrays, put
from tests.detectors.river_errors import ErrorConfig, RiverErrors

LOW, HIGH = -0.25, 4.0
"""What a lane sees of a share of 1 in 17: z of a 0 and of a 1."""
ON = st.just(value=True)
CONFIDENCE = st.sampled_from([0.9, 0.5, 0.1, 0.005, 0.001])
CONFIGS: dict[str, st.SearchStrategy[ErrorConfig]] = {
    "ddm": st.builds(
        DdmConfig,
        enabled=ON,
        warm_start=st.sampled_from([1, 2, 30, 200]),
        warning_threshold=st.sampled_from([0.0, 1.0, 2.0, 4.0]),
        drift_threshold=st.sampled_from([1.0, 1.5, 3.0, 5.0]),
    ),
    "eddm": st.builds(
        EddmConfig,
        enabled=ON,
        warm_start=st.sampled_from([1, 2, 10, 30]),
        alpha=st.sampled_from([1.0, 0.95]),
        beta=st.sampled_from([0.95, 0.9, 0.5]),
    ),
    "hddm_a": st.builds(
        HddmAConfig,
        enabled=ON,
        drift_confidence=CONFIDENCE,
        warning_confidence=CONFIDENCE,
        two_sided_test=st.booleans(),
    ),
    "hddm_w": st.builds(
        HddmWConfig,
        enabled=ON,
        drift_confidence=CONFIDENCE,
        warning_confidence=CONFIDENCE,
        lambda_val=st.sampled_from([0.01, 0.05, 0.2, 0.5, 1.0]),
        two_sided_test=st.booleans(),
    ),
    "fhddm": st.sampled_from(
        [
            FhddmConfig(
                enabled=True,
                sliding_window_size=size,
                short_window_size=short,
                confidence_level=confidence,
                finds=finds,
            )
            for size, short, confidence in (
                (100, None, 1e-6),
                (100, 20, 1e-6),
                (8, None, 0.1),
                (9, 3, 0.5),
                (2, 1, 0.9),
                (16, 16, 0.3),
                (301, 64, 0.01),
            )
            for finds in ("rise", "fall")
        ]
    ),
}
EAGER: dict[str, ErrorConfig] = {
    "ddm": DdmConfig(enabled=True, warm_start=1, drift_threshold=1.5),
    "eddm": EddmConfig(enabled=True, warm_start=1, alpha=1.0, beta=0.95),
    "hddm_a": HddmAConfig(enabled=True, drift_confidence=0.9, two_sided_test=True),
    "hddm_w": HddmWConfig(enabled=True, drift_confidence=0.9, lambda_val=0.3, two_sided_test=True),
    "fhddm": FhddmConfig(
        enabled=True, sliding_window_size=9, short_window_size=3, confidence_level=0.5
    ),
}
every_one = pytest.mark.parametrize("name", list(CONFIGS))


def enabled(name: str, **update: object) -> ErrorConfig:
    """A detector's defaults, but on."""
    config: ErrorConfig = getattr(DetectorsConfig(), name)
    return config.model_copy(update={"enabled": True, **update})


def random_errors(rng: np.random.Generator, n: int) -> F64:
    """Stretches of different error rates, sometimes with gaps."""
    errors = np.zeros(n)
    at = 0
    while at < n:
        stop = at + int(rng.integers(1, 500))
        rate = rng.choice([0.0, 0.01, 0.05, 0.2, 0.5, 0.9, 1.0])
        errors[at:stop] = rng.random(len(errors[at:stop])) < rate
        at = stop
    if rng.random() < 0.3:
        errors[rng.random(n) < 0.2] = np.nan
    return errors


def check_parity(name: str, config: ErrorConfig, errors: F64, cuts: list[int]) -> list[Firing]:
    """Batch by batch ours fires where river's does, and its state is the same after each."""
    bank = REGISTRY[name].build(config, 1, None)
    initial = state_bytes(bank.snapshot())
    river = RiverErrors(config)
    stream = one_model(np.where(np.isnan(errors), np.nan, np.where(errors == 1.0, HIGH, LOW)))
    told: list[Firing] = []
    for start, stop in pairwise([0, *sorted(cuts), len(errors)]):
        firings = sorted(bank.update(batch_of(stream, start, stop)))
        told += firings
        assert [f.offset - start for f in firings] == river.update(errors[start:stop])
        if river.detector.drift_detected:
            assert state_bytes(bank.snapshot()) == initial
        else:
            river.check_state(dict(bank.snapshot()))
    return told


def is_likeliest(seen: F64, n_before: int) -> bool:
    """Whether no mark explains a rise (or none a fall) better than that after `n_before`."""
    n = len(seen)
    latest = {level: (n - 1) >> level << level for level in range(N_LEVELS)}
    marks = {m - d for level, m in latest.items() for d in (0, 1 << level) if m - d > 0}
    scores = {}
    for mark in marks:
        before, after = seen[:mark].mean(), seen[mark:].mean()
        p = seen.mean()
        ratio = sum(
            k * (q * np.log(q / p) if q > 0 else 0.0)
            + k * ((1 - q) * np.log((1 - q) / (1 - p)) if q < 1 else 0.0)
            for q, k in ((before, mark), (after, n - mark))
        )
        scores[mark] = np.sign(after - before) * ratio
    best = max(scores.values()), -min(scores.values())
    return any(
        sign * scores[n_before] >= most - 1e-9 * n for sign, most in zip((1, -1), best, strict=True)
    )


def check_meaning(errors: F64, firings: list[Firing]) -> None:
    """`before` and `after` are the means of what lies before and since `change_offset`."""
    start = 0
    for firing in firings:
        assert start < firing.change_offset <= firing.offset
        for part, mean, n in (
            (errors[start : firing.change_offset], firing.before, firing.n_before),
            (errors[firing.change_offset : firing.offset + 1], firing.after, firing.n_after),
        ):
            assert n == np.count_nonzero(~np.isnan(part)) > 0
            assert mean == pytest.approx(LOW + np.nanmean(part) * (HIGH - LOW), abs=1e-9)
        assert not np.isnan(errors[firing.change_offset])
        seen = errors[start : firing.offset + 1]
        assert is_likeliest(seen[~np.isnan(seen)], firing.n_before)
        # EDDM alone fires below its threshold.
        further = firing.threshold - firing.statistic
        assert further > 0 if firing.detector == "eddm" else further <= 0
        start = firing.offset + 1


@every_one
@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 1_500),
    cuts=st.lists(st.integers(0, 1_500), max_size=8),
)
def test_fires_where_river_fires_with_the_same_state(
    name: str, data: st.DataObject, seed: int, n: int, cuts: list[int]
) -> None:
    config = data.draw(CONFIGS[name])
    errors = random_errors(np.random.default_rng(seed), n)
    check_meaning(errors, check_parity(name, config, errors, [min(cut, n) for cut in cuts]))


@every_one
@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    errors=st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60),
    repeat=st.integers(1, 5),
)
def test_fires_where_river_fires_on_any_zeros_and_ones(
    name: str, data: st.DataObject, errors: list[float], repeat: int
) -> None:
    config = data.draw(CONFIGS[name])
    check_parity(name, config, np.repeat(errors, repeat), [])


@every_one
@pytest.mark.parametrize("kind", ["default", "eager"])
def test_the_state_is_river_s_after_every_update(name: str, kind: str) -> None:
    errors = random_errors(np.random.default_rng(2), 900)
    config = EAGER[name] if kind == "eager" else enabled(name)
    check_parity(name, config, errors, list(range(900)))


@every_one
def test_a_rising_error_rate_is_found_and_dated(name: str) -> None:
    rng = np.random.default_rng(6)
    errors = np.concatenate([rng.random(3_000) < 0.05, rng.random(1_000) < 0.6]).astype(float)
    firings = check_parity(name, enabled(name), errors, [1_000, 3_100])
    first = next(firing for firing in firings if firing.offset >= 3_000)
    assert first.offset < 3_400
    assert first.after > first.before
    assert 2_950 < first.change_offset <= 3_050
    assert first.before == pytest.approx(LOW + 0.05 * (HIGH - LOW), abs=0.1)
    assert first.after == pytest.approx(LOW + 0.6 * (HIGH - LOW), abs=1.4)


@pytest.mark.parametrize("name", ["hddm_a", "hddm_w", "fhddm"])
def test_a_fall_is_found_where_it_is_asked_for(name: str) -> None:
    rng = np.random.default_rng(7)
    errors = np.concatenate([rng.random(2_000) < 0.7, rng.random(1_000) < 0.05]).astype(float)
    assert not [f for f in check_parity(name, enabled(name), errors, []) if f.offset >= 2_000]
    asked = {"finds": "fall"} if name == "fhddm" else {"two_sided_test": True}
    firings = check_parity(name, enabled(name, **asked), errors, [])
    found = [f for f in firings if f.offset >= 2_000]
    assert found
    assert found[0].after < found[0].before


@every_one
def test_more_firings_than_the_buffer_holds_are_all_told(name: str) -> None:
    rng = np.random.default_rng(8)
    errors = (rng.random(20_000) < np.repeat(rng.random(1_000), 20)).astype(float)
    check_meaning(errors, firings := check_parity(name, EAGER[name], errors, [10_001]))
    assert len(firings) > 600


def test_ddm_fires_at_the_first_error_after_none() -> None:
    """As in river: a least rate of 0 has no deviation."""
    errors = np.concatenate([np.zeros(31), np.ones(1), np.zeros(31)])
    (firing,) = check_parity("ddm", enabled("ddm"), errors, [30])
    assert firing.offset == 31


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"ddm": {"drift_threshold": 0.9}}, "greater than or equal to 1"),
        ({"eddm": {"alpha": 0.8}}, "should be at most `alpha`, which is 0.8"),
        ({"hddm_a": {"drift_confidence": 1.0}}, "less than 1"),
        ({"hddm_w": {"lambda_val": 0.0}}, "greater than 0"),
        ({"fhddm": {"sliding_window_size": 6}}, "should be above 6.14e-06: no share of a window"),
        ({"fhddm": {"short_window_size": 101}}, "at most `sliding_window_size`, which is 100"),
        ({"fhddm": {"short_window_size": 5}}, "it would never fire; raise it or `short_window"),
        ({"fhddm": {"finds": "both"}}, "'rise' or 'fall'"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(section: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DetectorsConfig.model_validate(section)


# Of the first of two lanes that have seen 71 observations each, 37 of them errors.
DAMAGE: list[tuple[str, str, float | int]] = [
    *((name, "ones", 72) for name in CONFIGS),
    *((name, "ones", 0) for name in CONFIGS),
    *((name, "low", 0.5) for name in CONFIGS),
    *((name, "high", 0.0) for name in CONFIGS),
    *((name, "high", 2e6) for name in CONFIGS),
    *((name, "seen", 70) for name in CONFIGS),
    *((name, "mark_ones", 40) for name in CONFIGS),
    *((name, "mark_offset", -1) for name in CONFIGS),
    *((name, "n", 2**53 + 1) for name in CONFIGS),
    ("ddm", "rate", 1.5),
    ("ddm", "least_rate", -0.1),
    ("ddm", "least_deviation", np.nan),
    ("eddm", "n_errors", 36),
    ("eddm", "last_error", 0),
    ("eddm", "last_error", 72),
    ("eddm", "distance", -1.0),
    ("eddm", "squares", -1.0),
    ("eddm", "squares", 1e300),
    ("eddm", "longest", -1.0),
    ("hddm_a", "rate", np.nan),
    ("hddm_a", "cut_n", 0),
    ("hddm_a", "cut_n", 72),
    ("hddm_a", "cut_rate", 1.5),
    ("hddm_w", "weight", -1.0),
    ("hddm_w", "cut_n", 0),
    ("hddm_w", "level", np.nan),
    ("hddm_w", "since_rate", 2.0),
    ("hddm_w", "since_weight", 2.0),
    ("fhddm", "ring", 0),
    ("fhddm", "held", 10),
    ("fhddm", "most", 101),
    ("fhddm", "most", 0),
]


def used_state(name: str, config: ErrorConfig) -> Arrays:
    bank = REGISTRY[name].build(config, 2, None)
    # Every second one, then a few more: all have seen something, and none fires.
    errors = np.concatenate([np.tile([0.0, 1.0], 33), np.ones(4), np.zeros(1)])
    z = np.where(errors == 1.0, HIGH, LOW)
    bank.update(batch_of(one_model(np.column_stack([z, z])), 0, len(errors)))
    return {key: array.copy() for key, array in bank.snapshot().items()}


@pytest.mark.parametrize(("name", "column", "number"), DAMAGE)
def test_a_state_that_no_stream_leaves_is_refused(name: str, column: str, number: float) -> None:
    config = enabled(name, sliding_window_size=40) if name == "fhddm" else enabled(name)
    state = used_state(name, config)
    build = REGISTRY[name].build
    assert state["n"].tolist() == [71, 71]
    assert state["ones"].tolist() == [37, 37]
    build(config, 2, state)
    put(column, 0, number)(state)
    with pytest.raises(StateError):
        build(config, 2, state)
