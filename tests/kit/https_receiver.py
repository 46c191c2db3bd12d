"""A real HTTPS server that keeps what it is sent and answers as it is told."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import trustme

Play = Callable[[BaseHTTPRequestHandler], None]
"""Answers a request whose body was read."""


@dataclass(frozen=True)
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A running one: `plays` are its answers, one after another; the last one stays."""

    port: int
    ca_file: Path
    plays: list[Play]
    got: list[Got] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    """Set when the server ends: whoever hangs goes on."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/hook"

    def then(self, *plays: Play) -> None:
        """Answer like this from now on."""
        self.plays[:] = plays


def status(code: int, text: str = "", **headers: str) -> Play:
    """An answer with this status."""

    def play(handler: BaseHTTPRequestHandler) -> None:
        body = text.encode()
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return play


def hang(handler: BaseHTTPRequestHandler) -> None:
    """Say nothing until the server ends."""
    server = handler.server
    assert isinstance(server, _Server)
    server.receiver.let_go.wait()


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True
    with suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Send one header after another, for ever."""
    server = handler.server
    assert isinstance(server, _Server)
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        handler.wfile.write(f"x-{number}: y\r\n".encode())
        handler.wfile.flush()
        if server.receiver.let_go.wait(0.05):
            return


def endless(code: int) -> Play:
    """An answer of this status whose body does not end."""

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("content-length", str(10**12))
        handler.end_headers()
        server = handler.server
        assert isinstance(server, _Server)
        while not server.receiver.let_go.is_set():
            handler.wfile.write(bytes(65_536))

    return play


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that end a connection are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        receiver = server.receiver
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        receiver.got.append(Got(self.path, headers, body))
        play = receiver.plays.pop(0) if len(receiver.plays) > 1 else receiver.plays[0]
        play(self)

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""


OK: Final = status(200)
SECRETS: Final = [f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2)]
"""What its senders sign with."""


@contextmanager
def https_receiver(
    directory: Path, plays: Sequence[Play] = (OK,), *, names: Sequence[str] = ("localhost",)
) -> Iterator[Receiver]:
    """Run one whose certificate has these names, from an authority of its own."""
    authority = trustme.CA()
    ca_file = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(tls)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver = Receiver(server.server_address[1], ca_file, list(plays))
    server.receiver = receiver
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()
