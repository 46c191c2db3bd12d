"""Kernels that check their indices: one beyond an array is an IndexError, and tests see it."""

from __future__ import annotations

import os
from typing import Final

from tests.kit.kafka_libs import REPOSITORY

CACHE: Final = REPOSITORY / "var" / "numba-checked"
"""A cache of their own, shared by all that need them: numba does not tell the two kinds apart."""


def environment() -> dict[str, str]:
    """That of a process whose kernels check their indices."""
    return os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(CACHE)}
