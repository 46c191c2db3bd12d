"""What each signal of a model has of its budget of false alerts, and what it promises. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from detectors.drift.focus import FocusBank, LaneBudget
from detectors.drift.rhythm import Rhythm
from detectors.drift.trend import TrendBank
from detectors.drift.windows import WindowsBank
from detectors.fold import Fold
from detectors.monitor import Monitor
from detectors.promise import Verdict, verdict_of
from detectors.signals import Signal


class SignalBudget(NamedTuple):
    """One signal: what it promises, and whether that is believed."""

    name: str
    lane: LaneBudget | None
    """Of `focus`; None: that does not watch it."""
    verdict: Verdict
    windows_arl0: float | None = None
    """Of `windows`; None: that does not watch it."""
    n_observed: int = 0
    """Its rows since its lanes began."""
    rhythm: Rhythm | None = None
    """What of it comes again by the hour, and is taken out."""
    trend_arl0: float | None = None
    """Of `trend`; None: that does not watch it."""

    @property
    def is_watched(self) -> bool:
        """Whether a detector with a budget watches it."""
        return bool(self.arl0s)

    @property
    def arl0s(self) -> list[float]:
        """Of each detector that does: they share its budget."""
        of_focus = None if self.lane is None else self.lane.arl0
        each = of_focus, self.windows_arl0, self.trend_arl0
        return [arl0 for arl0 in each if arl0 is not None]

    @property
    def n_lanes(self) -> int:
        """Two of a number that `focus` watches; one of a share, or where it does not."""
        return int(self.is_watched) if self.lane is None else self.lane.n_aspects

    @property
    def expected(self) -> float:
        """False alarms of all of them expected over the rows that it has observed."""
        return sum(self.n_observed / arl0 for arl0 in self.arl0s)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "signal": self.name,
            "n_observed": self.n_observed,
            "arl0": next(iter(self.arl0s), None),
            "n_lanes": self.n_lanes,
            "expected": self.expected,
            **self.verdict._asdict(),
            "rhythm": None if self.rhythm is None else self.rhythm.name,
            "n_periods": None if self.rhythm is None else self.rhythm.periods,
        }


def signal_budgets(fold: Fold, monitor: Monitor) -> list[SignalBudget]:
    """What each signal of a model that is monitored promises."""
    focus, windows, trend = (fold.banks.get(name) for name in ("focus", "windows", "trend"))
    signals = [signal for signal in monitor.signals if signal.lane >= 0]
    lanes = [focus.budget(s.lane) if isinstance(focus, FocusBank) else None for s in signals]
    of_windows = [
        windows.arl0(s.lane) if isinstance(windows, WindowsBank) else None for s in signals
    ]
    of_trend = [trend.arl0(s.lane) if isinstance(trend, TrendBank) else None for s in signals]
    n_observed = _n_observed(fold, monitor, signals, lanes)
    return [
        SignalBudget(
            monitor.name(signal),
            lane,
            verdict_of(signal.ranks, monitor.block_of(signal)),
            of_window,
            0 if lane is None and of_window is None and slow is None else n,
            signal.rhythm,
            slow,
        )
        for signal, lane, of_window, slow, n in zip(
            signals, lanes, of_windows, of_trend, n_observed, strict=True
        )
    ]


def _n_observed(
    fold: Fold, monitor: Monitor, signals: Sequence[Signal], lanes: Sequence[LaneBudget | None]
) -> list[int]:
    """The rows of each signal since its lanes began, as `focus` counts them.

    `windows` counts none beyond its window. A category as a whole is observed where its shares
    are; what else `focus` does not watch counts as if no row of it had been missing.
    """
    known = list(zip(signals, lanes, strict=True))
    of_shares = {
        signal.index: lane.n for signal, lane in known if lane is not None and signal.is_category
    }
    n_events = int(fold.catalog.n_events[fold.catalog.slot_of[monitor.key]])
    found = []
    for signal, lane in known:
        if lane is not None:
            found.append(lane.n)
        elif signal.is_cells and signal.index in of_shares:
            found.append(of_shares[signal.index])
        else:
            of_reference = 0 if monitor.reference or signal.ranks is None else signal.ranks.n
            rows = n_events // monitor.block_of(signal) - of_reference
            found.append(max(rows, 0))
    return found
