"""The secrets that settings refer to, read at the moment they are needed.

What is returned here goes to a client and nowhere else; `secret_values` is for the log's redaction.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from streams.config import Settings
from streams.config_errors import ConfigError
from streams.kafka_properties import is_secret, read_properties
from streams.redis_address import redis_address
from streams.references import read_key


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
    # Masking a very short word would mask half of every line.
    return frozenset(value for value in found if len(value) >= 4)
