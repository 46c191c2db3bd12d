"""From settings to a running worker: builds the adapters, runs the loop, says how it ended."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Final

import structlog
from confluent_kafka import KafkaException

from schemas.config import DetectionConfig
from schemas.records import TopicPartition
from schemas.source_hash import SourceKey
from streams.checkpoint_topic import CheckpointTopic
from streams.checkpoints import ALERT_INTERVAL_S, Cadence
from streams.config import Settings
from streams.credentials import checkpoint_key, source_key
from streams.duties import Duty
from streams.embedded import is_mock_cluster
from streams.kafka_at_least_once import AtLeastOnceCommits
from streams.kafka_clients import ClientConfigError, describe, kafka_error
from streams.kafka_commands import KafkaCommandLog
from streams.kafka_commits import KafkaCommits
from streams.kafka_liveness import KafkaLiveness
from streams.kafka_log import KafkaLog
from streams.kafka_properties import KafkaValue, read_properties
from streams.liveness_teller import LivenessTeller
from streams.opened import checkpoint_topic_of, store_of
from streams.ports import CommandLog, CommitError, Commits, LogError, NoCommands, StoreError
from streams.recovery import OperatorNeededError, RecoverySettings
from streams.runner import Runner
from streams.spares import Spares
from streams.spool import Spool
from streams.store_breaker import StoreBreaker
from streams.topics import journal_key
from streams.worker import Detection, OutputTopics

log = structlog.get_logger(__name__)

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_OPERATOR: Final = 3

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)

STOP_S: Final = 9.0
"""A stop that takes longer, because brokers do not answer, ends hard: to Kafka it is a crash."""


class WallClock:
    """The process's clock."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def run(settings: Settings, config: DetectionConfig) -> int:
    """Fold events until SIGTERM or SIGINT; returns the process's exit code.

    0: drained and left. 1: Kafka could not go on. 3: a person has to decide. `settings` are those
    of one duty (`streams.config.of_duty`).
    """
    runner: Runner | None = None
    hard_end = threading.Timer(STOP_S, _end_hard)
    hard_end.daemon = True
    # Before anything that may wait: the first process of a container has no other handler.
    stop = _Stop(hard_end)
    try:
        runner = build_runner(settings, config)
        stop.ends(runner)
        # The hot loop makes no cycles; scanning for them costs a fifth of the decoding.
        gc.collect()
        gc.freeze()
        gc.disable()
        runner.run()
    except OperatorNeededError as error:
        log.critical("stopped: a person has to decide", reason=str(error))
        return EXIT_OPERATOR
    except (CommitError, LogError) as error:
        log.critical("stopped", reason=str(error))
        return EXIT_FAILED
    finally:
        gc.enable()
        if runner is not None:
            runner.commands.close()
            if runner.liveness is not None:
                runner.liveness.close()
            runner.commits.close()
            runner.store.close()
        stop.close()
    log.info("drained and left")
    return EXIT_OK


def build_runner(settings: Settings, config: DetectionConfig) -> Runner:
    """The worker of these settings, on real Kafka and Redis. Raises `LogError`, `CommitError`."""
    properties = read_properties(settings.kafka)
    kafka_log = KafkaLog(
        settings.bootstrap_servers,
        settings.topics.events,
        group=settings.group,
        instance=settings.instance,
        kafka_properties=properties,
        session_timeout_ms=settings.session_timeout_ms,
    )
    clock = WallClock()
    store = StoreBreaker(store_of(settings), clock)
    try:
        for problem in store.check_policy():
            log.warning(problem)
    except StoreError as error:
        log.warning("detection goes on without Redis", reason=str(error))
    is_mock = is_mock_cluster(_cluster_id(kafka_log, settings))
    key = source_key(settings)
    duty: Duty = "security" if settings.duty == "security" else "drift"
    commits = _commits(settings, kafka_log, properties, is_mock)

    def key_of(tp: TopicPartition) -> bytes:
        return journal_key(settings.group, tp)

    return Runner(
        log=kafka_log,
        commits=commits,
        store=store,
        clock=clock,
        detection=Detection(config, None if key is None else SourceKey(key), duty),
        topics=OutputTopics(
            settings.topics.anomalies if duty == "security" else settings.topics.alerts,
            settings.topics.dead_letter,
            settings.topics.journal,
        ),
        recovery=RecoverySettings(
            start=settings.start,
            accept_reset=settings.accept_reset,
            max_replay_events=settings.max_replay_events,
            checkpoint_key=checkpoint_key(settings),
        ),
        journal_key=key_of,
        cadence=Cadence(
            poll_records=settings.poll_records,
            commit_interval_s=settings.commit_interval_ms / 1000,
            alert_interval_s=min(settings.commit_interval_ms / 1000, ALERT_INTERVAL_S),
            checkpoint_interval_s=settings.checkpoint_interval_s,
            checkpoint_events=settings.checkpoint_events,
        ),
        spares=_spares(settings, is_mock),
        commands=_commands(settings, commits, properties, is_mock),
        liveness=_liveness(settings, properties),
    )


def _liveness(settings: Settings, properties: dict[str, KafkaValue]) -> LivenessTeller | None:
    """Who tells of silence and volume. That it cannot be had is said, and no reason to stop."""
    if not settings.liveness_window_s:
        return None
    try:
        link = KafkaLiveness(settings.bootstrap_servers, kafka_properties=properties)
    except ClientConfigError as error:
        log.warning("no liveness: silence and volume are not told", reason=str(error))
        return None
    return LivenessTeller(link, settings.topics.liveness, settings.liveness_window_s)


def _commands(
    settings: Settings, commits: Commits, properties: dict[str, KafkaValue], is_mock: bool
) -> CommandLog:
    if is_mock:
        log.info("no commands topic: on the mock broker nobody says anything")
        return NoCommands()
    return KafkaCommandLog(
        settings.bootstrap_servers,
        settings.topics.commands,
        group=settings.group,
        topic_id_of=commits.topic_id,
        kafka_properties=properties,
    )


def _spares(settings: Settings, is_mock: bool) -> Spares:
    """Where checkpoints go beside Redis. What cannot be had is said, and is no reason to stop."""
    spool: Spool | None = None
    if settings.spool_dir is not None:
        try:
            spool = Spool(Path(settings.spool_dir), group=settings.group)
        except StoreError as error:
            log.warning("no spool: while Redis is down state is not kept here", reason=str(error))
    topic: CheckpointTopic | None = None
    if is_mock:
        log.info("no checkpoints topic: the mock broker compacts nothing")
    elif settings.checkpoint_topic_interval_s > 0:
        topic = checkpoint_topic_of(settings)
    return Spares(spool=spool, topic=topic, topic_interval_s=settings.checkpoint_topic_interval_s)


def _commits(
    settings: Settings, kafka_log: KafkaLog, properties: dict[str, KafkaValue], is_mock: bool
) -> Commits:
    exactly_once = settings.mode == "exactly-once"
    if exactly_once and is_mock:
        log.warning(
            "the broker is librdkafka's mock: it keeps nothing of transactions, so delivery is "
            "at-least-once; after a crash alerts may come twice, with the same ce_id"
        )
        exactly_once = False
    if not exactly_once:
        return AtLeastOnceCommits(
            kafka_log,
            settings.bootstrap_servers,
            journal_topic=settings.topics.journal,
            kafka_properties=properties,
        )
    return KafkaCommits(
        kafka_log,
        settings.bootstrap_servers,
        journal_topic=settings.topics.journal,
        instance=settings.instance,
        kafka_properties=properties,
        transaction_timeout_ms=settings.transaction_timeout_ms,
    )


def _cluster_id(kafka_log: KafkaLog, settings: Settings) -> str | None:
    """The id of the cluster, asked of whichever broker answers.

    Raises `LogError`, also where a topic is missing that is needed only once there is something
    to say: that may be weeks later.
    """
    try:
        cluster = kafka_log.consumer.list_topics(timeout=30)
    except KafkaException as error:
        said = describe(kafka_error(error))
        raise LogError(f"no broker answers at {settings.bootstrap_servers}: {said}") from error
    cluster_id: str | None = cluster.cluster_id
    topics = settings.topics
    needed = {topics.alerts, topics.dead_letter, topics.journal}
    if settings.duty == "security":
        needed = {topics.anomalies, topics.journal}
    missing = sorted(needed - cluster.topics.keys())
    if missing and not is_mock_cluster(cluster_id):
        raise LogError(
            f"no such topic, or no right to see it: {', '.join(missing)}; "
            "`driftsentry topics create` makes what is missing"
        )
    return cluster_id


class _Stop:
    """Turns SIGTERM and SIGINT into the end of a runner, also of one that is not made yet.

    The time until the hard end is counted from the signal on. Python calls `_ask` only when the
    main thread is back from a call into librdkafka, which may take a minute where no broker
    answers; so a thread of its own hears of the signal.
    """

    def __init__(self, hard_end: threading.Timer) -> None:
        self._hard_end = hard_end
        self._runner: Runner | None = None
        self._is_asked = False
        self._signals, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._count_down, name="signals", daemon=True).start()
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def ends(self, runner: Runner) -> None:
        """Name what is to be stopped."""
        self._runner = runner
        runner.stopping = self._is_asked

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        self._is_asked = True
        if self._runner is not None:
            self._runner.stopping = True

    def close(self) -> None:
        """Hear of no signal any more, and call the hard end off."""
        signal.set_wakeup_fd(-1)
        self._wakeup.close()
        self._hard_end.cancel()

    def _count_down(self) -> None:
        with self._signals:
            while number := self._signals.recv(1):  # none: closed
                if number[0] in _STOPPING:
                    self._hard_end.start()
                    return


def _end_hard() -> None:
    log.critical(
        "stopped without draining: brokers or Redis do not answer; nothing is lost, and the next "
        "worker goes on from what is committed"
    )
    os._exit(EXIT_FAILED)
