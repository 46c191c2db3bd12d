"""The command line. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from streams.cli_audit import audit
from streams.cli_budget import budget
from streams.cli_commands import acknowledge, mute, plan, withdraw
from streams.cli_config import config
from streams.cli_events import alerts, emit
from streams.cli_incident import incident
from streams.cli_notify import notify
from streams.cli_options import (
    EXIT_USAGE,
    Sentences,
    connection_options,
    fail,
    finish,
    load_configuration,
    require_answer,
    say_warnings,
    worker_options,
)
from streams.cli_reference import reference
from streams.cli_report import report as report_command
from streams.cli_respond import respond
from streams.cli_rollback import rollback
from streams.cli_scan import scan
from streams.cli_security import security
from streams.cli_source import source
from streams.cli_verify import verify
from streams.cli_window import window
from streams.early_stop import end_if_asked_early


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"driftsentry {version('driftsentry')}")
    except PackageNotFoundError:
        click.echo("driftsentry (a source tree that is not installed)")
    ctx.exit()


@click.group(
    cls=Sentences,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 a person has to "
    "decide, 130 interrupted.",
)
@click.option("--debug", is_flag=True, help="Show where in the program an error comes from.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version.",
)
def main(debug: bool) -> None:
    """Watch models in production: prediction events from Kafka to drift alerts."""


main.add_command(scan)
main.add_command(config)
main.add_command(emit)
main.add_command(alerts)
main.add_command(verify)
main.add_command(audit)
main.add_command(report_command)
main.add_command(respond)
main.add_command(notify)
main.add_command(budget)
main.add_command(reference)
main.add_command(security)
main.add_command(source)
main.add_command(mute)
main.add_command(plan)
main.add_command(acknowledge)
main.add_command(withdraw)
main.add_command(window)
main.add_command(incident)
main.add_command(rollback)


@main.command()
@worker_options
@click.pass_context
def worker(ctx: click.Context, /, **options: Any) -> None:
    """Fold events, publish alerts, until SIGTERM.

    Exit code 3: the worker stopped because a person has to decide, as its last message says.
    """
    ctx.call_on_close(end_if_asked_early())
    configuration = load_configuration(ctx, options, "bootstrap_servers", "redis_url")
    import structlog

    log = structlog.get_logger("driftsentry")
    for warning in configuration.warnings:
        log.warning(warning)
    settings = configuration.settings
    if settings.duty == "all":
        from streams.both_duties import run_both

        finish(run_both(sys.argv[1:]))
        return
    from streams.config import of_duty
    from streams.launch import run

    finish(run(of_duty(settings, settings.duty), configuration.detection))


@main.group()
def topics() -> None:
    """Make the topics."""


@topics.command("create")
@connection_options
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    help="Of the events topic; default 12. As many workers can share it. Hard to change later.",
)
@click.option(
    "--replication-factor",
    type=click.IntRange(1, 100),
    help="Copies of each partition; default 3, or as many as there are brokers.",
)
@click.pass_context
def topics_create(
    ctx: click.Context,
    /,
    partitions: int | None,
    replication_factor: int | None,
    **options: Any,
) -> None:
    """Make the topics that are missing, with the settings they need.

    A topic that exists is left as it is; how it differs is said.
    """
    configuration = load_configuration(ctx, options, "bootstrap_servers")
    from confluent_kafka.admin import AdminClient

    from streams.kafka_clients import admin_config, open_client
    from streams.kafka_properties import read_properties
    from streams.topics import create_topics, names_in

    settings = configuration.settings
    require_answer(settings)
    properties = admin_config(settings.bootstrap_servers, read_properties(settings.kafka))
    outcomes = create_topics(
        open_client(AdminClient, properties, "admin client"),
        names_in(settings),
        n_partitions=None if partitions is None else {"events": partitions},
        n_replicas=replication_factor,
    )
    for outcome in outcomes:
        click.echo(f"{outcome.state:<10} {outcome.name}  {outcome.detail}".rstrip())


@main.command()
@worker_options
@click.pass_context
def doctor(ctx: click.Context, /, **options: Any) -> None:
    """Check brokers, topics, rights, Redis and the responder, and say what to do."""
    configuration = load_configuration(ctx, options, "bootstrap_servers", "redis_url")
    say_warnings(configuration)
    from streams.doctor import run_doctor

    finish(run_doctor(configuration.settings, configuration.detection))


@main.command()
@click.option("--no-tty", is_flag=True, help="Plain lines instead of a live view.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("demo-report.html"),
    show_default=True,
    help="Where the HTML report goes.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(5, 3_600),
    default=50.0,
    show_default=True,
    help="How long the traffic lasts.",
)
def demo(no_tty: bool, report: Path, seconds: float) -> None:
    """Run the whole system on this machine for a minute and show what drifts."""
    from streams.demo import run_demo

    finish(run_demo(seconds=seconds, tty=not no_tty, report=report))


@main.command("demo-producer")
@connection_options
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=500.0,
    show_default=True,
    help="Events a second.",
)
@click.option("--events", "n_events", type=click.IntRange(1), help="Stop after so many.")
@click.pass_context
def demo_producer(ctx: click.Context, /, rate: float, n_events: int | None, **options: Any) -> None:
    """Send the demo's traffic to a cluster until SIGTERM."""
    configuration = load_configuration(ctx, options, "bootstrap_servers")
    from streams.kafka_properties import read_properties
    from streams.traffic_producer import run_demo_producer

    settings = configuration.settings
    properties = read_properties(settings.kafka)
    n_delivered = run_demo_producer(
        settings.bootstrap_servers,
        settings.topics.events,
        rate=rate,
        n_events=n_events,
        properties={name: str(value) for name, value in properties.items()},
    )
    if n_delivered == 0:
        raise fail("no event was delivered", EXIT_USAGE)
