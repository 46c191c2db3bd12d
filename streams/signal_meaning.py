"""What it means that a signal moved: that data broke, that a model is worse, or neither. Pure."""

from __future__ import annotations

from typing import Final

from schemas.alerts import MovedSignal
from schemas.signal_names import (
    CALIBRATION,
    DISPARITY,
    ERROR,
    ERROR_GAP,
    EXPECTED_ERROR,
    LATENCY,
    QUALITY,
    REPRESENTATIVENESS,
)

_FAULT_EFFECT: Final = 0.5
"""From this effect on, in reference standard deviations, a share of missing values is a fault: that
of an alert of severity high."""
RETURN_SD: Final = 0.1
"""A signal that lies so near to its reference has returned."""
_BROKEN: Final = frozenset({*QUALITY, LATENCY}) - {REPRESENTATIVENESS}
"""Events that are unlike the reference are a change of the world as well as of the data."""


def may_break(signal: str) -> bool:
    """Whether that this signal moved may say that data broke.

    What seems to have another unit may be any feature.
    """
    return signal in _BROKEN or signal.startswith("missing:")


def may_tell(signal: str) -> bool:
    """Whether that this signal moved may say that data broke, or that a model is worse."""
    return (
        may_break(signal)
        or signal in (CALIBRATION, ERROR, ERROR_GAP, EXPECTED_ERROR)
        or signal.partition(":")[0] in (ERROR, *DISPARITY)
    )


def is_fault(moved: MovedSignal) -> bool:
    """Whether a signal that moved says that data broke, rather than that the world did."""
    if moved.signal in _BROKEN or moved.part_factor is not None:
        return True
    return moved.signal.startswith("missing:") and moved.effect >= _FAULT_EFFECT


def is_less_missing(moved: MovedSignal) -> bool:
    """Whether fewer values are missing than in the reference: what had broken is whole."""
    return moved.signal.startswith("missing:") and moved.unit == "share" and moved.effect < 0.0


def _is_above(moved: MovedSignal) -> bool:
    """Whether a signal is above its reference, wherever it moved last.

    What rose far and fell half of the way back is. Near the reference it is where it moved that
    counts, and of a shape, whose effect is a distance.
    """
    rose = moved.direction == "rose"
    if moved.unit == "shape" or abs(moved.effect) <= RETURN_SD:
        return rose
    return moved.effect > 0.0


def is_harm(moved: MovedSignal) -> bool:
    """Whether a signal that moved says that a model is worse, or that nobody knows how good."""
    name, rose = moved.signal, _is_above(moved)
    if name == ERROR or name.startswith(f"{ERROR}:"):
        # Of numbers the error has a sign: either way is harm, and so is a wider spread.
        return rose or moved.unit != "share"
    if name in (EXPECTED_ERROR, ERROR_GAP):
        return rose
    kind, _, feature = name.partition(":")
    if kind in DISPARITY and feature:
        # The ratio is better where it is higher, a gap where it is lower.
        return rose != (kind == DISPARITY[0])
    return name == CALIBRATION
