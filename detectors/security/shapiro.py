"""The weights of Shapiro and Wilk's W, approximated: Royston (Statistics and Computing 1992).

W compares a sample's order with that of a normal one: 1 is normal, and the less the farther.
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np

from detectors.kernels.query_distance import shapiro
from schemas.batch import F64, I64

LEAST: Final = 100
"""Of fewer distances nothing is said."""
MOST: Final = 500
"""Of a source so many are kept, the latest ones."""

# By powers of 1 / sqrt(n), from the first on: what is added to the scores of the largest values.
_LARGEST: Final = (0.221157, -0.147981, -2.071190, 4.434685, -2.706056)
_SECOND: Final = (0.042981, -0.293762, -1.752461, 5.682633, -3.582633)


def weights_of(n: int) -> F64:
    """(n // 2,) weights of a sample of n values, 6 to 5,000: the largest value's first.

    Those of its smaller half are the same with the other sign, and their squares are 1 together.
    """
    quantile = NormalDist().inv_cdf
    scores: F64 = np.array([-quantile((i + 1 - 0.375) / (n + 0.25)) for i in range(n // 2)])
    squares = 2.0 * float((scores * scores).sum())
    u = n**-0.5
    largest = scores[0] / squares**0.5 + _at(_LARGEST, u)
    second = scores[1] / squares**0.5 + _at(_SECOND, u)
    left = squares - 2.0 * (scores[0] ** 2 + scores[1] ** 2)
    left /= 1.0 - 2.0 * (largest**2 + second**2)
    weights: F64 = scores / left**0.5
    weights[:2] = largest, second
    return weights


def _at(coefficients: tuple[float, ...], u: float) -> float:
    return float(sum(c * u**k for k, c in enumerate(coefficients, start=1)))


class Weights(NamedTuple):
    """Those of all samples that are asked for."""

    weights: F64
    first: I64
    """(MOST + 2,) those of n values stand from `first[n]` to `first[n + 1]`."""


@cache
def all_weights() -> Weights:
    """For samples of `LEAST` to `MOST` values; none for smaller ones."""
    of_each = [weights_of(n) for n in range(LEAST, MOST + 1)]
    first = np.zeros(MOST + 2, np.int64)
    first[LEAST + 1 :] = np.cumsum([len(weights) for weights in of_each])
    weights = np.concatenate(of_each)
    weights.flags.writeable = first.flags.writeable = False
    return Weights(weights, first)


def w_of(sample: F64) -> float:
    """W of some distances without those that lie far out; NaN where fewer than `LEAST` are left.

    As it is found of a source, whose sample has at most `MOST`.
    """
    out = np.empty(1)
    shapiro(np.array(sample, np.float64), LEAST, *all_weights(), out)
    return float(out[0])
