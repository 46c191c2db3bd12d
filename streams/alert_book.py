"""Alert records put together: one alert with its updates, in the order of arrival."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.alerts import AlertData, MovedSignal


@dataclass(slots=True)
class SeenAlert:
    """One alert with its updates: what its latest record says, and every signal it ever named."""

    number: int
    """1 for the first alert of the run."""
    said: AlertData
    """Its latest record."""
    model_event: int
    """The number, within its model, of the event that triggered it; -1 if unknown."""
    change_event: int
    """About where it says the change began, likewise."""
    moved: dict[tuple[str, str], MovedSignal] = field(default_factory=dict)
    """By signal and unit, in the order in which they joined."""
    found_events: dict[str, list[int]] = field(default_factory=dict)
    """The numbers of the events at which each signal was found, or found to come back."""
    n_updates: int = 0
    """How many records followed the first one."""


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
        return self.take(AlertData.model_validate_json(value))

    def take(self, said: AlertData) -> SeenAlert | None:
        """As `add`, of a record that was read."""
        identity = said.alert_id, said.revision
        if identity in self._records:  # at-least-once delivery may repeat a record
            return None
        self._records[identity] = None
        known = self._by_id.get(said.alert_id)
        alert = known or SeenAlert(
            number=len(self._by_id) + 1,
            said=said,
            model_event=self._event_at(said, said.trigger_offset),
            change_event=-1,
        )
        for moved in said.signals:
            before = alert.moved.get((moved.signal, moved.unit))
            if before is None:
                found = self._event_at(said, moved.found_offset)
                alert.found_events.setdefault(moved.signal, []).append(found)
            elif moved.standing not in {before.standing, "superseded"}:
                back = self._event_at(said, said.trigger_offset)
                alert.found_events[moved.signal].append(back)
            alert.moved[moved.signal, moved.unit] = moved
        alert.change_event = self._event_at(said, said.change_offset)
        if known is None:
            self._by_id[said.alert_id] = alert
            return alert
        known.n_updates += 1
        known.said = said
        return None


def from_to(moved: MovedSignal) -> str:
    """The means before and since the change; `?` where too few events stand behind one."""
    means = moved.before, moved.after
    # The mean of zeros in a sliding window may miss 0 by rounding.
    negligible = 1e-9 * max(abs(mean or 0.0) for mean in means)
    before, after = (
        "?" if mean is None else f"{mean if abs(mean) > negligible else 0.0:.4g}" for mean in means
    )
    return f"{before} -> {after}"
