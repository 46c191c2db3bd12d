"""Intervals of shares and of counts, and quantiles in which what was missed is infinite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from streams.poisson import interval

_Z: Final = 1.959964
"""Of 95 %."""
PER: Final = 1e6


def wilson(n_found: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, JASA 1927)."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = n_found / n, _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def quantile(values: Sequence[float], share: float) -> float:
    """The lowest value that so large a share does not exceed; `math.inf` counts as one."""
    if not values:
        return math.nan
    held = sorted(values)
    return held[min(len(held) - 1, max(0, math.ceil(share * len(held)) - 1))]


def per_million(n: int, n_events: int) -> tuple[float, float]:
    """Findings per million events, and the exact 95 % upper bound (Garwood, Biometrika 1936).

    Of none the bound is one-sided, as the rule of three has it.
    """
    if n_events == 0:
        return 0.0, math.inf
    high = -math.log(0.05) if n == 0 else interval(n)[1]
    return n / n_events * PER, high / n_events * PER
