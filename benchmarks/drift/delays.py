"""How late a change is found, how often not at all, and how well it is dated."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.drift.contest import Contestant, Entrant, name_of
from benchmarks.drift.hits import ALWAYS
from benchmarks.drift.streams import Change
from schemas.batch import F64

N_QUIET: Final = 20_000
"""Rows without a change before it."""
N_AFTER: Final = 60_000
"""Rows after it; what is not found in them is missed."""
_POLL_ROWS: Final = 4_096


@dataclass(frozen=True, slots=True)
class Delays:
    """What one detector made of one change, over all seeds."""

    change: str
    detector: str
    n_reference: int
    n_seeds: int
    median: float
    """Rows; infinite where more than half of the changes were missed."""
    p95: float
    n_missed: int
    n_false: int
    """Alarms before the change, in all `n_seeds * N_QUIET` rows."""
    date_median: float
    """How far the change point is off, in rows."""
    date_p90: float


def delays(
    change: Change, who: str | Entrant, n_reference: int, arl0: float, n_seeds: int
) -> Delays:
    """Feed `n_seeds` lanes; seeded by the name, the same rows for every detector."""
    rng = np.random.default_rng([zlib.crc32(change.name.encode()), n_reference])
    contestant = Contestant(who, change.before(rng, (n_seeds, n_reference)), arl0)
    n_false = len(contestant.feed(change.before(rng, (n_seeds, N_QUIET))))
    found: dict[int, tuple[int, int]] = {}
    for start in range(0, N_AFTER, _POLL_ROWS):
        n = min(_POLL_ROWS, N_AFTER - start)
        for firing in sorted(contestant.feed(change.rows(rng, (n_seeds, n), start))):
            rows = firing.offset + 1 - N_QUIET
            found.setdefault(firing.lane, (rows, abs(firing.change_offset - N_QUIET)))
        if len(found) == n_seeds:
            break
    late = np.full(n_seeds, math.inf)
    for lane, (rows, _) in found.items():
        late[lane] = rows
    off = np.array([float(rows) for _, rows in found.values()] or [math.nan])
    return Delays(
        change.name,
        name_of(who),
        n_reference,
        n_seeds,
        _quantile(late, 0.5),
        _quantile(late, 0.95),
        n_seeds - len(found),
        n_false,
        _quantile(off, 0.5),
        _quantile(off, 0.9),
    )


def _quantile(x: F64, q: float) -> float:
    """The value that is not exceeded by a share q; an order statistic, so infinities may stand."""
    return float(np.sort(x)[min(int(q * len(x)), len(x) - 1)])


@dataclass(frozen=True, slots=True)
class Train:
    """Steps to and fro, one after the other."""

    spacing: int
    detector: str
    n_steps: int
    n_found: int
    """Steps after which, and before the next one, there is an alarm."""
    n_alarms: int
    n_chance: float
    """Steps that as many alarms at random rows would find."""


def train(spacing: int, who: str | Entrant, n_reference: int, arl0: float, n_seeds: int) -> Train:
    """20 steps of 1 sd in each lane, `spacing` rows apart, the first after 20,000 quiet rows."""
    n_steps = 20
    rng = np.random.default_rng([spacing, n_reference])
    contestant = Contestant(who, rng.normal(size=(n_seeds, n_reference)), arl0)
    contestant.feed(rng.normal(size=(n_seeds, N_QUIET)))
    level = np.repeat((np.arange(n_steps) + 1) % 2, spacing).astype(np.float64)
    fired = contestant.feed(rng.normal(size=(n_seeds, len(level))) + level)
    hits = {(firing.lane, (firing.offset - N_QUIET) // spacing) for firing in fired}
    per_lane = len(fired) / n_seeds
    chance = n_steps * n_seeds * (1.0 - math.exp(-per_lane / n_steps))
    return Train(spacing, name_of(who), n_steps * n_seeds, len(hits), len(fired), chance)


def always(spacing: int, n_seeds: int) -> Train:
    """What an alarm at every row would find: all."""
    n_steps = 20 * n_seeds
    return Train(spacing, ALWAYS, n_steps, n_steps, n_steps * spacing, float(n_steps))
