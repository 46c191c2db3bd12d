"""The budgets of a group of workers: its latest states, its alerts, and its events where asked.

It reads as `driftsentry verify` does: nobody's group member, nothing is changed, workers go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError

from schemas.alerts import AlertData
from schemas.batch import ModelKey
from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.limits import DecodeLimits
from schemas.records import TopicPartition
from schemas.source_hash import SourceKey
from streams.audit_observed import Position, Seen
from streams.audit_reader import AuditReader
from streams.budget import ModelBudget, judge_references, model_budgets, observe
from streams.budget_replay import ReplayWish, replay
from streams.budget_states import State, States
from streams.checkpoint_sources import Sources
from streams.checkpoint_topic import CheckpointTopic
from streams.config import Settings
from streams.credentials import checkpoint_key, source_key
from streams.opened import audit_reader_of, checkpoint_topic_of, store_of
from streams.past import Past
from streams.spares import Spares
from streams.worker import Detection

MAX_EVENTS: Final = 1_000_000
"""Of a partition's past, held at one time."""


class NoBudgetError(Exception):
    """There is nothing to tell of; the message says why."""


class NoSuchModelError(Exception):
    """A model was asked for that no state knows."""


@dataclass(slots=True)
class Budgets:
    """What was found."""

    models: list[ModelBudget] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Partitions that nothing can be told of, and why."""
    notes: list[str] = field(default_factory=list)


def read_budgets(
    settings: Settings,
    detection: DetectionConfig,
    say: Callable[[str], None],
    *,
    model_id: str | None = None,
    wish: ReplayWish | None = None,
) -> Budgets:
    """The budgets of every model of the group, or of the one with this name.

    Raises `LogError`, `KafkaException` where Kafka gives no answer, `NoBudgetError`,
    `NoSuchModelError`, `ConfigError`.
    """
    key = source_key(settings)
    store, reader = store_of(settings), audit_reader_of(settings)
    topic: CheckpointTopic | None = None
    try:
        if settings.checkpoint_topic_interval_s > 0 and not reader.is_mock():
            topic = checkpoint_topic_of(settings)
        own = Detection(detection, None if key is None else SourceKey(key))
        states = States(Sources(store, Spares(topic=topic)), own, checkpoint_key(settings))
        return _Budgets(reader, states, say, model_id, wish).read(settings)
    finally:
        store.close()
        reader.close()


@dataclass(slots=True)
class _Budgets:
    reader: AuditReader
    states: States
    say: Callable[[str], None]
    model_id: str | None
    wish: ReplayWish | None

    def read(self, settings: Settings) -> Budgets:
        reader, topic = self.reader, settings.topics.events
        tps = [TopicPartition(topic, number) for number in reader.partitions(topic)]
        committed = reader.committed(tps)
        journals = reader.journals(tps)
        found, states = Budgets(), []
        not_begun = []
        for tp in tps:
            at = committed[tp]
            if at is None:
                not_begun.append(str(tp.partition))
                continue
            state = self.states.read(tp, at, journals[tp])
            if isinstance(state, str):
                found.problems.append(f"{tp}: {state}")
            else:
                states.append(state)
                found.notes += [f"{tp}: {problem}" for problem in state.problems]
        if not_begun:
            found.notes.append(f"no worker has begun on partition {', '.join(not_begun)}")
        if not states:
            why = "; ".join(found.problems or found.notes)
            raise NoBudgetError(
                f"there is no state of group {settings.group} to tell of. {why}. Has a worker run "
                "with these settings, and saved a checkpoint?"
            )
        n_opened, n_lost = count_opened(reader.outputs("alerts"), states)
        for state in states:
            own = self._of_state(state, n_opened, found.notes)
            found.models += own
            if own and n_lost[state.lineage.id]:
                found.notes.append(
                    f"{state.tp}: {n_lost[state.lineage.id]:,} of its alert records are not on the "
                    "alerts topic any more, so that fewer alerts may be counted than there were"
                )
        if self.model_id is not None and not found.models:
            names = {key.model_id for state in states for key in state.fold.catalog.slot_of}
            shown = ", ".join(sorted(names)[:20]) or "none yet"
            raise NoSuchModelError(f"no state knows the model {self.model_id}; known: {shown}")
        found.models.sort(key=lambda each: (each.key, each.partition))
        return found

    def _of_state(
        self, state: State, n_opened: Mapping[tuple[int, ModelKey], int], notes: list[str]
    ) -> list[ModelBudget]:
        number, offset = state.tp.partition, state.checkpoint.next_offset
        budgets = model_budgets(state.fold, number, offset, self.model_id)
        observe(budgets, n_opened)
        if self.wish is None or not budgets:
            return budgets
        n_events = self.wish.n_events
        if len(budgets) > 1 and n_events * len(budgets) > MAX_EVENTS:
            n_events = MAX_EVENTS // len(budgets)
            notes.append(
                f"{state.tp}: of each of its {len(budgets):,} models the latest {n_events:,} "
                "events were replayed, for want of room: --model allows more"
            )
        past = self._past(state, n_events)
        judge_references(state.fold, budgets, past)
        replay(state.fold, budgets, past, self.wish)
        return budgets

    def _past(self, state: State, n_events: int) -> Past:
        """The latest events of the partition's models, up to its state."""
        past = Past(n_events, self.model_id)
        config, end = state.fold.config, state.checkpoint.next_offset
        # Its models share the partition, so that this bounds what is read of it.
        n_wanted = n_events * len(state.fold.catalog.slot_of)
        low = self.reader.watermarks(state.tp).low
        start = max(low, state.lineage.start_offset, end - n_wanted)
        self.say(f"{state.tp}: folding up to {max(end - start, 0):,} events again in other orders")
        listed = frozenset(config.model) if config.models == "listed" else None
        fast_path = FastPath()
        if start < end:
            for records in self.reader.events(state.tp, start, end):
                decoding = decode_records(
                    state.tp, records, DecodeLimits.of(config), None, listed, fast_path
                )
                past.take(decoding.events)
        return past


def count_opened(
    outputs: Iterator[list[tuple[Position, Seen]]], states: Sequence[State]
) -> tuple[Counter[tuple[int, ModelKey]], Counter[str]]:
    """How many drift alerts were opened that belong to these states, by partition and model.

    Beside it, by lineage, how many of its alert records are not on the topic. What others have
    written there is passed over.
    """
    by_lineage = {state.lineage.id: state for state in states}
    seen: dict[str, set[int]] = {name: set() for name in by_lineage}
    alerts: set[tuple[int, ModelKey, str]] = set()
    for records in outputs:
        for _, record in records:
            state = by_lineage.get(record.header("ce_lineage"))
            alert = None if state is None else _alert(record)
            if state is None or alert is None:
                continue
            seen[state.lineage.id].add(alert.seq)
            since = max(
                state.since, state.set_at.get((alert.model_id, alert.model_version), state.since)
            )
            counts = since <= alert.trigger_offset < state.checkpoint.next_offset
            if counts and alert.kind == "drift" and alert.revision == 1:
                shard = -1 if alert.shard is None else alert.shard
                key = ModelKey(alert.model_id, alert.model_version, shard)
                alerts.add((state.tp.partition, key, alert.alert_id))
    n_opened = Counter((number, key) for number, key, _ in alerts)
    n_lost = Counter[str]()
    for name, state in by_lineage.items():
        n_alerts = int(state.checkpoint.fields["n_alerts"])
        n_lost[name] = n_alerts - sum(1 <= seq <= n_alerts for seq in seen[name])
    return n_opened, n_lost


def _alert(record: Seen) -> AlertData | None:
    try:
        return AlertData.model_validate_json(record.value or b"")
    except ValidationError:
        return None
