"""`driftsentry respond`: run a responder, or rebuild what responders keep."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.cli_options import (
    EXIT_DECISION,
    fail,
    finish,
    load_configuration,
    require_answer,
    respond_options,
)
from streams.early_stop import end_if_asked_early

if TYPE_CHECKING:
    from streams.config_loader import Configuration
    from streams.responder_service import RunOptions


@click.command()
@click.option(
    "--rebuild",
    "is_rebuild",
    is_flag=True,
    help="Read the topics again into an emptied Redis, and end. Stop every responder first.",
)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Is there, and written anew every few seconds, while the responder is ready.",
)
@click.option(
    "--stall-s",
    type=click.FloatRange(10, 86_400),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Without progress for so long, though there is something to read, it starts again.",
)
@click.option(
    "--no-supervisor",
    is_flag=True,
    help="Do not start again after a failure: something else does, such as Kubernetes.",
)
@click.option("--started-by", type=int, hidden=True)
@respond_options
@click.pass_context
def respond(
    ctx: click.Context,
    /,
    is_rebuild: bool,
    ready_file: Path | None,
    stall_s: float,
    no_supervisor: bool,
    started_by: int | None,
    **options: Any,
) -> None:
    """Turn alerts, anomalies and silences into incidents and retraining requests, until SIGTERM.

    Several may run; they share the work. Exit code 3: a person has to decide, as its last message
    says.
    """
    ctx.call_on_close(end_if_asked_early())
    configuration = load_configuration(ctx, options, "bootstrap_servers", "redis_url")
    import structlog

    log = structlog.get_logger("driftsentry")
    for warning in configuration.warnings:
        log.warning(warning)
    if is_rebuild:
        _rebuild(configuration)
        return
    if started_by is None and not no_supervisor:
        from streams.responder_supervisor import supervise

        finish(supervise(sys.argv[1:]))
        return
    from streams.responder_service import RunOptions

    _run(configuration, RunOptions(stall_s, ready_file, started_by))


def _run(configuration: Configuration, options: RunOptions) -> None:
    import asyncio

    import structlog

    from streams.responder_app import StalledError
    from streams.responder_ports import StoreLostError, UnreadableStoreError
    from streams.responder_service import RebuildNeededError, run_responder
    from streams.responder_topics import TopicsUnfitError

    log = structlog.get_logger("driftsentry")
    # Before there are clients, which would log every attempt to connect. It is started again.
    require_answer(configuration.settings)
    try:
        asyncio.run(run_responder(configuration.settings, configuration.detection, options))
    except (RebuildNeededError, TopicsUnfitError, StoreLostError, UnreadableStoreError) as error:
        log.critical("stopped: a person has to decide", reason=str(error))
        finish(EXIT_DECISION)
    except StalledError as error:
        import os

        # A thread of it may hang: nothing else ends it.
        log.critical("stopped", reason=str(error))
        os._exit(1)


def _rebuild(configuration: Configuration) -> None:
    import asyncio

    from confluent_kafka import KafkaException

    from streams.kafka_clients import ClientConfigError, describe, kafka_error
    from streams.ports import LogError
    from streams.responder_ports import IncidentStoreError
    from streams.responder_rebuild import Rebuilt, RespondersRunningError, rebuild
    from streams.responder_service import Responder
    from streams.responder_topics import TopicsUnfitError

    async def run() -> Rebuilt:
        responder = Responder(configuration.settings, configuration.detection)
        try:
            await responder.check_topics()
            return await rebuild(responder)
        finally:
            await responder.close()

    require_answer(configuration.settings)
    try:
        rebuilt = asyncio.run(run())
    except (RespondersRunningError, TopicsUnfitError) as error:
        raise fail(str(error), EXIT_DECISION) from None
    except KafkaException as error:
        raise fail(f"nothing could be rebuilt: {describe(kafka_error(error))}") from error
    except (IncidentStoreError, LogError, ClientConfigError) as error:
        raise fail(f"the rebuild did not end, run it again: {error}") from error
    click.echo(
        f"{rebuilt.n_records:,} records read, {rebuilt.n_refused:,} of them unreadable: "
        f"{rebuilt.n_evidence:,} alerts, anomalies and silences of {rebuilt.n_models:,} models"
    )
