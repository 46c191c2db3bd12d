"""What scores make one expect beside what they made one expect in the reference, with intervals.

For reading: whether the two differ is for the detector on `expected_error` to say, which keeps a
budget. An interval that is looked at again and again is left by chance: see decision 0044.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from detectors.performance.intervals import LEVEL, quantile


class ExpectedError(NamedTuple):
    """The error rate that scores make one expect of the latest predictions."""

    value: float
    low: float
    """From here to `high` labels will say of these very predictions, if the score means what it
    meant: with the chance of their outcomes and the error of the calibration."""
    high: float
    reference: float
    reference_low: float
    """From here to `reference_high` the estimate of so many predictions lies in 95 of 100 cases, if
    the model is as sure as it was in the reference."""
    reference_high: float
    is_within: bool
    """Whether the value lies there."""


def mean_interval(mean: float, sd: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """The normal interval of the mean of n > 0 observations with this sd, of a share.

    Raises ValueError unless 0 < level < 1.
    """
    reach = quantile(level) * sd / math.sqrt(n)
    return max(mean - reach, 0.0), min(mean + reach, 1.0)


def beside_reference(
    value: float, low: float, high: float, n: int, reference: tuple[float, float, int]
) -> ExpectedError:
    """An expected error of n > 0 observations beside the mean, sd and observations of a reference.

    Where n observations are to be expected is told by both: they vary, and so did the reference's.
    """
    mean, sd, n_reference = reference
    worth = 1.0 / (1.0 / n + 1.0 / n_reference)
    least, most = mean_interval(mean, sd, worth)
    return ExpectedError(value, low, high, mean, least, most, least <= value <= most)
