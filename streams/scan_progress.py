"""How far a scan is, on stderr: a bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

_LINE_EVERY_S: Final = 5.0


@contextmanager
def progress(n_rows: int, *, tty: bool) -> Iterator[Callable[[int], None]]:
    """Shows progress inside the block; what it gives takes the number of rows that are done."""
    console = Console(stderr=True)
    if not (tty and console.is_terminal):
        yield _lines(console, n_rows)
        return
    with Progress(
        TextColumn("  scanning"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("scan", total=n_rows)
        yield lambda n_done: bar.update(task, completed=n_done)


def _lines(console: Console, n_rows: int) -> Callable[[int], None]:
    said_s = time.monotonic()

    def show(n_done: int) -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= _LINE_EVERY_S:
            said_s = time.monotonic()
            text = f"  {n_done:,} of {n_rows:,} rows"
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    return show
