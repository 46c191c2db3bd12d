"""What a responder says when one of its loops fails."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from streams.responder_service import StalledResponderError, _ending


def test_what_ends_a_responder_is_said_before_it_ends() -> None:
    # The end may take longer than it may, and then that is what the process ends with.
    async def fail() -> None:
        raise StalledResponderError("nothing was committed")

    async def run() -> None:
        stop = asyncio.Event()
        with capture_logs() as said, pytest.raises(StalledResponderError):
            await _ending(fail, stop)
        assert stop.is_set()
        (line,) = said
        assert line["reason"] == "nothing was committed"
        assert line["log_level"] == "error"

    asyncio.run(run())
