"""river's detectors of errors, and what of their state ours has to be the same as."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from river.drift import binary

from schemas.batch import F64
from schemas.error_config import DdmConfig, EddmConfig, FhddmConfig, HddmAConfig, HddmWConfig

ErrorConfig = DdmConfig | EddmConfig | HddmAConfig | HddmWConfig | FhddmConfig
State = dict[str, NDArray[Any]]


class RiverErrors:
    """One of river's detectors with the parameters of ours, fed errors: 1 or 0.

    river's FHDDM finds a fall: where ours finds a rise, it is fed the reverse.
    """

    def __init__(self, config: ErrorConfig) -> None:
        classes: Any = binary  # they have no types
        own = config.model_dump(exclude={"enabled", "finds"})
        self._class: Any = {
            DdmConfig: classes.DDM,
            EddmConfig: classes.EDDM,
            HddmAConfig: classes.HDDMA,
            HddmWConfig: classes.HDDMW,
            FhddmConfig: classes.FHDDM,
        }[type(config)]
        self._is_reversed = isinstance(config, FhddmConfig) and config.finds == "rise"
        self.detector: Any = self._class(**own)

    def update(self, errors: F64) -> list[int]:
        """Go over these; the places where it fires. NaN is not given to it."""
        fired = []
        for i, x in enumerate(errors.tolist()):
            if x == x:  # noqa: PLR0124
                self.detector.update(int(x) ^ self._is_reversed)
                if self.detector.drift_detected:
                    fired.append(i)
        return fired

    def check_state(self, state: State) -> None:
        """Ours, of its only lane, says what river's says; river has not just fired."""
        lane = {name: array[0] for name, array in state.items()}
        if "warning" in lane:
            assert lane["warning"] == self.detector.warning_detected
        else:
            assert not self.detector.warning_detected
        check = {
            "DDM": _check_ddm,
            "EDDM": _check_eddm,
            "HDDMA": _check_hddm_a,
            "HDDMW": _check_hddm_w,
            "FHDDM": _check_fhddm,
        }
        check[self._class.__name__](lane, self.detector)


def _check_ddm(lane: State, river: Any) -> None:
    assert lane["n"] == river._p.n
    assert lane["rate"] == river._p.get()
    assert lane["least_rate"] == (river._p_min or 0.0)
    assert lane["least_deviation"] == (river._s_min or 0.0)


def _check_eddm(lane: State, river: Any) -> None:
    assert lane["n"] == river._n
    assert lane["n_errors"] == river._n_errors
    assert lane["last_error"] == river._last_error
    assert lane["distance"] == river._error_distances.mean.get()
    assert lane["squares"] == river._error_distances._S
    # river takes a power of 0.5 for the root, which may be rounded in another way.
    assert lane["longest"] == pytest.approx(max(river._p2s_prime_max, 0.0), rel=1e-14)


def _check_hddm_a(lane: State, river: Any) -> None:
    assert lane["n"] == river._z.n
    assert lane["rate"] == river._z.get()
    for side, cut in enumerate([river._x_min, river._x_max][: len(lane["cut_n"])]):
        assert lane["cut_n"][side] == cut.n
        assert lane["cut_rate"][side] == cut.get()


def _check_hddm_w(lane: State, river: Any) -> None:
    assert lane["rate"] == river._total.ewma
    assert lane["weight"] == river._total.ibc
    sides = [
        (river._incr_cutpoint, river._s1_incr, river._s2_incr),
        (-river._decr_cutpoint, river._s1_decr, river._s2_decr),
    ]
    for side, (level, before, since) in enumerate(sides[: len(lane["cut_n"])]):
        assert lane["level"][side] == (level if np.isfinite(level) else 0.0)
        assert lane["cut_rate"][side] == before.ewma
        assert lane["cut_weight"][side] == before.ibc
        assert lane["since_rate"][side] == since.ewma
        assert lane["since_weight"][side] == since.ibc
        assert since.is_init == (lane["cut_n"][side] < lane["n"])


def _check_fhddm(lane: State, river: Any) -> None:
    size = river.sliding_window_size
    bits = np.unpackbits(lane["ring"], bitorder="little")
    n = int(lane["n"])
    kept = [int(bits[k % size]) for k in range(max(0, n - size), n)]
    # river drops the oldest of a full window at once, ours with the next observation.
    window = list(river._sliding_window)
    assert kept[len(kept) - len(window) :] == window
    assert len(window) == min(n, size - 1)
    most = [river._u_max] + ([river._u_short_max] if river.short_window_size else [])
    sizes = [size, river.short_window_size]
    assert [m / k for m, k in zip(lane["most"].tolist(), sizes, strict=False)] == most
