"""What benign rows say of how one-sided the answers of one source are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from detectors.security.base import MAX_CLASSES, Calibration, Learned
from detectors.security.binomial import GRID
from schemas.batch import F64

LEAST_ROWS: Final = 2_000
_WINDOWS: Final = (256, 64, 16)
_LEAST_WINDOWS: Final = 8
_LEAST_SOURCES: Final = 10
_DIGITS: Final = 9


def fit(rows: Learned, reviewed: bool) -> Calibration:
    """(MAX_CLASSES,) the share of each class, and the most of it that a benign source has.

    All 0, which is off, below 2,000 rows or where sources have too few each to say so.
    """
    usual, most = np.zeros(MAX_CLASSES), np.zeros(MAX_CLASSES)
    n = len(rows)
    if n < LEAST_ROWS:
        return {"usual": usual, "most": most}
    order = np.argsort(rows.source, kind="stable")
    cuts = np.flatnonzero(np.diff(rows.source[order])) + 1
    stretches = list(pairwise([0, *cuts.tolist(), n]))
    predicted = np.clip(rows.predicted[order], 0, MAX_CLASSES - 1)
    answers = np.eye(MAX_CLASSES)[predicted]
    usual = np.round(answers.mean(axis=0), _DIGITS)
    for length in _WINDOWS:
        shares = _shares(answers, stretches, length)
        if len(shares) >= _LEAST_WINDOWS:
            n_sources = sum(end - begin >= length for begin, end in stretches)
            further = 0.5 if reviewed and n_sources >= _LEAST_SOURCES else 1.0
            seen = shares.max(axis=0)
            most = np.minimum(seen + further * np.maximum(seen - usual, 0.0), 1.0)
            # A class that none had is as rare as what so many rows may have missed.
            most = np.round(np.maximum(most, 1.0 / GRID), _DIGITS)
            break
    return {"usual": usual, "most": most}


def _shares(answers: F64, stretches: list[tuple[int, int]], length: int) -> F64:
    """(k, MAX_CLASSES) of stretches of one source each, every one half in the next."""
    total = np.concatenate([np.zeros((1, MAX_CLASSES)), np.cumsum(answers, axis=0)])
    found = [
        (total[at + length] - total[at]) / length
        for begin, end in stretches
        for at in range(begin, end - length + 1, length // 2)
    ]
    return np.array(found).reshape(-1, MAX_CLASSES)


def strictest(calibrations: Sequence[Calibration]) -> Calibration:
    """The least one-sided of each class that is judged at all, with the share it belongs to."""
    usual = np.stack([each["usual"] for each in calibrations])
    most = np.stack([each["most"] for each in calibrations])
    at = np.argmin(np.where(most > 0.0, most, np.inf), axis=0)
    classes = np.arange(MAX_CLASSES)
    return {"usual": usual[at, classes], "most": most[at, classes]}
