"""From the false alerts that a user accepts to the events between false alarms of one signal."""

from __future__ import annotations

from math import log2
from typing import Final

from detectors.drift.ranks import Indicator, Ranks
from detectors.drift.thresholds import octave_thresholds
from detectors.kernels.focus import N_ASPECTS
from detectors.monitor import Monitor
from schemas.config import DetectionConfig, ModelConfig
from schemas.findings import Firing

UNKNOWN_RATE: Final = 604_800.0
"""Events a week of a model whose reference has no span of time: one a second."""
_WEEKS: Final = {"hour": 168.0, "day": 7.0, "week": 1.0, "month": 12 / 52, "year": 1 / 52}
"""How many of each there are in a week."""
LOWEST: Final = 100.0
"""No detector keeps a promise of less: it would alarm before it has seen anything."""
HIGHEST: Final = 1e15
"""More is no promise that anybody could see kept."""


def events_between_alarms(config: DetectionConfig, monitor: Monitor) -> float:
    """ARL0 of each signal of this model, in events of the model.

    Events a week times signals over false alerts a week: each signal has an equal share of them.
    """
    own = config.model.get(monitor.key.model_id, ModelConfig())
    arl0 = own.arl0 or config.arl0
    if arl0 is not None:
        return arl0
    n_signals = sum(signal.lane >= 0 for signal in monitor.signals)
    rate = monitor.events_per_week or UNKNOWN_RATE
    accepted = accepted_per_week(own.false_alerts or config.false_alerts)
    return min(max(rate * max(n_signals, 1) / accepted, LOWEST), HIGHEST)


def accepted_in_a_week(config: DetectionConfig, monitor: Monitor) -> float:
    """The false alerts of this model that are accepted in a week; 0 where its rate is not known."""
    own = config.model.get(monitor.key.model_id, ModelConfig())
    if (own.arl0 or config.arl0) is None:
        return accepted_per_week(own.false_alerts or config.false_alerts)
    n_signals = sum(signal.lane >= 0 for signal in monitor.signals)
    return monitor.events_per_week * n_signals / events_between_alarms(config, monitor)


def is_strong(firing: Firing, ranks: Ranks | Indicator, arl0: float) -> bool:
    """Whether a change of a mean is as unlikely by chance as a detector with this ARL0 asks.

    By the likelihood ratio of two means to one, over the long-run variance of the reference, and
    the threshold of the shorter segment's octave. The means are of z: that of a skewed signal is
    not normal over few events, and then it errs more often.
    """
    n_before, n_after = float(max(firing.n_before, 1)), float(max(firing.n_after, 1))
    move = firing.after - firing.before
    variance = ranks.variance if isinstance(ranks, Indicator) else ranks.variance[0]
    ratio = move * move * n_before * n_after / (2.0 * variance * (n_before + n_after))
    share = 1 if isinstance(ranks, Indicator) else N_ASPECTS
    thresholds = octave_thresholds(arl0 * share)
    octave = min(int(log2(min(n_before, n_after))), len(thresholds) - 1)
    return ratio > thresholds[octave]


def accepted_per_week(text: str) -> float:
    """How many false alerts a week that is, such as `1 per week and model`."""
    number, _, unit, *_ = text.split()
    return float(number) * _WEEKS[unit]
