"""Queries of sources as a security bank sees them, made of columns, and cut into stretches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.security.base import MAX_DIMS, Learned, SecurityRows

PER_MODEL = {"n_dims", "n_numbers"}


def rows_of(
    z: NDArray[Any],
    *,
    predicted: NDArray[Any] | None = None,
    margin: NDArray[Any] | float = np.nan,
    score: NDArray[Any] | float = np.nan,
    source: NDArray[Any] | int = 0,
    model: NDArray[Any] | int = 0,
    kind: NDArray[Any] | int = 0,
    is_first: NDArray[Any] | None = None,
    n_numbers: int | Sequence[int] | None = None,
    n_dims: Sequence[int] | None = None,
) -> SecurityRows:
    """(n, d) queries at offsets 100, 101, ...; each place is first used where it first comes up."""
    n, d = z.shape
    wide = np.zeros((n, MAX_DIMS), np.float32)
    wide[:, :d] = z
    source = np.broadcast_to(np.asarray(source, np.int32), n).copy()
    if is_first is None:
        is_first = np.zeros(n, np.bool_)
        is_first[np.unique(source, return_index=True)[1]] = True
        is_first &= source >= 0
    widths = np.array([d] if n_dims is None else n_dims, np.int32)
    numbers = np.array(widths if n_numbers is None else n_numbers, np.int32).reshape(-1)
    at = np.arange(n, dtype=np.int64)
    digests = b"".join(blake2b(row.tobytes(), digest_size=8).digest() for row in wide)
    hashes = np.frombuffer(digests, np.uint64).copy()
    latest: dict[int, list[int]] = {}
    is_repeat = np.zeros(n, np.bool_)
    for i, (place, own) in enumerate(zip(source.tolist(), hashes.tolist(), strict=True)):
        kept = latest.setdefault(place, [])
        if is_first[i]:
            kept.clear()
        is_repeat[i] = own in kept
        kept.append(own)
        del kept[:-MAX_DIMS]
    return SecurityRows(
        offset=at + 100,
        event_row=np.zeros(n, np.int32),
        event_time_ms=1_000 * at,
        number=at,
        model=np.broadcast_to(np.asarray(model, np.int32), n).copy(),
        z=wide,
        is_repeat=is_repeat,
        row_hash=hashes,
        source=source,
        is_first=is_first,
        kind=np.broadcast_to(np.asarray(kind, np.int32), n).copy(),
        source_words=np.zeros((n, 2), np.uint64),
        predicted=np.zeros(n, np.int32) if predicted is None else predicted.astype(np.int32),
        margin=np.broadcast_to(np.asarray(margin, np.float32), n).copy(),
        score=np.broadcast_to(np.asarray(score, np.float64), n).copy(),
        n_dims=widths,
        n_numbers=numbers,
    )


def cut(rows: SecurityRows, start: int, stop: int) -> SecurityRows:
    """Some of the rows."""
    own = {
        f.name: getattr(rows, f.name)[start:stop] for f in fields(rows) if f.name not in PER_MODEL
    }
    return replace(rows, **own)


def stretches(rows: SecurityRows, cuts: Sequence[int]) -> Iterator[SecurityRows]:
    """The rows, cut at these places."""
    at = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    for start, stop in pairwise(at):
        yield cut(rows, start, stop)


def learned(rows: SecurityRows, n_dims: int) -> Learned:
    """The same rows, as what thresholds are made of."""
    return Learned(
        z=rows.z[:, :n_dims],
        n_numbers=int(rows.n_numbers[0]),
        source=rows.source,
        row_hash=rows.row_hash,
        predicted=rows.predicted,
        margin=rows.margin,
        score=rows.score,
        event_time_ms=rows.event_time_ms,
    )
