"""A stop ends in time wherever the worker is at that moment."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

from streams.launch import EXIT_FAILED

WORKER = """
import streams.launch
from streams.cli import main

streams.launch.STOP_S = 0.3
main()
"""


def test_a_stop_is_heard_in_the_middle_of_a_call_that_waits_for_brokers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_broker:
        silent_broker.settimeout(60)
        address = f"127.0.0.1:{silent_broker.getsockname()[1]}"
        arguments = ["worker", "--bootstrap-servers", address, "--redis-url", "redis://127.0.0.1:1"]
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments], stderr=subprocess.PIPE, text=True
        ) as worker:
            try:
                connection, _ = silent_broker.accept()
                with connection:
                    connection.settimeout(60)
                    assert connection.recv(1)  # it asks, and waits half a minute for an answer
                    time.sleep(0.5)
                    worker.send_signal(signal.SIGTERM)
                    _, said = worker.communicate(timeout=60)
            finally:
                worker.kill()

    assert "stopped without draining" in said, said
    assert worker.returncode == EXIT_FAILED
