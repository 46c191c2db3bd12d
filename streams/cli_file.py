"""What the commands that read a file of predictions share: its options, and how lines are said."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from schemas.printable import masked
from streams.cli_options import Command, Option, load_configuration, with_options

if TYPE_CHECKING:
    from streams.scan import ScanOptions

_COLUMN: Final = "COLUMN"


def _names(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Names that are parted by commas, or given by repeating the option."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _one_character(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> str | None:
    if text is not None and (len(text) != 1 or not text.isascii() or text in '"\r\n'):
        raise click.BadParameter(
            "give one ASCII character, such as ';', that is no quote or line end"
        )
    return text


def _known_encoding(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    try:
        codecs.lookup(name)
        "".encode(name)  # a codec of bytes, such as base64, is known and has no text
    except LookupError:
        raise click.BadParameter(f"{name!r} is not known here; try utf-8 or latin-1") from None
    return name


_COLUMNS: Final[tuple[Option[Any], ...]] = (
    click.option("--time", metavar=_COLUMN, help="When it happened; `none`: count rows."),
    click.option("--prediction", metavar=_COLUMN, help="What the model said."),
    click.option("--score", metavar=_COLUMN, help="Its score or probability."),
    click.option("--label", metavar=_COLUMN, help="The truth, to compare with."),
    click.option("--event-id", metavar=_COLUMN, help="What names a row."),
    click.option("--version", "model_version", metavar="NAME", default="1", help="Default 1."),
    click.option("--model-column", metavar=_COLUMN, help="Names the model of each row."),
    click.option("--version-column", metavar=_COLUMN, help="Names the model version of each row."),
    click.option(
        "--features",
        metavar="A,B,...",
        multiple=True,
        callback=_names,
        help="These columns alone.",
    ),
    click.option(
        "--drop", metavar="A,B,...", multiple=True, callback=_names, help="Not these columns."
    ),
)
_FORM: Final[tuple[Option[Any], ...]] = (
    click.option("--sort", is_flag=True, help="Sort by time first; holds the file in memory."),
    click.option(
        "--format",
        "file_format",
        type=click.Choice(["csv", "ndjson", "parquet"]),
        help="Default: what the file looks like.",
    ),
    click.option(
        "--delimiter",
        callback=_one_character,
        help="Of CSV; default: comma, semicolon, tab or bar.",
    ),
    click.option(
        "--encoding", default="utf-8", show_default=True, callback=_known_encoding, help="Of CSV."
    ),
)
FILE_PARAMETERS: Final = (
    *("time", "prediction", "score", "label", "event_id", "model_version", "model_column"),
    *("version_column", "features", "drop", "reference", "sort", "file_format", "delimiter"),
    "encoding",
)
"""The names under which a command gets these options."""


def file_options(command: Command) -> Command:
    """The options that say what a file holds, but for the model's name and the configuration."""
    return with_options((*_COLUMNS, _reference(is_hidden=False), *_FORM), command)


def whole_file_options(command: Command) -> Command:
    """The same where all rows are the reference: `--reference` is known, to be refused in words."""
    return with_options((*_COLUMNS, _reference(is_hidden=True), *_FORM), command)


def _reference(*, is_hidden: bool) -> Option[Any]:
    return click.option(
        "--reference",
        type=click.IntRange(20, 1_000_000),
        hidden=is_hidden,
        help="How many first rows of a model are its normal; default 2000, less in a short file.",
    )


def scan_options(ctx: click.Context, options: Mapping[str, Any]) -> ScanOptions:
    """What these options, with `model` and `config`, want. Raises `ConfigError`."""
    from streams.scan import ScanOptions
    from streams.scan_columns import ROLES, Wishes

    # Not every command asks for who sent a row.
    given = {
        role: options.get(option.removeprefix("--").replace("-", "_"))
        for role, option in ROLES.items()
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


def given_options(ctx: click.Context, names: Sequence[str]) -> list[str]:
    """Which of these parameters stand on the command line, as they are written there."""
    written = {each.name: each.opts[0] for each in ctx.command.params}
    return [
        written[name]
        for name in names
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]


def say_lines(lines: list[str], *, err: bool = False) -> None:
    """Print lines; names come from a file, and no control character of theirs is printed."""
    for line in lines:
        # It may repeat names from a file.
        click.echo(masked(line), err=err)
