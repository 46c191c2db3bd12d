"""What the demo's run says of attacks: its anomalies put together, and whom they accuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from detectors.security.base import Technique
from schemas.anomalies import AnomalyData
from schemas.source_hash import SourceKey
from streams.demo_alerts import event_after
from streams.traffic import Attack, ModelTraffic


@dataclass(slots=True)
class SeenAnomaly:
    """One anomaly with its updates."""

    number: int
    """1 for the first anomaly of the run."""
    said: AnomalyData
    """Its latest record."""
    model_id: str
    """"" where it is about a partition."""
    model_event: int
    """The number, within its model, of the event at which it was opened; -1 if unknown."""
    accused: dict[str, int] = field(default_factory=dict)
    """Pseudonym of each source that any of its records names, and the event at which it first did.
    """

    @property
    def is_exposure(self) -> bool:
        """Whether it is a rank and accuses nobody."""
        return self.said.unmapped.is_exposure

    @property
    def is_of_data(self) -> bool:
        """Whether it says that the data changed: no attack."""
        return self.said.unmapped.technique == Technique.DATA_CHANGE


class AnomalyBook:
    """Anomalies by identity, in order of arrival."""

    def __init__(self, positions: Mapping[tuple[int, int], tuple[str, int]]) -> None:
        """`positions` maps (partition, offset) of the events topic to (model id, event number)."""
        self._positions = positions
        self._by_uid: dict[str, SeenAnomaly] = {}
        self._records: set[str] = set()

    @property
    def anomalies(self) -> list[SeenAnomaly]:
        """All of them, the first one first."""
        return list(self._by_uid.values())

    def add(self, value: bytes) -> SeenAnomaly | None:
        """Take in one record of the anomalies topic; the anomaly if it is a new one, else None."""
        said = AnomalyData.model_validate_json(value)
        if said.metadata.uid in self._records:  # at-least-once delivery may repeat a record
            return None
        self._records.add(said.metadata.uid)
        known = self._by_uid.get(said.finding_info.uid)
        model_id = said.resources[0].name if said.resources else ""
        event = event_after(
            self._positions, said.unmapped.partition, said.unmapped.trigger_offset, model_id
        )
        anomaly = known or SeenAnomaly(len(self._by_uid) + 1, said, model_id, event)
        anomaly.said = said
        if not anomaly.is_exposure:
            for pseudonym in said.unmapped.quarantine.sources:
                anomaly.accused.setdefault(pseudonym, event)
        self._by_uid[said.finding_info.uid] = anomaly
        return anomaly if known is None else None


class Sighting(NamedTuple):
    """What was said of the attack on one model."""

    model_id: str
    attack: Attack
    anomaly: SeenAnomaly | None
    """The first one that names the attacker; None: there is none."""
    event: int
    """The model's event at which it did; -1 where there is none."""
    n_events: int
    """How many queries or labels of the attacker had come by then; all of them where it was never
    named."""
    accused: tuple[str, ...]
    """Who else was accused of anything on this model, as events name them."""

    @property
    def is_in_time(self) -> bool:
        """Whether the attacker was named after no more of them than must do."""
        return self.anomaly is not None and self.n_events <= self.attack.within


def names_of(models: Iterable[ModelTraffic], key: SourceKey) -> Callable[[str], str]:
    """Who stands behind a pseudonym, as the holder of the key can tell; itself if nobody known."""
    sources = set[str]()
    for model in models:
        sources.update(model.source(index) for index in range(len(model)))
        sources.update(() if model.labels is None else model.labels.sources)
    names = {key.digest(source).hex(): source for source in sources}
    return lambda pseudonym: names.get(pseudonym, pseudonym)


def sightings(
    models: Sequence[ModelTraffic],
    anomalies: Sequence[SeenAnomaly],
    name_of: Callable[[str], str],
) -> list[Sighting]:
    """One for each attack, in the order of the models."""
    found = []
    for model in models:
        attack = model.attack
        if attack is None:
            continue
        first = int(attack.at[0])
        hits: list[tuple[int, SeenAnomaly]] = []
        others: dict[str, None] = {}
        for anomaly in anomalies:
            if anomaly.model_id != model.model_id:
                continue
            for pseudonym, event in anomaly.accused.items():
                name = name_of(pseudonym)
                if name != attack.source:
                    others[name] = None
                elif event >= first:
                    hits.append((event, anomaly))
        event, hit = min(hits, key=lambda each: each[0], default=(-1, None))
        n_events = len(attack.at)
        if hit is not None:
            n_events = int(np.searchsorted(attack.at, event, side="right"))
        found.append(Sighting(model.model_id, attack, hit, event, n_events, tuple(others)))
    return found
