"""Alert records put together: one alert with its updates, in the order of arrival."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.alerts import AlertData


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
    """Alerts by identity, in order of arrival."""

    def __init__(self, event_at: Callable[[AlertData, int], int]) -> None:
        """`event_at` numbers the event at an offset that an alert names; -1 where it is unknown."""
        self._event_at = event_at
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
        trigger = self._event_at(said, said.trigger_offset)
        known = self._by_id.get(said.alert_id)
        if known is not None:
            known.trigger_events.append(trigger)
            known.detectors += [d for d in said.detectors if d not in known.detectors]
            if _says_more(said, known.said):
                known.said = said
                known.change_event = self._event_at(said, said.change_offset)
            return None
        alert = SeenAlert(
            number=len(self._by_id) + 1,
            said=said,
            detectors=list(said.detectors),
            model_event=trigger,
            change_event=self._event_at(said, said.change_offset),
            trigger_events=[trigger],
        )
        self._by_id[said.alert_id] = alert
        return alert


def _says_more(update: AlertData, said: AlertData) -> bool:
    """Whether an update knows the mean since the change and says that it moved further.

    A detector often fires when only a few events after the change are in its window, and then
    the first record understates the move.
    """
    if update.after is None:
        return False
    return said.after is None or abs(update.effect or 0.0) > abs(said.effect or 0.0)


def from_to(alert: SeenAlert) -> str:
    """The means before and since the change; `?` where too few events stand behind one."""
    means = alert.said.before, alert.said.after
    # The mean of zeros in a sliding window may miss 0 by rounding.
    negligible = 1e-9 * max(abs(mean or 0.0) for mean in means)
    before, after = (
        "?" if mean is None else f"{mean if abs(mean) > negligible else 0.0:.4g}" for mean in means
    )
    return f"{before} -> {after}"
