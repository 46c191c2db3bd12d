"""`driftsentry verify`: who runs a cluster checks that all it says is there exactly once."""

from __future__ import annotations

from typing import Any, Literal

import click

from streams.cli_options import (
    EXIT_DECISION,
    EXIT_USAGE,
    audit_options,
    fail,
    finish,
    load_configuration,
)


@click.command()
@click.option(
    "--duty",
    type=click.Choice(["drift", "security", "all"]),
    default="all",
    show_default=True,
    help="Alerts and dead letters, anomalies, or both as far as somebody does that duty.",
)
@click.option(
    "--from",
    "start",
    type=click.Choice(["earliest", "checkpoint"]),
    default="earliest",
    show_default=True,
    help="Fold from each lineage's start, or from the oldest checkpoint that Redis has.",
)
@click.option(
    "--partition",
    "partitions",
    type=click.IntRange(0),
    multiple=True,
    metavar="N",
    help="Only this partition of the events topic; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@click.option(
    "--examples",
    "n_examples",
    type=click.IntRange(0, 1_000),
    default=5,
    show_default=True,
    help="Differences shown of each kind; all are counted.",
)
@audit_options
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    duty: Literal["drift", "security", "all"],
    start: str,
    partitions: tuple[int, ...],
    as_json: bool,
    n_examples: int,
    **options: Any,
) -> None:
    """Fold the events again and compare with what was published: alerts, dead letters, anomalies.

    It reads Kafka and changes nothing; workers may go on. The detection config comes from the
    journal, not from --config; anomalies can be verified with the workers' source key alone. Exit
    codes: 0 all verified, 1 differences found, 2 wrong usage or configuration, 3 not all of it
    could be verified.
    """
    required = ["bootstrap_servers", *(["redis_url"] if start == "checkpoint" else [])]
    configuration = load_configuration(ctx, options, *required)
    import orjson
    from confluent_kafka import KafkaException

    from streams.audit_report import all_as_json, all_lines, exit_code_of
    from streams.kafka_clients import ClientConfigError, describe, kafka_error
    from streams.ports import LogError
    from streams.verify import NoSuchPartitionError, run_verify

    def say(text: str) -> None:
        click.echo(f"driftsentry: {text}", err=True)

    try:
        reports = run_verify(
            configuration.settings,
            say,
            duty=None if duty == "all" else duty,
            partitions=partitions,
            from_checkpoint=start == "checkpoint",
            n_examples=n_examples,
        )
    except NoSuchPartitionError as error:
        raise fail(str(error), EXIT_USAGE) from None
    # Exit code 1 says that differences were found: what hinders the audit must not end with it.
    except (LogError, ClientConfigError) as error:
        raise fail(f"could not verify: {error}", EXIT_DECISION) from error
    except KafkaException as error:
        raise fail(f"could not verify: {describe(kafka_error(error))}", EXIT_DECISION) from error
    if as_json:
        click.echo(orjson.dumps(all_as_json(reports)).decode())
    else:
        for line in all_lines(reports):
            click.echo(line)
    finish(exit_code_of(reports))
