"""The address of Redis, whose password never shows."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

from pydantic import Secret

from streams.config_errors import ConfigError, Problem
from streams.hosts import is_loopback
from streams.references import expand, is_reference, reference_problem, without_references

_SCHEMES: Final = ("redis", "rediss", "unix")


class RedisUrl(Secret[str]):
    """A Redis URL; shown without its password, and without everything where it cannot be read."""

    def _display(self) -> str:
        url = self.get_secret_value()
        if not url or is_reference(url):
            return url
        try:
            parts = urlsplit(url)
            user, has_user, place = parts.netloc.rpartition("@")
        except ValueError:
            return "***"
        if parts.scheme not in _SCHEMES:
            return "***"
        name, has_password, _ = user.partition(":")
        # Whoever forgets the colon (redis://SECRET@host) has put the password in the user's place.
        shown = f"{name}:***@" if has_password else "***@" if has_user else ""
        query = "?***" if parts.query else ""
        return f"{parts.scheme}://{shown}{place}{parts.path}{query}"


def redis_url_problem(url: RedisUrl) -> str:
    """What is wrong with the form of the address; "" where nothing is."""
    text = url.get_secret_value()
    if problem := reference_problem(text):
        return problem
    if is_reference(text):
        return ""
    try:
        parts = urlsplit(without_references(text))
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return "is not an address such as redis://HOST:6379/0"
    if parts.scheme not in _SCHEMES:
        return "should begin with redis://, rediss:// (TLS) or unix://"
    if parts.scheme == "unix":
        return "" if parts.path else "should name a socket, as unix:///run/redis.sock"
    if not parts.hostname or not port_is_valid:
        return "is not an address such as redis://HOST:6379/0"
    if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        return "should end in the number of a database, as redis://HOST:6379/0"
    return ""


def is_plaintext_elsewhere(url: RedisUrl) -> bool:
    """Whether everything, the password included, goes unencrypted to another machine."""
    parts = urlsplit(url.get_secret_value())
    return parts.scheme == "redis" and not is_loopback(parts.hostname or "")


def redis_address(url: RedisUrl) -> str:
    """The address with its references read: for the client, and for nobody else.

    A reference inside the address is percent-encoded, so that a password may hold any character.
    Raises `ConfigError`.
    """
    text = url.get_secret_value()
    path = "worker.redis_url"
    if not is_reference(text):
        return expand(text, path, encode=lambda secret: quote(secret, safe=""))
    resolved = RedisUrl(expand(text, path))
    if has_problem := redis_url_problem(resolved):
        raise ConfigError(Problem(path, f"what {text} holds {has_problem}"))
    return resolved.get_secret_value()
