"""What a person says to the workers: `mute`, `plan`, `acknowledge`, `withdraw`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from streams.cli_options import (
    EXIT_USAGE,
    connection_options,
    fail,
    load_configuration,
    require_answer,
)

_Command = TypeVar("_Command", bound=Callable[..., Any])

_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])")


def _duration(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """Milliseconds of `30m`, `2h`, `7d`."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise click.BadParameter("write it as 30m, 2h or 7d")
    return int(found[1]) * _UNITS_MS[found[2]]


def moment(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """Epoch milliseconds of an RFC 3339 time."""
    if text is None:
        return None
    from schemas.timestamps import parse_ts

    try:
        return parse_ts(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}; write it as 2026-11-26T14:00:00Z") from None


def said_options(command: _Command) -> _Command:
    """Who says it, and why."""
    command = click.option("--by", metavar="NAME", help="Who says it; default: this user.")(command)
    return click.option("--reason", default="", metavar="TEXT", help="Why.")(command)


def _scope_options(command: _Command) -> _Command:
    """What it is about."""
    command = click.option(
        "--signal", metavar="SIGNAL", help="Only this signal, such as feature:age or score."
    )(command)
    return click.option("--version", "model_version", metavar="V", help="Only this version.")(
        command
    )


@click.command()
@click.argument("model_id", metavar="MODEL")
@click.option("--for", "for_ms", callback=_duration, metavar="TIME", help="30m, 2h or 7d.")
@click.option("--until", "until_ms", callback=moment, metavar="TIME", help="An RFC 3339 time.")
@click.option("--from", "from_ms", callback=moment, metavar="TIME", help="Likewise; default: now.")
@_scope_options
@said_options
@connection_options
@click.pass_context
def mute(
    ctx: click.Context,
    /,
    model_id: str,
    for_ms: int | None,
    until_ms: int | None,
    from_ms: int | None,
    **options: Any,
) -> None:
    """Hold back the alerts of MODEL for a time.

    Detection goes on. What is still away from its reference when the time is over is told then.
    """
    if (for_ms is None) == (until_ms is None):
        raise fail("say how long: either --for or --until", EXIT_USAGE)
    if from_ms is None:
        from_ms = int(time.time() * 1000)
    if for_ms is not None:
        until_ms = from_ms + for_ms
    document = {"model_id": model_id, "from_ms": from_ms, "until_ms": until_ms}
    send(ctx, {"kind": "mute", **document}, model_id, options)


@click.command()
@click.argument("model_id", metavar="MODEL")
@click.option(
    "--from", "from_ms", callback=moment, metavar="TIME", help="An RFC 3339 time; default: now."
)
@click.option(
    "--until",
    "until_ms",
    callback=moment,
    required=True,
    metavar="TIME",
    help="Likewise. Leave room: a small change is found late.",
)
@_scope_options
@said_options
@connection_options
@click.pass_context
def plan(
    ctx: click.Context,
    /,
    model_id: str,
    from_ms: int | None,
    until_ms: int,
    **options: Any,
) -> None:
    """Say that a change of MODEL is expected within a time.

    Its alerts come, and say that they were expected (`planned`).
    """
    if from_ms is None:
        from_ms = int(time.time() * 1000)
    document = {"model_id": model_id, "from_ms": from_ms, "until_ms": until_ms}
    send(ctx, {"kind": "planned_change", **document}, model_id, options)


@click.command()
@click.argument("alert_id", metavar="ALERT_ID")
@said_options
@connection_options
@click.pass_context
def acknowledge(ctx: click.Context, /, alert_id: str, **options: Any) -> None:
    """Say that you know of an alert: of it you hear only that it gets worse, or its end."""
    send(ctx, {"kind": "acknowledge", "alert_id": alert_id}, alert_id, options)


@click.command()
@click.argument("command_id", metavar="COMMAND_ID")
@said_options
@connection_options
@click.pass_context
def withdraw(ctx: click.Context, /, command_id: str, **options: Any) -> None:
    """End a mute or a planned change before its time; COMMAND_ID is what it printed."""
    send(ctx, {"kind": "withdraw", "withdraws": command_id}, command_id, options)


def user_name() -> str:
    """Who runs this; "" where the system has no name for the user, as in some containers."""
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError):
        return ""


def send(
    ctx: click.Context, document: dict[str, object], key: str, options: dict[str, Any]
) -> None:
    """Check a command, send it, print its id."""
    from uuid import uuid4

    import orjson

    from schemas.commands import CommandError, read_command

    command_id = f"{document['kind']}-{uuid4().hex[:12]}"
    by, reason = options.pop("by"), options.pop("reason")
    scope = {name: options.pop(name, None) for name in ("model_version", "signal")}
    said = {
        **document,
        **{name: value for name, value in scope.items() if value is not None},
        "command_id": command_id,
        "by": user_name() if by is None else by,
        "reason": reason,
    }
    value = orjson.dumps(said)
    try:
        read_command(value)
    except CommandError as error:
        raise fail(str(error), EXIT_USAGE) from None
    configuration = load_configuration(ctx, options, "bootstrap_servers")
    from streams.kafka_commands import send_command
    from streams.kafka_properties import read_properties

    settings = configuration.settings
    require_answer(settings)
    send_command(
        settings.bootstrap_servers,
        settings.topics.commands,
        key.encode(),
        value,
        kafka_properties=read_properties(settings.kafka),
    )
    click.echo(command_id)
