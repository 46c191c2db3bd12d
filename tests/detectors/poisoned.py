"""Joined labels of a calibrated model, honest or not: seeded, for the bank of poisoned labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from detectors.labels.identity import number_codes
from detectors.labels.join import Joined
from detectors.mixing import splitmix64
from detectors.security.label_poisoning import LabelPoisoning
from schemas.batch import F64, I32, I64, Bool
from schemas.security_config import LabelPoisoningConfig

SALT = 20_240_607
CODES = number_codes(np.arange(32, dtype=np.float64))
"""Of the classes 0, 1, ..."""


@dataclass(frozen=True)
class Labels:
    """What a generator makes of n labels, before somebody lies."""

    source: I64
    """(n,) number of the label's source."""
    predicted: I64
    """(n,) number of the class."""
    label: I64
    score: F64


def honest(
    rng: np.random.Generator,
    n: int,
    n_sources: int,
    *,
    n_classes: int = 2,
    error: float = 0.18,
    worse: F64 | float = 1.0,
) -> Labels:
    """Labels of a model whose score is the truth: of two classes that of class 1.

    `error` is how often it errs. All are `worse` times as often wrong as the score has it.
    """
    margin = rng.random(n) ** (2.0 * error / (1.0 - 2.0 * error))
    predicted = rng.integers(0, n_classes, n)
    is_wrong = rng.random(n) < np.minimum(0.5 * (1.0 - margin) * worse, 1.0)
    other = (predicted + rng.integers(1, n_classes, n)) % n_classes
    sure = 0.5 + 0.5 * margin
    return Labels(
        source=rng.integers(0, n_sources, n),
        predicted=predicted,
        label=np.where(is_wrong, other, predicted),
        score=np.where((predicted == 0) & (n_classes == 2), 1.0 - sure, sure),
    )


def flipped(rng: np.random.Generator, labels: Labels, who: Bool, share: float) -> Labels:
    """The same where `who` (n,) turns so large a share of labels over; two classes."""
    lies = who & (rng.random(len(who)) < share)
    return replace(labels, label=np.where(lies, 1 - labels.label, labels.label))


def source_words(source: I64) -> I64:
    """(n, 2) what stands for a source; that of source -1, which has no name, is 0, 0."""
    states = source.astype(np.uint64)
    words = np.column_stack([splitmix64(states + np.uint64(k)) for k in (1, 2**40)])
    words[source < 0] = 0
    return words.view(np.int64)


def joined(
    labels: Labels,
    *,
    slot: I32 | None = None,
    slices: I64 | None = None,
    first: int = 0,
) -> Joined:
    """The rows of these labels, one label a record."""
    n = len(labels.source)
    at = np.arange(first, first + n, dtype=np.int64)
    return Joined(
        row=np.arange(n, dtype=np.int32),
        slot=np.zeros(n, np.int32) if slot is None else slot,
        offset=at,
        event_row=np.zeros(n, np.int32),
        predicted=labels.predicted.astype(np.float64),
        predicted_code=CODES[labels.predicted],
        score=labels.score,
        label=labels.label.astype(np.float64),
        label_code=CODES[labels.label],
        event_time_ms=1_000 * at,
        delay_ms=np.full(n, 500, np.int64),
        source=source_words(np.full(n, -1)),
        label_source=source_words(labels.source),
        slices=np.zeros(n, np.int64) if slices is None else slices,
        key=at,
        number=at,
    )


def taken(rows: Joined, start: int, stop: int) -> Joined:
    """Some of the rows, read-only."""
    columns = {
        f.name: np.ascontiguousarray(getattr(rows, f.name)[start:stop]) for f in fields(rows)
    }
    for column in columns.values():
        column.flags.writeable = False
    return Joined(**columns)


def pieces(rows: Joined, cuts: Iterable[int]) -> Iterator[Joined]:
    """The rows in pieces that end at each of `cuts`."""
    start = 0
    for cut in [*sorted(cuts), len(rows)]:
        yield taken(rows, start, cut)
        start = cut


def bank(n_models: int = 1, n_places: int = 64, salt: int = SALT) -> LabelPoisoning:
    """One that has seen nothing."""
    return LabelPoisoning(LabelPoisoningConfig(), n_models, n_places, salt)
