"""A real concept drift: the census through the whole fold with labels, and what needs none.

The error stream changes at two known rows. Beside the fold's signal `error` stands river's ADWIN on
the same zeros and ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from river import drift

from benchmarks.concept.rows import (
    CONCEPT,
    MODEL,
    RECOVERY,
    SLICES,
    LabelledCensus,
    Log,
    sample,
    whole,
)
from benchmarks.kit.report import FigureTable
from benchmarks.performance.estimate import own as estimated
from benchmarks.performance.part import Part
from benchmarks.performance.rows import MISSING, CensusRows
from detectors.fold import Fold
from detectors.performance.intervals import LEVEL
from detectors.performance.outputs import Shape
from schemas.config import DetectionConfig, LabelsConfig, ModelConfig
from schemas.findings import Aspect, Finding, Notice
from streams.census import REAL_CHANGES
from streams.policy import Policy

SHAPE: Final = Shape(n_blocks=10)
CHUNK: Final = SHAPE.n_blocks * SHAPE.block_rows
LATE: Final = 1_000
N_REFERENCE: Final = 2_000
MIN_GROUP_SHARE: Final = 0.03
"""Of the rows of a stretch; smaller groups are not shown."""


class Run(NamedTuple):
    """How the fold is run."""

    delay: int
    arl0: float | None
    """None: what one false alert a week comes to."""
    n_labels: int
    """`labels.reference_labels`."""

    @property
    def name(self) -> str:
        """As tables show it."""
        budget = "one false alert a week" if self.arl0 is None else f"ARL0 {self.arl0:.0e}"
        when = f"labels {self.delay:,} events late" if self.delay else "labels at once"
        return f"error, {budget}, reference {self.n_labels:,}, {when}"


RUNS: Final = (
    Run(0, 1e6, 2_000),
    Run(LATE, 1e6, 2_000),
    Run(0, None, 2_000),
    Run(LATE, None, 2_000),
    Run(0, 1e6, 20_000),
)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One firing on a signal of labels, in rows of the whole data set."""

    signal: str
    row: int
    """The latest prediction when it fired."""
    change_row: int
    """Which row's label the change is said to have begun with."""
    is_rise: bool


class Named(NamedTuple):
    """The worst groups, as an alert names them beside `error`."""

    row: int
    """The latest prediction when the record of the alert was told."""
    signals: list[str]


@dataclass(frozen=True, slots=True)
class Told:
    """What the fold said with labels on."""

    alarms: list[Alarm]
    """In the order of the log."""
    n_joined: int
    named: list[Named]
    """What alerts say of the errors' groups, in the order in which they are told."""


def census(*, quick: bool) -> Part:
    """The whole census; quick: its sample, in one way."""
    data = sample() if quick else whole()
    if data is None:
        return Part([], {}, [f"the census: {MISSING}"])
    runs = RUNS[:1] if quick else RUNS
    told = {run: folded(data, run) for run in runs}
    river = adwin(data)
    first = told[runs[0]]
    chunks = {n: by_chunk(data, n) for n in ((N_REFERENCE,) if quick else (N_REFERENCE, 20_000))}
    groups = by_group(data, first)
    figures: dict[str, Any] = {
        "runs": [run._asdict() | asdict(one) for run, one in told.items()],
        "river_adwin": river,
        "chunks": [
            {"n_reference": n, "chunks": [each._asdict() for each in of]}
            for n, of in chunks.items()
        ],
        "groups": [each._asdict() for each in groups],
    }
    tables = [
        error_table(told, river),
        estimate_table(told),
        stretch_table(chunks),
        chunk_table(chunks[N_REFERENCE]),
        group_table(groups),
    ]
    return Part(tables, figures)


def folded(data: LabelledCensus, run: Run) -> Told:
    """What the fold says of the log."""
    labels = LabelsConfig(enabled=True, reference_labels=run.n_labels)
    config = DetectionConfig(
        reference_events=N_REFERENCE,
        arl0=run.arl0,
        labels=labels,
        model={MODEL: ModelConfig(slices=list(SLICES))},
    )
    fold = Fold(config)
    log = Log(data, run.delay)
    said: list[Finding | Notice] = []
    for poll in log.polls():
        said += fold.process(poll)
    alarms = [
        Alarm(
            each.signal,
            int(data.row[log.clock[each.offset]]),
            int(data.row[log.about[each.change_offset]]),
            each.after > each.before,
        )
        for each in said
        if isinstance(each, Finding)
        and each.aspect != Aspect.SETTLED
        and each.signal.partition(":")[0] in ("error", "error_gap", "expected_error", "calibration")
    ]
    return Told(alarms, fold.counters["n_joined_labels"], named_in_alerts(config, said, data, log))


def named_in_alerts(
    config: DetectionConfig, said: Sequence[Finding | Notice], data: LabelledCensus, log: Log
) -> list[Named]:
    """The groups that records of alerts name, each time that they are others."""
    numbers = count(1)
    policy = Policy(config.policy, "census", config.deployment, 0)
    named: list[Named] = []
    for alert in policy.decide(said, lambda: next(numbers)):
        for moved in alert.signals:
            worst = [group.signal for group in moved.worst_groups]
            if moved.signal == "error" and worst and (not named or named[-1].signals != worst):
                named.append(Named(int(data.row[log.clock[alert.trigger_offset]]), worst))
    return named


def adwin(data: LabelledCensus) -> list[int]:
    """The rows at which river's ADWIN fires on the errors."""
    made: Any = drift.ADWIN  # its methods have no types
    detector = made()
    fired = []
    for row, x in zip(data.row.tolist(), data.error.tolist(), strict=True):
        detector.update(x)
        if detector.drift_detected:
            fired.append(row)
    return fired


def parted(fired: Sequence[int]) -> tuple[int | None, int | None, list[int]]:
    """The delays after the drift and after the recovery, and all other rows at which it fired."""
    drifted = next((row for row in fired if CONCEPT <= row < RECOVERY), None)
    recovered = next((row for row in fired if row >= RECOVERY), None)
    return (
        None if drifted is None else drifted - CONCEPT,
        None if recovered is None else recovered - RECOVERY,
        [row for row in fired if row not in (drifted, recovered)],
    )


def error_table(told: dict[Run, Told], river: list[int]) -> FigureTable:
    """Delays on the error stream, and every other alarm."""
    who = {run.name: fired(one, "error") for run, one in told.items()}
    title = (
        f"rows from the concept drift at {CONCEPT:,} and from the recovery at {RECOVERY:,} to the "
        "first alarm on the errors, and the rows of all other alarms"
    )
    return _delays("errors", title, {**who, "river's ADWIN, labels at once": river})


def estimate_table(told: dict[Run, Told]) -> FigureTable:
    """The same of what scores make one expect, and of what parts from it."""
    who = {
        run.name.replace("error", signal, 1): fired(one, signal)
        for run, one in told.items()
        for signal in ("expected_error", "error_gap", "calibration")
    }
    title = "the same of the errors that scores make one expect, and of what parts from them"
    return _delays("estimates", title, who)


def fired(told: Told, signal: str) -> list[int]:
    """The rows at which something fired on this signal."""
    return [each.row for each in told.alarms if each.signal == signal]


def _delays(name: str, title: str, who: dict[str, list[int]]) -> FigureTable:
    rows = []
    for what, at in who.items():
        drifted, recovered, others = parted(at)
        rows.append(
            (
                what,
                *("-" if late is None else f"{late:,}" for late in (drifted, recovered)),
                f"{len(others)}",
                ", ".join(f"{row:,}" for row in others),
            )
        )
    return FigureTable(name, title, ("detector", "drift", "recovery", "others", "at"), rows)


class Chunk(NamedTuple):
    """What is expected of some rows, and what is true of them."""

    start: int
    """Row of the whole data set."""
    estimate: float
    low: float
    high: float
    accuracy: float

    @property
    def is_held(self) -> bool:
        """Whether the truth lies in the interval."""
        return self.low <= self.accuracy <= self.high


def by_chunk(data: LabelledCensus, n_least: int) -> list[Chunk]:
    """Of each chunk after a reference of `n_least` labels or few more; one begins with the drift.

    In the sample rows of the whole data set are missing within one of them.
    """
    drift_at = data.index_of(CONCEPT)
    first = n_least + (drift_at - n_least) % CHUNK
    n = (len(data) - first) // CHUNK
    end = first + n * CHUNK
    own = data.rows
    cut = CensusRows(*(getattr(own, name)[:end] for name in CensusRows.__slots__))
    found = estimated(cut, first, SHAPE, LEVEL)[0]["accuracy"]
    right = 1.0 - data.error
    return [
        Chunk(
            int(data.row[start]),
            found["value"][k],
            found["low"][k],
            found["high"][k],
            float(right[start : start + CHUNK].mean()),
        )
        for k, start in enumerate(range(first, end, CHUNK))
    ]


STRETCHES: Final = (0, *(change.row for change in REAL_CHANGES), 2**62)


def stretch_table(chunks: dict[int, list[Chunk]]) -> FigureTable:
    """Between the changes: means over the chunks, and in how many the truth was in the interval."""
    rows = []
    for n_reference, of in chunks.items():
        for start, stop in pairwise(STRETCHES):
            # The chunk in which a change lies is of neither side.
            own = [each for each in of if start <= each.start and each.start + CHUNK <= stop]
            if not own:
                continue
            estimate, accuracy = (
                float(np.mean([getattr(each, name) for each in own]))
                for name in ("estimate", "accuracy")
            )
            width = float(np.mean([each.high - each.low for each in own]))
            rows.append(
                (
                    f"reference {n_reference:,}, from row {own[0].start:,}",
                    f"{sum(each.is_held for each in own)} of {len(own)}",
                    f"{estimate:.3f}",
                    f"{accuracy:.3f}",
                    f"{estimate - accuracy:+.3f}",
                    f"{width:.3f}",
                )
            )
    title = (
        f"accuracy that scores make one expect, before labels, of {CHUNK:,} rows at a time: "
        f"chunks whose true accuracy lies in the interval of {LEVEL:.0%}, and means over chunks"
    )
    columns = ("rows", "truth within", "estimate", "accuracy", "difference", "interval's width")
    return FigureTable("stretches", title, columns, rows)


def chunk_table(chunks: Sequence[Chunk]) -> FigureTable:
    """Every chunk."""
    rows = [
        (
            f"{each.start:,}",
            f"{each.estimate:.3f}",
            f"{each.low:.3f} to {each.high:.3f}",
            f"{each.accuracy:.3f}",
            "yes" if each.is_held else "no",
        )
        for each in chunks
    ]
    title = f"the same by chunk of {CHUNK:,} rows, reference {N_REFERENCE:,}"
    columns = ("from row", "estimate", "interval", "accuracy", "truth within")
    return FigureTable("chunks", title, columns, rows)


class Group(NamedTuple):
    """The errors of one group while the concept is another one, and before."""

    signal: str
    of_events: float
    """Its share of the rows."""
    of_errors: float
    """Its share of the wrong predictions."""
    rate: float
    rate_before: float | None
    """In the rows before the first change; None: there are none."""
    late: int | None
    """Rows from the drift to the first alarm on its own errors; None: none before the recovery."""
    named: int | None
    """Rows from the drift to the record of an alert that names it among the worst; None: none."""


def by_group(data: LabelledCensus, told: Told) -> list[Group]:
    """The groups of the slices, those first that have most of the errors beyond their share."""
    start, stop = data.index_of(CONCEPT), data.index_of(RECOVERY)
    error = data.error
    during, early = slice(start, stop), slice(0, data.index_of(REAL_CHANGES[0].row))
    amid = [each for each in told.alarms if CONCEPT <= each.row < RECOVERY]
    named: dict[str, int] = {}
    for one in told.named:
        if CONCEPT <= one.row < RECOVERY:
            named = dict.fromkeys(one.signals, one.row - CONCEPT) | named
    groups = []
    for feature in SLICES:
        codes = data.features[feature]
        for code in np.unique(codes[during]).tolist():
            signal = f"error:{feature}={code}"
            own, before = codes[during] == code, codes[early] == code
            if own.mean() < MIN_GROUP_SHARE and signal not in named:
                continue
            groups.append(
                Group(
                    signal,
                    float(own.mean()),
                    float(error[during][own].sum() / error[during].sum()),
                    float(error[during][own].mean()),
                    float(error[early][before].mean()) if before.any() else None,
                    next((each.row - CONCEPT for each in amid if each.signal == signal), None),
                    named.get(signal),
                )
            )
    return sorted(groups, key=lambda each: each.of_events - each.of_errors)


def group_table(groups: Sequence[Group]) -> FigureTable:
    """Errors by group while the concept is another one."""
    rows = [
        (
            each.signal,
            f"{each.of_errors:.0%}",
            f"{each.of_events:.0%}",
            f"{each.rate:.3f}",
            "" if each.rate_before is None else f"{each.rate_before:.3f}",
            "-" if each.late is None else f"{each.late:,}",
            "-" if each.named is None else f"{each.named:,}",
        )
        for each in groups
    ]
    title = (
        f"errors by group in rows {CONCEPT:,} to {RECOVERY - 1:,}, error rates there and before "
        f"row {REAL_CHANGES[0].row:,}, and the rows from the drift to an alarm on the group itself "
        f"and to the record of the alert on all errors that names it ({RUNS[0].name})"
    )
    columns = ("group", "of errors", "of events", "rate", "before", "delay", "named")
    return FigureTable("groups", title, columns, rows)
