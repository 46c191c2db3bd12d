"""Mutants of what the security duty does with a partition's events; `mutant_table` has all."""

from __future__ import annotations

from typing import Final

from tests.simulation.mutant import Mutant

_WORK: Final = "streams.duties:SecurityWork."
_WORKER: Final = "streams.worker:PartitionWorker."
_POLICY: Final = "streams.anomalies:AnomalyPolicy."

SECURITY_MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        12,
        "one suspicion a batch",
        _WORK + "process",
        "suspicions = self.fold.process(events)",
        "suspicions = self.fold.process(events)[:1]",
        seed=37,
    ),
    Mutant(
        12,
        "an anomaly is at the poll's first event",
        _POLICY + "decide",
        "number = n_before + passed.before(suspicion.offset, suspicion.event_row)",
        "number = n_before",
        seed=37,
    ),
    Mutant(
        13,
        "suspicions from the last one on",
        _WORK + "process",
        "suspicions = self.fold.process(events)",
        "suspicions = self.fold.process(events)[::-1]",
        seed=37,
    ),
    Mutant(
        26,
        "open anomalies are not in the state",
        _WORK + "__init__",
        "None if parts is None else part_of(parts, SECURITY_POLICY),",
        "None,",
        seed=307,
    ),
    Mutant(
        25,
        "refused records are told by both duties",
        _WORKER + "_dead_letter",
        'or self.lineage.duty != "drift"',
        "",
        seed=7,
    ),
)
