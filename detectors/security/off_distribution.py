"""Sources whose rows are not such as benign rows of the same predicted classes are."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.base import BankState, StateError
from detectors.drift.lane_table import (
    MAX_N,
    Column,
    LaneTable,
    require_all,
    require_names,
)
from detectors.kernels import off_distribution as kernel
from detectors.security.base import (
    MAX_CLASSES,
    MAX_DIMS,
    N_KINDS,
    Calibration,
    SecurityBank,
    SecurityRows,
    SecuritySpec,
    Suspicion,
    Technique,
)
from detectors.security.binomial import critical_counts
from detectors.security.kind_table import KindTable, begin_anew, calibrated, jitter
from detectors.security.off_distribution_fit import fit, strictest
from detectors.security.random_features import columns_of, normal_table
from schemas.batch import I32
from schemas.security_config import OffDistributionConfig

NAME: Final = "off_distribution"

_UNLIKELY: Final = 10**6
"""So many hits of one source, as the others go: one time in so many."""
_LATEST: Final = np.uint64((1 << kernel.RING) - 1)
_F: Final = kernel.N_FEATURES
_MAX_SEED: Final = 2.0**52
_MAX_MEAN: Final = 1.0
_KINDS: Final = (
    Column("seed", np.uint64, 0),
    Column("width", np.float64, 1.0),
    Column("mean", np.float32, 0.0, (MAX_CLASSES, _F)),
    Column("window_threshold", np.float64, 0.0),
    Column("centre", np.float32, 0.0, (MAX_CLASSES, MAX_DIMS)),
    Column("inverse_scale", np.float32, 1.0, (MAX_CLASSES, MAX_DIMS)),
    Column("event_threshold", np.float64, 0.0),
    Column("event_need", np.int32, kernel.RING),
    Column("is_reviewed", np.bool_, 0),
    Column("sum_all", np.float64, 0.0, (_F,)),
    Column("n_all", np.int64, 0, (2,)),
)
_PLACES: Final = (
    Column("owner", np.int32, -1),
    Column("judged", np.int32, 0),
    Column("n_rows", np.int64, 0),
    Column("evidence", np.int64, 0, (2, kernel.N_EVIDENCE)),
    Column("hits", np.uint64, 0),
    Column("ring", np.int64, 0, (kernel.SPAN, 2)),
    Column("block_sum", np.float64, 0.0, (2, _F)),
    Column("block_start", np.float64, 0.0, (2, _F)),
    Column("block_n_start", np.int64, 0, (2,)),
    Column("block_first", np.int64, 0, (2, 2)),
)
_RULES: Final = ("window", "event")


class OffDistributionBank:
    """Two rules for each source, both conditional on the predicted class.

    `window`: the sum of the deviations of 100 distinct rows, in random Fourier features, from the
    means of their classes. `event`: so many of 16 distinct rows that lie far from the centre of
    their class. Both fire only where the other sources of the kind, in the same stretch of the log,
    do not do the same: an honest drift moves all.
    """

    def __init__(self, n_models: int, n_places: int, salt: int, state: BankState | None) -> None:
        self._salt = salt
        self._n_models = n_models
        self._kinds = KindTable(_KINDS, n_models, state)
        self._places = LaneTable(_PLACES, n_places, state)
        if state is not None:
            require_names(state, {*self._kinds.names, *self._places.names})
            self._check()
        self._derive()

    def _derive(self) -> None:
        """The directions of every calibration, which follow from its seed."""
        columns = [columns_of(int(seed)) for seed in self._kinds["seed"]]
        shape = (len(columns), MAX_DIMS)
        self._row = np.array([each.row for each in columns], np.int32).reshape(shape)
        self._at = np.array([each.at for each in columns], np.int32).reshape(shape)

    def _check(self) -> None:
        kinds, places = self._kinds, self._places
        for table in (kinds, places):
            for name in table.names:
                if name != "entry" and table[name].dtype.kind == "f":
                    require_all(np.isfinite(table[name]), f"{name} is not finite")
        require_all(kinds["seed"] < np.uint64(_MAX_SEED), "seed is out of range")
        require_all(kinds["width"] >= 0.1, "width is out of range")
        require_all(np.abs(kinds["mean"]) <= _MAX_MEAN, "mean is out of range")
        require_all(np.abs(kinds["centre"]) <= 9.0, "centre is out of range")
        inverse = kinds["inverse_scale"]
        require_all((inverse > 0.0) & (inverse <= 1e6), "inverse_scale is out of range")
        for name in ("window_threshold", "event_threshold"):
            require_all((kinds[name] >= 0.0) & (kinds[name] <= 1e6), f"{name} is out of range")
        need = kinds["event_need"]
        require_all((need >= 1) & (need <= kernel.RING), "event_need is out of range")
        n_all = kinds["n_all"]
        require_all((n_all >= 0) & (n_all <= MAX_N), "n_all is out of range")
        require_all(n_all[:, 1] <= n_all[:, 0], "n_all has more hits than rows")
        for name in ("block_sum", "block_start", "sum_all"):
            array = kinds[name] if name == "sum_all" else places[name]
            require_all(np.abs(array) <= 2.0 * MAX_N, f"{name} is out of range")
        owner, judged = places["owner"], places["judged"]
        require_all((owner >= -1) & (owner < self._n_models), "owner is out of range")
        require_all((judged >= 0) & (judged < N_KINDS), "judged is out of range")
        require_all(
            (places["n_rows"] >= 0) & (places["n_rows"] <= MAX_N), "a count is out of range"
        )
        evidence = places["evidence"]
        require_all(
            (evidence[..., : kernel.FIRST_OFFSET] >= 0)
            & (evidence[..., : kernel.FIRST_OFFSET] <= 2 * MAX_N),
            "evidence is out of range",
        )
        for name in ("ring", "block_n_start"):
            require_all((places[name] >= 0) & (places[name] <= MAX_N), f"{name} is out of range")
        self._check_others()

    def _check_others(self) -> None:
        """What a place noted of all rows is no more than there are."""
        places, kinds = self._places, self._kinds
        used = np.flatnonzero(places["owner"] >= 0)
        entry = kinds.entry[places["owner"][used], places["judged"][used]]
        n_all = np.zeros((len(used), 2), np.int64)
        n_all[entry >= 0] = kinds["n_all"][entry[entry >= 0]]
        ring, start = places["ring"][used], places["block_n_start"][used]
        require_all(ring <= n_all[:, np.newaxis], "ring is out of range")
        require_all(start <= n_all[:, :1], "block_n_start is out of range")
        require_all(places["n_rows"][used][entry < 0] == 0, "rows were judged by nothing")

    def update(self, rows: SecurityRows) -> list[Suspicion]:
        """Fold a stretch; raises IndexError at a model, kind or place that there is not."""
        n = len(rows)
        fired_row = np.zeros(2 * n, np.int64)
        fired = np.zeros((2 * n, kernel.N_FIRED))
        fired_first = np.zeros((2 * n, 2), np.int64)
        kinds, places = self._kinds, self._places
        n_fired = kernel.off_distribution_update(
            rows.offset,
            rows.event_time_ms,
            rows.model,
            rows.z,
            rows.is_repeat,
            rows.source,
            rows.is_first,
            rows.kind,
            rows.predicted,
            rows.n_dims,
            rows.n_numbers,
            kinds.entry,
            normal_table(),
            self._row,
            self._at,
            kinds["seed"],
            1.0 / kinds["width"],
            kinds["mean"],
            kinds["centre"],
            kinds["inverse_scale"],
            kinds["window_threshold"],
            kinds["event_threshold"],
            kinds["event_need"],
            critical_counts(kernel.RING, _UNLIKELY),
            kinds["sum_all"],
            kinds["n_all"],
            places["owner"],
            places["judged"],
            places["n_rows"],
            places["evidence"],
            places["hits"],
            places["ring"],
            places["block_sum"],
            places["block_start"],
            places["block_n_start"],
            places["block_first"],
            np.empty(kernel.N_DIRECTIONS, np.float32),
            np.empty(_F, np.float32),
            fired_row,
            fired,
            fired_first,
        )
        if n_fired < 0:
            raise IndexError(f"rows of a model, a kind or a place that {NAME} has not")
        return [
            self._suspicion(rows, *each)
            for each in zip(
                fired_row[:n_fired].tolist(),
                fired[:n_fired].tolist(),
                fired_first[:n_fired].tolist(),
                strict=True,
            )
        ]

    def _suspicion(
        self, rows: SecurityRows, i: int, fired: list[float], first: list[int]
    ) -> Suspicion:
        model, place = int(rows.model[i]), int(rows.source[i])
        entry = self._kinds.entry[model, self._places["judged"][place]]
        rule = _RULES[int(fired[kernel.WHAT])]
        return Suspicion(
            offset=int(rows.offset[i]),
            event_row=int(rows.event_row[i]),
            model=model,
            source=place,
            detector=NAME,
            technique=Technique.OFF_DISTRIBUTION,
            event_time_ms=int(rows.event_time_ms[i]),
            statistic=fired[kernel.STATISTIC],
            threshold=fired[kernel.THRESHOLD],
            n_hits=int(fired[kernel.HITS]),
            n_seen=int(fired[kernel.SEEN]),
            first_offset=first[0],
            first_time_ms=first[1],
            # Independent rows come to about 1 in a window, by how the features are scaled.
            baseline=1.0 if rule == "window" else 0.0,
            is_provisional=not bool(self._kinds["is_reviewed"][entry]),
            detail=rule,
        )

    def calibrate(self, model: int, kind: int, calibration: Calibration, *, reviewed: bool) -> None:
        """Judge by this from here on; the sources that it is about begin anew."""
        values = _values(calibration, jitter(self._salt, model, kind))
        self._kinds.give(model, kind, {**values, "is_reviewed": reviewed})
        self._derive()
        begin_anew(self._places, model, kind)

    def forget(self, model: int) -> None:
        """The slot is another model's from here on."""
        self._kinds.forget(model)
        self._derive()
        begin_anew(self._places, model)

    def standing(self) -> I32:
        """(S,) hits among the latest rows, and windows that were strange not long ago."""
        places = self._places
        hits = np.bitwise_count(places["hits"] & _LATEST).astype(np.int64)
        window = places["evidence"][:, kernel.WINDOW_RULE]
        is_recent = places["n_rows"] - window[:, kernel.LAST] <= kernel.QUIET
        total = np.where(is_recent, window[:, kernel.TOTAL], 0)
        found: I32 = np.minimum(hits + total, 2**31 - 1).astype(np.int32)
        return found

    def snapshot(self) -> BankState:
        """The whole state; a function of the rows alone."""
        return {**self._kinds.snapshot(), **self._places.snapshot()}


def _values(calibration: Calibration, factor: float) -> dict[str, object]:
    """The columns of a calibration, checked, its thresholds times the factor."""
    names = {"seed", "width", "mean", "window_threshold"}
    require_names(calibration, names | {"centre", "scale", "event_threshold", "event_need"})
    seed = calibrated(calibration, "seed", (1,), 0.0, _MAX_SEED - 1.0)
    need = calibrated(calibration, "event_need", (1,), 1.0, float(kernel.RING))
    if seed[0] != np.rint(seed[0]) or need[0] != np.rint(need[0]):
        raise StateError("seed or event_need is not whole")
    mean = calibrated(calibration, "mean", (MAX_CLASSES, _F), -_MAX_MEAN, _MAX_MEAN)
    by_class = (MAX_CLASSES, MAX_DIMS)
    centre = calibrated(calibration, "centre", by_class, -9.0, 9.0)
    scale = calibrated(calibration, "scale", by_class, 1e-3, 1e3)
    return {
        "seed": np.uint64(seed[0]),
        "width": calibrated(calibration, "width", (1,), 0.1, 1e3)[0],
        "mean": mean.astype(np.float32),
        "window_threshold": calibrated(calibration, "window_threshold", (1,), 0.0, 1e5)[0] * factor,
        "centre": centre.astype(np.float32),
        "inverse_scale": (1.0 / scale).astype(np.float32),
        "event_threshold": calibrated(calibration, "event_threshold", (1,), 0.0, 1e5)[0] * factor,
        "event_need": np.int32(need[0]),
    }


def build(
    config: OffDistributionConfig,  # noqa: ARG001 - there is nothing to set
    n_models: int,
    n_places: int,
    salt: int,
    state: BankState | None,
) -> SecurityBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return OffDistributionBank(n_models, n_places, salt, state)


SPEC: Final = SecuritySpec(NAME, 1, OffDistributionConfig, build, fit, strictest, "root of rows")
