"""Who is who: identities of a detection config, of a lineage, of an alert.

Each is the hex blake2b-128 of an encoding in which no two different inputs look alike: every part
carries its type and its length. Two kinds of identity cannot collide, since each has its own
personalisation. Changing an encoding changes every identity: it is part of the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import orjson

from schemas.config import DetectionConfig

_DIGEST_BYTES: Final = 16


def encode_parts(*parts: str | int | None) -> bytes:
    """The parts as bytes, unambiguous: tag, length (8 bytes, big-endian), content.

    Strings are UTF-8, integers their shortest signed big-endian form.
    """
    pieces: list[bytes] = []
    for part in parts:
        if part is None:
            tag, content = b"n", b""
        elif isinstance(part, str):
            tag, content = b"s", part.encode()
        else:
            tag, content = b"i", int(part).to_bytes(int(part).bit_length() // 8 + 1, signed=True)
        pieces += (tag, len(content).to_bytes(8), content)
    return b"".join(pieces)


def _identity(kind: bytes, *parts: str | int | None) -> str:
    return blake2b(encode_parts(*parts), digest_size=_DIGEST_BYTES, person=kind).hexdigest()


def key_fingerprint(key: bytes) -> str:
    """What may be known of a key: 8 bytes in hex that tell two keys apart and give neither away."""
    return blake2b(key, digest_size=8, person=b"ds-key").hexdigest()


def detection_identity(
    config: DetectionConfig, source_key_fingerprint: str | None, versions: Mapping[str, int]
) -> str:
    """The identity of everything that changes which alerts come out of the same events.

    `versions` gives the algorithm version of each detector; the order of keys does not count.
    """
    content = orjson.dumps(config.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS).decode()
    algorithms = [part for name in sorted(versions) for part in (name, versions[name])]
    return _identity(b"ds-detection", content, source_key_fingerprint, *algorithms)


def lineage_id(
    deployment: str, duty: str, topic_id: str, partition: int, start_offset: int, n_resets: int
) -> str:
    """The identity of one partition's unbroken fold.

    Nothing of the group, the transactional id, a Redis prefix or a topic's name is in it, so that
    two runs over the same topic can be compared byte by byte.
    """
    return _identity(b"ds-lineage", deployment, duty, topic_id, partition, start_offset, n_resets)


def alert_id(
    lineage: str,
    model_id: str,
    shard: int,
    version: str,
    signal: str,
    detector: str,
    rule: str,
    trigger_offset: int,
    trigger_row: int,
) -> str:
    """The identity of an alert: of what fired first, where in the log; revisions share it."""
    return _identity(
        b"ds-alert",
        lineage,
        model_id,
        shard,
        version,
        signal,
        detector,
        rule,
        trigger_offset,
        trigger_row,
    )


def anomaly_id(
    lineage: str,
    model_id: str,
    shard: int,
    version: str,
    technique: str,
    about: str,
    trigger_offset: int,
    trigger_row: int,
) -> str:
    """The identity of an anomaly: of what was suspected of whom, where in the log.

    `about` is the source's pseudonym, or what else tells two apart that were opened at one event.
    """
    return _identity(
        b"ds-anomaly",
        lineage,
        model_id,
        shard,
        version,
        technique,
        about,
        trigger_offset,
        trigger_row,
    )


def record_id(lineage: str, offset: int, row: int = 0) -> str:
    """The identity of what is said of one input record, or of one of its events (`row` > 0)."""
    return _identity(b"ds-record", lineage, offset, *([row] if row else []))


def liveness_id(
    deployment: str, model_id: str, version: str, shard: int, window_start_ms: int, kind: str
) -> str:
    """The identity of what is said of a model's window by the clock, whichever worker says it."""
    return _identity(b"ds-liveness", deployment, model_id, version, shard, window_start_ms, kind)


def silence_id(
    deployment: str, model_id: str, version: str, shard: int, since_ms: int, trouble: str
) -> str:
    """The identity of a silence, or another volume, from its beginning to its end."""
    return _identity(b"ds-silence", deployment, model_id, version, shard, since_ms, trouble)


def incident_id(deployment: str, model_id: str, evidence_id: str) -> str:
    """The identity of an incident: of the evidence in it that begins first."""
    return _identity(b"ds-incident", deployment, model_id, evidence_id)


def content_digest(value: bytes) -> str:
    """By which two values are told apart that say the same."""
    return blake2b(value, digest_size=_DIGEST_BYTES, person=b"ds-content").hexdigest()


def request_id(deployment: str, model_id: str, version: str, incident: str) -> str:
    """The identity of a retraining request: a training job that has done it once need not again."""
    return _identity(b"ds-retraining", deployment, model_id, version, incident)


def followup_id(deployment: str, model_id: str, version: str, last: str) -> str:
    """The identity of what is said of a new version of a model, after the last one."""
    return _identity(b"ds-followup", deployment, model_id, version, last)


def rollback_id(deployment: str, model_id: str, version: str, last: str) -> str:
    """The identity of a rollback request, from one version of a model to the last one."""
    return _identity(b"ds-rollback", deployment, model_id, version, last)
