"""Who is told is configured with clear errors, and no secret is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from streams.cli import main
from streams.config import Settings
from streams.config_errors import ConfigError
from streams.config_loader import check_file, load
from streams.credentials import bearer_token, secret_values, webhook_keys, webhook_url
from streams.notify_config import EVERYTHING, webhook_endpoint
from streams.notify_news import KINDS
from streams.notify_signing import secret_bytes
from tests.kit.https_receiver import SECRETS

WEBHOOK = {
    "url": "https://hooks.example.com/drift",
    "secrets": ["${env:HOOK_SECRET}"],
}
MANAGER = {"url": "https://alertmanager.example.com"}


def file_of(directory: Path, notify: Any) -> Path:
    path = directory / "driftsentry.yaml"
    worker = {"bootstrap_servers": "localhost:9092", "notify": notify}
    path.write_text(yaml.safe_dump({"worker": worker}), encoding="utf-8")
    return path


def notify_of(**given: Any) -> dict[str, Any]:
    return {"hosts": ["hooks.example.com"], "webhooks": {"pager": {**WEBHOOK, **given}}}


def managed(**given: Any) -> dict[str, Any]:
    return {"alertmanagers": {"am": {**MANAGER, **given}}}


def with_token(text: str, **given: Any) -> dict[str, Any]:
    return managed(**given, bearer_token=text)


def test_what_is_told_of_is_what_there_are_kinds_of() -> None:
    assert tuple(each.about for each in KINDS) == EVERYTHING
    assert set(EVERYTHING) <= set(Settings().topics.model_dump())


def test_a_whole_configuration_is_taken(tmp_path: Path) -> None:
    notify = notify_of(
        about=["incidents"],
        reasons=["suspected_poisoning"],
        statuses=["opened", "closed"],
        min_severity="high",
        allow_private_addresses=["10.20.0.0/16"],
        start="earliest",
        give_up_s=60,
    ) | managed(allow_http=True, url="http://alertmanager:9093/am", generator_url="https://d/{id}")
    settings = check_file(file_of(tmp_path, notify)).settings
    assert settings.notify.webhooks["pager"].reasons == ("suspected_poisoning",)
    assert settings.notify.alertmanagers["am"].resend_s == 60


@pytest.mark.parametrize(
    ("notify", "path", "said"),
    [
        (notify_of(url="http://hooks.example.com/"), "webhooks.pager.url", "begin with https"),
        (notify_of(url="https://other.example.com/"), "webhooks.pager.url", "notify.hosts: add"),
        (notify_of(url="https://127.1/"), "webhooks.pager.url", "neither a name nor"),
        (notify_of(url="http://x/${env:A}"), "webhooks.pager.url", "begin with https"),
        (notify_of(url="https://x/${nev:A}"), "webhooks.pager.url", "begins neither"),
        (notify_of(secrets=[SECRETS[0]]), "webhooks.pager.secrets.0", "is not a reference"),
        (notify_of(secrets=[]), "webhooks.pager.secrets", "at least 1 item"),
        (
            notify_of(allow_private_addresses=["10.0.0.0/8", "169.254.0.0/16"]),
            "webhooks.pager.allow_private_addresses.1",
            "lies in none of",
        ),
        (notify_of(statuses=["open"]), "webhooks.pager.statuses.0", "should be 'opened'"),
        (notify_of(about=["alerts"]), "webhooks.pager.about.0", "should be 'incidents'"),
        (notify_of(timeout=3), "webhooks.pager.timeout", "did you mean `timeout_s`"),
        (notify_of(give_up_s=0), "webhooks.pager.give_up_s", "greater than 0"),
        (notify_of() | {"hosts": ["a:1"]}, "hosts.0", "without a port"),
        ({"webhooks": {"Pager": WEBHOOK}}, "webhooks.Pager", "is no name for a receiver"),
        (
            notify_of() | {"alertmanagers": {"pager": MANAGER}},
            "alertmanagers.pager",
            "is the name of a webhook too",
        ),
        (managed(url="http://alertmanager:9093"), "alertmanagers.am.url", "allow_http: true"),
        (
            with_token("${env:A}", url="http://localhost:9093"),
            "alertmanagers.am.url",
            "would show the bearer token",
        ),
        (with_token("t0ken-itself"), "alertmanagers.am.bearer_token", "not a reference"),
        (managed(generator_url="https://d/{name}"), "alertmanagers.am.generator_url", "{id}"),
        (managed(resend_s=0.1), "alertmanagers.am.resend_s", "greater than or equal to 1"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(
    tmp_path: Path, notify: Any, path: str, said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        check_file(file_of(tmp_path, notify))
    found = {each.path: str(each) for each in raised.value.problems}
    assert said in found[f"worker.notify.{path}"], found
    for secret in ("t0ken-itself", SECRETS[0]):
        assert secret not in str(raised.value)


def test_a_secret_where_another_kind_of_value_belongs_is_not_repeated(tmp_path: Path) -> None:
    for wrong in ({"secrets": SECRETS[0]}, {"secrets": [[SECRETS[0]]]}, {"url": [SECRETS[0]]}):
        with pytest.raises(ConfigError) as raised:
            check_file(file_of(tmp_path, notify_of(**wrong)))
        assert SECRETS[0] not in str(raised.value)


def test_http_to_this_machine_needs_no_word() -> None:
    assert Settings.model_validate({"notify": managed(url="http://127.0.0.1:9093")})


def test_secrets_are_read_late_and_kept_from_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_file = tmp_path / "hook"
    secret_file.write_text(SECRETS[1] + "\n")
    secret_file.chmod(0o600)
    monkeypatch.setenv("HOOK_SECRET", SECRETS[0])
    monkeypatch.setenv("HOOK_PATH", "T0KEN/of-the-path")
    monkeypatch.setenv("AM_TOKEN", "bearer-t0ken")
    notify = notify_of(
        url="https://hooks.example.com/${env:HOOK_PATH}",
        secrets=["${env:HOOK_SECRET}", f"${{file:{secret_file}}}"],
    ) | with_token("${env:AM_TOKEN}")
    settings = load(file_of(tmp_path, notify)).settings
    webhook = settings.notify.webhooks["pager"]
    assert webhook_url(webhook, "pager") == "https://hooks.example.com/T0KEN/of-the-path"
    assert webhook_keys(webhook, "pager") == tuple(secret_bytes(each) for each in SECRETS)
    assert bearer_token(settings.notify.alertmanagers["am"], "am") == "bearer-t0ken"
    assert {*SECRETS, "T0KEN/of-the-path", "bearer-t0ken"} <= secret_values(settings)
    monkeypatch.setenv("HOOK_SECRET", "whsec_c2hvcnQ=")
    with pytest.raises(ConfigError, match=r"secrets\.0: the secret has 5 bytes.*openssl"):
        webhook_keys(webhook, "pager")
    monkeypatch.delenv("HOOK_SECRET")
    with pytest.raises(ConfigError, match="HOOK_SECRET, which is not set"):
        webhook_keys(webhook, "pager")


def test_a_reference_cannot_lead_to_a_host_that_is_not_listed() -> None:
    notify = Settings.model_validate({"notify": notify_of()}).notify
    for url in (
        "https://hooks.example.com.evil.example/",
        "https://hooks.example.com@evil.example/",
        "https://evil.example/hooks.example.com",
        "https://169.254.169.254/",
    ):
        with pytest.raises(ValueError, match=r"worker\.notify\.hosts|should be http"):
            webhook_endpoint(url, notify)
    assert webhook_endpoint("https://HOOKS.example.com/x", notify).host == "hooks.example.com"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["notify", *arguments])


def test_without_a_receiver_it_does_not_start(tmp_path: Path) -> None:
    result = run("--config", str(file_of(tmp_path, {})))
    assert result.exit_code == 2
    assert "nobody is to be told" in result.stderr
    assert "worker.notify.webhooks" in result.stderr


def test_what_cannot_be_read_is_said_before_anybody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    result = run("--config", str(file_of(tmp_path, notify_of())))
    assert result.exit_code == 2, result.output
    assert "worker.notify.webhooks.pager.secrets.0" in result.stderr
    monkeypatch.setenv("HOOK_SECRET", SECRETS[0])
    missing = str(tmp_path / "missing.pem")
    result = run("--config", str(file_of(tmp_path, notify_of(ca_file=missing))))
    assert result.exit_code == 2, result.output
    assert "worker.notify.webhooks.pager.ca_file: cannot be used: No such file" in result.stderr


def test_the_effective_configuration_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRETS[0])
    result = CliRunner().invoke(
        main, ["config", "show", "--config", str(file_of(tmp_path, notify_of()))]
    )
    assert result.exit_code == 0, result.output
    assert "${env:HOOK_SECRET}" in result.stdout
    assert SECRETS[0] not in result.output
