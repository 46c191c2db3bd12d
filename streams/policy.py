"""From findings to alerts: what belongs together, how severe it is, what is said.

Pure: findings in log order go in, alert records come out, and the open alerts are state. Policy
never feeds back into a bank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detectors.base import BankState, StateError, require_array
from schemas.alerts import AlertData, Severity
from schemas.config import PolicyConfig
from schemas.findings import Aspect, Finding, Notice
from streams.identity import alert_id
from streams.sentences import bound_sentence, drift_sentence

POLICY_VERSION: Final = 1
"""Version of these rules and of their state."""

MIN_EVENTS: Final = 20
"""A mean over fewer events says too much about one of them, and is not published."""

MAX_COARSE_EFFECT: Final = 10.0
MAX_OPEN_ALERTS: Final = 10_000
"""Open alerts kept per partition; past it, the one opened first is forgotten (and may reopen)."""

SEVERITIES: Final[tuple[tuple[float, Severity], ...]] = (
    (1.0, "critical"),
    (0.5, "high"),
    (0.2, "medium"),
    (0.0, "low"),
)
"""Least |effect|, in reference standard deviations, of each severity."""


@dataclass(slots=True)
class OpenAlert:
    """An alert that later evidence on its signal still belongs to."""

    alert_id: str
    revision: int
    opened_event: int
    """The model event of its first finding."""
    admitted: int
    """When its model was admitted: one that gave way and came back has no old alerts."""
    opened_offset: int
    detectors: list[str] = field(default_factory=list)


# Offsets and counts; a made-up larger one could not be counted on, nor written as JSON.
_Count = Annotated[int, Field(ge=0, lt=1 << 62)]


class _OpenAlertDocument(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    key: tuple[str, str, int, str]
    alert_id: str
    revision: _Count
    opened_event: _Count
    admitted: _Count
    opened_offset: _Count
    detectors: list[str]


class Policy:
    """The open alerts of one partition.

    `lineage`, `deployment` and `partition` are what its alerts say of their origin.
    """

    def __init__(
        self,
        config: PolicyConfig,
        lineage: str,
        deployment: str,
        partition: int,
        state: BankState | None = None,
    ) -> None:
        self.config = config
        self.lineage = lineage
        self.deployment = deployment
        self.partition = partition
        self.open: dict[tuple[str, str, int, str], OpenAlert] = {}
        if state is not None:
            self._restore(state)

    def snapshot(self) -> BankState:
        """The open alerts."""
        document = [
            {
                "key": list(key),
                "alert_id": alert.alert_id,
                "revision": alert.revision,
                "opened_event": alert.opened_event,
                "admitted": alert.admitted,
                "opened_offset": alert.opened_offset,
                "detectors": alert.detectors,
            }
            for key, alert in self.open.items()
        ]
        return {"open": np.frombuffer(orjson.dumps(document), np.uint8).copy()}

    def _restore(self, state: BankState) -> None:
        try:
            raw = orjson.loads(require_array(state, "open", np.uint8, (None,)).tobytes())
            if not isinstance(raw, list) or len(raw) > MAX_OPEN_ALERTS:
                raise StateError("the open alerts are not a list, or too many")
            for row in raw:
                row["key"] = tuple(row["key"])
                document = _OpenAlertDocument.model_validate(row)
                self.open[document.key] = OpenAlert(
                    document.alert_id,
                    document.revision,
                    document.opened_event,
                    document.admitted,
                    document.opened_offset,
                    document.detectors,
                )
        except (orjson.JSONDecodeError, ValidationError, TypeError, KeyError) as error:
            raise StateError(f"the open alerts are not readable: {error}") from None

    def decide(
        self, said: Sequence[Finding | Notice], next_seq: Callable[[], int]
    ) -> list[AlertData]:
        """One alert record for each finding and notice, in their order."""
        return [
            self._bound_alert(item, next_seq())
            if isinstance(item, Notice)
            else self._drift_alert(item, next_seq())
            for item in said
            if isinstance(item, Notice) or item.aspect is not Aspect.SETTLED
        ]

    def _drift_alert(self, finding: Finding, seq: int) -> AlertData:
        # A change of spread is another thing than one of the mean, and an alert of its own.
        rule = "spread" if finding.aspect is Aspect.SPREAD else "drift"
        watched = f"spread {finding.signal}" if rule == "spread" else finding.signal
        key = (finding.model_id, finding.model_version, finding.shard, watched)
        alert = self.open.get(key)
        age = -1 if alert is None else finding.model_event - alert.opened_event
        is_of_before = alert is not None and alert.admitted != finding.admitted
        if alert is None or is_of_before or not 0 <= age <= self.config.cooldown_events:
            alert = self._open(key, finding, rule)
        else:
            alert.revision += 1
        if finding.detector not in alert.detectors:
            alert.detectors.append(finding.detector)
        effect = finding.effect
        if min(finding.n_before, finding.n_after) < MIN_EVENTS:
            effect = float(round(min(max(effect, -MAX_COARSE_EFFECT), MAX_COARSE_EFFECT)))
        before = finding.before if finding.n_before >= MIN_EVENTS else None
        after = finding.after if finding.n_after >= MIN_EVENTS else None
        return AlertData(
            alert_id=alert.alert_id,
            revision=alert.revision,
            seq=seq,
            kind="drift",
            deployment=self.deployment,
            lineage=self.lineage,
            model_id=finding.model_id,
            model_version=finding.model_version,
            shard=None if finding.shard < 0 else finding.shard,
            signal=finding.signal,
            detectors=list(alert.detectors),
            severity=severity(finding.effect),
            effect=effect,
            before=before,
            after=after,
            unit=_unit(finding),
            change_offset=finding.change_offset,
            trigger_offset=finding.offset,
            trigger_row=finding.event_row,
            opened_offset=alert.opened_offset,
            partition=self.partition,
            event_time_ms=finding.event_time_ms,
            message=drift_sentence(finding, before, after, effect),
        )

    def _open(self, key: tuple[str, str, int, str], finding: Finding, rule: str) -> OpenAlert:
        self.open.pop(key, None)
        if len(self.open) >= MAX_OPEN_ALERTS:
            del self.open[next(iter(self.open))]
        alert = OpenAlert(
            alert_id=alert_id(
                self.lineage,
                finding.model_id,
                finding.shard,
                finding.model_version,
                finding.signal,
                finding.detector,
                rule,
                finding.offset,
                finding.event_row,
            ),
            revision=1,
            opened_event=finding.model_event,
            admitted=finding.admitted,
            opened_offset=finding.offset,
        )
        self.open[key] = alert
        return alert

    def _bound_alert(self, notice: Notice, seq: int) -> AlertData:
        signal = f"bound:{notice.bound}"
        return AlertData(
            alert_id=alert_id(
                self.lineage,
                notice.model_id,
                notice.shard,
                notice.model_version,
                signal,
                "bounds",
                "bound",
                notice.offset,
                notice.event_row,
            ),
            revision=1,
            seq=seq,
            kind="bound",
            deployment=self.deployment,
            lineage=self.lineage,
            model_id=notice.model_id,
            model_version=notice.model_version,
            shard=None if notice.shard < 0 else notice.shard,
            signal=signal,
            detectors=["bounds"],
            severity="medium",
            effect=None,
            before=None,
            after=None,
            unit="value",
            change_offset=notice.offset,
            trigger_offset=notice.offset,
            trigger_row=notice.event_row,
            opened_offset=notice.offset,
            partition=self.partition,
            event_time_ms=notice.event_time_ms,
            message=bound_sentence(notice),
        )


def _unit(finding: Finding) -> Literal["value", "share", "spread"]:
    if finding.aspect is Aspect.SPREAD:
        return "spread"
    return "share" if finding.is_share else "value"


def severity(effect: float) -> Severity:
    """How severe a move by so many reference standard deviations is."""
    return next(name for least, name in SEVERITIES if abs(effect) >= least)
