"""`driftsentry scan`: drift in a file of predictions, without Kafka and Redis."""

from __future__ import annotations

import codecs
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.cli_options import EXIT_FAILED, EXIT_USAGE, fail, finish, load_configuration

if TYPE_CHECKING:
    from streams.scan import Scan, ScanOptions

_COLUMN = "COLUMN"
_CONTROL = dict.fromkeys((*range(32), *range(127, 160)), "?")


def _names(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Names that are parted by commas, or given by repeating the option."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _one_character(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> str | None:
    if text is not None and (len(text) != 1 or text in '"\r\n'):
        raise click.BadParameter("give one character, such as ';', that is no quote or line end")
    return text


def _known_encoding(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise click.BadParameter(f"{name!r} is not known here; try utf-8 or latin-1") from None
    return name


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--time", metavar=_COLUMN, help="When it happened; `none`: count rows.")
@click.option("--prediction", metavar=_COLUMN, help="What the model said.")
@click.option("--score", metavar=_COLUMN, help="Its score or probability.")
@click.option("--label", metavar=_COLUMN, help="The truth: left out, labels are not used yet.")
@click.option("--event-id", metavar=_COLUMN, help="What names a row.")
@click.option("--model", metavar="NAME", help="The model's name; default: the file's.")
@click.option("--version", "model_version", metavar="NAME", default="1", help="Default 1.")
@click.option("--model-column", metavar=_COLUMN, help="Names the model of each row.")
@click.option("--version-column", metavar=_COLUMN, help="Names the model version of each row.")
@click.option(
    "--features", metavar="A,B,...", multiple=True, callback=_names, help="These columns alone."
)
@click.option(
    "--drop", metavar="A,B,...", multiple=True, callback=_names, help="Not these columns."
)
@click.option(
    "--reference",
    type=click.IntRange(20, 1_000_000),
    help="How many first rows of a model are its normal; default 2000, less in a short file.",
)
@click.option("--sort", is_flag=True, help="Sort by time first; holds the file in memory.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "ndjson", "parquet"]),
    help="Default: what the file looks like.",
)
@click.option(
    "--delimiter",
    callback=_one_character,
    help="Of CSV; default: comma, semicolon, tab or bar.",
)
@click.option(
    "--encoding", default="utf-8", show_default=True, callback=_known_encoding, help="Of CSV."
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
    `none`. Alerts go to stdout, all else to stderr. The exit code is 0 with and without alerts.
    """
    from streams.scan import open_scan, run_scan
    from streams.scan_columns import ScanError
    from streams.scan_progress import progress
    from streams.scan_story import opening_lines, place_lines, summary_lines

    as_json = options["as_json"]

    def on_alert(value: bytes) -> None:
        if as_json:
            click.echo(value.decode())

    # What is read makes no cycles; looking for some takes a tenth of the time.
    gc.disable()
    try:
        scan, source = open_scan(file, _scan_options(ctx, options))
        _say(opening_lines(scan), err=True)
        with progress(scan.n_rows, tty=not options["no_tty"]) as on_progress:
            run_scan(scan, source, on_progress=on_progress, on_alert=on_alert)
    except ScanError as error:
        raise fail(str(error).translate(_CONTROL), EXIT_USAGE) from None
    finally:
        gc.enable()
    if not as_json:
        _say(place_lines(scan))
    _say(summary_lines(scan), err=as_json)
    if not options["no_report"]:
        _write_report(scan, options["report"] or Path(f"{file.name}-report.html"))
    if options["fail_on_alert"] and scan.alerts:
        finish(EXIT_FAILED)


def _scan_options(ctx: click.Context, options: dict[str, Any]) -> ScanOptions:
    from streams.scan import ScanOptions
    from streams.scan_columns import ROLES, Wishes

    given = {
        role: options[option.removeprefix("--").replace("-", "_")] for role, option in ROLES.items()
    }
    detection = None
    if options["config"]:
        detection = load_configuration(ctx, {"config": options["config"]}).detection
    return ScanOptions(
        wishes=Wishes(
            {role: name for role, name in given.items() if name is not None},
            options["features"],
            options["drop"],
        ),
        model=options["model"],
        version=options["model_version"],
        n_reference=options["reference"],
        sort=options["sort"],
        format=options["file_format"],
        delimiter=options["delimiter"],
        encoding=options["encoding"],
        detection=detection,
    )


def _say(lines: list[str], *, err: bool = False) -> None:
    """Print lines; names come from a file, and no control character of theirs is printed."""
    for line in lines:
        click.echo(line.translate(_CONTROL), err=err)


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
