"""Whether a number moved as if its unit had changed: by a factor that units differ by.

All of it, as its mean says, or a part of its values, as one of several producers may send them.
"""

from __future__ import annotations

from typing import Final

from schemas.alerts import MovedSignal
from schemas.findings import Aspect, Finding

FACTORS: Final = {
    1_000.0: "1,000",
    1_000_000.0: "1,000,000",
    100.0: "100",
    10.0: "10",
    60.0: "60, as minutes and seconds",
    3_600.0: "3,600, as hours and seconds",
    24.0: "24, as days and hours",
    1.609344: "1.609, as miles and kilometres",
    2.54: "2.54, as inches and centimetres",
    3.28084: "3.281, as metres and feet",
    2.20462: "2.205, as kilograms and pounds",
}
"""What units differ by, and how it is told."""
FURTHEST: Final = 0.02
"""A ratio of means so near to a factor, as a part of it, may be it."""
_COLDEST, _HOTTEST = -90.0, 60.0
"""Degrees Celsius that weather has."""
LEAST_EFFECT: Final = 3.0
"""Standard deviations: what has moved by less may well have moved by itself."""

MOST_PART: Final = 0.9
"""Of the values: where more of them moved the mean says it, and which are as before is chance."""
LEAST_VALUES: Final = 20.0
"""Values that are to have moved: what fewer say is of single events."""


def part_factor(finding: Finding) -> float:
    """By what factor of these a part of a feature's values is larger; 0: by none, or none moved.

    Of a working baseline, by its mean and its mean square. Where a part p of the values is f times
    as large as the reference's, the mean grows by p (f - 1) and the mean square by p (f**2 - 1) of
    what they were: the one over the other is f + 1, whatever p is. A fact about two means, and no
    proof. It says nothing of values that became smaller, which hardly change either, and of
    features whose mean is nearer to 0 than their standard deviation.
    """
    z, square, mean = finding.effect, finding.threshold, finding.before
    is_value = finding.signal.startswith("feature:") and not finding.is_share
    is_baseline = finding.aspect is Aspect.SETTLED and finding.detector == "focus"
    if not (is_value and is_baseline) or z == 0.0 or mean == 0.0:
        return 0.0
    spread = (finding.after - mean) / z / mean
    if abs(spread) > 1.0 or spread * z <= 0.0:
        return 0.0
    ratio = (2.0 * z + spread * (square - 1.0)) / ((1.0 + spread * spread) * z) - 1.0
    factor = min(FACTORS, key=lambda each: abs(ratio / each - 1.0))
    part = spread * z / (factor - 1.0)
    is_far = (factor - 1.0) >= LEAST_EFFECT * abs(spread)
    is_part = part <= MOST_PART and part * finding.n_after >= LEAST_VALUES
    return factor if abs(ratio / factor - 1.0) <= FURTHEST and is_far and is_part else 0.0


def unit_factor(moved: MovedSignal) -> str:
    """The factor between the means before and after, in words; "" where it is none of these.

    Of a feature that has gone far: a fact about two means, and no proof. A change of unit that
    leaves values where others were before is not told so.
    """
    before, after = moved.before, moved.after
    is_value = moved.signal.startswith("feature:") and moved.unit == "value"
    if not is_value or before is None or after is None or abs(moved.effect) < LEAST_EFFECT:
        return ""
    found = _degrees(before, after)
    if min(abs(before), abs(after)) > 0.0 and (before > 0.0) == (after > 0.0):
        ratio = after / before
        for factor, words in FACTORS.items():
            found.append((abs(ratio / factor - 1.0), f"its mean is larger by a factor of {words}"))
            found.append((abs(ratio * factor - 1.0), f"its mean is smaller by a factor of {words}"))
    error, said = min(found, default=(1.0, ""))
    return said if error <= FURTHEST else ""


def _degrees(before: float, after: float) -> list[tuple[float, str]]:
    """How far they are from degrees of the other scale, which have another zero too."""
    return [
        (abs(one * 1.8 + 32.0 - other) / abs(other), f"its mean is as if degrees {words}")
        for one, other, words in (
            (before, after, "Celsius had become Fahrenheit"),
            (after, before, "Fahrenheit had become Celsius"),
        )
        if other and _COLDEST <= one <= _HOTTEST
    ]
