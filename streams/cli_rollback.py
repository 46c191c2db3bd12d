"""`driftsentry rollback`: new versions against the last ones, and what a person decides of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from schemas.printable import masked
from streams.cli_incident import (
    by_option,
    decision_options,
    json_option,
    model_option,
    name_of,
    why_of,
)
from streams.cli_options import connection_options, fail, load_configuration

if TYPE_CHECKING:
    from streams.rollback_cluster import RollbackCluster

_STATUSES: Final = ("held", "released", "withdrawn")
_VERDICTS: Final = ("worse", "not_known", "alike", "better")


@click.group()
def rollback() -> None:
    """Look at new model versions and at rollback requests, and decide on them."""


@rollback.command("requests")
@model_option
@json_option
@connection_options
@click.pass_context
def list_requests(
    ctx: click.Context, /, model_id: str | None, as_json: bool, **options: Any
) -> None:
    """Print the rollback requests as they are now, those that are held first."""
    cluster = _cluster(ctx, options)
    from streams.response_cluster import json_line
    from streams.rollback_view import rollback_line

    shown = [
        each
        for each in cluster.requests().values()
        if model_id is None or each.model_id == model_id
    ]
    shown.sort(key=lambda each: (_STATUSES.index(each.status), each.model_id, each.request_id))
    for each in shown:
        click.echo(json_line(each) if as_json else rollback_line(each))
    if not shown:
        click.echo("driftsentry: no rollback request", err=True)


@rollback.command("followups")
@model_option
@json_option
@connection_options
@click.pass_context
def list_followups(
    ctx: click.Context, /, model_id: str | None, as_json: bool, **options: Any
) -> None:
    """Print how new versions compare with the last ones, those that are worse first."""
    cluster = _cluster(ctx, options)
    from streams.response_cluster import json_line
    from streams.rollback_view import followup_line

    shown = [
        each
        for each in cluster.followups().values()
        if model_id is None or each.model_id == model_id
    ]
    shown.sort(key=lambda each: (_VERDICTS.index(each.verdict), each.model_id, each.followup_id))
    for each in shown:
        click.echo(json_line(each) if as_json else followup_line(each))
    if not shown:
        click.echo("driftsentry: no new version is followed", err=True)


@rollback.command("followup")
@click.argument("typed", metavar="FOLLOWUP_ID")
@json_option
@connection_options
@click.pass_context
def show_followup(ctx: click.Context, /, typed: str, as_json: bool, **options: Any) -> None:
    """Print a version before and after, in all events and in groups.

    FOLLOWUP_ID may be the beginning of one.
    """
    cluster = _cluster(ctx, options)
    from streams.response_cluster import json_line
    from streams.rollback_view import followup_page

    found = cluster.followup(typed)
    for line in [json_line(found)] if as_json else followup_page(found):
        click.echo(line)


@rollback.command("show")
@click.argument("typed", metavar="REQUEST_ID")
@by_option
@click.option(
    "--unrecorded",
    is_flag=True,
    help="Look without a record of it: you cannot approve after that.",
)
@json_option
@connection_options
@click.pass_context
def show(
    ctx: click.Context,
    /,
    typed: str,
    by: str | None,
    unrecorded: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Print a rollback request with what it rests on, and record that you have seen it.

    REQUEST_ID may be the beginning of one.
    """
    name = "" if unrecorded else name_of(by)
    cluster = _cluster(ctx, options)
    from streams.response_cluster import json_line
    from streams.rollback_view import rollback_page

    found = cluster.request(typed)
    for line in [json_line(found)] if as_json else rollback_page(found):
        click.echo(line)
    if unrecorded:
        return
    if cluster.has_opened(name, found):
        said = "was recorded before"
    else:
        said = f"is recorded as {cluster.say('opened_rollback', found, name)}"
    click.echo(f"driftsentry: that {masked(name)} has seen it {said}", err=True)


@rollback.command("approve")
@click.argument("typed", metavar="REQUEST_ID")
@decision_options
@connection_options
@click.pass_context
def approve(
    ctx: click.Context,
    /,
    typed: str,
    because: str,
    by: str | None,
    unseen: bool,
    **options: Any,
) -> None:
    """Release a rollback request that is held, whatever holds it back.

    Who has not looked at it, by `driftsentry rollback show`, is refused with exit code 3 unless
    they say --unseen. Nothing is rolled back by driftsentry itself.
    """
    name, why = name_of(by), why_of(because)
    cluster = _cluster(ctx, options)
    request = cluster.request(typed)
    if request.status != "held":
        raise fail(
            f"request {masked(request.request_id)} is {request.status}: there is nothing to approve"
        )
    if not unseen:
        cluster.require_opened(name, request)
    click.echo(cluster.say("approve_rollback", request, name, why))


def _cluster(ctx: click.Context, options: dict[str, Any]) -> RollbackCluster:
    settings = load_configuration(ctx, options, "bootstrap_servers").settings
    from streams.rollback_cluster import RollbackCluster

    return RollbackCluster(settings)
