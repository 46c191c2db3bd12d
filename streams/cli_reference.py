"""`driftsentry reference`: make one of chosen events, look at it, set it."""

from __future__ import annotations

import gc
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
from streams.cli_options import (
    EXIT_USAGE,
    audit_options,
    connection_options,
    fail,
    load_configuration,
)

if TYPE_CHECKING:
    from detectors.reference_fit import Fitted
    from schemas.reference import ReferenceDocument
    from streams.reference_source import Wish

_OWN: Final = ("file", "from_topic", "model", "n_events", "since_ms", "until_ms", "out", "as_json")


@click.group()
def reference() -> None:
    """Make, look at and set what a model is compared with."""


@reference.command("fit")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--from-topic", is_flag=True, help="Of what the events topic still has.")
@click.option("--model", metavar="NAME", required=True, help="Of this model.")
@click.option(
    "--events",
    "n_events",
    type=click.IntRange(20, 1_000_000),
    default=1_000_000,
    show_default=True,
    help="Of the latest so many of its events.",
)
@click.option("--since", "since_ms", callback=moment, metavar="TIME", help="From this `ts` on.")
@click.option("--until", "until_ms", callback=moment, metavar="TIME", help="Before this `ts`.")
@click.option(
    "--out", type=OUT, metavar="PATH", help="Where it goes; default reference-DIGEST.json here."
)
@as_json_option
@audit_options
@whole_file_options
@click.pass_context
def fit(ctx: click.Context, /, file: Path | None, **options: Any) -> None:
    """Make a reference of chosen events: of FILE, as `scan` reads it, or of the topic.

    What was learned is printed and written to a file. It changes nothing: look at it, then
    `driftsentry reference set`.
    """
    from schemas.reference import BadReferenceError
    from streams.reference_source import Wish

    _require_one_source(ctx, file, from_topic=options["from_topic"])
    wish = Wish(
        options["model"],
        options["model_version"],
        options["n_events"],
        options["since_ms"],
        options["until_ms"],
    )
    try:
        fitted = (
            _of_topic(ctx, options, wish) if file is None else _of_file(ctx, file, options, wish)
        )
    except BadReferenceError as error:
        raise fail(masked(str(error)), EXIT_USAGE) from None
    document = fitted.document
    path: Path = options["out"] or Path(f"reference-{document.digest[:12]}.json")
    write_document(document, path, "reference")
    _print(document, as_json=options["as_json"])
    click.echo(
        f"\nWritten to {path}. If these events are as they should be:\n"
        f"  driftsentry reference set {path}",
        err=True,
    )


@reference.command("show")
@click.argument("what", metavar="FILE|DIGEST")
@click.option("--out", type=OUT, metavar="PATH", help="Write it to a file, too.")
@as_json_option
@audit_options
@click.pass_context
def show(ctx: click.Context, /, what: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Print what a reference holds: that in FILE, or the one with DIGEST that was set.

    The latter is read from the journals of a group of workers, which say where it was set.
    """
    from schemas.reference import DIGEST

    places: list[str] = []
    if Path(what).exists() or not DIGEST.fullmatch(what):
        document = _read(Path(what))
    else:
        document, places = _of_journals(ctx, options, what)
    if out is not None:
        write_document(document, out, "reference")
    _print(document, as_json=as_json)
    say_lines([f"  {place}" for place in places], err=as_json)


@reference.command("set")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", metavar="NAME", help="Of this model; default: the one it was made of.")
@click.option("--version", "version", metavar="V", help="Of this version; default likewise.")
@said_options
@connection_options
@click.pass_context
def set_reference(
    ctx: click.Context, /, file: Path, model: str | None, version: str | None, **options: Any
) -> None:
    """Let workers compare a model version with the reference in FILE.

    It takes effect at each partition's next commit: the version's detectors begin anew, and its
    open alerts are resolved. A version that has sent nothing yet will not learn one.
    """
    document = _read(file)
    set_document(ctx, "reference", document, model, version, options)


def _require_one_source(ctx: click.Context, file: Path | None, *, from_topic: bool) -> None:
    if (file is None) != from_topic:
        raise click.UsageError("say of what: either a FILE or --from-topic")
    if given := given_options(ctx, ("reference",)):
        raise click.UsageError(
            f"{given[0]} is for `scan`: here all events are used, or the latest --events"
        )
    names = [name for name in FILE_PARAMETERS if name != "model_version"]
    if from_topic and (given := given_options(ctx, names)):
        raise click.UsageError(f"{given[0]} says what a file holds: leave it out")
    others = [
        str(each.name)
        for each in ctx.command.params
        if each.name not in (*_OWN, *FILE_PARAMETERS, "config")
    ]
    if file is not None and (given := given_options(ctx, others)):
        raise click.UsageError(f"{given[0]} says where Kafka is, and a FILE needs none")


def _of_file(ctx: click.Context, file: Path, options: dict[str, Any], wish: Wish) -> Fitted:
    from streams.reference_source import fit_file
    from streams.scan_columns import ScanError

    # What is read makes no cycles; looking for some takes a tenth of the time.
    gc.disable()
    try:
        return fit_file(
            file, scan_options(ctx, options), wish, say=lambda lines: say_lines(lines, err=True)
        )
    except ScanError as error:
        raise fail(masked(str(error)), EXIT_USAGE) from None
    finally:
        gc.enable()


def _of_topic(ctx: click.Context, options: dict[str, Any], wish: Wish) -> Fitted:
    from streams.reference_source import fit_topic

    def say(text: str) -> None:
        click.echo(f"driftsentry: {masked(text)}", err=True)

    own = {n: v for n, v in options.items() if n not in (*_OWN, *FILE_PARAMETERS)}
    configuration = load_configuration(ctx, own, "bootstrap_servers")
    settings, detection = configuration.settings, configuration.detection
    with brokers(settings):
        return fit_topic(settings, detection, wish, say)


def _of_journals(
    ctx: click.Context, options: dict[str, Any], digest: str
) -> tuple[ReferenceDocument, list[str]]:
    from streams.reference_source import find_reference

    settings = load_configuration(ctx, options, "bootstrap_servers").settings
    with brokers(settings):
        found = find_reference(settings, digest)
    if found is None:
        raise fail(
            f"no journal of group {settings.group} has a reference {digest}: it was not set there",
            EXIT_USAGE,
        )
    return found.document, found.places


def _read(file: Path) -> ReferenceDocument:
    from schemas.reference import BadReferenceError, parse_reference

    return read_document(
        file, parse_reference, BadReferenceError, "reference", "driftsentry reference fit"
    )


def _print(document: ReferenceDocument, *, as_json: bool) -> None:
    import orjson

    from schemas.reference import BadReferenceError
    from streams.reference_report import reference_json, reference_lines

    try:
        if as_json:
            click.echo(orjson.dumps(reference_json(document)).decode())
        else:
            say_lines(list(reference_lines(document)))
    except BadReferenceError as error:
        raise fail(masked(str(error)), EXIT_USAGE) from None
