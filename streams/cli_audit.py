"""`driftsentry audit`: write the audit trail, check it, export it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from schemas.printable import masked
from streams.cli_options import (
    EXIT_DECISION,
    EXIT_FAILED,
    EXIT_USAGE,
    connection_options,
    fail,
    finish,
    load_configuration,
    not_written,
    trail_options,
)

if TYPE_CHECKING:
    from schemas.audit_trail import Head

_file_option: Final = click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A trail that `audit export` wrote, instead of the topic.",
)
_head_option: Final = click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="SEQ:HASH|FILE",
    help="A head that was kept elsewhere, or a file of them; may be repeated.",
)


@click.group()
def audit() -> None:
    """Keep a trail of what was decided, and check that it is whole."""


@audit.command("run")
@click.option(
    "--progress-s",
    type=click.FloatRange(1, 86_400),
    default=3_600.0,
    show_default=True,
    metavar="SECONDS",
    help="How often it is noted how far the workers are.",
)
@click.option(
    "--head-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Is written anew with the head of the trail, whenever there is another one.",
)
@click.option(
    "--accept-reset",
    is_flag=True,
    help="Where the topic is not what was left there: begin a new chain, which says so.",
)
@trail_options
@click.pass_context
def run(
    ctx: click.Context,
    /,
    progress_s: float,
    head_file: Path | None,
    accept_reset: bool,
    **options: Any,
) -> None:
    """Write the audit trail, until SIGTERM: one process for a group of workers.

    Exit code 3: the topic is not what was left there, and a person has to decide.
    """
    configuration = load_configuration(ctx, options, "bootstrap_servers")
    import structlog

    from streams.kafka_clients import NoBrokerError
    from streams.ports import CommitError
    from streams.trail_kafka import TrailTopicError
    from streams.trail_service import NoTransactionsError, TrailOptions, run_trail
    from streams.trail_writer import TrailLostError

    log = structlog.get_logger("driftsentry")
    for warning in configuration.warnings:
        log.warning(warning)
    try:
        run_trail(configuration.settings, TrailOptions(progress_s, head_file, accept_reset))
    except TrailLostError as error:
        log.critical("stopped: a person has to decide", reason=str(error))
        finish(EXIT_DECISION)
    except (TrailTopicError, NoTransactionsError) as error:
        log.critical("stopped", reason=str(error))
        finish(EXIT_USAGE)
    except (CommitError, NoBrokerError) as error:
        log.critical("stopped", reason=str(error))
        finish(EXIT_FAILED)


@audit.command("verify")
@_file_option
@_head_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@connection_options
@click.pass_context
def verify_trail(
    ctx: click.Context,
    /,
    path: Path | None,
    heads: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Check that the audit trail is whole, and name the first record that is not.

    That its last records were taken away is seen by a head that was kept elsewhere alone.

    Exit codes: 0 whole, 1 broken, 2 wrong usage or configuration, 3 not all of it could be
    verified.
    """
    kept = kept_heads(heads)
    from streams.trail_check import check_trail, summary_lines

    with trail_of(ctx, path, options) as (name, records):
        found = check_trail(records, kept)
    if as_json:
        click.echo(found.model_dump_json())
    else:
        place = "offset" if path is None else "line"
        for line in summary_lines(found, {"name": name, "place": place}):
            click.echo(masked(line))
    if not found.is_whole:
        finish(EXIT_FAILED if found.n_breaks else EXIT_DECISION)


@audit.command("export")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file, one record a line; one that is there is replaced.",
)
@connection_options
@click.pass_context
def export(ctx: click.Context, /, output: Path, **options: Any) -> None:
    """Write the audit trail to a file, as it is: `audit verify --file` checks it again.

    What somebody else wrote to the topic and is no line has one that says so in its place.

    Exit codes: 0 done, 2 wrong usage or configuration, 3 the trail could not be read, or the file
    not written.
    """
    n_records = n_told = 0
    aside = output.with_name(f".{output.name}.part")
    with trail_of(ctx, None, options) as (name, records):
        try:
            with aside.open("wb") as file:
                for offset, value in records:
                    line = export_line(offset, value)
                    file.write(line + b"\n")
                    n_records += 1
                    n_told += line != value
            aside.replace(output)
        except OSError as error:
            raise not_written(output, error, EXIT_DECISION) from None
        finally:
            with suppress(OSError):
                aside.unlink()
    click.echo(f"{n_records:,} records of {name} written to {masked(str(output))}")
    if n_told:
        click.echo(f"{n_told:,} of them can be none of a trail: a line says so in their place")


def export_line(offset: int, value: bytes | None) -> bytes:
    """A record as a line of an export. What no line can hold is told of, by its place and bytes."""
    if value is not None and b"\n" not in value:
        return value
    text = None if value is None else base64.b64encode(value).decode()
    return json.dumps({"not_a_record_at_offset": offset, "base64": text}).encode()


@contextmanager
def trail_of(
    ctx: click.Context, path: Path | None, options: dict[str, Any]
) -> Iterator[tuple[str, Iterable[tuple[int, bytes | None]]]]:
    """A trail's name and its records, of a file or of the topic; what fails is a sentence."""
    if path is not None:
        yield masked(path.name), file_records(path)
        return
    settings = load_configuration(ctx, options, "bootstrap_servers").settings
    from confluent_kafka import KafkaException

    from streams.kafka_clients import ClientConfigError, describe, kafka_error
    from streams.opened import answering_reader_of
    from streams.ports import LogError
    from streams.trail_kafka import trail_records

    topic = settings.topics.audit
    try:
        reader = answering_reader_of(settings)
        try:
            yield topic, trail_records(reader, topic)
        finally:
            reader.close()
    # Exit code 1 says that it is broken: what hinders the check must not end with it.
    except (LogError, ClientConfigError) as error:
        raise fail(f"could not read the audit trail: {error}", EXIT_DECISION) from error
    except KafkaException as error:
        text = describe(kafka_error(error))
        raise fail(f"could not read the audit trail: {text}", EXIT_DECISION) from error


def file_records(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """The lines of an export, each with its number from 1."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            yield number, line.removesuffix(b"\n")


def kept_heads(given: Sequence[str]) -> list[Head]:
    """The heads that are named, or stand in the files that are. Raises `Failure`."""
    from schemas.audit_trail import AuditRecordError, Head

    heads: list[Head] = []
    for text in given:
        path = Path(text)
        try:
            lines = path.read_text("ascii").splitlines() if path.is_file() else [text]
            heads += [Head.parse(line) for line in lines if line.strip()]
        except (OSError, UnicodeDecodeError, AuditRecordError) as error:
            raise fail(f"--head {masked(text)}: {error}", EXIT_USAGE) from None
    if given and not heads:
        raise fail("--head names no head", EXIT_USAGE)
    return heads
