"""What the events of a window say of each version of a model: losses, by groups, and regions. Pure.

As `streams/window_facts.py` a function of the set of events in the window. Groups are those of
slices: the categories of features that the config names, else of those with few categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from detectors.labels.identity import NONE
from detectors.slices import LEAST_SHARE, MAX_AUTOMATIC_GROUPS, MAX_GROUPS, MAX_SLICES
from schemas.batch import F64, I32, I64, Bool, Decoded, ValueKind
from schemas.retraining import CleanWindow
from schemas.rollback import Loss
from schemas.signal_names import of_feature, slice_signal
from streams.crossed_cells import NO_CELLS, Cells, cells_of
from streams.difference import Sums
from streams.prediction_regions import Region, regions_of
from streams.window_facts import Pairs, Rows, WindowEvents, WindowWish, are_classes, order_of

MAX_LOSS: Final = 1e60
"""What is further from its label counts as this: the square of it can be summed."""
_NO_GROUP: Final = -1
_MOST_CATEGORIES: Final = 4_096
"""A feature with more of them in one window names its events: it is no slice."""


class VersionTally(NamedTuple):
    """One version's predictions in a window."""

    n_predictions: int
    loss: Loss | None
    """None where nothing says what it predicts: it has no predictions."""
    labelled: Sums
    groups: Mapping[str, Sums]
    """By `F=V`: the losses of those with labels."""
    regions: tuple[Region, ...]
    since_ms: int | None
    until_ms: int | None
    cells: Cells = NO_CELLS
    """The same losses by the groups of all features at once."""

    @property
    def n_labels(self) -> int:
        """Of its predictions those with a label in the window."""
        return self.labelled.n


@dataclass(frozen=True, slots=True)
class Slicing:
    """Which features are slices: those named, and so many others that have few categories."""

    named: Sequence[str] = ()
    n_automatic: int = 4


@dataclass(slots=True)
class _Feature:
    """What is known of a feature that may be a slice."""

    numbers: dict[str, int] = field(default_factory=dict)
    codes: list[tuple[int, I32]] = field(default_factory=list)
    """By piece of rows the category of each row; -1: none."""
    n_numbers: int = 0


class VersionEvents(WindowEvents):
    """Takes in the events of a window, for all versions of a model.

    Keeps some 80 bytes of each event, and four more for each feature that may be a slice.
    """

    def __init__(
        self,
        model_id: str,
        window: CleanWindow,
        slicing: Slicing,
        *,
        max_future_ms: int,
        max_late_ms: int,
    ) -> None:
        wish = WindowWish(model_id, "", window, ())
        super().__init__(wish, None, max_future_ms=max_future_ms, max_late_ms=max_late_ms)
        self._slicing: Final = slicing
        self._versions: Final[dict[str, int]] = {}
        self._version_of: Final[list[I32]] = []
        self._features: Final[dict[str, _Feature | None]] = {}
        """None of one with too many categories."""

    def take(self, events: Decoded) -> None:
        """Take in decoded events of one partition, with the fingerprints of their ids."""
        n_pieces = len(self._pieces)
        super().take(events)
        if len(self._pieces) == n_pieces:
            return
        at = self.chosen(events)
        number = np.array(
            [
                self._versions.setdefault(key.model_version, len(self._versions))
                if key.model_id == self._wish.model_id
                else _NO_GROUP
                for key in events.models
            ],
            np.int32,
        )
        self._version_of.append(np.where(events.is_label[at], -1, number[events.model[at]]))
        self._take_features(events, at, n_pieces)

    def tallies(self, new: str, old: str | None = None) -> dict[str, VersionTally]:
        """By version: the new one, and `old`, or else the other one with most predictions.

        Those of them that have predictions in the window.
        """
        if not self._pieces:
            return {}
        order = order_of(np.concatenate(self._pieces))
        version = np.concatenate(self._version_of)[order]
        is_prediction = (version >= 0) & self._is_first(order)
        n_of = np.bincount(version[is_prediction], minlength=len(self._versions)).tolist()
        names = {name: n_of[number] for name, number in self._versions.items() if n_of[number]}
        others = sorted(names.keys() - {new}, key=lambda name: (-names[name], name))
        asked = [new, *(others[:1] if old is None else [old])]
        groups = self._groups(order, is_prediction)
        found = {}
        for name in asked:
            if name in names:
                self._wanted = version == self._versions[name]
                found[name] = self._tally(self.pairs(), groups)
        return found

    _wanted: Bool

    def _in_order(self) -> Rows:
        rows = super()._in_order()
        rows["is_own"] = self._wanted
        return rows

    def _is_first(self, order: I64) -> Bool:
        """(n,) whether an event is there for the first time, rather than once more."""
        rows = np.concatenate(self._pieces)[order]
        found = np.ones(len(rows), np.bool_)
        found[1:] = False
        for name in ("partition", "offset", "row"):
            found[1:] |= rows[name][1:] != rows[name][:-1]
        return found

    def _tally(self, pairs: Pairs, groups: Mapping[str, Bool]) -> VersionTally:
        classes = are_classes(pairs)
        usable = pairs.labelled()
        own = pairs.prediction[usable]
        losses = _losses(pairs, usable, are_classes=classes)
        known = np.isfinite(losses)
        losses, own = losses[known], own[known]
        is_in = {name: there[own] for name, there in groups.items() if there[own].any()}
        by_feature: dict[str, dict[str, Bool]] = {}
        for name, there in is_in.items():
            by_feature.setdefault(feature_of(name), {})[name] = there
        mine = pairs.events[pairs.prediction]
        times = mine["time_ms"][~mine["is_future"]]
        return VersionTally(
            n_predictions=len(pairs.prediction),
            loss=("error_rate" if classes else "absolute_error") if len(mine) else None,
            labelled=_sums(losses),
            groups={name: _sums(losses[there]) for name, there in is_in.items()},
            regions=regions_of(pairs, are_classes=classes),
            since_ms=int(times.min()) if len(times) else None,
            until_ms=int(times.max()) if len(times) else None,
            cells=cells_of(by_feature, losses),
        )

    def _take_features(self, events: Decoded, at: I64, piece: int) -> None:
        """Categories of the features of these rows."""
        kinds_of: dict[str, I32] = {}
        for number, names in enumerate(events.shapes):
            rows = np.flatnonzero(events.shape[at] == number)
            if not len(rows):
                continue
            for place, name in enumerate(names):
                if name in self._features and self._features[name] is None:
                    continue
                values = events.value_ptr[at[rows]] + place
                codes = kinds_of.setdefault(name, np.full(len(at), _NO_GROUP, np.int32))
                self._number(name, events, values, rows, codes)
        for name, codes in kinds_of.items():
            kept = self._features.get(name)
            if kept is not None:
                kept.codes.append((piece, codes))

    def _number(self, name: str, events: Decoded, values: I64, rows: I64, codes: I32) -> None:
        kind, value = events.kind[values], events.value[values]
        if name not in self._features:
            self._features[name] = _Feature()
        kept = self._features[name]
        if kept is None:
            return
        kept.n_numbers += int(np.count_nonzero(kind == ValueKind.NUMBER))
        for one, names in (
            (ValueKind.STRING, events.categories),
            (ValueKind.BOOLEAN, ("false", "true")),
        ):
            mine = np.flatnonzero((kind == one) & (value >= 0))
            for code in np.unique(value[mine]).astype(np.int64).tolist():
                number = kept.numbers.setdefault(names[code], len(kept.numbers))
                codes[rows[mine[value[mine] == code]]] = number
            if len(kept.numbers) > _MOST_CATEGORIES:
                self._features[name] = None
                return

    def _groups(self, order: I64, is_prediction: Bool) -> dict[str, Bool]:
        """By `F=V`, in the order of names: (n,) which events are in the group."""
        found: dict[str, dict[str, Bool]] = {}
        for name, kept in sorted(self._features.items()):
            if kept is None or not kept.numbers:
                continue
            codes = self._codes(name)[order]
            counts = np.bincount(codes[(codes >= 0) & is_prediction], minlength=len(kept.numbers))
            n = int(counts.sum())
            # Whoever sends a few numbers, or categories nobody else sends, undoes no slice.
            if n <= kept.n_numbers:
                continue
            there = [
                (category, number)
                for category, number in kept.numbers.items()
                if counts[number] >= max(LEAST_SHARE * n, 1.0)
            ]
            there.sort(key=lambda each: (-int(counts[each[1]]), each[0]))
            if name not in self._slicing.named and len(there) > MAX_AUTOMATIC_GROUPS:
                continue
            if len(there) > 1:
                found[name] = {category: codes == number for category, number in there[:MAX_GROUPS]}
        named = [name for name in dict.fromkeys(self._slicing.named) if name in found]
        others = [name for name in found if name not in named]
        room = min(MAX_SLICES - len(named), self._slicing.n_automatic)
        return {
            group_name(feature, category): found[feature][category]
            for feature in sorted([*named, *others[: max(room, 0)]])
            for category in sorted(found[feature])
        }

    def _codes(self, name: str) -> I32:
        kept = self._features[name]
        assert kept is not None
        found = [np.full(len(each), _NO_GROUP, np.int32) for each in self._pieces]
        for piece, codes in kept.codes:
            found[piece] = codes
        return np.concatenate(found)


def group_name(feature: str, category: str) -> str:
    """`F=V`, as in names of signals: no two groups share one."""
    return slice_signal(feature, category).partition(":")[2]


def feature_of(group: str) -> str:
    """The feature of a group, as it is written in its name."""
    return of_feature(f"feature:{group}")[0]


def _losses(pairs: Pairs, usable: I64, *, are_classes: bool) -> F64:
    """(m,) of each labelled prediction; NaN where one of both is nothing to compare."""
    predicted = pairs.events[pairs.prediction[usable]]
    true = pairs.events[pairs.label[usable]]
    if are_classes:
        found: F64 = (predicted["code"] != true["code"]).astype(np.float64)
        found[(predicted["code"] == NONE) | (true["code"] == NONE)] = np.nan
        return found
    with np.errstate(over="ignore"):
        distances: F64 = np.abs(predicted["number"] - true["number"])
    return np.minimum(distances, MAX_LOSS)


def _sums(losses: F64) -> Sums:
    return Sums(len(losses), float(losses.sum()), float(np.square(losses).sum()))
