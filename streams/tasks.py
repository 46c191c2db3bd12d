"""Tasks that end when they are called off, whatever the libraries do that they wait in.

`asyncio.wait_for` of Python 3.11 forgets that it was called off where its answer comes in the same
moment, and redis-py sends every command within it. A loop that was called off in such a moment goes
on for ever, and with it the process that waits for its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

_AGAIN_S: Final = 0.25
"""Long enough for what a task still does at its end."""

Answer = TypeVar("Answer")


async def call_off(tasks: Collection[asyncio.Task[Any]]) -> list[Any]:
    """Call the tasks off until all have ended; their results and exceptions, in their order."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def in_thread(ask: Callable[[], Answer], limit_s: float) -> Answer:
    """What a thread answers. Raises `TimeoutError` after so many seconds; the thread goes on."""
    async with asyncio.timeout(limit_s):
        return await asyncio.to_thread(ask)
