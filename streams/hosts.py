"""Which hosts are this machine: traffic to them needs no encryption."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

_BROKER: Final = re.compile(
    r"(?:(?P<protocol>[A-Za-z_]+)://)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\],@]+)(?::(?P<port>\d+))?"
)


class Broker(NamedTuple):
    """One entry of `bootstrap_servers`; `protocol` is upper case, or "" where none is given."""

    protocol: str
    host: str
    port: int


def is_loopback(host: str) -> bool:
    """Whether a host is `localhost` or a loopback address (127.0.0.0/8, ::1)."""
    host = host.strip("[]").partition("%")[0]
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def parse_brokers(bootstrap_servers: str) -> list[Broker] | None:
    """The entries of a list such as `a:9092,b:9092`; None where an entry is not HOST:PORT."""
    brokers: list[Broker] = []
    for entry in bootstrap_servers.split(","):
        match = _BROKER.fullmatch(entry.strip())
        if match is None or not 0 < (port := int(match["port"] or 9092)) < 65536:
            return None
        brokers.append(Broker((match["protocol"] or "").upper(), match["host"], port))
    return brokers
