"""How Redis is reached: its URL, timeouts, TLS; and its errors in words that hold no secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

from redis.asyncio.connection import ConnectionPool as AsyncConnectionPool
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from streams.ports import StoreError

_URL_OPTIONS: Final = ("db", "socket_timeout", "socket_connect_timeout")

# How a missing right is told from inside a script (Valkey, Redis 7.0) and in a transaction.
_NO_PERMISSION: Final = ("ACL failure in script", "The user executing the script can't", "NOPERM")


_Pool = TypeVar("_Pool")


def connection_pool(
    url: str, timeout_s: float, connect_timeout_s: float
) -> tuple[str, ConnectionPool]:
    """The place a URL names, without its secrets, and connections to it (none is made yet).

    Timeouts and `ssl_...` options in the URL win over the arguments; the host name in a
    certificate is checked unless the URL says otherwise. Raises `StoreError` where it cannot be a
    URL of Redis, without repeating it.
    """
    # A connection that the server has closed meanwhile is made anew, once, at once. A server
    # that does not answer in time is not asked again: the fold goes on without it.
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return _pool(
        url,
        timeout_s,
        connect_timeout_s,
        lambda options: ConnectionPool.from_url(url, **options, retry=retry),
    )


def async_connection_pool(
    url: str, timeout_s: float, connect_timeout_s: float
) -> tuple[str, AsyncConnectionPool]:
    """The same for asyncio; the connections belong to the loop in which they are first used."""
    retry = AsyncRetry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return _pool(
        url,
        timeout_s,
        connect_timeout_s,
        lambda options: AsyncConnectionPool.from_url(url, **options, retry=retry),
    )


def _pool(
    url: str, timeout_s: float, connect_timeout_s: float, make: Callable[[dict[str, Any]], _Pool]
) -> tuple[str, _Pool]:
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": connect_timeout_s,
        "socket_keepalive": True,
        # RESP2 and no introduction: then neither HELLO nor CLIENT is among the commands needed.
        "protocol": 2,
        "driver_info": None,
    }
    try:
        parts = urlsplit(url)
        names = sorted(parse_qs(parts.query))
        if parts.scheme == "unix":
            place = parts.path
            # No keepalive for a socket of this machine.
            del options["socket_keepalive"]
        else:
            place = f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
        if parts.scheme == "rediss":
            options["ssl_check_hostname"] = True
        pool = make(options)
    except ValueError:
        # Neither the URL nor urllib's words about it: either may show the password.
        raise StoreError(
            "the Redis URL is malformed; it looks like redis://USER:PASSWORD@HOST:6379/0, with"
            " special characters of the password percent-encoded"
        ) from None
    for name in names:
        if name not in _URL_OPTIONS and not name.startswith("ssl_"):
            raise StoreError(f"the Redis URL has the option {name!r}, which is not supported")
    return place, pool


def in_words(error: Exception) -> str:
    """What went wrong and, where it is known, what to do; without anything that was sent."""
    text = str(error).split("\n", 1)[0][:300].rstrip(". ")
    if isinstance(error, RedisTimeoutError):
        return "it did not answer in time."
    if isinstance(error, AuthenticationError):
        return "it refused user or password."
    if isinstance(error, NoPermissionError) or any(words in text for words in _NO_PERMISSION):
        return f"its ACL forbids a command or a key that is needed ({text}); see docs/acl-redis.md."
    if isinstance(error, OutOfMemoryError):
        return "its memory is full and it keeps what it has; raise maxmemory."
    if isinstance(error, ReadOnlyError):
        return "it is a read-only replica; give the address of the primary."
    if isinstance(error, BusyLoadingError):
        return "it is still loading its data."
    if isinstance(error, RedisConnectionError):
        return f"it cannot be reached ({text})."
    return f"it answered with an error ({text})."
