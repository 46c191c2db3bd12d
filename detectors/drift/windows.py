"""The windows bank: whole windows of events against the frozen reference, within the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.base import Z_LIMIT, BankState, DetectorBank
from detectors.drift.bins import N_BINS, jensen_shannon, psi
from detectors.drift.cells import divergence_level
from detectors.drift.firings import FiringBuffer
from detectors.drift.focus import MAX_ARL0
from detectors.drift.lane_bank import LaneBank, walk
from detectors.drift.lane_table import (
    MAX_N,
    Column,
    require_all,
    require_lanes,
    with_room,
)
from detectors.drift.ranks import Frequencies, Indicator, LaneReference, rank_variance
from detectors.kernels.observe import CELL_NEW, CELL_OTHER
from detectors.kernels.windows import AT_REFERENCE, KS, N_LATEST, NEAR, WASSERSTEIN, windows_update
from schemas.batch import I32, Batch
from schemas.config import WindowsConfig
from schemas.findings import Distances, Firing

NAME: Final = "windows"

_B: Final = (N_BINS,)
_COLUMNS: Final = (
    Column("is_category", np.bool_, 0.0),
    Column("n_cuts", np.int32, 0),
    Column("arl0", np.float64, 0.0),
    Column("variance", np.float64, 1.0),
    Column("cuts", np.float64, 0.0, (N_BINS - 1,)),
    Column("reference", np.int32, 0, _B),
    Column("means", np.float64, 0.0, _B),
    Column("window", np.int64, -1),
    Column("first_offset", np.int64, -1),
    Column("counts", np.int32, 0, _B),
    Column("sums", np.float64, 0.0, _B),
    Column("distance", np.float64, 0.0),
    Column("standing", np.uint8, AT_REFERENCE),
    Column("limit", np.float64, 0.0),
    Column("latest_counts", np.int32, 0, _B),
    Column("latest", np.float64, 0.0, (N_LATEST,)),
)
MAX_REFERENCE: Final = 1_000_000
"""Rows of a reference, as in the config."""
LEAST_EXPECTED: Final = 10.0
"""A category of which so many rows are expected in a window, and none is there, has vanished: by
chance once in 20,000."""
_ROUNDING: Final = 1.001
MAX_MEAN: Final = Z_LIMIT * _ROUNDING
"""No mean of rows, whose sum was rounded, lies further out."""


class WindowsBank(LaneBank):
    """Fires where a window of a lane's model differs from its reference in whatever way.

    A ranked lane, once `learn` has given it a reference, counts the rows of each window of
    `window_events` events of its model by the reference's bins. It fires where the two-sample
    Kolmogorov-Smirnov distance on them is larger than the budget allows by chance, then not again
    until it has been near, and says in a firing of aspect `SETTLED` that it is back. Indicators it
    leaves alone: for two values a likelihood ratio says all there is to say. A lane of a category,
    which observes numbers of cells, fires where the relative entropy of a window is too large.
    """

    def __init__(self, config: WindowsConfig, n_lanes: int, state: BankState | None) -> None:
        self._config = config
        # One at a time: what the latest window held is looked up before the lane goes on.
        self._fired = FiringBuffer(capacity=1)
        columns = (Column("enabled", np.bool_, config.enabled), *_COLUMNS)
        super().__init__(columns, n_lanes, state)
        if state is not None:
            self._check()
        self._level = np.zeros(n_lanes)
        """(lanes,) derived from `arl0` and `variance`, no part of the state."""
        self._choose_level(np.arange(n_lanes, dtype=np.int32))

    def _check(self) -> None:
        lanes, at_most = self._lanes, self._config.window_events
        for name in lanes.names:
            if lanes[name].dtype.kind == "f":
                require_all(np.isfinite(lanes[name]), f"{name} is not finite")
        n_cuts, reference = lanes["n_cuts"], lanes["reference"]
        require_all((n_cuts >= 0) & (n_cuts < N_BINS), "n_cuts is out of range")
        used = n_cuts > 0
        require_all(~lanes["is_category"] | used, "a category has no cells")
        require_all((lanes["arl0"] >= 1.0) | ~used, "arl0 is out of range")
        require_all(lanes["arl0"] <= MAX_ARL0, "arl0 is out of range")
        require_all(lanes["variance"] >= 1.0, "variance is out of range")
        for name, most in (
            ("reference", MAX_REFERENCE),
            ("counts", at_most),
            ("latest_counts", at_most),
        ):
            total = lanes[name].sum(axis=1, dtype=np.int64)
            require_all((lanes[name] >= 0) & (lanes[name] <= most), f"{name} is out of range")
            require_all(total <= most, f"{name} is out of range")
        beyond = (np.arange(N_BINS) > n_cuts[:, np.newaxis]) | ~used[:, np.newaxis]
        for name in ("counts", "latest_counts"):
            require_all(~beyond | (lanes[name] == 0), "a row is counted in no bin")
        require_all(~used | (np.where(beyond, 0, reference) > 0).any(axis=1), "no reference")
        require_all(np.abs(lanes["means"]) <= MAX_MEAN, "means is out of range")
        window, first = lanes["window"], lanes["first_offset"]
        require_all((window >= -1) & (window <= MAX_N // at_most), "window is out of range")
        n_rows = lanes["counts"].sum(axis=1, dtype=np.int64)
        require_all(first >= -1, "first_offset is out of range")
        require_all((first >= 0) == (n_rows > 0), "first_offset does not fit the counts")
        most_sum = lanes["counts"] * MAX_MEAN
        require_all(np.abs(lanes["sums"]) <= most_sum, "sums is out of range")
        distance = lanes["distance"]
        require_all((distance >= 0) & (distance <= most_sum.sum(axis=1)), "distance is wrong")
        require_all(lanes["standing"] <= NEAR, "standing is unknown")
        require_all(lanes["limit"] >= 0.0, "limit is out of range")
        latest, furthest = lanes["latest"], 2.0 * MAX_MEAN
        require_all((latest >= 0.0) & (latest <= furthest), "latest is out of range")

    def learn(self, lanes: I32, references: Sequence[LaneReference]) -> None:
        """Give these lanes, freshly reset, their references; indicators get none."""
        require_lanes(lanes, self._lanes.n_lanes)
        for lane, reference in zip(lanes.tolist(), references, strict=True):
            ranks = reference.ranks
            if isinstance(ranks, Indicator):
                continue
            own = self._lanes
            own["arl0"][lane] = reference.arl0
            if isinstance(ranks, Frequencies):
                k = len(ranks.counts) - 1
                own["is_category"][lane] = True
                own["n_cuts"][lane] = k
                own["variance"][lane] = ranks.variance
                own["cuts"][lane, :k] = np.arange(k) + 0.5
                own["reference"][lane, : k + 1] = ranks.counts
                continue
            bins = ranks.bins
            k = len(bins.cuts)
            own["n_cuts"][lane] = k
            own["variance"][lane] = rank_variance(ranks)
            own["cuts"][lane, :k] = bins.cuts
            own["reference"][lane, : k + 1] = bins.counts
            own["means"][lane, : k + 1] = bins.means
        self._choose_level(lanes)

    def set_arl0(self, lanes: I32, arl0: float) -> None:
        """Let these lanes keep another rate from here on; one without a reference has none."""
        require_lanes(lanes, self._lanes.n_lanes)
        known = lanes[self._lanes["n_cuts"][lanes] > 0]
        self._lanes["arl0"][known] = arl0
        self._choose_level(known)

    def _choose_level(self, lanes: I32) -> None:
        """Give these lanes what their ARL0 asks; those without a reference need none."""
        n_cuts, arl0, variance = (self._lanes[name] for name in ("n_cuts", "arl0", "variance"))
        for lane in lanes[n_cuts[lanes] > 0].tolist():
            chance = min(self._config.window_events / float(arl0[lane]), 1.0)
            if self._lanes["is_category"][lane]:
                level = divergence_level(chance, int(n_cuts[lane]) + 1)
            else:
                level = squared_level(chance)
            self._level[lane] = float(variance[lane]) * level

    def update(self, batch: Batch) -> list[Firing]:
        """Fold a batch; the firings in no particular order. Raises IndexError: unknown lane."""
        lanes, fired = self._lanes, self._fired

        def go_on() -> int:
            return windows_update(
                *walk(batch),
                batch.model_event,
                lanes["enabled"],
                lanes["is_category"],
                lanes["n_cuts"],
                lanes["cuts"],
                lanes["reference"],
                lanes["means"],
                self._level,
                lanes["window"],
                lanes["first_offset"],
                lanes["counts"],
                lanes["sums"],
                lanes["distance"],
                lanes["standing"],
                lanes["limit"],
                lanes["latest_counts"],
                lanes["latest"],
                self._config.window_events,
                Z_LIMIT,
                lanes.n_lanes,
                fired.cursor,
                fired.row,
                fired.lane,
                fired.numbers,
                fired.change_offset,
            )

        return [
            firing._replace(
                distances=self.distances(firing.lane), vanished=self._vanished(firing.lane)
            )
            for some in self._advance(NAME, batch, fired, go_on)
            for firing in some
        ]

    def arl0(self, lane: int) -> float | None:
        """What this lane promises; None where it is off or has no reference."""
        is_on = self._lanes["enabled"][lane] and self._lanes["n_cuts"][lane] > 0
        return float(self._lanes["arl0"][lane]) if is_on else None

    def distances(self, lane: int) -> Distances | None:
        """How far the lane's latest whole window lay from its reference; None: there was none."""
        counts = self._lanes["latest_counts"][lane]
        if not counts.any():
            return None
        bins = slice(int(self._lanes["n_cuts"][lane]) + 1)
        reference, latest = self._lanes["reference"][lane], self._lanes["latest"][lane]
        read = psi(reference[bins], counts[bins]), jensen_shannon(reference[bins], counts[bins])
        if self._lanes["is_category"][lane]:
            new = round(float(counts[CELL_NEW] / counts.sum(dtype=np.int64)), 6)
            return Distances(*read, chi=round(float(latest[WASSERSTEIN]), 6), new=new)
        return Distances(
            *read,
            ks=round(float(latest[KS]), 6),
            wasserstein=round(float(latest[WASSERSTEIN]), 6),
        )

    def _vanished(self, lane: int) -> tuple[int, ...]:
        """The cells that the lane's latest whole window would hardly lack by chance, and lacks."""
        if not self._lanes["is_category"][lane]:
            return ()
        counts, reference = self._lanes["latest_counts"][lane], self._lanes["reference"][lane]
        n, n_reference = (float(each.sum(dtype=np.int64)) for each in (counts, reference))
        is_gone = (counts == 0) & (reference * n >= LEAST_EXPECTED * n_reference)
        is_gone[[CELL_OTHER, CELL_NEW]] = False
        return tuple(np.flatnonzero(is_gone).tolist())

    def resize(self, n_lanes: int) -> None:
        """Make room for lanes 0..n_lanes-1."""
        super().resize(n_lanes)
        self._level = with_room(self._level, n_lanes)


def squared_level(chance: float) -> float:
    """What D**2 / (1 / n + 1 / n') of two samples of one law exceeds with at most this chance.

    From 2 exp(-2 m D**2) with 1 / m = 1 / n + 1 / n': Massart (Annals of Probability 1990), for
    two samples Wei and Dudley (Statistics and Probability Letters 2012). `chance` is 0 to 1.
    """
    return math.log(2.0 / chance) / 2.0


def build(config: WindowsConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return WindowsBank(config, n_lanes, state)
