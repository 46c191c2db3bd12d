"""How often labels disagree with a model that is not attacked, and how far a CUSUM must rise.

Learned from the first labels of a model (provisional) or from reviewed ones, then frozen.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import StateError
from detectors.kernels.label_poisoning import (
    ANY,
    FLIPPED,
    LEAST_P,
    N_BINS,
    N_CLASSES,
    OTHER,
    POOL_RATIO,
)
from detectors.labels.identity import NONE
from detectors.security.base import F32, Calibration, TooFewRowsError
from schemas.batch import F64, I64

REFERENCE_LABELS: Final = 2_000
"""Of a model: the first ones, or the fewest of a calibration."""
SOURCE_ARL: Final = 1e7
"""Labels of a model between two false alarms of the CUSUMs of all disagreements, of all sources
together: each label advances that of its own source, so it matters little how many sources there
are. Those of class pairs split the same disagreements among them and add about as many again: one
in five million labels in all."""
POOL_ARL: Final = 1e7
"""The same of a model's one pooled CUSUM, before it is asked whether it is concentrated."""
LEAST_THRESHOLD: Final = 6.0
MOST_THRESHOLD: Final = 40.0
LEAST_RATE: Final = 1e-5
MOST_RATE: Final = 0.999
_BIN_PRIOR: Final = 10.0
"""A bin's rate counts the model's as so many labels, that of a class in a bin the bin's."""
_PAIR_PRIOR: Final = 1.0
"""Before there is any, so many disagreements of a predicted class are spread over all labels."""
_N_CELLS: Final = 192
_SOLVED: Final = 6.0
_GRAIN: Final = 1024.0
"""Thresholds are rounded up to 1/1024: another linear algebra library changes none."""
_MOST_SCORE: Final = 1e30

SHAPES: Final = {
    "classes": (N_CLASSES, 2),
    "two_sided": (1,),
    "cuts": (N_BINS - 1,),
    "rates": (N_CLASSES, N_BINS + 1),
    "shares": (N_CLASSES, N_CLASSES),
    "thresholds": (2,),
}
"""Of a calibration's arrays. Of the classes the upper and the lower 32 bits of their codes, NONE
behind the last; thresholds are those of sources and of the pool."""


def fit(score: F64, predicted_code: I64, label_code: I64) -> Calibration:
    """What is usual of these labels, (n,) each, that are believed honest.

    Codes are those of `detectors.labels.identity`. Raises `TooFewRowsError`.
    """
    there = (predicted_code != NONE) & (label_code != NONE)
    n = int(np.count_nonzero(there))
    if n < REFERENCE_LABELS:
        raise TooFewRowsError(f"{n} labels with predictions, {REFERENCE_LABELS} are needed")
    predicted, label = predicted_code[there], label_code[there]
    codes: dict[int, int] = {}
    for code in predicted.tolist():
        if len(codes) == OTHER:
            break
        codes.setdefault(code, len(codes))

    def numbers(values: I64) -> list[int]:
        return [codes.get(code, OTHER) for code in values.tolist()]

    pair = np.array(numbers(predicted)) * N_CLASSES + np.array(numbers(label))
    pair[predicted != label] += ANY
    return expectation(
        np.array(list(codes), np.int64), as_kept(score[there]), pair.astype(np.uint16)
    )


def as_kept(score: F64) -> F32:
    """(n,) scores as they are kept: finite, or NaN where there is none."""
    kept: F32 = np.clip(score, -_MOST_SCORE, _MOST_SCORE).astype(np.float32)
    return kept


def expectation(classes: I64, score: F32, pair: NDArray[np.uint16]) -> Calibration:
    """What is usual of labels as they are kept: (n,) scores, predicted * N_CLASSES + label.

    To the pair `ANY` is added where the label disagrees. `classes` are the codes of the first
    classes that were predicted.
    """
    predicted = pair % ANY // N_CLASSES
    is_hit = pair >= ANY
    has_score = ~np.isnan(score)
    known = score[has_score].astype(np.float64)
    two_sided = bool(len(classes) <= 2 and len(known) and known.min() >= 0.0 and known.max() <= 1.0)
    x = np.abs(2.0 * known - 1.0) if two_sided else known
    cuts = np.zeros(N_BINS - 1)
    if len(x):
        ordered = np.sort(x)
        cuts = ordered[[len(x) * k // N_BINS for k in range(1, N_BINS)]]
    bins = np.full(len(score), N_BINS)
    bins[has_score] = np.searchsorted(cuts, x, side="left")

    cell = predicted.astype(np.int64) * (N_BINS + 1) + bins
    shape = (N_CLASSES, N_BINS + 1)
    n = np.bincount(cell, minlength=math.prod(shape)).reshape(shape)
    wrong = np.bincount(cell[is_hit], minlength=math.prod(shape)).reshape(shape)
    overall = (wrong.sum() + 1.0) / (n.sum() + 2.0)
    of_bin = (wrong.sum(axis=0) + _BIN_PRIOR * overall) / (n.sum(axis=0) + _BIN_PRIOR)
    rates = (wrong + _BIN_PRIOR * of_bin) / (n + _BIN_PRIOR)
    rates = np.clip(rates, LEAST_RATE, MOST_RATE)

    pairs = np.bincount(pair[is_hit] % ANY, minlength=ANY).reshape(N_CLASSES, N_CLASSES)
    prior = 1.0 - np.eye(N_CLASSES)
    prior[OTHER, OTHER] = 1.0
    prior *= _PAIR_PRIOR / prior.sum(axis=1, keepdims=True)
    shares = (pairs + prior) / (pairs.sum(axis=1, keepdims=True) + _PAIR_PRIOR)

    used = n > 0
    rate, weight = rates[used], n[used] / n.sum()
    return {
        "classes": _split(classes),
        "two_sided": np.array([float(two_sided)]),
        "cuts": cuts,
        "rates": rates,
        "shares": shares,
        "thresholds": np.array(
            [
                threshold(rate, weight, source_steps(rate), SOURCE_ARL),
                threshold(rate, weight, pool_steps(rate), POOL_ARL),
            ]
        ),
    }


def source_steps(rate: F64) -> tuple[F64, F64]:
    """(k,) what a disagreement adds to the CUSUM of a source, and what an agreement does."""
    p = np.clip(rate, LEAST_P, 0.5)
    more = FLIPPED * (1.0 - 2.0 * p)
    return np.log1p(more / p), np.log1p(-more / (1.0 - p))


def pool_steps(rate: F64) -> tuple[F64, F64]:
    """The same of a model's pooled CUSUM."""
    drop = np.log1p((POOL_RATIO - 1.0) * rate)
    return math.log(POOL_RATIO) - drop, -drop


def threshold(rate: F64, weight: F64, steps: tuple[F64, F64], arl: float) -> float:
    """How far a CUSUM must rise for so many labels between two false alarms.

    `rate` (k,) are the probabilities of a disagreement, each met by a `weight` of the labels. The
    mean time to _SOLVED is that of a Markov chain (Brook and Evans 1972); beyond, it grows as the
    exponential of the height, since that of the log likelihood ratio has the mean 1.
    """
    height = _SOLVED + math.log(arl / mean_time(rate, weight, steps, _SOLVED))
    height = min(max(height, LEAST_THRESHOLD), MOST_THRESHOLD)
    return math.ceil(height * _GRAIN) / _GRAIN


def mean_time(rate: F64, weight: F64, steps: tuple[F64, F64], height: float) -> float:
    """The mean number of labels until a CUSUM that begins at 0 has risen so far; at most 1e12.

    Steps that end between two cells go to both, so that the mean is kept: what is added to the
    variance makes the time a little shorter, never longer.
    """
    probability = np.concatenate([weight * rate, weight * (1.0 - rate)])
    cells = np.concatenate(steps) * (_N_CELLS / height)
    moves = np.zeros((_N_CELLS, _N_CELLS))
    start = np.arange(_N_CELLS)
    for step, chance in zip(cells.tolist(), probability.tolist(), strict=True):
        to = np.maximum(start + step, 0.0)
        low = np.floor(to).astype(np.int64)
        part = to - low
        for end, share in ((low, 1.0 - part), (low + 1, part)):
            inside = end < _N_CELLS
            moves[start[inside], end[inside]] += chance * share[inside]
    # Where nothing ever rises there is no such time; 1e-12 of all labels end it.
    times = np.linalg.solve(np.eye(_N_CELLS) - moves * (1.0 - 1e-12), np.ones(_N_CELLS))
    return min(max(float(times[0]), 1.0), 1e12)


def checked(calibration: Calibration) -> tuple[dict[str, F64], I64]:
    """Private copies of a calibration's arrays, and its classes' codes.

    Raises `StateError` where it cannot be one.
    """
    if set(calibration) != set(SHAPES):
        raise StateError(f"a calibration of labels has arrays {sorted(calibration)}")
    arrays = {}
    for name, shape in SHAPES.items():
        array = np.array(calibration[name], np.float64, order="C")
        if array.shape != shape or not np.isfinite(array).all():
            raise StateError(f"{name!r} of a calibration has another shape, or no numbers")
        arrays[name] = array
    check_expectation(
        arrays["cuts"][np.newaxis], arrays["rates"], arrays["shares"], arrays["thresholds"]
    )
    if arrays["two_sided"][0] not in {0.0, 1.0}:
        raise StateError("a calibration's scores are neither two-sided nor not")
    halves = arrays["classes"]
    if ((halves != np.floor(halves)) | (halves < 0.0) | (halves >= 2.0**32)).any():
        raise StateError("a calibration has classes that there are none of")
    words = halves.astype(np.uint64)
    codes = ((words[:, 0] << np.uint64(32)) | words[:, 1]).view(np.int64)
    n = int(np.count_nonzero(codes))
    if n > OTHER or (codes[:n] == NONE).any() or len(set(codes[:n].tolist())) < n:
        raise StateError("a calibration has a class twice, or too many")
    return arrays, codes[:n].copy()


def check_expectation(cuts: F64, rates: F64, shares: F64, thresholds: F64) -> None:
    """Raise `StateError` where these, of one model or of several, are out of range."""
    if not (np.isfinite(cuts).all() and (cuts[:, 1:] >= cuts[:, :-1]).all()):
        raise StateError("bins of confidence are out of order")
    if not ((rates >= LEAST_RATE) & (rates <= MOST_RATE)).all():
        raise StateError("a rate of disagreements is out of range")
    if not ((shares >= 0.0) & (shares <= 1.0)).all():
        raise StateError("a share of disagreements is out of range")
    if not ((thresholds >= LEAST_THRESHOLD) & (thresholds <= MOST_THRESHOLD)).all():
        raise StateError("a threshold of labels is out of range")


def _split(codes: I64) -> F64:
    """(N_CLASSES, 2) codes as numbers that a double holds."""
    words = np.zeros(N_CLASSES, np.int64)
    words[: len(codes)] = codes
    unsigned = words.view(np.uint64)
    halves = [unsigned >> np.uint64(32), unsigned & np.uint64(0xFFFFFFFF)]
    return np.column_stack(halves).astype(np.float64)
