"""What values a model's columns take in good times, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.data_breaks import N_ATOMS
from detectors.security.base import MAX_DIMS, MISSING, Calibration, Learned, TooFewRowsError
from schemas.batch import F64

MIN_ROWS: Final = 200
"""Distinct ones that a calibration needs."""
LIMITS: Final = (0.01, 0.99)
"""Quantiles of a number beyond which it is outside: of good rows one in a hundred is on each
side, 25 times fewer than of broken ones at least."""
MAX_VALUE: Final = 2.0**53


def fit(rows: Learned, reviewed: bool) -> Calibration:  # noqa: ARG001 - frequencies are no risk
    """The most frequent values of each column and their shares, and how far its numbers reach.

    Arrays by column: `atom` (MAX_DIMS, N_ATOMS) values, the first one `MISSING`; `share`
    (MAX_DIMS, N_ATOMS + 1) of the rows that have them, at the end the largest that any other value
    may have; `limit` (MAX_DIMS, 2) quantiles, and `outside` (MAX_DIMS, 2) the shares beyond them;
    `apart` (MAX_DIMS,) how far two rows are apart on average (Gini's mean difference), of
    categories how often.
    """
    _, first = np.unique(rows.row_hash, return_index=True)
    z = rows.z[np.sort(first)]
    n, n_dims = z.shape
    if n < MIN_ROWS:
        raise TooFewRowsError(f"data_breaks needs {MIN_ROWS} distinct rows, there are {n}")
    own = _nothing()
    for c in range(n_dims):
        values, counts = np.unique(z[:, c], return_counts=True)
        is_there = values != np.float32(MISSING)
        own["share"][c, 0] = counts[~is_there].sum() / n
        values, counts = values[is_there], counts[is_there]
        order = np.argsort(-counts, kind="stable")
        known, others = order[: N_ATOMS - 1], order[N_ATOMS - 1 :]
        own["atom"][c, 1 : 1 + len(known)] = values[known]
        own["share"][c, 1 : 1 + len(known)] = counts[known] / n
        # What never came may come as often as what came once.
        own["share"][c, N_ATOMS] = max(int(counts[others].max(initial=1)), 1) / n
        own["apart"][c] = _apart(z[:, c].astype(np.float64), is_number=c < rows.n_numbers)
        if c < rows.n_numbers and len(values):
            there = np.sort(z[z[:, c] != np.float32(MISSING), c])
            last = len(there) - 1
            low, high = (there[round(at * last)] for at in LIMITS)
            own["limit"][c] = low, high
            own["outside"][c] = (there < low).sum() / n, (there > high).sum() / n
    return own


def strictest(calibrations: Sequence[Calibration]) -> Calibration:
    """Of every value the largest share that any kind of client has: the least is called broken."""
    if len(calibrations) == 1:
        return {name: array.copy() for name, array in calibrations[0].items()}
    own = _nothing()
    own["limit"][:, 0] = np.min([c["limit"][:, 0] for c in calibrations], axis=0)
    own["limit"][:, 1] = np.max([c["limit"][:, 1] for c in calibrations], axis=0)
    own["outside"] = np.max([c["outside"] for c in calibrations], axis=0)
    own["apart"] = np.max([c["apart"] for c in calibrations], axis=0)
    for column in range(MAX_DIMS):
        shares: dict[float, float] = {}
        for each in calibrations:
            for value, share in zip(
                each["atom"][column].tolist(), each["share"][column].tolist(), strict=False
            ):
                shares[value] = max(shares.get(value, 0.0), share)
        missing = shares.pop(MISSING, 0.0)
        ordered = sorted(shares.items(), key=lambda one: (-one[1], one[0]))
        known, others = ordered[: N_ATOMS - 1], ordered[N_ATOMS - 1 :]
        rest = [float(each["share"][column, N_ATOMS]) for each in calibrations]
        own["share"][column, 0] = missing
        own["share"][column, N_ATOMS] = max([*rest, *(share for _, share in others)])
        for at, (value, share) in enumerate(known, start=1):
            own["atom"][column, at] = value
            own["share"][column, at] = share
    return own


def _nothing() -> dict[str, NDArray[Any]]:
    """Columns that hold nothing; `MISSING`, which is found first, stands in unused places."""
    return {
        "atom": np.full((MAX_DIMS, N_ATOMS), MISSING),
        "share": np.zeros((MAX_DIMS, N_ATOMS + 1)),
        "limit": np.zeros((MAX_DIMS, 2)),
        "outside": np.zeros((MAX_DIMS, 2)),
        "apart": np.zeros(MAX_DIMS),
    }


def _apart(values: F64, *, is_number: bool) -> float:
    """The mean difference of two values of different rows."""
    n = len(values)
    if is_number:
        # Each difference of neighbours in order is between so many pairs.
        pairs = np.arange(1, n) * np.arange(n - 1, 0, -1)
        return float((np.diff(np.sort(values)) * pairs).sum() / (n * (n - 1) / 2))
    counts = np.unique(values, return_counts=True)[1]
    return float(1.0 - (counts * (counts - 1)).sum() / (n * (n - 1)))
