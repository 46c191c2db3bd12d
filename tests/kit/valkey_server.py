"""The Redis-compatible servers of the tests: Valkey always, Debian's Redis if installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.embedded import EmbeddedValkey, embedded_valkey_binary


def server_binaries() -> dict[str, Path]:
    """The server programs of this machine, by kind; `valkey` is always there."""
    binaries = {"valkey": embedded_valkey_binary()}
    if (redis := shutil.which("redis-server")) is not None:
        binaries["redis"] = Path(redis)
    return binaries


@contextmanager
def valkey_server(
    *arguments: str, kind: str = "valkey", maxmemory_policy: str = "noeviction"
) -> Iterator[EmbeddedValkey]:
    """Run a server of this kind with these further command line arguments, for one test."""
    with EmbeddedValkey(
        binary=server_binaries()[kind], maxmemory_policy=maxmemory_policy, arguments=arguments
    ) as server:
        yield server
