"""The signals that labels tell of: which a model version has, and how one of them begins.

A signal of labels learns its reference from its own first observations, and has a lane from then
on. Which there are is known with the model's outputs, so that they have their share of the budget
before the first label comes: what events alone decide never changes with the labels.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from detectors.base import Z_LIMIT
from detectors.drift.ranks import fit, fit_indicator
from detectors.kernels.observe import MAX_RAW, RULE_DEPARTURE, RULE_Z
from detectors.monitor import Monitor, signal_config
from detectors.outcome_sources import (
    BLOCK_ROWS,
    BLOCKS,
    DISPARITIES,
    MAX_SAMPLED,
    OF_GROUP,
    SOURCE_CALIBRATION,
    SOURCE_COVERAGE,
    SOURCE_DELAY,
    SOURCE_EXPECTED,
    SOURCE_GAP,
    SOURCE_LABEL,
    SOURCE_LEAKAGE,
    SOURCE_RESIDUE,
    SOURCE_SLICE,
    SOURCE_SLICE_RESIDUE,
    SOURCE_WRONG,
)
from detectors.signals import Scale, Signal, number_scale, share_scale
from detectors.slices import groups_of, is_configured, slices_of
from schemas.batch import F64, ValueKind
from schemas.config import DetectionConfig

MAX_LABEL_CLASSES: Final = 8
"""Classes whose share of the labels is a signal."""
MIN_CLASSES: Final = 2
"""Classes without which there is nothing to tell."""
REFERENCE_ROWS: Final = 10_000
"""Rows in the reference of what is observed in short blocks: with a fifth of the blocks, four times
as long, a gap of two errors in a hundred on the census was never found."""
REFERENCE_BLOCKS: Final = 50
"""Observations in the reference of a signal that is observed once in a block of rows."""
SLICE_PART: Final = 4
"""A group's reference has the fourth part of the labels of the model's."""
MIN_REFERENCE: Final = 20
MAX_REFERENCE: Final = 1_000_001
"""More observations than any reference learns: one more than a config can ask for."""
UNKNOWN: Final = Scale(RULE_Z, 0.0, 0.0, 1.0)
"""Of a signal whose reference is not complete."""
_POSSIBLE: Final = frozenset({"positive", "predicted"})
"""What a score says where it is a probability."""


def prepare(config: DetectionConfig, monitor: Monitor) -> None:
    """Say of a model version whose outputs are known, and that has no labels yet, what they tell.

    To be called wherever its outputs become known or the config changes.
    """
    is_joined = config.labels.enabled and monitor.output is not None
    monitor.slices = slices_of(config, monitor) if is_joined else []
    monitor.slice_tag = monitor.sample_tag = 0
    monitor.sampled = _sampled(config, monitor) if is_joined else []
    monitor.n_outcomes = len(plan(config, monitor))


def plan(config: DetectionConfig, monitor: Monitor) -> list[Signal]:
    """The signals of labels that a model version has, without lanes; none before its outputs."""
    output = monitor.output
    if output is None or not config.labels.enabled:
        return []
    has_classes = bool(output.classes)
    sources = [SOURCE_WRONG if has_classes else SOURCE_RESIDUE, SOURCE_DELAY, SOURCE_COVERAGE]
    if has_classes and output.score_of in _POSSIBLE:
        sources.append(SOURCE_CALIBRATION)
    if has_classes and output.score_of != "none":
        sources += [SOURCE_EXPECTED, SOURCE_GAP]
    signals = [_signal(source) for source in sources]
    signals += [_signal(SOURCE_LABEL, k) for k in _label_classes(monitor)]
    of_group = SOURCE_SLICE if has_classes else SOURCE_SLICE_RESIDUE
    for feature in monitor.slices:
        groups = groups_of(monitor.categories[feature])
        signals += [_signal(of_group, feature, k) for k in groups]
        if output.positive >= 0 and is_configured(config, monitor, feature):
            signals += [_signal(source, feature) for source in DISPARITIES]
    # The last one, since it may be that there were no numbers when the others got their shares.
    signals += [_signal(SOURCE_LEAKAGE)] * bool(monitor.sampled)
    own = signal_config(config, monitor)
    return [signal for signal in signals if monitor.config_of(signal, own).monitor]


def reference_length(config: DetectionConfig, signal: Signal) -> int:
    """How many observations form the reference of a signal."""
    if signal.source in BLOCKS:
        return (
            REFERENCE_ROWS // BLOCK_ROWS
            if BLOCKS[signal.source] == BLOCK_ROWS
            else REFERENCE_BLOCKS
        )
    wanted = config.labels.reference_labels
    return max(wanted // SLICE_PART, MIN_REFERENCE) if signal.source in OF_GROUP else wanted


def bounded(x: F64) -> F64:
    """Observations that no sum of squares overflows."""
    return np.clip(x, -MAX_RAW, MAX_RAW)


def complete(signal: Signal, x: F64) -> Signal:
    """The signal with these (n,) observations, n >= 20, none of them NaN, as its reference."""
    n = len(x)
    if signal.is_share:
        scale = share_scale(int(np.count_nonzero(x > 0.5)), n)
    else:
        # Exact sums: numpy's order of adding differs between machines.
        mean = math.fsum((x / n).tolist())
        known = number_scale(n, mean, math.fsum(((x - mean) ** 2).tolist()))
        assert known is not None
        # Of a constant number the mean is that up to rounding, and nothing may depart from it.
        is_constant = bool((x == x[0]).all())
        scale = number_scale(n, float(x[0]), 0.0) or known if is_constant else known
    own = replace(signal, scale=scale)
    z = standardised(own, x)
    if own.is_share:
        return replace(own, ranks=fit_indicator(z, (0.5 - scale.mean) / scale.sd))
    return replace(own, ranks=fit(z))


def standardised(signal: Signal, x: F64) -> F64:
    """(n,) z of these observations; NaN stays NaN."""
    scale = signal.scale
    if scale.rule == RULE_DEPARTURE:
        x = np.where(np.isnan(x), np.nan, (x != scale.constant).astype(np.float64))
    return np.clip((x - scale.mean) / scale.sd, -Z_LIMIT, Z_LIMIT)


def _sampled(config: DetectionConfig, monitor: Monitor) -> list[int]:
    """The features that wait for labels: the first that are numbers, where two classes are told."""
    wanted = monitor.config_of(_signal(SOURCE_LEAKAGE), signal_config(config, monitor)).monitor
    if not wanted or monitor.output is None or len(monitor.output.classes) < MIN_CLASSES:
        return []
    return [f for f, kind in enumerate(monitor.kinds) if kind == ValueKind.NUMBER][:MAX_SAMPLED]


def _label_classes(monitor: Monitor) -> list[int]:
    """Of two classes the positive one, since the other is its complement; else the first ones."""
    output = monitor.output
    assert output is not None
    if output.positive >= 0:
        name = output.classes[output.positive]
        return [monitor.class_number[name]] if name in monitor.class_number else []
    return list(range(min(len(monitor.classes), MAX_LABEL_CLASSES)))


def _signal(source: int, index: int = 0, category: int = 0) -> Signal:
    return Signal(source, index, 0, UNKNOWN, category=category)
