"""One poll's records on their way to columns, a chunk at a time.

Three ways lead to the same columns. Events that a template takes are read into structs. Of the
others, a chunk of predictions that all have the same fields and the same features (what one
producer sends) is taken apart while it is parsed; any other chunk is parsed first, parted by type
and transposed. On all three, a column is judged and converted as a whole. Only where a column is
not accepted as a whole does a rule look at its values one by one; the events that it refuses leave,
and the others are judged again.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import numpy as np
import orjson

from schemas.arrow_mark import is_arrow
from schemas.codes import seen_of
from schemas.columns import transpose, transpose_alike
from schemas.convert import Converter
from schemas.event_hash import EventKey
from schemas.fast_path import FastPath
from schemas.field_rules import Fault, Json
from schemas.judge import Judge
from schemas.limits import DecodeLimits
from schemas.opened import Opened
from schemas.parse import parse
from schemas.parts import ROW_BITS, Names, Part, row_of
from schemas.records import Record, Records
from schemas.rules import RULES, fault_of_event, fault_of_place, fault_of_type
from schemas.source_hash import SourceKey

if TYPE_CHECKING:
    from schemas.arrow_columns import Quick

CHUNK: Final = 256
"""Records that are parsed before they are transposed: few enough for the processor's cache."""

_KNOWN: Final = {
    kind: frozenset({"type", *(rule.name for rule in rules)}) for kind, rules in RULES.items()
}


class _Group(NamedTuple):
    """The events of one type in one chunk, and their records' rows and keys."""

    kind: str
    events: list[dict[str, Json]]
    row: list[int]
    keys: list[bytes | None]

    def take(self, keep: list[int]) -> _Group:
        """The events at the indices `keep`."""
        return _Group(
            self.kind,
            [self.events[i] for i in keep],
            [self.row[i] for i in keep],
            [self.keys[i] for i in keep],
        )


class Poll:
    """One call of `decode_records` in progress."""

    def __init__(
        self,
        limits: DecodeLimits,
        source_key: SourceKey | None,
        listed: frozenset[str] | None,
        fast_path: FastPath | None,
    ) -> None:
        self.limits = limits
        self.convert = Converter(source_key, EventKey(source_key) if limits.event_ids else None)
        self.fast_path = fast_path
        self.parts: list[Part] = []
        self.faults: list[tuple[int, Fault]] = []
        """(row, fault) of every refused record."""
        self.judge = Judge(listed)
        # How often the second way was tried with and without success. It is a guess whether the
        # next chunk is alike: a wrong one costs time and nothing else.
        self._n_alike = 0
        self._n_unlike = 0

    def names(self) -> Names:
        """The code tables as lists, and the counters."""
        return Names(
            models=self.judge.models(),
            shapes=list(self.convert.shapes.codes.of),
            classes=list(self.convert.classes.codes.of),
            categories=self.convert.categories.names,
            n_unknown_fields=self.convert.n_unknown_fields,
            n_sources_dropped=self.convert.n_sources_dropped,
        )

    def take(self, start: int, records: Records) -> None:
        """Decode these records; `start` is the row of the first."""
        slow: Sequence[int] = range(len(records))
        if self.fast_path is not None:
            keys, values = records.keys, records.values
            opening, slow = self.fast_path.decode(keys, values, self.limits.max_event_bytes)
            for opened in opening.groups():
                self._take_opened(start, keys, values, opened)
        for first in range(0, len(slow), CHUNK):
            chunk = slow[first : first + CHUNK]
            self._take_slow([row_of(start + i) for i in chunk], [records[i] for i in chunk])

    def _take_opened(
        self,
        start: int,
        key_of: list[bytes | None],
        value_of: list[bytes | None],
        opened: Opened,
    ) -> None:
        """Make a part of events that templates have read."""
        while opened.index:
            seen = seen_of(opened.names) if opened.names else None
            keys = list(map(key_of.__getitem__, opened.index))
            judged = self.judge.judge(opened.kind, keys, opened.fields(), seen, is_opened=True)
            if not judged.bad:
                row = (np.array(opened.index, np.int64) + start) << ROW_BITS
                self.parts.append(self.convert.part(judged, row, opened.doubles or opened.values))
                return
            for i in sorted(judged.bad):
                at = opened.index[i]
                event = orjson.loads(value_of[at] or b"")
                self.faults.append((row_of(start + at), self._fault(event, keys[i])))
            opened = opened.take([i for i in range(len(keys)) if i not in judged.bad])

    def _take_slow(self, rows: list[int], records: list[Record]) -> None:
        """Decode records by the full rules."""
        arrow = [i for i, record in enumerate(records) if is_arrow(record.value)]
        for i in arrow:
            self._take_arrow(rows[i], records[i])
        if arrow:
            rest = sorted(set(range(len(rows))).difference(arrow))
            rows, records = [rows[i] for i in rest], [records[i] for i in rest]
        if not rows:
            return
        if self.fast_path is not None:
            self.fast_path.learn(records)
        if self._n_unlike <= self._n_alike + 1:
            if self._take_alike(rows, records):
                self._n_alike += 1
                return
            self._n_unlike += 1
        parsed = parse(rows, records, self.limits)
        self.faults += parsed.faults
        keys = list(map(itemgetter(3), records))
        if parsed.faults:
            key_of = dict(zip(rows, keys, strict=True))
            keys = [key_of[row] for row in parsed.row]
        self._take_events(_Group("", parsed.events, parsed.row, keys))

    def _take_alike(self, rows: list[int], records: list[Record]) -> bool:
        """Decode a chunk of alike predictions; False: it is none, and nothing is done."""
        values = list(map(itemgetter(4), records))
        try:
            if max(map(len, values)) > self.limits.max_event_bytes:
                return False
        except TypeError:  # no value
            return False
        alike = transpose_alike(cast("list[bytes]", values), _KNOWN["prediction"])
        n = len(records)
        if alike is None or alike.fields.column.get("type", []).count("prediction") != n:
            return False
        seen = self.convert.shapes.see_one(alike.shape, n)
        if seen is None:
            return False
        index = list(range(n))
        while index:
            keys = [records[i].key for i in index]
            judged = self.judge.judge("prediction", keys, alike.fields, seen)
            if not judged.bad:
                self.parts.append(
                    self.convert.part(
                        judged, np.array([rows[i] for i in index], np.int64), alike.values
                    )
                )
                break
            for i in sorted(judged.bad):
                event = orjson.loads(records[index[i]].value or b"")
                self.faults.append((rows[index[i]], self._fault(event, keys[i])))
            keep = [i for i in range(len(index)) if i not in judged.bad]
            index = [index[i] for i in keep]
            alike, seen = alike.take(keep), seen._replace(n=len(keep))
        return True

    def _take_arrow(self, row: int, record: Record) -> None:
        """Decode a record of many events; `row` is that of the first."""
        from schemas.arrow import events_of, open_stream  # noqa: PLC0415 - most workers see none
        from schemas.arrow_columns import quick  # noqa: PLC0415 - the same

        batches = open_stream(record.value or b"")
        if isinstance(batches, Fault):
            self.faults.append((row, batches))
            return
        for batch in batches:
            n = batch.num_rows
            columns = quick(batch)
            part = None if columns is None else self._quick_part(row, record.key, columns)
            if part is not None:
                self.parts.append(part)
            else:
                rows = list(range(row, row + n))
                self._take_events(_Group("", events_of(batch), rows, [record.key] * n))
            row += n

    def _quick_part(self, row: int, key: bytes | None, columns: Quick) -> Part | None:
        """The part of a batch; None: its place or its names are wrong, and nothing is done."""
        model_id, shard = columns.model_id, None if columns.shard < 0 else columns.shard
        seen = self.convert.shapes.see_one(columns.names, columns.n)
        if seen is None or fault_of_place(key, model_id, shard, self.judge.listed) is not None:
            return None
        place = (key, model_id, columns.model_version, columns.shard)
        self.convert.n_unknown_fields += columns.n_unknown
        return columns.part(
            row,
            model=self.judge.places.code(place),
            shape=self.convert.shapes.columns(seen),
            order=seen.order[0],
            classes=[*map(self.convert.classes.codes.code, columns.prediction.names)],
            categories=self.convert.categories.column(columns.categories),
            source=self.convert.sources(columns.sources, columns.source_of),
            event_id=self.convert.event_ids(columns.n, columns.event_ids),
        )

    def _take_events(self, group: _Group) -> None:
        """Decode parsed events of whatever types."""
        for of_type in self._by_type(group):
            self._take_group(of_type)

    def _by_type(self, group: _Group) -> list[_Group]:
        """The predictions and the labels; the others are faults."""
        types = [event.get("type") for event in group.events]
        groups = []
        for kind in RULES:
            if types.count(kind) == len(types) > 0:
                return [group._replace(kind=kind)]
            of_kind = [i for i, t in enumerate(types) if type(t) is str and t == kind]
            if of_kind:
                groups.append(group.take(of_kind)._replace(kind=kind))
        for row, event in zip(group.row, group.events, strict=True):
            fault = fault_of_type(event)
            if fault is not None:
                self.faults.append((row, fault))
        return groups

    def _take_group(self, group: _Group) -> None:
        """Make a part of the group's good events; note the faults of the others."""
        while group.events:
            fields = transpose(group.events, _KNOWN[group.kind])
            features = fields.column.get("features")
            seen = self.convert.shapes.see(features) if group.kind == "prediction" else None
            judged = self.judge.judge(group.kind, group.keys, fields, seen)
            if not judged.bad:
                values: list[Json] = []
                for i, of_event in enumerate(map(dict.values, features or ())):
                    indices = None if seen is None or seen.one is not None else seen.order[i]
                    values += of_event if indices is None else map([*of_event].__getitem__, indices)
                self.parts.append(self.convert.part(judged, np.array(group.row, np.int64), values))
                return
            for i in sorted(judged.bad):
                self.faults.append((group.row[i], self._fault(group.events[i], group.keys[i])))
            group = group.take([i for i in range(len(group.events)) if i not in judged.bad])

    def _fault(self, event: dict[str, Json], key: bytes | None) -> Fault:
        """The reason for an event that is known to have one."""
        fault = fault_of_event(event)
        if fault is None:
            listed = self.judge.listed
            fault = fault_of_place(key, event["model_id"], event.get("shard"), listed)
        assert fault is not None  # what found it were the same rules
        return fault
