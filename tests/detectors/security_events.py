"""Events of many clients, as the security duty decodes them: benign ones and one that searches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from schemas.batch import F64, I64, U64, Decoded, ModelKey
from schemas.source_hash import SourceKey
from tests.detectors.decoded import table

KEY = SourceKey(b"0123456789abcdef")
MODEL = ModelKey("m", "1")


def words_of(source: I64) -> U64:
    """(n, 2) the keyed hash of the source with this number; 0 has no name."""
    used, place = np.unique(source, return_inverse=True)
    words = KEY.words([f"s{number}" if number else None for number in used.tolist()])
    return words[place.reshape(-1)]


def numbers(
    x: F64, source: I64, *, model: ModelKey = MODEL, first: int = 0, height: F64 | None = None
) -> Decoded:
    """Rows (n, d) of numbers that a linear model has answered, from sources by number."""
    height = x.sum(axis=1) if height is None else height
    columns = {f"f{k:03d}": x[:, k] for k in range(x.shape[1])}
    score = 1.0 / (1.0 + np.exp(-height))
    own = table(model, columns, score, (height > 0).astype(np.float64), first)
    return replace(
        own, source=words_of(source), event_time_ms=np.arange(first, first + len(x)) * 10
    )


def benign(
    rng: np.random.Generator, n: int, d: int = 4, n_sources: int = 6, *, first: int = 0
) -> Decoded:
    """Independent rows of as many clients."""
    return numbers(rng.normal(size=(n, d)), 1 + rng.integers(0, n_sources, n), first=first)


def with_attack(
    rng: np.random.Generator, n: int, one_in: int, d: int = 4, *, first: int = 0, source: int = 77
) -> Decoded:
    """The same, and one client that walks along the boundary in small steps, one row in so many."""
    x, who = rng.normal(size=(n, d)), 1 + rng.integers(0, 6, n)
    is_attack = np.arange(n) % one_in == 0
    x[is_attack] = 0.01 * rng.normal(size=(int(is_attack.sum()), d))
    who[is_attack] = source
    return numbers(x, who, first=first)


def part(events: Decoded, start: int, stop: int) -> Decoded:
    """Some of the events as a poll of their own; what is by poll stays, used or not."""
    first, last = events.value_ptr[start], events.value_ptr[stop]
    rows = slice(start, stop)
    by_row = (
        *("offset", "row", "record_time_ms", "event_time_ms", "is_label", "model", "shape"),
        *("score", "prediction_kind", "prediction", "predicted_class", "source", "event_id"),
        "latency_ms",
    )
    return replace(
        events,
        **{name: getattr(events, name)[rows] for name in by_row},
        value_ptr=events.value_ptr[start : stop + 1] - first,
        value=events.value[first:last],
        kind=events.kind[first:last],
    )
