"""What a benchmark says: tables for people, and with `--json` one JSON object as the last line.

The object holds the tables as they are shown, so that `python -m tools.figures` can put them into
the documentation, and the figures behind them as numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from rich.console import Console
from rich.table import Table

_WIDTH: Final = 120
"""Of a table that goes to no terminal."""


@dataclass(frozen=True, slots=True)
class FigureTable:
    """One table: the first column names what was measured, the second one is the ratio."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures with null for what is no number in JSON."""
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()
    }


def without_infinite(figures: Any) -> Any:
    """The same lists and objects with null for what is no number in JSON, at any depth."""
    if isinstance(figures, Mapping):
        return {k: without_infinite(v) for k, v in figures.items()}
    if isinstance(figures, list | tuple):
        return [without_infinite(v) for v in figures]
    return None if isinstance(figures, float) and not math.isfinite(figures) else figures


class ReportOptions(Protocol):
    """What every benchmark's command line says of its report."""

    json: bool
    quick: bool


def parser(module: str, doc: str) -> argparse.ArgumentParser:
    """A command line with `--json` and `--quick`; the first sentence of `doc` describes it."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}", description=doc.split("\n", maxsplit=1)[0]
    )
    made.add_argument("--json", action="store_true", help="print one JSON object as last line")
    made.add_argument(
        "--quick", action="store_true", help="a small run: shows that it works, not how fast"
    )
    return made


def n_processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> str:
    """Where the figures come from, without anything that names the machine."""
    n_cores = n_processors()
    return f"{platform.machine()}, {n_cores} cores, Python {platform.python_version()}"


def show(tables: Sequence[FigureTable]) -> None:
    """Print tables, at once."""
    console = _console()
    for table in tables:
        shown = Table(title=table.title)
        for number, column in enumerate(table.columns):
            shown.add_column(column, justify="right" if number else "left", no_wrap=number == 0)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    sys.stdout.flush()


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDTH)


def publish(
    benchmark: str,
    tables: Sequence[FigureTable],
    figures: Mapping[str, Any],
    options: ReportOptions,
    not_run: Sequence[str] = (),
    *,
    are_shown: bool = False,
) -> None:
    """Print the tables, what was not run and why, and where wanted the JSON object.

    Tables that `show` printed as they came, `are_shown`, are not printed again.
    """
    console = _console()
    if not are_shown:
        show(tables)
    for reason in not_run:
        console.print(f"NOT RUN: {reason}", style="bold red", markup=False)
    if options.quick:
        console.print("a quick run: it shows that the benchmark works, not how fast anything is")
    if options.json:
        document = {
            "benchmark": benchmark,
            "machine": machine(),
            "quick": options.quick,
            "not_run": list(not_run),
            "tables": [asdict(table) for table in tables],
            "figures": figures,
        }
        print(json.dumps(document))
