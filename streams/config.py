"""Process settings: brokers, names, intervals. They never change which alerts come out.

What does change them is the detection config (`schemas/config.py`). A `Settings` does not know
where its values came from; `streams/config_loader.py` reads files, variables and options.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_serializer, model_validator
from pydantic_core import PydanticCustomError

from schemas.responder_config import IncidentConfig, RetrainingConfig, RollbackConfig
from schemas.strict import FROM_LIST
from streams.config_errors import Location, dotted
from streams.hosts import parse_brokers
from streams.kafka_properties import (
    KafkaValue,
    insecure_reason,
    masked_properties,
    property_problems,
)
from streams.notify_config import NotifySettings, notify_problems
from streams.redis_address import RedisUrl, is_plaintext_elsewhere, redis_url_problem
from streams.references import is_reference
from streams.strict_settings import StrictSettings

TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class Topics(StrictSettings):
    """The names of the topics; no two may be the same."""

    events: TopicName = "driftsentry.events"
    """Prediction events and labels come in here."""
    alerts: TopicName = "driftsentry.alerts"
    """Alerts go out here, as CloudEvents."""
    dead_letter: TopicName = "driftsentry.dead-letter"
    """Refused records: reason, position, length and digest."""
    journal: TopicName = "driftsentry.journal"
    """Whatever changes the fold other than events."""
    commands: TopicName = "driftsentry.commands"
    """What people say to the workers: mutes, planned changes, acknowledgements."""
    checkpoints: TopicName = "driftsentry.checkpoints"
    """Checkpoints, seldom, for when Redis has lost them. Compacted."""
    liveness: TopicName = "driftsentry.liveness"
    """Said by the clock: models whose predictions stay away, or come in other numbers."""
    anomalies: TopicName = "driftsentry.anomalies"
    """Suspected attacks go out here for security teams, as OCSF findings in CloudEvents."""
    incidents: TopicName = "driftsentry.incidents"
    """What the responder makes of alerts, anomalies and silences. Compacted."""
    retraining: TopicName = "driftsentry.retraining"
    """Retraining requests, held and released. Compacted."""
    rollback: TopicName = "driftsentry.rollback"
    """Rollback requests, held and released. Compacted."""
    followup: TopicName = "driftsentry.followup"
    """New versions of models, compared with the last ones. Compacted."""
    undelivered: TopicName = "driftsentry.undelivered"
    """What a webhook's receiver did not take in time: which record, and why."""
    audit: TopicName = "driftsentry.audit"
    """The audit trail: what was decided and by whom, as a hash chain. One partition."""


class ResponderSettings(StrictSettings):
    """What the responder decides by. Its consumer group is `GROUP.responder`."""

    duties: Annotated[tuple[Literal["drift", "security"], ...], Field(min_length=1), FROM_LIST] = (
        "drift",
        "security",
    )
    """The duties that workers of this deployment do. Nothing is released before each of them has
    folded the events that it rests on."""
    sweep_s: Annotated[float, Field(gt=0, le=3_600, allow_inf_nan=False)] = 10.0
    """Every so many seconds it looks what is over, what is settled, and what was left undone."""
    incidents: IncidentConfig = IncidentConfig()
    """When evidence belongs to one incident, and when that is over."""
    retraining: RetrainingConfig = RetrainingConfig()
    """When a retraining is asked for, and what holds it back."""
    rollback: RollbackConfig = RollbackConfig()
    """How a new version of a model is compared with the last one, and what follows."""


class Settings(StrictSettings):
    """Everything one worker process needs to know beside the detection config."""

    bootstrap_servers: str = "localhost:9092"
    """Kafka brokers to begin with, as `HOST:PORT,HOST:PORT`. A worker must be told."""
    redis_url: RedisUrl = RedisUrl("redis://localhost:6379/0")
    """Where checkpoints are kept, as `redis://HOST:PORT/DB`, `rediss://` for TLS or `unix://`.
    May hold references: `rediss://worker:${file:/run/secrets/redis}@cache:6380/0`. A worker must
    be told."""
    duty: Literal["drift", "security", "all"] = "drift"
    """What the worker is for: `drift` raises alerts, `security` finds attacks, `all` does both,
    each in a process of its own."""
    group: Annotated[str, Field(pattern=r"^[!-~]{1,180}$")] = "driftsentry"
    """The consumer group; workers of one group share the partitions. The security duty has the
    group `GROUP.security`, with lineages, states and offsets of its own."""
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = None
    """A stable name of this worker: its `group.instance.id`, and its transactional id is
    `GROUP.NAME`, so that after a crash it takes up its own partitions at once. Without it the
    worker is a dynamic member with a random transactional id."""
    mode: Literal["exactly-once", "at-least-once"] = "exactly-once"
    """`at-least-once` uses no transactions: after a crash alerts may come twice (same `ce_id`)."""
    topics: Topics = Topics()
    """The names of the topics."""
    responder: ResponderSettings = ResponderSettings()
    """What the responder decides by."""
    notify: NotifySettings = NotifySettings()
    """Who is told of incidents and requests, by `driftsentry notify`."""
    redis_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")] = "driftsentry"
    """Every key in Redis begins with it."""
    kafka: dict[str, KafkaValue] = Field(default_factory=dict)
    """Properties of librdkafka, passed on verbatim: SASL, mTLS, OAUTHBEARER, buffers. Secrets are
    references: `sasl.password: ${env:KAFKA_PASSWORD}` or `${file:/run/secrets/kafka}`."""
    insecure: bool = False
    """Allow a connection to brokers on other machines that is not encrypted and verified."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where a partition begins that has neither a committed offset nor a known lineage."""
    accept_reset: bool = False
    """Go on where the group's offset has moved back or is lost, or the state is nowhere and the log
    is cut: begins a new lineage, with new alert identities. Without it the worker stops, or waits,
    and asks."""
    commit_interval_ms: Annotated[int, Field(ge=10, le=60_000)] = 200
    """How often offsets and dead letters are committed, while there are any. Where an alert waits,
    20 ms after the last commit, if that is sooner."""
    poll_records: Annotated[int, Field(ge=1, le=100_000)] = 8_192
    """Records fetched in one call, at most."""
    checkpoint_interval_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 30.0
    """A partition's state is saved this often ..."""
    checkpoint_events: Annotated[int, Field(ge=1)] = 200_000
    """... or after so many of its events, whichever comes first."""
    checkpoint_topic_interval_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = (
        600.0
    )
    """A partition's state also goes to the checkpoints topic this often, so that losing Redis costs
    a replay of so many seconds of events, not of all. 0: never; the topic is not needed then."""
    liveness_window_s: Annotated[int, Field(ge=0, le=3_600)] = 60
    """Every so many seconds the worker looks which models' predictions stay away, or come in other
    numbers than is to be expected, and says so on the liveness topic. 0: never; the topic is not
    needed then."""
    spool_dir: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    """A directory of this worker's own on a disk that outlives it: while Redis is down, the newest
    state of each partition is kept there. Without it there is no spool."""
    max_replay_events: Annotated[int, Field(ge=0)] = 20_000_000
    """A partition that would have to replay more events than this is paused instead, and that is
    said."""
    transaction_timeout_ms: Annotated[int, Field(ge=1_000, le=900_000)] = 10_000
    """A transaction that a dead worker has left open blocks its successor for no longer."""
    session_timeout_ms: Annotated[int, Field(ge=1_000, le=300_000)] = 30_000
    """A worker that is silent for so long loses its partitions. A broker allows 6 s or more
    unless its own settings say otherwise."""
    source_key: str | None = None
    """Reference to the key that replaces clients' names by keyed hashes; at least 16 bytes.
    Without it sources are dropped."""
    checkpoint_key: str | None = None
    """Reference to the key that authenticates checkpoints (HMAC); at least 16 bytes. Without it
    whoever can write to Redis, to the checkpoints topic or to the spool can change the state."""
    log_format: Literal["text", "json"] = "text"
    """How log lines look."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log line that is written."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        """Refuse what no single field shows, every case of it at once."""
        if problems := list(self._problems()):
            text = "; ".join(f"{dotted(location)}: {text}" for location, text, _ in problems)
            raise PydanticCustomError("incoherent", "{text}", {"text": text, "problems": problems})
        return self

    def _problems(self) -> list[tuple[Location, str, str]]:
        found: list[tuple[Location, str, str]] = []
        brokers = parse_brokers(self.bootstrap_servers)
        if brokers is None:
            text = f"found {self.bootstrap_servers!r}, should be HOST:PORT, several with commas"
            found.append((("bootstrap_servers",), text, ""))
        elif not self.insecure and (reason := insecure_reason(brokers, self.kafka)):
            remedy = (
                "set `security.protocol` to SSL or SASL_SSL under `worker.kafka`, or, where the "
                "network is trusted, say `--insecure`"
            )
            found.append((("bootstrap_servers",), reason, remedy))
        if problem := redis_url_problem(self.redis_url):
            found.append((("redis_url",), problem, ""))
        for name, text, remedy in property_problems(self.kafka):
            location: Location = ("kafka", name)
            found.append((location, text, remedy))
        found += self._topic_problems()
        found += [
            (("notify", *place), reason, remedy)
            for place, reason, remedy in notify_problems(self.notify)
        ]
        for name in ("source_key", "checkpoint_key"):
            key: str | None = getattr(self, name)
            if key is not None and not is_reference(key):
                remedy = "write ${env:NAME} or ${file:/path}: a key never stands in the settings"
                found.append(((name,), "is not a reference", remedy))
        if self.commit_interval_ms * 2 > self.transaction_timeout_ms:
            text = (
                f"found {self.commit_interval_ms}, should be at most half of "
                f"transaction_timeout_ms, which is {self.transaction_timeout_ms}"
            )
            found.append((("commit_interval_ms",), text, ""))
        return found

    def _topic_problems(self) -> list[tuple[Location, str, str]]:
        found: list[tuple[Location, str, str]] = []
        owner: dict[str, str] = {}
        for field, name in self.topics.model_dump().items():
            if name in {".", ".."}:
                found.append((("topics", field), f"found {name!r}, which is no topic's name", ""))
            if (other := owner.setdefault(name, field)) != field:
                loop = " and what goes out would come in again" if other == "events" else ""
                text = f"found {name!r}, which is the {other} topic too{loop}"
                found.append((("topics", field), text, "give each topic a name of its own"))
        return found

    @field_serializer("kafka")
    def _masked(self, kafka: dict[str, KafkaValue]) -> dict[str, KafkaValue]:
        """A dump of the settings is for people: it holds no secret."""
        return masked_properties(kafka)

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        """The fields, secrets masked."""
        return [
            (name, masked_properties(self.kafka) if name == "kafka" else getattr(self, name))
            for name in type(self).model_fields
        ]


def of_duty(settings: Settings, duty: Literal["drift", "security"]) -> Settings:
    """The settings of a worker that does this duty alone, in the duty's own group."""
    if duty == "drift":
        return settings.model_copy(update={"duty": duty})
    # Silence is told once, by those who watch drift.
    own = {"duty": duty, "group": f"{settings.group}.security", "liveness_window_s": 0}
    return settings.model_copy(update=own)


def settings_warnings(settings: Settings) -> list[str]:
    """What should be said aloud of these settings, in sentences."""
    said: list[str] = []
    url = settings.redis_url
    if not is_reference(url.get_secret_value()) and is_plaintext_elsewhere(url):
        said.append(
            f"Redis at {url} is reached without encryption: its password and the state can be read "
            "on the way; use rediss:// where it can"
        )
    brokers = parse_brokers(settings.bootstrap_servers) or []
    if settings.insecure and (reason := insecure_reason(brokers, settings.kafka)):
        said.append(f"{reason}; allowed by --insecure")
    if settings.mode == "at-least-once":
        said.append("at-least-once: after a crash an alert may come twice, with the same ce_id")
    return said
