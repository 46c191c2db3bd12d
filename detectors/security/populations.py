"""The populations of all watched models: those being learned, those that are frozen, by slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.kernels.population import read_outputs, scale_rows
from detectors.security.base import F32, MAX_DIMS, Learned
from detectors.security.columns import PollColumns
from detectors.security.population import Layout, Learning, Population, class_table, layout_of
from schemas.batch import F64, I32, I64, U8, U64

_MAX_MAPS: Final = 4_096
"""Pairs of a model and a list of features whose columns are remembered."""


@dataclass(frozen=True, slots=True)
class _Tables:
    """The frozen populations as the kernels want them; M slots, their features behind one another.

    Derived.
    """

    first: list[int]
    """(M,) where each model's features begin."""
    column: I32
    centre: F64
    scale: F64
    sign: F64
    key: U64
    n_dims: I32
    """(M,)"""
    n_numbers: I32
    """(M,)"""
    classes: I64
    n_classes: I32
    output: U8


@dataclass(frozen=True, slots=True)
class Scaled:
    """What the populations say of rows, n of them."""

    z: F32
    """(n, MAX_DIMS)"""
    predicted: I32
    margin: F32


class Populations:
    """Of slots 0..M-1. A slot has one that is being learned, one that is frozen, or none."""

    def __init__(self, n_slots: int, salt: int) -> None:
        self._salt = salt
        self.learning: dict[int, Learning] = {}
        self.frozen: list[Population | None] = [None] * n_slots
        self._tables: _Tables | None = None
        self._maps: dict[tuple[int, tuple[str, ...]], I32] = {}

    @property
    def n_dims(self) -> I32:
        """(M,) columns of each model; 0 where nothing is frozen."""
        return self.tables.n_dims

    @property
    def n_numbers(self) -> I32:
        """(M,) how many of them are numbers."""
        return self.tables.n_numbers

    def begin(self, slot: int) -> None:
        """Let this slot's model learn its population from its next rows."""
        self.forget(slot)
        self.learning[slot] = Learning()

    def set(self, slot: int, population: Population) -> None:
        """Let this slot's model have this population."""
        self.forget(slot)
        self.frozen[slot] = population

    def freeze(self, slot: int) -> Learned:
        """Complete what is being learned; its rows, scaled."""
        population, learned = self.learning[slot].freeze(self._salt)
        self.set(slot, population)
        return learned

    def forget(self, slot: int) -> None:
        """The slot is given to another model."""
        self.learning.pop(slot, None)
        self.frozen[slot] = None
        self._tables = None
        self._maps.clear()

    def names_of(self, slot: int, columns: Sequence[int]) -> list[str]:
        """The features that stand in these columns of the slot's rows, by name.

        None where the model has so many features that several share a column.
        """
        population = self.frozen[slot]
        if population is None or len(population.features) > MAX_DIMS:
            return []
        column = layout_of(population, self._salt).column.tolist()
        named = zip(population.features, column, strict=True)
        return [name for name, own in named if own in columns]

    @property
    def tables(self) -> _Tables:
        """The frozen populations, flat."""
        if self._tables is None:
            self._tables = self._build()
        return self._tables

    def _build(self) -> _Tables:
        nothing = Layout(0, 0, np.zeros(0, np.int32), np.zeros(0), np.zeros(0, np.uint64))
        layouts = [nothing if p is None else layout_of(p, self._salt) for p in self.frozen]
        there = [p for p in self.frozen if p is not None]
        empty = np.zeros(0)
        classes, n_classes, output = class_table(self.frozen)
        return _Tables(
            first=np.cumsum([0, *(len(layout.column) for layout in layouts)])[:-1].tolist(),
            column=np.concatenate([np.zeros(0, np.int32), *(each.column for each in layouts)]),
            centre=np.concatenate([empty, *(p.centre for p in there)]),
            scale=np.concatenate([empty, *(p.scale for p in there)]),
            sign=np.concatenate([empty, *(each.sign for each in layouts)]),
            key=np.concatenate([np.zeros(0, np.uint64), *(each.key for each in layouts)]),
            n_dims=np.array([each.n_dims for each in layouts], np.int32),
            n_numbers=np.array([each.n_numbers for each in layouts], np.int32),
            classes=classes,
            n_classes=n_classes,
            output=output,
        )

    def scale(self, columns: PollColumns, rows: I64, slot: I32) -> Scaled:
        """Scale these rows of a poll, all of frozen models; `slot` (n,) is theirs."""
        events, tables = columns.events, self.tables
        n = len(rows)
        pair = slot.astype(np.int64) * len(events.shapes) + events.shape[rows]
        used, of_row = np.unique(pair, return_inverse=True)
        maps = [
            self._map(int(each) // len(events.shapes), events.shapes[each % len(events.shapes)])
            for each in used.tolist()
        ]
        starts = np.cumsum([0, *(len(each) for each in maps)], dtype=np.int64)
        z: F32 = np.empty((n, MAX_DIMS), np.float32)
        scale_rows(
            events.value_ptr[rows],
            events.value_ptr[rows + 1],
            starts[of_row.reshape(-1)],
            np.concatenate([np.zeros(0, np.int32), *maps]),
            tables.n_dims[slot],
            tables.n_numbers[slot],
            columns.kind,
            columns.word,
            columns.value,
            tables.column,
            tables.centre,
            tables.scale,
            tables.sign,
            tables.key,
            z,
        )
        predicted, margin = np.empty(n, np.int32), np.empty(n, np.float32)
        read_outputs(
            slot,
            columns.code[rows],
            events.score[rows],
            tables.classes,
            tables.n_classes,
            tables.output,
            predicted,
            margin,
        )
        return Scaled(z, predicted, margin)

    def _map(self, slot: int, shape: tuple[str, ...]) -> I32:
        """Which entry of the tables each of these features is; -1: none."""
        found = self._maps.get((slot, shape))
        if found is None:
            population, first = self.frozen[slot], self.tables.first[slot]
            own = () if population is None else population.features
            entry = {name: first + index for index, name in enumerate(own)}
            found = np.array([entry.get(name, -1) for name in shape], np.int32)
            if len(self._maps) >= _MAX_MAPS:
                self._maps.clear()
            self._maps[slot, shape] = found
        return found
