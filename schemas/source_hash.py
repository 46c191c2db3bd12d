"""The keyed hash that stands for a client: `source` and `label_source` are replaced on arrival.

Whoever reads state, alerts or dumps sees 128 bits that only the holder of the key can tie to a
name: a keyed BLAKE2b, so that guessing names does not help either.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np

from schemas.batch import U64

_PERSON: Final = b"drift.source"
_DERIVED: Final = b"drift.derived"
_LABEL: Final = b"driftsentry source key"
_MIN_KEY_BYTES: Final = 16
_CACHE_SIZE: Final = 16_384
_ABSENT: Final = bytes(16)


def pseudonym(words: tuple[int, int]) -> str:
    """The hash of a source in hex, as `SourceKey.digest` has its bytes, of its two words."""
    return b"".join(int(word).to_bytes(8, "little") for word in words).hex()


class SourceKey:
    """The secret that sources are hashed with, and a bounded memory of recent hashes.

    The memory changes how long an answer takes and never the answer: it is emptied when full.
    """

    __slots__ = ("_digests", "_key", "fingerprint")

    fingerprint: str
    """Hex; the same for the same key and of no use without it: for logs and config identity."""

    def __init__(self, key: bytes) -> None:
        """Take a key of 16 bytes or more; raises ValueError for a shorter one."""
        if len(key) < _MIN_KEY_BYTES:
            raise ValueError(f"a source key has at least {_MIN_KEY_BYTES} bytes")
        # BLAKE2b takes at most 64 bytes of key.
        self._key = key if len(key) <= 64 else blake2b(key).digest()
        self.fingerprint = blake2b(_LABEL, digest_size=16, key=self._key).hexdigest()
        self._digests: dict[str | None, bytes] = {}
        self._empty()

    def __repr__(self) -> str:
        return f"SourceKey(fingerprint={self.fingerprint!r})"

    def digest(self, source: str) -> bytes:
        """The 16 bytes that stand for `source`."""
        return blake2b(source.encode(), digest_size=16, key=self._key, person=_PERSON).digest()

    def derived(self, use: bytes) -> bytes:
        """A key of 32 bytes for another use, which says nothing of this one."""
        return blake2b(use, digest_size=32, key=self._key, person=_DERIVED).digest()

    def words(self, sources: list[str | None]) -> U64:
        """(n, 2): each digest as two little-endian words; 0, 0 for None and for ""."""
        try:
            digests = list(map(self._digests.__getitem__, sources))
        except KeyError:
            self._learn(sources)
            digests = list(map(self._digests.__getitem__, sources))
        return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2).astype(np.uint64)

    def _learn(self, sources: list[str | None]) -> None:
        new = [s for s in dict.fromkeys(sources) if s is not None and s not in self._digests]
        if len(self._digests) + len(new) > _CACHE_SIZE:
            self._empty()
            new = [s for s in dict.fromkeys(sources) if s]
        for source in new:
            self._digests[source] = self.digest(source)

    def _empty(self) -> None:
        self._digests.clear()
        self._digests[None] = self._digests[""] = _ABSENT
