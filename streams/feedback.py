"""Whether labels seem to depend on predictions: a loop in which a model teaches itself. Pure.

Two signs, and no proof. Predictions of one region get labels much more often than the others: whom
a bank refuses never shows whether they would have paid. And labels agree with a new version much
more than with the last one in one region alone, or always: whoever labels may copy what they are
shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from schemas.feedback import FeedbackWarning
from streams.difference import Interval, share_difference, shared_level
from streams.prediction_regions import Region

LEVEL: Final = 0.99
"""Of all intervals of one kind in a window together."""
LEAST_EFFECT: Final = 0.1
"""The whole interval must lie beyond it."""
EVERYWHERE: Final = "all"
"""The region of all predictions."""
LEAST_ROWS: Final = 50
"""On each side; where there are fewer nothing is asked."""


def feedback_warnings(new: Sequence[Region], old: Sequence[Region] = ()) -> list[FeedbackWarning]:
    """What the regions of a version's predictions say, and those of the last version."""
    return [*selective_labels(new), *labels_that_follow(new, old)]


def selective_labels(regions: Iterable[Region]) -> list[FeedbackWarning]:
    """Regions whose share of predictions with labels is another than elsewhere."""
    found: list[tuple[Region, tuple[int, int], tuple[int, int]]] = []
    for _, alike in groupby(regions, key=lambda each: each.kind):
        found += _asked(list(alike))
    level = shared_level(LEVEL, len(found))
    warnings = []
    for region, own, others in found:
        interval = share_difference(own, others, level)
        if interval.low > LEAST_EFFECT or interval.high < -LEAST_EFFECT:
            share, other = own[0] / own[1], others[0] / others[1]
            warnings.append(
                FeedbackWarning(
                    kind="selective_labels",
                    region=region.name,
                    share=share,
                    other=other,
                    low=interval.low,
                    high=interval.high,
                    detail=f"{share:.0%} of the predictions with {region.name} have labels, and "
                    f"{other:.0%} of the others: what is learned of labels is learned of where the "
                    "model lets them come",
                )
            )
    return warnings


def labels_that_follow(new: Sequence[Region], old: Sequence[Region]) -> list[FeedbackWarning]:
    """The one class in which labels agree much more with the new version, and in no other.

    Or all classes, where not one label disagrees with it.
    """
    before = {each.name: each for each in old if each.n_agree is not None}
    asked = [
        (each, before[each.name])
        for each in new
        if each.n_agree is not None
        and each.name in before
        and min(each.n_labelled, before[each.name].n_labelled) >= LEAST_ROWS
    ]
    # With one class alone nobody can say that it is in no other.
    if len(asked) < 2:
        return []
    level = shared_level(LEVEL, len(asked) + 1)
    if all(each.n_agree == each.n_labelled for each, _ in asked):
        return _that_always_agree([each for each, _ in asked], [last for _, last in asked], level)
    intervals = [_agreement(each, last, level) for each, last in asked]
    rose = [place for place, each in enumerate(intervals) if each.low > 0.0]
    if len(rose) != 1 or intervals[rose[0]].low <= LEAST_EFFECT:
        return []
    region, last = asked[rose[0]]
    interval = intervals[rose[0]]
    share, other = _agree(region)[0] / region.n_labelled, _agree(last)[0] / last.n_labelled
    return [
        FeedbackWarning(
            kind="labels_follow_predictions",
            region=region.name,
            share=share,
            other=other,
            low=interval.low,
            high=interval.high,
            detail=f"where {region.name} is predicted, {share:.0%} of the labels agree with the "
            f"new version and {other:.0%} did with the last one, and for no other class it is so: "
            "look whether labels are made of what the model says",
        )
    ]


def _that_always_agree(
    new: Sequence[Region], old: Sequence[Region], level: float
) -> list[FeedbackWarning]:
    n, last = sum(each.n_labelled for each in new), sum(each.n_labelled for each in old)
    n_agreed = sum(_agree(each)[0] for each in old)
    interval = share_difference((n, n), (n_agreed, last), level)
    if interval.low <= LEAST_EFFECT:
        return []
    return [
        FeedbackWarning(
            kind="labels_follow_predictions",
            region=EVERYWHERE,
            share=1.0,
            other=n_agreed / last,
            low=interval.low,
            high=interval.high,
            detail=f"all of {n:,} labels agree with the new version, and {n_agreed / last:.0%} did "
            "with the last one: look whether labels are made of what the model says",
        )
    ]


def _asked(alike: Sequence[Region]) -> Iterator[tuple[Region, tuple[int, int], tuple[int, int]]]:
    """Each region with labelled and all, in it and elsewhere; of two the one with more labels."""
    n, n_labelled = sum(each.n for each in alike), sum(each.n_labelled for each in alike)
    asked = alike
    if len(alike) == 2:
        asked = [max(alike, key=lambda each: each.n_labelled / each.n)]
    for each in asked:
        others = n_labelled - each.n_labelled, n - each.n
        if min(each.n, others[1]) >= LEAST_ROWS:
            yield each, (each.n_labelled, each.n), others


def _agreement(new: Region, old: Region, level: float) -> Interval:
    return share_difference(_agree(new), _agree(old), level)


def _agree(region: Region) -> tuple[int, int]:
    assert region.n_agree is not None
    return region.n_agree, region.n_labelled
