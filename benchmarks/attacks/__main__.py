"""What the security lane finds of recorded attacks, what it says of benign traffic, what it costs.

    DRIFTSENTRY_ATTACKS=DIRECTORY DRIFTSENTRY_DATA=DIRECTORY python -m benchmarks.attacks
        [--only attacks|benign|cost|labels|baseline|adaptive|breaks|controls] [--processes N]
        [--quick] [--json]

Attacks: every recorded query stream, a fresh lane and a fresh source for each victim, at 100, 10
and 2 % of the traffic and from 1, 20 and 200 sources; beside published detectors that were
calibrated on the same rows. An alarm counts where half of its evidence, or more, is the attack's.
Benign: many kinds of honest traffic, and the census as the large one. Cost: time and memory of each
detector. Labels: one source of twenty lies. Baseline: a source that pulls it away slowly. Adaptive:
attacks whose steps are longer than the radius. Breaks: honest clients whose data breaks, and
attacks by 200 names that have long been known. Controls: attacks with their answers permuted or in
another order, which show what a detector goes by. What of the goals is met is the last table.

Thresholds are made of benign rows that come earlier and stand nowhere else, and are frozen. But the
streams are development data: the detectors were built while they were seen. What a detector is
worth, other data sets, models and attacks decide, which are not here.

In figures null stands for a query count that is infinite: not found.

Each task is seeded by what it is, so that any number of processes gives the same figures.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.attacks.parts import PARTS, judged, size_of
from benchmarks.attacks.results import Results
from benchmarks.drift.work import Workers
from benchmarks.kit.report import (
    FigureTable,
    n_processors,
    parser,
    publish,
    show,
    without_infinite,
)


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("attacks", __doc__)
    options_parser.add_argument("--only", choices=PARTS, action="append", help="this part")
    options_parser.add_argument(
        "--processes",
        type=_count,
        default=max(1, n_processors() - 1),
        help="run so many things at a time; by default all but one processor are used",
    )
    options = options_parser.parse_args()
    size, not_run = size_of(quick=options.quick)
    results = Results()
    figures: dict[str, Any] = {}
    tables: list[FigureTable] = []
    with Workers(options.processes) as workers:
        for name in options.only or PARTS:
            part = PARTS[name](workers, size, results)
            show(part.tables)
            tables += part.tables
            figures |= part.figures
    last = judged(results)
    show(last.tables)
    tables += last.tables
    figures |= last.figures
    publish("attacks", tables, without_infinite(figures), options, not_run, are_shown=True)


def _count(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


if __name__ == "__main__":
    main()
