"""`driftsentry budget`: what the false alerts that are accepted come to, model by model."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from schemas.printable import masked
from streams.cli_file import (
    FILE_PARAMETERS,
    file_options,
    given_options,
    say_lines,
    scan_options,
)
from streams.cli_options import (
    EXIT_FAILED,
    EXIT_USAGE,
    audit_options,
    fail,
    finish,
    load_configuration,
    require_answer,
)

if TYPE_CHECKING:
    from streams.budget import ModelBudget
    from streams.budget_reader import Budgets
    from streams.budget_replay import ReplayWish

_OWN: Final = ("file", "model", "replay", "n_events", "seed", "block", "as_json")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--model", metavar="NAME", help="Only this model; of a FILE of one model, its name.")
@click.option("--replay", is_flag=True, help="Fold the models' own past again in other orders.")
@click.option(
    "--events",
    "n_events",
    type=click.IntRange(100, 10_000_000),
    default=200_000,
    show_default=True,
    help="Events of each model that are replayed at most, the latest.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the orders.")
@click.option(
    "--block",
    type=click.IntRange(2, 1_000_000),
    default=500,
    show_default=True,
    help="Events that stay together where blocks are moved.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@audit_options
@file_options
@click.pass_context
def budget(ctx: click.Context, /, file: Path | None, **options: Any) -> None:
    """Print what each model may say without a cause, what it said, and whether that is believed.

    Of a group of workers, from its latest checkpoints and the alerts topic; or of FILE, as `scan`
    reads it, without Kafka and Redis. It changes nothing; workers may go on. Exit codes: 0 done, 1
    brokers give no answer or the state of a partition cannot be had, 2 wrong usage.
    """
    from streams.budget_replay import ReplayWish

    _require_one_source(ctx, file)
    wish = None
    if options["replay"]:
        wish = ReplayWish(options["n_events"], options["seed"], options["block"])
    elif given := given_options(ctx, ("n_events", "seed", "block")):
        raise click.UsageError(f"{given[0]} is for --replay alone: give that, or leave it out")
    if file is not None:
        _print(_of_file(ctx, file, options, wish), (), as_json=options["as_json"])
        return
    found = _of_group(ctx, options, wish)
    for text in found.problems:
        click.echo(f"driftsentry: no state of {masked(text)}", err=True)
    _print(found.models, found.notes, as_json=options["as_json"])
    finish(EXIT_FAILED if found.problems else 0)


def _require_one_source(ctx: click.Context, file: Path | None) -> None:
    if file is None and (given := given_options(ctx, FILE_PARAMETERS)):
        raise click.UsageError(f"{given[0]} says what a file holds: name the FILE too")
    of_group = [
        str(each.name)
        for each in ctx.command.params
        if each.name not in (*_OWN, *FILE_PARAMETERS, "config")
    ]
    if file is not None and (given := given_options(ctx, of_group)):
        raise click.UsageError(
            f"{given[0]} says where a group of workers is, and a FILE needs none: give one of them"
        )


def _of_file(
    ctx: click.Context, file: Path, options: Mapping[str, Any], wish: ReplayWish | None
) -> list[ModelBudget]:
    from streams.budget_file import file_budgets
    from streams.scan_columns import ScanError

    # What is read makes no cycles; looking for some takes a tenth of the time.
    gc.disable()
    try:
        found = file_budgets(
            file, scan_options(ctx, options), wish, say=lambda lines: say_lines(lines, err=True)
        )
    except ScanError as error:
        raise fail(masked(str(error)), EXIT_USAGE) from None
    finally:
        gc.enable()
    if not found:
        raise fail("the file has no prediction to watch")
    wanted = options["model"]
    own = [each for each in found if wanted is None or each.key.model_id == wanted]
    if not own:
        names = ", ".join(sorted({each.key.model_id for each in found})[:20])
        raise fail(masked(f"the file has no model {wanted}; it has {names}"), EXIT_USAGE)
    return own


def _of_group(ctx: click.Context, options: Mapping[str, Any], wish: ReplayWish | None) -> Budgets:
    own = {n: v for n, v in options.items() if n not in (*_OWN, *FILE_PARAMETERS)}
    configuration = load_configuration(ctx, own, "bootstrap_servers", "redis_url")
    require_answer(configuration.settings)
    from confluent_kafka import KafkaException

    from streams.budget_reader import NoBudgetError, NoSuchModelError, read_budgets
    from streams.kafka_clients import ClientConfigError, describe, kafka_error
    from streams.ports import LogError, StoreError

    def say(text: str) -> None:
        click.echo(f"driftsentry: {text}", err=True)

    try:
        return read_budgets(
            configuration.settings,
            configuration.detection,
            say,
            model_id=options["model"],
            wish=wish,
        )
    except NoSuchModelError as error:
        raise fail(masked(str(error)), EXIT_USAGE) from None
    except (LogError, StoreError, ClientConfigError, NoBudgetError) as error:
        raise fail(masked(str(error))) from error
    except KafkaException as error:
        raise fail(
            f"no broker answers at {configuration.settings.bootstrap_servers}: "
            f"{describe(kafka_error(error))}"
        ) from error


def _print(models: Sequence[ModelBudget], notes: Sequence[str], *, as_json: bool) -> None:
    import orjson

    from streams.budget_report import caveats, model_lines

    if as_json:
        said = {"models": [each.as_json() for each in models], "notes": list(notes)}
        click.echo(orjson.dumps(said).decode())
        return
    for each in models:
        say_lines([*model_lines(each), ""])
    say_lines([*caveats(models), *(f"note: {text}" for text in notes)])
