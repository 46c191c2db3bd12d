"""The rules of docs/labels.md in plain Python, event by event: what the join is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.batch import ModelKey
from schemas.config import LabelsConfig
from tests.detectors.decoded import Event, Scalar

Key = tuple[str, int, int]
Pair = tuple[int, ModelKey, object, object, int, int]
"""Where it was complete, of which version, said, true, delay, offset of the label."""


@dataclass
class Waiting:
    """A prediction or a label that is kept."""

    event: Event
    seen: int
    """The latest event time when it came."""
    is_expired: bool = False
    answers: list[object] = field(default_factory=list)


def meaning(value: Scalar) -> object:
    """Equal for what counts as one value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return float(value) if value.lstrip("-").isdecimal() and str(int(value)) == value else value
    return None if value is None else float(value)


@dataclass
class Rules:
    """One partition's tables as dicts, in the order in which things came."""

    config: LabelsConfig
    max_future_ms: int
    monitored: frozenset[ModelKey]
    now: int = 0
    pending: dict[Key, Waiting] = field(default_factory=dict)
    early: dict[Key, Waiting] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    pairs: list[Pair] = field(default_factory=list)

    def fold(self, events: Sequence[Event]) -> None:
        """Take these events in."""
        for event in events:
            if event.ts <= event.record_ts + self.max_future_ms:
                self.now = max(self.now, event.ts)
            self._age()
            key = (event.model.model_id, event.model.shard, event.event_id)
            if event.is_label:
                self._label(key, event)
            elif event.model in self.monitored:
                self._prediction(key, event)

    def _age(self) -> None:
        delay = self.config.max_delay_ms
        for key, one in list(self.pending.items()):
            age = self.now - one.seen
            if age > delay and not one.is_expired:
                one.is_expired = True
                self.counts["n_expired_predictions"] += 1
                self.counts["n_unlabelled_predictions"] += not one.answers
            if age > delay + delay // 4:
                del self.pending[key]
        for key, one in list(self.early.items()):
            if self.now - one.seen > self.config.max_early_ms:
                del self.early[key]
                self.counts["n_unknown_labels"] += 1

    def _prediction(self, key: Key, event: Event) -> None:
        if key in self.pending:
            self.counts["n_repeated_predictions"] += 1
            return
        if len(self.pending) == self.config.max_pending:
            oldest = self.pending.pop(next(iter(self.pending)))
            lost = not oldest.is_expired and not oldest.answers
            self.counts["n_dropped_predictions"] += lost
        self.pending[key] = Waiting(event, self.now)
        if key in self.early:
            self._pair(self.pending[key], self.early.pop(key).event, event.offset)

    def _label(self, key: Key, event: Event) -> None:
        one = self.pending.get(key)
        if one is None and key not in self.early:
            if len(self.early) == self.config.max_early:
                del self.early[next(iter(self.early))]
                self.counts["n_dropped_labels"] += 1
            self.early[key] = Waiting(event, self.now)
            self.counts["n_early_labels"] += 1
        elif one is None:
            self._again(meaning(self.early[key].event.prediction), event)
        elif one.is_expired:
            self.counts["n_expired_labels"] += 1
        elif one.answers:
            self._again(one.answers[0], event)
        else:
            self._pair(one, event, event.offset)

    def _again(self, first: object, event: Event) -> None:
        same = first == meaning(event.prediction)
        self.counts["n_duplicate_labels" if same else "n_conflicting_labels"] += 1

    def _pair(self, one: Waiting, label: Event, offset: int) -> None:
        one.answers.append(meaning(label.prediction))
        self.counts["n_joined_labels"] += 1
        said, true = meaning(one.event.prediction), meaning(label.prediction)
        delay = label.ts - one.event.ts
        self.pairs.append((offset, one.event.model, said, true, delay, label.offset))
