"""How true the metrics are, beside scikit-learn; what is expected before labels, beside NannyML.

    DRIFTSENTRY_DATA=DIRECTORY python -m benchmarks.performance
                               [--only delayed|estimate] [--quick] [--json]

Delayed: labels up to 200,000 predictions late, some missing, twice, or with two answers. Estimate:
confidence-based estimation on chunks of the census. Both others run in an environment of their own,
which is made under var/ from hashed wheels. The directory holds the census
(streams/sample/README.md says where it comes from); a quick run takes the sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from benchmarks.kit.report import parser, publish, show
from benchmarks.performance.delayed import delayed
from benchmarks.performance.estimate import estimated
from benchmarks.performance.part import Part

PARTS: Final[dict[str, Callable[..., Part]]] = {"delayed": delayed, "estimate": estimated}


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("performance", __doc__)
    options_parser.add_argument("--only", choices=PARTS, action="append", help="this part")
    options = options_parser.parse_args()
    figures: dict[str, Any] = {}
    done = []
    for name in options.only or PARTS:
        part = PARTS[name](quick=options.quick)
        show(part.tables)
        figures[name] = part.figures
        done.append(part)
    tables = [table for part in done for table in part.tables]
    not_run = [reason for part in done for reason in part.not_run]
    publish("performance", tables, figures, options, not_run, are_shown=True)


if __name__ == "__main__":
    main()
