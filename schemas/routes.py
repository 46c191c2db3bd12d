"""A record key's templates: how they are tried, and when they are left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, cast

import msgspec

from schemas.opened import Opening
from schemas.templates import Template

WINDOW: Final = 64
"""Tries after which a key's misses are judged."""
NAP_RECORDS: Final = 8_192
"""A key that missed more than it hit rests for so many records, then for twice as many, ..."""
MAX_NAPS: Final = 10

Decoder = msgspec.json.Decoder[Any]
_decode: Final[Callable[[Decoder | None, bytes | None], Any]] = cast(
    "Any", msgspec.json.Decoder.decode
)
_WHY: Final = (
    ("Object contains unknown", "unknown_name"),
    ("Object missing", "missing_name"),
    ("Expected", "other_type"),
    ("Invalid", "other_type"),
    ("Number out of range", "other_type"),
)


class Route:
    """What is known of one key."""

    __slots__ = ("asleep_until", "n_missed", "n_naps", "n_slow", "n_tried", "templates", "why")

    def __init__(self) -> None:
        self.templates: list[Template] = []
        """In the order in which they are tried."""
        self.asleep_until = -1
        """The key rests until so many records have come; -1: it does not rest."""
        self.n_naps = 0
        self.n_tried = 0
        """Records tried since the misses were last judged."""
        self.n_missed = 0
        self.n_slow = 0
        """All records that were tried in vain."""
        self.why = ""

    def rests(self, n_records: int) -> bool:
        """Judge the misses of a window; whether the key is to rest now."""
        if self.n_tried < WINDOW:
            return False
        mostly_missed = 2 * self.n_missed > self.n_tried
        self.n_tried = self.n_missed = 0
        if not mostly_missed:
            self.n_naps = 0
            return False
        self.asleep_until = n_records + (NAP_RECORDS << self.n_naps)
        self.n_naps = min(self.n_naps + 1, MAX_NAPS)
        return True


def decode_each(
    opening: Opening,
    decoders: Sequence[Decoder | None],
    values: Sequence[bytes | None],
    max_bytes: int,
) -> list[tuple[int, str]]:
    """Open each value with its decoder; (index, why) of those that were refused.

    Not tried is what has no decoder, and a value that is missing or too long.
    """
    index: Sequence[int] = range(len(values))
    if None in decoders or None in values or max(map(len, cast("list[bytes]", values))) > max_bytes:
        index = [
            i
            for i, (decoder, value) in enumerate(zip(decoders, values, strict=True))
            if decoder is not None and value is not None and len(value) <= max_bytes
        ]
        decoders, values = [decoders[i] for i in index], [values[i] for i in index]
    errors: list[tuple[int, str]] = []
    n_before = opening.n_taken()
    decoded: Iterator[Any] = map(_decode, decoders, values)
    if decoders and decoders.count(decoders[0]) == len(decoders):
        decoded = map(partial(_decode, decoders[0]), values)
    numbered = zip(index, decoded, strict=False)
    while True:
        try:
            # What came before an error is kept, and the iterators go on behind it.
            opening.take(numbered)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            at = opening.n_taken() - n_before + len(errors)
            errors.append((index[at], _why(error)))
        else:
            return errors


def try_others(route: Route, value: bytes | None) -> tuple[Any, Template | None]:
    """The event by a template of its key that was not tried first; None: none takes it."""
    for template in route.templates[1:]:
        try:
            return template.decoder.decode(value or b""), template
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
    return None, None


def _why(error: Exception) -> str:
    """The reason of a refusal in a word."""
    said = str(error)
    return next((why for start, why in _WHY if said.startswith(start)), "malformed")
