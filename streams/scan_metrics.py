"""All metrics of a scanned model, of all labels and of the latest ones, as the cells of a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from detectors.performance.intervals import Measure
from detectors.performance.metrics import Metrics
from streams.scan_performance import ModelPerformance
from streams.sentences import number


class MetricTable(NamedTuple):
    """Metrics by row, sets of labels by column."""

    columns: list[str]
    """Which labels: all of them, then those of each window that does not hold all."""
    rows: list[tuple[str, list[str]]]
    """The name of each metric, and its values with their intervals, by column."""


def interval(measure: Measure | None, *, is_number: bool) -> str:
    """A measure with its interval of 95 %."""
    if measure is None:
        return "-"
    if is_number:
        return f"{number(measure.value)} ({number(measure.low)} to {number(measure.high)})"
    low, high = 100 * measure.low, 100 * measure.high
    return f"{100 * measure.value:.1f} % ({low:.1f} to {high:.1f})"


def metric_table(told: ModelPerformance) -> MetricTable | None:
    """The metrics that the model has; None where there is none of all labels."""
    if told.total is None:
        return None
    sets = [told.total]
    sets += [found for found in told.windows.values() if found.n_rows < told.total.n_rows]
    columns = [f"all {told.total.n_rows:,} labels"]
    columns += [f"the latest {found.n_rows:,}" for found in sets[1:]]
    rows = []
    for name, is_share, of in _METRICS:
        measures = [of(found) for found in sets]
        if any(measures):
            rows.append((name, [interval(each, is_number=not is_share) for each in measures]))
    if areas := [found.auc for found in sets if found.auc is not None]:
        assert rows[-1][0] == _AREA
        errors = ["-" if found.auc is None else number(found.auc.error) for found in sets]
        if any(area.error for area in areas):
            rows.append((f"error of {_AREA} by bins", errors))
    if not rows:
        return None
    return MetricTable(columns, rows)


def metric_lines(told: ModelPerformance) -> list[str]:
    """The table in words; empty where there is none."""
    table = metric_table(told)
    if table is None:
        return []
    name_width = max(len(name) for name, _ in table.rows)
    widths = [
        max(len(cell) for cell in column)
        for column in zip(table.columns, *(cells for _, cells in table.rows), strict=True)
    ]
    lines = ["", "Metrics, with their intervals of 95 %:"]
    for name, cells in [("", table.columns), *table.rows]:
        padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join([f"  {name:<{name_width}}", *padded]).rstrip())
    return lines


def _of_classes(name: str) -> Callable[[Metrics], Measure | None]:
    """One metric of the positive class, or of several classes the mean over them."""

    def of(found: Metrics) -> Measure | None:
        own = found.positive or found.macro
        return None if own is None else getattr(own, name)

    return of


_AREA: Final = "ROC-AUC"
_METRICS: Final[list[tuple[str, bool, Callable[[Metrics], Measure | None]]]] = [
    ("accuracy", True, lambda found: found.accuracy),
    ("precision", True, _of_classes("precision")),
    ("recall", True, _of_classes("recall")),
    ("F1", True, _of_classes("f1")),
    ("mean absolute error", False, lambda found: found.mae),
    ("root mean square error", False, lambda found: found.rmse),
    ("log loss", False, lambda found: found.log_loss),
    ("Brier score", False, lambda found: found.brier),
    (_AREA, False, lambda found: found.auc),
]
"""By name: whether it is told as a percentage, and which one it is."""
