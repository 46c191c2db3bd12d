"""Structs that templates have read, turned by a quarter: one list per field.

An event is taken apart as soon as it is read, while it is in the processor's cache, and its memory
serves the next: that is worth a fifth of the whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from itertools import accumulate
from operator import attrgetter
from typing import Any, Final

import msgspec

from schemas.columns import Transposed
from schemas.field_rules import Json
from schemas.templates import Compiled

_NAN: Final = float("nan")
_features: Final[Callable[[Any], tuple[Json, ...]]] = msgspec.structs.astuple
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "prediction": (
        *("model_id", "model_version", "ts", "prediction"),
        *("score", "probabilities", "source", "shard", "event_id", "latency_ms"),
    ),
    "label": ("model_id", "ts", "label", "label_source", "shard", "event_id"),
}
"""By type of event, the fields that become columns; a template has judged the others."""
_fields_of: Final = {kind: attrgetter(*names) for kind, names in COLUMNS.items()}


class Opened:
    """Events of one type, event by event; what is not at hand is empty."""

    __slots__ = ("doubles", "flat", "index", "kind", "names", "values")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.index: list[int] = []
        """Of each event's record in its chunk."""
        self.flat: list[Json] = []
        """The values of the fields `COLUMNS[kind]`."""
        self.names: list[tuple[str, ...]] = []
        """Of each prediction, its features in order."""
        self.values: list[Json] = []
        """Feature values, event by event, where they are not all numbers or null."""
        self.doubles = bytearray()
        """Feature values as doubles in native order, NaN for null, where they are."""

    def fields(self) -> Transposed:
        """The columns, those left out that hold nulls only."""
        names, n = COLUMNS[self.kind], len(self.index)
        columns = {name: self.flat[k :: len(names)] for k, name in enumerate(names)}
        held = {name: c for name, c in columns.items() if c[0] is not None or c.count(None) < n}
        return Transposed(held, 0)

    def take(self, keep: list[int]) -> Opened:
        """The events at the indices `keep`."""
        kept = Opened(self.kind)
        width = len(COLUMNS[self.kind])
        kept.index = [self.index[i] for i in keep]
        for i in keep:
            kept.flat += self.flat[i * width : (i + 1) * width]
        if self.names:
            kept.names = [self.names[i] for i in keep]
            end = [0, *accumulate(map(len, self.names))]
            for i in keep:
                kept.values += self.values[end[i] : end[i + 1]]
                kept.doubles += self.doubles[8 * end[i] : 8 * end[i + 1]]
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
        return sum(len(group.index) for group in (self.numeric, self.mixed, self.labels))

    def take(self, numbered: Iterable[tuple[int, Any]]) -> None:
        """Take events apart, each with the index of its record."""
        numeric = self.numeric
        known: type | None = None
        pack: Callable[..., bytes] = bytes
        names: tuple[str, ...] = ()
        doubles, flat, fields_of = numeric.doubles, numeric.flat, _fields_of["prediction"]
        seen, seen_names = numeric.index.append, numeric.names.append
        for i, event in numbered:
            if type(event) is not known:
                template = self._compiled.by_class.get(type(event))
                if template is None or template.pack is None:
                    self._take_mixed(i, event)
                    continue
                known, pack, names = type(event), template.pack, template.layout.names
            values = _features(event.features)
            try:
                doubles += pack(*values)
            except struct.error:  # a null
                doubles += pack(*[_NAN if value is None else value for value in values])
            flat += fields_of(event)
            seen(i)
            seen_names(names)

    def _take_mixed(self, i: int, event: Any) -> None:
        template = self._compiled.by_class.get(type(event))
        group = self.labels if template is None else self.mixed
        if template is not None:
            group.values += _features(event.features)
            group.names.append(template.layout.names)
        group.index.append(i)
        group.flat += _fields_of[group.kind](event)
