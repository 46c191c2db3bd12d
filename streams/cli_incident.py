"""`driftsentry incident`: what happened, its evidence, and what a person decides of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from schemas.printable import masked
from streams.cli_commands import user_name
from streams.cli_options import EXIT_USAGE, connection_options, fail, load_configuration

if TYPE_CHECKING:
    from schemas.incidents import IncidentData
    from schemas.retraining import RetrainingData
    from streams.incident_cluster import IncidentCluster

_Command = TypeVar("_Command", bound=Callable[..., Any])

REASONS: Final = (
    "suspected_poisoning",
    "suspected_probing",
    "data_fault",
    "deployment_change",
    "harmful_drift",
    "benign_drift",
)
"""Those of `schemas.incidents.Reason`, which help does not load."""
_SEVERITIES: Final = ("critical", "high", "medium", "low")
_STATUSES: Final = ("held", "released", "withdrawn")

by_option: Final = click.option("--by", metavar="NAME", help="Who you are; default: this user.")
json_option: Final = click.option("--json", "as_json", is_flag=True, help="JSON, for machines.")
model_option: Final = click.option(
    "--model", "model_id", metavar="MODEL", help="Only of this model."
)


def decision_options(command: _Command) -> _Command:
    """Who decides, why, and whether having looked."""
    command = click.option(
        "--unseen",
        is_flag=True,
        help="Decide without having opened the evidence; that stands in the record.",
    )(command)
    command = by_option(command)
    return click.option(
        "--because", metavar="TEXT", required=True, help="Why, for who reads it later."
    )(command)


@click.group()
def incident() -> None:
    """Look at incidents and retraining requests, and decide on them."""


@incident.command("list")
@model_option
@click.option("--all", "with_closed", is_flag=True, help="Closed ones too.")
@json_option
@connection_options
@click.pass_context
def list_incidents(
    ctx: click.Context,
    /,
    model_id: str | None,
    with_closed: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Print the incidents that are open, the most severe and the latest first."""
    cluster = _cluster(ctx, options)
    from streams.incident_view import incident_line
    from streams.response_cluster import json_line

    shown = [
        each
        for each in cluster.incidents().values()
        if (model_id is None or each.model_id == model_id)
        and (with_closed or each.status != "closed")
    ]
    shown.sort(
        key=lambda each: (_SEVERITIES.index(each.severity), -each.start_ms, each.incident_id)
    )
    for each in shown:
        click.echo(json_line(each) if as_json else incident_line(each))
    if not shown:
        click.echo(f"driftsentry: no {'' if with_closed else 'open '}incident", err=True)


@incident.command("show")
@click.argument("typed", metavar="INCIDENT_ID")
@by_option
@click.option(
    "--unrecorded",
    is_flag=True,
    help="Look without a record of it: you cannot overrule after that.",
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
    """Print an incident with its evidence, and record that you have seen it.

    INCIDENT_ID may be the beginning of one. Exit code 1: not all of the evidence could be shown,
    and nothing was recorded.
    """
    name = "" if unrecorded else name_of(by)
    cluster = _cluster(ctx, options)
    from streams.incident_cluster import shown_as_json
    from streams.incident_view import incident_page

    found = cluster.incident(typed)
    opened = cluster.open(found.evidence)
    for line in [shown_as_json(found, opened)] if as_json else incident_page(found, opened):
        click.echo(line)
    if unrecorded:
        return
    if opened.missing:
        raise fail(
            f"{len(opened.missing)} of {len(found.evidence)} pieces of evidence could not be "
            "shown, so it is not recorded that you have seen them; --unrecorded looks without a "
            "record"
        )
    evidence = {key: each.revision for key, each in opened.found.items()}
    if cluster.openings(name).covers(found, evidence):
        said = "was recorded before"
    else:
        command_id = cluster.say("opened", found, name, revision=found.revision, evidence=evidence)
        said = f"is recorded as {command_id}"
    click.echo(f"driftsentry: that {masked(name)} has seen it {said}", err=True)


@incident.command("overrule")
@click.argument("typed", metavar="INCIDENT_ID")
@click.argument("reason", metavar="REASON", type=click.Choice(REASONS))
@decision_options
@connection_options
@click.pass_context
def overrule(
    ctx: click.Context,
    /,
    typed: str,
    reason: str,
    because: str,
    by: str | None,
    unseen: bool,
    **options: Any,
) -> None:
    """Say what an incident is, whatever the rules say: REASON is one that they may give.

    Who has not opened its evidence as it is now, by `driftsentry incident show`, is refused with
    exit code 3 unless they say --unseen. The latest word counts. It covers what was shown: what is
    found later holds a retraining again.
    """
    name, why = name_of(by), why_of(because)
    cluster = _cluster(ctx, options)
    from streams.incident_reader import model_of

    found = cluster.incident(typed)
    evidence = {each.evidence_id: each.revision for each in found.evidence}
    if not unseen:
        openings = cluster.require_opened(name, [found], evidence)
        # What was shown may have been more than the incident knew.
        shown = openings.shown(model_of(found))
        evidence = {each: shown[each] for each in evidence}
    click.echo(cluster.say("overrule", found, name, why, verdict=reason, evidence=evidence))


@incident.command("requests")
@model_option
@json_option
@connection_options
@click.pass_context
def list_requests(
    ctx: click.Context, /, model_id: str | None, as_json: bool, **options: Any
) -> None:
    """Print the retraining requests as they are now, those that are held first."""
    cluster = _cluster(ctx, options)
    from streams.incident_view import request_line
    from streams.response_cluster import json_line

    shown = [
        each
        for each in cluster.requests().values()
        if model_id is None or each.model_id == model_id
    ]
    shown.sort(key=lambda each: (_STATUSES.index(each.status), each.model_id, each.request_id))
    for each in shown:
        click.echo(json_line(each) if as_json else request_line(each))
    if not shown:
        click.echo("driftsentry: no retraining request", err=True)


@incident.command("approve")
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
    """Let a retraining that an attack holds back go on, with the suspected events left out.

    It says which those are, and takes along what the config leaves out already. Who has not opened
    the evidence of the incidents behind the request, by `driftsentry incident show`, is refused
    with exit code 3 unless they say --unseen.
    """
    name, why = name_of(by), why_of(because)
    cluster = _cluster(ctx, options)
    from schemas.responses import MAX_EVIDENCE_IDS

    request = cluster.request(typed)
    attacks = _attacks_of(request)
    incidents = cluster.incidents()
    own = incidents.get(request.incident_id)
    if own is None:
        raise fail(
            f"there is no incident {masked(request.incident_id)} any more, of which request "
            f"{masked(request.request_id)} is: it has become part of another one, or is none now"
        )
    # An attack may be an incident of its own beside the one that asks for a retraining.
    others = [
        each
        for each in incidents.values()
        if each is not own and any(one.evidence_id in attacks for one in each.evidence)
    ]
    _say_what_is_left_out(cluster, attacks, list(incidents.values()))
    if not unseen:
        # More of an attack that was shown is left out as well.
        openings = cluster.require_opened(name, [own, *others], dict.fromkeys(attacks, 1))
        cluster.require_shown(name, own, attacks, openings)
    for first in range(0, len(attacks), MAX_EVIDENCE_IDS):
        word = cluster.say(
            "approve",
            own,
            name,
            why,
            request_id=request.request_id,
            revision=own.revision,
            evidence_ids=attacks[first : first + MAX_EVIDENCE_IDS],
        )
        click.echo(word)


def _cluster(ctx: click.Context, options: dict[str, Any]) -> IncidentCluster:
    settings = load_configuration(ctx, options, "bootstrap_servers").settings
    from streams.incident_cluster import IncidentCluster

    return IncidentCluster(settings)


def _attacks_of(request: RetrainingData) -> list[str]:
    """The anomalies for which a request waits for a person, and those that are left out already.

    Those too: by the config they are left out until somebody overrules their incident, and what is
    approved of stays left out then. Raises `Failure` where there are none, or it is not held.
    """
    holding = [
        evidence_id
        for hold in request.holds
        if hold.reason == "attack_suspected"
        for evidence_id in hold.evidence_ids
    ]
    attacks = list(dict.fromkeys([*holding, *(part.evidence_id for part in request.quarantine)]))
    if request.status != "held" or not attacks:
        holds = ", ".join(each.reason for each in request.holds)
        raise fail(
            f"request {masked(request.request_id)} is {request.status}"
            f"{f' for {holds}' if holds else ''}: no attack holds it back, none is left out, and "
            "there is nothing to approve"
        )
    return attacks


def _say_what_is_left_out(
    cluster: IncidentCluster, attacks: Sequence[str], incidents: Sequence[IncidentData]
) -> None:
    from streams.incident_view import quarantine_lines

    places = {one.evidence_id: one for each in incidents for one in each.evidence}
    opened = cluster.open([places[each] for each in attacks if each in places])
    click.echo("driftsentry: left out of the training, where it lies in its window:", err=True)
    for line in quarantine_lines(attacks, opened):
        click.echo(line, err=True)


def name_of(by: str | None) -> str:
    """Who decides. Raises `Failure` where that is nobody."""
    name = (user_name() if by is None else by).strip()
    if not name:
        raise fail("this user has no name here: say who you are, with --by NAME", EXIT_USAGE)
    return name


def why_of(because: str) -> str:
    """Why they do. Raises `Failure` where they do not say."""
    if not because.strip():
        raise fail("say why, with --because TEXT: it stands in the record", EXIT_USAGE)
    return because
