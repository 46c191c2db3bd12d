"""What an incident is: the rules that decide it, in their order, and who may say otherwise. Pure.

The first rule that holds decides. Attacks come first: what looks like drift may be one on the next
training, and a retraining that waits for nothing is dearer than one that waits. Then data that
broke, since a model that is trained on them learns the fault; then what was planned; then harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.alerts import AlertData, MovedSignal
from schemas.incidents import Reason, Verdict
from streams.incident_evidence import Evidence, trouble_of
from streams.signal_meaning import is_fault, is_harm

NEAR_OFFSETS: Final = 1_000
"""So far from where a version begins a change is taken to come of it: where changes begin is known
about so well."""


Shown = tuple[tuple[str, int], ...]
"""Evidence by id, each with the revision in which a person was shown it."""


class Overruling(NamedTuple):
    """What a person says that an incident is. The latest one counts, by place in the topic.

    It lets through what it names, as it was shown, and nothing that came later.
    """

    place: int
    incident_id: str
    reason: Reason
    by: str
    note: str
    evidence: Shown
    said_ms: int = 0
    """By the record's timestamp; 0 where it has none."""


class Approval(NamedTuple):
    """That a person approves of leaving out what these anomalies speak of, for one request.

    It covers nothing that came later.
    """

    place: int
    request_id: str
    incident_id: str
    by: str
    note: str
    revision: int
    """Of the incident, as it was shown."""
    evidence_ids: tuple[str, ...]
    said_ms: int = 0
    """By the record's timestamp; 0 where it has none."""


class Opening(NamedTuple):
    """That a person has been shown this evidence of an incident."""

    place: int
    incident_id: str
    by: str
    revision: int
    """Of the incident, as it was shown."""
    evidence: Shown
    said_ms: int = 0
    """By the record's timestamp; 0 where it has none."""


Said = Overruling | Approval | Opening
"""What people say of incidents, by its place in the commands topic."""


class RollbackApproval(NamedTuple):
    """That a person approves of a rollback. The latest one counts.

    It covers what was shown and no more: the comparison of a request never changes any more.
    """

    place: int
    rollback_id: str
    by: str
    note: str


class RollbackOpening(NamedTuple):
    """That a person has been shown the comparison that a rollback rests on."""

    place: int
    rollback_id: str
    by: str


class Beginning(NamedTuple):
    """Where predictions of a model version were first seen in a partition of the events."""

    partition: int
    model_version: str
    offset: int
    lineage: str
    """Of the fold that had come so far: a topic that is made anew has the same offsets again."""

    def is_known_at(self, settled: int, look_every: int) -> bool:
        """Whether it is known wherever so many offsets are settled: its look is over by then."""
        return (self.offset // look_every + 1) * look_every <= settled


Noted = Said | RollbackApproval | RollbackOpening | Beginning
"""What is kept of a model beside evidence."""


def of_incidents(noted: Iterable[Noted]) -> list[Said]:
    """What people said of incidents."""
    return [each for each in noted if isinstance(each, Overruling | Approval | Opening)]


def beginnings(noted: Iterable[Noted]) -> list[Beginning]:
    """Where versions begin, by partition, fold and offset; of each version the first place.

    Folds of a partition come in the order in which they were first met, so the last one goes on.
    """
    first: dict[tuple[int, str, str], int] = {}
    rank: dict[tuple[int, str], int] = {}
    for each in noted:
        if isinstance(each, Beginning):
            name = each.partition, each.lineage, each.model_version
            first[name] = min(each.offset, first.get(name, each.offset))
            rank.setdefault(name[:2], len(rank))
    found = [
        Beginning(partition, version, at, lineage)
        for (partition, lineage, version), at in first.items()
    ]
    return sorted(
        found,
        key=lambda each: (
            each.partition,
            rank[each.partition, each.lineage],
            each.offset,
            each.model_version,
        ),
    )


def going_on(begun: Sequence[Beginning]) -> list[Beginning]:
    """Of `beginnings` those of the fold of each partition that was met last.

    Offsets of the others may be of a topic that is gone.
    """
    last = {each.partition: each.lineage for each in begun}
    return [each for each in begun if last[each.partition] == each.lineage]


class Held(NamedTuple):
    """That a rule holds: what it saw, and in which evidence."""

    because: str
    evidence_ids: list[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it decides, and on which evidence. `says` is None where it does not hold."""

    name: str
    reason: Reason
    holds_where: str
    says: Callable[[Sequence[Evidence], Sequence[Beginning]], Held | None]


def verdict_of(
    evidence: Sequence[Evidence],
    said: Sequence[Overruling],
    opened: Sequence[Opening] = (),
    begun: Sequence[Beginning] = (),
) -> Verdict:
    """The reason of an incident, from all of its evidence and what people said of it.

    `begun` is where versions of the model begin, as `beginnings` has them.
    """
    held = [(rule, found) for rule in RULES if (found := rule.says(evidence, begun)) is not None]
    rule, found = held[0]
    # The last rule holds always: beside others it says nothing.
    reasons = list(dict.fromkeys(each.reason for each, _ in held[:-1]))
    last = max(said, default=None)
    return Verdict(
        reason=rule.reason if last is None else last.reason,
        rule=rule.name if last is None else "overruled",
        because=found.because,
        evidence_ids=found.evidence_ids,
        also=[each for each in reasons[1:] if last is None or each != last.reason],
        by=None if last is None else last.by,
        note=None if last is None else last.note,
        ruled=None if last is None else rule.reason,
        covers=None if last is None else dict(last.evidence),
        was_evidence_opened=None if last is None else was_seen(last, opened),
    )


def was_seen(word: Overruling, opened: Iterable[Opening]) -> bool:
    """Whether who said this had been shown all that it names before, as it names it."""
    shown: dict[str, int] = {}
    for each in opened:
        if each.by == word.by and each.place < word.place:
            for evidence_id, revision in each.evidence:
                shown[evidence_id] = max(revision, shown.get(evidence_id, 0))
    return all(revision <= shown.get(evidence_id, 0) for evidence_id, revision in word.evidence)


def was_shown(word: Approval, opened: Iterable[Opening]) -> bool:
    """Whether who approved had been shown each of these anomalies before, of whatever incident."""
    shown = {
        evidence_id
        for each in opened
        if each.by == word.by and each.place < word.place
        for evidence_id, _ in each.evidence
    }
    return shown.issuperset(word.evidence_ids)


def moved_of(evidence: Sequence[Evidence]) -> list[tuple[Evidence, AlertData, MovedSignal]]:
    """Every signal of every alert, with where it stands."""
    return [
        (each, each.alert, moved)
        for each in evidence
        if each.alert is not None
        for moved in each.alert.signals
    ]


def began_near(evidence: Evidence, begun: Sequence[Beginning]) -> Beginning | None:
    """The version that began about where an alert's change did, of the same fold; None where none.

    The first version of a fold changes nothing there: it was all there was.
    """
    if evidence.alert is None or evidence.first_offset is None:
        return None
    fold = evidence.alert.partition, evidence.alert.lineage
    here = [each for each in begun if (each.partition, each.lineage) == fold][1:]
    near = [each for each in here if abs(each.offset - evidence.first_offset) <= NEAR_OFFSETS]
    return min(
        near,
        key=lambda each: (abs(each.offset - (evidence.first_offset or 0)), each),
        default=None,
    )


def _attack(family: str, words: str) -> Callable[[Sequence[Evidence]], Held | None]:
    def says(evidence: Sequence[Evidence]) -> Held | None:
        own = [each for each in evidence if each.family == family]
        if not own:
            return None
        kinds = sorted(
            {each.anomaly.unmapped.technique for each in own if each.anomaly is not None}
        )
        n_sources = sum(each.anomaly.unmapped.n_sources for each in own if each.anomaly is not None)
        clients = "source" if n_sources == 1 else "sources"
        return Held(
            f"{words} is suspected ({', '.join(kinds)}), of {n_sources} {clients}",
            [each.evidence_id for each in own],
        )

    return says


def _silence(evidence: Sequence[Evidence]) -> Held | None:
    own = [each for each in evidence if each.silence is not None]
    if not own:
        return None
    kinds = sorted(
        {trouble_of(each.silence).replace("_", " ") for each in own if each.silence is not None}
    )
    return Held(f"events stay away, or come in other numbers: {', '.join(kinds)}", _ids(own))


def _fault(evidence: Sequence[Evidence]) -> Held | None:
    found = [(each, moved) for each, _, moved in moved_of(evidence) if is_fault(moved)]
    of_most = [each for each in evidence if each.family == "fault"]
    if not found and not of_most:
        return None
    names = list(dict.fromkeys(moved.signal for _, moved in found[:_MAX_NAMED]))
    if of_most:
        names.append("those of most clients at once")
    return Held(f"data broke: {', '.join(names)}", _ids([*(each for each, _ in found), *of_most]))


def _planned(evidence: Sequence[Evidence]) -> Held | None:
    own = [each for each in evidence if each.alert is not None and each.alert.planned is not None]
    if not own or len(own) < sum(each.alert is not None for each in evidence):
        # Where something moved that nobody had announced, the plan does not explain it.
        return None
    why = sorted({each.alert.planned for each in own if each.alert and each.alert.planned})
    return Held(f"the change was announced: {'; '.join(why)}", _ids(own))


def _skew(evidence: Sequence[Evidence]) -> Held | None:
    own = [each for each in evidence if each.alert is not None and each.alert.training_serving_skew]
    if not own:
        return None
    return Held("what is served differs from the reference that was set for it", _ids(own))


def _began(evidence: Sequence[Evidence], begun: Sequence[Beginning]) -> Held | None:
    alerts = [each for each in evidence if each.alert is not None]
    near = [began_near(each, begun) for each in alerts]
    if not alerts or None in near:
        return None
    versions = sorted({each.model_version for each in near if each is not None})
    which = "a new version" if len(versions) == 1 else "new versions"
    return Held(
        f"it began where {which} of the model did: {', '.join(versions[:_MAX_NAMED])}",
        _ids(alerts),
    )


def _harm(evidence: Sequence[Evidence]) -> Held | None:
    found = [(each, moved) for each, _, moved in moved_of(evidence) if is_harm(moved)]
    if not found:
        return None
    names = ", ".join(dict.fromkeys(moved.signal for _, moved in found[:_MAX_NAMED]))
    return Held(
        f"predictions are worse, or no longer worth what they say: {names}",
        _ids([each for each, _ in found]),
    )


def _benign(evidence: Sequence[Evidence]) -> Held:
    return Held(
        "inputs or predictions moved, and nothing says that predictions are worse", _ids(evidence)
    )


def _ids(evidence: Sequence[Evidence]) -> list[str]:
    return list(dict.fromkeys(each.evidence_id for each in evidence))[:_MAX_IDS]


def _of_evidence(
    says: Callable[[Sequence[Evidence]], Held | None],
) -> Callable[[Sequence[Evidence], Sequence[Beginning]], Held | None]:
    return lambda evidence, _: says(evidence)


_MAX_NAMED: Final = 8
_MAX_IDS: Final = 64

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "poisoning_suspected",
        "suspected_poisoning",
        "an anomaly of `label_poisoning`, `backdoor` or `frog_boiling` is part of it",
        _of_evidence(_attack("poisoning", "poisoning of the next training")),
    ),
    Rule(
        "probing_suspected",
        "suspected_probing",
        "an anomaly of another technique is part of it, exposures left out",
        _of_evidence(_attack("probing", "an attack by queries")),
    ),
    Rule(
        "events_stay_away",
        "data_fault",
        "a silence or another volume is part of it",
        _of_evidence(_silence),
    ),
    Rule(
        "data_broke",
        "data_fault",
        "a signal `quality:...` or `latency` moved, one seems to have another unit, or "
        "`missing:F` is above its reference by half a standard deviation or more; or an anomaly "
        "`data_change` is part of it",
        _of_evidence(_fault),
    ),
    Rule(
        "announced",
        "deployment_change",
        "every alert falls into a planned change",
        _of_evidence(_planned),
    ),
    Rule(
        "reference_does_not_fit",
        "deployment_change",
        "an alert has `training_serving_skew`",
        _of_evidence(_skew),
    ),
    Rule(
        "version_began",
        "deployment_change",
        "there are alerts, and each of them changed within 1,000 offsets of where another version "
        "of the model began to predict in its partition",
        _began,
    ),
    Rule(
        "predictions_worse",
        "harmful_drift",
        "`error`, `error:F=V`, `expected_error` or `error_gap` moved and is above its reference, "
        "`calibration` moved, or groups came apart",
        _of_evidence(_harm),
    ),
    Rule("nothing_says_harm", "benign_drift", "no other rule holds", _of_evidence(_benign)),
)
"""In the order in which they are asked. `nothing_says_harm` holds always."""
