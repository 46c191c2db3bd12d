"""The columns of a poll that the security duty derives from it: words, hashes, codes.

A value's word is 64 bits that are equal for equal values: of a number its own, of a name a hash.
All hashes are salted, so that nobody can aim at a collision.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import numpy as np

from detectors.kernels.population import hash_rows
from detectors.labels.identity import value_codes
from schemas.batch import F64, I64, U8, U64, Decoded, ValueKind

_KEPT: Final = 16_384
_PERSON: Final = b"drift.security"


@lru_cache(_KEPT)
def name_word(salt: int, use: str, name: str) -> int:
    """64 salted bits that stand for a name; `use` tells apart names of different things."""
    key = salt.to_bytes(8, "little") + use.encode()
    return int.from_bytes(blake2b(name.encode(), digest_size=8, key=key, person=_PERSON).digest())


def name_words(salt: int, use: str, names: list[str] | tuple[str, ...]) -> U64:
    """(n,) those of several names."""
    return np.array([name_word(salt, use, name) for name in names], np.uint64)


@dataclass(frozen=True, slots=True)
class PollColumns:
    """What is derived of the n events and v values of a poll."""

    events: Decoded
    number: I64
    """(n,) position of each event in the partition's lineage."""
    kind: U8
    """(v,) `ValueKind`; `INVALID` too for a name that is too long to be known again."""
    word: U64
    """(v,)"""
    row_hash: U64
    """(n,) of all the values of a row, by the features' names; 0 for labels."""
    code: I64
    """(n,) of the prediction, or of the label: see `detectors.labels.identity`; 0: none."""

    @property
    def value(self) -> F64:
        """(v,) the words as numbers, where they are."""
        return self.word.view(np.float64)


def columns_of(events: Decoded, first_number: int, salt: int) -> PollColumns:
    """The columns of a poll whose first event has this position in the lineage."""
    number = np.arange(first_number, first_number + len(events), dtype=np.int64)
    # 0.0 and -0.0 are one number.
    word: U64 = (events.value + 0.0).view(np.uint64)
    kind = events.kind
    is_name = np.flatnonzero(kind == ValueKind.STRING)
    if len(is_name):
        code = events.value[is_name].astype(np.int64)
        known = np.append(name_words(salt, "category", events.categories), np.uint64(0))
        word[is_name] = known[code]
        kind = kind.copy()
        kind[is_name[code < 0]] = ValueKind.INVALID
    is_true = kind == ValueKind.BOOLEAN
    word[is_true] = events.value[is_true].astype(np.uint64)
    lengths = [len(shape) for shape in events.shapes]
    names = [name for shape in events.shapes for name in shape]
    row_hash = np.empty(len(events), np.uint64)
    hash_rows(
        events.value_ptr,
        events.shape,
        np.cumsum([0, *lengths], dtype=np.int64),
        name_words(salt, "feature", names),
        kind,
        word,
        number,
        row_hash,
    )
    return PollColumns(events, number, kind, word, row_hash, value_codes(events))


def ranges(first: I64, length: I64) -> I64:
    """The numbers first[i]..first[i]+length[i]-1 of all i, one range after the other."""
    ends = np.cumsum(length, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    found: I64 = np.arange(total, dtype=np.int64) + np.repeat(first - (ends - length), length)
    return found
