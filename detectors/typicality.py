"""How typical a row is of the frozen reference: what its values' surprise comes to, over features.

A feature that moves a little into regions that are rare in the reference is seen late, since each
is judged alone. The mean over all features of how surprising their values are moves by as much as
one of them and varies less. It says nothing of how features hang together, which `joint:...` does.

The score of a value is its surprisal in nats, less what it is on average in the reference, between
-LIMIT and LIMIT: of a category by its share, of a number by the density between quantiles (by
its share where it has few values), a missing value by how often there is none. So one value far
out, for which there is `quality:range`, counts no more than a rare one.

Scores are learned from the first half of a reference, and the signal's own reference is the second
half, scored by them: rows that form the scores are less surprising than those that come after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.categories import Categories, NameNumbers
from detectors.kernels.observe import (
    FIRST_DERIVED,
    KIND_ANY,
    MAX_RAW,
    RULE_Z,
    SOURCE_TYPICAL,
)
from detectors.kernels.typicality import (
    CELL_MISSING,
    CELL_NEW,
    CELL_OTHER,
    GRAIN,
    N_CELLS,
    N_CUTS,
    score_rows,
)
from detectors.learning import MIN_ROWS, Rows
from detectors.limits import BROKEN
from detectors.signals import Signal, number_scale
from schemas.batch import F64, I32, I64, U8, ValueKind

NAMING: Final = (*BROKEN, SOURCE_TYPICAL)
"""The sources of signals of all features that name one."""
LIMIT: Final = 4.0
"""Nats: so much more surprising than on average a value may be, and so much less."""
MIN_FEATURES: Final = 2
"""Of one feature its own signals say all there is to say."""
LEAST_IN_CELL: Final = 5
"""Numbers of the reference beyond the outermost quantile that is a cut."""
MAX_VALUES: Final = N_CUTS - 1
"""A number with at most so many values is known by their shares."""
_QUANTILES: Final = np.array([NormalDist().cdf(k / 4.0) for k in range(-14, 15)])
"""Evenly spaced in normal score: as fine in the tails as in the middle."""


@dataclass(slots=True)
class Typical:
    """Scores of one model version's features; k of them, m of which are numbers."""

    features: I32
    """(k,) their numbers."""
    cuts: F64
    """(m, N_CUTS) of those that are numbers, in their order."""
    cells: I32
    """(k, N_CELLS) scores in 1/GRAIN nat."""
    names: tuple[I32, ...]
    """(k,) of each feature that of each of its categories, in their order."""
    recent: I64
    """(k,) sums of what came of late, which fade. A view into the table."""
    worst: I32
    """(1,) the feature whose sum was the largest. A view into the table."""

    def renumbered(self, at: Mapping[int, int]) -> Typical:
        """Those of a version that has the same features by other numbers; it has seen nothing."""
        features = np.array([at[f] for f in self.features.tolist()], np.int32)
        return replace(
            self,
            features=features,
            recent=np.zeros(len(features), np.int64),
            worst=np.full(1, -1, np.int32),
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """One model version whose rows are scored, as its table wants it."""

    typical: Typical
    expected: U8
    """(k,) the kinds of its features."""
    known: tuple[I32, ...]
    """Of each feature (2, n) the numbers of its categories' names, ascending, and their scores."""


def scored(
    typical: Typical, kinds: Sequence[int], categories: Sequence[Categories], names: NameNumbers
) -> Scored:
    """The model version whose features have these kinds and categories."""
    known = []
    for feature, own in zip(typical.features.tolist(), typical.names, strict=True):
        pairs = zip(names.numbers(categories[feature].names), own.tolist(), strict=True)
        known.append(np.array(sorted(pairs), np.int32).reshape(-1, 2).T)
    expected = np.array([kinds[f] for f in typical.features.tolist()], np.uint8)
    return Scored(typical, expected, tuple(known))


@dataclass(frozen=True, slots=True)
class TypicalTable:
    """All models', one after the other."""

    found: tuple[Scored, ...]
    of_slot: I32
    """(slots,) -1: none."""
    ptr: I64
    features: I32
    expected: U8
    cuts: F64
    cells: I32
    known_ptr: I64
    known: I32
    known_score: I32
    recent: I64
    worst: I32

    def score(
        self,
        rows: I32,
        block_slot: I32,
        block_row_ptr: I64,
        value_ptr: I64,
        column_ptr: I64,
        column: I32,
        value: F64,
        kind: U8,
        name_of: I32,
        model_event: I64,
        derived: F64,
        which: I32,
    ) -> None:
        """Write what these rows' lanes observe into `derived` (N_DERIVED_ROWS, n).

        And into `which` (n,) the number of the feature that has been most unusual of late.
        """
        if not self.found:
            return
        score_rows(
            rows,
            block_slot,
            block_row_ptr,
            self.of_slot,
            self.ptr,
            self.features,
            self.expected,
            self.cuts,
            self.cells,
            self.known_ptr,
            self.known,
            self.known_score,
            value_ptr,
            column_ptr,
            column,
            value,
            kind,
            name_of,
            model_event,
            self.recent,
            self.worst,
            derived[SOURCE_TYPICAL - FIRST_DERIVED],
            which,
        )


def build_typical(
    slots: Sequence[Scored | None], before: TypicalTable | None = None
) -> TypicalTable:
    """The table of these slots. From here on what came of late stands in its arrays.

    Of the same models the table `before` it is taken.
    """
    found = tuple(each for each in slots if each is not None)
    of_slot = np.full(len(slots), -1, np.int32)
    of_slot[[slot for slot, each in enumerate(slots) if each is not None]] = np.arange(len(found))
    # By identity: a monitor makes another one where anything of it has changed.
    if before is not None and list(map(id, found)) == list(map(id, before.found)):
        return replace(before, of_slot=of_slot)
    typical = [each.typical for each in found]
    ptr = np.cumsum([0, *(len(each.features) for each in typical)], dtype=np.int64)
    recent = np.concatenate([np.zeros(0, np.int64), *(each.recent for each in typical)])
    worst = np.concatenate([np.zeros(0, np.int32), *(each.worst for each in typical)])
    for m, each in enumerate(typical):
        each.recent = recent[ptr[m] : ptr[m + 1]]
        each.worst = worst[m : m + 1]
    expected = np.concatenate([np.zeros(0, np.uint8), *(each.expected for each in found)])
    cuts = np.full((len(expected), N_CUTS), np.inf)
    cuts[expected == ValueKind.NUMBER] = np.concatenate(
        [np.zeros((0, N_CUTS)), *(each.cuts for each in typical)]
    )
    of_names = [own for each in found for own in each.known]
    known = np.concatenate([np.zeros((2, 0), np.int32), *of_names], axis=1)
    return TypicalTable(
        found=found,
        of_slot=of_slot,
        ptr=ptr,
        features=np.concatenate([np.zeros(0, np.int32), *(each.features for each in typical)]),
        expected=expected,
        cuts=cuts.ravel(),
        cells=np.concatenate([np.zeros(0, np.int32), *(each.cells.ravel() for each in typical)]),
        known_ptr=np.cumsum([0, *(own.shape[1] for own in of_names)], dtype=np.int64),
        known=known[0].copy(),
        known_score=known[1].copy(),
        recent=recent,
        worst=worst,
    )


def freeze_typical(
    rows: Rows,
    features: Sequence[int],
    kinds: Sequence[int],
    categories: Sequence[Categories],
    derived: F64,
) -> tuple[Typical | None, list[Signal]]:
    """The scores of a reference's features, and the signal of them.

    `features` are those of the rows; `kinds` and `categories` those of all features of the model.
    What the second half of the rows observes goes into `derived`. None where features or rows are
    too few, or all rows are alike.
    """
    half = rows.n // 2
    if len(features) < MIN_FEATURES or half < MIN_ROWS:
        return None, []
    kind = rows.column("kind").reshape(rows.n, -1)
    value = rows.column("value").reshape(rows.n, -1)
    cuts, cells, names = [], [], []
    for j, feature in enumerate(features):
        own = _fit(value[:half, j], kind[:half, j], kinds[feature], categories[feature])
        if kinds[feature] == ValueKind.NUMBER:
            cuts.append(own[0])
        cells.append(own[1])
        names.append(own[2])
    typical = Typical(
        features=np.array(features, np.int32),
        cuts=np.array(cuts, np.float64).reshape(-1, N_CUTS),
        cells=np.array(cells, np.int32),
        names=tuple(names),
        recent=np.zeros(len(features), np.int64),
        worst=np.full(1, -1, np.int32),
    )
    own_scores = derived[SOURCE_TYPICAL - FIRST_DERIVED]
    own_scores[:] = _scores(typical, rows, kinds, categories)
    own_scores[:half] = np.nan
    x = own_scores[half:]
    mean = float(x.mean())
    scale = number_scale(len(x), mean, float(((x - mean) ** 2).sum()))
    if scale is None or scale.rule != RULE_Z:
        return None, []
    return typical, [Signal(SOURCE_TYPICAL, 0, 0, scale)]


def _scores(
    typical: Typical, rows: Rows, kinds: Sequence[int], categories: Sequence[Categories]
) -> F64:
    """(rows,) what a lane would have observed of them."""
    n = rows.n
    # Rows have the numbers of a tally for their names, which is the order of the categories.
    known = tuple(
        np.array([np.arange(len(own)), own], np.int32).reshape(2, -1) for own in typical.names
    )
    expected = np.array([kinds[f] for f in typical.features.tolist()], np.uint8)
    here = replace(
        typical,
        features=np.arange(len(expected), dtype=np.int32),
        recent=typical.recent.copy(),
        worst=typical.worst.copy(),
    )
    derived = np.full((SOURCE_TYPICAL - FIRST_DERIVED + 1, n), np.nan)
    most = max((len(categories[f].names) for f in typical.features.tolist()), default=0)
    build_typical([Scored(here, expected, known)]).score(
        np.arange(n, dtype=np.int32),
        np.zeros(1, np.int32),
        np.array([0, n], np.int64),
        np.arange(n, dtype=np.int64) * rows.n_features,
        np.zeros(n, np.int64),
        np.arange(rows.n_features, dtype=np.int32),
        rows.column("value"),
        rows.column("kind"),
        np.arange(most, dtype=np.int32),
        np.arange(n, dtype=np.int64),
        derived,
        np.empty(n, np.int32),
    )
    scores: F64 = derived[SOURCE_TYPICAL - FIRST_DERIVED]
    return scores


def _fit(value: F64, kind: U8, expected: int, categories: Categories) -> tuple[F64, I32, I32]:
    """Cuts (N_CUTS,), cells (N_CELLS,) and scores of the names of one feature of these rows."""
    cuts = np.full(N_CUTS, np.inf)
    is_scalar = (
        (kind == ValueKind.NUMBER) | (kind == ValueKind.STRING) | (kind == ValueKind.BOOLEAN)
    )
    is_there = is_scalar if expected == KIND_ANY else kind == expected
    x = value[is_there]
    # Half an occurrence stands for what did not occur.
    n_missing = len(kind) - len(x)
    missing = (n_missing + 0.5) / (len(kind) + 1.0)
    of_missing, of_present = -np.log(missing), -np.log(1.0 - missing)
    usual = missing * of_missing + (1.0 - missing) * of_present
    cells, names = np.zeros(N_CELLS), np.zeros(0)
    if expected == ValueKind.NUMBER:
        own, surprise = _of_numbers(np.clip(x, -MAX_RAW, MAX_RAW))
        cuts[: len(own)] = own
        cells[: len(surprise)] = surprise
    elif expected in (ValueKind.STRING, ValueKind.BOOLEAN):
        cells[CELL_OTHER], cells[CELL_NEW], names = _of_categories(x, categories)
    cells += of_present - usual
    cells[CELL_MISSING] = of_missing - usual
    return cuts, _grains(cells), _grains(names + of_present - usual)


def _of_numbers(x: F64) -> tuple[F64, F64]:
    """Ascending cuts (c,), and the surprise of each cell (c + 1,), by these numbers."""
    if not len(x):
        return np.zeros(0), np.zeros(1)
    values, counts = np.unique(x, return_counts=True)
    if len(values) <= MAX_VALUES:
        between = values[:-1] + (values[1:] - values[:-1]) / 2.0
        # Of neighbours there is nothing between.
        between = np.where(between > values[:-1], between, values[1:])
        cuts = np.array([values[0], *between.tolist(), _above(values[-1])])
        surprise = -np.log(counts / len(x))
    else:
        ordered = np.sort(x)
        own = _QUANTILES[np.minimum(_QUANTILES, 1.0 - _QUANTILES) * len(x) >= LEAST_IN_CELL]
        inner = np.unique(ordered[(own * len(x)).astype(np.int64)])
        inner = inner[inner > ordered[0]]
        cuts = np.array([ordered[0], *inner.tolist(), _above(ordered[-1])])
        counts = np.diff(np.searchsorted(ordered, cuts, side="left"))
        surprise = np.log(np.diff(cuts)) - np.log(counts / len(x))
    inside = _centred(surprise, counts)
    return cuts, np.array([LIMIT, *inside.tolist(), LIMIT])


def _above(x: float) -> float:
    """The least number above it."""
    return float(np.nextafter(x, np.inf))


def _of_categories(x: F64, categories: Categories) -> tuple[float, float, F64]:
    """The surprise of others, of a new one and of each name, by these values.

    Others are those that the reference kept no name of. If there are any it is not known what is
    new. How often there is a new one is told by those that were there once (Good 1953).
    """
    n_names = len(categories.names)
    n_other = int(np.count_nonzero(x < 0.0))
    counts = np.bincount(x[x >= 0.0].astype(np.int64), minlength=n_names)[:n_names]
    total = len(x) + 0.5 * (n_names + 2)
    shares = np.array([n_other, np.count_nonzero(counts == 1), *counts.tolist()]) + 0.5
    surprise = -np.log(shares / total)
    centred = _centred(surprise, np.array([n_other, 0, *counts.tolist()]))
    new = centred[0] if categories.is_full else centred[1]
    return float(centred[0]), float(new), centred[2:]


def _centred(surprise: F64, counts: NDArray[np.int64]) -> F64:
    """Less its mean over so many values, between -LIMIT and LIMIT of it.

    Limited about the median first: where many values are one the density there is without bounds.
    """
    n = max(int(counts.sum()), 1)
    order = np.argsort(surprise, kind="stable")
    middle = order[min(int(np.searchsorted(np.cumsum(counts[order]), n / 2.0)), len(order) - 1)]
    off = np.clip(surprise - surprise[middle], -LIMIT, LIMIT)
    centred: F64 = np.clip(off - float((off * counts).sum()) / n, -LIMIT, LIMIT)
    return centred


def _grains(nats: F64) -> I32:
    """As whole multiples, so that another machine's last bits change nothing."""
    return np.rint(np.clip(nats, -LIMIT, LIMIT) * GRAIN).astype(np.int32)
