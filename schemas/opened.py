"""Structs that templates have read, turned by a quarter: one list per field.

An event is taken apart as soon as it is read, while it is in the processor's cache, and its memory
serves the next: that is worth a fifth of the whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from schemas.columns import Transposed
from schemas.field_rules import Json
from schemas.templates import FIELDS, Compiled

_NAN: Final = float("nan")
_flat: Final[Callable[[Any], tuple[Json, ...]]] = msgspec.structs.astuple


class Opened:
    """Events of one type, event by event; what is not at hand is empty."""

    __slots__ = ("flat", "index", "kind", "names", "values")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.index: list[int] = []
        """Of each event's record in its chunk."""
        self.flat: list[Json] = []
        """The values of the fields of `FIELDS[kind]`; null instead of `features`."""
        self.names: list[tuple[str, ...]] = []
        """Of each prediction, its features in order."""
        self.values: list[Any] = []
        """Of each prediction the values of its features: as doubles (bytes, NaN for null) or a
        tuple."""

    def fields(self) -> Transposed:
        """The columns, those left out that hold nulls only."""
        names, n = FIELDS[self.kind], len(self.index)
        columns = {name: self.flat[k :: len(names)] for k, name in enumerate(names)}
        return Transposed({name: c for name, c in columns.items() if c.count(None) < n}, 0)

    def take(self, keep: list[int]) -> Opened:
        """The events at the indices `keep`."""
        kept = Opened(self.kind)
        width = len(FIELDS[self.kind])
        kept.index = [self.index[i] for i in keep]
        for i in keep:
            kept.flat += self.flat[i * width : (i + 1) * width]
        if self.names:
            kept.names = [self.names[i] for i in keep]
            kept.values = [self.values[i] for i in keep]
        return kept


class Opening:
    """The events of one chunk as they are read; in each group as they came."""

    __slots__ = ("_compiled", "labels", "mixed", "numeric")

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self.numeric = Opened("prediction")
        """Predictions whose features are all numbers or null."""
        self.mixed = Opened("prediction")
        """Predictions that may have categories among their features."""
        self.labels = Opened("label")

    def groups(self) -> list[Opened]:
        """Those that are not empty."""
        return [group for group in (self.numeric, self.mixed, self.labels) if group.index]

    def n_taken(self) -> int:
        """How many events there are."""
        return sum(len(group.index) for group in self.groups())

    def take(self, numbered: Iterable[tuple[int, Any]]) -> None:
        """Take events apart, each with the index of its record."""
        by_class, numeric = self._compiled.by_class, self.numeric
        for i, event in numbered:
            template = by_class.get(type(event))
            if template is None or template.pack is None:
                self._take_mixed(i, event)
                continue
            values = _flat(event.features)
            try:
                numeric.values.append(template.pack(*values))
            except struct.error:  # a null
                with_nan = [_NAN if value is None else value for value in values]
                numeric.values.append(template.pack(*with_nan))
            event.features = None  # gives its memory back
            numeric.index.append(i)
            numeric.names.append(template.layout.names)
            numeric.flat += _flat(event)

    def _take_mixed(self, i: int, event: Any) -> None:
        template = self._compiled.by_class.get(type(event))
        group = self.labels if template is None else self.mixed
        if template is not None:
            group.values.append(_flat(event.features))
            group.names.append(template.layout.names)
            event.features = None
        group.index.append(i)
        group.flat += _flat(event)
