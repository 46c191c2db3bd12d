"""When a responder is ready, when it has come to a standstill, and when it is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from streams.responder_pulse import Pulse
from streams.responder_supervisor import Backoff, keep_running
from streams.responder_watch import Seen, State, Watch, write_ready

A, B = ("alerts", 0), ("alerts", 1)


def seen(assigned: set[tuple[str, int]] | None, done: int, end: int = 10) -> Seen:
    return Seen(assigned, {A: done}, {A: end, B: 100})


def test_it_is_ready_once_it_has_partitions() -> None:
    watch = Watch(60)
    assert not watch.at(0, None).is_ready
    assert not watch.at(1, seen(None, 0)).is_ready
    state = watch.at(2, seen({A}, 0))
    assert state == State(is_ready=True, is_stalled=False, has_changed=True, lag=10, n_partitions=1)
    assert not watch.at(3, seen({A}, 0)).has_changed
    assert watch.at(4, None).has_changed


def test_one_without_a_partition_is_ready_to_take_one_over() -> None:
    state = Watch(60).at(0, seen(set(), 0))
    assert (state.is_ready, state.lag) == (True, 0)


def test_it_stalls_where_something_is_to_be_read_and_nothing_is_committed() -> None:
    watch = Watch(60)
    watch.at(0, seen({A}, 3))
    assert not watch.at(59, seen({A}, 3)).is_stalled
    state = watch.at(60, seen({A}, 3))
    assert (state.is_stalled, state.is_ready, state.lag) == (True, False, 7)


def test_what_moves_or_is_done_does_not_stall() -> None:
    watch = Watch(60)
    watch.at(0, seen({A}, 3))
    assert not watch.at(59, seen({A}, 4)).is_stalled
    assert not watch.at(118, seen({A}, 4)).is_stalled
    assert not watch.at(119, seen({A}, 10)).is_stalled
    assert not watch.at(500, seen({A}, 10)).is_stalled
    # Something new has the whole time again.
    assert not watch.at(501, seen({A}, 10, 11)).is_stalled
    assert watch.at(560, seen({A}, 10, 11)).is_stalled


def test_the_lag_of_others_is_none_of_its_business() -> None:
    watch = Watch(60)
    watch.at(0, seen({A}, 10))
    assert not watch.at(100, seen({A}, 10)).is_stalled


def test_the_time_without_an_answer_is_no_standstill() -> None:
    watch = Watch(60)
    watch.at(0, seen({A}, 3))
    watch.at(50, None)
    assert not watch.at(70, seen({A}, 3)).is_stalled
    assert watch.at(130, seen({A}, 3)).is_stalled


def test_a_rebalance_that_never_ends_is_one() -> None:
    watch = Watch(60)
    watch.at(0, seen({A}, 3))
    watch.at(1, seen(None, 3))
    assert watch.at(70, seen(None, 3)).is_stalled


def test_the_file_is_there_while_it_is_ready(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    write_ready(path, None)
    state = State(is_ready=True, is_stalled=False, has_changed=True, lag=2, n_partitions=1)
    write_ready(path, state)
    assert orjson.loads(path.read_bytes()) == {"lag": 2, "partitions": 1}
    write_ready(path, None)
    assert list(tmp_path.iterdir()) == []
    write_ready(None, state)


def test_pauses_grow_and_a_long_run_begins_anew() -> None:
    backoff = Backoff()
    assert [backoff.after(1) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.after(301) == 1
    assert backoff.after(1) == 2


def started(*codes: int) -> tuple[list[int], int]:
    """Processes that end with these codes, one after another; how many, and the last code."""
    left = list(codes)
    ran: list[int] = []

    def start() -> subprocess.Popen[bytes]:
        ran.append(left.pop(0))
        return subprocess.Popen([sys.executable, "-c", f"raise SystemExit({ran[-1]})"])

    return ran, keep_running(start)


def test_what_fails_is_started_again_and_what_needs_a_person_is_not() -> None:
    assert started(1, 3, 0) == ([1, 3], 3)
    assert started(0, 1) == ([0], 0)
    assert started(2, 1) == ([2], 2)


def test_a_signal_ends_both() -> None:
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "print('here', flush=True)\n"
        "while True: time.sleep(1)\n"
    )
    children: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        children.append(child)
        threading.Thread(target=ask, args=[child]).start()
        return child

    def ask(child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        child.stdout.readline()
        os.kill(os.getpid(), signal.SIGTERM)

    assert keep_running(start) == 0
    (child,) = children
    assert child.returncode == 0
    assert child.stdout is not None
    child.stdout.close()


ASKED_TWICE = """
import asyncio, os, signal
from streams.responder_app import hear_signals

async def main():
    stop = asyncio.Event()
    hear_signals(stop.set)
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()

asyncio.run(main())
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGINT)
print("ended")
"""
ASKED_EARLY = """
import os, signal
from streams import config_loader
from streams.cli import main

config_loader.load = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
main(["respond", *{options}])
"""


def test_who_is_asked_again_while_it_ends_ends_as_it_was_asked_to() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKED_TWICE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr


@pytest.mark.parametrize("options", [[], ["--no-supervisor"]])
def test_a_responder_that_is_asked_before_it_has_begun_ends_at_once(options: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKED_EARLY.format(options=options)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "stopped before anything had begun" in done.stderr


def test_a_loop_that_says_nothing_for_so_many_looks_has_ended() -> None:
    pulse = Pulse(3)
    pulse.beat()
    assert [pulse.look() for _ in range(4)] == [False, False, False, True]
    pulse.beat()
    assert [pulse.look() for _ in range(3)] == [False, False, False]


def test_the_thread_ends_a_process_whose_loop_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.responder_pulse.LOOK_S", 0.001)
    ended = threading.Event()
    pulse = Pulse(2, ended.set)
    pulse.start()
    assert ended.wait(60)
    pulse.close()


def test_a_pulse_that_was_never_started_can_be_closed() -> None:
    Pulse(2).close()
