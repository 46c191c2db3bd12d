"""`driftsentry window`: the clean window of a retraining request, as a file to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from schemas.printable import masked
from streams.cli_options import (
    EXIT_DECISION,
    EXIT_USAGE,
    connection_options,
    fail,
    load_configuration,
    not_written,
    say_warnings,
)

if TYPE_CHECKING:
    from schemas.retraining import RetrainingData
    from streams.config_loader import Configuration
    from streams.window_export import Exported
    from streams.window_files import Writer

_FORMS: Final = ".ndjson or .parquet"


@click.group()
def window() -> None:
    """Export the events that a retraining may use."""


@window.command("export")
@click.argument("typed", metavar="REQUEST_ID")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help=f"The file, {_FORMS}; one that is there is replaced.",
)
@click.option("--held", is_flag=True, help="Even if the request is held: to look at, not to use.")
@connection_options
@click.pass_context
def export(ctx: click.Context, /, typed: str, output: Path, held: bool, **options: Any) -> None:
    """Write one row for each prediction of a request's window that has a label in it.

    REQUEST_ID may be the beginning of one. What is in quarantine is left out. The same request
    gives the same bytes.

    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no use in trying again: the
    request is held or withdrawn, or the topic does not have its events any more.
    """
    from streams.window_files import writer_of

    writer = writer_of(output)
    if writer is None:
        raise click.BadParameter(f"{output.name!r} does not end in {_FORMS}", param_hint="--output")
    configuration = load_configuration(ctx, options, "bootstrap_servers")
    say_warnings(configuration)
    request, exported = _export(configuration, typed, writer, output, is_held_wanted=held)
    facts, place = exported.facts, masked(str(output))
    click.echo(
        f"{exported.n_rows:,} labelled predictions of {masked(request.model_id)} "
        f"{masked(request.model_version)} written to {place}"
    )
    click.echo(
        f"of {facts.n_predictions:,} predictions in the window; {facts.n_quarantined:,} with a "
        "label were left out, in quarantine"
    )


def _export(
    configuration: Configuration,
    typed: str,
    writer: Writer,
    output: Path,
    *,
    is_held_wanted: bool,
) -> tuple[RetrainingData, Exported]:
    """Find the request and write its window; fails with a sentence."""
    from confluent_kafka import KafkaException

    from schemas.source_hash import SourceKey
    from streams.credentials import source_key
    from streams.kafka_clients import ClientConfigError, describe, kafka_error
    from streams.opened import answering_reader_of
    from streams.ports import LogError
    from streams.responder_ports import WindowGoneError
    from streams.window_export import (
        NothingToTrainOnError,
        OtherWindowError,
        RequestError,
        export_window,
        find_request,
    )
    from streams.window_facts import QuarantineKeyError
    from streams.window_files import UnfitError
    from streams.window_reader import Decoder

    settings = configuration.settings
    key = source_key(settings)
    decoder = Decoder(configuration.detection, None if key is None else SourceKey(key))
    try:
        reader = answering_reader_of(settings)
        try:
            request = find_request(reader, settings.topics.retraining, typed)
            _require_usable(request, is_held_wanted=is_held_wanted)
            return request, export_window(reader, request, decoder, writer, output)
        finally:
            reader.close()
    except (OtherWindowError, WindowGoneError) as error:
        raise fail(masked(str(error)), EXIT_DECISION) from None
    except QuarantineKeyError as error:
        raise fail(masked(str(error)), EXIT_USAGE) from None
    except (RequestError, NothingToTrainOnError, UnfitError) as error:
        raise fail(masked(str(error))) from None
    except (LogError, ClientConfigError) as error:
        raise fail(f"the window could not be read: {masked(str(error))}") from error
    except KafkaException as error:
        raise fail(f"the window could not be read: {describe(kafka_error(error))}") from error
    except OSError as error:
        raise not_written(output, error) from None


def _require_usable(request: RetrainingData, *, is_held_wanted: bool) -> None:
    """Fail where nobody should train on the request's window; say so where it is wanted."""
    if request.status == "withdrawn":
        raise fail(f"the request was withdrawn. {masked(request.message)}", EXIT_DECISION)
    if request.status == "held":
        why = "; ".join(masked(each.detail) for each in request.holds)
        if not is_held_wanted:
            raise fail(
                f"the request is held: {why}. Nothing was written; --held exports what it has now, "
                "to look at",
                EXIT_DECISION,
            )
        click.echo(
            f"driftsentry: warning: the request is held, do not train on this: {why}", err=True
        )
