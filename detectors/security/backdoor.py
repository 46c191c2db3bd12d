"""Backdoor slices: values of a feature beside which labels disagree in one direction.

Whoever poisons labels so that a trigger makes a class leaves a slice (feature = value) in which
labels say that class far more often than the model's expectation has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.kernels.backdoor import (
    FIRST_OFFSET,
    FIRST_TIME,
    KEY,
    LABELS,
    MAX_CODE,
    N_CLASSES,
    N_FEATURES,
    N_ROWS,
    N_SLICE,
    QUIET,
    count_slices,
)
from detectors.mixing import splitmix64
from detectors.security.base import F32, MISSING, Z_CLIP
from schemas.batch import F64, I32, I64, U8, U64

MISSING_CODE: Final = MAX_CODE
"""Of a feature that is missing: a trigger, too."""
N_NUMBER_BINS: Final = 32
"""Of a number: half a scale each. Codes of categories are 1..126, by a hash."""
FALSE_PER_LABELS: Final = 0.5e-6
"""Looks at a model with a false finding, over the labels between two looks."""
LEAST_LABELS: Final = 32
"""A slice is tested from so many labels on ..."""
LEAST_HITS: Final = 8
"""... and so many disagreements with one label."""
ODDS: Final = 2.0
"""Models are honestly worse in some slices: so many times what is expected is still no finding."""
HALVED_AFTER: Final = 8_192
"""Labels of a model after which its counts are halved: what is old must not hide what is new."""
QUIET_LOOKS: Final = 8
_GRAIN: Final = 1e6
_MAX_COUNT: Final = 2**53
_CATEGORIES: Final = MAX_CODE - 1
_ARRAYS: Final = ("slices", "found", "hits", "expected", "all_hits", "all_expected")


class Slice(NamedTuple):
    """A slice in which labels say one class too often."""

    feature: int
    """Its place in the word of slices, 0..7."""
    code: int
    """Of its value, 1..127: see `slice_words`."""
    label: int
    """Number of the class."""
    hits: int
    """Disagreements with this label in the slice."""
    expected: float
    n: int
    """Labels in the slice."""
    statistic: float
    """-ln of the bound of the probability."""
    threshold: float
    """What it had to reach among all that were tested, or for a further finding."""
    first_offset: int
    first_time_ms: int
    n_slices: int
    """How many slices are suspect for this label."""


def slice_words(z: F32, columns: I32, n_numbers: int) -> I64:
    """(n,) words of up to 8 slices for the label join: 8 bits for each of these columns.

    `z` (n, d) are rows as in `SecurityRows`, `columns` (k <= 8) those that are taken. A number's
    code is 1..32, in steps of half a scale from -`Z_CLIP`; that of a category 1..126, by a hash;
    127 where it is missing. Codes beyond the last column are 0: no slice. The top bit of each is 0,
    so that no word is negative, which the join refuses.
    """
    if len(columns) > N_FEATURES:
        raise ValueError(f"{len(columns)} columns, a word has room for {N_FEATURES}")
    words = np.zeros(len(z), np.int64)
    for place, column in enumerate(columns.tolist()):
        x = np.asarray(z[:, column], np.float32) + np.float32(0.0)  # -0.0 is 0.0
        is_missing = x == np.float32(MISSING)
        if column < n_numbers:
            half = np.floor((np.nan_to_num(x.astype(np.float64)) + Z_CLIP) * 2.0)
            code = 1 + np.clip(half, 0, N_NUMBER_BINS - 1).astype(np.int64)
        else:
            bits: U64 = x.view(np.uint32).astype(np.uint64)
            mixed = splitmix64(bits + np.uint64(1)) >> np.uint64(1)
            code = 1 + (mixed % np.uint64(_CATEGORIES)).astype(np.int64)
        words |= np.where(is_missing, MISSING_CODE, code) << (8 * place)
    return words


def slice_columns(n_dims: int, n_numbers: int) -> I32:
    """(k <= 8,) the columns of a model that `slice_words` takes: categories before numbers."""
    columns = [*range(n_numbers, n_dims), *range(n_numbers)]
    return np.array(columns[:N_FEATURES], np.int32)


@dataclass(slots=True)
class BackdoorSlices:
    """The counts of all models' slices; M models."""

    slices: I64
    """(M, N_ROWS, N_SLICE)"""
    found: F64
    """(M, N_ROWS) the statistic at which a slice was last a finding; 0: it is none."""
    hits: I64
    """(M, N_ROWS, N_CLASSES)"""
    expected: F64
    all_hits: I64
    """(M, N_CLASSES)"""
    all_expected: F64
    salt: int

    @classmethod
    def empty(cls, n_models: int, salt: int) -> BackdoorSlices:
        """Of models none of whose labels has come."""
        return cls(
            slices=np.zeros((n_models, N_ROWS, N_SLICE), np.int64),
            found=np.zeros((n_models, N_ROWS)),
            hits=np.zeros((n_models, N_ROWS, N_CLASSES), np.int64),
            expected=np.zeros((n_models, N_ROWS, N_CLASSES)),
            all_hits=np.zeros((n_models, N_CLASSES), np.int64),
            all_expected=np.zeros((n_models, N_CLASSES)),
            salt=salt,
        )

    def forget(self, model: int) -> None:
        """The slot is given to another model."""
        for name in _ARRAYS:
            getattr(self, name)[model] = 0

    def count(
        self,
        slot: I32,
        words: I64,
        offset: I64,
        time: I64,
        classes: tuple[U8, U8, U8],
        is_hit: I64,
        stretch: tuple[int, int],
        rates: F64,
        shares: F64,
    ) -> None:
        """Count a stretch of rows; `classes` are predicted, label, and bin (255: not judged)."""
        count_slices(
            slot,
            words,
            offset,
            time,
            *classes,
            is_hit,
            *stretch,
            self.salt,
            rates,
            shares,
            self.slices,
            self.found,
            self.hits,
            self.expected,
            self.all_hits,
            self.all_expected,
        )

    def look(self, model: int, n_labels: int, between: int) -> list[Slice]:
        """Test the model's slices; those that are found, one a label. `between`: labels a look."""
        tested, statistic, limit = self._tests(model, FALSE_PER_LABELS * between)
        passed = tested & (statistic >= limit)
        found = []
        for label in np.flatnonzero(passed.any(axis=0)).tolist():
            own = np.where(passed[:, label], statistic[:, label], 0.0)
            row = int(np.argmax(own))
            level = float(self.found[model, row])
            strength = round(float(own[row]) * _GRAIN) / _GRAIN
            if strength < 2.0 * level:
                continue
            self.found[model, row] = strength
            key, n = (int(self.slices[model, row, k]) for k in (KEY, LABELS))
            found.append(
                Slice(
                    feature=key // (MAX_CODE + 1),
                    code=key % (MAX_CODE + 1),
                    label=label,
                    hits=int(self.hits[model, row, label]),
                    expected=float(self.expected[model, row, label]),
                    n=n,
                    statistic=strength,
                    threshold=max(round(limit * _GRAIN) / _GRAIN, 2.0 * level),
                    first_offset=int(self.slices[model, row, FIRST_OFFSET]),
                    first_time_ms=int(self.slices[model, row, FIRST_TIME]),
                    n_slices=int(np.count_nonzero(passed[:, label])),
                )
            )
        self._calm(model, np.asarray(passed.any(axis=1)))
        if n_labels % HALVED_AFTER == 0:
            self._halve(model)
        return found

    def _tests(self, model: int, rate: float) -> tuple[NDArray[np.bool_], F64, float]:
        """What was tested (N_ROWS, N_CLASSES), each -ln p, and what Benjamini-Hochberg lets pass.

        p is Chernoff's bound of a Poisson count, whose mean is what the model's expectation gives,
        times `ODDS`, and times how much worse than expected the labels outside of the slice are.
        """
        hits = self.hits[model].astype(np.float64)
        expected = self.expected[model]
        others = np.maximum(self.all_hits[model] - hits, 0.0) + 1.0
        ratio = np.maximum(
            others / (np.maximum(self.all_expected[model] - expected, 0.0) + 1.0), 1.0
        )
        mean = ODDS * ratio * expected + 0.5
        is_more = hits > mean
        log_ratio = np.log(np.where(is_more, hits, 1.0) / np.where(is_more, mean, 1.0))
        statistic = np.where(is_more, hits * log_ratio - hits + mean, 0.0)
        enough = self.slices[model, :, LABELS] >= LEAST_LABELS
        n_tests = int(np.count_nonzero(enough)) * N_CLASSES
        tested = enough[:, np.newaxis] & (hits >= LEAST_HITS)
        strongest = np.sort(statistic[tested])[::-1]
        limits = np.array(
            [math.log(n_tests / (rate * (k + 1))) for k in range(len(strongest))], np.float64
        )
        passing = np.flatnonzero(strongest >= limits)
        # Where none passes: what the first would have had to reach.
        limit = float(limits[passing[-1]]) if len(passing) else math.inf
        return tested, statistic, limit

    def _calm(self, model: int, is_suspect: NDArray[np.bool_]) -> None:
        """Slices in which nothing was found for some looks are findings no longer."""
        quiet = self.slices[model, :, QUIET]
        quiet[is_suspect] = 0
        held = (self.found[model] > 0.0) & ~is_suspect
        quiet[held] += 1
        over = quiet >= QUIET_LOOKS
        self.found[model, over] = 0.0
        quiet[over] = 0

    def _halve(self, model: int) -> None:
        for counts in (self.hits[model], self.all_hits[model], self.slices[model, :, LABELS]):
            np.floor_divide(counts, 2, out=counts)
        self.expected[model] *= 0.5
        self.all_expected[model] *= 0.5

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Copies of the arrays."""
        return {f"slice_{name}": getattr(self, name).copy() for name in _ARRAYS}

    @classmethod
    def restored(cls, state: BankState, n_models: int, salt: int) -> BackdoorSlices:
        """Those of a snapshot. Raises `StateError`."""
        own = cls.empty(n_models, salt)
        for name in _ARRAYS:
            array = getattr(own, name)
            kept = require_array(state, f"slice_{name}", array.dtype, array.shape)
            if not ((kept >= 0) & (kept <= _MAX_COUNT)).all():
                raise StateError(f"slice_{name} is out of range")
            setattr(own, name, kept)
        keys = own.slices[..., KEY]
        code = keys % (MAX_CODE + 1)
        if ((keys >= N_FEATURES * (MAX_CODE + 1)) | ((keys > 0) & (code == 0))).any():
            raise StateError("a slice is of a feature or a value that there is not")
        for used in keys:
            there = used[used > 0]
            if len(np.unique(there)) < len(there):
                raise StateError("a slice is counted twice")
        if (own.hits.sum(axis=2) > own.slices[..., LABELS]).any():
            raise StateError("a slice has more disagreements than labels")
        if (own.slices[..., QUIET] >= QUIET_LOOKS).any():
            raise StateError("a slice is suspect for longer than it could be")
        return own
