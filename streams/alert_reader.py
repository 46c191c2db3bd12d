"""Reads the alerts topic as any consumer may: committed records only, outside every group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import orjson
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaException,
    Message,
    TopicPartition,
)

from schemas.printable import masked
from streams.kafka_clients import open_client, reader_config
from streams.kafka_properties import KafkaValue

_METADATA_S: Final = 15.0
_POLL_S: Final = 0.5


class AlertsError(RuntimeError):
    """The alerts topic cannot be read; the message says what to do."""


def read_alerts(
    bootstrap_servers: str,
    topic: str,
    kafka_properties: Mapping[str, KafkaValue],
    *,
    from_beginning: bool = False,
    follow: bool = True,
) -> Iterator[Message]:
    """Every committed record from the beginning or from now on; ends at the end unless `follow`.

    Raises `AlertsError` where there is no such topic.
    """
    # The client wants the name of a group; none is joined and nothing is committed.
    config = reader_config(bootstrap_servers, "driftsentry-alerts", kafka_properties)
    consumer = open_client(Consumer, config, "consumer")
    try:
        # Without a topic's name: asking for one by name may make it.
        known = consumer.list_topics(timeout=_METADATA_S).topics
        if topic not in known:
            raise AlertsError(
                f"there is no topic {topic}, or this user may not describe it: "
                "`driftsentry topics create` makes it"
            )
        start = OFFSET_BEGINNING if from_beginning else OFFSET_END
        unread = set(known[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, start) for partition in unread])
        while follow or unread:
            message = consumer.poll(_POLL_S)
            if message is None:
                continue
            error = message.error()
            if error is None:
                yield message
            elif error.name() == "_PARTITION_EOF":
                unread.discard(message.partition())
            # The client looks for the group's coordinator unasked; who only reads needs no group.
            elif error.name() != "GROUP_AUTHORIZATION_FAILED":
                raise KafkaException(error)
    finally:
        consumer.close()


def as_cloudevent(message: Message) -> dict[str, object]:
    """The alert in CloudEvents' JSON format: its attributes, and the data under `data`.

    Raises `AlertsError` for a record that is no JSON: others may write to the topic.
    """
    event: dict[str, object] = {}
    headers = message.headers() or ()
    for name, value in headers.items() if isinstance(headers, dict) else headers:
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        if name.startswith("ce_"):
            event[name.removeprefix("ce_")] = text
        elif name == "content-type":
            event["datacontenttype"] = text
    try:
        event["data"] = orjson.loads(message.value() or b"null")
    except orjson.JSONDecodeError:
        raise AlertsError(
            f"the record at {message.topic()}[{message.partition()}]:{message.offset()} is no "
            "JSON, and so no alert: find out who else writes to the topic"
        ) from None
    return event


def as_sentence(event: Mapping[str, object]) -> str:
    """One line for people: when, how severe, what. Names come from events: no control character."""
    data = event.get("data")
    fields = data if isinstance(data, dict) else {}
    severity = str(fields.get("severity", "")).upper()
    # A finding of OCSF has it where OCSF has no place for it.
    unmapped = fields.get("unmapped")
    revision = (unmapped if isinstance(unmapped, dict) else fields).get("revision", 1)
    update = f" (update {revision - 1})" if isinstance(revision, int) and revision > 1 else ""
    line = f"{event.get('time', '')} {severity:<8} {fields.get('message', '')}{update}"
    return masked(line)
