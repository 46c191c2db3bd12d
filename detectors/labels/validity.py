"""Whether what stands in a snapshot could be rows of the join: its bytes come from a store."""

from __future__ import annotations

import numpy as np

from detectors.base import StateError
from detectors.kernels.labels import CODE, EVENT_ROW, OFFSET, SCORE, SEEN, SLICES, TIME, VALUE
from detectors.labels.identity import NONE
from schemas.batch import I64
from schemas.limits import MAX_TS_MS


def check_predictions(rows: I64, watermark_ms: int) -> None:
    """Raise `StateError` where these (n, WORDS or more) cannot be predictions that were kept."""
    _check_times(rows, watermark_ms)
    for word in (VALUE, SCORE):
        if np.isinf(np.ascontiguousarray(rows[:, word]).view(np.float64)).any():
            raise StateError("a prediction that waits is infinite")
    if (rows[:, SLICES] < 0).any():
        raise StateError("a prediction that waits belongs to groups that there are none of")


def check_labels(rows: I64, watermark_ms: int) -> None:
    """Raise `StateError` where these (n, EVENT_ROW + 1) cannot be labels that wait."""
    _check_times(rows, watermark_ms)
    if np.isinf(np.ascontiguousarray(rows[:, VALUE]).view(np.float64)).any():
        raise StateError("a label that waits is infinite")
    if (rows[:, CODE] == NONE).any():
        raise StateError("a label that waits says nothing")
    if (rows[:, OFFSET] < 0).any() or not _within(rows[:, EVENT_ROW], 2**31 - 1):
        raise StateError("a label that waits is nowhere in the log")


def check_answers(rows: I64, n_past: int, head: int, tail: int) -> None:
    """Raise `StateError` where these (n, 2) cannot be the answers to predictions.

    The first `n_past` are of predictions before `head`, the others of any before `tail`, the first
    of them of one that is kept. No prediction has two.
    """
    of, code = rows[:, 0], rows[:, 1]
    kept = of[of >= head]
    if len(of) and not _within(of, tail - 1):
        raise StateError("an answer is to a prediction that there is not")
    if (code == NONE).any():
        raise StateError("an answer says nothing")
    if (of[:n_past] >= head).any() or (of[n_past : n_past + 1] < head).any():
        raise StateError("an answer is kept for longer, or for less long, than its prediction")
    if len(np.unique(kept)) < len(kept):
        raise StateError("a prediction has two answers")


def _check_times(rows: I64, watermark_ms: int) -> None:
    seen = rows[:, SEEN]
    if not _within(rows[:, TIME], MAX_TS_MS) or not _within(seen, watermark_ms):
        raise StateError("a time of what waits for its label lies outside of all times")
    if (seen[1:] < seen[:-1]).any():
        raise StateError("what waits for its label is out of order")


def _within(numbers: I64, most: int) -> bool:
    return not len(numbers) or bool(numbers.min() >= 0 and numbers.max() <= most)
