"""Predictions of made-up sources, as the security banks see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np

from detectors.security.base import MAX_DIMS, Learned, SecurityBank, SecurityRows, Suspicion
from schemas.batch import F64, I32, I64

PER_MODEL = ("n_dims", "n_numbers")


def rows_of(
    x: F64,
    source: I64,
    predicted: I64,
    *,
    n_numbers: int | None = None,
    time_ms: I64 | None = None,
    is_repeat: Sequence[bool] | None = None,
    seen: set[int] | None = None,
    first: int = 0,
    model: I32 | None = None,
    n_models: int = 1,
) -> SecurityRows:
    """Rows (n, d) of sources, each at the place of its number; -1 has none.

    `seen` has the places that are in use before, and those of these rows after.
    """
    n, d = x.shape
    z = np.zeros((n, MAX_DIMS), np.float32)
    z[:, :d] = x
    known = set() if seen is None else seen
    is_first = np.zeros(n, np.bool_)
    for i, place in enumerate(source.tolist()):
        if place >= 0 and place not in known:
            known.add(place)
            is_first[i] = True
    bits = np.ascontiguousarray(z).view(np.uint32).astype(np.uint64)
    weights = np.arange(1, 2 * MAX_DIMS, 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    at = np.arange(first, first + n, dtype=np.int64)
    words = np.stack([source, source + 7], axis=1).astype(np.int64).view(np.uint64)
    return SecurityRows(
        offset=at,
        event_row=np.zeros(n, np.int32),
        event_time_ms=at * 100 if time_ms is None else time_ms,
        number=at,
        model=np.zeros(n, np.int32) if model is None else model,
        z=z,
        is_repeat=np.zeros(n, np.bool_) if is_repeat is None else np.array(is_repeat, np.bool_),
        row_hash=(bits * weights).sum(axis=1, dtype=np.uint64),
        source=source.astype(np.int32),
        is_first=is_first,
        kind=np.zeros(n, np.int32),
        source_words=words,
        predicted=predicted.astype(np.int32),
        margin=np.full(n, 0.5, np.float32),
        score=np.full(n, 0.5),
        n_dims=np.full(n_models, d, np.int32),
        n_numbers=np.full(n_models, d if n_numbers is None else n_numbers, np.int32),
    )


def learned(rows: SecurityRows) -> Learned:
    """The same rows, as benign ones of one model and one kind."""
    d = int(rows.n_dims[0])
    return Learned(
        z=rows.z[:, :d].copy(),
        n_numbers=int(rows.n_numbers[0]),
        source=rows.source,
        row_hash=rows.row_hash,
        predicted=rows.predicted,
        margin=rows.margin,
        score=rows.score,
        event_time_ms=rows.event_time_ms,
    )


def cut(rows: SecurityRows, begin: int, end: int) -> SecurityRows:
    """A stretch of them."""
    own = {
        each.name: getattr(rows, each.name)[begin:end]
        for each in fields(SecurityRows)
        if each.name not in PER_MODEL
    }
    return replace(rows, **own)


def fold(bank: SecurityBank, rows: SecurityRows, cuts: Sequence[int] = ()) -> list[Suspicion]:
    """All suspicions of these rows, in the order of the log; the rows split at `cuts`."""
    edges = [0, *sorted(cuts), len(rows)]
    found: list[Suspicion] = []
    for begin, end in pairwise(edges):
        found += bank.update(cut(rows, begin, end))
    return sorted(found)


def gaussian(rng: np.random.Generator, n: int, d: int) -> tuple[F64, I64]:
    """Correlated normal numbers and the class that a linear model gives them."""
    x = rng.normal(size=(n, d))
    x[:, 1:] = 0.6 * x[:, :-1] + 0.8 * x[:, 1:]
    return x, (x.sum(axis=1) > 0.5).astype(np.int64)


def autoregressive(rng: np.random.Generator, source: I64, d: int, rho: float) -> tuple[F64, I64]:
    """The same where the rows of each source follow each other in time: AR(1), variance 1."""
    n = len(source)
    x = np.empty((n, d))
    fresh = rng.normal(size=(n, d))
    for place in np.unique(source):
        at = np.flatnonzero(source == place)
        last = rng.normal(size=d)
        for i in at.tolist():
            last = rho * last + np.sqrt(1.0 - rho * rho) * fresh[i]
            x[i] = last
    return x, (x.sum(axis=1) > 0.5).astype(np.int64)
