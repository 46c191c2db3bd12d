"""The FOCuS bank: a change of location, spread or frequency, at a stated false-alarm rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from detectors.base import Z_LIMIT, BankState, DetectorBank
from detectors.drift.firings import FiringBuffer
from detectors.drift.lane_bank import LaneBank, walk
from detectors.drift.lane_table import (
    MAX_N,
    Column,
    require_all,
    require_lanes,
    with_room,
    within,
)
from detectors.drift.ranks import GRAIN, MAX_ORDER, N_CUTS, Frequencies, Indicator, LaneReference
from detectors.drift.thresholds import octave_thresholds
from detectors.kernels.focus import (
    BASE_RAW,
    BASE_SUM,
    BASE_T,
    BOUND,
    CAP,
    FORM_BINARY,
    FORM_NONE,
    FORM_RANKED,
    LAST,
    LEAST_SCALE,
    MAX_ALARMS,
    N_AFFINE,
    N_ASPECTS,
    N_COLLECTED,
    N_FIELDS,
    N_OCTAVES,
    N_SIDES,
    N_SUMS,
    N_WALK,
    NEXT_SCALE,
    OFFSET,
    SUM,
    SUMS,
    TOTAL_RAW,
    T,
    focus_update,
)
from schemas.batch import I32, Batch
from schemas.config import FocusConfig
from schemas.findings import Firing

NAME: Final = "focus"

_A: Final = (N_ASPECTS,)
_IDENTITY: Final = (0.0, 1.0) * (1 + N_ASPECTS)
_COLUMNS: Final = (
    Column("form", np.uint8, FORM_NONE),
    Column("arl0", np.float64, 0.0),
    Column("n_cuts", np.int32, 0),
    Column("n", np.int64, 0),
    Column("walk", np.float64, 0.0, (N_ASPECTS, N_WALK)),
    Column("variance", np.float64, 1.0, _A),
    Column("lightest", np.float64, 1.0, _A),
    Column("n_vertices", np.uint8, 0, (N_ASPECTS, N_SIDES)),
    Column("vertex", np.float64, 0.0, (N_ASPECTS, N_SIDES, CAP, N_FIELDS)),
    Column("cuts", np.float64, 0.0, (N_CUTS,)),
    Column("location", np.int32, 0, (N_CUTS + 1,)),
    Column("spread", np.int32, 0, (N_CUTS + 1,)),
    Column("coefficient", np.float64, 0.0, (MAX_ORDER,)),
    Column("recent", np.float64, 0.0, (MAX_ORDER,)),
    Column("affine", np.float64, _IDENTITY, (N_AFFINE,)),
    Column("n_baseline", np.int32, 0),
    Column("n_collected", np.int32, -1),
    Column("n_alarms", np.uint8, 0),
    Column("inflation", np.float64, 1.0),
    Column("collected", np.float64, 0.0, (N_COLLECTED,)),
)
MAX_ARL0: Final = 1e18
MIN_BASELINE: Final = 20
MAX_BASELINE: Final = 1_000_000
MAX_SUM: Final = float(2**62)
MAX_SCORE: Final = 16 * int(GRAIN)
"""No normal score, in 1/65536, lies further out."""


class LaneBudget(NamedTuple):
    """What a lane promises, and over how many rows it has had to keep it."""

    n: int
    """Rows observed since its reference."""
    arl0: float
    n_aspects: int
    """2: location and spread of normal scores; 1: a frequency."""
    youngest: float
    """Threshold of the log likelihood ratio at ages of 1 to 15 rows."""
    oldest: float
    """The lowest one, at the longest ages."""


class Moved(NamedTuple):
    """Where a lane has been since the change that it fired at last."""

    mean: float
    """Of its observations, in z; of a spread, of their distances."""
    n: int


class FocusBank(LaneBank):
    """Fires where a lane's rows have changed against those before, whenever and however far.

    A lane observes nothing until `learn` has given it a reference. A ranked lane watches two
    aspects of its normal scores, location and spread; an indicator its frequency. After an alarm
    it begins at once at the change point; a working baseline takes over later, and is said in a
    firing of aspect `SETTLED`: `statistic` is its mean distance, `threshold` its mean square, both
    from the reference mean. Source: Romano, Eckley, Fearnhead, Rigaill (JMLR 2023).
    """

    def __init__(self, config: FocusConfig, n_lanes: int, state: BankState | None) -> None:
        self._config = config
        self._fired = FiringBuffer()
        columns = (Column("enabled", np.bool_, config.enabled), *_COLUMNS)
        super().__init__(columns, n_lanes, state)
        if state is not None:
            self._check()
        self._thresholds = np.zeros((n_lanes, N_OCTAVES))
        """(lanes, octaves) derived from `arl0` and `form`, no part of the state."""
        self._choose_thresholds(np.arange(n_lanes, dtype=np.int32))

    def _check(self) -> None:
        lanes = self._lanes
        n, n_baseline, n_collected = lanes["n"], lanes["n_baseline"], lanes["n_collected"]
        for name in lanes.names:
            if lanes[name].dtype.kind == "f":
                require_all(np.isfinite(lanes[name]), f"{name} is not finite")
        require_all(lanes["form"] <= FORM_BINARY, "form is unknown")
        used, ranked = lanes["form"] != FORM_NONE, lanes["form"] == FORM_RANKED
        require_all((lanes["arl0"] >= 1.0) | ~used, "arl0 is out of range")
        require_all(lanes["arl0"] <= MAX_ARL0, "arl0 is out of range")
        require_all((n >= 0) & (n <= MAX_N), "a count is out of range")
        require_all((lanes["n_cuts"] >= 0) & (lanes["n_cuts"] <= N_CUTS), "n_cuts is out of range")
        for name in ("location", "spread"):
            require_all(within(lanes[name], MAX_SCORE), f"{name} is out of range")
        require_all(lanes["variance"] >= 1.0, "variance is out of range")
        require_all(lanes["lightest"] > 0.0, "lightest is out of range")
        require_all(lanes["affine"][:, 1::2] > 0.0, "affine is out of range")
        require_all(lanes["n_alarms"] <= MAX_ALARMS + 1, "n_alarms is out of range")
        require_all(lanes["inflation"] >= 1.0, "inflation is out of range")
        require_all((n_baseline >= MIN_BASELINE) | ~used, "n_baseline is out of range")
        require_all((n_baseline >= 0) & (n_baseline <= MAX_BASELINE), "n_baseline is out of range")
        require_all(n_collected >= -1, "n_collected is out of range")
        require_all(n_collected < np.maximum(n_baseline, 1), "n_collected is out of range")
        collected = lanes["collected"]
        is_narrow = collected[:, NEXT_SCALE] < LEAST_SCALE
        require_all(~(is_narrow & ranked & (n_collected > 0)), "collected is out of range")
        measured = ranked & (n_collected > n_baseline // 2)
        for at in (2, 3, 2 + N_SUMS, 3 + N_SUMS):
            require_all((collected[:, SUMS + at] > 0.0) | ~measured, "collected is out of range")
        self._check_hulls()

    def _check_hulls(self) -> None:
        lanes = self._lanes
        walk, vertex, size = lanes["walk"], lanes["vertex"], lanes["n_vertices"]
        require_all(size <= CAP, "n_vertices is out of range")
        require_all(np.abs(walk) <= MAX_SUM, "walk is out of range")
        require_all(walk[..., BOUND] >= 0.0, "walk has a bound that is none")
        require_all(np.abs(vertex) <= MAX_SUM, "vertex is out of range")
        whole = (T, SUM, OFFSET)
        require_all(vertex[..., whole] == np.rint(vertex[..., whole]), "vertex is not whole")
        require_all(vertex[..., OFFSET] >= -1.0, "vertex has an offset that is none")
        base_t = walk[:, :, BASE_T]
        now = lanes["n"][:, np.newaxis]
        require_all((base_t == np.rint(base_t)) & (base_t <= now), "walk is out of range")
        kept = np.arange(CAP) < size[..., np.newaxis]
        t = vertex[..., T]
        after = (t > base_t[:, :, np.newaxis, np.newaxis]) & (t >= 0)
        fits = after & (t <= now[:, :, np.newaxis, np.newaxis])
        require_all(fits | ~kept, "vertex is out of range")
        require_all((np.diff(t, axis=-1) > 0) | ~kept[..., 1:], "vertices do not ascend")

    def learn(self, lanes: I32, references: Sequence[LaneReference]) -> None:
        """Give these lanes, freshly reset, their references; each begins after its last row."""
        require_lanes(lanes, self._lanes.n_lanes)
        for lane, reference in zip(lanes.tolist(), references, strict=True):
            self._learn(lane, reference)
        self._choose_thresholds(lanes)

    def _learn(self, lane: int, reference: LaneReference) -> None:
        own = {name: self._lanes[name][lane : lane + 1] for name in self._lanes.names}
        ranks = reference.ranks
        if isinstance(ranks, Frequencies):
            return
        own["arl0"][:] = reference.arl0
        own["n_baseline"][:] = min(max(ranks.n, MIN_BASELINE), self._config.baseline_rows)
        own["walk"][0, :, BASE_T] = -ranks.n
        if isinstance(ranks, Indicator):
            own["form"][:] = FORM_BINARY
            own["n_cuts"][:] = 1
            own["cuts"][0, 0] = ranks.cut
            own["variance"][:] = ranks.variance
            own["walk"][0, 0, BASE_SUM] = -ranks.ones
            own["walk"][0, 0, BASE_RAW] = -ranks.raw
            own["walk"][0, 0, LAST] = ranks.ones / ranks.n
            return
        k = len(ranks.cuts)
        own["form"][:] = FORM_RANKED
        own["n_cuts"][:] = k
        own["cuts"][0, :k] = ranks.cuts
        own["location"][0, : k + 1] = ranks.location
        own["spread"][0, : k + 1] = ranks.spread
        own["coefficient"][0] = ranks.coefficient
        own["recent"][0] = ranks.recent
        own["variance"][0] = np.multiply(ranks.variance, GRAIN * GRAIN)
        own["lightest"][0] = own["variance"][0] / ranks.tails
        own["walk"][0, :, BASE_SUM] = np.negative(ranks.sums)
        own["walk"][0, :, BASE_RAW] = np.negative(ranks.raw)
        own["walk"][0, :, LAST] = np.divide(ranks.sums, ranks.n)

    def set_arl0(self, lanes: I32, arl0: float) -> None:
        """Let these lanes keep another rate from here on; one without a reference has none."""
        require_lanes(lanes, self._lanes.n_lanes)
        known = lanes[self._lanes["form"][lanes] != FORM_NONE]
        self._lanes["arl0"][known] = arl0
        self._choose_thresholds(known)

    def _choose_thresholds(self, lanes: I32) -> None:
        """Give these lanes the thresholds of their ARL0; those without a reference need none."""
        arl0, form = self._lanes["arl0"], self._lanes["form"]
        for lane in lanes[form[lanes] != FORM_NONE].tolist():
            share = N_ASPECTS if form[lane] == FORM_RANKED else 1
            self._thresholds[lane] = octave_thresholds(float(arl0[lane]) * share)

    def budget(self, lane: int) -> LaneBudget | None:
        """What this lane promises; None where it is off or has no reference."""
        form = self._lanes["form"][lane]
        if form == FORM_NONE or not self._lanes["enabled"][lane]:
            return None
        n, arl0 = int(self._lanes["n"][lane]), float(self._lanes["arl0"][lane])
        thresholds = self._thresholds[lane].tolist()
        return LaneBudget(
            n, arl0, N_ASPECTS if form == FORM_RANKED else 1, thresholds[0], thresholds[-1]
        )

    def moved(self, lane: int, aspect: int) -> Moved | None:
        """Where an aspect (mean 0, spread 1) is since the latest alarm of a lane.

        None where there was none, or a working baseline has been taken up since, and has said so.
        """
        lanes = self._lanes
        if not lanes["enabled"][lane] or lanes["n_collected"][lane] < 0:
            return None
        walk = lanes["walk"][lane, aspect]
        n = int(lanes["n"][lane] - walk[BASE_T])
        return Moved(float(walk[TOTAL_RAW] - walk[BASE_RAW]) / n, n) if n > 0 else None

    def update(self, batch: Batch) -> list[Firing]:
        """Fold a batch; the firings in no particular order. Raises IndexError: unknown lane."""
        lanes, fired = self._lanes, self._fired

        def go_on() -> int:
            return focus_update(
                *walk(batch),
                lanes["enabled"],
                lanes["form"],
                lanes["n_cuts"],
                lanes["n"],
                lanes["walk"].reshape(-1),
                lanes["variance"],
                lanes["lightest"],
                lanes["n_vertices"].reshape(-1),
                lanes["vertex"].reshape(-1),
                lanes["cuts"],
                lanes["location"],
                lanes["spread"],
                lanes["coefficient"],
                lanes["recent"],
                lanes["affine"],
                self._thresholds,
                lanes["n_baseline"],
                lanes["n_collected"],
                lanes["n_alarms"],
                lanes["inflation"],
                lanes["collected"],
                Z_LIMIT,
                lanes.n_lanes,
                fired.cursor,
                fired.row,
                fired.lane,
                fired.numbers,
                fired.change_offset,
            )

        return [f for some in self._advance(NAME, batch, fired, go_on) for f in some]

    def resize(self, n_lanes: int) -> None:
        """Make room for lanes 0..n_lanes-1."""
        super().resize(n_lanes)
        self._thresholds = with_room(self._thresholds, n_lanes)


def build(config: FocusConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return FocusBank(config, n_lanes, state)
