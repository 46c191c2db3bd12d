"""Where in the demo's traffic its alerts are, and which of the changes they speak of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from schemas.alerts import AlertData
from streams.alert_book import SeenAlert
from streams.traffic import Change, ModelTraffic

_NEXT_WITHIN_OFFSETS: Final = 64
_AFTERMATH_EVENTS: Final = 2_000
"""An alert this soon after a change is counted with it, whatever its signal."""


def event_numbers(
    positions: Mapping[tuple[int, int], tuple[str, int]],
) -> Callable[[AlertData, int], int]:
    """For an `AlertBook`: offsets become the demo's own event numbers.

    `positions` maps (partition, offset) of the events topic to (model id, event number).
    """

    def event_at(said: AlertData, offset: int) -> int:
        return event_after(positions, said.partition, offset, said.model_id)

    return event_at


def event_after(
    positions: Mapping[tuple[int, int], tuple[str, int]], partition: int, offset: int, model_id: str
) -> int:
    """The model's event at an offset or, where that is another model's, its next one; else -1."""
    for later in range(offset, offset + _NEXT_WITHIN_OFFSETS):
        found, event = positions.get((partition, later), ("", -1))
        if found == model_id:
            return event
    return -1


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
                    if alert.said.model_id == model.model_id
                    for event in alert.found_events.get(signal, ())
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
    return latest if near or alert.found_events.keys() & set(latest.expected) else None
