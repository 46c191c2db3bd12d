"""The responder's view of clean windows: one that cannot be read holds its request, and says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from schemas.printable import masked
from schemas.retraining import CleanWindow, QuarantinePart
from streams.responder_ports import EventWindows, ModelName
from streams.retraining_gate import WindowFacts
from streams.window_facts import QuarantineKeyError
from streams.window_reader import WindowError

log = structlog.get_logger(__name__)


class HeldWindows:
    """`EventWindows` without facts of a window that is not there yet, or cannot be told apart.

    Events that are gone for good are `WindowGoneError`. Brokers that do not answer are another
    matter: that is raised, and passes.
    """

    def __init__(self, windows: EventWindows) -> None:
        self._windows: Final = windows
        self._said: Final[set[str]] = set()

    async def facts(
        self,
        model: ModelName,
        version: str,
        window: CleanWindow,
        quarantine: Sequence[QuarantinePart],
    ) -> WindowFacts | None:
        """What the window's events say; None where that cannot be had."""
        try:
            return await self._windows.facts(model, version, window, quarantine)
        except (WindowError, QuarantineKeyError) as error:
            reason = masked(str(error))
            if reason not in self._said:
                self._said.add(reason)
                log.warning(
                    "a clean window cannot be read; its request is held",
                    model=masked(model.model_id),
                    reason=reason,
                )
            return None
