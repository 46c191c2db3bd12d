"""`driftsentry notify`: tell receivers of incidents and retraining requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from streams.cli_options import EXIT_USAGE, fail, finish, load_configuration, notify_options


@click.command()
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Is there, and written anew every few seconds, while every receiver is at work.",
)
@notify_options
@click.pass_context
def notify(ctx: click.Context, /, ready_file: Path | None, **options: Any) -> None:
    """Tell receivers of incidents and retraining requests, until SIGTERM.

    Who they are stands in the configuration file, under `worker.notify`. Several may run; they
    share the work of webhooks.
    """
    configuration = load_configuration(ctx, options, "bootstrap_servers")
    settings = configuration.settings
    if not settings.notify.webhooks and not settings.notify.alertmanagers:
        raise fail(
            "nobody is to be told: name a receiver under worker.notify.webhooks or "
            "worker.notify.alertmanagers in the configuration file",
            EXIT_USAGE,
        )
    from streams.notify_service import run_notify

    finish(run_notify(settings, ready_file))
