"""What the responder asks brokers about progress: who has committed what, and where topics end.

Every method may wait for brokers: call them in a thread. Raises `KafkaException` or `LogError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.limits import DecodeLimits
from schemas.records import TopicPartition
from streams.audit_reader import AuditReader
from streams.config import Settings
from streams.group_offsets import GroupOffsets
from streams.kafka_clients import (
    admin_config,
    answered_offset,
    ask_patiently,
    open_client,
    without_errors,
)
from streams.kafka_properties import read_properties
from streams.lineage import LineageError, load_metadata
from streams.ports import LogError
from streams.responder_settling import WATERMARK_EVENTS, DutyCommit, Look, OutputPlace, least

_REQUEST_S: Final = 15.0
_PATIENCE_S: Final = 15.0
"""Partitions of a topic that has just been made have no leader yet, and groups none who leads."""
_OFFSETS: Final[Any] = OffsetSpec  # its methods carry no types


class ResponderProbe:
    """Asks for one deployment. `reader` reads events to learn their times."""

    def __init__(
        self, settings: Settings, detection: DetectionConfig, group: str, reader: AuditReader
    ) -> None:
        self._settings: Final = settings
        self._detection: Final = detection
        self._group: Final = group
        self._reader: Final = reader
        properties = read_properties(settings.kafka)
        self._config: Final = admin_config(settings.bootstrap_servers, properties)
        self._groups: Final = GroupOffsets(settings.bootstrap_servers, properties)
        self._admin = open_client(AdminClient, self._config, "admin client")
        topics = settings.topics
        self._outputs: Final = (topics.alerts, topics.anomalies)
        self._inputs: Final = (topics.alerts, topics.anomalies, topics.liveness)

    def renew(self) -> None:
        """Ask with new clients: one has been seen to wait on after its broker had come back."""
        self._groups.renew()
        self._admin = open_client(AdminClient, self._config, "admin client")

    def look(self) -> Look:
        """The duties' commits, and after that the ends of what they write."""
        events = self.partitions([self._settings.topics.events])
        duties, groups = self._settings.responder.duties, duty_groups(self._settings)
        # Alerts are of the fold of the duty that raises them, where there is one.
        order = sorted(zip(duties, groups, strict=True), key=lambda each: each[0] != "drift")
        folded = least([self._folded(group, events) for _, group in order])
        ends = self.ends(self.partitions(self._outputs), IsolationLevel.READ_UNCOMMITTED)
        return Look(folded, ends)

    def done(self) -> dict[OutputPlace, int]:
        """Up to where the responders' group has committed what it reads."""
        return self.committed(self._group, self.partitions(self._inputs))

    def readable(self) -> dict[OutputPlace, int]:
        """Where what it reads ends, for whoever reads committed records only."""
        return self.ends(self.partitions(self._inputs), IsolationLevel.READ_COMMITTED)

    def begins(self) -> dict[OutputPlace, int]:
        """Where what it reads begins."""
        return self._asked(self.partitions(self._inputs), _OFFSETS.earliest(), None)

    def event_times(self, partition: int, before: int) -> list[int]:
        """Event times in epoch ms of the last events before this offset, in the log's order."""
        tp = TopicPartition(self._settings.topics.events, partition)
        low = self._reader.watermarks(tp).low
        # Some offsets hold no event: markers of transactions, records that are refused.
        start = max(low, before - 4 * WATERMARK_EVENTS)
        if start >= before:
            return []
        limits = replace(DecodeLimits.of(self._detection), event_ids=False)
        listed = frozenset(self._detection.model) if self._detection.models == "listed" else None
        times: list[int] = []
        for records in self._reader.events(tp, start, before):
            decoded = decode_records(tp, records, limits, None, listed).events
            times += [int(each) for each in decoded.event_time_ms]
        return times[-WATERMARK_EVENTS:]

    def partitions(self, topics: Iterable[str]) -> list[OutputPlace]:
        """Every partition of these topics."""
        known = self._admin.list_topics(timeout=_REQUEST_S).topics
        return [
            (topic, number)
            for topic in topics
            if topic in known
            for number in sorted(known[topic].partitions)
        ]

    def committed(self, group: str, places: Sequence[OutputPlace]) -> dict[OutputPlace, int]:
        """A group's stable commits."""
        found = self._groups.committed(group, places, _PATIENCE_S)
        return {(each.topic, each.partition): each.offset for each in found}

    def _folded(self, group: str, events: Sequence[OutputPlace]) -> dict[int, DutyCommit]:
        """A duty's commits by partition; those that a tool made say nothing of a fold."""
        found = {}
        for each in self._groups.committed(group, events, _PATIENCE_S):
            try:
                said = load_metadata(each.metadata or "")
            except LineageError as error:
                raise LogError(f"{group}, {each.topic}[{each.partition}]: {error}") from None
            if said is not None:
                lineage = said.lineage
                found[each.partition] = DutyCommit(each.offset, lineage.id, lineage.topic_id)
        return found

    def commit(self, offsets: Mapping[OutputPlace, int]) -> None:
        """Set what the responders' group has committed; it must have no member."""
        moved = [KafkaPartition(*place, offset) for place, offset in offsets.items()]
        request = ConsumerGroupTopicPartitions(self._group, moved)

        def ask() -> Sequence[KafkaPartition]:
            (answer,) = self._admin.alter_consumer_group_offsets(
                [request], request_timeout=_REQUEST_S
            ).values()
            return without_errors(_answered(answer).topic_partitions)

        ask_patiently(ask, _PATIENCE_S)

    def n_members(self) -> int:
        """How many responders are at work."""

        def ask() -> int:
            (answer,) = self._admin.describe_consumer_groups(
                [self._group], request_timeout=_REQUEST_S
            ).values()
            return len(_answered(answer).members)

        return ask_patiently(ask, _PATIENCE_S)

    def ends(
        self, places: Sequence[OutputPlace], isolation: IsolationLevel
    ) -> dict[OutputPlace, int]:
        """Where these partitions end."""
        return self._asked(places, _OFFSETS.latest(), isolation)

    def _asked(
        self, places: Sequence[OutputPlace], spec: Any, isolation: IsolationLevel | None
    ) -> dict[OutputPlace, int]:
        if not places:
            return {}

        def ask() -> dict[OutputPlace, int]:
            answers = self._admin.list_offsets(
                {KafkaPartition(*each): spec for each in places},
                isolation_level=isolation or IsolationLevel.READ_UNCOMMITTED,
                request_timeout=_REQUEST_S,
            )
            return {
                (each.topic, each.partition): answered_offset(_answered(answer).offset)
                for each, answer in answers.items()
            }

        return ask_patiently(ask, _PATIENCE_S)


def _answered(answer: Any) -> Any:
    """The answer; a client that never gives one is as brokers that do not."""
    try:
        return answer.result(timeout=2 * _REQUEST_S)
    except TimeoutError:
        raise LogError(f"no broker answered within {2 * _REQUEST_S:.0f} s") from None


def duty_groups(settings: Settings) -> list[str]:
    """The consumer groups of the duties that workers of this deployment do."""
    return [
        settings.group if duty == "drift" else f"{settings.group}.{duty}"
        for duty in settings.responder.duties
    ]
