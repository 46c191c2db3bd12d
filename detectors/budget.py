"""From the false alerts that a user accepts to the events between false alarms of one signal."""

from __future__ import annotations

from math import log, log2
from typing import Final

from detectors.base import DetectorSpec
from detectors.drift.ranks import Frequencies, Indicator, process_variance
from detectors.drift.thresholds import octave_thresholds
from detectors.kernels.focus import N_ASPECTS
from detectors.monitor import Monitor, model_config
from detectors.registry import REGISTRY
from detectors.signals import Signal
from schemas.config import DetectionConfig
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
    own = model_config(config, monitor.key.model_id)
    arl0 = own.arl0 or config.arl0
    if arl0 is not None:
        return arl0
    rate = monitor.events_per_week or UNKNOWN_RATE
    accepted = accepted_per_week(own.false_alerts or config.false_alerts)
    return min(max(rate * max(monitor.n_sharing, 1) / accepted, LOWEST), HIGHEST)


def arl0_of_detector(config: DetectionConfig, monitor: Monitor, signal: Signal) -> float:
    """ARL0 that each detector with a budget has on this signal, in observations of it.

    Those that watch it have equal shares of its false alarms. A signal that is observed once in a
    block of events has its ARL0 in blocks.
    """
    arl0 = events_between_alarms(config, monitor) * n_sharing(config, signal)
    block = monitor.block_of(signal)
    return arl0 if block == 1 else max(arl0 / block, LOWEST)


def n_sharing(config: DetectionConfig, signal: Signal) -> int:
    """How many detectors with a budget share this signal's; 1 where there is none.

    A signal of two values is left to the detectors that watch such, a category as a whole too.
    """
    is_indicator = isinstance(signal.ranks, Indicator)
    n = sum(
        spec.has_budget
        and (spec.watches_indicators or not is_indicator)
        and (spec.watches_cells or not signal.is_cells)
        for spec in enabled_detectors(config)
    )
    return max(n, 1)


def enabled_detectors(config: DetectionConfig) -> list[DetectorSpec]:
    """What is switched on, in the order of the registry."""
    return [spec for spec in REGISTRY.values() if getattr(config.detectors, spec.name).enabled]


def accepted_in_a_week(config: DetectionConfig, monitor: Monitor) -> float:
    """The false alerts of this model that are accepted in a week; 0 where its rate is not known."""
    own = model_config(config, monitor.key.model_id)
    if (own.arl0 or config.arl0) is None:
        return accepted_per_week(own.false_alerts or config.false_alerts)
    return monitor.events_per_week * monitor.n_sharing / events_between_alarms(config, monitor)


def is_strong(firing: Firing, signal: Signal, arl0: float) -> bool:
    """Whether a change of a mean is as unlikely by chance as a detector with this ARL0 asks.

    By the likelihood ratio of two means to one (of two shares to one, for a share), over the
    long-run variance of the reference, and the threshold of the shorter segment's octave. The means
    are of z: that of a skewed signal is not normal over few events, and then it errs more often.
    The signal must have ranks, and be no
    category as a whole.
    """
    ranks = signal.ranks
    assert ranks is not None
    assert not isinstance(ranks, Frequencies)
    n_before, n_after = float(max(firing.n_before, 1)), float(max(firing.n_after, 1))
    n_lanes = N_ASPECTS
    if isinstance(ranks, Indicator):
        before, after = signal.scale.raw(firing.before), signal.scale.raw(firing.after)
        ratio = _shares(before, n_before, after, n_after) / ranks.variance
        n_lanes = 1
    else:
        move = firing.after - firing.before
        # What the lane sees are residuals; the means are of what they come from.
        variance = ranks.variance[0] * process_variance(ranks.coefficient.tolist())
        if ranks.rhythm is not None:
            variance *= 1.0 - ranks.rhythm.share
        ratio = move * move * n_before * n_after / (2.0 * variance * (n_before + n_after))
    thresholds = octave_thresholds(arl0 * n_lanes)
    octave = min(int(log2(min(n_before, n_after))), len(thresholds) - 1)
    return ratio > thresholds[octave]


def _shares(before: float, n_before: float, after: float, n_after: float) -> float:
    """The log likelihood ratio of two shares to one of all events."""
    pooled = (before * n_before + after * n_after) / (n_before + n_after)
    return n_before * _entropy(before, pooled) + n_after * _entropy(after, pooled)


def _entropy(p: float, q: float) -> float:
    """The relative entropy of two shares; means of indicators may miss 0 and 1 by rounding."""
    p, q = min(max(p, 0.0), 1.0), min(max(q, 1e-12), 1.0 - 1e-12)
    ones = p * log(p / q) if p > 0.0 else 0.0
    zeros = (1.0 - p) * log((1.0 - p) / (1.0 - q)) if p < 1.0 else 0.0
    return ones + zeros


def accepted_per_week(text: str) -> float:
    """How many false alerts a week that is, such as `1 per week and model`."""
    number, _, unit, *_ = text.split()
    return float(number) * _WEEKS[unit]
