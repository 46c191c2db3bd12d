"""By what an Arrow stream is known, without loading Arrow: most workers never need it."""

from __future__ import annotations

from typing import Final

MARK: Final = b"\xff\xff\xff\xff"
"""How every stream begins, and no JSON does."""


def is_arrow(value: bytes | None) -> bool:
    """Whether a record's value is an Arrow stream, right or wrong."""
    return value is not None and value[:4] == MARK
