"""Poisoned labels: one source of twenty that turns labels over, and twenty that are honest."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.attacks.calibrated import ready
from benchmarks.attacks.cost import only
from benchmarks.attacks.lane import Lane, config_for
from benchmarks.attacks.traffic import KEY, generator, name_of
from benchmarks.kit.event_table import EventTable

FLIPS: Final = (0.1, 0.2, 0.5)
N_SOURCES: Final = 20
LIAR: Final = 7
N_HONEST_LABELS: Final = 4_000
"""Before the first lie."""
N_LABELS: Final = 30_000
"""Of a run that lies: some 1,300 of the liar's."""
N_NULL: Final = 20_000
DETECTOR: Final = "label_poisoning"
_STEP_MS: Final = 50


@dataclass(frozen=True, slots=True)
class Lies:
    """Runs with one share of flips; 0: nobody lies."""

    flips: float
    n_labels: list[int]
    """Of each run, all labels."""
    labels_to: list[float] = field(default_factory=list)
    """Of the liar's, from the first lie to the first alarm that names it; infinite: none."""
    n_false: int = 0
    """Alarms that name an honest source; where nobody lies, all of them."""


def lies(path: Path | None, name: str, flips: float, n_runs: int) -> Lies:
    """So many runs, each with other orders of the same rows."""
    n_false = 0
    labels_to: list[float] = []
    lengths: list[int] = []
    for run in range(n_runs):
        n = N_LABELS if flips else N_NULL
        to, false = _run(path, name, flips, n, run)
        lengths.append(n)
        n_false += false
        if flips:
            labels_to.append(to)
    return Lies(flips, lengths, labels_to, n_false)


def _run(path: Path | None, name: str, flips: float, n: int, run: int) -> tuple[float, int]:
    own = ready(path, name, with_sensors=False)
    known = own.known
    rng = generator("labels", name, flips, run)
    rounds = -(-n // len(known.benign))
    at = np.concatenate([rng.permutation(len(known.benign)) for _ in range(rounds)])[:n]
    rows, truth = known.benign.take(at), known.truth[at]
    by = rng.integers(0, N_SOURCES, n)
    turned = (by == LIAR) & (np.arange(n) >= N_HONEST_LABELS) & (rng.random(n) < flips)
    label = np.where(turned, 1 - truth, truth)
    # Each label follows its prediction at once.
    is_label = np.arange(2 * n) % 2 == 1
    words = KEY.words([name_of(number) for number in range(N_SOURCES)])
    sent = np.repeat(by, 2)
    sent[::2] = rng.integers(0, N_SOURCES, n)
    events = EventTable(
        values=np.repeat(rows.x, 2, axis=0),
        score=np.where(is_label, np.nan, np.repeat(rows.score, 2)),
        answer=np.where(is_label, np.repeat(label, 2), np.repeat(rows.predicted, 2)),
        words=words[sent],
        time_ms=1_700_000_000_000 + _STEP_MS * np.arange(2 * n, dtype=np.int64),
        event_id=np.repeat(np.arange(1, n + 1, dtype=np.uint64), 2),
        is_label=is_label,
    )
    lane = Lane(own.calibration, config_for(detectors=only(DETECTOR), labels=True))
    alarms = lane.run_events(events, np.arange(N_SOURCES), 0, 2 * n)
    said = [alarm for alarm in alarms if alarm.detector == DETECTOR]
    begun = 2 * N_HONEST_LABELS
    right = [a for a in said if flips and a.sources == (LIAR,) and a.row >= begun]
    n_false = sum(not flips or a.row < begun or bool({*a.sources} - {LIAR}) for a in said)
    if not right:
        return math.inf, n_false
    lied = np.count_nonzero(by[N_HONEST_LABELS : right[0].row // 2 + 1] == LIAR)
    return float(lied), n_false
