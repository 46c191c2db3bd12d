"""The compiled loops of the baselines."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@nb.njit(cache=True)
def knn_means(z: F32, k: int, window: int) -> NDArray[np.float64]:
    """(n,) the mean distance of each row to the k nearest of up to `window` rows before it.

    Infinite where fewer came before.
    """
    n, d = z.shape
    found = np.full(n, np.inf)
    nearest = np.empty(k)
    for i in range(k, n):
        nearest[:] = np.inf
        for j in range(max(0, i - window), i):
            total = 0.0
            for f in range(d):
                step = z[i, f] - z[j, f]
                total += step * step
                if total >= nearest[k - 1]:
                    break
            if total < nearest[k - 1]:
                at = k - 1
                while at > 0 and nearest[at - 1] > total:
                    nearest[at] = nearest[at - 1]
                    at -= 1
                nearest[at] = total
        found[i] = np.sqrt(nearest).mean()
    return found


@nb.njit(cache=True)
def growing_distances(z: F32, predicted: NDArray[np.int64], most: int) -> NDArray[np.float64]:
    """(n,) each row's distance to its class's growing set; infinite for the first of a class.

    A row that is farther than the set's threshold joins it, until it has `most`.
    """
    n, d = z.shape
    n_classes = predicted.max() + 1 if n else 0
    members = np.empty((n_classes, most), np.int64)
    n_members = np.zeros(n_classes, np.int64)
    joined = np.zeros((n_classes, 3))
    threshold = np.zeros(n_classes)
    found = np.full(n, np.inf)
    for i in range(n):
        c = predicted[i]
        least = np.inf
        for m in range(n_members[c]):
            total = 0.0
            for f in range(d):
                step = z[i, f] - z[members[c, m], f]
                total += step * step
            least = min(least, total)
        found[i] = np.sqrt(least)
        is_first = n_members[c] == 0
        if n_members[c] < most and (is_first or found[i] > threshold[c]):
            members[c, n_members[c]] = i
            n_members[c] += 1
            if not is_first:
                joined[c, 0] += 1.0
                joined[c, 1] += found[i]
                joined[c, 2] += found[i] * found[i]
                mean = joined[c, 1] / joined[c, 0]
                spread = np.sqrt(max(joined[c, 2] / joined[c, 0] - mean * mean, 0.0))
                threshold[c] = max(threshold[c], mean - spread)
    return found
