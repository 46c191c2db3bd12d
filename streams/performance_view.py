"""How well a model version predicts, as plain values for the live view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from detectors.outcomes import Outcomes


def performance_view(outcomes: Outcomes | None, slot: int) -> dict[str, Any] | None:
    """The metrics of a slot; None where no label of it has come.

    In total, of its latest labels, and what is expected of its latest predictions.
    """
    known = None if outcomes is None else outcomes.metrics_of(slot)
    if outcomes is None or known is None:
        return None
    total, window = map(_plain, known)
    names = outcomes.class_names(slot)
    for metrics in (total, window):
        # Of a class beyond those that have places of their own there is nothing apart.
        metrics["by_class"] = {names[int(k)]: own for k, own in metrics["by_class"].items()}
    return {"total": total, "window": window, "expected": _plain(outcomes.estimate_of(slot))}


def _plain(value: object) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(own) for name, own in value._asdict().items()}
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(own) for key, own in value.items()}
    if isinstance(value, tuple):
        return [_plain(own) for own in value]
    return value.tolist() if isinstance(value, np.ndarray) else value
