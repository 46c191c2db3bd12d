"""Follow-ups and rollback requests as sentences that a person understands. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from schemas.printable import escaped
from schemas.rollback import (
    FollowUpData,
    GroupComparison,
    Loss,
    RollbackHold,
    RollbackStatus,
    VersionComparison,
    VersionVerdict,
)
from streams.version_comparison import verdict_at, worse_in

if TYPE_CHECKING:
    from streams.rollback_gate import Compared, Succession

_MAX_NAMED: Final = 3
_LOSS: Final[dict[Loss, str]] = {
    "error_rate": "share of wrong predictions",
    "absolute_error": "mean absolute error",
}
_VERDICT: Final[dict[VersionVerdict, str]] = {
    "worse": "is worse than",
    "better": "is better than",
    "alike": "cannot be told from",
    "not_known": "is not compared with",
}
_STATUS: Final[dict[RollbackStatus, str]] = {
    "held": "a rollback is wanted, and held",
    "released": "roll it back",
    "withdrawn": "no rollback is wanted any more: a later version has begun",
}


def followup_sentence(
    succession: Succession,
    compared: Compared,
    verdict: VersionVerdict,
) -> str:
    """Model, both versions, which is better by how much, on what; or why that is not known."""
    said = (
        f"{escaped(succession.model_id)} {escaped(succession.version)} {_VERDICT[verdict]} "
        f"{escaped(succession.last)}"
    )
    comparison = compared.comparison
    if comparison is None:
        said += f": {compared.why_not}"
    else:
        said += f": {_differences(comparison)}{_basis(comparison)}"
        if verdict == "alike" and _is_of_the_mix(comparison.groups[0], compared.least_loss):
            said += ". On the same mix of groups that difference is not sure"
    if compared.warnings:
        said += f". Beware: {'; '.join(escaped(each.detail) for each in compared.warnings)}"
    return f"{said}."


def rollback_sentence(
    followup: FollowUpData,
    comparison: VersionComparison,
    status: RollbackStatus,
    holds: Sequence[RollbackHold],
) -> str:
    """Model, what to do, why, what holds it back."""
    said = (
        f"{escaped(followup.model_id)} {escaped(followup.model_version)}: {_STATUS[status]}"
        f"{'' if status == 'withdrawn' else f', to {escaped(followup.last_version)}'}"
    )
    if status == "withdrawn":
        return f"{said}."
    said += f": {_differences(comparison)}{_basis(comparison)}"
    if holds:
        said += f". Held: {'; '.join(escaped(each.detail) for each in holds)}"
    return f"{said}."


def _differences(comparison: VersionComparison) -> str:
    shown = list(islice(worse_in(comparison), _MAX_NAMED)) or comparison.groups[:1]
    return f"{_LOSS[comparison.loss]} {'; '.join(_difference(each) for each in shown)}"


def _difference(each: GroupComparison) -> str:
    where = "" if each.group is None else f"with {escaped(each.group)} "
    return (
        f"{where}{each.new:.4g} against {each.old:.4g} ({each.difference:+.4g}, from "
        f"{each.low:.4g} to {each.high:.4g}, of {each.n_new:,} and {each.n_old:,} labels)"
    )


def _is_of_the_mix(found: GroupComparison, least_loss: float) -> bool:
    """Whether its interval alone has another verdict than it: only the mix takes one away."""
    return found.verdict == "alike" != verdict_at(found.low, found.high, least_loss)


def _basis(comparison: VersionComparison) -> str:
    if comparison.basis == "together":
        return ", of the time in which both ran"
    return ", against the last window of the old version, which had stopped"
