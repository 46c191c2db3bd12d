"""A TCP proxy with faults: what lies between a worker and a broker, or a worker and Redis.

A `Network` runs one event loop in a thread of its own; each `Edge` of it is a port that leads to
another one. Kafka's edges know where a request or a reply begins, so that single ones can be lost
or held up, by their API key. An edge's verbs:

- `delay(seconds_s)`: every piece waits so long;
- `black_hole()`: nothing passes, nothing is closed; the bytes wait, as TCP keeps them;
- `half_open()`: the server's ends of the connections are closed, and the clients are not told;
- `reset()`: every connection ends with RST;
- `heal()`: all is well from now on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self

END_TXN: Final = 26
TXN_OFFSET_COMMIT: Final = 28

_LENGTH: Final = struct.Struct(">i")
_REQUEST: Final = struct.Struct(">hhi")  # API key, API version, correlation id
_PIECE_BYTES: Final = 64 * 1024
_LINGER_S: Final = 10.0


class Incident:
    """A fault that waits for its request or reply, and happens once."""

    def __init__(self, api_key: int, *, holds: bool, resets: bool) -> None:
        self.api_key: Final = api_key
        self.holds: Final = holds
        self.resets: Final = resets
        self._happened: Final = threading.Event()
        self._released: Final = asyncio.Event()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has happened within this time."""
        return self._happened.wait(timeout_s)


class _Connection:
    """One client's connection through an edge."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client: Final = client
        self.server: asyncio.StreamWriter | None = None
        self.asked: Final[dict[int, int]] = {}  # API key by correlation id
        self.is_half_open = False
        self.was_held = False

    def reset(self) -> None:
        """End both ends with RST."""
        _abort(self.client)
        _abort(self.server)

    async def answered(self) -> None:
        """Give the server time to read and answer: what ends with RST may be thrown away unread."""
        deadline_s = asyncio.get_running_loop().time() + _LINGER_S
        while self.asked and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(0.01)

    def cut_server(self) -> None:
        """Close the server's end alone."""
        self.is_half_open = True
        _abort(self.server)


class Edge:
    """A port on 127.0.0.1 that leads to `target_port`."""

    def __init__(self, network: Network, target_port: int, *, kafka: bool) -> None:
        self._network: Final = network
        self._target_port: Final = target_port
        self._kafka: Final = kafka
        self._connections: Final[set[_Connection]] = set()
        self._open: Final = asyncio.Event()
        self._open.set()
        self._delay_s = 0.0
        self.port = 0
        self._server: asyncio.Server | None = None

    def delay(self, seconds_s: float) -> None:
        """Every piece waits so long, in both directions."""
        self._delay_s = seconds_s

    def black_hole(self) -> None:
        """Nothing passes any more; what is sent meanwhile arrives after `heal`."""
        self._network.call(self._open.clear)

    def half_open(self) -> None:
        """Close the server's ends of all connections; what clients send goes nowhere."""
        self._network.call(self._cut_servers)

    def reset(self) -> None:
        """End every connection with RST."""
        self._network.call(self._reset)

    def heal(self) -> None:
        """No delay, no black hole, and half-open connections are reset."""
        self._delay_s = 0.0
        self._network.call(self._healed)

    def n_connections(self) -> int:
        """How many connections there are now."""
        return len(self._connections)

    def _cut_servers(self) -> None:
        for each in self._connections:
            each.cut_server()

    def _reset(self) -> None:
        for each in list(self._connections):
            each.reset()

    def _healed(self) -> None:
        self._open.set()
        for each in list(self._connections):
            if each.is_half_open:
                each.reset()

    async def listen(self) -> None:
        """Take connections from now on; in the network's thread."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Take no connections any more; in the network's thread."""
        if self._server is not None:
            self._server.close()
        self._reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        self._connections.add(connection)
        try:
            await self._open.wait()
            server_reader, connection.server = await asyncio.open_connection(
                "127.0.0.1", self._target_port
            )
            replies = asyncio.create_task(self._replies(connection, server_reader))
            try:
                with contextlib.suppress(asyncio.IncompleteReadError):
                    await self._requests(connection, reader)
                if connection.was_held:
                    await connection.answered()
            finally:
                # The client has left, or the server did: the other direction has no purpose.
                replies.cancel()
                await asyncio.gather(replies, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            # An end that went away is what this proxy is for.
            return
        finally:
            connection.reset()
            self._connections.discard(connection)

    async def _requests(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        server = connection.server
        while server is not None and (piece := await self._piece(reader)):
            if connection.is_half_open:
                continue
            if self._kafka:
                api_key, _, correlation = _REQUEST.unpack_from(piece, _LENGTH.size)
                incident = self._network.take(api_key, holds=True)
                if incident is not None:
                    # TCP keeps the order: what follows on this connection waits behind it. A client
                    # that gives up in the meantime does not take its request back.
                    connection.was_held = True
                    await incident._released.wait()
                connection.asked[correlation] = api_key
            await self._pass(server, piece)

    async def _replies(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        try:
            while piece := await self._piece(reader):
                if self._kafka:
                    (correlation,) = _LENGTH.unpack_from(piece, _LENGTH.size)
                    api_key = connection.asked.pop(correlation, -1)
                    incident = self._network.take(api_key, holds=False)
                    if incident is not None:
                        if incident.resets:
                            connection.reset()
                        continue
                await self._pass(connection.client, piece)
        except (OSError, asyncio.IncompleteReadError):
            pass
        if not connection.is_half_open:
            # The server has closed: what it had sent has been passed on, now the client is told.
            connection.client.close()

    async def _piece(self, reader: asyncio.StreamReader) -> bytes:
        """A whole Kafka request or reply with its length, or whatever bytes there are."""
        if not self._kafka:
            return await reader.read(_PIECE_BYTES)
        length = await reader.readexactly(_LENGTH.size)
        return length + await reader.readexactly(*_LENGTH.unpack(length))

    async def _pass(self, writer: asyncio.StreamWriter, piece: bytes) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        await self._open.wait()
        writer.write(piece)
        await writer.drain()


class Network:
    """Edges, and the incidents on any of them; `close` ends them all."""

    def __init__(self) -> None:
        self._loop: Final = asyncio.new_event_loop()
        self._lock: Final = threading.Lock()
        self._incidents: list[Incident] = []
        self.edges: Final[list[Edge]] = []
        self._thread: Final = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def edge(self, target_port: int, *, kafka: bool = False) -> Edge:
        """A new port that leads to this one."""
        edge = Edge(self, target_port, kafka=kafka)
        self._run(edge.listen())
        self.edges.append(edge)
        return edge

    def drop_reply(self, api_key: int, *, resets: bool = True) -> Incident:
        """Lose the next reply to such a request, after the broker has done what was asked.

        With `resets` its connection is lost with it, as by a network; else that reply alone.
        """
        return self._add(Incident(api_key, holds=False, resets=resets))

    def hold_request(self, api_key: int) -> Incident:
        """Hold the next such request, and what its connection sends after it, until `release`."""
        return self._add(Incident(api_key, holds=True, resets=False))

    def release(self, incident: Incident) -> None:
        """Let a held request go on to the broker, whether or not its client is still there."""
        self.call(incident._released.set)

    def forget(self) -> None:
        """Call off the incidents that have not happened."""
        with self._lock:
            self._incidents.clear()

    def take(self, api_key: int, *, holds: bool) -> Incident | None:
        """The incident that is due for this request or reply, which happens hereby."""
        with self._lock:
            for incident in self._incidents:
                if (incident.api_key, incident.holds) == (api_key, holds):
                    self._incidents.remove(incident)
                    incident._happened.set()
                    return incident
        return None

    def call(self, action: Callable[[], object]) -> None:
        """Do this in the network's thread, and wait for it."""

        async def act() -> None:
            action()

        self._run(act())

    def close(self) -> None:
        """End every edge and the thread."""

        async def end() -> None:
            for edge in self.edges:
                await edge.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Aborted transports let go of their sockets in the loop's next turns.
            await asyncio.sleep(0.01)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _add(self, incident: Incident) -> Incident:
        with self._lock:
            self._incidents.append(incident)
        return incident

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)


def _abort(writer: asyncio.StreamWriter | None) -> None:
    """Close with RST."""
    if writer is None:
        return
    of = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        of.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
