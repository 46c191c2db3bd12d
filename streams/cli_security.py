"""`driftsentry security`: by what a model's clients are judged; make it, look at it, set it."""

from __future__ import annotations

import gc
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from schemas.printable import masked
from streams.cli_commands import moment, said_options
from streams.cli_documents import (
    OUT,
    as_json_option,
    brokers,
    read_document,
    set_document,
    write_document,
)
from streams.cli_file import (
    FILE_PARAMETERS,
    given_options,
    say_lines,
    scan_options,
    whole_file_options,
)
from streams.cli_options import EXIT_USAGE, connection_options, fail, load_configuration

if TYPE_CHECKING:
    from schemas.calibration import CalibrationDocument

_OWN: Final = (
    *("file", "kinds", "from_topic", "ranges", "model", "source", "n_rows", "since_ms"),
    *("until_ms", "out", "as_json"),
)
_RANGE: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,18})-([0-9]{1,18})")


def _kinds(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """KIND=FILE, as often as it is given."""
    found: dict[str, Path] = {}
    for value in values:
        kind, equals, path = value.partition("=")
        if not (kind and equals and path) or kind in found:
            raise click.BadParameter("write it as KIND=FILE, each kind once")
        found[kind] = Path(path)
    return found


@click.group()
def security() -> None:
    """Make, look at and set what a model's clients are judged by."""


def _ranges(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[int, tuple[int, int]]:
    """PARTITION:FIRST-LAST, as often as it is given."""
    found: dict[int, tuple[int, int]] = {}
    for value in values:
        match = _RANGE.fullmatch(value)
        partition, first, last = map(int, match.groups()) if match else (-1, 0, 0)
        if match is None or first > last or partition in found:
            raise click.BadParameter(
                "write it as PARTITION:FIRST-LAST, the first no later than the last, each "
                "partition once"
            )
        found[partition] = first, last
    return found


@security.command("calibrate")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--from-topic", is_flag=True, help="Of what the events topic still has.")
@click.option(
    "--offsets",
    "ranges",
    metavar="PARTITION:FIRST-LAST",
    multiple=True,
    callback=_ranges,
    help="Of the topic only these, both included; may be repeated.",
)
@click.option("--model", metavar="NAME", required=True, help="Of this model.")
@click.option(
    "--kind",
    "kinds",
    metavar="KIND=FILE",
    multiple=True,
    callback=_kinds,
    help="Rows of this kind of client, as `security.kinds` names it; may be repeated.",
)
@click.option("--source", metavar="COLUMN", help="Who sent a row; events of our own say it.")
@click.option(
    "--events",
    "n_rows",
    type=click.IntRange(200, 100_000),
    default=100_000,
    show_default=True,
    help="Of the latest so many events of each kind.",
)
@click.option("--since", "since_ms", callback=moment, metavar="TIME", help="From this `ts` on.")
@click.option("--until", "until_ms", callback=moment, metavar="TIME", help="Before this `ts`.")
@click.option(
    "--out", type=OUT, metavar="PATH", help="Where it goes; default calibration-DIGEST.json here."
)
@as_json_option
@connection_options
@whole_file_options
@click.pass_context
def calibrate(
    ctx: click.Context, /, file: Path | None, kinds: dict[str, Path], **options: Any
) -> None:
    """Make a calibration of benign traffic that people have reviewed: of FILE, or of the topic.

    FILE is read as `scan` reads it, and has clients of no kind; what a client of the topic is, the
    config says. What is made is printed and written to a file. It changes nothing: look at it, then
    `driftsentry security set`.
    """
    _require_one_source(ctx, is_of_files=file is not None or bool(kinds), options=options)
    files = {**({} if file is None else {"": file}), **kinds}
    document = _calibrated(ctx, files, options)
    path: Path = options["out"] or Path(f"calibration-{document.digest[:12]}.json")
    write_document(document, path, "calibration")
    _print(document, as_json=options["as_json"])
    click.echo(
        f"\nWritten to {path}. If this traffic is benign:\n  driftsentry security set {path}",
        err=True,
    )


@security.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@as_json_option
def show(file: Path, *, as_json: bool) -> None:
    """Print what the calibration in FILE holds."""
    _print(_read(file), as_json=as_json)


@security.command("set")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", metavar="NAME", help="Of this model; default: the one it was made of.")
@click.option("--version", "version", metavar="V", help="Of this version; default likewise.")
@said_options
@connection_options
@click.pass_context
def set_calibration(
    ctx: click.Context, /, file: Path, model: str | None, version: str | None, **options: Any
) -> None:
    """Let workers of the security duty judge a model version's clients by the calibration in FILE.

    It takes effect at each partition's next commit: the version's detectors and sources begin anew.
    A version that has sent nothing yet will not learn from its first events.
    """
    from detectors.security.calibration_document import calibration_of
    from schemas.calibration import BadCalibrationError

    document = _read(file)
    try:
        calibration_of(document)
    except BadCalibrationError as error:
        raise fail(masked(f"{file}: {error}"), EXIT_USAGE) from None
    set_document(ctx, "calibration", document, model, version, options)


def _require_one_source(ctx: click.Context, *, is_of_files: bool, options: dict[str, Any]) -> None:
    from_topic: bool = options["from_topic"]
    if is_of_files == from_topic:
        raise click.UsageError(
            "say of what: either a FILE, --kind KIND=FILE, or both; or --from-topic"
        )
    if given := given_options(ctx, ("reference",)):
        raise click.UsageError(
            f"{given[0]} is for `scan`: here all events are used, or the latest --events"
        )
    names = ["source", *(name for name in FILE_PARAMETERS if name != "model_version")]
    if from_topic and (given := given_options(ctx, names)):
        raise click.UsageError(f"{given[0]} says what a file holds: leave it out")
    others = [
        str(each.name)
        for each in ctx.command.params
        if each.name not in (*_OWN, *FILE_PARAMETERS, "config")
    ]
    if not from_topic and (given := given_options(ctx, [*others, "ranges"])):
        raise click.UsageError(f"{given[0]} says where in Kafka to look, and a FILE needs none")


def _calibrated(
    ctx: click.Context, files: dict[str, Path], options: dict[str, Any]
) -> CalibrationDocument:
    from detectors.security.calibration_fit import Choice
    from schemas.calibration import BadCalibrationError
    from schemas.source_hash import SourceKey
    from streams.calibration_source import calibrate_files, calibrate_topic
    from streams.credentials import source_key
    from streams.scan_columns import ScanError

    from_topic: bool = options["from_topic"]
    own = {n: v for n, v in options.items() if n not in (*_OWN, *FILE_PARAMETERS)}
    configuration = load_configuration(ctx, own, *(["bootstrap_servers"] if from_topic else []))
    key = source_key(configuration.settings)
    if key is None:
        click.echo(
            "driftsentry: no source key is configured: all clients are one here, as they are for "
            "a worker without one (`worker.source_key`)",
            err=True,
        )
    known = configuration.detection.security.kinds
    for kind in files:
        if kind and kind not in known:
            click.echo(
                f"driftsentry: `detection.security.kinds` of the config has no {masked(kind)}: "
                "nobody is of that kind",
                err=True,
            )
    wish = Choice(
        options["model"],
        options["model_version"],
        options["n_rows"],
        options["since_ms"],
        options["until_ms"],
    )
    # What is read makes no cycles; looking for some takes a tenth of the time.
    gc.disable()
    try:
        if from_topic:
            with brokers(configuration.settings):
                return calibrate_topic(
                    configuration.settings,
                    configuration.detection,
                    wish,
                    None if key is None else SourceKey(key),
                    options["ranges"],
                    say=lambda lines: say_lines(lines, err=True),
                )
        return calibrate_files(
            files,
            replace(scan_options(ctx, options), detection=configuration.detection),
            wish,
            None if key is None else SourceKey(key),
            say=lambda lines: say_lines(lines, err=True),
        )
    except (ScanError, BadCalibrationError) as error:
        raise fail(masked(str(error)), EXIT_USAGE) from None
    finally:
        gc.enable()


def _read(file: Path) -> CalibrationDocument:
    from schemas.calibration import BadCalibrationError, parse_calibration

    return read_document(
        file,
        parse_calibration,
        BadCalibrationError,
        "calibration",
        "driftsentry security calibrate",
    )


def _print(document: CalibrationDocument, *, as_json: bool) -> None:
    import orjson

    from schemas.calibration import BadCalibrationError
    from streams.calibration_report import calibration_json, calibration_lines

    try:
        if as_json:
            click.echo(orjson.dumps(calibration_json(document)).decode())
        else:
            say_lines(list(calibration_lines(document)))
    except BadCalibrationError as error:
        raise fail(masked(str(error)), EXIT_USAGE) from None
