"""What a test was given is gone before the server it was given it for."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest


class Server:
    """Outlives its clients, and remembers them."""

    def __init__(self) -> None:
        self.clients: weakref.WeakSet[Client] = weakref.WeakSet()


class Client:
    """Nothing but something to hold."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Goes down after the last test of this file."""
    it = Server()
    yield it
    gc.collect()
    assert not list(it.clients)


@pytest.fixture
def client(server: Server) -> Client:
    """One client of the server, which nothing closes."""
    it = Client()
    server.clients.add(it)
    return it


def test_the_last_test_lets_go_of_its_fixtures(server: Server, client: Client) -> None:
    """The assertion that counts is in the teardown of `server`."""
    assert list(server.clients) == [client]
