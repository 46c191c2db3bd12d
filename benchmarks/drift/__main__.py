"""What the drift detectors promise and find: false alarms, delays, change points.

    python -m benchmarks.drift [--only nulls|delays|trains|together|real] [--processes N]
                               [--seeds N] [--updates SHARE] [--quick] [--json]

Nulls: nothing changes, and the alarms of `focus` stand beside the stated number, at ARL0 1e5 and
1e7, with the exact Poisson interval; restarts and working baselines, which a test of their own must
confirm, are part of it. Delays: medians over seeds after 20,000 rows without a change. Trains:
steps of one standard deviation shortly after another. Together: changes of correlation alone. Real:
the streams that DRIFTSENTRY_DATA has, and what of the census becomes an alert. Beside `focus` stand
river's ADWIN, Page-Hinkley and KSWIN at their defaults, which state no rate, and each at the
parameter that errs as often as `focus` states. Every lane has a reference of its own.

Each task is seeded by what it is, so that any number of processes gives the same figures. What each
one came to is said on stderr, and each part's tables are printed as it is finished.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.drift.parts import PARTS, Part, Size, calibration
from benchmarks.drift.work import Workers
from benchmarks.kit.report import n_processors, parser, publish, show


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("drift", __doc__)
    options_parser.add_argument("--seeds", type=_count, default=300, help="of each change")
    options_parser.add_argument(
        "--updates", type=float, default=1.0, help="share of the nulls and of the calibration"
    )
    options_parser.add_argument("--only", choices=PARTS, action="append", help="this part")
    options_parser.add_argument(
        "--processes",
        type=_count,
        default=max(1, n_processors() - 1),
        help="run so many things at a time; by default all but one processor are used",
    )
    options = options_parser.parse_args()
    size = Size(5, 0.01) if options.quick else Size(options.seeds, options.updates)
    done: list[Part] = []
    with Workers(options.processes) as workers:
        first, equal = calibration(workers, size)
        done.append(first)
        show(first.tables)
        for name in options.only or PARTS:
            part = PARTS[name](workers, size, equal)
            done.append(part)
            show(part.tables)
    figures: dict[str, Any] = {}
    for part in done:
        figures |= part.figures
    tables = [table for part in done for table in part.tables]
    not_run = [reason for part in done for reason in part.not_run]
    publish("drift", tables, figures, options, not_run, are_shown=True)


def _count(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


if __name__ == "__main__":
    main()
