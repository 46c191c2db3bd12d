"""What labels show: a rare error that doubles, a real concept drift, an accuracy that decays.

    DRIFTSENTRY_DATA=DIRECTORY python -m benchmarks.concept [--only rare|census|decay] [--seeds N]
                                       [--updates SHARE] [--quick] [--json]

Rare: an error rate of 1 % becomes 2 %; `focus` stands beside river's DDM, EDDM, HDDM_A, HDDM_W,
FHDDM, ADWIN and Page-Hinkley. Census: a real model's errors through the whole fold, with labels at
once and late; the estimate that needs no labels beside the truth; errors by group. Decay: accuracy
falls in a million labels by 0.04, without a step. The directory holds the census
(streams/sample/README.md says where it comes from); a quick run takes the sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from benchmarks.concept.census import census
from benchmarks.concept.decay import MOVE, NULL_ROWS, decay
from benchmarks.concept.rare import rare
from benchmarks.kit.report import parser, publish, show
from benchmarks.performance.part import Part


class Size(NamedTuple):
    """How much is run."""

    seeds: int | None
    """Of each part; None: what it has by itself."""
    share: float
    """Of the labels in which nothing changes."""
    quick: bool

    def n_seeds(self, by_itself: int) -> int:
        """Of a part that has so many by itself."""
        return 5 if self.quick else self.seeds or by_itself

    def n_updates(self, by_itself: int) -> int:
        """Likewise."""
        return int(by_itself * (0.01 if self.quick else self.share))


PARTS: Final[dict[str, Callable[[Size], Part]]] = {
    "rare": lambda size: rare(n_seeds=size.n_seeds(300), n_updates=size.n_updates(100_000_000)),
    "census": lambda size: census(quick=size.quick),
    "decay": lambda size: decay(
        n_seeds=size.n_seeds(50),
        n_rows=20_000 if size.quick else MOVE.n_rows,
        n_null_rows=size.n_updates(NULL_ROWS),
    ),
}


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("concept", __doc__)
    options_parser.add_argument("--only", choices=PARTS, action="append", help="this part")
    options_parser.add_argument("--seeds", type=int, help="of each part")
    options_parser.add_argument(
        "--updates", type=float, default=1.0, help="share of the labels in which nothing changes"
    )
    options = options_parser.parse_args()
    size = Size(options.seeds, options.updates, options.quick)
    figures: dict[str, Any] = {}
    done = []
    for name in options.only or PARTS:
        part = PARTS[name](size)
        show(part.tables)
        figures[name] = part.figures
        done.append(part)
    tables = [table for part in done for table in part.tables]
    not_run = [reason for part in done for reason in part.not_run]
    publish("concept", tables, figures, options, not_run, are_shown=True)


if __name__ == "__main__":
    main()
