"""The exposure bank: how much of a model each source has had answered. A rank, no accusation.

Whoever copies a model with inputs like those of honest clients looks like a heavy honest client,
and no statistic of the queries tells the two apart. So each source is ranked by its exposure: the
share of the cells that benign traffic reaches, times by how much that is more than benign clients
have seen after as many rows. A source says so once at a warn and once at an alarm level, and only
if it has seen more than benign clients of as many rows do. After Kesarwani et al. (2018).

A thief of benign inputs is never said, only ranked. One who spreads over sources is ranked once
for each.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, require_array
from detectors.drift.lane_table import MAX_N, require_all, require_names, within
from detectors.kernels.compile import DONE
from detectors.kernels.exposure import (
    EXCESS,
    MAX_RANK,
    N_AXES,
    N_OCTAVES,
    N_REGISTERS,
    REACHABLE,
    count_distinct,
    exposure_update,
    exposures,
)
from detectors.mixing import GOLDEN, splitmix64
from detectors.security.base import (
    MAX_DIMS,
    N_KINDS,
    Calibration,
    SecurityBank,
    SecurityRows,
    SecuritySpec,
    Suspicion,
    Technique,
)
from detectors.security.exposure_fit import MAX_CELLS, fit, grid, require, strictest
from detectors.security.kernel_rows import kernel_rows
from schemas.batch import F64, I32, I64
from schemas.security_config import ExposureConfig

NAME: Final = "exposure"
LEVELS: Final = (0.25, 0.5)
"""Warn and alarm."""
DETAIL: Final = "exposure"
JITTER: Final = 0.05
MAX_EXCESS: Final = 1e6


class Exposed(NamedTuple):
    """What one source has seen of a model."""

    place: int
    model: int
    exposure: float
    """0..1"""
    cells: float
    """Estimated, to 6.5 %."""
    expected: float
    """Cells of benign clients after as many rows."""
    n_rows: int
    """Distinct ones."""
    level: int
    """0; 1: the warn level was said; 2: the alarm level."""


class ExposureBank:
    """A HyperLogLog of occupied cells and a count of distinct rows of each place."""

    def __init__(
        self,
        config: ExposureConfig,
        n_models: int,
        n_places: int,
        salt: int,
        state: BankState | None,
    ) -> None:
        self._config = config
        self._salt = salt & (2**64 - 1)
        forms = _forms(n_models, n_places)
        self._arrays: dict[str, NDArray[Any]] = {}
        if state is None:
            for name, (dtype, shape, initial) in forms.items():
                self._arrays[name] = np.full(shape, initial, dtype)
        else:
            require_names(state, set(forms))
            for name, (dtype, shape, _) in forms.items():
                self._arrays[name] = require_array(state, name, dtype, shape)
            self._check(n_models)
        self._said = np.zeros(3)
        self._levels = np.array([LEVELS])

    def _check(self, n_models: int) -> None:
        own = self._arrays
        for name in ("axes", "phase"):
            require_all(np.isfinite(own[name]), f"{name} is not finite")
        limits, curve = own["limits"], own["curve"]
        require_all((limits >= 0.0) & (limits <= MAX_CELLS), "limits are out of range")
        require_all((curve > 0.0) & (curve <= MAX_CELLS), "curve is out of range")
        require_all(own["given"] <= 1, "given is out of range")
        require_all(own["reviewed"] <= 1, "reviewed is out of range")
        require_all(own["registers"] <= MAX_RANK, "registers are out of range")
        require_all((own["n_rows"] >= 0) & (own["n_rows"] <= MAX_N), "n_rows is out of range")
        require_all(own["level"] <= len(LEVELS), "level is out of range")
        is_empty = ~own["registers"].any(axis=1)
        require_all((own["n_rows"] == 0) == is_empty, "n_rows is not what the registers say")
        model, kind = own["place_model"], own["place_kind"]
        require_all((model >= -1) & (model < n_models), "place_model is out of range")
        require_all((kind >= 0) & (kind < N_KINDS), "place_kind is out of range")
        for name in ("first_offset", "first_time"):
            require_all(within(own[name], MAX_N), f"{name} is out of range")

    def calibrate(self, model: int, kind: int, calibration: Calibration, *, reviewed: bool) -> None:
        """Judge by this from here on; what its places have seen in other cells is forgotten."""
        own = self._arrays
        word = splitmix64(np.array([self._salt ^ model], np.uint64) + GOLDEN)[0]
        axes, phase = grid(calibration, int(word))
        curve = require(calibration, "curve", (N_OCTAVES,), 1e-6, MAX_CELLS)
        reachable = float(require(calibration, "reachable", (1,), 1.0, MAX_CELLS)[0])
        excess = float(require(calibration, "excess", (1,), 1.0, MAX_EXCESS)[0])
        shaken = 1.0 + JITTER * (2.0 * (int(word) >> 11) / 2**53 - 1.0)
        if kind == 0:
            self.forget(model)
        own["given"][model, kind] = 1
        kinds = [kind]
        if kind == 0:
            kinds = [k for k in range(N_KINDS) if k == 0 or not own["given"][model, k]]
        own["axes"][model, kinds] = axes
        own["phase"][model, kinds] = phase
        own["curve"][model, kinds] = curve
        own["limits"][model, kinds, REACHABLE] = reachable
        own["limits"][model, kinds, EXCESS] = max(1.0, excess * shaken)
        own["reviewed"][model, kinds] = reviewed
        self._empty((own["place_model"] == model) & np.isin(own["place_kind"], kinds))

    def _empty(self, places: NDArray[np.bool_]) -> None:
        for name, (_, _, initial) in _PLACE.items():
            self._arrays[name][places] = initial

    def forget(self, model: int) -> None:
        """No cell and no curve of the model is left."""
        own = self._arrays
        self._empty(own["place_model"] == model)
        for name in ("axes", "phase", "limits", "given", "reviewed"):
            own[name][model] = 0
        own["curve"][model] = 1.0

    def update(self, rows: SecurityRows) -> list[Suspicion]:
        """Advance over the rows. Raises IndexError at a model or a place that it has not."""
        own = self._arrays
        if not self._config.enabled or not len(rows):
            return []
        z, kind, n_dims, n_numbers = kernel_rows(rows, len(own["limits"]), len(own["level"]))
        cursor = np.zeros(3, np.int64)
        suspicions: list[Suspicion] = []
        while True:
            status = exposure_update(
                rows.offset,
                rows.event_time_ms,
                rows.model,
                z,
                rows.is_repeat,
                rows.source,
                rows.is_first,
                kind,
                n_dims,
                n_numbers,
                np.uint64(self._salt),
                own["axes"],
                own["phase"],
                own["curve"],
                own["limits"],
                self._levels,
                own["registers"],
                own["n_rows"],
                own["level"],
                own["first_offset"],
                own["first_time"],
                own["place_model"],
                own["place_kind"],
                self._said,
                cursor,
            )
            if status == DONE:
                return suspicions
            suspicions.append(self._suspicion(rows, cursor, int(kind[cursor[0] - 1])))

    def _suspicion(self, rows: SecurityRows, cursor: I64, kind: int) -> Suspicion:
        own = self._arrays
        row, place, level = (int(x) for x in (cursor[0] - 1, cursor[1], cursor[2]))
        model = int(rows.model[row])
        exposure, cells, expected = self._said.tolist()
        return Suspicion(
            offset=int(rows.offset[row]),
            event_row=int(rows.event_row[row]),
            model=model,
            source=place,
            detector=NAME,
            technique=Technique.EXTRACTION,
            event_time_ms=int(rows.event_time_ms[row]),
            statistic=exposure,
            threshold=LEVELS[level - 1],
            n_hits=round(cells),
            n_seen=int(own["n_rows"][place]),
            first_offset=int(own["first_offset"][place]),
            first_time_ms=int(own["first_time"][place]),
            baseline=min(1.0, expected / float(own["limits"][model, kind, REACHABLE])),
            is_provisional=not own["reviewed"][model, kind],
            detail=DETAIL,
        )

    def ranked(self, model: int, limit: int) -> list[Exposed]:
        """The sources of a model that have seen most of it, the most exposed first."""
        own = self._arrays
        seen: F64 = np.empty((len(own["level"]), 3))
        exposures(
            own["place_model"],
            own["place_kind"],
            own["n_rows"],
            own["registers"],
            own["curve"],
            own["limits"],
            seen,
        )
        places = np.flatnonzero((own["place_model"] == model) & (own["n_rows"] > 0))
        # Of those that have seen all, who saw more of it beside benign clients.
        order = np.lexsort((places, -seen[places, 1], -seen[places, 0]))
        return [
            Exposed(
                place,
                model,
                float(seen[place, 0]),
                float(seen[place, 1]),
                float(seen[place, 2]),
                int(own["n_rows"][place]),
                int(own["level"][place]),
            )
            for place in places[order][:limit].tolist()
        ]

    def standing(self) -> I32:
        """(S,) the level that each place has reached: 0, 1 or 2."""
        return self._arrays["level"].astype(np.int32)

    def snapshot(self) -> BankState:
        """Copies of all arrays."""
        return {name: array.copy() for name, array in self._arrays.items()}


_Form = tuple[type[Any], tuple[int, ...], float]

_PLACE: Final[dict[str, _Form]] = {
    "registers": (np.uint8, (N_REGISTERS,), 0),
    "n_rows": (np.int64, (), 0),
    "level": (np.uint8, (), 0),
    "first_offset": (np.int64, (), 0),
    "first_time": (np.int64, (), 0),
    "place_model": (np.int32, (), -1),
    "place_kind": (np.int32, (), 0),
}
"""dtype, shape of one place's entry, and what stands in an empty one: 285 bytes a place."""


def _forms(n_models: int, n_places: int) -> dict[str, _Form]:
    """Each array: dtype, shape, and what stands in it at first."""
    kinds = (n_models, N_KINDS)
    return {
        "axes": (np.float64, (*kinds, MAX_DIMS, N_AXES), 0.0),
        "phase": (np.float64, (*kinds, N_AXES), 0.0),
        "curve": (np.float64, (*kinds, N_OCTAVES), 1.0),
        "limits": (np.float64, (*kinds, 2), 0.0),
        "given": (np.uint8, kinds, 0),
        "reviewed": (np.uint8, kinds, 0),
        **{name: (dtype, (n_places, *shape), x) for name, (dtype, shape, x) in _PLACE.items()},
    }


def warm() -> None:
    """Compile the kernels that no event needs: those of the ranks."""
    ExposureBank(ExposureConfig(), 1, 1, 0, None).ranked(0, 1)
    count_distinct(np.zeros(0, np.uint64), np.zeros(N_REGISTERS, np.uint8), np.zeros(1))


def build(
    config: ExposureConfig, n_models: int, n_places: int, salt: int, state: BankState | None
) -> SecurityBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return ExposureBank(config, n_models, n_places, salt, state)


SPEC: Final = SecuritySpec(NAME, 1, ExposureConfig, build, fit, strictest, unit="share")
