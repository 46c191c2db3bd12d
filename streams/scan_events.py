"""From a file's rows to the records that a topic with these events would hold.

Offset is row number, key is the model, timestamp is the event's time: the worker then cannot tell a
file from a topic. A row that is no event is not judged here: the decoder refuses it, as ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from math import isfinite
from typing import Any, Final

import orjson

from schemas.batch import Decoded
from schemas.field_rules import Json
from schemas.limits import MAX_TS_MS
from schemas.records import Record, TopicPartition
from streams.scan_columns import Plan, Role
from streams.scan_time import to_ms

TP: Final = TopicPartition("file", 0)
"""What stands for the topic and the partition of a file."""


class EventMaker:
    """Makes the records of one file, row by row in its order.

    `model_id` and `model_version` are those of every row for which no column says. With
    `with_labels` the label of a row, where it has one, is an event of its own behind it: record
    2 i + 1, and that of row i is record 2 i. Else the record of a row has its number.
    """

    def __init__(
        self, plan: Plan, model_id: str, model_version: str, *, with_labels: bool = False
    ) -> None:
        self.plan = plan
        self.model_id = model_id
        self.model_version = model_version
        self.n_backward = 0
        """How many rows have an earlier time than the row before."""
        self.first_backward_row = -1
        self._previous_ms = -1
        self._unit = plan.unit
        self._has_labels = with_labels and "label" in plan.roles
        self._stride = 2 if self._has_labels else 1
        self._has_model = "model_id" in plan.roles
        self._has_version = "model_version" in plan.roles
        self._has_source = "source" in plan.roles
        self._not_features = {*plan.roles.values(), *plan.left_out}
        self._slices = plan.slices

    def of_columns(self, rows: Sequence[int], columns: Mapping[str, list[Any]]) -> list[Record]:
        """The records of some rows, given as the columns that the plan needs."""

        def column(role: Role) -> Iterable[Any]:
            name = self.plan.roles.get(role)
            return repeat(None, len(rows)) if name is None else columns[name]

        names = self.plan.features
        values = zip(*(columns[name] for name in names), strict=True)
        records = map(
            self._record,
            rows,
            column("time"),
            column("event_id"),
            column("model_id"),
            column("model_version"),
            column("prediction"),
            column("score"),
            [dict(zip(names, of_row, strict=True)) for of_row in values]
            if names
            else [{} for _ in rows],
            column("source"),
        )
        if not self._has_labels:
            return list(records)
        return [
            record
            for of_row in zip(records, column("label"), strict=True)
            for record in self._with_label(*of_row)
        ]

    def of_line(self, row: int, line: bytes) -> list[Record]:
        """The records of one line of JSON: an event as it is, any other object as columns."""
        try:
            row_object = orjson.loads(line)
        except (ValueError, RecursionError):
            row_object = None
        if type(row_object) is not dict:
            return [Record(TP, row * self._stride, row + 1, None, line)]
        if self.plan.as_events or is_event(row_object):
            ms = to_ms(row_object.get("ts"), "text")
            self._note_time(row, ms)
            return [Record(TP, row * self._stride, _record_ms(ms, row), _key(row_object), line)]
        row_object = flat(row_object)
        if self.plan.only_features:
            features = {name: row_object.get(name) for name in self.plan.features}
        else:
            features = {
                name: value for name, value in row_object.items() if name not in self._not_features
            }
        record = self._record(
            row,
            self._of_role("time", row_object),
            self._of_role("event_id", row_object),
            self._of_role("model_id", row_object),
            self._of_role("model_version", row_object),
            self._of_role("prediction", row_object),
            self._of_role("score", row_object),
            features,
            self._of_role("source", row_object),
        )
        if not self._has_labels:
            return [record]
        return self._with_label(record, self._of_role("label", row_object))

    @property
    def stride(self) -> int:
        """Offsets a row."""
        return self._stride

    def row_of(self, offset: int) -> int:
        """The row of the record at this offset."""
        return offset // self._stride

    def by_row(self, events: Decoded) -> Decoded:
        """The events with the rows of the file as their offsets."""
        if self._stride == 1:
            return events
        return replace(events, offset=events.offset // self._stride)

    def _with_label(self, record: Record, label: Json) -> list[Record]:
        if name_of(label) is None or not record.key:
            return [record]
        if isinstance(label, float) and not isfinite(label):
            # It means missing, as in every column: a label that never came.
            return [record]
        row = self.row_of(record.offset)
        event = {
            "type": "label",
            "event_id": _row_name(row),
            "model_id": record.key.decode(),
            "ts": record.timestamp_ms,
            "label": label,
        }
        return [record, record._replace(offset=record.offset + 1, value=orjson.dumps(event))]

    def _of_role(self, role: Role, row_object: Mapping[str, Json]) -> Json:
        name = self.plan.roles.get(role)
        return None if name is None else row_object.get(name)

    def _record(
        self,
        row: int,
        time: Json,
        event_id: Json,
        model_id: Json,
        model_version: Json,
        prediction: Json,
        score: Json,
        features: dict[str, Json],
        source: Json,
    ) -> Record:
        # Without a time, a row a second: as a model whose events do not say is taken.
        ts = row * 1_000 if self._unit is None else to_ms(time, self._unit)
        self._note_time(row, ts)
        for name in self._slices:
            features[name] = _group(features.get(name))
        model = name_of(model_id) if self._has_model else self.model_id
        version = name_of(model_version) if self._has_version else self.model_version
        event = {
            "type": "prediction",
            # No two rows are told apart by it, so that a row without one is no worse; but a label
            # is that of its own row, whatever rows share a name.
            "event_id": (not self._has_labels and name_of(event_id)) or _row_name(row),
            "model_id": model,
            "model_version": version,
            "ts": ts,
            "features": features,
            "prediction": prediction,
            "score": score,
        }
        if self._has_source:
            event["source"] = name_of(source)
        offset, ms = row * self._stride, _record_ms(ts, row)
        return Record(TP, offset, ms, (model or "").encode(), orjson.dumps(event))

    def _note_time(self, row: int, ms: Json) -> None:
        if type(ms) is int:
            if ms < self._previous_ms:
                self.n_backward += 1
                if self.first_backward_row < 0:
                    self.first_backward_row = row
            self._previous_ms = ms


def is_event(row_object: Mapping[str, Json]) -> bool:
    """Whether an object is meant as one of driftsentry's own events."""
    return row_object.get("type") in ("prediction", "label") and (
        type(row_object.get("features")) is dict or "label" in row_object
    )


def flat(row_object: dict[str, Json]) -> dict[str, Json]:
    """The object with the names in its `features`, if it has such, beside its own."""
    features = row_object.get("features")
    if type(features) is not dict:
        return row_object
    return features | {name: v for name, v in row_object.items() if name != "features"}


def name_of(value: Json) -> str | None:
    """An id as a string: a whole number without a point, None where there is none."""
    if isinstance(value, float):
        if value != value:  # noqa: PLR0124  NaN, as pandas writes what is missing
            return None
        return str(int(value)) if value.is_integer() else str(value)
    return None if value is None else str(value)


def _group(value: Json) -> Json:
    """What says which group a row is in: a number as text."""
    return value if value is None or isinstance(value, str | bool) else name_of(value)


def _row_name(row: int) -> str:
    return f"row-{row}"


def _key(event: Mapping[str, Json]) -> bytes:
    """The key its producer would give it."""
    shard = event.get("shard")
    model_id = str(event.get("model_id"))
    return (model_id if shard is None else f"{model_id}/{shard}").encode()


def _record_ms(ts: Json, row: int) -> int:
    """A record's timestamp, which Kafka has positive: the event's, or the place of the row."""
    return ts if type(ts) is int and 0 < ts <= MAX_TS_MS else row + 1
