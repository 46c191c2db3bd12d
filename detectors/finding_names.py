"""Firings with names: which signal of which model moved, in its own units."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from detectors.budget import accepted_in_a_week, events_between_alarms, is_strong
from detectors.catalog import Catalog
from detectors.monitor import Monitor
from detectors.registry import REGISTRY
from detectors.signals import Signal
from schemas.config import DetectionConfig
from schemas.findings import (
    MAX_VANISHED,
    Aspect,
    BlockReference,
    Distances,
    ErrorReference,
    Finding,
    Firing,
    GroupLoss,
)

FROM_START: Final = 1_000
"""A change within so many events of a reference that was set is none: the two differ."""


def signal_of(catalog: Catalog, firing: Firing) -> Signal:
    """The signal that fired."""
    signals = catalog.monitor(firing.model).signals
    return next(signal for signal in signals if signal.lane == firing.lane)


def finding_of(
    config: DetectionConfig,
    catalog: Catalog,
    firing: Firing,
    worst: tuple[GroupLoss, ...] = (),
    named: str = "",
    error_reference: ErrorReference | None = None,
) -> Finding:
    """The firing with its names, in the signal's units."""
    monitor = catalog.monitor(firing.model)
    signal = signal_of(catalog, firing)
    block = monitor.block_of(signal)
    return Finding(
        detector=firing.detector,
        model_id=monitor.key.model_id,
        model_version=monitor.key.model_version,
        shard=monitor.key.shard,
        signal=monitor.name(signal),
        offset=firing.offset,
        event_row=firing.event_row,
        model=firing.model,
        lane=firing.lane,
        model_event=firing.model_event,
        event_time_ms=firing.event_time_ms,
        statistic=firing.statistic,
        threshold=firing.threshold,
        before=signal.raw(firing.before, firing.aspect),
        after=signal.raw(firing.after, firing.aspect),
        effect=_effect(firing, signal),
        move=firing.after - firing.before,
        # A baseline's statistic is its mean distance from the reference mean.
        spread_effect=firing.statistic - signal.reference_z(Aspect.SPREAD),
        spread_after=signal.raw(firing.statistic, Aspect.SPREAD),
        is_within_budget=_is_within_budget(config, firing, monitor, signal),
        accepted_per_week=accepted_in_a_week(config, monitor),
        aspect=Aspect(firing.aspect),
        change_offset=firing.change_offset,
        n_before=firing.n_before * block,
        n_after=firing.n_after * block,
        is_share=signal.is_share,
        is_departure=signal.is_departure,
        admitted=monitor.admitted,
        distances=_distances(firing, monitor, signal),
        block=block,
        is_from_start=_is_from_start(firing, monitor, signal),
        is_error_of_number=signal.is_error_of_number,
        worst=worst,
        reference=block_reference(signal) if signal.is_estimate else None,
        error_reference=error_reference,
        named=named,
    )


def block_reference(signal: Signal) -> BlockReference | None:
    """The reference of a signal that is observed once in a block; None before it is complete."""
    if signal.ranks is None:
        return None
    scale = signal.scale
    mean, sd = (scale.constant, 0.0) if signal.is_departure else (scale.mean, scale.sd)
    return BlockReference(mean, sd, signal.ranks.n, signal.block)


def _is_from_start(firing: Firing, monitor: Monitor, signal: Signal) -> bool:
    """Whether it differs from a reference that a person has set from about when it was set."""
    if not monitor.reference or signal.is_outcome:
        return False
    n_after = firing.n_after * monitor.block_of(signal)
    return max(firing.model_event - n_after, 0) - monitor.first_event < FROM_START


def _is_within_budget(
    config: DetectionConfig, firing: Firing, monitor: Monitor, signal: Signal
) -> bool:
    """Whether it comes from a detector that keeps the budget, or is as strong as one asks.

    Where none could keep one, since none has a budget or the signal has no rows of its
    reference, everything counts.
    """
    if REGISTRY[firing.detector].has_budget or signal.ranks is None:
        return True
    return is_strong(firing, signal, events_between_alarms(config, monitor))


def _effect(firing: Firing, signal: Signal) -> float:
    """How far a signal lies from its reference: its mean, or where its shape changed, all of it."""
    if firing.aspect == Aspect.SHAPE and firing.distances is not None:
        return firing.distances.effect
    return firing.after - signal.reference_z(firing.aspect)


def _distances(firing: Firing, monitor: Monitor, signal: Signal) -> Distances | None:
    """How far the window lies, with the names of the categories that it lacks."""
    if firing.distances is None or not signal.is_cells:
        return firing.distances
    own = monitor.categories[signal.index]
    of_cell = {cell: k for k, cell in enumerate(own.cells)}
    gone = sorted(
        (of_cell[c] for c in firing.vanished if c in of_cell), key=lambda k: -own.counts[k]
    )
    vanished = tuple(own.names[k] for k in gone[:MAX_VANISHED])
    new = None if own.is_full else firing.distances.new
    return replace(firing.distances, new=new, vanished=vanished)
