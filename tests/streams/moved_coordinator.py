"""A group whose coordinator has moved, and who asks for what it has committed.

`python -m tests.streams.moved_coordinator` prints the offset. The broker is a stub that knows four
requests: it says once that it is not the group's coordinator, and then that it is. A process of its
own, since an admin client that asks the same is ended by the answer.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from typing import Final

from streams.group_offsets import GroupOffsets

TOPIC: Final = "events"
OFFSET: Final = 7

_OFFSET_FETCH, _METADATA, _FIND_COORDINATOR, _API_VERSIONS = 9, 3, 10, 18
_VERSIONS: Final = {_OFFSET_FETCH: 2, _METADATA: 1, _FIND_COORDINATOR: 0, _API_VERSIONS: 0}
_UNSUPPORTED_VERSION, _NOT_COORDINATOR = 35, 16


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


class Broker(socketserver.ThreadingTCPServer):
    """Node 1 of a cluster of one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.has_moved = threading.Event()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    def answer(self, api_key: int, version: int) -> bytes:
        """The body of the answer."""
        node = struct.pack(">i", 1) + _text("127.0.0.1") + struct.pack(">i", self.server_address[1])
        if api_key == _API_VERSIONS:
            error = 0 if version == 0 else _UNSUPPORTED_VERSION
            known = [struct.pack(">hhh", key, most, most) for key, most in _VERSIONS.items()]
            return struct.pack(">hi", error, len(known)) + b"".join(known)
        if api_key == _METADATA:
            partition = struct.pack(">hiiiiii", 0, 0, 1, 1, 1, 1, 1)
            topic = struct.pack(">h", 0) + _text(TOPIC) + struct.pack(">bi", 0, 1) + partition
            no_rack = struct.pack(">h", -1)
            return struct.pack(">i", 1) + node + no_rack + struct.pack(">ii", 1, 1) + topic
        if api_key == _FIND_COORDINATOR:
            return struct.pack(">h", 0) + node
        error = 0 if self.has_moved.is_set() else _NOT_COORDINATOR
        self.has_moved.set()
        found = struct.pack(">iqhh", 0, OFFSET if error == 0 else -1, 0, error)
        return (
            struct.pack(">i", 1) + _text(TOPIC) + struct.pack(">i", 1) + found
            + struct.pack(">h", error)
        )  # fmt: skip


class _Connection(socketserver.StreamRequestHandler):
    server: Broker

    def handle(self) -> None:
        while head := self.rfile.read(4):
            request = self.rfile.read(*struct.unpack(">i", head))
            api_key, version, correlation_id = struct.unpack_from(">hhi", request)
            body = struct.pack(">i", correlation_id) + self.server.answer(api_key, version)
            self.wfile.write(struct.pack(">i", len(body)) + body)


def main() -> None:
    """Ask."""
    with Broker() as broker:
        threading.Thread(target=broker.serve_forever, daemon=True).start()
        groups = GroupOffsets(broker.address, {})
        (found,) = groups.committed("group", [(TOPIC, 0)], 30.0)
        print(found.offset, broker.has_moved.is_set())
        broker.shutdown()


if __name__ == "__main__":
    main()
