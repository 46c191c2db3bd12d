"""Settings of `driftsentry notify`: who is told of what, and how far to go for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.alerts import Severity
from schemas.incidents import Reason
from schemas.strict import FROM_LIST
from streams.config_errors import Location
from streams.hosts import is_loopback
from streams.notify_addresses import Endpoint, endpoint, host_problem, network_problem
from streams.references import has_reference, is_reference, reference_problem
from streams.strict_settings import StrictSettings

About = Literal["incidents", "retraining", "rollback"]
"""The topics that are told of: those of `streams.notify_news.KINDS`."""
EVERYTHING: Final[tuple[About, ...]] = ("incidents", "retraining", "rollback")
Status = Literal["opened", "updated", "closed", "held", "released", "withdrawn", "gone"]

_SINK_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_GENERATOR: Final = re.compile(r"https?://[!-~]{1,1000}")


class SinkSettings(StrictSettings):
    """What every receiver has."""

    about: Annotated[tuple[About, ...], Field(min_length=1), FROM_LIST] = EVERYTHING
    """What it is told of: incidents, retraining requests."""
    min_severity: Severity = "low"
    """Of incidents those that are at least so severe. Requests have no severity, and are told."""
    reasons: Annotated[tuple[Reason, ...], Field(min_length=1), FROM_LIST] | None = None
    """Only incidents, and requests that follow from incidents, of these reasons; none: of all."""
    ca_file: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    """Certificates, PEM, of the authorities that are trusted in place of the system's."""
    timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 10.0
    """So long one attempt may take, from looking its name up to the status of the answer."""


class WebhookSettings(SinkSettings):
    """A receiver of signed POSTs (Standard Webhooks); its group is `GROUP.notify.NAME`."""

    url: Annotated[str, Field(min_length=1, max_length=2_000)]
    """`https://HOST[:PORT]/PATH`; where the path is secret, with a reference:
    `https://hooks.example.com/${file:/run/secrets/hook}`."""
    secrets: Annotated[tuple[str, ...], Field(min_length=1), FROM_LIST]
    """References to what is signed with, `whsec_` and base64 of 24 to 64 bytes each. A signature is
    made with each of them: name the old and the new one while a receiver changes over."""
    statuses: Annotated[tuple[Status, ...], Field(min_length=1), FROM_LIST] | None = None
    """Only records of these statuses; `gone` is what is no incident or request any more. None: of
    all."""
    allow_private_addresses: Annotated[tuple[str, ...], FROM_LIST] = ()
    """Networks that are not public and may be sent to all the same, such as `10.20.0.0/16`: for a
    receiver in one's own house. Link-local and multicast addresses never."""
    start: Literal["earliest", "latest"] = "latest"
    """Where it begins when it has never been told anything: all that stands on the topics, closed
    incidents too, or what comes from now on."""
    give_up_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 3_600.0
    """A record that it has not taken for so long goes to the topic `undelivered`, and the next one
    is told. Until then the records behind it wait."""


class AlertmanagerSettings(SinkSettings):
    """An Alertmanager of Prometheus; each instance of a cluster of them is one of these."""

    url: Annotated[str, Field(min_length=1, max_length=2_000)]
    """Its base, as `https://HOST[:PORT][/PREFIX]`; `/api/v2/alerts` is added."""
    allow_http: bool = False
    """Allow a `http://` URL to another machine: what is told can be read, and changed, on the
    way."""
    bearer_token: str | None = None
    """Reference to a token for its proxy, sent as `Authorization: Bearer`; over https alone."""
    resend_s: Annotated[float, Field(ge=1, le=3_600, allow_inf_nan=False)] = 60.0
    """What is open is sent again so often. Alertmanager ends by itself what it has not heard of for
    four times as long."""
    released_for_s: Annotated[float, Field(gt=0, le=2_592_000, allow_inf_nan=False)] = 3_600.0
    """A released request stands as an alert for so long."""
    generator_url: Annotated[str, Field(max_length=1_000)] | None = None
    """Where people look at it: `generatorURL` of the alerts, `{id}` stands for the id of the
    incident or the request."""


class NotifySettings(StrictSettings):
    """Who is told of incidents and retraining requests: `driftsentry notify`."""

    hosts: Annotated[tuple[str, ...], FROM_LIST] = ()
    """The hosts that webhooks may be sent to, by name. A URL with another host is refused, also
    where a reference in it says so."""
    webhooks: dict[str, WebhookSettings] = Field(default_factory=dict)
    """Receivers of signed POSTs, by a name of yours."""
    alertmanagers: dict[str, AlertmanagerSettings] = Field(default_factory=dict)
    """Alertmanagers, by a name of yours."""


def notify_problems(notify: NotifySettings) -> Iterator[tuple[Location, str, str]]:
    """What no single field shows, as (location, text, remedy)."""
    for number, host in enumerate(notify.hosts):
        if problem := host_problem(host):
            yield ("hosts", number), problem, "write it as in the URL, without a port"
    for kind, named in (("webhooks", notify.webhooks), ("alertmanagers", notify.alertmanagers)):
        for name in named:
            if _SINK_NAME.fullmatch(name) is None:
                text = "is no name for a receiver: it should have 1 to 40 of a-z, 0-9 and -"
                yield (kind, name), text, "it becomes part of a group's name"
    for name in sorted(notify.webhooks.keys() & notify.alertmanagers.keys()):
        yield ("alertmanagers", name), "is the name of a webhook too", "give each its own"
    for name, webhook in notify.webhooks.items():
        for place, text, remedy in _webhook_problems(webhook, notify):
            yield ("webhooks", name, *place), text, remedy
    for name, manager in notify.alertmanagers.items():
        for place, text, remedy in _alertmanager_problems(manager):
            yield ("alertmanagers", name, *place), text, remedy


def webhook_endpoint(url: str, notify: NotifySettings) -> Endpoint:
    """Where a webhook goes, its references read. Raises ValueError, without the URL."""
    target = endpoint(url)
    if target.scheme != "https":
        raise ValueError("should begin with https://: it is told who is suspected of what")
    if target.host not in {each.lower() for each in notify.hosts}:
        raise ValueError(f"its host {target.host} is not in worker.notify.hosts: add it there")
    return target


def alertmanager_endpoint(url: str, settings: AlertmanagerSettings) -> Endpoint:
    """Where alerts are posted. Raises ValueError."""
    base = endpoint(url)
    if base.scheme == "http" and not settings.allow_http and not is_loopback(base.host):
        raise ValueError("is not encrypted: use https, or say `allow_http: true`")
    if base.scheme == "http" and settings.bearer_token is not None:
        raise ValueError("is not encrypted, and would show the bearer token: use https")
    return base._replace(path=f"{base.path.rstrip('/')}/api/v2/alerts")


def _webhook_problems(
    webhook: WebhookSettings, notify: NotifySettings
) -> Iterator[tuple[Location, str, str]]:
    if problem := reference_problem(webhook.url):
        yield ("url",), problem, ""
    elif not has_reference(webhook.url):
        try:
            webhook_endpoint(webhook.url, notify)
        except ValueError as error:
            yield ("url",), str(error), ""
    elif not webhook.url.startswith("https://"):
        # What a reference stands for is looked at when it is read.
        yield ("url",), "should begin with https://", "only its path may be a reference"
    for number, secret in enumerate(webhook.secrets):
        if not is_reference(secret):
            remedy = "write ${env:NAME} or ${file:/path}: a secret never stands in the settings"
            yield ("secrets", number), "is not a reference", remedy
    for number, text in enumerate(webhook.allow_private_addresses):
        if problem := network_problem(text):
            yield ("allow_private_addresses", number), problem, ""


def _alertmanager_problems(
    manager: AlertmanagerSettings,
) -> Iterator[tuple[Location, str, str]]:
    try:
        alertmanager_endpoint(manager.url, manager)
    except ValueError as error:
        yield ("url",), str(error), ""
    if manager.bearer_token is not None and not is_reference(manager.bearer_token):
        remedy = "write ${env:NAME} or ${file:/path}: a token never stands in the settings"
        yield ("bearer_token",), "is not a reference", remedy
    generator = manager.generator_url
    if generator is not None and (
        _GENERATOR.fullmatch(generator) is None or re.search(r"[{}]", generator.replace("{id}", ""))
    ):
        yield ("generator_url",), "should be http(s)://..., with {id} where the id goes", ""
