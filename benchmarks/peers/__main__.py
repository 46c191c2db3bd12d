"""The same events through driftsentry and through others, in turns within one run.

    python -m benchmarks.peers [--workers 2] [--events N] [--rounds N] [--quick] [--json]

Real Kafka, JSON events of 20 numeric features and some 870 bytes in 4 partitions, ADWIN and
Page-Hinkley on every feature, standardised by the first events of each partition. Each contestant
is a process of its own. Timed is what comes after a warm-up in which the references are learned.
With `--workers 2` also: one worker and two, from the moment at which the events can be read.
"""

from __future__ import annotations

from benchmarks.kit.report import FigureTable, parser, publish
from benchmarks.kit.servers import servers
from benchmarks.peers.contest import Contest, Sizes
from benchmarks.peers.scaling import scaling_table, worker_rates
from benchmarks.peers.standings import compare, detections_table, standings_table


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("peers", __doc__)
    options_parser.add_argument("--events", type=int, default=200_000, help="timed events per run")
    options_parser.add_argument("--rounds", type=int, default=3, help="runs of each contestant")
    options_parser.add_argument(
        "--workers", type=int, choices=(1, 2, 4), default=1, help="also so many workers at once"
    )
    options = options_parser.parse_args()
    sizes = Sizes.quick() if options.quick else Sizes.of(options.events)
    n_rounds = 1 if options.quick else options.rounds
    with servers() as site:
        contest = Contest(site, sizes)
        runs = contest.run(n_rounds)
        compared = compare(runs)
        tables: list[FigureTable] = [
            standings_table(runs, contest.event_bytes, n_rounds),
            detections_table(compared),
        ]
        figures: dict[str, object] = {
            "event_bytes": round(contest.event_bytes),
            "differing": {name: one.differing for name, one in compared.items()},
            "contestants": {name: [run.figures for run in of] for name, of in runs.items()},
        }
        if options.workers > 1:
            rates = worker_rates(site, sizes, options.workers, n_rounds)
            tables.append(scaling_table(rates))
            figures["workers"] = rates
    publish("peers", tables, figures, options, contest.not_run)


if __name__ == "__main__":
    main()
