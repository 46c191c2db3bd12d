"""Runs the benchmarks and writes their tables into the documentation: `python -m tools.figures`.

A page says between which comments which table of which command stands:

    <!-- figures: python -m benchmarks.scale, models -->
    <!-- figures: end -->

Every command that a page names is run, with `--json`, one after the other; with names
(`python -m tools.figures scale`) only those benchmarks. What they said is kept in var/figures;
`--kept` writes it into the pages again and runs nothing. Do it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tools.docs_tables import table

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = (
    ROOT / "README.md",
    ROOT / "docs" / "performance.md",
    ROOT / "docs" / "detectors.md",
    ROOT / "docs" / "data-quality.md",
    ROOT / "docs" / "labels.md",
    ROOT / "docs" / "label-signals.md",
    ROOT / "docs" / "performance-metrics.md",
    ROOT / "docs" / "attacks.md",
    ROOT / "docs" / "retraining.md",
    ROOT / "docs" / "incidents.md",
)
KEPT: Final = ROOT / "var" / "figures"
_PLACE: Final = re.compile(
    r"<!-- figures: (?P<command>python -m benchmarks\.(?P<benchmark>\w+)[^,\n]*), "
    r"(?P<table>\w+) -->\n.*?<!-- figures: end -->",
    re.DOTALL,
)

Said = Mapping[str, Mapping[str, Any]]
"""What each command said: the JSON object of its last line, and when."""


class Place(NamedTuple):
    """Where a table stands in a page."""

    command: str
    benchmark: str
    table: str


class FiguresError(ValueError):
    """A page or a benchmark does not fit the other; the message names both."""


def places(text: str) -> Iterator[Place]:
    """The places of a page, in order."""
    for found in _PLACE.finditer(text):
        yield Place(found["command"], found["benchmark"], found["table"])


def filled(text: str, said: Said) -> str:
    """The page with the tables of these commands; those of others stay. Raises `FiguresError`."""

    def replaced(found: re.Match[str]) -> str:
        document = said.get(found["command"])
        if document is None:
            return found[0]
        first = found[0].split("\n", maxsplit=1)[0]
        written = markdown(document, found["table"])
        return f"{first}\n\n{written} `{found['command']}`\n\n<!-- figures: end -->"

    return _PLACE.sub(replaced, text)


def markdown(document: Mapping[str, Any], name: str) -> str:
    """One table of what a benchmark said, and below it what, where and when it was measured."""
    tables = {one["name"]: one for one in document["tables"]}
    if name not in tables:
        raise FiguresError(f"benchmarks.{document['benchmark']} has no table {name!r}")
    one = tables[name]
    below = (
        f"{one['title'][:1].upper()}{one['title'][1:]}. {document['machine']}, {document['on']}."
    )
    below += "".join(f" Not run: {reason}." for reason in document["not_run"])
    return f"{table(one['columns'], one['rows'])}\n\n{below}"


def measure(command: str) -> dict[str, Any]:
    """Run a benchmark; what it said, kept for another time. Raises `FiguresError`."""
    sys.stderr.write(f"== {command}\n")
    words = [sys.executable, *shlex.split(command)[1:], "--json"]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - a command of our own pages
    sys.stderr.write(done.stdout)
    if done.returncode != 0:
        raise FiguresError(f"{command} ended with {done.returncode}")
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if said["quick"]:
        raise FiguresError(f"{command} is a quick run: its figures say nothing of speed")
    said["on"] = dt.datetime.now(dt.UTC).date().isoformat()
    KEPT.mkdir(parents=True, exist_ok=True)
    _kept(command).write_text(json.dumps(said, indent=1), "utf-8")
    return said


def _kept(command: str) -> Path:
    return KEPT / (
        re.sub(r"[^a-z0-9]+", "-", command.removeprefix("python -m benchmarks.")) + ".json"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.figures")
    parser.add_argument("benchmark", nargs="*", help="only these")
    parser.add_argument("--kept", action="store_true", help="run nothing, write what was kept")
    options = parser.parse_args(arguments)
    wanted = [
        place
        for page in PAGES
        for place in places(page.read_text("utf-8"))
        if not options.benchmark or place.benchmark in options.benchmark
    ]
    said: dict[str, dict[str, Any]] = {}
    for command in dict.fromkeys(place.command for place in wanted):
        if not options.kept:
            said[command] = measure(command)
        elif _kept(command).exists():
            said[command] = json.loads(_kept(command).read_text("utf-8"))
    for page in PAGES:
        page.write_text(filled(page.read_text("utf-8"), said), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
