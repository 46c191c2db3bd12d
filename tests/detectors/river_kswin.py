"""river's KSWIN, drawing as ours does: only then can both fire at the same rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from river import drift

from schemas.config import KswinConfig

_ALL = 2**64 - 1
_STEP = 0x9E3779B97F4A7C15


def mixed(state: int) -> int:
    """SplitMix64's output at a state, in Python's own integers."""
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _ALL
    return z ^ (z >> 31)


def positions(seed: int, n: int, n_older: int, size: int) -> list[int]:
    """Which of the older part's positions are drawn at the nth observation; 0 is the oldest."""
    state = mixed((seed + n * _STEP) & _ALL)
    drawn: list[int] = []
    for last in range(n_older - size, n_older):
        state = (state + _STEP) & _ALL
        at = (mixed(state) >> 16) * (last + 1) >> 48
        drawn.append(last if at in drawn else at)
    return drawn


class Counting(random.Random):
    """Stands where river has Python's generator: its first draw is when the window is full."""

    def __init__(self, seed: int) -> None:
        super().__init__(0)
        self._own_seed = seed
        self._n_draws = 0

    def sample(self, population: Sequence[Any], k: int, *, counts: Any = None) -> list[Any]:
        """Positions of the older part, as ours draws them."""
        assert counts is None
        assert population == range(len(population))
        n = len(population) + k + self._n_draws
        self._n_draws += 1
        return positions(self._own_seed, n, len(population), k)


_KSWIN: Any = drift.KSWIN  # it has no annotations


class CountingKswin(_KSWIN):  # type: ignore[misc]  # river ships no types
    """river's KSWIN; it gets a new generator with each new beginning, and here this one."""

    def _reset(self) -> None:
        super()._reset()
        self._rng = Counting(self.seed)


def river_kswin(config: KswinConfig) -> Any:
    """river's detector with these parameters and our draws."""
    return CountingKswin(
        alpha=config.alpha,
        window_size=config.window_size,
        stat_size=config.stat_size,
        seed=config.seed,
    )


def own_kswin(config: KswinConfig) -> Any:
    """river's detector with these parameters and its own draws."""
    return _KSWIN(
        alpha=config.alpha,
        window_size=config.window_size,
        stat_size=config.stat_size,
        seed=config.seed,
    )
