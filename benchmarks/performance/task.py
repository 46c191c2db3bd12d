"""What is asked of a child in NannyML's environment: columns in a file, and how to read them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Task:
    """A file of `numpy.savez`, and of how many rows it is taken."""

    path: str
    n_reference: int = 0
    n_chunk: int = 0

    @classmethod
    def read(cls) -> Self:
        """The task of this process."""
        return cls(**json.loads(sys.argv[1]))
