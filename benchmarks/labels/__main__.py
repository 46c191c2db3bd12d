"""What waiting for labels costs: bytes, joins a second, what a checkpoint writes, and each event.

    python -m benchmarks.labels [--only waiting|cost|memory|quality] [--pending N] [--polls N]
                                [--quick] [--json]

Waiting: N predictions wait, a million unless asked otherwise. Cost: an event of a stream through a
worker, with the join and without. Memory: bytes that are kept of a model version. Quality: an event
without labels, with the signals of data quality and without.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from benchmarks.kit.report import parser, publish
from benchmarks.labels.cost import cost_table, measure_cost
from benchmarks.labels.memory import measure_memory, memory_table
from benchmarks.labels.quality import measure_quality, quality_table
from benchmarks.labels.waiting import SHARE, measure, waiting_table
from benchmarks.pipeline import as_the_worker_runs

PARTS: Final = ("waiting", "cost", "memory", "quality")


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("labels", __doc__)
    options_parser.add_argument("--only", choices=PARTS, action="append", help="this part")
    options_parser.add_argument("--pending", type=int, default=1_000_000, help="predictions")
    options_parser.add_argument("--polls", type=int, default=100, help="timed, of 1,024 events")
    options = options_parser.parse_args()
    parts = options.only or PARTS
    tables = []
    figures: dict[str, Any] = {}
    with as_the_worker_runs():
        if "waiting" in parts:
            figures |= measure(20_000 if options.quick else options.pending)
            if figures["n_joined"] != figures["n_pending"] // SHARE:
                sys.exit("labels were not joined: the figures say nothing")
            tables.append(waiting_table(figures))
        if "cost" in parts:
            costs = measure_cost(3 if options.quick else options.polls)
            if not costs[0]["n_joined"]:
                sys.exit("labels were not joined: the figures say nothing")
            tables.append(cost_table(costs))
            figures["costs"] = costs
        if "memory" in parts:
            figures["memory"] = measure_memory()
            tables.append(memory_table(figures["memory"]))
        if "quality" in parts:
            figures["quality"] = measure_quality(3 if options.quick else options.polls)
            tables.append(quality_table(figures["quality"]))
    publish("labels", tables, figures, options)


if __name__ == "__main__":
    main()
