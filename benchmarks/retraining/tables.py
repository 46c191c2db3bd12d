"""What the runs come to: accuracies, and what the gate did with the requests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Final, NamedTuple

from scipy import stats  # type: ignore[import-untyped]  # it ships no types

from benchmarks.kit.report import FigureTable
from benchmarks.retraining.runs import Outcome, Trained
from benchmarks.retraining.worlds import WORDS

LEVEL: Final = 0.95
GOAL: Final = 0.01
"""So much accuracy may the gate lose of what an unpoisoned retraining comes to."""
_Key = tuple[str, str]


class Interval(NamedTuple):
    """A mean over seeds, and its interval by Student's t."""

    mean: float
    half: float
    """NaN of a single run."""

    def text(self, *, signed: bool = False) -> str:
        """As tables show it, in points of accuracy."""
        shown = f"{100 * self.mean:+.1f}" if signed else f"{100 * self.mean:.1f}"
        return shown if math.isnan(self.half) else f"{shown} ± {100 * self.half:.1f}"


def interval(values: Sequence[float]) -> Interval:
    """Of values that are independent, one a seed."""
    n = len(values)
    if n < 2:
        return Interval(mean(values), math.nan)
    t = float(stats.t.ppf((1 + LEVEL) / 2, n - 1))
    return Interval(mean(values), t * stdev(values) / math.sqrt(n))


def by_case(outcomes: Sequence[Outcome]) -> Mapping[_Key, list[Outcome]]:
    """The runs of each world and attack, in the order in which they come."""
    found: dict[_Key, list[Outcome]] = {}
    for each in outcomes:
        found.setdefault((each.world, each.attack), []).append(each)
    return found


def lost(runs: Sequence[Outcome], who: str) -> Interval:
    """How much more accurate this is than an unpoisoned retraining of the same run."""
    return interval([each.accuracy(who) - each.accuracy("unpoisoned") for each in runs])


def accuracy_table(outcomes: Sequence[Outcome]) -> FigureTable:
    """Accuracies on clean test rows; where nothing was trained that of the old model."""
    rows = []
    for (world, attack), runs in by_case(outcomes).items():
        own = {
            who: interval([each.accuracy(who) for each in runs]).text()
            for who in ("unpoisoned", "gate", "naive")
        }
        rows.append(
            (
                f"{WORDS[world]}: {attack}",
                interval([each.old for each in runs]).text(),
                *own.values(),
                lost(runs, "gate").text(signed=True),
                lost(runs, "naive").text(signed=True),
                "yes" if lost(runs, "gate").mean >= -GOAL else "NO",
            )
        )
    n = max(len(runs) for runs in by_case(outcomes).values())
    title = (
        f"accuracy on clean test rows, in points: means over {n} seeds with {LEVEL:.0%} intervals, "
        "of the model that is in force at the end, which is the old one where nothing was "
        "released, even after a person had decided; the goal is that the gate is within "
        f"{100 * GOAL:.0f} point of the unpoisoned retraining"
    )
    columns = (
        *("world and attack", "old model", "unpoisoned", "gate", "naive"),
        *("gate less unpoisoned", "naive less unpoisoned", "goal met"),
    )
    return FigureTable("accuracy", title, columns, rows)


def gate_table(outcomes: Sequence[Outcome]) -> FigureTable:
    """What became of the requests, and of the lies."""
    rows = []
    for (world, attack), runs in by_case(outcomes).items():
        n_liars = sum(each.n_liars for each in runs)
        rows.append(
            (
                f"{WORDS[world]}: {attack}",
                f"{sum(each.naive is not None for each in runs)} of {len(runs)}",
                f"{sum(each.status == 'released' for each in runs)}",
                f"{sum(each.asked == 'released' for each in runs)}",
                f"{sum(each.approved == 'released' for each in runs)}",
                f"{sum(each.decided == 'released' for each in runs)}",
                f"{sum(each.n_liars_left_out for each in runs)} of {n_liars}" if n_liars else "-",
                f"{sum(each.n_honest_left_out for each in runs)}",
                _share_of_lies([each.naive for each in runs]),
                _share_of_lies([each.gate for each in runs]),
            )
        )
    title = (
        "what the gate did: runs in which an alert asks for a retraining; of these released at the "
        "end where named sources may be left out without asking (`act`), where a person is asked "
        "(`ask`), after that person has approved, and after they have said of a data fault that "
        "the data are right; sources left out of what was released or is held with `act`; and the "
        "share of lies among the labels that were trained on"
    )
    columns = (
        *("world and attack", "asked for", "act", "ask", "approved", "data are right"),
        *("liars left out", "honest left out", "lies, naive", "lies, gate"),
    )
    return FigureTable("gate", title, columns, rows)


def hold_table(outcomes: Sequence[Outcome]) -> FigureTable:
    """Why requests are held at the end of a log, and what incidents are said to be."""
    rows = []
    for (world, attack), runs in by_case(outcomes).items():
        rows.append(
            (
                f"{WORDS[world]}: {attack}",
                _counted([each.reason for each in runs]),
                _counted([hold for each in runs for hold in each.holds]),
                _counted([hold for each in runs for hold in each.asked_holds]),
                f"{max(each.n_incidents for each in runs)}",
            )
        )
    title = (
        "what the incidents are said to be, in so many runs; what holds requests at the end; and "
        "how many incidents a run has at most"
    )
    columns = ("world and attack", "reason", "held, act", "held, ask", "most incidents")
    return FigureTable("holds", title, columns, rows)


def _share_of_lies(trained: Sequence[Trained | None]) -> str:
    own = [each for each in trained if each is not None]
    n_rows = sum(each.n_rows for each in own)
    return f"{sum(each.n_lies for each in own) / n_rows:.1%}" if n_rows else "-"


def _counted(words: Sequence[str]) -> str:
    return ", ".join(f"{word.replace('_', ' ')} {words.count(word)}" for word in sorted({*words}))
