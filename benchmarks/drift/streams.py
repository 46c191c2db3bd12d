"""Seeded streams, (lanes, rows): independent lanes, each with a reference of its own before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import signal  # type: ignore[import-untyped]  # it ships no types

from schemas.batch import F64

Rng = np.random.Generator
Draw = Callable[[Rng, tuple[int, int]], F64]


class Source:
    """Lanes that go on from where the last call left them."""

    def __init__(self, rng: Rng, n_lanes: int, draw: Draw) -> None:
        self._rng = rng
        self._n_lanes = n_lanes
        self._draw = draw

    def take(self, n_rows: int) -> F64:
        """The next rows, (lanes, rows)."""
        return self._draw(self._rng, (self._n_lanes, n_rows))


class Autoregression(Source):
    """Of the first order, of variance 1."""

    def __init__(self, rng: Rng, n_lanes: int, phi: float) -> None:
        super().__init__(rng, n_lanes, lambda own, shape: own.normal(size=shape))
        self._phi = phi
        self._last = rng.normal(size=n_lanes)

    def take(self, n_rows: int) -> F64:
        """The next rows."""
        noise = super().take(n_rows) * math.sqrt(1.0 - self._phi**2)
        state = (self._phi * self._last)[:, np.newaxis]
        lfilter: Any = signal.lfilter
        rows: F64 = lfilter([1.0], [1.0, -self._phi], noise, axis=1, zi=state)[0]
        self._last = rows[:, -1]
        return rows


class Cycle(Source):
    """Normal rows, so many a day, on a sine of a day that is as high as their deviation."""

    def __init__(self, rng: Rng, n_lanes: int, rows_a_day: int) -> None:
        super().__init__(rng, n_lanes, lambda own, shape: own.normal(size=shape))
        self._rows_a_day = rows_a_day
        self._row = 0

    def take(self, n_rows: int) -> F64:
        """The next rows."""
        row = np.arange(self._row, self._row + n_rows)
        self._row += n_rows
        return super().take(n_rows) + np.sin(2.0 * np.pi * row / self._rows_a_day)


@dataclass(frozen=True, slots=True)
class Null:
    """A law under which nothing changes."""

    name: str
    make: Callable[[Rng, int], Source]
    is_independent: bool = True
    rows_a_day: int = 0
    """As many as event times say; 0: they say nothing."""


def _law(name: str, draw: Draw) -> Null:
    return Null(name, lambda rng, n_lanes: Source(rng, n_lanes, draw))


def _ones(p: float) -> Draw:
    return lambda rng, shape: (rng.random(shape) < p).astype(np.float64)


def _dependent(phi: float) -> Null:
    def make(rng: Rng, n_lanes: int) -> Source:
        return Autoregression(rng, n_lanes, phi)

    return Null(f"AR(1) {phi:g}", make, is_independent=False)


def _daily(rows_a_day: int) -> Null:
    def make(rng: Rng, n_lanes: int) -> Source:
        return Cycle(rng, n_lanes, rows_a_day)

    name = f"daily cycle, {rows_a_day:,} a day"
    return Null(name, make, is_independent=False, rows_a_day=rows_a_day)


NULLS: Final[tuple[Null, ...]] = (
    _law("normal", lambda rng, shape: rng.normal(size=shape)),
    _law("exponential", lambda rng, shape: rng.exponential(size=shape)),
    _law("t, 3 degrees", lambda rng, shape: rng.standard_t(3, size=shape)),
    _law("lognormal", lambda rng, shape: rng.lognormal(size=shape)),
    _law("Poisson 3", lambda rng, shape: rng.poisson(3.0, size=shape).astype(np.float64)),
    *(_law(f"Bernoulli {p:g}", _ones(p)) for p in (0.2, 0.05, 0.01, 0.001)),
    *(_dependent(phi) for phi in (0.1, 0.5, 0.9)),
    _daily(200),
)


@dataclass(frozen=True, slots=True)
class Change:
    """A law that gives way to another."""

    name: str
    before: Draw
    after: Draw
    most: float | None = None
    """What the median delay may be, in medians of ADWIN; None: nothing is promised."""
    over: int = 0
    """Rows over which it comes, in proportion; 0: all at once."""
    slope: float = 0.0
    """By which the law before moves with each of these rows; 0: rows of `after` are mixed in."""

    def rows(self, rng: Rng, shape: tuple[int, int], start: int) -> F64:
        """(lanes, rows) from `start` rows after its beginning on."""
        if not self.over:
            return self.after(rng, shape)
        n_in = np.minimum(np.arange(start + 1, start + shape[1] + 1), self.over)
        before = self.before(rng, shape)
        if self.slope:
            return before + self.slope * n_in
        after = self.after(rng, shape)
        mixed: F64 = np.where(rng.random(shape) < n_in / self.over, after, before)
        return mixed


def _shift(size: float, most: float | None) -> Change:
    return Change(
        f"normal, {size:g} sd",
        lambda rng, shape: rng.normal(size=shape),
        lambda rng, shape: rng.normal(size, size=shape),
        most,
    )


_LOGNORMAL_SD: Final = math.sqrt((math.e - 1.0) * math.e)


def _lognormal(size: float) -> Change:
    return Change(
        f"lognormal, {size:g} sd",
        lambda rng, shape: rng.lognormal(size=shape),
        lambda rng, shape: rng.lognormal(size=shape) + size * _LOGNORMAL_SD,
        1.0,
    )


def _share(before: float, after: float) -> Change:
    return Change(f"Bernoulli {before:g} to {after:g}", _ones(before), _ones(after), 1.25)


def _normal(middle: float = 0.0, sd: float = 1.0) -> Draw:
    return lambda rng, shape: rng.normal(middle, sd, size=shape)


def _ramp(size: float, over: int) -> Change:
    name = f"normal, {size:g} sd as a ramp of {over:,} rows"
    return Change(name, _normal(), _normal(size), over=over, slope=size / over)


def _mixed(size: float, over: int) -> Change:
    name = f"normal, {size:g} sd, more and more of {over:,} rows"
    return Change(name, _normal(), _normal(size), over=over)


GRADUAL: Final[tuple[Change, ...]] = (
    _ramp(0.5, 1_000),
    _ramp(0.5, 10_000),
    _ramp(1.0, 1_000),
    _ramp(1.0, 10_000),
    _mixed(1.0, 1_000),
    _mixed(1.0, 10_000),
)
"""Late is from the first row on which anything moves."""
MORE_SPREAD: Final[tuple[Change, ...]] = (
    Change("spread x 2", _normal(), _normal(sd=2.0), 1.0),
    Change("spread / 1.5", _normal(), _normal(sd=1 / 1.5), 1.0),
)

CHANGES: Final[tuple[Change, ...]] = (
    _shift(0.05, None),
    *(_shift(size, 1.5) for size in (0.1, 0.2, 0.5)),
    *(_shift(size, 1.0) for size in (1.0, 2.0)),
    *(_lognormal(size) for size in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)),
    Change(
        "spread x 1.5",
        lambda rng, shape: rng.normal(size=shape),
        lambda rng, shape: rng.normal(0.0, 1.5, size=shape),
        1.0,
    ),
    _share(0.2, 0.4),
    _share(0.1, 0.2),
    _share(0.05, 0.1),
    _share(0.01, 0.02),
    _share(0.2, 0.25),
    *MORE_SPREAD,
    *GRADUAL,
)
