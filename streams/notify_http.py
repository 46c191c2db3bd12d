"""One POST to a receiver: to an address that was checked, within a time, with a short answer.

The name is looked up, each address is judged, and the connection goes to one that passed: it is not
looked up again, so that another answer of DNS a moment later changes nothing. TLS checks the
certificate against the name all the same. No redirect is followed, no proxy of the environment is
used, no cookie is kept, and no connection is kept open.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from streams.notify_addresses import AddressPolicy, Endpoint

MAX_ANSWER: Final = 512
"""So many bytes of an answer are read, of one that is no success."""
_ROUNDS: Final = 100
_ROUND_S: Final = 0.005
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

Lookup = Callable[[str, int], Sequence[str]]
"""The addresses of a host for a port, as numbers. May wait. Raises OSError."""


class Answer(NamedTuple):
    """What the receiver said; `text` is empty where it took what it was told."""

    status: int
    retry_after_s: float | None
    text: str

    @property
    def is_success(self) -> bool:
        """Whether it was taken."""
        return 200 <= self.status < 300


class UnreachableError(Exception):
    """No answer: no address, none that is allowed, no connection, no TLS, or too late."""


def look_up(host: str, port: int) -> list[str]:
    """What the system's resolver says. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """TLS 1.2 or later, names verified; `ca_file` in place of the system's authorities.

    Raises OSError (`ssl.SSLError` is one) where the file cannot be used.
    """
    return ssl.create_default_context(cafile=ca_file)


class Poster:
    """Posts to one endpoint. For one thread."""

    def __init__(
        self,
        endpoint: Endpoint,
        policy: AddressPolicy,
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup = look_up,
    ) -> None:
        """`timeout_s` is for all of it: looking up, connecting, sending, hearing the status."""
        self._endpoint: Final = endpoint
        self._policy: Final = policy
        self._timeout_s: Final = timeout_s
        self._tls: Final = tls if tls is not None else tls_context(None)
        self._lookup: Final = lookup
        self._runner: Final = asyncio.Runner()

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send this body. Raises `UnreachableError`, which says why."""
        try:
            return self._runner.run(self._post(body, headers))
        except TimeoutError:
            raise UnreachableError(f"no answer within {self._timeout_s:g} s") from None
        except _RefusedError as error:
            raise UnreachableError(str(error)) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # A library's error may hold the URL, and the URL's path a secret.
            path = self._endpoint.path
            said = str(error).replace(path, "/...") if len(path) > 1 else str(error)
            raise UnreachableError(f"{type(error).__name__}: {said}"[:300]) from None

    def close(self) -> None:
        """Let go of the loop."""
        self._runner.close()

    def __enter__(self) -> Self:
        """Nothing is open before the first POST."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        sockets: list[socket.socket] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._answer(body, headers, await self._addresses(), sockets)
        finally:
            await _hang_up(sockets)

    async def _answer(
        self,
        body: bytes,
        headers: Mapping[str, str],
        addresses: Sequence[tuple[int, str]],
        sockets: list[socket.socket],
    ) -> Answer:
        def make(info: tuple[Any, ...]) -> socket.socket:
            family, kind, protocol, *_ = info
            sockets.append(socket.socket(family, kind, protocol))
            return sockets[-1]

        connector = aiohttp.TCPConnector(
            resolver=_Pinned(addresses),
            use_dns_cache=False,
            ssl=self._tls,
            force_close=True,
            socket_factory=make,
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                auto_decompress=False,
                trust_env=False,
            ) as session,
            session.post(
                self._endpoint.url,
                data=body,
                headers={"content-type": "application/json", "user-agent": _AGENT, **headers},
                allow_redirects=False,
            ) as response,
        ):
            text = b""
            # Whoever took it is not listened to any longer.
            if not 200 <= response.status < 300:
                text = await response.content.read(MAX_ANSWER)
            return Answer(
                response.status,
                _seconds(response.headers.get("retry-after", "")),
                text.decode(errors="replace"),
            )

    async def _addresses(self) -> list[tuple[int, str]]:
        """Those of the host that may be connected to, with their families."""
        host, port = self._endpoint.host, self._endpoint.port
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, self._lookup, host, port)
        refusals = {each: self._policy.refusal(each) for each in found}
        passed = [each for each, why in refusals.items() if not why]
        if not passed:
            why = "; ".join(refusals.values()) or "it has no address"
            raise _RefusedError(f"nothing is sent to {host}: {why}")
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, each) for each in passed]


async def _hang_up(sockets: Sequence[socket.socket]) -> None:
    """End what is still open, without TLS's farewell: whoever hangs would not answer it."""
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
    # The loop closes them in its next rounds, and may have none after this POST.
    for _ in range(_ROUNDS):
        if all(each.fileno() < 0 for each in sockets):
            return
        await asyncio.sleep(_ROUND_S)


class _RefusedError(Exception):
    """No address of the host may be connected to."""


class _Pinned(AbstractResolver):
    """Gives the addresses that were checked, and asks nobody."""

    def __init__(self, addresses: Sequence[tuple[int, str]]) -> None:
        self._addresses: Final = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=each, port=port, family=kind, proto=0, flags=int(_NUMERIC)
            )
            for kind, each in self._addresses
            if family in {socket.AF_UNSPEC, kind}
        ]

    async def close(self) -> None:
        """Nothing is open."""


_AGENT: Final = "driftsentry-notify"


def _seconds(text: str) -> float | None:
    """A `Retry-After` in seconds; one that is a date is left to our own pauses."""
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None
