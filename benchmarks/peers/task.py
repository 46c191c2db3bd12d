"""What a contestant is asked to do and how it answers; the standard library alone.

Every contestant is a process of its own: `python -m benchmarks.peers.NAME TASK`, where the task is
one JSON object. Its last line is its result.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

READER: Final = {
    # As driftsentry's own consumer. With the default the fetcher sleeps a second whenever its
    # queue is full, and everyone would be 2.7 times slower.
    "fetch.queue.backoff.ms": 5,
}
POLL_S: Final = 0.05


class Found(NamedTuple):
    """A detector that fired."""

    partition: int
    offset: int
    feature: str
    detector: str


@dataclass(frozen=True)
class Task:
    """Read `n_events` events of `topic`; time what comes after the first `n_warm`."""

    servers: str
    topic: str
    group: str
    n_events: int
    n_records: int
    """Records that hold these events: as many, unless a record holds several."""
    n_warm: int
    n_reference: int
    """First events of each partition, from which the mean and deviation are learned."""
    detect: bool = True
    """False: parse the events and do nothing with them."""
    redis_url: str = ""
    alerts: str = ""
    """Topic for alerts."""
    events_of_record: int = 1
    n_own_partitions: int = 0
    """Say when so many partitions are assigned, and wait there; 0: begin at once."""
    instance: str = "benchmark"

    @classmethod
    def read(cls) -> Task:
        """The task in this process's argument."""
        return cls(**json.loads(sys.argv[1]))


def answer(figures: dict[str, Any], found: list[Found] | None = None) -> None:
    """Say the result."""
    print(json.dumps(figures | {"found": found}), flush=True)
