"""Whether a responder is ready, and whether it has come to a standstill: by offsets alone. Pure.

But for `write_ready`, which tells others by a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from streams.responder_settling import OutputPlace


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen, where Redis and brokers have answered."""

    assigned: set[OutputPlace] | None
    """The partitions of this responder; None while they are being shared out."""
    done: Mapping[OutputPlace, int]
    """What the group has committed."""
    ends: Mapping[OutputPlace, int]
    """Where committed records end."""


@dataclass(frozen=True, slots=True)
class State:
    """What follows."""

    is_ready: bool
    is_stalled: bool
    has_changed: bool
    """Whether `is_ready` is another than before."""
    lag: int
    """Offsets of its own partitions that are readable and not committed."""
    n_partitions: int


class Watch:
    """Ready: partitions are assigned, and all is committed or something was lately.

    A responder beside others may have no partition at all: it is ready too, to take one over.
    """

    def __init__(self, stall_s: float) -> None:
        self._stall_s: Final = stall_s
        self._done: dict[OutputPlace, int] = {}
        self._moved_s: float | None = None
        self._was_ready = False

    def at(self, now_s: float, seen: Seen | None) -> State:
        """The state now. None: Redis or the brokers do not answer, and nothing is known."""
        if seen is None:
            # The time without an answer is no standstill; a rebalance that never ends is one.
            self._moved_s = None
            return self._state(is_ready=False, is_stalled=False, lag=0, n_partitions=0)
        own = seen.assigned if seen.assigned is not None else set(seen.ends)
        lag = sum(max(0, seen.ends.get(each, 0) - seen.done.get(each, 0)) for each in own)
        done = {each: seen.done.get(each, 0) for each in own}
        if self._moved_s is None or lag == 0 or done != self._done:
            self._moved_s = now_s
        self._done = done
        is_stalled = now_s - self._moved_s >= self._stall_s
        return self._state(
            is_ready=seen.assigned is not None and not is_stalled,
            is_stalled=is_stalled,
            lag=lag,
            n_partitions=0 if seen.assigned is None else len(seen.assigned),
        )

    def _state(self, *, is_ready: bool, is_stalled: bool, lag: int, n_partitions: int) -> State:
        has_changed = is_ready != self._was_ready
        self._was_ready = is_ready
        return State(is_ready, is_stalled, has_changed, lag, n_partitions)


def write_ready(path: Path | None, state: State | None) -> None:
    """Write the file anew while ready, so that its age tells; remove it otherwise."""
    if path is None:
        return
    if state is None:
        path.unlink(missing_ok=True)
        return
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(orjson.dumps({"lag": state.lag, "partitions": state.n_partitions}) + b"\n")
    beside.replace(path)
