"""A new version of a model against the last one: by losses in the same groups. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from schemas.responder_config import RollbackConfig
from schemas.retraining import CleanWindow
from schemas.rollback import (
    Basis,
    GroupComparison,
    Loss,
    VersionComparison,
    VersionVerdict,
)
from streams.crossed_cells import KNOWN, BothCells, Pairs, take_part
from streams.difference import (
    NO_SUMS,
    Interval,
    Sums,
    mean_difference,
    mix_difference,
    same_mix_difference,
    share_difference,
    shared_level,
)
from streams.version_facts import VersionTally, feature_of

MAX_GROUPS_TOLD: Final = 32
_EXPLAINS: Final = 20
"""A feature whose mix makes less than this part of a difference explains nothing of it."""


def comparison_of(
    new: VersionTally,
    old: VersionTally,
    windows: Mapping[str, CleanWindow],
    basis: Basis,
    config: RollbackConfig,
) -> VersionComparison | None:
    """All events and every group that has enough labels of both; None where nothing compares.

    `windows` are the offsets of each tally, `new` and `old`.
    """
    loss = new.loss
    if loss is None or loss != old.loss or min(new.n_labels, old.n_labels) < config.min_labels:
        return None
    pairs = [
        (name, here, old.groups[name])
        for name, here in new.groups.items()
        if name in old.groups and min(here.n, old.groups[name].n) >= config.min_group_labels
    ]
    level = shared_level(config.level, 1 + len(pairs))
    whole = _compared(None, new.labelled, old.labelled, loss, level, config)
    mixes = _Mixes(new, old, level)
    whole = mixes.judged_on_all(whole, config)
    groups = [
        mixes.judged(_compared(name, mine, other, loss, level, config), config)
        for name, mine, other in pairs
    ]
    # Those that are worse first: they decide, and what is alike by its mix may lie above them.
    groups.sort(key=lambda each: (each.verdict != "worse", -each.low, each.group or ""))
    return VersionComparison(
        basis=basis,
        loss=loss,
        level=config.level,
        n_compared=1 + len(pairs),
        old_window=_counted(windows["old"], old),
        new_window=_counted(windows["new"], new),
        groups=[whole, *groups[:MAX_GROUPS_TOLD]],
    )


def verdict_on(comparison: VersionComparison) -> VersionVerdict:
    """Of the version as a whole: worse where it is so anywhere."""
    if any(each.verdict == "worse" for each in comparison.groups):
        return "worse"
    return "better" if comparison.groups[0].verdict == "better" else "alike"


def worse_in(comparison: VersionComparison) -> Iterator[GroupComparison]:
    """Where it is worse, all events first."""
    return (each for each in comparison.groups if each.verdict == "worse")


def _compared(
    group: str | None, new: Sums, old: Sums, loss: Loss, level: float, config: RollbackConfig
) -> GroupComparison:
    interval = _interval(new, old, loss, level)
    return GroupComparison(
        group=group,
        n_old=old.n,
        n_new=new.n,
        old=old.mean,
        new=new.mean,
        difference=interval.difference,
        low=interval.low,
        high=interval.high,
        verdict=_verdict(interval, config),
    )


def verdict_at(low: float, high: float, least_loss: float) -> VersionVerdict:
    """What an interval of the difference says by itself."""
    if low > least_loss:
        return "worse"
    return "better" if high < 0.0 else "alike"


def _verdict(interval: Interval, config: RollbackConfig) -> VersionVerdict:
    return verdict_at(interval.low, interval.high, config.least_loss)


class _Mixes:
    """What the mixes of groups that both versions were given make of their losses.

    Versions may have been given other mixes of events: one that was given the hard ones is not
    worse for that. Of what the old version hardly had it cannot be known how hard it is.
    """

    def __init__(self, new: VersionTally, old: VersionTally, level: float) -> None:
        self._level: Final = level
        self._of_shares: Final = new.loss != "absolute_error"
        self._shared: Final = dict(_shared(new, old))
        self._of_one: Final = {
            feature: self._mix(each)
            if sum(here.n for here, _ in each) >= KNOWN * new.labelled.n
            else None
            for feature, each in self._shared.items()
        }
        self._known: Final = [name for name, mix in self._of_one.items() if mix is not None]
        self._cells: Final = BothCells(new.cells, old.cells)
        self._moves: Final = self._cells.moves(self._known)
        self._of_crossings: Final[dict[tuple[str, ...], Sequence[Interval | None]]] = {}

    def judged_on_all(self, whole: GroupComparison, config: RollbackConfig) -> GroupComparison:
        """All events: they have to differ so on the same mix as well."""
        if whole.verdict == "alike":
            return whole
        crossing = self._cells.crossed(_movers(whole, self._moves))
        shared = [*self._shared.values(), *([] if crossing is None else [crossing.pairs])]
        return whole if self._is_so_in(shared, whole, config) else _alike(whole)

    def judged(self, found: GroupComparison, config: RollbackConfig) -> GroupComparison:
        """A group: it has to differ so without what the mix of other features makes, too.

        Their mixes are of all events and not of the group's: they are taken to be the same there.
        What is hard for two features together is not: so the cells within it have to say the same,
        of the features whose mix within it may explain some of the difference.
        """
        if found.verdict == "alike" or found.group is None:
            return found
        own = feature_of(found.group)
        mixes = [mix for feature, mix in self._of_one.items() if feature != own]
        others = [name for name in _movers(found, self._moves) if name != own]
        for mix in [*mixes, *self._crossed(others)]:
            # None: the old version hardly had what more than a few of the new one's are.
            if mix is None or _verdict(_without(found, mix), config) != found.verdict:
                return _alike(found)
        within = own, found.group
        moves = self._cells.moves([name for name in self._known if name != own], within)
        crossing = self._cells.crossed(_movers(found, moves), within)
        if crossing is None or self._is_so_in([crossing.pairs], found, config):
            return found
        return _alike(found)

    def _is_so_in(
        self, shared: Sequence[Pairs], found: GroupComparison, config: RollbackConfig
    ) -> bool:
        """Whether on the same mix of all of these the verdict is the same."""
        return all(
            pairs
            and _verdict(same_mix_difference(pairs, self._level, of_shares=self._of_shares), config)
            == found.verdict
            for pairs in shared
        )

    def _crossed(self, features: Sequence[str]) -> Sequence[Interval | None]:
        """What the crossing of these features makes, if at least two are crossed."""
        key = tuple(features)
        if key not in self._of_crossings:
            crossing = self._cells.crossed(features)
            self._of_crossings[key] = (
                []
                if crossing is None
                else [self._mix(crossing.pairs) if crossing.is_known else None]
            )
        return self._of_crossings[key]

    def _mix(self, pairs: Pairs) -> Interval:
        return mix_difference(pairs, self._level, of_shares=self._of_shares)


def _movers(found: GroupComparison, moves: Mapping[str, float]) -> Sequence[str]:
    """The features whose mix may explain some of a difference, those that may most first.

    What is crossed for nothing makes the cells small, and hides a version that is worse.
    """
    least = abs(found.difference) / _EXPLAINS
    movers = [name for name, move in moves.items() if move >= least]
    return sorted(movers, key=lambda name: (-moves[name], name))


def _alike(found: GroupComparison) -> GroupComparison:
    return found.model_copy(update={"verdict": "alike"})


def _without(found: GroupComparison, mix: Interval) -> Interval:
    left, error = found.difference - mix.difference, mix.high - mix.difference
    return Interval(
        left,
        left - math.hypot(found.difference - found.low, error),
        left + math.hypot(found.high - found.difference, error),
    )


def _shared(new: VersionTally, old: VersionTally) -> Iterator[tuple[str, Pairs]]:
    """By feature the groups that both versions had, if they are half of the new one's events."""
    n = new.labelled.n
    for feature in sorted({feature_of(name) for name in new.groups}):
        within = list(_within(feature, new, old))
        part = take_part(*np.array([[each.n for each in pair] for pair in within], np.float64).T)
        pairs = [pair for pair, takes_part in zip(within, part.tolist(), strict=True) if takes_part]
        if 2 * sum(here.n for here, _ in pairs) >= n:
            yield feature, pairs


def _within(feature: str, new: VersionTally, old: VersionTally) -> Iterator[tuple[Sums, Sums]]:
    """By group of a feature, and of the rest: losses of the new version, and of the old one."""
    known = new.groups.keys() | old.groups.keys()
    names = sorted(name for name in known if feature_of(name) == feature)
    mine, others = ([each.groups.get(name, NO_SUMS) for name in names] for each in (new, old))
    mine.append(new.labelled.less(mine))
    others.append(old.labelled.less(others))
    return zip(mine, others, strict=True)


def _interval(new: Sums, old: Sums, loss: Loss, level: float) -> Interval:
    if loss == "absolute_error":
        return mean_difference(new, old, level)
    return share_difference((round(new.total), new.n), (round(old.total), old.n), level)


def _counted(window: CleanWindow, tally: VersionTally) -> CleanWindow:
    return window.model_copy(
        update={
            "since_ms": tally.since_ms,
            "until_ms": tally.until_ms,
            "n_predictions": tally.n_predictions,
            "n_labels": tally.n_labels,
            "n_quarantined": 0,
        }
    )
