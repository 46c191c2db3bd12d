"""What waiting for labels costs: bytes, joins a second, what a checkpoint writes, and each event.

python -m benchmarks.labels [--pending N] [--polls N] [--quick] [--json]

N predictions wait, a million unless asked otherwise. Then: an event of a stream through a worker,
with the join and without.
"""

from __future__ import annotations

import sys

from benchmarks.kit.report import parser, publish
from benchmarks.labels.cost import cost_table, measure_cost
from benchmarks.labels.waiting import SHARE, measure, waiting_table
from benchmarks.pipeline import as_the_worker_runs


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("labels", __doc__)
    options_parser.add_argument("--pending", type=int, default=1_000_000, help="predictions")
    options_parser.add_argument("--polls", type=int, default=100, help="timed, of 1,024 events")
    options = options_parser.parse_args()
    with as_the_worker_runs():
        figures = measure(20_000 if options.quick else options.pending)
        costs = measure_cost(3 if options.quick else options.polls)
    if figures["n_joined"] != figures["n_pending"] // SHARE or not costs[0]["n_joined"]:
        sys.exit("labels were not joined: the figures say nothing")
    tables = [waiting_table(figures), cost_table(costs)]
    publish("labels", tables, figures | {"costs": costs}, options)


if __name__ == "__main__":
    main()
