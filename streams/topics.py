"""The topics: what each is for, how it is made, and how an existing one differs from that."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from schemas.records import TopicPartition
from streams.config import Settings
from streams.embedded import is_mock_cluster
from streams.kafka_clients import describe, kafka_error
from streams.kafka_errors import MISSING_TOPIC, NOT_AUTHORISED, TOPIC_EXISTS

Duty = Literal[
    "events",
    "alerts",
    "dead_letter",
    "journal",
    "commands",
    "checkpoints",
    "liveness",
    "anomalies",
    "incidents",
    "retraining",
    "rollback",
    "followup",
    "undelivered",
    "audit",
]

_DAY_MS: Final = 24 * 60 * 60 * 1000
_REQUEST_S: Final = 30.0
_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How one topic should be. `retention_ms` -1: for ever; `n_partitions`: where not told.

    Of a compacted topic the latest record of each key stays, for ever.
    """

    duty: Duty
    holds: str
    key: str
    n_partitions: int
    retention_ms: int
    timestamp_type: Literal["CreateTime", "LogAppendTime"]
    reason: str
    is_compacted: bool = False
    whole_ms: int = 0
    """So long compaction leaves every record of a key."""

    @property
    def config(self) -> dict[str, str]:
        """The topic's configuration at the broker."""
        if self.is_compacted:
            return {
                "cleanup.policy": "compact",
                "message.timestamp.type": self.timestamp_type,
                # The segment that is written to is never compacted, and has to be read in full.
                "segment.bytes": str(64 * 1024 * 1024),
                "segment.ms": str(_DAY_MS // 24),
                "min.cleanable.dirty.ratio": "0.2",
                "min.compaction.lag.ms": str(self.whole_ms),
            }
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "message.timestamp.type": self.timestamp_type,
        }


COURSE_MS: Final = 7 * _DAY_MS
"""How an incident or a request came to be is there as long, for an auditor that was away."""

TOPICS: Final[tuple[TopicSpec, ...]] = (
    TopicSpec(
        "events",
        "prediction events and labels",
        "model_id, or model_id/shard",
        12,
        7 * _DAY_MS,
        "LogAppendTime",
        "a replay reads from here: keep far more than the time between two checkpoints; more "
        "partitions than workers, since adding partitions later moves models",
    ),
    TopicSpec(
        "alerts",
        "alerts, as CloudEvents",
        "model_id",
        4,
        30 * _DAY_MS,
        "CreateTime",
        "an alert carries the time of the record that triggered it",
    ),
    TopicSpec(
        "dead_letter",
        "refused records: reason, position, length, digest",
        "key of the refused record",
        4,
        14 * _DAY_MS,
        "CreateTime",
        "long enough for someone to look",
    ),
    TopicSpec(
        "journal",
        "whatever changed the fold other than events",
        "GROUP|TOPIC|PARTITION",
        1,
        -1,
        "CreateTime",
        "a replay needs all of it; it is small and is read as a whole",
    ),
    TopicSpec(
        "commands",
        "what people say: mute, planned change, acknowledge, withdraw, reference, and of incidents",
        "model_id, or alert_id, or command_id",
        1,
        90 * _DAY_MS,
        "CreateTime",
        "one partition, since their order counts; a partition of events that is new, or was reset, "
        "hears all that is here",
    ),
    TopicSpec(
        "checkpoints",
        "checkpoints in chunks, for when Redis has lost them",
        "GROUP|TOPIC|PARTITION|SLOT|CHUNK",
        12,
        -1,
        "CreateTime",
        "a copy every ten minutes; compaction keeps the last two of each partition",
        is_compacted=True,
    ),
    TopicSpec(
        "liveness",
        "predictions that stay away, or come in other numbers, by the worker's clock",
        "model_id",
        4,
        30 * _DAY_MS,
        "CreateTime",
        "each record stands for itself: one key has all versions and shards of a model, so that "
        "compaction would keep the latest of any of them",
    ),
    TopicSpec(
        "anomalies",
        "suspected attacks, as OCSF findings in CloudEvents",
        "model_id",
        4,
        90 * _DAY_MS,
        "CreateTime",
        "for security teams alone: who calls the models must not be able to read it; kept as long "
        "as an investigation, or the next training, may ask for it",
    ),
    TopicSpec(
        "incidents",
        "incidents as they are now, of alerts, anomalies and silences",
        "incident_id",
        4,
        -1,
        "CreateTime",
        "the latest record of an incident is all that is known of it; one without a value is "
        "none any more",
        is_compacted=True,
        whole_ms=COURSE_MS,
    ),
    TopicSpec(
        "retraining",
        "retraining requests as they are now, held or released",
        "request_id",
        4,
        -1,
        "CreateTime",
        "for training jobs; one that was released never changes again",
        is_compacted=True,
        whole_ms=COURSE_MS,
    ),
    TopicSpec(
        "rollback",
        "rollback requests as they are now, held or released",
        "request_id",
        4,
        -1,
        "CreateTime",
        "for whoever deploys; one that was released never changes again",
        is_compacted=True,
        whole_ms=COURSE_MS,
    ),
    TopicSpec(
        "followup",
        "new versions of models compared with the last ones",
        "followup_id",
        4,
        -1,
        "CreateTime",
        "for whoever trained or deployed a version; one of each version",
        is_compacted=True,
        whole_ms=COURSE_MS,
    ),
    TopicSpec(
        "undelivered",
        "what a webhook's receiver did not take in time: which record, and why",
        "the receiver's name",
        1,
        30 * _DAY_MS,
        "CreateTime",
        "long enough for someone to look; the records themselves stay on their topics",
    ),
    TopicSpec(
        "audit",
        "the audit trail, as a hash chain",
        "chain",
        1,
        366 * _DAY_MS,
        "LogAppendTime",
        "one partition, since a chain has one order; kept for longer than six months, from when it "
        "was written on",
    ),
)


@dataclass(frozen=True, slots=True)
class TopicOutcome:
    """What became of one topic. `detail` says what was made, or how it differs."""

    name: str
    state: Literal["created", "existing", "different", "missing"]
    detail: str = ""
    is_harmful: bool = False
    """Records would be lost that a replay or a reader needs."""


class TopicError(Exception):
    """A topic could not be made or described; the message says why."""


def names_in(settings: Settings) -> dict[Duty, str]:
    """The names of the topics that workers, whatever their duty, responders and auditors need."""
    topics = settings.topics
    names: dict[Duty, str] = {
        "events": topics.events,
        "alerts": topics.alerts,
        "dead_letter": topics.dead_letter,
        "journal": topics.journal,
        "commands": topics.commands,
        "anomalies": topics.anomalies,
        "incidents": topics.incidents,
        "retraining": topics.retraining,
        "rollback": topics.rollback,
        "followup": topics.followup,
        "undelivered": topics.undelivered,
        "audit": topics.audit,
    }
    if settings.checkpoint_topic_interval_s > 0:
        names["checkpoints"] = topics.checkpoints
    if settings.liveness_window_s > 0:
        names["liveness"] = topics.liveness
    return names


def needed_in(settings: Settings) -> dict[Duty, str]:
    """Those of them that a worker of the settings' duty reads or writes."""
    names = names_in(settings)
    for duty in ("incidents", "retraining", "rollback", "followup", "undelivered", "audit"):
        del names[duty]
    if settings.duty == "drift":
        del names["anomalies"]
    return names


def specs_of(names: Mapping[Duty, str]) -> list[TopicSpec]:
    """How those topics should be that have a name here."""
    return [spec for spec in TOPICS if spec.duty in names]


def journal_key(group: str, tp: TopicPartition) -> bytes:
    """The key of a partition's journal records: UTF-8 of `GROUP|TOPIC|PARTITION`."""
    return f"{group}|{tp.topic}|{tp.partition}".encode()


def check_names(names: Mapping[Duty, str]) -> None:
    """Refuse a topic that has two duties: what goes out would come in again. `TopicError`."""
    duty_of: dict[str, Duty] = {}
    for spec in specs_of(names):
        name = names[spec.duty]
        if (other := duty_of.setdefault(name, spec.duty)) != spec.duty:
            raise TopicError(
                f"{name} cannot be the {spec.duty} topic and the {other} topic: "
                "give each a name of its own"
            )


def replication(n_brokers: int) -> tuple[int, int]:
    """Replicas and how many of them must be in sync: three and two where there are brokers."""
    n_replicas = min(3, n_brokers)
    return n_replicas, 2 if n_replicas == 3 else 1


def create_topics(
    admin: AdminClient,
    names: Mapping[Duty, str],
    *,
    n_partitions: Mapping[Duty, int] | None = None,
    n_replicas: int | None = None,
) -> list[TopicOutcome]:
    """Make the topics that do not exist; those that do are compared and left as they are.

    Calling it again changes nothing. Raises `TopicError`.
    """
    check_names(names)
    counts = n_partitions or {}
    n_brokers, is_mock = _cluster(admin)
    if is_mock:
        return _touch(admin, names)
    asked_replicas, n_in_sync = replication(n_brokers)
    if n_replicas is not None:
        asked_replicas, n_in_sync = n_replicas, max(1, n_replicas - 1)
    new = {
        names[spec.duty]: NewTopic(
            names[spec.duty],
            num_partitions=counts.get(spec.duty, spec.n_partitions),
            replication_factor=asked_replicas,
            config={**spec.config, "min.insync.replicas": str(n_in_sync)},
        )
        for spec in specs_of(names)
    }
    created: set[str] = set()
    for name, future in admin.create_topics(list(new.values()), request_timeout=_REQUEST_S).items():
        try:
            future.result(timeout=2 * _REQUEST_S)
        except KafkaException as exception:
            error = kafka_error(exception)
            if error.code() not in TOPIC_EXISTS:
                raise TopicError(f"{name} cannot be made: {describe(error)}") from exception
        else:
            created.add(name)
    _wait_for(admin, sorted(created))
    made = f"{asked_replicas} replicas, {n_in_sync} in sync"
    outcomes: list[TopicOutcome] = []
    for outcome in compare_topics(
        admin, names, n_partitions=counts, just_created=frozenset(created)
    ):
        if outcome.name in created:
            n_made = new[outcome.name].num_partitions
            outcomes.append(TopicOutcome(outcome.name, "created", f"{n_made} partitions, {made}"))
        else:
            outcomes.append(outcome)
    return outcomes


def compare_topics(
    admin: AdminClient,
    names: Mapping[Duty, str],
    *,
    n_partitions: Mapping[Duty, int] | None = None,
    just_created: frozenset[str] = frozenset(),
) -> list[TopicOutcome]:
    """How each topic is, against how it should be; one of `just_created` is not asked for.

    Partitions are compared only where `n_partitions` names a number. Raises `TopicError`.
    """
    counts = n_partitions or {}
    asked = [names[spec.duty] for spec in specs_of(names) if names[spec.duty] not in just_created]
    n_brokers, is_mock = _cluster(admin)
    if is_mock:
        return _touch(admin, names)
    existing = _existing(admin, asked)
    configs = _configs(admin, [name for name in asked if name in existing])
    outcomes: list[TopicOutcome] = []
    for spec in specs_of(names):
        name = names[spec.duty]
        if name in just_created:
            outcomes.append(TopicOutcome(name, "existing"))
        elif name not in existing:
            outcomes.append(TopicOutcome(name, "missing"))
        else:
            found = existing[name]
            wanted = counts.get(spec.duty)
            outcomes.append(_compared(name, spec, wanted, found, configs[name], n_brokers))
    return outcomes


def _compared(
    name: str,
    spec: TopicSpec,
    n_wanted: int | None,
    found: _Found,
    config: Mapping[str, str],
    n_brokers: int,
) -> TopicOutcome:
    differences: list[str] = []
    is_harmful = False
    if n_wanted is not None and n_wanted != found.n_partitions:
        differences.append(f"{found.n_partitions} partitions, asked for {n_wanted}")
    if found.n_replicas < (n_recommended := replication(n_brokers)[0]):
        differences.append(f"{found.n_replicas} replicas, recommended {n_recommended}")
    for entry, wanted in spec.config.items():
        value = config.get(entry, wanted)
        if value == wanted:
            continue
        if entry == "retention.ms" and (value == "-1" or int(value) > int(wanted) > 0):
            continue  # longer than recommended is nobody's harm
        differences.append(f"{entry} is {value}, recommended {wanted}")
        # A compacted topic keeps one record of a key, and a journal is needed as a whole. Of
        # checkpoints there are others.
        is_harmful |= not spec.is_compacted and (
            entry == "cleanup.policy" or (entry == "retention.ms" and wanted == "-1")
        )
    detail = "; ".join(differences) or f"{found.n_partitions} partitions"
    return TopicOutcome(name, "different" if differences else "existing", detail, is_harmful)


class _Found(NamedTuple):
    n_partitions: int
    n_replicas: int


def _wait_for(admin: AdminClient, names: Sequence[str]) -> None:
    """Until the brokers know of topics that the controller has made: it takes them a moment."""
    deadline_s = time.monotonic() + _REQUEST_S
    while len(_existing(admin, names)) < len(names) and time.monotonic() < deadline_s:
        time.sleep(_PAUSE_S)


def _cluster(admin: AdminClient) -> tuple[int, bool]:
    """How many brokers there are, and whether it is the mock."""
    try:
        metadata = admin.list_topics(timeout=_REQUEST_S)
    except KafkaException as exception:
        raise TopicError(f"no broker answers: {describe(kafka_error(exception))}") from exception
    return len(metadata.brokers), is_mock_cluster(metadata.cluster_id)


def _touch(admin: AdminClient, names: Mapping[Duty, str]) -> list[TopicOutcome]:
    """On the mock broker, which cannot create topics, one appears when it is asked for."""
    outcomes: list[TopicOutcome] = []
    for spec in specs_of(names):
        name = names[spec.duty]
        n_found = len(admin.list_topics(name, timeout=_REQUEST_S).topics[name].partitions)
        detail = f"{n_found} partitions, as the mock broker has it; it keeps 5 MiB of each"
        outcomes.append(TopicOutcome(name, "existing", detail))
    return outcomes


def _existing(admin: AdminClient, names: Sequence[str]) -> dict[str, _Found]:
    """Those of the topics that exist."""
    found: dict[str, _Found] = {}
    if not names:
        return found
    described = admin.describe_topics(TopicCollection(list(names)), request_timeout=_REQUEST_S)
    for name, future in described.items():
        try:
            partitions = future.result(timeout=2 * _REQUEST_S).partitions
        except KafkaException as exception:
            error = kafka_error(exception)
            if error.code() not in MISSING_TOPIC:
                raise TopicError(f"{name} cannot be described: {describe(error)}") from exception
        else:
            n_replicas = min(len(partition.replicas) for partition in partitions)
            found[name] = _Found(len(partitions), n_replicas)
    return found


def _configs(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The configurations; empty where the permission to read one is missing."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    if not resources:
        return configs
    for resource, future in admin.describe_configs(resources, request_timeout=_REQUEST_S).items():
        try:
            entries = future.result(timeout=2 * _REQUEST_S)
        except KafkaException as exception:
            error = kafka_error(exception)
            if error.code() not in NOT_AUTHORISED:
                raise TopicError(
                    f"{resource.name} cannot be described: {describe(error)}"
                ) from exception
            entries = {}
        configs[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
    return configs
