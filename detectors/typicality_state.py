"""How typical rows are of references as state: the scores of monitors, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.categories import Categories
from detectors.kernels.observe import KIND_ANY
from detectors.kernels.typicality import FADE, GRAIN, N_CELLS, N_CUTS, PERIOD
from detectors.typicality import LIMIT, Typical
from schemas.batch import ValueKind

_MOST: Final = int(LIMIT * GRAIN)
_MOST_RECENT: Final = _MOST * PERIOD * (FADE + 1)


def snapshot_typical(typical: Sequence[Typical]) -> dict[str, NDArray[Any]]:
    """Those of monitors, one after the other."""
    no_scores = np.zeros(0, np.int32)
    names = [own for each in typical for own in each.names]
    return {
        "typical_features": np.concatenate([no_scores, *(each.features for each in typical)]),
        "typical_cuts": np.concatenate([np.zeros((0, N_CUTS)), *(each.cuts for each in typical)]),
        "typical_cells": np.concatenate(
            [np.zeros((0, N_CELLS), np.int32), *(each.cells for each in typical)]
        ),
        "typical_names": np.concatenate([no_scores, *names]),
        "typical_recent": np.concatenate(
            [np.zeros(0, np.int64), *(each.recent for each in typical)]
        ),
        "typical_worst": np.concatenate([no_scores, *(each.worst for each in typical)]),
    }


class TypicalReader:
    """Cuts them apart again. Raises `StateError` where they cannot be any."""

    def __init__(self, state: BankState) -> None:
        self._features = require_array(state, "typical_features", np.int32, (None,))
        k = len(self._features)
        self._cuts = require_array(state, "typical_cuts", np.float64, (None, N_CUTS))
        self._cells = require_array(state, "typical_cells", np.int32, (k, N_CELLS))
        self._names = require_array(state, "typical_names", np.int32, (None,))
        self._recent = require_array(state, "typical_recent", np.int64, (k,))
        self._worst = require_array(state, "typical_worst", np.int32, (None,))
        self._at = dict.fromkeys(("features", "cuts", "names", "worst"), 0)
        for scores in (self._cells, self._names):
            if (scores < -_MOST).any() or (scores > _MOST).any():
                raise StateError("a score is beyond its limit")
        if (self._recent < -_MOST_RECENT).any() or (self._recent > _MOST_RECENT).any():
            raise StateError("what came of late is more than can come")
        # NaN is none of these.
        ascending = self._cuts[:, 1:] > self._cuts[:, :-1]
        over = np.isposinf(self._cuts[:, 1:])
        if not (ascending | over).all() or not (self._cuts > -np.inf).all():
            raise StateError("cuts are not in order")

    @property
    def n(self) -> int:
        """How many features have scores."""
        return len(self._features)

    def _cut(self, name: str, n: int) -> slice:
        array = getattr(self, f"_{name}")
        start = self._at[name]
        if not 0 <= n <= len(array) - start:
            raise StateError("scores are fewer than a monitor says")
        self._at[name] += n
        return slice(start, start + n)

    def read(
        self, n: int, kinds: Sequence[int], categories: Sequence[Categories]
    ) -> Typical | None:
        """Those of a monitor whose features are these; None where n is 0."""
        own = self._cut("features", n)
        if not n:
            return None
        features = self._features[own].copy()
        numbers = features.tolist()
        if len(set(numbers)) < n or not all(0 <= f < len(kinds) for f in numbers):
            raise StateError("scores are of no feature, or of one twice")
        if any(kinds[f] > ValueKind.BOOLEAN and kinds[f] != KIND_ANY for f in numbers):
            raise StateError("scores are of a feature that is still learned")
        n_numbers = sum(kinds[f] == ValueKind.NUMBER for f in numbers)
        cuts = self._cuts[self._cut("cuts", n_numbers)].copy()
        names = tuple(
            self._names[self._cut("names", len(categories[f].names))].copy() for f in numbers
        )
        worst = self._worst[self._cut("worst", 1)].copy()
        if worst[0] != -1 and worst[0] not in numbers:
            raise StateError("the most unusual feature is none")
        return Typical(
            features, cuts, self._cells[own].copy(), names, self._recent[own].copy(), worst
        )

    def finish(self) -> None:
        """Raise where there are more than monitors have."""
        if any(at != len(getattr(self, f"_{name}")) for name, at in self._at.items()):
            raise StateError("scores are more than monitors have")
