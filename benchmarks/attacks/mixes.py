"""Benign traffic of many kinds: what honest clients do that looks like something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from benchmarks.attacks.recordings import DataSet
from benchmarks.attacks.surrogate import Surrogate
from benchmarks.attacks.traffic import Traffic, joined, spread
from schemas.batch import F64

N_CLIENTS: Final = 20
RETRIES: Final = 0.1
CANARIES: Final = 0.2
GRID: Final = 21
"""Values of one feature that a what-if question steps over."""
DRIFT_SD: Final = 1.0
"""By how much two features have moved at the end of honest drift."""
BURST: Final = 10
"""Times the usual rate of a client under load test."""

Rng = np.random.Generator


class Mix(NamedTuple):
    """One kind of benign traffic."""

    name: str
    make: Callable[[DataSet, int, Rng], Traffic]
    is_timed: bool = False
    """Its clients send rows in the order of time."""
    has_kind: bool = False
    """And the config says so."""
    is_provisional: bool = False
    """Nothing was calibrated: the lane learns of its first events."""


def independent(known: DataSet, n: int, rng: Rng) -> Traffic:
    """Rows in any order, clients in turn."""
    return spread(known.benign.repeated(n, rng), N_CLIENTS)


def timed(known: DataSet, n: int, rng: Rng) -> Traffic:  # noqa: ARG001 - nothing is drawn
    """Clients that each send 500 rows in their order, side by side; all of them once."""
    if known.timed is None:
        raise ValueError(f"{known.name} has no stream in the order of time")
    rows = known.timed[1]
    order = np.argsort(_turns(rows), kind="stable")
    return rows.take(order[:n])


def _turns(rows: Traffic) -> F64:
    """(n,) which of its client's rows each is: those of all clients come in turn."""
    turn = np.zeros(len(rows))
    for client in np.unique(rows.source):
        own = rows.source == client
        turn[own] = np.arange(np.count_nonzero(own))
    return turn


def retries(known: DataSet, n: int, rng: Rng) -> Traffic:
    """One row in ten comes again from its client, within the next ten events."""
    rows = independent(known, round(n / (1.0 + RETRIES)), rng)
    again = np.flatnonzero(rng.random(len(rows)) < RETRIES)
    at = np.concatenate([np.arange(len(rows)), again + rng.integers(1, 11, len(again)) + 0.5])
    order = np.concatenate([np.arange(len(rows)), again])
    return rows.take(order[np.argsort(at, kind="stable")])


def canaries(known: DataSet, n: int, rng: Rng) -> Traffic:
    """One event in five is the row that its client always sends to see whether all is well."""
    rows = independent(known, n, rng)
    own = known.benign.take(np.arange(N_CLIENTS))
    is_canary = rng.random(n) < CANARIES
    at = rows.source[is_canary]
    x, score, predicted = rows.x.copy(), rows.score.copy(), rows.predicted.copy()
    x[is_canary], score[is_canary] = own.x[at], own.score[at]
    predicted[is_canary] = own.predicted[at]
    return replace(rows, x=x, score=score, predicted=predicted)


def grids(known: DataSet, n: int, rng: Rng) -> Traffic:
    """One client in four asks what if: one feature of a row steps over its range.

    Each of them asks that of one row in ten.
    """
    answers = Surrogate(known)
    rows = independent(known, n, rng)
    asks = (rows.source % 4 == 0) & (rng.random(n) < 0.1)
    at = np.flatnonzero(asks)
    feature = rng.integers(0, known.n_features, len(at))
    steps = np.linspace(0.0, 1.0, GRID)
    x = np.repeat(rows.x[at], GRID, axis=0)
    column = np.repeat(feature, GRID)
    low, high = answers.low[column], answers.high[column]
    x[np.arange(len(x)), column] = low + np.tile(steps, len(at)) * (high - low)
    asked = _answered(answers, x, np.repeat(rows.source[at], GRID))
    # A question's steps come one after the other, with three events of others between two.
    place = np.repeat(at, GRID) + 4.0 * np.tile(np.arange(1, GRID + 1), len(at)) + 0.5
    order = np.argsort(np.concatenate([np.arange(n), place]), kind="stable")
    return joined([rows, asked]).take(order[:n])


def newcomer(known: DataSet, n: int, rng: Rng) -> Traffic:
    """From the middle on every fifth event is that of a new client with rows of one class only."""
    rows = independent(known, n, rng)
    of_class = known.benign.take(np.flatnonzero(known.benign.predicted == 1))
    comes = np.flatnonzero((np.arange(n) >= n // 2) & (np.arange(n) % 5 == 0))
    own = of_class.repeated(len(comes), rng)
    x, score, predicted = rows.x.copy(), rows.score.copy(), rows.predicted.copy()
    x[comes], score[comes], predicted[comes] = own.x, own.score, own.predicted
    source = rows.source.copy()
    # Nobody sends the same rows twice in a row because there are too few: a client per round.
    source[comes] = N_CLIENTS + np.arange(len(comes)) // max(1, len(of_class))
    return replace(rows, x=x, score=score, predicted=predicted, source=source)


def drift(known: DataSet, n: int, rng: Rng) -> Traffic:
    """Two features of all clients move, by one robust standard deviation at the end."""
    answers = Surrogate(known)
    rows = independent(known, n, rng)
    x = rows.x.copy()
    moved = [known.n_features // 3, 2 * known.n_features // 3]
    for feature in moved:
        x[:, feature] += DRIFT_SD * answers.sd[feature] * np.linspace(0.0, 1.0, n)
    return _answered(answers, x, rows.source)


def load(known: DataSet, n: int, rng: Rng) -> Traffic:
    """In the second half one client sends ten times as much as before, the same kind of rows."""
    rows = independent(known, n, rng)
    source = rows.source.copy()
    late = np.arange(n) >= n // 2
    # Of 20 clients one has a share of 1 in 20; ten times as much beside 19 others is 10 in 29.
    source[late & (rng.random(n) < (BURST - 1) / (BURST + N_CLIENTS - 1))] = 0
    return rows.sent_by(source)


def _answered(answers: Surrogate, x: F64, source: np.ndarray) -> Traffic:
    score, predicted = answers.answer(x)
    return Traffic(x, score, predicted, source, np.zeros(len(x), np.bool_))


MIXES: Final = (
    Mix("independent", independent),
    Mix("independent, not calibrated", independent, is_provisional=True),
    Mix("in time order, its kind configured", timed, is_timed=True, has_kind=True),
    Mix("in time order, no kind", timed, is_timed=True),
    Mix("retries 10 %", retries),
    Mix("canaries 20 %", canaries),
    Mix("what-if grids", grids),
    Mix("a new honest client", newcomer),
    Mix("honest drift", drift),
    Mix("load test", load),
)
