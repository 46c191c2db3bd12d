"""A model's own past in another order, folded again: how many alarms come where none should. Pure.

Three orders, since each leaves something else out:

- `shuffled`: all events, and the first of them then form a new reference. Any order of them is as
  likely as any other, so that every alarm is false. What hangs together in time is destroyed.
- `blocks`: the same with blocks of successive events, which keep most of what hangs together, and
  also the changes that the past had.
- `frozen`: the events after the reference, shuffled, against the reference as it was frozen. Where
  they are as a whole unlike it, alarms say that.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.fold import Fold
from detectors.monitor import model_config, reference_events
from detectors.registry import REGISTRY
from schemas.batch import I64, Decoded, ModelKey
from schemas.config import MAX_SKEW_MS, DetectionConfig, LabelsConfig
from schemas.findings import Aspect, Finding
from streams.budget import ModelBudget, Observed, Replayed
from streams.budget_signals import signal_budgets
from streams.past import Past, reordered, taken
from streams.policy import Policy

MIN_AFTER: Final = 100
"""With fewer events after the reference a replay says nothing."""
_AT_ONCE: Final = 8_192


@dataclass(frozen=True, slots=True)
class ReplayWish:
    """What of the past is to be folded again, and in which orders."""

    n_events: int
    """Of each model, the latest."""
    seed: int = 1
    block: int = 500
    """Events that stay together where blocks are moved."""


def replay(fold: Fold, budgets: Sequence[ModelBudget], past: Past, wish: ReplayWish) -> None:
    """Add the replays of these models to their budgets, or a note on why there are none.

    `fold` is their state as it is now; it is left as it is. What comes of one model depends on its
    own events and the seed alone.
    """
    # In another order most events would be late, or early: that says nothing.
    in_any_order = {"max_late_ms": MAX_SKEW_MS, "max_future_ms": MAX_SKEW_MS}
    frozen = Fold(fold.config.model_copy(update=in_any_order), fold.snapshot())
    frozen.banks.begin_anew()
    for budget in budgets:
        _replay_model(frozen, budget, past, wish)


def _replay_model(frozen: Fold, budget: ModelBudget, past: Past, wish: ReplayWish) -> None:
    key = budget.key
    n_reference = reference_events(frozen.config, key)
    events = past.of(key, budget.n_events)
    n = 0 if events is None else len(events)
    if not budget.watched:
        budget.notes.append("not replayed: no signal of it is watched within a budget")
        return
    if events is None or n < n_reference + MIN_AFTER:
        budget.notes.append(
            f"not replayed: {n:,} of its events are there, and the {n_reference:,} of a reference "
            f"and {MIN_AFTER} more are needed"
        )
        return
    numbers = np.random.default_rng([wish.seed, zlib.crc32(repr(key).encode())])
    # Another order would give another rate and so another promise: this one is what is tested.
    pinned = _pinned(frozen.config, key, budget.arl0, n_reference)
    for kind, length in (("shuffled", 1), ("blocks", wish.block)):
        order = block_order(n, length, numbers)
        found = _folded(Fold(pinned), reordered(events, order), key, kind, wish.seed, length)
        budget.replays.append(found._replace(n_events=n - n_reference))
    # The first of what is kept may still be those of the reference.
    n_after = min(n, budget.n_events - n_reference)
    if n_after >= MIN_AFTER:
        after = taken(events, np.arange(n - n_after, n))
        order = block_order(n_after, 1, numbers)
        budget.replays.append(
            _folded(frozen, reordered(after, order), key, "frozen", wish.seed, length=1)
        )


def block_order(n: int, length: int, numbers: np.random.Generator) -> I64:
    """(n,) an order of 0..n-1 in which blocks of this length are moved as a whole.

    Where the first one begins is left to chance too; its length is what is then left.
    """
    first = int(numbers.integers(length))
    edges = np.unique(np.concatenate([[0], np.arange(first, n, length), [n]]))
    starts, sizes = edges[:-1], np.diff(edges)
    at = numbers.permutation(len(starts))
    within = np.arange(n) - np.repeat(np.cumsum(sizes[at]) - sizes[at], sizes[at])
    order: I64 = np.repeat(starts[at], sizes[at]) + within
    return order


def _pinned(
    config: DetectionConfig, key: ModelKey, arl0: float, n_reference: int
) -> DetectionConfig:
    own = model_config(config, key.model_id)
    own = own.model_copy(update={"arl0": arl0, "reference_events": n_reference})
    models = {**config.model, key.model_id: own}
    return config.model_copy(update={"model": models, "labels": LabelsConfig()})


def _folded(
    fold: Fold, events: Decoded, key: ModelKey, kind: str, seed: int, length: int
) -> Replayed:
    """Fold these events of one model and count what comes of it."""
    policy = Policy(
        fold.config.policy, f"replay-{kind}", fold.config.deployment, events.tp.partition
    )
    n_opened = n_alarms = 0
    for part in _parts(events):
        said = fold.process(part)
        n_alarms += sum(_is_alarm(each) for each in said if isinstance(each, Finding))
        alerts = policy.decide(said, lambda: 1)
        n_opened += sum(each.kind == "drift" and each.revision == 1 for each in alerts)
    slot = fold.catalog.slot_of[key]
    expected = sum(each.expected for each in signal_budgets(fold, fold.catalog.monitor(slot)))
    return Replayed(kind, seed, length, len(events), n_alarms, Observed(n_opened, expected))


def _parts(events: Decoded) -> Iterator[Decoded]:
    for start in range(0, len(events), _AT_ONCE):
        yield taken(events, np.arange(start, min(start + _AT_ONCE, len(events))))


def _is_alarm(finding: Finding) -> bool:
    return REGISTRY[finding.detector].has_budget and finding.aspect is not Aspect.SETTLED
