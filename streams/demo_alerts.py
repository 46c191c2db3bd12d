"""The alerts that the demo has read, and which of the changes they speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.alerts import AlertData
from streams.traffic import Change, ModelTraffic

_NEXT_WITHIN_OFFSETS: Final = 64
_AFTERMATH_EVENTS: Final = 2_000
"""An alert this soon after a change is counted with it, whatever its signal."""


@dataclass(slots=True)
class SeenAlert:
    """One alert with its updates: the first record of it, and what later ones added."""

    number: int
    """1 for the first alert of the run."""
    said: AlertData
    """Its first record, or the update that has seen the change more clearly since."""
    detectors: list[str]
    """In the order in which they fired."""
    model_event: int
    """The number, within its model, of the event that triggered it; -1 if unknown."""
    change_event: int
    """About where it says the change began, likewise."""
    trigger_events: list[int]
    """Of the alert and of each of its updates."""

    @property
    def n_updates(self) -> int:
        """How many records followed the first one."""
        return len(self.trigger_events) - 1


class AlertBook:
    """Alerts by identity, in order of arrival; offsets become the demo's own event numbers."""

    def __init__(self, positions: Mapping[tuple[int, int], tuple[str, int]]) -> None:
        """`positions` maps (partition, offset) of the events topic to (model id, event number)."""
        self._positions = positions
        self._by_id: dict[str, SeenAlert] = {}
        self._records: dict[tuple[str, int], None] = {}

    @property
    def alerts(self) -> list[SeenAlert]:
        """All of them, the first one first."""
        return list(self._by_id.values())

    def add(self, value: bytes) -> SeenAlert | None:
        """Take in one record of the alerts topic; the alert if it is a new one, else None."""
        said = AlertData.model_validate_json(value)
        identity = said.alert_id, said.revision
        if identity in self._records:  # at-least-once delivery may repeat a record
            return None
        self._records[identity] = None
        trigger = self._event(said, said.trigger_offset)
        known = self._by_id.get(said.alert_id)
        if known is not None:
            known.trigger_events.append(trigger)
            known.detectors += [d for d in said.detectors if d not in known.detectors]
            if _says_more(said, known.said):
                known.said = said
                known.change_event = self._event(said, said.change_offset)
            return None
        alert = SeenAlert(
            number=len(self._by_id) + 1,
            said=said,
            detectors=list(said.detectors),
            model_event=trigger,
            change_event=self._event(said, said.change_offset),
            trigger_events=[trigger],
        )
        self._by_id[said.alert_id] = alert
        return alert

    def _event(self, said: AlertData, offset: int) -> int:
        """The model's event at an offset or, where that is another model's, its next one."""
        for later in range(offset, offset + _NEXT_WITHIN_OFFSETS):
            model_id, event = self._positions.get((said.partition, later), ("", -1))
            if model_id == said.model_id:
                return event
        return -1


def _says_more(update: AlertData, said: AlertData) -> bool:
    """Whether an update knows the mean since the change and says that it moved further.

    A detector often fires when only a few events after the change are in its window, and then
    the first record understates the move.
    """
    if update.after is None:
        return False
    return said.after is None or abs(update.effect or 0.0) > abs(said.effect or 0.0)


class Verdict(NamedTuple):
    """Whether a change was seen on one of the signals on which it had to be."""

    model_id: str
    change: Change
    signal: str
    alert: SeenAlert | None
    delay_events: int
    """Events from the change to the alert; -1 where there is none."""


def verdicts(models: Sequence[ModelTraffic], alerts: Sequence[SeenAlert]) -> list[Verdict]:
    """One verdict per change and expected signal, in the order of models and changes."""
    found = []
    for model in models:
        for change in model.changes:
            for signal in change.expected:
                hits = [
                    (event - change.event, alert)
                    for alert in alerts
                    if (alert.said.model_id, alert.said.signal) == (model.model_id, signal)
                    for event in alert.trigger_events
                    if change.event <= event < change.event + change.within
                ]
                delay, alert = min(hits, key=lambda hit: hit[0], default=(-1, None))
                found.append(Verdict(model.model_id, change, signal, alert, delay))
    return found


def change_before(model: ModelTraffic, alert: SeenAlert) -> Change | None:
    """The change that an alert belongs to: the latest one, if it is near or moves this signal."""
    earlier = [change for change in model.changes if change.event <= alert.model_event]
    if not earlier:
        return None
    latest = earlier[-1]
    near = alert.model_event < latest.event + _AFTERMATH_EVENTS
    return latest if near or alert.said.signal in latest.expected else None
