"""How well a model version predicts, as JSON for the live view."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import orjson

from detectors.outcomes import Outcomes
from detectors.performance.metrics import Metrics


def performance_view(outcomes: Outcomes | None, slot: int) -> bytes:
    """The metrics of a slot; null where no label of it has come.

    In total, of its latest labels by window, what is expected of its latest predictions, and
    whether that is within what the reference made one expect, how the groups of its slices are
    treated, and which feature tells most of the label.
    """
    known = None if outcomes is None else outcomes.metrics_of(slot)
    if outcomes is None or known is None:
        return orjson.dumps(None)
    names = outcomes.class_names(slot)
    shown = {
        "total": _by_name(known.total, names),
        "windows": {str(n): _by_name(found, names) for n, found in known.windows.items()},
        "expected": outcomes.estimate_of(slot),
        "expected_error": outcomes.expected_error_of(slot),
        "slices": outcomes.slices_of(slot),
        "leakage": outcomes.leakage_of(slot),
    }
    return orjson.dumps(shown, default=_as_dict, option=orjson.OPT_SERIALIZE_NUMPY)


def _by_name(metrics: Metrics, names: list[str]) -> dict[str, object]:
    """The metrics, those of single classes by the names of these."""
    shown = {each.name: getattr(metrics, each.name) for each in fields(metrics)}
    # Of a class beyond those that have places of their own there is nothing apart.
    return shown | {"by_class": {names[number]: own for number, own in metrics.by_class.items()}}


def _as_dict(value: Any) -> dict[str, Any]:
    """A named tuple, which orjson does not take, as what it is."""
    found: dict[str, Any] = value._asdict()
    return found
