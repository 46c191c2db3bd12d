"""The keyed fingerprint that stands for an event's id: what a label finds its prediction by.

64 bits of a keyed BLAKE2b. Among a million pending predictions one more id is taken for another
one with a probability of 5e-14. Where there is a source key the fingerprints hang on it, so that
nobody else can look for ids that are alike; without one they follow from the id alone.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np

from schemas.batch import U64
from schemas.source_hash import SourceKey

_PERSON: Final = b"drift.event"
_USE: Final = b"driftsentry event ids"


class EventKey:
    """What event ids are fingerprinted with; the same for the same source key, or without one."""

    __slots__ = ("_keyed",)

    def __init__(self, source_key: SourceKey | None) -> None:
        key = b"" if source_key is None else source_key.derived(_USE)
        # Copied for each id: the block with the key is hashed only once.
        self._keyed: Final = blake2b(digest_size=8, key=key, person=_PERSON)

    def digest(self, event_id: str) -> bytes:
        """The 8 bytes that stand for `event_id`."""
        hashed = self._keyed.copy()
        hashed.update(event_id.encode())
        return hashed.digest()

    def words(self, event_ids: list[str]) -> U64:
        """(n,): each digest as a little-endian word."""
        digests = b"".join(map(self.digest, event_ids))
        return np.frombuffer(digests, "<u8").astype(np.uint64)
