"""The secrets that settings refer to, read at the moment they are needed.

What is returned here goes to a client and nowhere else; `secret_values` is for the log's redaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from streams.config import Settings
from streams.config_errors import ConfigError, Problem
from streams.kafka_properties import is_secret, read_properties
from streams.notify_config import AlertmanagerSettings, WebhookSettings
from streams.notify_signing import PREFIX, secret_bytes
from streams.redis_address import redis_address
from streams.references import expand, has_reference, read_key


def redis_client_address(settings: Settings) -> str:
    """The address of Redis, its password included. Raises `ConfigError`."""
    return redis_address(settings.redis_url)


def source_key(settings: Settings) -> bytes | None:
    """The key of the sources' hashes; None: sources are dropped. Raises `ConfigError`."""
    reference = settings.source_key
    return None if reference is None else read_key(reference, "worker.source_key")


def checkpoint_key(settings: Settings) -> bytes | None:
    """The key that authenticates checkpoints; None: they are not. Raises `ConfigError`."""
    reference = settings.checkpoint_key
    return None if reference is None else read_key(reference, "worker.checkpoint_key")


def webhook_url(webhook: WebhookSettings, name: str) -> str:
    """A webhook's URL, its references read. Raises `ConfigError`."""
    return expand(webhook.url, f"worker.notify.webhooks.{name}.url")


def webhook_keys(webhook: WebhookSettings, name: str) -> tuple[bytes, ...]:
    """What is signed with. Raises `ConfigError`."""
    return tuple(key for _, key in _webhook_secrets(webhook, name))


def _webhook_secrets(webhook: WebhookSettings, name: str) -> Iterator[tuple[str, bytes]]:
    for number, reference in enumerate(webhook.secrets):
        path = f"worker.notify.webhooks.{name}.secrets.{number}"
        text = expand(reference, path).strip()
        try:
            yield text, secret_bytes(text)
        except ValueError as error:
            remedy = f'make one with `echo "{PREFIX}$(openssl rand -base64 32)"`'
            raise ConfigError(Problem(path, f"the secret {error}", remedy)) from None


def bearer_token(manager: AlertmanagerSettings, name: str) -> str | None:
    """The token for an Alertmanager's proxy, if one is named. Raises `ConfigError`."""
    if manager.bearer_token is None:
        return None
    return expand(manager.bearer_token, f"worker.notify.alertmanagers.{name}.bearer_token")


def _notify_secrets(settings: Settings) -> Iterator[str]:
    """What of the receivers must never be shown, as far as it can be read."""
    for name, webhook in settings.notify.webhooks.items():
        with suppress(ConfigError):
            if has_reference(webhook.url):
                # The whole path: a part of it is the secret.
                yield urlsplit(webhook_url(webhook, name)).path.strip("/")
        with suppress(ConfigError):
            for text, _ in _webhook_secrets(webhook, name):
                yield from (text, text.removeprefix(PREFIX))
    for name, manager in settings.notify.alertmanagers.items():
        with suppress(ConfigError):
            yield bearer_token(manager, name) or ""


def secret_values(settings: Settings) -> frozenset[str]:
    """Every secret of these settings that can be read now, as text that must never be shown."""
    found: set[str] = set()
    for name, value in settings.kafka.items():
        if is_secret(name):
            try:
                found.add(str(read_properties({name: value})[name]))
            except ConfigError:
                continue
    try:
        parts = urlsplit(redis_client_address(settings))
    except (ConfigError, ValueError):
        pass
    else:
        # Without a colon the user's place may hold the password: `redis://SECRET@host`.
        secret = parts.password or (parts.username if ":" not in parts.netloc else None) or ""
        found |= {secret, unquote(secret)}
    for read in (source_key, checkpoint_key):
        try:
            found.add((read(settings) or b"").decode(errors="replace"))
        except ConfigError:
            continue
    found |= set(_notify_secrets(settings))
    # Masking a very short word would mask half of every line.
    return frozenset(value for value in found if len(value) >= 4)
