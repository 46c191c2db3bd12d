"""What the reference says of a model's features together: correlation, and which are missing.

Everything here is a pure function of the reference's rows in their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import sqrt
from typing import Final

import numpy as np

from detectors.kernels.joint import CENTRE, LIMIT, MEAN, SD, WIDTH
from detectors.mixing import GOLDEN, splitmix64, told_apart
from schemas.batch import F64, I32, I64, U64, Bool

MAX_FEATURES: Final = 64
"""Of which any is looked at together with the others, by the numbers of the features."""
MAX_COMPONENTS: Final = 16
"""Principal components in which a residual is measured at most."""
MAX_PATTERNS: Final = 64
"""Combinations of missing features that are known as usual."""
USUAL: Final = 0.95
"""Share of the reference's rows that the usual combinations make up at least, if so few can."""
MIN_BLOCKS: Final = 20
"""A reference with fewer says nothing of how far blocks lie from it."""
LEAST_WIDTH: Final = 0.1
"""A feature that varies less, between the limits, has a few outliers and nothing else."""
_LEAST_PRESENT: Final = 0.5
"""Likewise one that fewer of the rows have: its correlation is that of being there."""
_LEAST_VARIANCE: Final = 1e-3
"""Of a principal component; what lies below is nothing but what other features say."""
_MARGIN: Final = 0.8
_SEGMENTS: Final = 5
"""A block is drawn as so many stretches of rows: what depends within them stays together."""
_N_DRAWN: Final = 2_000
_MAX_ROWS: Final = 20_000
"""Of the reference, the latest, that blocks are drawn from."""
_DIGITS: Final = 9
"""What is frozen is rounded, so that another machine's last bits change nothing."""


@dataclass(frozen=True, slots=True)
class Joint:
    """What is frozen of a model's features together; any part may be empty.

    A value counts as g = (clip(z) - centre) / width, 0 where it is missing: mean 0, variance 1.
    """

    features: I32
    """(p,) the numeric ones, by their numbers in the model; p is 0 or 2 to 64."""
    scales: F64
    """(p, 4) mean, sd, centre, width."""
    components: F64
    """(m, p) the directions of the residual: the sum of squares of their products with g."""
    pair_means: F64
    """(p (p - 1) / 2,) correlation of each two of the features."""
    unit: float
    """Of the distance of a block: what it is on average where nothing changes."""
    block_events: int
    """Events of the model that are a block; 0: blocks are not compared."""
    missing: I32
    """(k,) features that were missing at times, by number; k is 0 or 2 to 64."""
    patterns: I64
    """(q,) the usual combinations of them, ascending: bit i is set where `missing[i]` is."""

    @property
    def n_pairs(self) -> int:
        """How many pairs of features there are."""
        return len(self.features) * (len(self.features) - 1) // 2

    def renumbered(self, number: Mapping[int, int]) -> Joint:
        """The same where each feature has another number, in whatever order."""
        features, missing = (
            np.array([number[f] for f in own.tolist()], np.int32)
            for own in (self.features, self.missing)
        )
        return replace(self, features=features, missing=missing)


@dataclass(slots=True)
class Partial:
    """What the current block of a model has come to: sums of the products of its pairs."""

    sums: F64
    count: I64
    """(1,) rows that it has observed."""


def empty_partial(joint: Joint) -> Partial:
    """That of a block that has not begun."""
    return Partial(np.zeros(joint.n_pairs), np.zeros(1, np.int64))


def standardise(x: F64, mean: F64, sd: F64) -> tuple[F64, F64, Bool]:
    """Of rows (n, p) of numbers, NaN where missing, (n, k) g of those that vary, their scales.

    The scales are (k, 4), and the last (p,) says which features these are.
    """
    z = np.clip((x - mean) / sd, -LIMIT, LIMIT)
    there = ~np.isnan(z)
    n_there = np.maximum(there.sum(axis=0), 1)
    z[~there] = 0.0
    centre = np.round(z.sum(axis=0) / n_there, _DIGITS)
    g: F64 = np.where(there, z - centre, 0.0)
    # Over all rows, so that what is missing, which counts as 0, takes nothing from the variance.
    width: F64 = np.round(np.sqrt(np.sum(g * g, axis=0) / len(g)), _DIGITS)
    varies = (width > LEAST_WIDTH) & (there.mean(axis=0) >= _LEAST_PRESENT)
    scales = np.zeros((int(varies.sum()), 4))
    for at, column in ((MEAN, mean), (SD, sd), (CENTRE, centre), (WIDTH, width)):
        scales[:, at] = column[varies]
    return g[:, varies] / width[varies], scales, varies


def correlation_of(g: F64) -> F64:
    """(p, p) second moments of (n, p) standardised rows, rounded."""
    found: F64 = np.round(g.T @ g / len(g), _DIGITS)
    np.fill_diagonal(found, 1.0)
    return found


def residual_components(correlation: F64, n: int) -> F64:
    """(m, p) directions in which a reference of n rows hardly varies, by their sd; m <= 16.

    The principal components whose variance is clearly below what independent features show by
    chance: at least (1 - sqrt(p / n))^2 (Marchenko and Pastur 1967). Where none is, all of them,
    if they are few. So the residual grows where a correlation vanishes; where one appears among
    independent features, its spread does.
    """
    p = len(correlation)
    variance, vectors = np.linalg.eigh(correlation)
    edge = max(1.0 - sqrt(p / n), 0.0) ** 2
    chosen = np.flatnonzero(variance < _MARGIN * edge)
    if not len(chosen):
        chosen = np.arange(p) if p <= MAX_COMPONENTS else chosen
    chosen = chosen[:MAX_COMPONENTS]
    scaled = vectors[:, chosen] / np.sqrt(np.maximum(variance[chosen], _LEAST_VARIANCE))
    # So that the residual is 1 on average, and a vector has one sign everywhere.
    scaled /= sqrt(max(len(chosen), 1))
    largest = np.argmax(np.abs(scaled), axis=0)
    scaled *= np.sign(scaled[largest, np.arange(len(chosen))])
    return np.ascontiguousarray(np.round(scaled.T, _DIGITS))


def block_distances(g: F64, block: int, seed: int) -> tuple[F64, float]:
    """(2,000,) distances of blocks of so many rows from their mean, as chance makes them.

    And their relative standard error, since the reference has so few rows.

    The distance is the squared maximum mean discrepancy (Gretton et al., JMLR 2012) of the kernel
    whose features are the products of pairs, times the rows of the block. A reference has too few
    blocks of its own to show its law: blocks are drawn from it, as five stretches each, by counting
    from the seed. Where its own blocks vary more than that, since rows depend on each other over
    more than a stretch, the distances grow by as much.
    """
    g = g[-_MAX_ROWS:]
    length = block // _SEGMENTS
    n_segments = len(g) // length
    own = g[len(g) - n_segments * length :].reshape(n_segments, length, -1)
    upper = np.triu_indices(g.shape[1], 1)
    sums = np.matmul(own.transpose(0, 2, 1), own)[:, upper[0], upper[1]]
    centre = sums.sum(axis=0) / (n_segments * length)
    rows = length * _SEGMENTS
    drawn = np.zeros((_N_DRAWN, len(centre)))
    for segment in _distinct(_draws(seed, _N_DRAWN * _SEGMENTS), n_segments):
        drawn += sums[segment]
    off = drawn / rows - centre
    n_blocks = n_segments // _SEGMENTS
    # A block that is part of what it is compared with is nearer to it.
    distance = rows * np.sum(off * off, axis=1) / (1.0 - 1.0 / n_blocks)
    mine = sums[: n_blocks * _SEGMENTS].reshape(n_blocks, _SEGMENTS, -1).sum(axis=1) / rows - centre
    theirs = rows * np.sum(mine * mine, axis=1) / (1.0 - 1.0 / n_blocks)
    factor = float(theirs.mean() / max(float(distance.mean()), 1e-12))
    error = float(theirs.std() / max(float(theirs.mean()), 1e-12)) / sqrt(n_blocks)
    if factor > 1.0 + error:
        distance *= factor
    sizes = np.sum((sums - length * centre) ** 2, axis=1)
    own_error = float(sizes.std() / max(float(sizes.mean()), 1e-12)) / sqrt(n_segments)
    # Of later blocks the mean is not their own: it errs by that of the reference besides.
    return np.round(distance * (1.0 + rows / len(g)), _DIGITS), own_error


def _distinct(draws: U64, n: int) -> I64:
    """(5, draws / 5) numbers below n; no column holds one twice.

    Twice as much of the same stretch would be twice as far off.
    """
    left = draws.reshape(_SEGMENTS, -1)
    taken = np.zeros((0, left.shape[1]), np.int64)
    found = []
    for k, own in enumerate(left):
        at = (own % np.uint64(n - k)).astype(np.int64)
        for each in taken:
            at += at >= each
        found.append(at)
        taken = np.sort(np.vstack([taken, at]), axis=0)
    return np.stack(found)


def seed_of(names: list[str]) -> int:
    """The seed of a model's draws: blake2b of the features' names, so that chance has no part."""
    return int.from_bytes(
        blake2b(told_apart(names), digest_size=8, person=b"ds-joint").digest(), "little"
    )


def _draws(seed: int, n: int) -> U64:
    """(n,) numbers of 64 bits, the nth from seed and n (SplitMix64; Steele et al. 2014)."""
    return splitmix64(np.uint64(seed) + GOLDEN * np.arange(1, n + 1, dtype=np.uint64))


def usual_patterns(absent: Bool) -> I64:
    """(q,) the most frequent combinations of rows (n, k), k <= 64, ascending; q <= 64.

    As many as make up 95 of 100 rows; of equally frequent ones the lesser number first.
    """
    bits = np.left_shift(np.int64(1), np.arange(absent.shape[1], dtype=np.int64))
    which = np.where(absent, bits, np.int64(0)).sum(axis=1, dtype=np.int64)
    counts = Counter(which.tolist())
    ranked = sorted(counts, key=lambda each: (-counts[each], each))
    kept, n_covered = [], 0
    for each in ranked[:MAX_PATTERNS]:
        if n_covered >= USUAL * len(absent):
            break
        kept.append(each)
        n_covered += counts[each]
    return np.array(sorted(kept), np.int64)
