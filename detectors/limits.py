"""What the numbers of a reference keep to: how far they reach, and whether they repeat.

A lane for each feature would take its share of the budget from all others, for what is one thing to
a person: the data broke. So a model version has one lane for each of `quality:range`,
`quality:stuck` and `quality:type`: the share of events with any such feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.kernels.limits import check_limits
from detectors.kernels.observe import (
    FIRST_DERIVED,
    MAX_RAW,
    RULE_Z,
    SOURCE_RANGE,
    SOURCE_STUCK,
    SOURCE_TYPE,
    SOURCE_VALUE,
)
from detectors.learning import MIN_ROWS, Rows
from detectors.signals import Signal, share_scale
from schemas.batch import F64, I32, I64, U8, ValueKind

MARGIN: Final = 0.5
"""Far beyond is what lies further off than half of the span of the reference's numbers. Without it
each feature has a new extreme once in half as many events as the reference has: those of twenty
features would be one event in a hundred, and hide what is broken."""
BROKEN: Final = (SOURCE_RANGE, SOURCE_STUCK, SOURCE_TYPE)
"""What is so of single features of an event."""
MAX_REPEATS: Final = 0.01
"""A number that repeats its previous value more often in the reference is one of few values, and
says nothing by it."""


@dataclass(slots=True)
class Limits:
    """Those of one model version's numeric features; k of them."""

    features: I32
    """(k,) their numbers."""
    low: F64
    high: F64
    varies: U8
    """(k,) 1: it hardly ever repeats a value."""
    last: F64
    """(k,) the latest value of each that varies; NaN before the first. A view into the table."""

    def renumbered(self, at: Mapping[int, int]) -> Limits:
        """Those of a version that has the same features by other numbers; it has seen nothing."""
        features = np.array([at[f] for f in self.features.tolist()], np.int32)
        return replace(self, features=features, last=np.full(len(features), np.nan))


@dataclass(frozen=True, slots=True)
class LimitTable:
    """All models', one after the other."""

    found: tuple[Limits, ...]
    ptr: I64
    """(slots + 1,)"""
    features: I32
    low: F64
    high: F64
    varies: U8
    last: F64

    def check(
        self,
        rows: I32,
        block_slot: I32,
        block_row_ptr: I64,
        value_ptr: I64,
        column_ptr: I64,
        column: I32,
        number: F64,
        derived: F64,
        which: I32,
    ) -> None:
        """Write what these rows' lanes observe into `derived` (N_DERIVED_ROWS, n).

        And into `which` (N_BROKEN, n) the number of the first feature of which it is so.
        """
        if not len(self.features):
            return
        check_limits(
            rows,
            block_slot,
            block_row_ptr,
            self.ptr,
            self.features,
            self.low,
            self.high,
            self.varies,
            value_ptr,
            column_ptr,
            column,
            number,
            self.last,
            derived[SOURCE_RANGE - FIRST_DERIVED],
            derived[SOURCE_STUCK - FIRST_DERIVED],
            which[BROKEN.index(SOURCE_RANGE)],
            which[BROKEN.index(SOURCE_STUCK)],
        )


def build_limits(slots: Sequence[Limits | None], before: LimitTable | None = None) -> LimitTable:
    """The table of these slots. From here on their last values stand in its arrays.

    Of the same limits the table `before` it is taken.
    """
    found = tuple(each for each in slots if each is not None)
    sizes = [0 if each is None else len(each.features) for each in slots]
    ptr = np.cumsum([0, *sizes], dtype=np.int64)
    if before is not None and list(map(id, found)) == list(map(id, before.found)):
        return replace(before, ptr=ptr)
    no_numbers = np.zeros(0)
    last = np.concatenate([no_numbers, *(each.last for each in found)])
    at = 0
    for each in found:
        each.last = last[at : at + len(each.features)]
        at += len(each.features)
    return LimitTable(
        found=found,
        ptr=ptr,
        features=np.concatenate([np.zeros(0, np.int32), *(each.features for each in found)]),
        low=np.concatenate([no_numbers, *(each.low for each in found)]),
        high=np.concatenate([no_numbers, *(each.high for each in found)]),
        varies=np.concatenate([np.zeros(0, np.uint8), *(each.varies for each in found)]),
        last=last,
    )


def freeze_limits(
    rows: Rows,
    features: Sequence[int],
    kinds: Sequence[int],
    signals: Sequence[Signal],
    derived: F64,
) -> tuple[Limits | None, list[Signal]]:
    """What the numbers of a reference keep to, and the signals of what does not.

    `features` are those of the rows, `kinds` the expected ones of all features of the model,
    `signals` the reference's own. What its rows observe goes into `derived`. How often a number
    will lie beyond is told by those rows that lie beyond all others, as with new categories. None
    where no feature is a number that varies.
    """
    if rows.n < MIN_ROWS or not features:
        return None, []
    kind = rows.column("kind").reshape(rows.n, -1)
    value = rows.column("value").reshape(rows.n, -1)
    expected = np.array([kinds[feature] for feature in features])
    is_there = (kind <= ValueKind.INVALID) & (kind != ValueKind.NULL)
    is_other = (expected <= ValueKind.INVALID) & (kind != expected)
    is_unfit = is_there & (is_other | (kind == ValueKind.INVALID))
    derived[SOURCE_TYPE - FIRST_DERIVED] = is_unfit.any(axis=1)
    sources = [SOURCE_TYPE]
    beyond, stuck = np.zeros(rows.n), np.zeros(rows.n)
    found: list[tuple[int, float, float, bool]] = []
    varying = {s.index for s in signals if s.source == SOURCE_VALUE and s.scale.rule == RULE_Z}
    for j, feature in enumerate(features):
        at = np.flatnonzero(kind[:, j] == ValueKind.NUMBER)
        if feature not in varying or len(at) < MIN_ROWS:
            continue
        x = np.clip(value[at, j], -MAX_RAW, MAX_RAW)
        low, high = _reach(float(x.min()), float(x.max()))
        beyond[at[_outermost(x)]] = 1.0
        repeats = np.flatnonzero(x[1:] == x[:-1]) + 1
        varies = len(repeats) <= MAX_REPEATS * len(x)
        if varies:
            stuck[at[repeats]] = 1.0
        found.append((feature, low, high, varies))
    limits = None
    if found:
        numbers, low_of, high_of, varies_of = zip(*found, strict=True)
        limits = Limits(
            features=np.array(numbers, np.int32),
            low=np.array(low_of),
            high=np.array(high_of),
            varies=np.array(varies_of, np.uint8),
            last=np.full(len(found), np.nan),
        )
        derived[SOURCE_RANGE - FIRST_DERIVED] = beyond
        sources.append(SOURCE_RANGE)
        if any(varies_of):
            derived[SOURCE_STUCK - FIRST_DERIVED] = stuck
            sources.append(SOURCE_STUCK)
    own = [derived[source - FIRST_DERIVED] for source in sources]
    return limits, [
        Signal(source, 0, 0, share_scale(int(np.count_nonzero(each)), rows.n))
        for source, each in zip(sources, own, strict=True)
    ]


def _reach(least: float, most: float) -> tuple[float, float]:
    """From where to where numbers between these two may reach."""
    margin = MARGIN * (most - least)
    return least - margin, most + margin


def _outermost(x: F64) -> list[int]:
    """The places of those numbers that lie far beyond all others; x has three or more."""
    order = np.argsort(x, kind="stable")
    least, second, last_but_one, most = x[order[[0, 1, -2, -1]]].tolist()
    found = []
    if least < _reach(second, most)[0]:
        found.append(int(order[0]))
    if most > _reach(least, last_but_one)[1]:
        found.append(int(order[-1]))
    return found


_WIDTH: Final = 2


def snapshot_limits(limits: Sequence[Limits]) -> dict[str, NDArray[Any]]:
    """Those of monitors, one after the other."""
    numbers = [np.column_stack([each.features, each.varies]) for each in limits]
    reach = [np.column_stack([each.low, each.high]) for each in limits]
    return {
        "limits_numbers": np.concatenate([np.zeros((0, _WIDTH), np.int64), *numbers]).astype(
            np.int64
        ),
        "limits_reach": np.concatenate([np.zeros((0, _WIDTH)), *reach]),
        "limits_last": np.concatenate([np.zeros(0), *(each.last for each in limits)]),
    }


class LimitsReader:
    """Cuts them apart again. Raises `StateError` where they cannot be any."""

    def __init__(self, state: BankState) -> None:
        self._numbers = require_array(state, "limits_numbers", np.int64, (None, _WIDTH))
        k = len(self._numbers)
        self._reach = require_array(state, "limits_reach", np.float64, (k, _WIDTH))
        self._last = require_array(state, "limits_last", np.float64, (k,))
        self._at = 0
        if not np.isin(self._numbers[:, 1], (0, 1)).all():
            raise StateError("a limit is of a number that neither varies nor does not")
        if not (np.isfinite(self._reach).all() and (self._reach[:, 0] <= self._reach[:, 1]).all()):
            raise StateError("a limit reaches from nowhere, or to nowhere")
        if np.isinf(self._last).any():
            raise StateError("a limit's latest value is infinite")

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self._numbers)

    def read(self, n: int, kinds: Sequence[int]) -> Limits | None:
        """Those of a monitor whose features are of these kinds; None where n is 0."""
        if not 0 <= n <= len(self._numbers) - self._at:
            raise StateError("limits are fewer than a monitor says")
        own = slice(self._at, self._at + n)
        self._at += n
        if not n:
            return None
        features = self._numbers[own, 0]
        numeric = [f for f, kind in enumerate(kinds) if kind == ValueKind.NUMBER]
        if not np.isin(features, numeric).all() or len(set(features.tolist())) < n:
            raise StateError("a limit is of no number, or there twice")
        return Limits(
            features=features.astype(np.int32),
            low=self._reach[own, 0].copy(),
            high=self._reach[own, 1].copy(),
            varies=self._numbers[own, 1].astype(np.uint8),
            last=self._last[own].copy(),
        )

    def finish(self) -> None:
        """Raise where there are more than monitors have."""
        if self._at != len(self._numbers):
            raise StateError("limits are more than monitors have")
