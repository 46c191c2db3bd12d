"""What people say is no attack, or no fault: what they were shown of it, and no more. Pure.

Who overrules an incident names its evidence, and of each piece the revision. Evidence that joins
the incident later was not looked at, and neither was a source or a fault that a later revision has
more: they hold again what the word had let through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.alerts import AlertData
from schemas.anomalies import AnomalyData
from schemas.incidents import Reason
from streams.incident_evidence import Evidence
from streams.incident_reasons import Overruling
from streams.known_then import aspect
from streams.signal_meaning import is_fault

_ATTACKS: Final[frozenset[Reason]] = frozenset({"suspected_poisoning", "suspected_probing"})


class _Word(NamedTuple):
    reason: Reason
    revision: int
    """Of the evidence, as it was shown."""


@dataclass(frozen=True, slots=True)
class Dismissals:
    """By evidence id the last word that names it."""

    words: Mapping[str, _Word]

    def covers(self, evidence: Evidence) -> bool:
        """Whether a person says that this is no attack, or no fault, as far as it is known here.

        Who says that data broke says so of the data: only an attack is none then.
        """
        word = self.words.get(evidence.evidence_id)
        if word is None or word.reason in _ATTACKS:
            return False
        if word.reason == "data_fault" and not evidence.is_of_attack:
            return False
        return not _has_more(evidence, word.revision)


def dismissals_of(said: Iterable[Overruling]) -> Dismissals:
    """What people say of each piece of evidence: the last one who names it counts."""
    words: dict[str, _Word] = {}
    for each in sorted(said):
        for evidence_id, revision in each.evidence:
            words[evidence_id] = _Word(each.reason, revision)
    return Dismissals(words)


def _has_more(evidence: Evidence, revision: int) -> bool:
    """Whether it has come to say more than in this revision; of one that is not kept, before it."""
    if evidence.revision <= revision:
        return False
    latest = evidence.alert or evidence.anomaly
    records = [*evidence.earlier, *([] if latest is None else [latest])]
    shown = [each for each in records if _revision(each) <= revision]
    later = [each for each in records if _revision(each) > revision]
    claims = _claims(shown[-1]) if shown else frozenset()
    n_accused = _n_accused(shown[-1]) if shown else 0
    return any(_claims(each) - claims or _n_accused(each) > n_accused for each in later)


def _revision(record: AlertData | AnomalyData) -> int:
    return record.revision if isinstance(record, AlertData) else record.unmapped.revision


def _n_accused(record: AlertData | AnomalyData) -> int:
    """How many it accuses and need not name: sources, or signals."""
    if isinstance(record, AlertData):
        return record.n_faults_unnamed
    return record.unmapped.n_sources


def _claims(record: AlertData | AnomalyData) -> frozenset[tuple[object, ...]]:
    """What a record accuses: sources, or what of signals broke; what is back and breaks again."""
    if isinstance(record, AlertData):
        faults = [each for each in record.signals if is_fault(each)]
        return frozenset(
            (kind, *aspect(each), each.named_feature, each.part_factor)
            for each in faults
            for kind in (["fault"] if each.standing == "returned" else ["fault", "away"])
        )
    own = record.unmapped.quarantine
    unnamed = [("unnamed", "without a source")] * own.without_source
    unnamed += [("unnamed", "others")] * (not own.is_complete)
    return frozenset([*unnamed, *(("source", each) for each in own.sources)])
