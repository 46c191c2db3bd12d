"""`driftsentry config`: check a file, print its schema, show what is in force."""

from __future__ import annotations

from typing import Any

import click

from streams.cli_options import load_configuration, say_warnings, worker_options


@click.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@click.argument("file")
def check(file: str) -> None:
    """Check FILE and name every wrong field.

    Nothing but the file is looked at: no variable, no secret, no broker.
    """
    from streams.config_loader import check_file

    configuration = check_file(file)
    say_warnings(configuration)
    click.echo(f"{file} is a valid configuration")


@config.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    import orjson

    from streams.config_schema import config_schema

    click.echo(orjson.dumps(config_schema(), option=orjson.OPT_INDENT_2).decode())


@config.command()
@worker_options
@click.pass_context
def show(ctx: click.Context, /, **options: Any) -> None:
    """Print what is in force: options over environment over file over defaults; no secret."""
    import yaml

    configuration = load_configuration(ctx, options)
    say_warnings(configuration)
    shown = {
        "worker": configuration.settings.model_dump(mode="json"),
        "detection": configuration.detection.model_dump(mode="json"),
    }
    click.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), nl=False)
