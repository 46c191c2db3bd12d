"""`driftsentry emit` and `driftsentry alerts`: events in, alerts out, from a terminal."""

from __future__ import annotations

from typing import IO, Any

import click

from streams.cli_options import (
    EXIT_USAGE,
    connection_options,
    fail,
    load_configuration,
    require_answer,
)

_MAX_SHOWN = 20


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--fill", is_flag=True, help="Add `type`, `event_id` and `ts` (now) to events without them."
)
@connection_options
@click.pass_context
def emit(ctx: click.Context, /, file: IO[bytes], fill: bool, **options: Any) -> None:
    """Send events, one JSON object a line, from FILE or stdin.

    Each is keyed by its model, as the worker wants it. A line that is no event is named on stderr
    and left out; the exit code is then 1.
    """
    configuration = load_configuration(ctx, options, "bootstrap_servers")
    from streams.emit import BadLine, emit_lines
    from streams.kafka_properties import read_properties

    settings = configuration.settings
    require_answer(settings)
    topic = settings.topics.events

    def say(bad: BadLine) -> None:
        click.echo(f"driftsentry: line {bad.number} {bad.why}", err=True)

    result = emit_lines(
        file,
        settings.bootstrap_servers,
        topic,
        read_properties(settings.kafka),
        fill=fill,
        on_bad=say,
    )
    click.echo(f"{result.n_delivered} events sent to {topic}", err=True)
    if result.n_bad:
        raise fail(f"{result.n_bad} lines are no events and were left out")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One CloudEvents JSON object a line.")
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest alert.")
@click.option("--no-follow", is_flag=True, help="End at the newest alert.")
@click.option(
    "--liveness",
    is_flag=True,
    help="Not alerts, but what is said by the clock: silence and volume, of the liveness topic.",
)
@click.option(
    "--anomalies",
    is_flag=True,
    help="Not alerts, but suspected attacks: OCSF findings, of the anomalies topic.",
)
@connection_options
@click.pass_context
def alerts(
    ctx: click.Context,
    /,
    as_json: bool,
    from_beginning: bool,
    no_follow: bool,
    liveness: bool,
    anomalies: bool,
    **options: Any,
) -> None:
    """Print alerts as they come, each as a sentence; committed ones only."""
    if liveness and anomalies:
        raise fail("either --liveness or --anomalies: they are two topics", EXIT_USAGE)
    configuration = load_configuration(ctx, options, "bootstrap_servers")
    import orjson

    from streams.alert_reader import AlertsError, as_cloudevent, as_sentence, read_alerts
    from streams.kafka_properties import read_properties

    settings = configuration.settings
    require_answer(settings)
    topics = settings.topics
    messages = read_alerts(
        settings.bootstrap_servers,
        topics.liveness if liveness else topics.anomalies if anomalies else topics.alerts,
        read_properties(settings.kafka),
        from_beginning=from_beginning or no_follow,
        follow=not no_follow,
    )
    for message in messages:
        try:
            event = as_cloudevent(message)
        except AlertsError as error:
            click.echo(f"driftsentry: {error}", err=True)
            continue
        click.echo(orjson.dumps(event).decode() if as_json else as_sentence(event))
