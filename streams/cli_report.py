"""`driftsentry report`: what was watched, found and decided in a span, for who has to account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import click

from schemas.printable import masked
from streams.cli_audit import kept_heads, trail_of
from streams.cli_options import (
    EXIT_DECISION,
    EXIT_FAILED,
    connection_options,
    finish,
    not_written,
)

_MIN_DIGITS: Final = 12
"""Of epoch milliseconds, from 1973 on: ten digits are seconds, and would be a report of 1970."""


class _Moment(click.ParamType):
    """A time as RFC 3339, a date (its first moment, UTC), or epoch milliseconds; as the latter."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value.isascii() and value.isdigit() and len(value) >= _MIN_DIGITS:
            return int(value)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{masked(value)!r} is no time: 2026-11-23, 2026-11-23T10:00:00Z or epoch "
                "milliseconds",
                param,
                ctx,
            )
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@click.command()
@click.option("--from", "from_ms", type=_Moment(), required=True, help="The span begins with it.")
@click.option("--to", "until_ms", type=_Moment(), required=True, help="The span ends before it.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "html"]),
    default="json",
    show_default=True,
    help="For machines, or a page that loads nothing from elsewhere.",
)
@click.option(
    "--model",
    "model_id",
    metavar="MODEL",
    help="Incidents, requests and decisions of this model alone.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file; standard output where it is left out.",
)
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A trail that `audit export` wrote, instead of the topic.",
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="SEQ:HASH|FILE",
    help="A head that was kept elsewhere, or a file of them; may be repeated.",
)
@connection_options
@click.pass_context
def report(
    ctx: click.Context,
    /,
    from_ms: int,
    until_ms: int,
    form: Literal["json", "html"],
    model_id: str | None,
    output: Path | None,
    path: Path | None,
    heads: tuple[str, ...],
    **options: Any,
) -> None:
    """Report what the audit trail says of a span of time.

    The report says which duties of NIST's AI RMF and of the EU AI Act that is on. TIME is a date,
    RFC 3339, or epoch milliseconds; without an offset it is UTC. The whole trail is checked as
    well.

    Exit codes: 0 done, 1 done, and the trail is broken, 2 wrong usage or configuration, 3 not all
    of the trail could be verified, or it could not be read, or the report not written.
    """
    if from_ms >= until_ms:
        raise click.BadParameter("the span must end after it begins", param_hint="--to")
    kept = kept_heads(heads)
    import time

    from streams.monitoring_report import Span, make_report
    from streams.trail_service import release

    with trail_of(ctx, path, options) as (_, records):
        made = make_report(
            records,
            Span(from_ms, until_ms),
            time.time_ns() // 1_000_000,
            release(),
            model_id=model_id,
            heads=kept,
        )
    if form == "json":
        text = made.model_dump_json(indent=2) + "\n"
    else:
        from streams.monitoring_page import render_monitoring_report

        text = render_monitoring_report(made)
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            # Exit code 1 says that it is made, and the trail broken.
            raise not_written(output, error, EXIT_DECISION) from None
        click.echo(f"written to {masked(str(output))}")
    trail = made.trail
    if not trail.is_whole:
        click.echo(
            "driftsentry: warning: the trail is not whole, as the report says: "
            f"{trail.n_breaks} breaks, it begins with {trail.begins}",
            err=True,
        )
        finish(EXIT_FAILED if trail.n_breaks else EXIT_DECISION)
