"""Thresholds of `probing`, `query_distance` and `inversion`, made of benign rows alone.

The rows are walked twice, as they will be seen: each source by itself, and all of them as one, as
sources without a name are, whose ring is full. Of the two what is the more careful holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, exp, fsum, inf, isfinite, sqrt
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np

from detectors.base import StateError
from detectors.drift.lane_table import LaneTable, require_all
from detectors.kernels.probing import climbs
from detectors.security.base import Calibration, Learned, TooFewRowsError
from detectors.security.neighbour_places import PLACE_COLUMNS, ROOM
from detectors.security.neighbour_rates import AMONG, alarm_at, needed_steps, upper_count
from detectors.security.neighbour_search import Asked, Found, find
from detectors.security.shapiro import w_of
from schemas.batch import F64, I64, Bool

JITTER: Final = 0.05
"""A threshold in use is at most so much, of itself, away from the one that was fitted."""
LEAST_PAIRS: Final = 200
"""Distinct rows that have an earlier one of their source: of fewer nothing is made."""
_NEAR_SHARES: Final = (0.02, 0.01, 0.005, 0.002)
"""Of benign rows are nearer to an earlier one than what is near: the share with which the fewest
flips make an alarm, and the largest of those. Without a review it is not the first."""
_LOW_SHARE: Final = 0.05
LEAST_COUNTS: Final = 10
"""Of fewer stretches of so many rows nothing is known of how hits clump."""
_BLOCK: Final = 128
"""Distances of which W is a look of its own."""
_LEAST_BLOCKS: Final = 8
_LOOK_CHANCE: Final = 5e-4
"""Of an independent look: with one in 500 events, findings are one in a million."""
_LEAST_SPREAD: Final = 0.1
MAX_STEPS: Final = 256
"""Climbs of benign clients that are nearly so long leave nothing to be found."""

FIELDS: Final[Mapping[str, int]] = {
    "near": 1,
    "margin": 1,
    "flips": 3,
    "boundary": 3,
    "w": 2,
    "climb": 2,
}
"""Numbers of each array of a calibration.

near: distance below which two rows are; 0: none are. margin: below it a row is on the boundary.
flips, boundary: hits of an event, at most; of a clump of them; the most among `AMONG` rows. A rate
of 1 switches the rule off. w: threshold of W, 0: off; its median. climb: steps, 0: off; the longest
one there was."""
NEAR, MARGIN, FLIPS, BOUNDARY, W, CLIMB = np.cumsum([0, *FIELDS.values()])[:-1].tolist()
N_FIELDS: Final = sum(FIELDS.values())


class _Walk(NamedTuple):
    """Rows as one walk of places, one after the other, has found them."""

    found: Found
    margin: F64
    score: F64
    span: I64
    """(n,) number of the source, in the order of the walk."""

    @property
    def has_pair(self) -> Bool:
        return np.isfinite(self.found.nearest)


def fit(rows: Learned, reviewed: bool) -> Calibration:
    """Thresholds by the arrays of `FIELDS`; rules that the rows do not suffice for are off.

    Raises `TooFewRowsError` below `LEAST_PAIRS` distinct rows that an earlier one can be near to.
    """
    together = _walk(rows, is_one=True)
    n_pairs = int(together.has_pair.sum())
    if n_pairs < LEAST_PAIRS:
        raise TooFewRowsError(
            f"{n_pairs} distinct rows with an earlier one, {LEAST_PAIRS} are needed"
        )
    walks, n_walks = [together], 1
    if (rows.source != rows.source[0]).any():
        n_walks = 2
        apart = _walk(rows, is_one=False)
        if int(apart.has_pair.sum()) >= LEAST_PAIRS:
            walks.append(apart)
    known = rows.margin[np.isfinite(rows.margin)].astype(np.float64)
    low = max(_lowest(known, _LOW_SHARE), 0.0) if len(known) else 0.0
    choices = []
    for share in _NEAR_SHARES[0 if reviewed else 1 :]:
        near = min(_lowest(walk.found.nearest[walk.has_pair], share) for walk in walks)
        flips = np.max([_hits(walk, _flips(walk, near), reviewed) for walk in walks], axis=0)
        alarm = alarm_at(*flips.tolist(), 1, AMONG) or inf
        choices.append((alarm, -near, flips))
    _, near, flips = min(choices, key=lambda choice: choice[:2])
    near = -near
    boundary = np.array([1.0, 1.0, 0.0])
    if low > 0.0:
        hits = [_is_near(walk, near) & (walk.margin < low) for walk in walks]
        of_each = [_hits(walk, hit, reviewed) for walk, hit in zip(walks, hits, strict=True)]
        boundary = np.max(of_each, axis=0)
    steps, longest = np.max([_climb(walk, near) for walk in walks], axis=0)
    return {
        "near": np.array([near / (1.0 + JITTER)]),
        "margin": np.array([low / (1.0 + JITTER)]),
        "flips": flips,
        "boundary": boundary,
        "w": _normality(walks) if len(walks) == n_walks else np.zeros(2),
        "climb": np.array([ceil(steps) if steps < MAX_STEPS else 0, longest]),
    }


def strictest(calibrations: Sequence[Calibration]) -> Calibration:
    """What any of these would find: of each number the one that lets through least.

    A client of a kind whose queries lie close together, if it is not told of, is found by it.
    """
    if not calibrations:
        raise ValueError("no calibration to choose from")
    of_each = {name: np.stack([c[name] for c in calibrations]) for name in FIELDS}
    climb = of_each["climb"]
    climb = climb[climb[:, 0] > 0.0] if (climb[:, 0] > 0.0).any() else climb
    chosen = {
        "near": of_each["near"].max(axis=0),
        "margin": of_each["margin"].max(axis=0),
        "w": of_each["w"][of_each["w"][:, 0].argmax()],
        "climb": climb[climb[:, 0].argmin()],
    }
    for name in ("flips", "boundary"):
        chosen[name] = of_each[name].min(axis=0)
    return {name: chosen[name].copy() for name in FIELDS}


def flat(calibration: Calibration) -> F64:
    """(N_FIELDS,) the numbers of a calibration; raises `StateError` where it cannot be one."""
    if set(calibration) != set(FIELDS):
        raise StateError(f"a calibration of {sorted(calibration)}, expected {sorted(FIELDS)}")
    for name, length in FIELDS.items():
        array = calibration[name]
        if array.dtype != np.float64 or array.shape != (length,):
            raise StateError(f"{name!r} of a calibration is not {length} numbers")
    numbers = np.concatenate([calibration[name] for name in FIELDS])
    require_thresholds(numbers[np.newaxis])
    return numbers


def require_thresholds(numbers: F64) -> None:
    """Raise `StateError` where a row of (n, N_FIELDS) numbers are no thresholds."""
    require_all(np.isfinite(numbers) & (numbers >= 0.0) & (numbers <= 1e9), "a threshold is none")
    for at in (FLIPS, BOUNDARY):
        require_all(numbers[:, at] <= 1.0, "a rate is out of range")
        require_all(numbers[:, at + 1] >= 1.0, "a clump is out of range")
    require_all(numbers[:, W : W + 2] <= 1.0, "a threshold of W is out of range")


def _walk(rows: Learned, *, is_one: bool) -> _Walk:
    """The rows as those of one source, or source by source, each in its order."""
    n, n_dims = rows.z.shape
    order = np.arange(n) if is_one else np.argsort(rows.source, kind="stable")
    source = np.zeros(n, np.int32) if is_one else rows.source[order]
    begins = np.ones(n, np.bool_)
    begins[1:] = source[1:] != source[:-1]
    zeros = np.zeros(n, np.int32)
    asked = Asked(
        z=rows.z[order],
        is_repeat=np.zeros(n, np.bool_),  # they lie at distance 0 of what is kept
        source=zeros,
        is_first=begins,
        model=zeros,
        predicted=rows.predicted[order],
        n_dims=np.array([n_dims], np.int32),
        n_numbers=np.array([rows.n_numbers], np.int32),
    )
    found = find(asked, LaneTable(PLACE_COLUMNS, 1, None), np.zeros(ROOM, np.float32))
    margin = rows.margin[order].astype(np.float64)
    return _Walk(found, margin, rows.score[order], np.cumsum(begins))


def _lowest(values: F64, share: float) -> float:
    """The value below which no more than a share of these lie."""
    return float(np.sort(values)[int(share * len(values))])


def _is_near(walk: _Walk, near: float) -> Bool:
    return walk.has_pair & (walk.found.nearest < near)


def _flips(walk: _Walk, near: float) -> Bool:
    return _is_near(walk, near) & walk.found.is_flip


def _hits(walk: _Walk, is_hit: Bool, reviewed: bool) -> F64:
    """(3,) what `FIELDS` says of a windowed rule that hits at these rows."""
    n_pairs, n_hits = int(walk.has_pair.sum()), int(is_hit.sum())
    position = walk.found.position
    counted = position > 0
    # By source and position in one number, so that windows of two sources never touch.
    place = (walk.span * (len(position) + AMONG) + position)[counted]
    hit = is_hit[counted]
    at = place[hit]
    within = np.arange(n_hits) - np.searchsorted(at, at - AMONG, side="right") + 1
    most = int(within.max(initial=0))
    _, block = np.unique(
        walk.span[counted] * len(position) + (position[counted] - 1) // AMONG, return_inverse=True
    )
    whole = np.bincount(block) == AMONG
    counts = np.bincount(block, weights=hit)[whole]
    mean = float(counts.mean()) if len(counts) else 0.0
    clump = float(counts.var()) / mean if mean > 0.0 else 1.0
    if not reviewed or len(counts) < LEAST_COUNTS:
        clump = max(clump, 2.0)
    return np.array([min(upper_count(n_hits) / n_pairs, 1.0), max(clump, 1.0), most])


def _normality(walks: Sequence[_Walk]) -> F64:
    """(2,) threshold and median of W: below every benign look, by as much as looks differ."""
    farthest, medians = -inf, []
    for walk in walks:
        same = walk.found.same
        blocks = [
            w_of(values[at : at + _BLOCK])
            for one in np.split(same, np.flatnonzero(walk.found.begins)[1:])
            for values in (one[np.isfinite(one)],)
            for at in range(0, len(values) - _BLOCK + 1, _BLOCK)
        ]
        looks = walk.found.w[np.isfinite(walk.found.w)]
        apart = _away(np.array([w for w in blocks if isfinite(w)]))
        if len(apart) < _LEAST_BLOCKS or not len(looks):
            return np.zeros(2)
        within = _away(looks)
        spread = max(float(apart.std(ddof=1)), float(within.std()), _LEAST_SPREAD)
        k = len(apart)
        beyond = _student(k - 1) * spread * sqrt(1.0 + 1.0 / k)
        most = max(float(apart.max()), float(within.max())) + spread
        farthest = max(farthest, float(apart.mean()) + beyond, most)
        medians.append(float(np.median(looks)))
    threshold = 1.0 - exp(farthest) * (1.0 + JITTER)
    return np.array([max(threshold, 0.0), min(medians)])


def _away(w: F64) -> F64:
    """How far from normal, on a scale on which looks of the same client differ evenly."""
    away: F64 = np.log(np.maximum(1.0 - w, 1e-6))
    return away


def _student(freedom: int) -> float:
    """The quantile of Student's t at 1 - `_LOOK_CHANCE` (Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(1.0 - _LOOK_CHANCE)
    terms = (
        (z**3 + z) / 4.0,
        (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0,
        (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0,
        (79.0 * z**9 + 776.0 * z**7 + 1482.0 * z**5 - 1920.0 * z**3 - 945.0 * z) / 92160.0,
    )
    return z + fsum(term / freedom**k for k, term in enumerate(terms, start=1))


def _climb(walk: _Walk, near: float) -> F64:
    """(2,) steps that a climb needs, infinite where none do, and the longest there was."""
    n = len(walk.span)
    out = np.zeros(n, np.int64)
    climbs(
        walk.found.position,
        walk.found.begins,
        np.zeros(n, np.int32),
        walk.found.step,
        walk.score,
        near,
        np.full(1, np.nan),
        np.zeros(1, np.int8),
        np.zeros(1, np.int64),
        out,
    )
    longest = int(out.max())
    steps = needed_steps(
        int((walk.found.position > 0).sum()),
        int((out == 3).sum()),
        int((out > 3).sum()),
        int((out >= 3).sum()),
    )
    return np.array([max(steps, 1.5 * longest), longest])
