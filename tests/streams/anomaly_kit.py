"""A policy of the security duty for a test, suspicions for it, and what it decides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import numpy as np

from detectors.base import BankState
from detectors.security.base import Suspicion, Technique
from schemas.anomalies import AnomalyData
from schemas.batch import ModelKey
from schemas.security_config import SecurityConfig
from streams.anomalies import AnomalyPolicy, Passed

LINEAGE: Final = "a3d1f0c2b4e5968778695a4b3c2d1e0f"
KEY_ID: Final = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
MODELS: Final = [ModelKey("churn", "7"), ModelKey("fraud", "1", 3)]
QUIET: Final = 1_024


def config(quiet_events: int = QUIET) -> SecurityConfig:
    return SecurityConfig(quiet_events=quiet_events)


def policy(
    state: BankState | None = None, *, quiet_events: int = QUIET, key_id: str | None = KEY_ID
) -> AnomalyPolicy:
    return AnomalyPolicy(config(quiet_events), LINEAGE, "driftsentry", 2, key_id, state)


def place_of(number: int) -> tuple[int, int]:
    """Offset and row of an event: records of three events, and gaps between the offsets."""
    return number // 3 * 2, number % 3


def passed(start: int, end: int) -> Passed:
    """The events numbered start to end - 1, a second apart."""
    number = np.arange(start, end, dtype=np.int64)
    return Passed(number // 3 * 2, (number % 3).astype(np.int32), number * 1_000)


def suspicion(number: int, **given: Any) -> Suspicion:
    """A firing at the event of this number: of `probing`, about source 5 of the first model."""
    offset, event_row = place_of(number)
    fields: dict[str, Any] = {
        "offset": offset,
        "event_row": event_row,
        "model": 0,
        "source": 5,
        "detector": "probing",
        "technique": Technique.PROBING,
        "event_time_ms": number * 1_000,
        "statistic": 4.0,
        "threshold": 3.0,
        "n_hits": 3,
        "n_seen": 64,
        "first_offset": max(offset - 20, 0),
        "first_time_ms": max(number * 1_000 - 30_000, 0),
        "baseline": 0.25,
        "source_words": (7, 9),
    }
    model = given.get("model", 0)
    fields["model_key"] = MODELS[model] if model >= 0 else None
    return Suspicion(**{**fields, **given})


def cluster(number: int, sources: Sequence[tuple[int, int]], **given: Any) -> Suspicion:
    """A firing of `provenance` about several sources."""
    several: dict[str, Any] = {
        "source": -1,
        "source_words": (0, 0),
        "detector": "provenance",
        "sources": tuple(sources),
        "n_sources": len(sources),
    }
    return suspicion(number, **{**several, **given})


class Told:
    """A policy with the events that have passed, which numbers what it says."""

    def __init__(self, own: AnomalyPolicy | None = None) -> None:
        self.policy = own or policy()
        self._numbers = count(1)

    def until(self, end: int, *suspicions: Suspicion) -> list[AnomalyData]:
        """What comes of the events up to this number, and of suspicions at some of them."""
        return self.policy.decide(
            suspicions,
            passed(self.policy.book.n_events, end),
            lambda: next(self._numbers),
        )
