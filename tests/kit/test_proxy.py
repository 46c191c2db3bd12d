"""The proxy passes everything on unchanged, and its faults are what they are called."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from tests.kit.proxy import END_TXN, TXN_OFFSET_COMMIT, Edge, Network

FETCH = 1


class Answering:
    """Answers each request of Kafka's form by its correlation id and body, and notes both."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        # Closing a socket does not wake up who waits in its accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._answer, args=(client,)))
            self._threads[-1].start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            try:
                while (frame := read_frame(client)) is not None:
                    api_key, _, correlation = struct.unpack_from(">hhi", frame)
                    self.asked.append((api_key, correlation))
                    body = struct.pack(">i", correlation) + frame[8:]
                    client.sendall(struct.pack(">i", len(body)) + body)
            except OSError:
                return


def read_frame(client: socket.socket) -> bytes | None:
    length = read_exactly(client, 4)
    return None if length is None else read_exactly(client, struct.unpack(">i", length)[0])


def read_exactly(client: socket.socket, n: int) -> bytes | None:
    found = b""
    while len(found) < n:
        if not (piece := client.recv(n - len(found))):
            return None
        found += piece
    return found


def ask(client: socket.socket, api_key: int, correlation: int, body: bytes = b"") -> None:
    frame = struct.pack(">hhi", api_key, 3, correlation) + body
    client.sendall(struct.pack(">i", len(frame)) + frame)


def answer(client: socket.socket) -> int:
    """The correlation id of the next reply."""
    frame = read_frame(client)
    assert frame is not None, "closed"
    return int(struct.unpack_from(">i", frame)[0])


def is_silent(client: socket.socket, seconds_s: float = 0.2) -> bool:
    client.settimeout(seconds_s)
    try:
        return client.recv(1) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)


def connect(edge: Edge) -> socket.socket:
    return socket.create_connection(("127.0.0.1", edge.port), timeout=10)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def server() -> Iterator[Answering]:
    with closing(Answering()) as server:
        yield server


@pytest.fixture
def edge(network: Network, server: Answering) -> Edge:
    return network.edge(server.port, kafka=True)


@pytest.fixture
def client(edge: Edge) -> Iterator[socket.socket]:
    with connect(edge) as client:
        yield client


@pytest.mark.parametrize("is_kafka", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_bytes_pass_unchanged_however_they_are_cut(
    network: Network, server: Answering, seed: int, is_kafka: bool
) -> None:
    rng = np.random.default_rng(seed)
    bodies = [rng.bytes(int(n)) for n in rng.integers(0, 300_000, 12)]
    stream = b"".join(
        struct.pack(">ihhi", 8 + len(body), FETCH, 3, i) + body for i, body in enumerate(bodies)
    )
    with connect(network.edge(server.port, kafka=is_kafka)) as client:

        def send() -> None:
            left = stream
            while left:
                n = int(rng.integers(1, 70_000))
                client.sendall(left[:n])
                left = left[n:]

        sender = threading.Thread(target=send)
        sender.start()
        frames = [read_frame(client) for _ in bodies]
        sender.join()
    assert frames == [struct.pack(">i", i) + body for i, body in enumerate(bodies)]


def test_one_reply_of_that_kind_is_lost_after_the_request_was_served(
    network: Network, server: Answering, client: socket.socket
) -> None:
    lost = network.drop_reply(END_TXN, resets=False)
    ask(client, TXN_OFFSET_COMMIT, 7)
    ask(client, END_TXN, 8)
    ask(client, END_TXN, 9)
    assert [answer(client), answer(client)] == [7, 9]
    assert server.asked == [(TXN_OFFSET_COMMIT, 7), (END_TXN, 8), (END_TXN, 9)]
    assert lost.wait(0)


def test_a_reply_can_be_lost_with_its_connection(
    network: Network, server: Answering, edge: Edge, client: socket.socket
) -> None:
    network.drop_reply(END_TXN)
    ask(client, END_TXN, 1)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert server.asked == [(END_TXN, 1)]
    with connect(edge) as again:
        ask(again, END_TXN, 2)
        assert answer(again) == 2


def test_an_incident_that_is_called_off_does_not_happen(
    network: Network, client: socket.socket
) -> None:
    incident = network.drop_reply(END_TXN)
    network.forget()
    ask(client, END_TXN, 1)
    assert answer(client) == 1
    assert not incident.wait(0)


def test_a_held_request_arrives_later_also_when_its_client_has_left(
    network: Network, server: Answering, edge: Edge
) -> None:
    held = network.hold_request(END_TXN)
    with connect(edge) as client:
        ask(client, FETCH, 1)
        assert answer(client) == 1
        ask(client, END_TXN, 2)
        assert held.wait(10)
        ask(client, FETCH, 3)
        assert is_silent(client)
    with connect(edge) as another:
        ask(another, END_TXN, 4)
        assert answer(another) == 4
    assert server.asked == [(FETCH, 1), (END_TXN, 4)]
    network.release(held)
    deadline_s = time.monotonic() + 10
    while len(server.asked) < 4 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert server.asked == [(FETCH, 1), (END_TXN, 4), (END_TXN, 2), (FETCH, 3)]


def test_a_black_hole_keeps_what_is_sent_until_it_is_healed(
    server: Answering, edge: Edge, client: socket.socket
) -> None:
    edge.black_hole()
    ask(client, FETCH, 1)
    with connect(edge) as newcomer:
        ask(newcomer, FETCH, 2)
        assert is_silent(client)
        assert is_silent(newcomer)
        assert server.asked == []
        edge.heal()
        assert (answer(client), answer(newcomer)) == (1, 2)


def test_half_open_connections_swallow_everything_until_they_are_reset(
    server: Answering, edge: Edge, client: socket.socket
) -> None:
    ask(client, FETCH, 1)
    assert answer(client) == 1
    edge.half_open()
    ask(client, FETCH, 2)
    assert is_silent(client)
    with connect(edge) as another:
        ask(another, FETCH, 3)
        assert answer(another) == 3
        edge.heal()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        ask(another, FETCH, 4)
        assert answer(another) == 4
    assert server.asked == [(FETCH, 1), (FETCH, 3), (FETCH, 4)]


def test_a_reset_ends_every_connection_and_new_ones_work(edge: Edge, client: socket.socket) -> None:
    ask(client, FETCH, 1)
    assert answer(client) == 1
    assert edge.n_connections() == 1
    edge.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with connect(edge) as again:
        ask(again, FETCH, 2)
        assert answer(again) == 2


def test_a_delay_holds_up_and_loses_nothing(edge: Edge, client: socket.socket) -> None:
    edge.delay(0.3)
    for i in range(3):
        ask(client, FETCH, i)
    assert is_silent(client, 0.1)
    assert [answer(client) for _ in range(3)] == [0, 1, 2]


def test_a_server_that_closes_is_closed_for_the_client_after_its_last_word(
    network: Network,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        edge = network.edge(listener.getsockname()[1])
        with connect(edge) as client:
            accepted, _ = listener.accept()
            accepted.sendall(b"bye")
            accepted.close()
            assert read_exactly(client, 3) == b"bye"
            assert client.recv(1) == b""


def test_a_server_that_is_down_is_seen_as_a_reset(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    edge = network.edge(port)
    # The reset may come before the client has seen its connection stand: both are the same answer.
    with pytest.raises(ConnectionResetError), connect(edge) as client:
        client.recv(1)
