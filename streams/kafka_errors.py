"""What Kafka's error codes mean for a worker: go on, lose the partitions, or end.

Each set is data; the flags that librdkafka puts on an error (retriable, abort, fatal) come on top.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError


def _code(name: str) -> int:
    # By name: the client's own codes begin with an underscore, and are public all the same.
    return int(getattr(KafkaError, name))


def _codes(*names: str) -> frozenset[int]:
    return frozenset(map(_code, names))


OWNERSHIP_LOST: Final = _codes(
    "ILLEGAL_GENERATION",
    "UNKNOWN_MEMBER_ID",
    "FENCED_INSTANCE_ID",
    "STALE_MEMBER_EPOCH",
    "FENCED_MEMBER_EPOCH",
)  # fmt: skip
"""The group has gone on without this member."""

REFUSED: Final = _codes(
    "CLUSTER_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "TOPIC_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "INVALID_RECORD",
    "INVALID_TIMESTAMP",
    "INVALID_TRANSACTION_TIMEOUT",
    "MSG_SIZE_TOO_LARGE",
    "OFFSET_METADATA_TOO_LARGE",
    "POLICY_VIOLATION",
    "RECORD_LIST_TOO_LARGE",
    "TOPIC_EXCEPTION",
    "UNKNOWN_TOPIC_OR_PART",
    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    "UNSUPPORTED_VERSION",
    "_UNKNOWN_PARTITION",
    "_UNKNOWN_TOPIC",
    "_UNSUPPORTED_FEATURE",
)  # fmt: skip
"""Asking again would be refused again."""

PASSING: Final = _codes(
    "BROKER_NOT_AVAILABLE",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "FENCED_LEADER_EPOCH",
    "ILLEGAL_GENERATION",
    "KAFKA_STORAGE_ERROR",
    "LEADER_NOT_AVAILABLE",
    "NETWORK_EXCEPTION",
    "NOT_COORDINATOR",
    "NOT_LEADER_FOR_PARTITION",
    "OFFSET_NOT_AVAILABLE",
    "REBALANCE_IN_PROGRESS",
    "REPLICA_NOT_AVAILABLE",
    "REQUEST_TIMED_OUT",
    "THROTTLING_QUOTA_EXCEEDED",
    "UNKNOWN_LEADER_EPOCH",
    "UNKNOWN_MEMBER_ID",
    "UNSTABLE_OFFSET_COMMIT",
    "_ALL_BROKERS_DOWN",
    # A connection was given up while it was asked over: the next question takes another one.
    "_DESTROY_BROKER",
    "_MAX_POLL_EXCEEDED",
    "_PARTITION_EOF",
    "_RESOLVE",
    "_TIMED_OUT",
    "_TRANSPORT",
    "_WAIT_COORD",
)  # fmt: skip
"""The client goes on by itself, or will when the brokers are back."""

FENCED: Final = _codes("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")
"""A newer producer has this transactional id, or the broker has ended the transaction."""

EXPIRED: Final = _codes("INVALID_PRODUCER_ID_MAPPING")
"""The broker has forgotten the producer, which was idle for long: only a new one can go on."""

OUT_OF_RANGE: Final = _codes("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE")
"""The offset asked for is not, or no longer, in the log."""

TRUNCATION: Final[int] = _code("_LOG_TRUNCATION")
"""The leader epoch asked for ended before the offset asked for."""

FENCED_INSTANCE: Final = KafkaError(_code("FENCED_INSTANCE_ID")).str()
"""What a static member hears whose name another one has taken; a fatal error keeps the words."""

MISSING_TOPIC: Final = _codes(
    "UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC",
)  # fmt: skip
"""There is no such topic."""

NOT_AUTHORISED: Final = _codes(
    "CLUSTER_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "TOPIC_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
)  # fmt: skip
"""The client may not do this."""

PURGED: Final = _codes("_PURGE_QUEUE", "_PURGE_INFLIGHT")
TOPIC_EXISTS: Final = _codes("TOPIC_ALREADY_EXISTS")
PARTITION_END: Final[int] = _code("_PARTITION_EOF")
NO_OFFSET: Final[int] = _code("OFFSET_NOT_AVAILABLE")
TIMED_OUT: Final[int] = _code("_TIMED_OUT")
ALL_DOWN: Final[int] = _code("_ALL_BROKERS_DOWN")


def is_truncation(error: KafkaError) -> bool:
    """Whether a validated position is not in the log any more.

    With `auto.offset.reset=error` librdkafka reports the policy, and the cause in words alone.
    """
    cause = KafkaError(TRUNCATION).str()
    return error.code() == TRUNCATION or (error.code() in OUT_OF_RANGE and cause in error.str())


def is_passing(error: KafkaError) -> bool:
    """Whether to wait or to ask again is all there is to do."""
    return not error.fatal() and (error.retriable() or error.code() in PASSING)
