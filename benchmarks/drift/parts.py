"""The parts of the judge: what each runs, and the tables and figures that it comes to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from benchmarks import joint
from benchmarks.drift.calibrate import Calibration, calibrate
from benchmarks.drift.contest import DEFAULTS, FOCUS, OURS, Entrant
from benchmarks.drift.delays import Delays, Train, always, delays, train
from benchmarks.drift.episodes import episodes
from benchmarks.drift.labelled import ARL0 as LABELLED_ARL0
from benchmarks.drift.labelled import measure_labelled
from benchmarks.drift.nulls import FalseAlarms, false_alarms
from benchmarks.drift.real import ARL0 as REAL_ARL0
from benchmarks.drift.real import measure
from benchmarks.drift.real_tables import episode_table, labelled_table, real_table
from benchmarks.drift.streams import CHANGES, NULLS
from benchmarks.drift.tables import (
    calibration_table,
    defaults_table,
    delay_table,
    equal_table,
    null_table,
    others_table,
    train_table,
)
from benchmarks.drift.work import Task, Workers
from benchmarks.kit.report import FigureTable, finite

STATED: Final = ((1e7, 100_000_000), (1e5, 20_000_000))
"""ARL0 and updates of the nulls, the long ones first."""
REFERENCES: Final = (20_000, 2_000)
ARL0: Final = 1e6
"""Of delays and trains, and what river's detectors are calibrated to."""
OTHERS_UPDATES: Final = 5_000_000
CALIBRATION_UPDATES: Final = {"adwin": 50_000_000, "page_hinkley": 50_000_000, "kswin": 5_000_000}
"""KSWIN takes 50 times as long, and has few values to choose from."""
SPACINGS: Final = (300, 500, 1_000, 2_000)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run."""

    n_seeds: int
    share: float
    """Of the stated updates."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a part came to."""

    tables: list[FigureTable]
    figures: dict[str, Any]
    not_run: list[str] = field(default_factory=list)


def calibration(workers: Workers, size: Size) -> tuple[Part, list[Entrant]]:
    """River's detectors at the rate that `focus` states, for the parts that follow."""
    tasks = [
        Task(who.name, calibrate, (who, ARL0, int(CALIBRATION_UPDATES[who.detector] * size.share)))
        for who in DEFAULTS
    ]
    found: list[Calibration] = workers.run("calibration", tasks)
    figures = {one.who: {one.parameter: one.value} | _counts(one) for one in found}
    part = Part([calibration_table(ARL0, found)], {"calibration": figures})
    return part, [one.entrant for one in found]


def _counts(one: Calibration) -> dict[str, Any]:
    return {"n_alarms": one.n_alarms, "n_updates": one.n_updates, "wanted": one.wanted}


def nulls(workers: Workers, size: Size, equal: list[Entrant]) -> Part:
    """False alarms where nothing changes."""
    tasks = [
        Task(
            f"{null.name}, focus, ARL0 {arl0:g}, reference {n_reference:,}",
            null_named,
            (null.name, FOCUS, n_reference, arl0, int(n_updates * size.share)),
        )
        for arl0, n_updates in STATED
        for null in NULLS
        for n_reference in REFERENCES
    ]
    stated = [arl0 for arl0, _ in STATED for _ in NULLS for _ in REFERENCES]
    n_others = int(OTHERS_UPDATES * size.share)
    tasks += [
        Task(f"{null.name}, {who.name}", null_named, (null.name, who, 2_000, math.inf, n_others))
        for null in NULLS
        for who in (*DEFAULTS, OURS, *equal)
    ]
    found: list[FalseAlarms] = workers.run("nulls", tasks)
    own, others = found[: len(stated)], found[len(stated) :]
    of = {arl0: [f for at, f in zip(stated, own, strict=True) if at == arl0] for arl0 in stated}
    tables = [*(null_table(arl0, of[arl0]) for arl0 in sorted(of)), others_table(others)]
    figures = {
        "nulls": [{"arl0": arl0} | asdict(each) for arl0, each in zip(stated, own, strict=True)],
        "others": [asdict(each) for each in others],
    }
    return Part(tables, figures)


def null_named(
    name: str, who: Entrant, n_reference: int, arl0: float, n_updates: int
) -> FalseAlarms:
    """By name, since a law is a function and cannot be sent to a process."""
    null = next(one for one in NULLS if one.name == name)
    return false_alarms(null, who, n_reference, arl0, n_updates)


def changes(workers: Workers, size: Size, equal: list[Entrant]) -> Part:
    """Delays, misses and change points."""
    long, short = REFERENCES
    # With KSWIN, which takes longest, the others fill the time of all processors to its end.
    entrants = [*reversed(equal), *reversed(DEFAULTS), OURS, FOCUS]
    wanted = [(who, change, long) for who in entrants for change in CHANGES]
    wanted += [(who, change, short) for who in (FOCUS, DEFAULTS[0]) for change in CHANGES]
    tasks = [
        Task(
            f"{change.name}, {who.name}, reference {n:,}",
            change_named,
            (change.name, who, n, ARL0, size.n_seeds),
        )
        for who, change, n in wanted
    ]
    found: list[Delays] = workers.run("delays", tasks)
    of = {n: [one for one in found if one.n_reference == n] for n in REFERENCES}
    # ADWIN has a table with `focus` alone.
    defaults = [who.name for who in (*DEFAULTS[1:], OURS)]
    calibrated = [who.name for who in equal]
    tables = [
        delay_table(long, ARL0, of[long]),
        delay_table(short, ARL0, of[short]),
        defaults_table(long, ARL0, defaults, of[long]),
        equal_table(long, ARL0, calibrated, of[long]),
    ]
    return Part(tables, {"delays": [finite(asdict(each)) for each in found]})


def change_named(name: str, who: Entrant, n_reference: int, arl0: float, n_seeds: int) -> Delays:
    """By name, likewise."""
    change = next(one for one in CHANGES if one.name == name)
    return delays(change, who, n_reference, arl0, n_seeds)


def trains(workers: Workers, size: Size, equal: list[Entrant]) -> Part:
    """Steps shortly after another."""
    tasks = [
        Task(
            f"{spacing:,} rows apart, {who.name}",
            train,
            (spacing, who, 2_000, ARL0, size.n_seeds),
        )
        for spacing in SPACINGS
        for who in (FOCUS, *DEFAULTS, OURS, *equal)
    ]
    found: list[Train] = workers.run("trains", tasks)
    found += [always(spacing, size.n_seeds) for spacing in SPACINGS]
    found.sort(key=lambda one: one.spacing)
    return Part([train_table(found)], {"trains": [asdict(each) for each in found]})


def together(workers: Workers, size: Size, _: list[Entrant]) -> Part:
    """Changes of correlation alone, and what is said where nothing changes."""
    changed = [(p, *change) for p in joint.WIDTHS for change in joint.CHANGES]
    # The wide ones take longest.
    tasks = [
        Task(
            f"{p} features, {before:g} to {after:g}",
            joint.watched,
            (p, before, after, size.n_seeds),
        )
        for p, before, after in changed[::-1]
    ]
    found: list[list[joint.Found]] = workers.run("changes of correlation", tasks)[::-1]
    n_updates = int(joint.NULL_UPDATES * size.share)
    nulls_of = [(law, p) for law in joint.LAWS for p in joint.WIDTHS]
    tasks_of_nulls = [
        Task(f"{law}, {p} features", joint.false_alarms, (law, p, n_updates)) for law, p in nulls_of
    ]
    quiet: list[list[FalseAlarms]] = workers.run("nulls together", tasks_of_nulls)
    changes_found = [one for of in found for one in of]
    alarms = [one for of in quiet for one in of]
    figures = {
        "together": [finite(asdict(one)) for one in changes_found],
        "together_nulls": [asdict(one) for one in alarms],
    }
    return Part([joint.change_table(changes_found), joint.null_table(alarms)], figures)


def real(workers: Workers, _: Size, equal: list[Entrant]) -> Part:
    """Real streams, and what of the census becomes an alert."""
    others = [(who, math.inf) for who in (*DEFAULTS, OURS, *equal)]
    entrants = [_stating(REAL_ARL0), _stating(ARL0), *others, (None, math.inf)]
    tasks = [Task(_name(who), measure, (who, arl0)) for who, arl0 in entrants]
    measured = workers.run("real streams", tasks)
    entrants = [_stating(LABELLED_ARL0), _stating(ARL0), *others, (None, math.inf)]
    tasks_labelled = [Task(_name(who), measure_labelled, (who, arl0)) for who, arl0 in entrants]
    labelled = workers.run("marked series", tasks_labelled)
    (told, episodes_missing) = workers.run("alerts", [Task("census", episodes, ())])[0]
    reals = [one for of in measured for one in of[0]]
    marked = [one for of in labelled for one in of[0]]
    marked.sort(key=lambda one: one.collection)
    tables = [
        *([real_table(reals)] if reals else []),
        *([episode_table(REAL_ARL0, told)] if told else []),
        *([labelled_table(marked)] if marked else []),
    ]
    figures = {
        "real": [asdict(each) for each in reals],
        "episodes": [asdict(each) for each in told],
        "labelled": [asdict(each) for each in marked],
    }
    missing = [*episodes_missing]
    for lost in (*(of[1] for of in measured), *(of[1] for of in labelled)):
        missing += lost
    return Part(tables, figures, list(dict.fromkeys(missing)))


def _stating(arl0: float) -> tuple[Entrant | None, float]:
    return FOCUS._replace(name=f"focus, ARL0 {arl0:.0e}"), arl0


def _name(who: Entrant | None) -> str:
    return "always" if who is None else who.name


PARTS: Final = {
    "nulls": nulls,
    "delays": changes,
    "trains": trains,
    "together": together,
    "real": real,
}
