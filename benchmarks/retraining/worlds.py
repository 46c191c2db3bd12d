"""Rows to predict, in the world that a model was trained for and in the one that it is used in."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types

from benchmarks.attacks.traffic import generator
from benchmarks.census import FILE as CENSUS
from benchmarks.drift.real import ELEC2, path_of
from schemas.batch import F64, I64
from streams.census import FEATURES


class Sizes(NamedTuple):
    """How many rows of each."""

    train: int
    before: int
    """Predicted while nobody lies and nothing changes."""
    after: int
    """Predicted from the change on, or from the first lie."""
    test: int


FULL: Final = Sizes(10_000, 6_000, 14_000, 5_000)
QUICK: Final = Sizes(1_500, 5_000, 11_000, 1_500)


class Rows(NamedTuple):
    """n rows and the class that is true of each."""

    x: F64
    """(n, d)"""
    y: I64
    """(n,) 0 or 1."""

    def take(self, at: I64) -> Rows:
        """These, in this order."""
        return Rows(self.x[at], self.y[at])

    def then(self, other: Rows) -> Rows:
        """Both."""
        return Rows(np.concatenate([self.x, other.x]), np.concatenate([self.y, other.y]))


@dataclass(frozen=True, slots=True)
class World:
    """What is predicted in one run; no row stands in it twice."""

    names: tuple[str, ...]
    """Of the d features; the first is that of a region in which lies are told."""
    train: Rows
    before: Rows
    after: Rows
    test: Rows
    """Of the world that there is after the change; nobody lies of it."""


class MissingError(Exception):
    """The data are not here; the message says which."""


def turned(sizes: Sizes, seed: int) -> World:
    """A made world with a real change: the boundary between two classes turns by 40 degrees.

    Eight independent normal features; the class is on which side of a plane through the origin a
    row lies, and in one of twenty rows the other one. The plane's normal turns from the first axis
    to the second.
    """
    rng = generator("retraining", "turned", seed)

    def rows(n: int, degrees: float) -> Rows:
        x = rng.normal(size=(n, 8))
        angle = np.deg2rad(degrees)
        side = np.cos(angle) * x[:, 0] + np.sin(angle) * x[:, 1] > 0.0
        return Rows(x, (side ^ (rng.random(n) < 0.05)).astype(np.int64))

    return World(
        tuple(f"f{number}" for number in range(8)),
        rows(sizes.train, 0.0),
        rows(sizes.before, 0.0),
        rows(sizes.after, 40.0),
        rows(sizes.test, 40.0),
    )


def census(sizes: Sizes, seed: int) -> World:
    """A real change: the census, from who lives in households to who lives in group quarters.

    The rows are the census's in random order, once each.
    """
    path = path_of(CENSUS)
    if path is None:
        raise MissingError(f"{CENSUS}: DRIFTSENTRY_DATA names no directory that holds it")
    table = pq.read_table(path, columns=[*FEATURES, "employed"])
    x = np.column_stack([table[name].to_numpy() for name in FEATURES]).astype(np.float64)
    every = Rows(x, table["employed"].to_numpy().astype(np.int64))
    in_group_quarters = x[:, FEATURES.index("RELP")] >= 16
    rng = generator("retraining", "census", seed)
    others = rng.permutation(np.flatnonzero(~in_group_quarters))
    group = rng.permutation(np.flatnonzero(in_group_quarters))
    n, m = sizes.train, sizes.after
    return World(
        FEATURES,
        every.take(others[:n]),
        every.take(others[n : n + sizes.before]),
        every.take(group[:m]),
        every.take(group[m : m + sizes.test]),
    )


def elec(sizes: Sizes, seed: int) -> World:
    """No change: prices of electricity, up or down, in random order, once each."""
    path = path_of(ELEC2)
    if path is None:
        raise MissingError(f"{ELEC2}: DRIFTSENTRY_DATA names no directory that holds it")
    with gzip.open(path, "rt") as lines:
        table = list(csv.DictReader(lines))
    names = ("nswprice", "nswdemand", "day", "period", "vicprice", "vicdemand", "transfer")
    x = np.array([[float(row[name]) for name in names] for row in table])
    every = Rows(x, np.array([row["class"].strip() == "UP" for row in table], np.int64))
    at = generator("retraining", "elec", seed).permutation(len(x))
    stops = np.cumsum([0, *sizes])
    train, before, after, test = (
        every.take(at[first:stop]) for first, stop in pairwise(stops.tolist())
    )
    return World(names, train, before, after, test)


WORLDS: Final[Mapping[str, Callable[[Sizes, int], World]]] = {
    "turned": turned,
    "census": census,
    "elec": elec,
}
WORDS: Final[Mapping[str, str]] = {
    "turned": "made, the boundary turns",
    "census": "census, other people come",
    "elec": "elec, nothing changes",
}
