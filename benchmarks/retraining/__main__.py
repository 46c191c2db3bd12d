"""Label sources that lie to look like drift: what a model is worth that is trained on it.

    DRIFTSENTRY_DATA=DIRECTORY python -m benchmarks.retraining
        [--only turned|census|elec] [--seeds N] [--processes N] [--quick] [--json]

A model is trained, used, and its labels come from many sources, of which one in five lies from some
moment on. Events go through the workers of both duties, and what they say through the responder, in
memory; nothing is told who lies. The model is then trained anew by `examples/retrain_sklearn.py` on
the naive window, all events since the change began; on what the released request lets `driftsentry
window export` write; and on the naive window without lies. What counts is the accuracy on rows that
nobody has lied about, of the world there is after the change. Where `act` holds a request, a person
approves of its quarantine, and where it is held for broken data, says that they are right, as a
team would that has looked: in no world do data break.

Three worlds: a made one whose boundary turns, the census with other people from the change on, and
elec, in which nothing changes but what is said. The directory holds the census and elec; a quick
run takes the made one alone. All settings are the defaults, but that labels are joined, and that
`quarantine: act` stands beside `ask`. Events are a second apart; each label follows its prediction.
The first lie comes after 6,000 labels of honest sources.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.drift.work import Task, Workers
from benchmarks.kit.report import FigureTable, parser, publish, without_infinite
from benchmarks.retraining.lies import ATTACKS
from benchmarks.retraining.runs import Outcome, run
from benchmarks.retraining.tables import accuracy_table, by_case, gate_table, hold_table, lost
from benchmarks.retraining.worlds import FULL, QUICK, WORLDS, MissingError

N_SEEDS = 10
QUICK_ATTACKS = ATTACKS[:2]


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("retraining", __doc__)
    options_parser.add_argument("--only", choices=WORLDS, action="append", help="this world")
    options_parser.add_argument("--seeds", type=int, help="of each world and attack")
    options_parser.add_argument("--processes", type=int, default=1, help="run so many at a time")
    options = options_parser.parse_args()
    sizes = QUICK if options.quick else FULL
    attacks = QUICK_ATTACKS if options.quick else ATTACKS
    n_seeds = options.seeds or (1 if options.quick else N_SEEDS)
    not_run: list[str] = []
    names: list[str] = []
    for name in options.only or (["turned"] if options.quick else WORLDS):
        try:
            WORLDS[name](sizes, 0)
        except MissingError as error:
            not_run.append(str(error))
        else:
            names.append(name)
    # Attacks of one seed follow on each other: they share the old model.
    asked = [
        (name, attack, seed) for name in names for seed in range(n_seeds) for attack in attacks
    ]
    with Workers(options.processes) as workers:
        tasks = [
            Task(f"{name} {a.name} {seed}", run, (name, a, seed, sizes)) for name, a, seed in asked
        ]
        done: list[Outcome] = workers.run("retraining", tasks)
    found = [
        outcome
        for name in names
        for attack in attacks
        for (of, by, _), outcome in zip(asked, done, strict=True)
        if (of, by) == (name, attack)
    ]
    tables: list[FigureTable] = []
    if found:
        tables = [accuracy_table(found), gate_table(found), hold_table(found)]
    publish("retraining", tables, without_infinite(figures_of(found)), options, not_run)


def figures_of(outcomes: list[Outcome]) -> dict[str, Any]:
    """Every run, and what the accuracies are less those of unpoisoned retrainings."""
    return {
        "runs": [asdict(each) for each in outcomes],
        "less_unpoisoned": [
            {"world": world, "attack": attack}
            | {who: lost(runs, who)._asdict() for who in ("gate", "naive")}
            for (world, attack), runs in by_case(outcomes).items()
        ],
    }


if __name__ == "__main__":
    main()
