"""`driftsentry scan`: drift in a file of predictions, without Kafka and Redis."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.printable import masked
from streams.cli_file import file_options, given_options, say_lines, scan_options
from streams.cli_options import EXIT_FAILED, EXIT_USAGE, fail, finish

if TYPE_CHECKING:
    from streams.scan import Scan


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", metavar="NAME", help="The model's name; default: the file's.")
@file_options
@click.option(
    "--label-delay",
    metavar="ROWS",
    type=click.IntRange(0, 1_000_000),
    default=0,
    help="So many rows after its prediction a label comes; default 0: right after it.",
)
@click.option(
    "--slice",
    "slices",
    metavar="COLUMN",
    multiple=True,
    help="Tell errors apart by the values of this column; repeat it for more, seven at most.",
)
@click.option("--config", metavar="FILE", help="YAML file, of which `detection` counts.")
@click.option("--json", "as_json", is_flag=True, help="One alert record a line, as JSON.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the HTML report goes; default FILE-report.html in the current directory.",
)
@click.option("--no-report", is_flag=True, help="Write none.")
@click.option("--no-tty", is_flag=True, help="Plain lines instead of a progress bar.")
@click.option("--fail-on-alert", is_flag=True, help="Exit code 1 if there is an alert.")
@click.pass_context
def scan(ctx: click.Context, /, file: Path, **options: Any) -> None:
    """Look for drift in FILE: predictions as CSV, NDJSON or Parquet (.gz too).

    The same detection as in a worker, without Kafka and Redis. Columns are guessed by their names;
    the first lines say how, and which option changes it. For a role that no column has, give
    `none`. Alerts go to stdout, all else to stderr. The exit code is 0 with and without alerts, and
    2 where no row could be taken.
    """
    from streams.scan import open_scan, require_unsaid, run_scan
    from streams.scan_columns import ScanError
    from streams.scan_progress import progress
    from streams.scan_story import opening_lines, place_lines, summary_lines

    as_json = options["as_json"]
    report = None if options["no_report"] else options["report"] or Path(f"{file.name}-report.html")
    if report is not None and report.exists() and file.exists() and report.samefile(file):
        raise fail("the report would overwrite FILE: name another place with --report", EXIT_USAGE)

    def on_alert(value: bytes) -> None:
        if as_json:
            click.echo(value.decode())

    # What is read makes no cycles; looking for some takes a tenth of the time.
    gc.disable()
    try:
        wanted = replace(
            scan_options(ctx, options),
            uses_labels=True,
            label_delay=options["label_delay"],
            slices=options["slices"],
        )
        scan, source = open_scan(file, wanted)
        if scan.is_events:
            require_unsaid(file, given_options(ctx, ("model", "model_version")))
        say_lines(opening_lines(scan), err=True)
        with progress(scan.n_rows, tty=not options["no_tty"]) as on_progress:
            run_scan(scan, source, on_progress=on_progress, on_alert=on_alert)
    except ScanError as error:
        raise fail(masked(str(error)), EXIT_USAGE) from None
    finally:
        gc.enable()
    if not as_json:
        say_lines(place_lines(scan))
    say_lines(summary_lines(scan), err=as_json)
    if report is not None:
        _write_report(scan, report)
    if not scan.n_folded:
        raise fail("no row could be taken: all were refused, as said above", EXIT_USAGE)
    if options["fail_on_alert"] and scan.alerts:
        finish(EXIT_FAILED)


def _write_report(scan: Scan, path: Path) -> None:
    try:
        from streams.scan_report import render_scan_report
    except ImportError:
        click.echo(
            "No report: its plots need matplotlib. Install it with "
            "`python -m pip install 'driftsentry[demo]'`, or give --no-report.",
            err=True,
        )
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_scan_report(scan), encoding="utf-8")
    except OSError as error:
        raise fail(
            f"the report cannot be written to {path} ({error.strerror}): choose another place "
            "with --report, or give --no-report"
        ) from None
    click.echo(f"\nReport with plots: {path.resolve()}", err=True)
