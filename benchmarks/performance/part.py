"""What a part of the benchmark comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.kit.report import FigureTable


@dataclass(frozen=True, slots=True)
class Part:
    """Its tables, the figures behind them, and what could not be run."""

    tables: Sequence[FigureTable]
    figures: Mapping[str, Any]
    not_run: Sequence[str] = ()
