"""The hot path: records in, columns and rejects out.

The law: this accepts exactly what the models of `schemas.events` accept on `orjson.loads(value)`,
save for two rules about the event's place: its key, and the models that the config lists. No
record makes it raise; each of its events is an accepted row or a `Reject`. An Arrow stream is a
record of many events, which are judged as if each had come as JSON (`schemas.arrow`).

Decoding is stateless: rows do not depend on the records before them, only the numbers of models,
shapes and classes do. What a `FastPath` has learned from earlier records decides how fast an answer
comes, never which.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from operator import itemgetter
from typing import Final

from schemas.batch import Decoding
from schemas.fast_path import FastPath
from schemas.field_rules import Fault
from schemas.limits import EXCERPT_BYTES, MAX_KEY_BYTES, DecodeLimits
from schemas.parts import MAX_ROW, ROW_BITS, assemble
from schemas.poll import Poll
from schemas.records import Record, Records, Reject, TopicPartition
from schemas.source_hash import SourceKey

AT_ONCE: Final = 2_048
"""Records taken at once: few enough for the cache, enough to spread the cost of numpy's calls."""


def decode_records(
    tp: TopicPartition,
    records: Sequence[Record],
    limits: DecodeLimits,
    source_key: SourceKey | None,
    listed: frozenset[str] | None,
    fast_path: FastPath | None = None,
) -> Decoding:
    """The events of one poll of partition `tp` as columns, and every refused record.

    `records` are in offset order. `listed`: the only models that are taken; None takes any.
    Without a `source_key` sources are dropped and counted. With a `fast_path`, which learns from
    what it sees, events that look like earlier ones cost less; the result is the same.
    """
    in_order = Records.of(records)
    poll = Poll(limits, source_key, listed, fast_path)
    for start in range(0, len(in_order), AT_ONCE):
        poll.take(start, in_order[start : start + AT_ONCE])
    digests: dict[int, str] = {}  # a record of many events may be refused in each of them
    return Decoding(
        assemble(tp, in_order, poll.parts, poll.names()),
        [
            _reject(in_order, row, fault, limits, digests)
            for row, fault in sorted(poll.faults, key=itemgetter(0))
        ],
    )


def _reject(
    records: Records, row: int, fault: Fault, limits: DecodeLimits, digests: dict[int, str]
) -> Reject:
    """What is said of one refused event: no payload, but for the excerpt where it is allowed."""
    index = row >> ROW_BITS
    record = records[index]
    value = record.value or b""
    if index not in digests:
        digests[index] = blake2b(value, digest_size=16).hexdigest()
    return Reject(
        offset=record.offset,
        row=row & MAX_ROW,
        timestamp_ms=record.timestamp_ms,
        reason=fault.reason,
        detail=fault.detail,
        length=len(value),
        digest=digests[index],
        key=None if record.key is None else record.key[:MAX_KEY_BYTES],
        excerpt=value[:EXCERPT_BYTES] if limits.excerpt else None,
    )
