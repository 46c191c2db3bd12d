"""What an event costs where labels are joined, beside the same events where they are not.

Through a partition's worker without Kafka: decoded, folded, its findings decided. A label comes for
each prediction, some polls after it; or none comes at all. The workers take turns.
"""

from __future__ import annotations

from typing import Any

from benchmarks.kit.report import FigureTable
from benchmarks.labels.turns import LATE, N_REFERENCE, POLL, Traffic, taken_in_turns, worker
from benchmarks.pipeline import N_FEATURES
from schemas.config import DetectionConfig, LabelsConfig


def measure_cost(n_polls: int) -> list[dict[str, Any]]:
    """Microseconds of the processor per event, for events with labels and without."""
    found = []
    for has_labels in (True, False):
        traffic = Traffic(has_labels=has_labels)
        workers = {
            name: worker(
                DetectionConfig(
                    reference_events=N_REFERENCE,
                    labels=LabelsConfig(enabled=joins, calibration_labels=1_000),
                )
            )
            for name, joins in (("off", False), ("on", True))
        }
        n_warm = (LATE + 4 * N_REFERENCE) // (POLL // 2)
        taken = taken_in_turns(workers, traffic.poll, n_warm, n_polls)
        counts = workers["on"].counts()
        found.append(
            {
                "has_labels": has_labels,
                "off_us": taken["off"],
                "on_us": taken["on"],
                "n_events": counts["n_events"],
                "n_joined": counts["n_joined_labels"],
            }
        )
    return found


def cost_table(found: list[dict[str, Any]]) -> FigureTable:
    """The figures of `measure_cost`, for people."""
    rows = [
        (
            "a label for each prediction" if one["has_labels"] else "predictions alone",
            f"{one['on_us'] / one['off_us']:.2f} x",
            f"{one['off_us']:.2f}",
            f"{one['on_us']:.2f}",
        )
        for one in found
    ]
    title = f"CPU time per event, decoded and folded; predictions have {N_FEATURES} features"
    columns = ("events", "on, of off", "labels off, us/event", "labels on, us/event")
    return FigureTable("cost", title, columns, rows)
