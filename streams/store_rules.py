"""What every store of checkpoints holds to, so that they are alike in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from streams.segments import is_digest

N_KEPT: Final = 3
"""How many manifests of a partition are kept."""

VIEW_TTL_S: Final = 3600
"""How long a live view stays after it was last published."""


def check_prefix(prefix: str) -> None:
    """Raise `ValueError` for a prefix of Redis keys that would upset them."""
    if not prefix or any(not 32 < ord(c) < 127 or c in "{}*?[]\\" for c in prefix):
        raise ValueError(f"a Redis prefix has no braces, blanks or wildcards: {prefix!r}")


def check_save_arguments(
    lineage: str, next_offset: int, segments: Mapping[str, bytes], referenced: Iterable[str]
) -> None:
    """Raise `ValueError` for a save that is a mistake of the caller, whatever the store holds."""
    if not lineage:
        raise ValueError("a checkpoint needs a lineage")
    if not 0 <= next_offset < 1 << 63:
        raise ValueError(f"no offset of a log: {next_offset}")
    needed = set(referenced)
    for digest in needed:
        if not is_digest(digest):
            raise ValueError(f"no digest of a segment: {digest!r}")
    for digest in segments:
        if digest not in needed:
            raise ValueError(f"segment {digest} is not referenced by the manifest")
