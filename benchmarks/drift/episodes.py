"""What of the census becomes an alert: the whole fold and policy over its rows in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.census import ARL0, FILE, alerts, fold, read
from benchmarks.drift.real import path_of
from schemas.alerts import AlertData
from schemas.config import DetectorsConfig
from streams.census import REAL_CHANGES

NEAR: Final = 1_000
"""An episode is one of a change where its change point is within so many rows."""


@dataclass(frozen=True, slots=True)
class Episode:
    """An alert as it was last told."""

    change: int | None
    """The known change that it is of; None: of none."""
    opened: int
    """Row at which it was opened."""
    change_point: int
    first_signal: str
    n_signals: int
    n_findings: int
    standing: str
    """`open`, or why it is resolved and by which row."""


def episodes() -> tuple[list[Episode], list[str]]:
    """All of them, in the order in which they were opened, and what was not run and why."""
    path = path_of(FILE)
    if path is None:
        return [], [f"{FILE}: DRIFTSENTRY_DATA names no directory that holds it"]
    columns = read(path)
    said, _ = fold(columns, np.arange(len(columns["score"])), DetectorsConfig(), ARL0)
    return sorted((told(one) for one in alerts(said)), key=lambda one: one.opened), []


def told(alert: AlertData) -> Episode:
    """What the table says of it."""
    change = next((row for row, _ in REAL_CHANGES if abs(alert.change_offset - row) <= NEAR), None)
    standing = f"{alert.resolution}, {alert.trigger_offset:,}" if alert.resolution else "open"
    return Episode(
        change,
        alert.opened_offset,
        alert.change_offset,
        alert.signal,
        alert.n_signals,
        alert.n_findings,
        standing,
    )
