"""Who is asked to stop before anything has begun ends at once, and cleanly."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

_SAID: Final = b"driftsentry: stopped before anything had begun\n"


def end_if_asked_early() -> Callable[[], None]:
    """From here on SIGTERM ends the process with exit code 0, until another handler is set.

    What is returned takes it back, if it is still there.

    The first process of a container has no other handler: without this one the signal of a stop
    that comes while modules are loaded would be lost, and the container killed much later.
    """
    before = signal.signal(signal.SIGTERM, _end)

    def take_back() -> None:
        if signal.getsignal(signal.SIGTERM) is _end:
            signal.signal(signal.SIGTERM, before)

    return take_back


def _end(_number: int, _frame: FrameType | None) -> None:
    os.write(2, _SAID)
    # No exception: in the middle of an import it might be taken for one of the module's.
    os._exit(0)
