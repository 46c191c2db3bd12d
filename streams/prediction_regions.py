"""Regions of what a model predicts, and how many of the predictions in each have labels. Pure.

Regions are the classes, and quarters by the score; of numbers quarters by what is predicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from schemas.batch import F64, I32, I64, Bool

if TYPE_CHECKING:
    from streams.window_facts import Pairs

MAX_CLASSES: Final = 8
"""Regions of classes: the most frequent ones."""
N_BANDS: Final = 4


class Region(NamedTuple):
    """Predictions of one region; those in quarantine are left out."""

    kind: str
    """`class`, `score` or `prediction`: regions of one kind do not overlap."""
    name: str
    n: int
    n_labelled: int
    n_agree: int | None
    """Of those with labels the ones whose label is what was predicted; None of bands."""


def regions_of(pairs: Pairs, *, are_classes: bool) -> tuple[Region, ...]:
    """The regions of a version's predictions that have any, by kind and name."""
    used = np.flatnonzero(~pairs.is_left_out)
    events = pairs.events[pairs.prediction[used]]
    labelled = pairs.label[used] >= 0
    found: list[Region] = []
    if are_classes:
        found += _classes(pairs, events["class"], labelled, used)
        found += _bands("score", events["score"], labelled)
    else:
        found += _bands("prediction", events["number"], labelled)
    return tuple(found)


def _classes(pairs: Pairs, own: I32, labelled: Bool, used: I64) -> Iterator[Region]:
    code = pairs.events["code"]
    agree = labelled & (code[pairs.prediction[used]] == code[pairs.label[used]])
    counted = [
        (int(np.count_nonzero(own == number)), pairs.classes[number], number)
        for number in np.unique(own[own >= 0]).tolist()
    ]
    # By name, since numbers go by the order of reading.
    most = sorted(counted, key=lambda each: (-each[0], each[1]))[:MAX_CLASSES]
    for n, name, number in sorted(most, key=lambda each: each[1]):
        here = own == number
        yield Region(
            "class",
            f"class={name}",
            n,
            int(np.count_nonzero(here & labelled)),
            int(np.count_nonzero(here & agree)),
        )


def _bands(kind: str, values: F64, labelled: Bool) -> Iterator[Region]:
    there = np.isfinite(values)
    if not there.any():
        return
    cuts = np.quantile(values[there], np.arange(1, N_BANDS) / N_BANDS, method="lower")
    band = np.searchsorted(cuts, values, side="left")
    for number in range(N_BANDS):
        here = there & (band == number)
        n = int(np.count_nonzero(here))
        if n:
            n_labelled = int(np.count_nonzero(here & labelled))
            yield Region(kind, f"{kind}={number + 1}/{N_BANDS}", n, n_labelled, None)
