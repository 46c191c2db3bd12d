"""Which addresses a receiver may have, and how its URL has to look. Pure.

Whoever can set a receiver's name in DNS chooses where we connect to. So a name is looked up first,
and what is connected to is an address that has passed here (`streams/notify_http.py`).
Source: IANA's special-purpose address registries (RFC 6890), as `ipaddress` knows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, NamedTuple, Self

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

NEVER: Final[tuple[Network, ...]] = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",
        "169.254.0.0/16",  # link-local: where clouds serve the credentials of a machine
        "192.0.0.0/24",  # IETF's own: 192.0.0.192 is such a service too; `ipaddress` has it in part
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "fe80::/10",
        "ff00::/8",
        "fd00:ec2::/32",  # the same service of a cloud, in IPv6
    )
)
"""Nobody's receiver: refused whatever is allowed."""
WITHIN: Final = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
)
"""The networks of one's own house: loopback, private, shared by a provider's customers."""

_NAT64: Final = ip_network("64:ff9b::/96")
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# The last label begins with a letter: what looks like a number may be read as an address.
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?")
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!$&-;=?-Z_a-z~%]*)?"
)
_MAX_URL: Final = 2_000


class Endpoint(NamedTuple):
    """A URL that can be posted to; `host` is lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The URL, with its port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def place(self) -> str:
        """What may be said of it in a log: its path may be a secret."""
        return f"{self.scheme}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Public addresses, and those in `allowed`."""

    allowed: tuple[Network, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str]) -> Self:
        """The policy that allows these networks, in CIDR notation. Raises ValueError."""
        return cls(tuple(ip_network(each) for each in networks))

    def refusal(self, text: str) -> str:
        """Why nothing may be sent to this address; "" where it may."""
        try:
            address = ip_address(text)
        except ValueError:
            return f"{text} is no address"
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return f"{text} is an address on one link"
            if address.ipv4_mapped is not None:
                return self._refusal(address.ipv4_mapped, text)
            if (inner := _translated(address)) is not None:
                # What is allowed is so by its own name, and not through a gateway.
                is_passed = _is_public(inner) and not _within(inner, NEVER)
                return "" if is_passed else f"{text} stands for {inner}: not public"
        return self._refusal(address, text)

    def _refusal(self, address: Address, text: str) -> str:
        if _within(address, NEVER):
            return f"{text} is link-local, multicast, reserved or no host's address"
        if _is_public(address) or _within(address, self.allowed):
            return ""
        return f"{text} is not public, and in none of the networks that are allowed"


def host_problem(host: str) -> str:
    """What is wrong with a host's name or address; "" where nothing is."""
    try:
        ip_address(host)
    except ValueError:
        if len(host) > 253 or _NAME.fullmatch(host) is None:
            return "is neither a host's name in ASCII letters nor a whole address"
    return ""


def network_problem(text: str) -> str:
    """What is wrong with a network that is to be allowed; "" where nothing is."""
    try:
        network = ip_network(text)
    except ValueError:
        return "is no network such as 10.1.0.0/16"
    if not any(
        network.version == each.version and network.subnet_of(each)  # type: ignore[arg-type]
        for each in map(ip_network, WITHIN)
    ):
        return f"lies in none of {', '.join(WITHIN)}: only these can be allowed, public ones are"
    return ""


def endpoint(url: str) -> Endpoint:
    """The parts of a URL. Raises ValueError, which says what is wrong and repeats nothing of it."""
    match = _URL.fullmatch(url) if len(url) <= _MAX_URL else None
    if match is None:
        raise ValueError(
            "should be http(s)://HOST[:PORT][/PATH] in ASCII, without a user and without a #"
        )
    host = match["host"].strip("[]").lower()
    if host_problem(host) or ("[" in match["host"]) != (":" in host):
        raise ValueError("its host is neither a name nor a whole address")
    scheme = match["scheme"]
    port = int(match["port"] or (443 if scheme == "https" else 80))
    if not 0 < port < 65_536:
        raise ValueError("its port is none")
    return Endpoint(scheme, host, port, match["path"] or "/")


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == each.version and address in each for each in networks)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _translated(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a gateway would make of this one (NAT64, 6to4).

    Teredo's addresses are not public.
    """
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour
