"""References with their ranks, and rows still being learned, as arrays of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Z_LIMIT, BankState, StateError, require_array
from detectors.drift.bins import N_BINS, Bins
from detectors.drift.focus import MAX_SCORE
from detectors.drift.lane_table import within
from detectors.drift.ranks import MAX_ORDER, N_CUTS, Frequencies, Indicator, Ranks
from detectors.drift.rhythm import DAY, MAX_KNOT, MAX_PERIODS, MIN_PERIODS, WEEK, Rhythm
from detectors.drift.windows import MAX_MEAN, MAX_REFERENCE
from detectors.learning import COLUMNS, Rows

_NUMBERS: Final = ("n", "n_cuts", "sum_location", "sum_spread", "n_bin_cuts")
_MOMENTS: Final = 6
"""Raw sums, variances and tails, of location and of spread."""


class RanksWriter:
    """Gathers references; one that versions of a model share is stored once."""

    def __init__(self) -> None:
        self.found: list[Ranks | Indicator | Frequencies] = []
        self._place: dict[int, int] = {}

    def add(self, ranks: Ranks | Indicator | Frequencies | None) -> int:
        """The number under which this reference is stored; -1: there is none."""
        if ranks is None:
            return -1
        place = self._place.setdefault(id(ranks), len(self.found))
        if place == len(self.found):
            self.found.append(ranks)
        return place

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of them; an indicator has one cut and no scores, a category only cells."""
        numbers, moments = [], []
        cuts, location, spread = [np.zeros(0)], [_NO_SCORE], [_NO_SCORE]
        process, cells = [], [_NO_SCORE]
        bin_cuts, bin_counts, bin_means = [np.zeros(0)], [_NO_SCORE], [np.zeros(0)]
        rhythms: list[Rhythm | None] = []
        for each in self.found:
            if isinstance(each, Frequencies):
                numbers.append((each.n, -len(each.counts), 0, 0, 0))
                moments.append((0.0, 0.0, each.variance, 1.0, 1.0, 1.0))
                cells.append(each.counts)
                process.append(np.zeros(2 * MAX_ORDER))
                rhythms.append(None)
                continue
            if isinstance(each, Indicator):
                numbers.append((each.n, 0, each.ones, 0, 0))
                moments.append((each.raw, 0.0, each.variance, 1.0, 1.0, 1.0))
                cuts.append(np.array([each.cut]))
                process.append(np.zeros(2 * MAX_ORDER))
                rhythms.append(None)
                continue
            rhythms.append(each.rhythm)
            numbers.append((each.n, len(each.cuts), *each.sums, len(each.bins.cuts)))
            moments.append((*each.raw, *each.variance, *each.tails))
            cuts.append(each.cuts)
            location.append(each.location)
            spread.append(each.spread)
            process.append(np.concatenate([each.coefficient, each.recent]))
            bin_cuts.append(each.bins.cuts)
            bin_counts.append(each.bins.counts)
            bin_means.append(each.bins.means)
        return {
            "ranks_numbers": np.array(numbers, np.int64).reshape(-1, len(_NUMBERS)),
            "ranks_moments": np.array(moments, np.float64).reshape(-1, _MOMENTS),
            "ranks_process": np.array(process, np.float64).reshape(-1, 2 * MAX_ORDER),
            "ranks_cuts": np.concatenate(cuts),
            "ranks_location": np.concatenate(location),
            "ranks_spread": np.concatenate(spread),
            "ranks_cells": np.concatenate(cells),
            "ranks_bin_cuts": np.concatenate(bin_cuts),
            "ranks_bin_counts": np.concatenate(bin_counts),
            "ranks_bin_means": np.concatenate(bin_means),
            **_rhythm_arrays(rhythms),
        }


class RanksReader:
    """The references of a snapshot. Raises `StateError` where they cannot be any."""

    def __init__(self, state: BankState) -> None:
        numbers = require_array(state, "ranks_numbers", np.int64, (None, len(_NUMBERS)))
        k = len(numbers)
        moments = require_array(state, "ranks_moments", np.float64, (k, _MOMENTS))
        process = require_array(state, "ranks_process", np.float64, (k, 2 * MAX_ORDER))
        cuts = require_array(state, "ranks_cuts", np.float64, (None,))
        location = require_array(state, "ranks_location", np.int32, (None,))
        spread = require_array(state, "ranks_spread", np.int32, (len(location),))
        self._bins, cells = _BinsReader(state), _CellsReader(state)
        rhythms = read_rhythms(state, k)
        if not all(np.isfinite(each).all() for each in (moments, process, cuts)):
            raise StateError("a reference has a number that is not finite")
        if (moments[:, 2:] < 1.0).any():
            raise StateError("a reference varies less than independent rows do")
        if not (within(location, MAX_SCORE).all() and within(spread, MAX_SCORE).all()):
            raise StateError("a reference has a score that is none")
        self.found: list[Ranks | Indicator | Frequencies] = []
        self._used: set[int] = set()
        at_cut = at_score = 0
        for row, of_moments, of_process, rhythm in zip(
            numbers.tolist(), moments.tolist(), process, rhythms, strict=True
        ):
            n, n_cuts, first, second, n_bin_cuts = row
            if max(map(abs, of_moments[:2])) > 2.0 * Z_LIMIT * max(n, 1):
                raise StateError("a reference's sums are out of range")
            if n_cuts < 0:
                if rhythm is not None:
                    raise StateError("a category has a rhythm")
                self.found.append(cells.read(-n_cuts, n, of_moments[2]))
                continue
            own = cuts[at_cut : at_cut + max(n_cuts, 1)]
            if n < 1 or not 0 <= n_cuts <= N_CUTS or len(own) < max(n_cuts, 1):
                raise StateError("a reference's numbers are out of range")
            at_cut += len(own)
            if n_cuts == 0:
                if not 0 <= first <= n:
                    raise StateError("a reference has more ones than rows")
                if rhythm is not None:
                    raise StateError("an indicator has a rhythm")
                cut, raw, variance = float(own[0]), of_moments[0], of_moments[2]
                self.found.append(Indicator(cut, first, raw, variance, n))
                continue
            scores = slice(at_score, at_score + n_cuts + 1)
            at_score += n_cuts + 1
            if at_score > len(location) or (np.diff(own) <= 0.0).any():
                raise StateError("a reference's cuts and scores do not agree")
            if max(abs(first), abs(second)) > MAX_SCORE * n:
                raise StateError("a reference's sums are out of range")
            self.found.append(
                Ranks(
                    cuts=own.copy(),
                    location=location[scores].copy(),
                    spread=spread[scores].copy(),
                    coefficient=of_process[:MAX_ORDER].copy(),
                    recent=of_process[MAX_ORDER:].copy(),
                    sums=(first, second),
                    raw=(of_moments[0], of_moments[1]),
                    variance=(of_moments[2], of_moments[3]),
                    tails=(of_moments[4], of_moments[5]),
                    n=n,
                    bins=self._bins.read(n_bin_cuts),
                    rhythm=rhythm,
                )
            )
        if at_cut != len(cuts) or at_score != len(location):
            raise StateError("the references' cuts or scores are too many")
        self._bins.finish()
        cells.finish()

    def get(self, place: int) -> Ranks | Indicator | Frequencies | None:
        """The reference of this number; None for -1."""
        if place < -1 or place >= len(self.found):
            raise StateError("a signal has a reference that does not exist")
        self._used.add(place)
        return None if place < 0 else self.found[place]

    def finish(self) -> None:
        """Raise where a reference belongs to no signal."""
        if len(self._used - {-1}) < len(self.found):
            raise StateError("a reference belongs to no signal")


class _BinsReader:
    """Cuts the bins of the references apart again."""

    def __init__(self, state: BankState) -> None:
        self._cuts = require_array(state, "ranks_bin_cuts", np.float64, (None,))
        self._counts = require_array(state, "ranks_bin_counts", np.int32, (None,))
        self._means = require_array(state, "ranks_bin_means", np.float64, (len(self._counts),))
        if not (np.isfinite(self._cuts).all() and np.isfinite(self._means).all()):
            raise StateError("a reference has a bin that is not finite")
        if not ((self._counts >= 1) & (self._counts <= MAX_REFERENCE)).all():
            raise StateError("a reference has a bin without rows, or with too many")
        if (np.abs(self._means) > MAX_MEAN).any():
            raise StateError("a reference has a bin that is out of range")
        self._at_cut = self._at_count = 0

    def read(self, n_cuts: int) -> Bins:
        """The next ones, with so many cuts."""
        cuts = self._cuts[self._at_cut : self._at_cut + max(n_cuts, 0)]
        own = slice(self._at_count, self._at_count + len(cuts) + 1)
        counts, means = self._counts[own], self._means[own]
        if not (1 <= n_cuts < N_BINS and len(cuts) == n_cuts and len(counts) == n_cuts + 1):
            raise StateError("a reference's bins are too few or too many")
        if (np.diff(cuts) <= 0.0).any() or counts.sum(dtype=np.int64) > MAX_REFERENCE:
            raise StateError("a reference's bins are out of range")
        self._at_cut += len(cuts)
        self._at_count += len(counts)
        return Bins(cuts.copy(), counts.copy(), means.copy())

    def finish(self) -> None:
        """Raise where there are more bins than references have."""
        if self._at_cut != len(self._cuts) or self._at_count != len(self._counts):
            raise StateError("the references' bins are too many")


class _CellsReader:
    """Cuts the cells of categories apart again."""

    def __init__(self, state: BankState) -> None:
        self._counts = require_array(state, "ranks_cells", np.int32, (None,))
        if not ((self._counts >= 0) & (self._counts <= MAX_REFERENCE)).all():
            raise StateError("a reference has a cell with too many rows")
        self._at = 0

    def read(self, n_cells: int, n: int, variance: float) -> Frequencies:
        """The next ones, so many, with `n` rows in all."""
        counts = self._counts[self._at : self._at + n_cells]
        self._at += len(counts)
        is_whole = 2 <= n_cells <= N_BINS and len(counts) == n_cells
        if not is_whole or not 1 <= n <= MAX_REFERENCE or counts.sum(dtype=np.int64) != n:
            raise StateError("a reference's cells and rows do not agree")
        return Frequencies(counts.copy(), variance, n)

    def finish(self) -> None:
        """Raise where there are more cells than references have."""
        if self._at != len(self._counts):
            raise StateError("the references' cells are too many")


_NO_SCORE: Final = np.zeros(0, np.int32)


def _rhythm_arrays(rhythms: Sequence[Rhythm | None]) -> dict[str, NDArray[Any]]:
    """The rhythms of references, in their order; of none nothing but zeros."""
    numbers = [(0, 0) if each is None else (len(each.knots), each.periods) for each in rhythms]
    found = [each for each in rhythms if each is not None]
    return {
        "rhythm_numbers": np.array(numbers, np.int64).reshape(-1, 2),
        "rhythm_shares": np.array([each.share for each in found], np.float64),
        "rhythm_knots": np.concatenate([np.zeros(0), *(each.knots for each in found)]),
    }


def read_rhythms(state: BankState, n_references: int) -> list[Rhythm | None]:
    """The rhythms of so many references again. Raises `StateError` where they cannot be any."""
    numbers = require_array(state, "rhythm_numbers", np.int64, (n_references, 2))
    hours, periods = numbers[:, 0], numbers[:, 1]
    has_one = hours != 0
    shares = require_array(state, "rhythm_shares", np.float64, (int(has_one.sum()),))
    if not np.isin(hours, (0, DAY, WEEK)).all() or periods[~has_one].any():
        raise StateError("a reference has a rhythm of no known period")
    if not ((periods >= MIN_PERIODS) & (periods <= MAX_PERIODS))[has_one].all():
        raise StateError("a reference has a rhythm of too few periods, or of too many")
    if not ((shares > 0.0) & (shares < 1.0)).all():
        raise StateError("a reference has a rhythm that explains nothing, or everything")
    knots = require_array(state, "rhythm_knots", np.float64, (int(hours.sum()),))
    if not (np.abs(knots) <= MAX_KNOT).all():
        raise StateError("a reference has a rhythm that is out of range")
    own = np.split(knots, np.cumsum(hours[has_one])[:-1]) if has_one.any() else []
    found = iter(
        [
            Rhythm(each, n, share)
            for each, n, share in zip(own, periods[has_one].tolist(), shares.tolist(), strict=True)
        ]
    )
    return [next(found) if each else None for each in has_one.tolist()]


def snapshot_rows(rows: Sequence[Rows]) -> dict[str, NDArray[Any]]:
    """The rows that references keep while they are learned, one reference after the other."""
    return {
        f"rows_{name}": np.concatenate(
            [np.zeros(0, dtype), *(each.column(name) for each in rows)], dtype=dtype
        )
        for name, dtype in COLUMNS.items()
    }


class RowsReader:
    """Cuts them apart again."""

    def __init__(self, state: BankState) -> None:
        self._columns = {
            name: require_array(state, f"rows_{name}", dtype, (None,))
            for name, dtype in COLUMNS.items()
        }
        self._at = dict.fromkeys(COLUMNS, 0)

    def read(self, n_rows: int, n_features: int) -> Rows | None:
        """The rows of one reference; -1: it keeps none. Raises `StateError`: too few are there."""
        if n_rows < -1:
            raise StateError("a reference has less than no rows")
        if n_rows < 0:
            return None
        rows = Rows(n_features)
        for name, column in self._columns.items():
            start = self._at[name]
            stop = start + n_rows * (n_features if name in ("value", "kind") else 1)
            if stop > len(column):
                raise StateError(f"array 'rows_{name}' is too short")
            self._at[name] = stop
            rows.pieces[name].append(column[start:stop].copy())
        return rows

    def finish(self) -> None:
        """Raise where there are more rows than references keep."""
        for name, at in self._at.items():
            if at != len(self._columns[name]):
                raise StateError(f"array 'rows_{name}' is too long")
