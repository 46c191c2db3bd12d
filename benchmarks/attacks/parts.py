"""The parts of a run: what each computes, on so many processes, and the tables it comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.attacks.adaptive import ATTACKS as ADAPTIVE_ATTACKS
from benchmarks.attacks.adaptive import FLOORS, Adapted, adapted
from benchmarks.attacks.agreement import Stolen, stolen
from benchmarks.attacks.breaks import BREAKS, CENSUS, MAX_FEATURES, SAMPLED, Broken, broken
from benchmarks.attacks.calibrated import known_as, switched_off
from benchmarks.attacks.controls import CONTROLS, Controlled, controlled
from benchmarks.attacks.cost import WIDE, WIDTHS, costs, peer_costs
from benchmarks.attacks.duels import SETTINGS, Duel, Setting, duel
from benchmarks.attacks.frog import SHARES as FROG_SHARES
from benchmarks.attacks.frog import Boiled, boiled
from benchmarks.attacks.goals import goal_table, goals
from benchmarks.attacks.mixes import MIXES
from benchmarks.attacks.patient import BROKEN as PATIENT_BREAK
from benchmarks.attacks.patient import NO_BREAK, Patient, patient
from benchmarks.attacks.patient import SHARES as PATIENT_SHARES
from benchmarks.attacks.poisoned import FLIPS, Lies, lies
from benchmarks.attacks.quiet import Quiet, census, has_census, quiet
from benchmarks.attacks.recordings import (
    IN_POOL,
    NAMES,
    PROBING,
    SYNTHETIC,
    NoRecordingsError,
    folder,
)
from benchmarks.attacks.results import Results
from benchmarks.attacks.tables import (
    adaptive_table,
    attack_table,
    benign_table,
    boiled_table,
    break_table,
    control_table,
    cost_table,
    detector_table,
    label_table,
    off_table,
    patient_table,
    peer_table,
    stolen_table,
    theft_tables,
)
from benchmarks.attacks.thefts import SHARES as MIXED_SHARES
from benchmarks.attacks.thefts import Mixed, Ranked, mixed, ranked
from benchmarks.attacks.together import together_table
from benchmarks.drift.work import Task, Workers
from benchmarks.kit.report import FigureTable


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run."""

    path: Path | None
    """Of the recordings; None: the data set that the benchmark makes."""
    names: Sequence[str]
    settings: Sequence[Setting]
    n_benign: int
    n_rounds: int
    """Of independent rows, which are the most of what can be shown."""
    n_label_runs: int
    n_null_runs: int
    n_frog_events: int
    n_frog_runs: int
    n_cost_events: int
    n_broken: int
    """Events of a lane in which data breaks."""
    widths: Sequence[int]
    with_census: bool

    @property
    def first(self) -> str:
        """The data set whose benign rows are the most."""
        return self.names[0]

    def attacks(self, name: str) -> list[str]:
        """Those of one data set."""
        return list(known_as(self.path, name).attacks)


def size_of(*, quick: bool) -> tuple[Size, list[str]]:
    """What can be run here, and what cannot."""
    if quick:
        size = Size(
            None, ("made",), SETTINGS[:4:3], 2_000, 1, 1, 1, 6_000, 1, 1_000, 4_000, (6,), False
        )
        return size, []
    not_run = []
    if not has_census():
        not_run.append("benign traffic of the census: DRIFTSENTRY_DATA does not have it")
    try:
        path: Path | None = folder()
        names: Sequence[str] = NAMES
    except NoRecordingsError as error:
        not_run.append(f"the recorded attacks: {error}; what is shown is a made data set's")
        path, names = None, ("made",)
    size = Size(
        path, names, SETTINGS, 40_000, 3, 10, 10, 40_000, 3, 20_000, 10_000, WIDTHS, has_census()
    )
    return size, not_run


@dataclass(frozen=True, slots=True)
class Part:
    """What a part came to."""

    tables: list[FigureTable]
    figures: dict[str, Any] = field(default_factory=dict)


def attacks(workers: Workers, size: Size, results: Results) -> Part:
    """Every attack in every setting, beside the baselines."""
    # The longest first, so that no process waits for the last one.
    asked = [
        (name, attack, setting)
        for setting in reversed(size.settings)
        for name in size.names
        for attack in size.attacks(name)
    ]
    tasks = [
        Task(f"{name} {attack} {setting.name}", duel, (size.path, name, attack, setting))
        for name, attack, setting in asked
    ]
    found: list[Duel] = workers.run("attacks", tasks)
    results.duels = sorted(found, key=lambda one: (one.data, one.attack))
    off = workers.run("off", [Task(n, switched_off, (size.path, n)) for n in size.names])
    tables = [off_table(off), *(attack_table(one, results.duels) for one in size.settings)]
    thefts: list[Ranked] = workers.run(
        "ranked",
        [
            Task(f"{name} {attack}", ranked, (size.path, name, attack))
            for name in size.names
            for attack in size.attacks(name)
            if attack in IN_POOL or size.path is None
        ],
    )
    clients: list[Mixed] = workers.run(
        "mixed",
        [
            Task(f"{name} {share}", mixed, (size.path, name, "copycat_uniform", share))
            for name in size.names
            for share in MIXED_SHARES
        ],
    )
    copies: list[Stolen] = workers.run(
        "stolen",
        [
            Task(f"{name} {attack}", stolen, (size.path, name, attack))
            for name in size.names
            for attack in size.attacks(name)
            if attack in SYNTHETIC
        ],
    )
    results.ranked, results.mixed, results.stolen = thefts, clients, copies
    tables += [stolen_table(copies, results.duels), *theft_tables(thefts, clients)]
    figures = {
        "off": {name: of for name, _, of in off},
        "duels": [asdict(one) for one in results.duels],
        "ranked": [asdict(one) for one in thefts],
        "mixed": [asdict(one) for one in clients],
        "stolen": [asdict(one) for one in copies],
    }
    return Part(tables, figures)


def benign(workers: Workers, size: Size, results: Results) -> Part:
    """Findings where nobody attacks."""
    tasks: list[Task[Quiet]] = []
    if size.with_census:
        for order, is_provisional in (("shuffled", False), ("in order", False), ("shuffled", True)):
            tasks.append(Task(f"census {order} {is_provisional}", _census, (order, is_provisional)))
    for mix in MIXES:
        if mix.is_timed and size.path is None:
            continue
        n_rounds = size.n_rounds if mix.name == "independent" else 1
        for round_ in range(n_rounds):
            what = (size.path, size.first, mix.name, size.n_benign, round_)
            tasks.append(Task(f"{size.first} {mix.name} {round_}", quiet, what))
    for name in size.names[1:]:
        what = (size.path, name, MIXES[0].name, 10_000, 0)
        tasks.append(Task(f"{name} {MIXES[0].name}", quiet, what))
    results.quiet = _pooled(workers.run("benign", tasks))
    tables = [benign_table(results.quiet), detector_table(results.quiet), peer_table(results.quiet)]
    return Part(tables, {"benign": [asdict(one) for one in results.quiet]})


def _census(order: str, is_provisional: bool) -> Quiet:
    return census(order, is_provisional=is_provisional)


def _pooled(found: Sequence[Quiet]) -> list[Quiet]:
    """Rounds of the same mix as one."""
    of: dict[tuple[str, str], Quiet] = {}
    for one in found:
        key = one.data, one.mix
        if key in of:
            old = of[key]
            n_of = {
                who: old.n_of.get(who, 0) + one.n_of.get(who, 0) for who in {*old.n_of, *one.n_of}
            }
            peers = {
                who: old.n_of_peers.get(who, 0) + one.n_of_peers.get(who, 0)
                for who in {*old.n_of_peers, *one.n_of_peers}
            }
            n_peer = old.n_peer_events + one.n_peer_events
            of[key] = Quiet(*key, old.n_events + one.n_events, n_of, n_peer, peers)
        else:
            of[key] = one
    return list(of.values())


def cost(workers: Workers, size: Size, results: Results) -> Part:
    """Time and memory, one width after the other, so that no two are timed at once."""
    del workers
    results.costs = [
        one for n_features in size.widths for one in costs(n_features, size.n_cost_events)
    ]
    results.peer_costs = peer_costs(
        WIDE if WIDE in size.widths else size.widths[-1], size.n_cost_events
    )
    figures = {
        "costs": [asdict(one) for one in results.costs],
        "peer_costs": [asdict(one) for one in results.peer_costs],
    }
    return Part([cost_table(results.costs)], figures)


def labels(workers: Workers, size: Size, results: Results) -> Part:
    """Labels that are turned over."""
    tasks = [
        Task(f"flips {flips}", lies, (size.path, size.first, flips, size.n_label_runs))
        for flips in FLIPS
    ]
    tasks.append(Task("no flips", lies, (size.path, size.first, 0.0, size.n_null_runs)))
    found: list[Lies] = workers.run("labels", tasks)
    results.lies = found
    return Part([label_table(found)], {"labels": [asdict(one) for one in found]})


def baseline(workers: Workers, size: Size, results: Results) -> Part:
    """Frog-boiling, and an honest drift."""
    tasks = [
        Task(
            f"share {share}",
            boiled,
            (size.path, size.first, share, size.n_frog_events, size.n_frog_runs),
        )
        for share in (*FROG_SHARES, 0.0)
    ]
    found: list[Boiled] = workers.run("baseline", tasks)
    results.boiled = found
    return Part([boiled_table(found)], {"baseline": [asdict(one) for one in found]})


def adaptive(workers: Workers, size: Size, results: Results) -> Part:
    """Attacks with a floor on their steps."""
    tasks = [
        Task(f"{name} {attack} {floor}", adapted, (size.path, name, attack, floor))
        for name in size.names
        for attack in size.attacks(name)
        if attack in ADAPTIVE_ATTACKS
        for floor in FLOORS
    ]
    found: list[Adapted] = workers.run("adaptive", tasks)
    results.adapted = found
    return Part([adaptive_table(found)], {"adaptive": [asdict(one) for one in found]})


def controls(workers: Workers, size: Size, results: Results) -> Part:
    """Attacks without their answers, and without their order."""
    del results
    tasks = [
        Task(f"{name} {attack} {control}", controlled, (size.path, name, attack, control))
        for name in size.names
        for attack in size.attacks(name)
        if attack in (*PROBING, *SYNTHETIC)
        for control in CONTROLS
    ]
    found: list[Controlled] = workers.run("controls", tasks)
    return Part([control_table(found)], {"controls": [asdict(one) for one in found]})


def breaks(workers: Workers, size: Size, results: Results) -> Part:
    """Honest clients whose data breaks, and attackers who could feign it."""
    n = size.n_broken
    asked: list[tuple[str, str, bool, int]] = []
    for data in [*size.names, *((CENSUS, SAMPLED) if size.with_census else ())]:
        for one in BREAKS:
            asked.append((data, one.name, False, MAX_FEATURES))
            # The models are not there: only of the first data set there are answers to go by.
            if data == size.first:
                asked.append((data, one.name, True, MAX_FEATURES // 2))
    tasks = [
        Task(f"{data} {name} {is_answered}", _broken, (size.path, data, name, n, is_answered, d))
        for data, name, is_answered, d in asked
    ]
    found: list[Broken] = workers.run("breaks", tasks)
    results.broken = found
    attacks = [
        Task(f"{name} {attack} {share} {of}", patient, (size.path, name, attack, share, of))
        for name in size.names
        for attack in size.attacks(name)
        if attack in ADAPTIVE_ATTACKS
        for share, of in (*((s, NO_BREAK) for s in PATIENT_SHARES), (0.1, PATIENT_BREAK))
    ]
    patients: list[Patient] = workers.run("patient", attacks)
    figures = {
        "breaks": [asdict(one) for one in found],
        "patient": [asdict(one) for one in patients],
    }
    return Part([break_table(found), patient_table(patients)], figures)


def _broken(
    path: Path | None, data: str, name: str, n: int, is_answered: bool, n_features: int
) -> Broken:
    return broken(path, data, name, n, is_answered=is_answered, n_features=n_features)


def judged(results: Results) -> Part:
    """All methods in one table where all was run, and the goals of which anything was."""
    found = goals(results)
    tables = [goal_table(found)]
    if results.duels and results.quiet and results.costs:
        tables.insert(0, together_table(results))
    return Part(tables, {"goals": [asdict(one) for one in found]})


PARTS: Final[dict[str, Callable[[Workers, Size, Results], Part]]] = {
    "attacks": attacks,
    "benign": benign,
    "cost": cost,
    "labels": labels,
    "baseline": baseline,
    "adaptive": adaptive,
    "breaks": breaks,
    "controls": controls,
}
