"""What a fuzz target is, and how the bytes of the fuzzer become the steps of an attack."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

Item = TypeVar("Item")

MAX_LEN: Final = 4_096
"""Longest input that is tried, in bytes."""


@dataclass(frozen=True, slots=True)
class Target:
    """One reader of foreign bytes, and what must hold of it for every input."""

    name: str
    run: Callable[[bytes], None]
    """Raises where the reader does what it must not do; the errors it declares are no failure."""
    seeds: Callable[[], Sequence[bytes]]
    """Inputs to begin with, made by hand or by the writer that belongs to the reader.

    The first one is good, and goes all the way: it is run before anything is measured.
    """
    tokens: Sequence[bytes] = ()
    """Pieces that a change of single bytes would not find."""


class Choices:
    """Takes decisions from bytes, one after the other; all are 0 when the bytes are used up."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    @property
    def left(self) -> bool:
        """Whether there are bytes to decide by."""
        return self._at < len(self._content)

    def take(self, n: int) -> bytes:
        """The next `n` bytes, or what is left of them."""
        found = self._content[self._at : self._at + n]
        self._at += n
        return found

    def number(self, n_bytes: int = 1) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self.take(n_bytes), "little")

    def below(self, n: int) -> int:
        """A number in 0..n-1; n is at least 1."""
        return self.number(1 if n <= 256 else 4) % n

    def one_of(self, items: Sequence[Item]) -> Item:
        """One of these."""
        return items[self.below(len(items))]

    def text(self) -> bytes:
        """A short piece whose length comes first."""
        return self.take(self.number())


def must(holds: object, what: str) -> None:
    """Fail with these words unless it holds: an `assert` that says what was promised."""
    if not holds:
        raise AssertionError(what)


@lru_cache(maxsize=1)
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="driftsentry-fuzz-")


def directory() -> Path:
    """A directory of this process, gone when it ends."""
    return Path(_directory().name)


def written(content: bytes, name: str) -> Path:
    """A file with this content; the one of the same name that was there before is replaced."""
    path = directory() / name
    path.write_bytes(content)
    return path
