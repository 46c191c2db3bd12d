"""A new version of a model against the last one: by losses in the same groups. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from schemas.responder_config import RollbackConfig
from schemas.retraining import CleanWindow
from schemas.rollback import (
    Basis,
    GroupComparison,
    Loss,
    VersionComparison,
    VersionVerdict,
)
from streams.difference import Interval, Sums, mean_difference, share_difference, shared_level
from streams.version_facts import VersionTally

MAX_GROUPS_TOLD: Final = 32


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
    groups = [_compared(name, mine, other, loss, level, config) for name, mine, other in pairs]
    groups.sort(key=lambda each: (-each.low, each.group or ""))
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
    verdict: VersionVerdict = "alike"
    if interval.low > config.least_loss:
        verdict = "worse"
    elif interval.high < 0.0:
        verdict = "better"
    return GroupComparison(
        group=group,
        n_old=old.n,
        n_new=new.n,
        old=old.mean,
        new=new.mean,
        difference=interval.difference,
        low=interval.low,
        high=interval.high,
        verdict=verdict,
    )


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
