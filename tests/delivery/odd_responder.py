"""A responder that hangs, or a rebuild that is killed, once.

`python -m tests.delivery.odd_responder HOW MARKER ARGUMENTS` is `driftsentry ARGUMENTS`, but for
one moment: it happens where there is no file MARKER, which it makes.

    awaits       an agent waits for what never comes
    blocks       an agent does not give the loop back
    joins        the loop stands still for 13 s while the app is stopped, as where threads end late
    wipe, write, settle, commit
                 the process is killed when a rebuild has done this for the first time

With `supervised-` before it, it is run as by `driftsentry respond`: it is started again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faust import App

from streams.cli import main
from streams.responder_app import Received
from streams.responder_probe import ResponderProbe
from streams.responder_redis import RedisIncidentStore
from streams.responder_service import Responder
from streams.responder_supervisor import keep_running

SUPERVISED = "supervised-"
_DIES_IN: dict[str, tuple[type, str]] = {
    "wipe": (RedisIncidentStore, "wipe"),
    "write": (RedisIncidentStore, "write"),
    "settle": (RedisIncidentStore, "raise_settled"),
    "commit": (ResponderProbe, "commit"),
}


def hang(how: str, once: Callable[[], bool]) -> None:
    """Have the agents hang at their first record."""
    take = Responder.take

    async def odd(self: Responder, received: Received) -> None:
        if once():
            print("hangs", flush=True)
            if how == "blocks":
                time.sleep(10**6)
            await asyncio.Event().wait()
        await take(self, received)

    Responder.take = odd  # type: ignore[method-assign]  # the one moment


def die(how: str, once: Callable[[], bool]) -> None:
    """Have the process killed when this was done for the first time, as if in the middle of it."""
    owner, name = _DIES_IN[how]
    done = getattr(owner, name)

    def killed() -> None:
        if once():
            print("is killed", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    async def slowly(*given: Any) -> Any:
        answer = await done(*given)
        killed()
        return answer

    def at_once(*given: Any) -> Any:
        answer = done(*given)
        killed()
        return answer

    setattr(owner, name, slowly if asyncio.iscoroutinefunction(done) else at_once)


def join_late(once: Callable[[], bool]) -> None:
    """Have the app's end keep the loop for a while."""
    stop = App.stop

    async def late(self: App) -> None:
        if once():
            time.sleep(13)
        await stop(self)

    setattr(App, "stop", late)  # noqa: B010 - its base class declares it otherwise


def run(how: str, marker: Path, arguments: list[str]) -> None:
    def once() -> bool:
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    if how == "joins":
        join_late(once)
    else:
        (die if how in _DIES_IN else hang)(how, once)
    main(arguments)


if __name__ == "__main__":
    how, marker, *arguments = sys.argv[1:]
    if how.startswith(SUPERVISED):
        own = how.removeprefix(SUPERVISED)
        command = [sys.executable, "-m", "tests.delivery.odd_responder", own, marker, *arguments]
        sys.exit(keep_running(lambda: subprocess.Popen(command)))
    run(how, Path(marker), arguments)
