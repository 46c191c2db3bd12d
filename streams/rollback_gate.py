"""What is said of a new version, and whether a rollback is asked for. Pure.

A version is compared once: on the first windows, from its first event, in which both versions have
enough labels. So its level is spent once, and what comes behind those windows does not enter: the
same comes out in every order, whenever somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.feedback import FeedbackWarning
from schemas.responder_config import RollbackConfig
from schemas.retraining import CleanWindow, RetrainingData
from schemas.rollback import (
    FollowUpData,
    RollbackData,
    RollbackHold,
    RollbackStatus,
    VersionComparison,
    VersionVerdict,
)
from streams.dismissals import Dismissals
from streams.identity import followup_id, rollback_id
from streams.incident_evidence import Evidence
from streams.incident_reasons import Beginning, RollbackApproval, RollbackOpening
from streams.known_then import as_of
from streams.rollback_sentences import followup_sentence, rollback_sentence
from streams.troubles import Stretch, Trouble, attacks_of, ended_after, faults_of, goes_on
from streams.version_comparison import verdict_on


@dataclass(frozen=True, slots=True)
class Succession:
    """A new version of a model, where it begins, and the version that it comes after."""

    deployment: str
    model_id: str
    version: str
    last: str
    start: Mapping[int, int]
    """By partition the first offset of its predictions."""
    lineages: Mapping[int, str]
    """By partition the fold that this offset is of."""

    @property
    def followup_id(self) -> str:
        """The name of what is said of it."""
        return followup_id(self.deployment, self.model_id, self.version, self.last)


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of comparing: nothing yet, nothing at all, or a comparison."""

    comparison: VersionComparison | None
    warnings: Sequence[FeedbackWarning]
    why_not: str = ""
    """Why there is no comparison."""
    is_final: bool = False
    """Whether that can never change."""
    least_loss: float = 0.0
    """By which it was compared."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else is known of the model."""

    evidence: Sequence[Evidence]
    dismissals: Dismissals
    """What people say is no attack, or no fault."""
    approvals: Sequence[RollbackApproval]
    opened: Sequence[RollbackOpening]
    begun: Sequence[Beginning]
    """As `beginnings` has them."""


def spans_after(start: Mapping[int, int], length: int) -> dict[int, tuple[int, int]]:
    """By partition the first and the last of so many offsets from where a version begins."""
    return {partition: (at, at + length - 1) for partition, at in start.items()}


def spans_before(start: Mapping[int, int], length: int) -> dict[int, tuple[int, int]]:
    """The same before it; of what lies before the topic's beginning nothing."""
    return {partition: (max(0, at - length), at - 1) for partition, at in start.items() if at > 0}


def retraining_before(
    start: Mapping[int, int], released: Iterable[RetrainingData]
) -> RetrainingData | None:
    """The released request whose window ends last, wholly before a version begins.

    In every partition that both name; one of no such partition is none.
    """

    def ends(request: RetrainingData) -> dict[int, int]:
        return {
            part.partition: max(each.last_offset for each in part.ranges)
            for part in request.window.parts
            if part.ranges and part.partition in start
        }

    before = [
        (max(last.values()), each.request_id, each)
        for each in released
        if (last := ends(each)) and all(at < start[partition] for partition, at in last.items())
    ]
    return max(before, key=lambda each: each[:2])[2] if before else None


def followup_of(succession: Succession, compared: Compared) -> FollowUpData:
    """What is said of a new version, whatever came before it."""
    comparison = compared.comparison
    verdict: VersionVerdict = "not_known" if comparison is None else verdict_on(comparison)
    return FollowUpData(
        followup_id=succession.followup_id,
        status="told" if compared.is_final else "following",
        verdict=verdict,
        deployment=succession.deployment,
        model_id=succession.model_id,
        model_version=succession.version,
        last_version=succession.last,
        retraining_id=None,
        comparison=comparison,
        warnings=list(compared.warnings),
        message=followup_sentence(succession, compared, verdict),
    )


def after_retraining(followup: FollowUpData, retraining: RetrainingData | None) -> FollowUpData:
    """The same, with the retraining that the version came after."""
    if retraining is None:
        return followup
    name = retraining.request_id
    return followup.model_copy(
        update={"retraining_id": name, "message": followup.message + _came_after(name)}
    )


def without_retraining(followup: FollowUpData) -> FollowUpData:
    """What `after_retraining` was told."""
    name = followup.retraining_id
    if name is None:
        return followup
    message = followup.message.removesuffix(_came_after(name))
    return followup.model_copy(update={"retraining_id": None, "message": message})


def _came_after(name: str) -> str:
    return f" It came after retraining {name}."


def rollback_of(
    followup: FollowUpData, around: Circumstances, config: RollbackConfig
) -> RollbackData | None:
    """The request as it is now; None where the version is not worse, or nobody wants to be told."""
    comparison = followup.comparison
    if config.policy == "observe" or comparison is None or followup.verdict != "worse":
        return None
    versions = followup.model_version, followup.last_version
    name = rollback_id(followup.deployment, followup.model_id, *versions)
    approval = max((each for each in around.approvals if each.rollback_id == name), default=None)
    holds = [] if approval is not None else _holds(comparison, around, config)
    status: RollbackStatus = "held" if holds else "released"
    if approval is None and _is_followed(followup, comparison, around, config, bool(holds)):
        status, holds = "withdrawn", []
    return RollbackData(
        request_id=name,
        status=status,
        holds=holds,
        deployment=followup.deployment,
        model_id=followup.model_id,
        from_version=followup.model_version,
        to_version=followup.last_version,
        followup_id=followup.followup_id,
        comparison=comparison,
        warnings=followup.warnings,
        approved_by=None if approval is None else approval.by,
        approval_note=None if approval is None else approval.note,
        was_evidence_opened=None if approval is None else _was_opened(approval, around.opened),
        message=rollback_sentence(followup, comparison, status, holds),
    )


def _holds(
    comparison: VersionComparison, around: Circumstances, config: RollbackConfig
) -> list[RollbackHold]:
    attacks, faults = _troubles(comparison, around)
    holds = []
    if attacks:
        holds.append(
            RollbackHold(
                reason="attack_suspected",
                detail="an attack is suspected in what was compared, so that labels may lie: look "
                "at it, and approve all the same, or overrule its incident",
                evidence_ids=attacks,
            )
        )
    if faults:
        holds.append(
            RollbackHold(
                reason="data_fault_open",
                detail="data broke in what was compared and have not been seen whole again, so "
                "that the version may not be to blame: mend them, approve all the same, or "
                "overrule its incident",
                evidence_ids=faults,
            )
        )
    if config.policy == "ask":
        holds.append(
            RollbackHold(
                reason="approval_needed",
                detail="a person has to approve: `driftsentry rollback approve`",
                evidence_ids=[],
            )
        )
    return holds


def _troubles(comparison: VersionComparison, around: Circumstances) -> tuple[list[str], list[str]]:
    """Attacks in what was compared, and data that are broken in it, by evidence id.

    By what was known at its end, wherever in it that lies: the old window may be over long before.
    Of what is told later counts that something is over.
    """
    stretches = [*_stretches(comparison.old_window), *_stretches(comparison.new_window)]
    ends: dict[int, int] = {}
    for each in stretches:
        ends[each.partition] = max(each.last, ends.get(each.partition, 0))

    def is_within(trouble: Trouble) -> bool:
        return any(
            each.partition == trouble.partition and any(each.meets(*one) for one in trouble.ranges)
            for each in stretches
        )

    attacks, faults = set(), set()
    whole = {each.evidence_id: each for each in around.evidence}
    for known in as_of(around.evidence, ends):
        name = known.evidence_id
        if around.dismissals.covers(known):
            continue
        over = ended_after(whole[name], known, around.evidence)
        # Of what went on behind its latest evidence it is known where it was once it is over.
        judged = over if over is not None and goes_on(known) else known
        if any(map(is_within, attacks_of([judged]))):
            attacks.add(name)
        if over is None and any(map(is_within, faults_of([known], around.evidence))):
            faults.add(name)
    return sorted(attacks), sorted(faults)


def _is_followed(
    followup: FollowUpData,
    comparison: VersionComparison,
    around: Circumstances,
    config: RollbackConfig,
    is_held: bool,
) -> bool:
    """Whether a later version has begun, so that nobody need go back any more.

    Of one that would be released that counts only if it was known at the end of what was compared:
    else it would hang on who looked first.
    """
    for window in _stretches(comparison.new_window):
        here = [each for each in around.begun if each.partition == window.partition]
        own, later = _from_its_fold(followup.model_version, window.first, here)
        others = [each for each in own if each.model_version != followup.model_version]
        if any(
            each.offset > window.first
            and (is_held or each.is_known_at(window.last + 1, config.look_every))
            for each in others
        ):
            return True
        # Those that were there first began in none of these folds.
        if is_held and any(each.model_version != followup.model_version for each in later):
            return True
    return False


def _from_its_fold(
    version: str, first: int, here: Sequence[Beginning]
) -> tuple[list[Beginning], list[Beginning]]:
    """What began in the fold in which a version begins at `first`, and in those that came later.

    `here` are the beginnings of one partition. Of the later folds without what each has first.
    """
    folds = list(dict.fromkeys(each.lineage for each in here))
    mine = [each.lineage for each in here if (each.model_version, each.offset) == (version, first)]
    # Where nobody knows, after a rebuild, there is one fold alone: that which goes on.
    at = folds.index(mine[-1]) if mine else len(folds) - 1
    later = [
        each
        for fold in folds[at + 1 :]
        for each in [one for one in here if one.lineage == fold][1:]
    ]
    return [each for each in here if folds and each.lineage == folds[at]], later


def _was_opened(approval: RollbackApproval, opened: Iterable[RollbackOpening]) -> bool:
    return any(
        each.rollback_id == approval.rollback_id
        and each.by == approval.by
        and each.place < approval.place
        for each in opened
    )


def _stretches(window: CleanWindow) -> list[Stretch]:
    return [
        Stretch(part.partition, each.first_offset, each.last_offset)
        for part in window.parts
        for each in part.ranges
    ]
