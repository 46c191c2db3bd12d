"""A rhythm in the fold: at the default budget, in any split, from any snapshot, for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

from detectors.base import StateError
from detectors.drift.moments import MomentsBank
from detectors.drift.ranks import Ranks
from detectors.fold import Fold
from detectors.kernels.rhythm import HOUR_MS
from detectors.signals import Signal
from schemas.batch import ModelKey
from schemas.config import (
    AdwinConfig,
    DetectionConfig,
    DetectorsConfig,
    ModelConfig,
    SignalConfig,
    WindowsConfig,
)
from schemas.findings import Aspect, Finding
from tests.detectors.damage import Arrays, cut, put
from tests.detectors.decoded import MODEL, Event
from tests.detectors.folding import NO_QUALITY, as_bytes, findings, fold_in

DAY_MS = 24 * HOUR_MS
PER_DAY = 200
N_REFERENCE = 2_000


def cyclic(n: int, *, shift_at: int = 10**9, shift: float = 0.0, seed: int = 1) -> list[Event]:
    """200 events a day of a feature about 50, with a cycle as high as its noise."""
    noise = np.random.default_rng(seed).normal(size=n)
    events = []
    for i in range(n):
        at = 1_700_000_000_000 + i * DAY_MS // PER_DAY
        wave = math.sin(2.0 * math.pi * (at % DAY_MS) / DAY_MS)
        x = 50.0 + wave + float(noise[i]) + (shift if i >= shift_at else 0.0)
        events.append(Event(i, {"x": x}, ts=at, record_ts=at))
    return events


def stated(rhythm: str | None = None) -> DetectionConfig:
    """The defaults, with what a config says of the feature's rhythm."""
    own = SignalConfig.model_validate({"rhythm": rhythm})
    return DetectionConfig(model={"m": ModelConfig(signals={"feature:x": own})})


def signal_of(fold: Fold, key: ModelKey = MODEL) -> Signal:
    monitor = fold.catalog.monitor(fold.catalog.slot_of[key])
    return next(each for each in monitor.signals if monitor.name(each) == "feature:x")


def changes(fold: Fold, events: Sequence[Event]) -> list[Finding]:
    said = fold_in(fold, events, range(1_000, len(events), 1_000))
    return [each for each in findings(said, "feature:x") if each.aspect != Aspect.SETTLED]


def test_six_weeks_of_a_daily_cycle_stay_within_the_default_budget() -> None:
    """Seeded: five models, one alert a week accepted of each, hence 3 alarms of `x` stated of each.

    Seen of twelve seeds: 11 alarms of the 36 stated, all of three models.
    """
    n_alarms = []
    for seed in range(5):
        fold = Fold(DetectionConfig())
        n_alarms.append(len(changes(fold, cyclic(N_REFERENCE + 42 * PER_DAY, seed=seed))))
        rhythm = signal_of(fold).rhythm
        assert rhythm is not None
        assert (rhythm.name, rhythm.periods) == ("day", 10)
    assert n_alarms.count(0) >= 3
    assert sum(n_alarms) <= 15


def test_half_a_standard_deviation_is_found_in_a_day_or_two_and_is_told_in_raw_units() -> None:
    events = cyclic(8_000, shift_at=5_000, shift=0.5, seed=3)
    late = {}
    for rhythm in (None, "none"):
        found = [each for each in changes(Fold(stated(rhythm)), events) if each.offset >= 5_000]
        late[rhythm] = found[0].offset - 5_000 if found else 3_000
        if rhythm is None:
            assert found[0].before == pytest.approx(50.0, abs=0.1)
            assert found[0].after == pytest.approx(50.5, abs=0.4)
            assert abs(found[0].change_offset - 5_000) < 200
    assert late[None] < 400
    assert late["none"] > 3 * late[None]


def test_what_is_for_people_to_read_keeps_its_rhythm() -> None:
    events = cyclic(2_600)
    fold = Fold(DetectionConfig())
    fold_in(fold, events, [])
    signal, bank = signal_of(fold), fold.banks["moments"]
    assert isinstance(bank, MomentsBank)
    last = events[-1].features["x"]
    assert signal.scale.raw(float(bank.last[signal.lane])) == pytest.approx(last)


def everything() -> DetectionConfig:
    """Detectors of every kind, two of them within the budget."""
    return DetectionConfig(
        detectors=DetectorsConfig(
            adwin=AdwinConfig(enabled=True), windows=WindowsConfig(enabled=True, window_events=300)
        )
    )


@pytest.mark.parametrize("cuts", [[1], range(500, 3_500, 500), [1_999, 2_000, 2_001, 2_777]])
def test_no_split_and_no_resumption_changes_anything(cuts: Sequence[int]) -> None:
    events = cyclic(3_500, shift_at=2_600, shift=1.0)
    whole = Fold(everything())
    expected = fold_in(whole, events, [])
    assert signal_of(whole).rhythm is not None
    assert findings(expected, "feature:x")
    said = []
    fold = Fold(everything())
    for start, stop in pairwise([0, *cuts, len(events)]):
        said += fold_in(fold, events[start:stop], [])
        fold = Fold(everything(), fold.snapshot())
    assert said == expected
    assert as_bytes(fold.snapshot()) == as_bytes(whole.snapshot())


def test_a_new_version_inherits_it() -> None:
    fold = Fold(DetectionConfig())
    fold_in(fold, cyclic(2_100), [])
    own, heir = signal_of(fold), ModelKey("m", "2")
    later = [Event(each.offset, each.features, heir, ts=each.ts) for each in cyclic(2_200)[2_100:]]
    fold_in(fold, later, [])
    assert own.rhythm is not None
    assert signal_of(fold, heir).rhythm is own.rhythm
    numbers = fold.snapshot()["fold"]["rhythm_numbers"]
    assert (numbers[:, 0] > 0).sum() == 1


def _swap(state: Arrays) -> None:
    """The rhythm is that of the other reference, which is of a share."""
    state["rhythm_numbers"] = state["rhythm_numbers"][::-1].copy()


@pytest.mark.parametrize(
    "change",
    [
        put("rhythm_numbers", (0, 0), 25),
        put("rhythm_numbers", (0, 0), -24),
        put("rhythm_numbers", (0, 0), 0),
        put("rhythm_numbers", (0, 0), 168),
        put("rhythm_numbers", (0, 1), 0),
        put("rhythm_numbers", (0, 1), -(2**63)),
        put("rhythm_numbers", (1, 1), 7),
        put("rhythm_shares", 0, 1.0),
        put("rhythm_shares", 0, math.nan),
        put("rhythm_knots", 3, math.nan),
        put("rhythm_knots", 3, math.inf),
        put("rhythm_knots", 3, -1e7),
        cut("rhythm_knots"),
        cut("rhythm_shares"),
        cut("rhythm_numbers"),
        _swap,
    ],
)
def test_a_made_up_rhythm_is_refused(change: Callable[[Arrays], None]) -> None:
    fold = Fold(DetectionConfig(quality=NO_QUALITY))
    fold_in(fold, cyclic(2_010), [])
    assert isinstance(signal_of(fold).ranks, Ranks)
    state = {part: dict(arrays) for part, arrays in fold.snapshot().items()}
    assert state["fold"]["rhythm_numbers"][:, 0].tolist() == [24, *[0] * 6]
    Fold(DetectionConfig(quality=NO_QUALITY), state)
    state["fold"] = {name: array.copy() for name, array in state["fold"].items()}
    change(state["fold"])
    with pytest.raises(StateError, match=r"rhythm"):
        Fold(DetectionConfig(quality=NO_QUALITY), state)
