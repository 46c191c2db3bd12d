"""Names as bytes that hashes are made of, and numbers without a pattern: neither has any state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from schemas.batch import U64

GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
"""The step of SplitMix64."""


def splitmix64(x: U64) -> U64:
    """(n,) the output of SplitMix64 at these states (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def told_apart(names: Iterable[str]) -> bytes:
    """These names, one after the other, each with its length before it: no two lists are alike."""
    encoded = [name.encode() for name in names]
    return b"".join(len(raw).to_bytes(4, "little") + raw for raw in encoded)
