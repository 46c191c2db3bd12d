"""Rows of clients, benign and hostile, as security banks see them: seeded."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.mixing import GOLDEN, splitmix64
from detectors.security.base import MAX_DIMS, Learned, SecurityRows

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
N_MODELS: Final = 2
BOUNDARY: Final = 4.0
"""How steep the margin of the model of these streams is."""


class Queries(NamedTuple):
    """Rows and who sent them, in order."""

    z: F32
    source: I64
    """0: without a name."""
    is_attack: NDArray[np.bool_]

    def between(self, start: int, stop: int | None = None) -> Queries:
        return Queries(self.z[start:stop], self.source[start:stop], self.is_attack[start:stop])


def direction(dims: int) -> NDArray[np.float64]:
    """Normal to the boundary of the model of these streams."""
    a = np.arange(1, dims + 1) % 3 - 0.7
    return np.asarray(a / np.sqrt(np.sum(a * a)))


def answers(z: F32) -> tuple[NDArray[np.int32], F32]:
    """Predicted class and margin of the model of these streams, which is linear."""
    height = z.astype(np.float64) @ direction(z.shape[1])
    return (height > 0.3).astype(np.int32), np.abs(np.tanh((height - 0.3) / BOUNDARY)).astype(
        np.float32
    )


def independent(rng: np.random.Generator, n: int, dims: int, n_sources: int = 40) -> Queries:
    z = rng.normal(size=(n, dims)).astype(np.float32)
    return Queries(z, 1 + rng.integers(0, n_sources, n), np.zeros(n, np.bool_))


def time_ordered(
    rng: np.random.Generator, n: int, dims: int, n_sources: int = 8, memory: float = 0.95
) -> Queries:
    """Every source walks for itself: an autoregressive process of the first order."""
    noise = rng.normal(size=(n, dims)) * np.sqrt(1.0 - memory * memory)
    source = rng.integers(0, n_sources, n)
    z = np.empty((n, dims))
    last = rng.normal(size=(n_sources, dims))
    for i in range(n):
        last[source[i]] = memory * last[source[i]] + noise[i]
        z[i] = last[source[i]]
    return Queries(z.astype(np.float32), 1 + source, np.zeros(n, np.bool_))


def boundary_walk(
    rng: np.random.Generator, n: int, dims: int, step: float, n_sources: int
) -> Queries:
    """A search along the boundary from one point: small steps on both of its sides."""
    a = direction(dims)
    here = rng.normal(size=dims)
    here += a * (0.3 - here @ a)
    z = here + step * rng.normal(size=(n, dims)) / np.sqrt(dims)
    source = 1_000 + np.arange(n) % n_sources
    return Queries(z.astype(np.float32), source, np.ones(n, np.bool_))


def embedded(benign: Queries, attack: Queries, one_in: int, start: int) -> Queries:
    """The attack's rows among benign ones from `start` on, one in so many."""
    at = np.minimum(start + np.arange(len(attack.z)) * (one_in - 1), len(benign.z))
    return Queries(
        np.insert(benign.z, at, attack.z, axis=0),
        np.insert(benign.source, at, attack.source),
        np.insert(benign.is_attack, at, attack.is_attack),
    )


def row_hashes(z: F32) -> NDArray[np.uint64]:
    words = np.ascontiguousarray(z, np.float32).view(np.uint32).astype(np.uint64)
    total = np.zeros(len(z), np.uint64)
    for column in range(words.shape[1]):
        total = splitmix64((total ^ words[:, column]) + GOLDEN)
    return total


def learned(queries: Queries, n_numbers: int | None = None) -> Learned:
    predicted, margin = answers(queries.z)
    n, dims = queries.z.shape
    return Learned(
        z=queries.z,
        n_numbers=dims if n_numbers is None else n_numbers,
        source=queries.source.astype(np.int32),
        row_hash=row_hashes(queries.z),
        predicted=predicted,
        margin=margin,
        score=margin.astype(np.float64),
        event_time_ms=np.arange(n, dtype=np.int64),
    )


def security_rows(
    queries: Queries, n_places: int, *, n_numbers: int | None = None, n_models: int = N_MODELS
) -> SecurityRows:
    """The rows of model 0; each source with a number below `n_places` has that place."""
    n, dims = queries.z.shape
    predicted, margin = answers(queries.z)
    z = np.zeros((n, MAX_DIMS), np.float32)
    z[:, :dims] = queries.z
    words = np.stack([queries.source * 7, queries.source], axis=1).astype(np.uint64)
    place = np.where((queries.source > 0) & (queries.source < n_places), queries.source, -1)
    is_first = np.zeros(n, np.bool_)
    is_first[np.unique(place, return_index=True)[1]] = True
    hashes = row_hashes(queries.z)
    of_source = hashes ^ splitmix64(queries.source.astype(np.uint64) + GOLDEN)
    is_repeat = np.ones(n, np.bool_)
    is_repeat[np.unique(of_source, return_index=True)[1]] = False
    return SecurityRows(
        offset=100 + 2 * np.arange(n, dtype=np.int64),
        event_row=np.zeros(n, np.int32),
        event_time_ms=1_000 + 10 * np.arange(n, dtype=np.int64),
        number=np.arange(n, dtype=np.int64),
        model=np.zeros(n, np.int32),
        z=z,
        is_repeat=is_repeat,
        row_hash=hashes,
        source=place.astype(np.int32),
        is_first=is_first & (place >= 0),
        kind=np.zeros(n, np.int32),
        source_words=words,
        predicted=predicted,
        margin=margin,
        score=margin.astype(np.float64),
        n_dims=np.full(n_models, dims, np.int32),
        n_numbers=np.full(n_models, dims if n_numbers is None else n_numbers, np.int32),
    )


_OF_MODELS: Final = {"n_dims", "n_numbers"}


def part_of(rows: SecurityRows, start: int, stop: int) -> SecurityRows:
    """Some rows of a stretch, in arrays of their own."""
    taken: dict[str, Any] = {
        f.name: getattr(rows, f.name)[start:stop].copy()
        for f in fields(rows)
        if f.name not in _OF_MODELS
    }
    return replace(rows, **taken)


def split_at(rows: SecurityRows, cuts: list[int]) -> list[SecurityRows]:
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    return [part_of(rows, a, b) for a, b in pairwise(edges)]
