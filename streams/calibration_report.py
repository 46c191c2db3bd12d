"""A calibration in words, for the person who is to judge it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from detectors.security.base import Calibration
from detectors.security.calibration import OfDetectors
from detectors.security.calibration_document import calibration_of
from detectors.security.off_distribution_fit import LEAST_WINDOW_ROWS
from detectors.security.registry import SECURITY_REGISTRY
from schemas.calibration import CalibrationDocument, KindDocument
from streams.cloudevents import rfc3339

_MOST_CHARS: Final = 60
"""Of a name as it is printed."""


class _Rule(NamedTuple):
    """One of several things that a detector looks for; the rows may suffice for some alone."""

    name: str
    is_on: Callable[[Calibration], bool]
    needs: str


_RULES: Final[dict[str, tuple[_Rule, ...]]] = {
    "neighbours": (
        _Rule(
            "flips between near queries",
            lambda c: c["near"][0] > 0.0 and c["flips"][0] < 1.0,
            "rows that do not lie on one another, and predicted classes",
        ),
        _Rule(
            "near queries on the boundary",
            lambda c: c["margin"][0] > 0.0 and c["boundary"][0] < 1.0,
            "scores that say how far the boundary is",
        ),
        _Rule(
            "distances that are not normal",
            lambda c: c["w"][0] > 0.0,
            "1,024 distances to an earlier row of the same class, of sources and of all",
        ),
        _Rule(
            "climbs of a score",
            lambda c: c["climb"][0] > 0.0,
            "scores that do not climb by themselves",
        ),
    ),
    "provenance": (
        _Rule(
            "clusters of near queries",
            lambda c: c["radius"][0] > 0.0,
            "numeric features, and 100 distances of rows",
        ),
    ),
    "off_distribution": (
        _Rule(
            "windows off the benign rows",
            lambda c: c["window_threshold"][0] > 0.0,
            f"{LEAST_WINDOW_ROWS:,} distinct rows, 20 stretches of 10 or more rows of one source, "
            "and sources that do not differ too much",
        ),
        _Rule(
            "single rows far off",
            lambda c: c["event_threshold"][0] > 0.0,
            "numeric features without a long tail",
        ),
    ),
}


def calibration_lines(document: CalibrationDocument) -> Iterator[str]:
    """What it was made of, and which detectors it lets judge whom, by which rules.

    Raises `BadCalibrationError` where no worker could take it.
    """
    kinds = calibration_of(document).kinds
    own = document.population
    n_categories = sum(own.is_category)
    yield f"{document.model_id} {document.model_version}  calibration {document.digest}"
    yield (
        f"  {own.n_rows:,} rows, {_n(len(own.features) - n_categories, 'number')} and "
        f"{_n(n_categories, 'category', 'categories')}, "
        + (_n(len(own.classes), "class", "classes") if own.classes else "no predicted classes")
    )
    if document.is_salted:
        key = document.source_key
        yield (
            f"  holds under the source key {key} alone"
            if key
            else "  holds where there is no source key alone"
        )
    for each in document.kinds:
        yield from _kind_lines(each, kinds[each.kind])


def calibration_json(document: CalibrationDocument) -> dict[str, Any]:
    """The same as plain values."""
    kinds = calibration_of(document).kinds
    return {
        "model_id": document.model_id,
        "model_version": document.model_version,
        "digest": document.digest,
        "is_salted": document.is_salted,
        "source_key": document.source_key,
        "n_features": len(document.population.features),
        "n_rows": document.population.n_rows,
        "kinds": [
            {
                "kind": each.kind,
                "n_rows": each.n_rows,
                "n_sources": each.n_sources,
                "first_ms": each.first_ms,
                "last_ms": each.last_ms,
                "calibrated": {
                    name: {rule.name: bool(rule.is_on(c)) for rule in _RULES.get(name, ())}
                    for name, c in sorted(kinds[each.kind].items())
                },
                "missing": each.missing,
            }
            for each in document.kinds
        ],
    }


def _kind_lines(own: KindDocument, calibrations: OfDetectors) -> Iterator[str]:
    whose = f"kind {_shown(own.kind)}" if own.kind else "clients of no kind"
    yield (
        f"  {whose}: {own.n_rows:,} rows of {_n(own.n_sources, 'source')} from "
        f"{rfc3339(own.first_ms)} to {rfc3339(own.last_ms)}"
    )
    width = max(map(len, SECURITY_REGISTRY))
    for name in SECURITY_REGISTRY:
        calibration = calibrations.get(name)
        if calibration is None:
            why = own.missing.get(name, "nothing was made of the rows")
            yield f"    {name:<{width}}  cannot be calibrated: {why}"
            continue
        rules = _RULES.get(name, ())
        on = ", ".join(rule.name for rule in rules if rule.is_on(calibration))
        yield f"    {name:<{width}}  calibrated" + (f": {on}" if on else "")
        for rule in rules:
            if not rule.is_on(calibration):
                yield f"    {'':<{width}}  not {rule.name}, which needs {rule.needs}"


def _shown(name: str) -> str:
    return name if len(name) <= _MOST_CHARS else name[: _MOST_CHARS - 3] + "..."


def _n(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
