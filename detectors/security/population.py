"""A model's population: what its rows usually are, frozen, and rows scaled by it.

Numbers are scaled by their median and by the distance of their quartiles, which a few bad rows
among those that were learned cannot move; categories become hashes of which only equality counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from detectors.base import StateError
from detectors.kernels.population import (
    HAS_PROBABILITY,
    IS_BINARY,
    SCORE_IS_CLASS,
    read_outputs,
    scale_rows,
)
from detectors.security.base import F32, MAX_CLASSES, MAX_DIMS, Learned
from detectors.security.columns import PollColumns, name_words, ranges
from schemas.batch import F64, I32, I64, U8, U64, Bool, PredictionKind, ValueKind
from schemas.limits import MAX_FEATURES

MAX_CATEGORY_COLUMNS: Final = 16
"""Into which categories are combined where there are more than `MAX_DIMS` features."""
MAX_LEARNED_VALUES: Final = 1_000_000
"""Of one model; a model with very many features learns from fewer rows."""
NORMAL_QUARTILES: Final = 1.349
"""From the lower to the upper quartile of a normal distribution, in its standard deviations."""
_NORMAL_TWENTIETHS: Final = 3.29
"""The same from its 5th to its 95th percentile."""
_MAX_SCALE: Final = 1e308


@dataclass(frozen=True, slots=True)
class Population:
    """What the rows of one model version are compared with; f features, c classes."""

    features: tuple[str, ...]
    """In the order of their names."""
    is_category: Bool
    """(f,)"""
    centre: F64
    """(f,) the median of a number; 0 of a category."""
    scale: F64
    """(f,) above 0; 1 of a category."""
    classes: I64
    """(c,) codes of the predicted classes in the order in which they came; none where the model
    predicts numbers."""
    output: int
    """Bits of `detectors.kernels.population`: what its answers are."""
    n_rows: int
    """That it was made of."""

    def check(self) -> None:
        """Raise `StateError` where it contradicts itself."""
        f, c = len(self.features), len(self.classes)
        if f > MAX_FEATURES or list(self.features) != sorted(set(self.features)):
            raise StateError("a population's features are too many, or out of order")
        for array, dtype, length in (
            (self.is_category, np.bool_, f),
            (self.centre, np.float64, f),
            (self.scale, np.float64, f),
            (self.classes, np.int64, c),
        ):
            if array.dtype != dtype or array.shape != (length,):
                raise StateError("a population's arrays do not fit its features")
        if not (np.isfinite(self.centre).all() and np.isfinite(self.scale).all()):
            raise StateError("a population has a number that is not finite")
        if (self.scale <= 0.0).any():
            raise StateError("a population has a scale that is none")
        if c >= MAX_CLASSES or len(set(self.classes.tolist())) < c or not self.classes.all():
            raise StateError("a population has classes that cannot be told apart")
        if not 0 <= self.output < 8 or self.n_rows < 0:
            raise StateError("a population's answers are of no kind")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a population's features stand in a scaled row; f features."""

    n_dims: int
    n_numbers: int
    column: I32
    """(f,)"""
    sign: F64
    """(f,) +1 or -1, by which a number is added to its column."""
    key: U64
    """(f,) that a category is hashed with."""


def layout_of(population: Population, salt: int) -> Layout:
    """The columns of a population.

    Each feature has its own while there is room. Where not, categories share 16 columns, equal
    where all of them are; and numbers are added up with salted signs in what is left, a count
    sketch (Charikar, Chen and Farach-Colton 2002), which keeps distances on the average.
    """
    f = len(population.features)
    key = name_words(salt, "column", population.features)
    is_category = population.is_category
    n_categories = int(np.count_nonzero(is_category))
    n_numbers = f - n_categories
    if f > MAX_DIMS:
        n_categories = min(n_categories, MAX_CATEGORY_COLUMNS)
        n_numbers = min(n_numbers, MAX_DIMS - n_categories)
    column, sign = np.empty(f, np.int32), np.ones(f)
    for is_in, first, n_columns in (
        (~is_category, 0, n_numbers),
        (is_category, n_numbers, n_categories),
    ):
        own = np.flatnonzero(is_in)
        if len(own) == n_columns:
            column[own] = first + np.arange(n_columns)
            continue
        column[own] = first + (key[own] >> np.uint64(1)) % np.uint64(n_columns)
        sign[own] = np.where(key[own] & np.uint64(1), 1.0, -1.0)
    return Layout(n_numbers + n_categories, n_numbers, column, sign, key)


@dataclass(slots=True)
class Rows:
    """The arrays of rows that are learned from, n of them with v values."""

    length: I32
    """(n,) values of each row; what was missing is left out."""
    feature: I32
    """(v,) index into the features."""
    kind: U8
    """(v,) `ValueKind`"""
    word: U64
    """(v,)"""
    code: I64
    """(n,) of the prediction; 0: none."""
    is_number: U8
    """(n,) whether it was a number that is no integer in JSON."""
    score: F64
    """(n,)"""
    source: U64
    """(n, 2) the keyed hash of the source."""
    row_hash: U64
    """(n,)"""
    event_time_ms: I64
    """(n,)"""


FIELDS: Final = (
    ("length", np.int32, False),
    ("feature", np.int32, True),
    ("kind", np.uint8, True),
    ("word", np.uint64, True),
    ("code", np.int64, False),
    ("is_number", np.uint8, False),
    ("score", np.float64, False),
    ("source", np.uint64, False),
    ("row_hash", np.uint64, False),
    ("event_time_ms", np.int64, False),
)
"""Name, dtype, and whether there is one for each value and not for each row."""


def _no_rows() -> Rows:
    empty: dict[str, Any] = {
        name: np.zeros((0, 2) if name == "source" else 0, dtype) for name, dtype, _ in FIELDS
    }
    return Rows(**empty)


@dataclass(slots=True)
class Learning:
    """The first rows of a model, until there are enough."""

    features: dict[str, int] = field(default_factory=dict)
    """Name -> index, in the order in which they came."""
    chunks: list[Rows] = field(default_factory=list)
    n_rows: int = 0
    n_values: int = 0
    """Those left out counted, too."""

    def n_until(self, length: I64, learn_events: int) -> int:
        """How many of the next rows, with so many values each, are learned; at least one.

        More than there are rows: it is not complete by then.
        """
        by_rows = max(learn_events - self.n_rows, 1)
        room = MAX_LEARNED_VALUES - self.n_values
        by_values = int(np.searchsorted(np.cumsum(length), room)) + 1
        return min(by_rows, by_values)

    def add(self, columns: PollColumns, rows: I64, max_features: int) -> int:
        """Learn these rows of a poll; how many values there was no room for a feature for."""
        events = columns.events
        length = np.diff(events.value_ptr)[rows]
        shape = events.shape[rows]
        maps: dict[int, I32] = {}
        for each in dict.fromkeys(shape.tolist()):
            maps[each] = self._indices(events.shapes[each], max_features)
        feature = np.concatenate([np.zeros(0, np.int32), *(maps[s] for s in shape.tolist())])
        at = ranges(events.value_ptr[rows], length)
        kind = columns.kind[at]
        is_known = (kind != ValueKind.NULL) & (kind != ValueKind.INVALID)
        n_refused = int(np.count_nonzero(is_known & (feature < 0)))
        is_kept = is_known & (feature >= 0)
        row_of = np.repeat(np.arange(len(rows)), length)
        self.chunks.append(
            Rows(
                length=np.bincount(row_of[is_kept], minlength=len(rows)).astype(np.int32),
                feature=feature[is_kept],
                kind=kind[is_kept],
                word=columns.word[at][is_kept],
                code=columns.code[rows],
                is_number=(events.prediction_kind[rows] == PredictionKind.NUMBER).astype(np.uint8),
                score=events.score[rows],
                source=events.source[rows],
                row_hash=columns.row_hash[rows],
                event_time_ms=events.event_time_ms[rows],
            )
        )
        self.n_rows += len(rows)
        self.n_values += len(at)
        return n_refused

    def _indices(self, names: tuple[str, ...], max_features: int) -> I32:
        for name in names:
            if len(self.features) < max_features:
                self.features.setdefault(name, len(self.features))
        return np.array([self.features.get(name, -1) for name in names], np.int32)

    def rows(self) -> Rows:
        """All rows so far."""
        if len(self.chunks) != 1:
            held = [_no_rows(), *self.chunks]
            joined: dict[str, Any] = {
                name: np.concatenate([getattr(chunk, name) for chunk in held])
                for name, _, _ in FIELDS
            }
            self.chunks = [Rows(**joined)]
        return self.chunks[0]

    def freeze(self, salt: int, usual: Rows | None = None) -> tuple[Population, Learned]:
        """The population of these rows, or of those that are usual, and the rows scaled by it.

        `usual` have their features numbered as these rows have.
        """
        rows = self.rows()
        population, entry_of = _population_of(rows if usual is None else usual, list(self.features))
        return population, _scaled(rows, entry_of, population, salt)


def _population_of(rows: Rows, names: list[str]) -> tuple[Population, I32]:
    """The population, and which of its features each one that was learned is; -1: none."""
    order = np.argsort(rows.feature, kind="stable")
    ends = np.cumsum(np.bincount(rows.feature, minlength=len(names)))
    number = rows.word.view(np.float64)
    found: list[tuple[str, int, bool, float, float]] = []
    for index, name in enumerate(names):
        own = order[ends[index - 1] if index else 0 : ends[index]]
        if not len(own):
            continue
        is_number = rows.kind[own] == ValueKind.NUMBER
        is_category = 2 * int(np.count_nonzero(is_number)) < len(own)
        centre, scale = (0.0, 1.0) if is_category else centre_and_scale(number[own[is_number]])
        found.append((name, index, is_category, centre, scale))
    found.sort()
    entry_of = np.full(len(names), -1, np.int32)
    entry_of[[index for _, index, _, _, _ in found]] = np.arange(len(found))
    classes, output = _answers(rows)
    population = Population(
        features=tuple(name for name, _, _, _, _ in found),
        is_category=np.array([is_category for _, _, is_category, _, _ in found], np.bool_),
        centre=np.array([centre for _, _, _, centre, _ in found], np.float64),
        scale=np.array([scale for _, _, _, _, scale in found], np.float64),
        classes=classes,
        output=output,
        n_rows=len(rows.length),
    )
    return population, entry_of


def centre_and_scale(values: F64) -> tuple[float, float]:
    """Median and robust standard deviation of one or more finite numbers.

    Where half of them are equal the scale is that of wider quantiles, then of the range, and of a
    constant its own size or 1: it is above 0.
    """
    held = np.sort(values)
    last = len(held) - 1
    centre = float(held[last // 2])
    with np.errstate(over="ignore"):
        for low, high, width in (
            (last // 4, last - last // 4, NORMAL_QUARTILES),
            (last // 20, last - last // 20, _NORMAL_TWENTIETHS),
            (0, last, 6.0),
        ):
            scale = float((held[high] - held[low]) / width)
            if scale > 0.0:
                return centre, min(scale, _MAX_SCALE)
    return centre, max(abs(centre), 1.0)


def _answers(rows: Rows) -> tuple[I64, int]:
    """The codes of a model's classes, and what its answers are."""
    codes = list(dict.fromkeys(rows.code[rows.code != 0].tolist()))
    is_regression = bool(rows.is_number.any()) and len(codes) > MAX_CLASSES
    score = rows.score[~np.isnan(rows.score)]
    has_probability = len(score) > 0 and bool(((score >= 0.0) & (score <= 1.0)).all())
    output = IS_BINARY * (len(codes) <= 2) + HAS_PROBABILITY * has_probability
    if not codes and has_probability:
        output += SCORE_IS_CLASS
    kept = [] if is_regression else codes[: MAX_CLASSES - 1]
    return np.array(kept, np.int64), output


def _scaled(rows: Rows, entry_of: I32, population: Population, salt: int) -> Learned:
    """The rows that were learned, as thresholds are made of them."""
    n = len(rows.length)
    layout = layout_of(population, salt)
    stop = np.cumsum(rows.length, dtype=np.int64)
    first = stop - rows.length
    z: F32 = np.empty((n, MAX_DIMS), np.float32)
    scale_rows(
        first,
        stop,
        first,
        entry_of[rows.feature],
        np.full(n, layout.n_dims, np.int32),
        np.full(n, layout.n_numbers, np.int32),
        rows.kind,
        rows.word,
        rows.word.view(np.float64),
        layout.column,
        population.centre,
        population.scale,
        layout.sign,
        layout.key,
        z,
    )
    predicted, margin = np.empty(n, np.int32), np.empty(n, np.float32)
    classes, n_classes, output = class_table([population])
    read_outputs(
        np.zeros(n, np.int32), rows.code, rows.score, classes, n_classes, output, predicted, margin
    )
    clients: dict[tuple[int, int], int] = {}
    source = [clients.setdefault((low, high), len(clients)) for low, high in rows.source.tolist()]
    return Learned(
        z=np.ascontiguousarray(z[:, : layout.n_dims]),
        n_numbers=layout.n_numbers,
        source=np.array(source, np.int32),
        row_hash=rows.row_hash.copy(),
        predicted=predicted,
        margin=margin,
        score=rows.score.copy(),
        event_time_ms=rows.event_time_ms.copy(),
    )


def class_table(populations: list[Population | None]) -> tuple[I64, I32, U8]:
    """(M, MAX_CLASSES) codes of classes, (M,) how many, and (M,) the bits of answers."""
    m = len(populations)
    classes = np.zeros((m, MAX_CLASSES), np.int64)
    n_classes, output = np.zeros(m, np.int32), np.zeros(m, np.uint8)
    for slot, population in enumerate(populations):
        if population is not None:
            n_classes[slot] = len(population.classes)
            classes[slot, : len(population.classes)] = population.classes
            output[slot] = population.output
    return classes, n_classes, output
