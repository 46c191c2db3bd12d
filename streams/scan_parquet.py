"""The rows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types
import pyarrow.types as pt  # type: ignore[import-untyped]  # it ships no types

from schemas.records import Record
from streams.scan_columns import ColumnKind, Profile, ScanError
from streams.scan_events import EventMaker
from streams.scan_files import CHUNK_ROWS

_SAMPLE: Final = 100


class ParquetRows:
    """A Parquet file; its types are the file's own."""

    is_events = False

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self.notes: list[str] = []
        self.unreadable: list[tuple[int, str]] = []
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise ScanError(
                f"{path.name} is no whole Parquet file ({str(error).splitlines()[0]}): "
                "copy or write it again"
            ) from None
        self.n_rows: int = self._file.metadata.num_rows
        first = next(self._file.iter_batches(batch_size=_SAMPLE), None)
        self.profiles = [
            Profile(
                field.name,
                kind_of(field.type),
                []
                if first is None
                else [value for value in as_list(first.column(i)) if value is not None],
            )
            for i, field in enumerate(self._file.schema_arrow)
        ]

    def records(self, maker: EventMaker) -> Iterator[list[Record]]:
        """All rows as records, some thousands at a time."""
        plan = maker.plan
        wanted = [*dict.fromkeys([*plan.roles.values(), *plan.features])]
        row = 0
        for batch in self._file.iter_batches(batch_size=CHUNK_ROWS, columns=wanted):
            columns = {name: as_list(batch.column(name)) for name in wanted}
            if plan.unit == "moment":
                name = plan.roles["time"]
                columns[name] = _epoch_ms(batch.column(name))
            yield maker.of_columns(range(row, row + batch.num_rows), columns)
            row += batch.num_rows
        if row != self.n_rows:
            raise ScanError(
                f"{self._name} is damaged: it announces {self.n_rows:,} rows and holds {row:,}; "
                "copy or write it again"
            )


def kind_of(of: pa.DataType) -> ColumnKind:
    """What values of an Arrow type are to a scan."""
    if pt.is_dictionary(of):
        return kind_of(of.value_type)
    if pt.is_null(of) or pt.is_boolean(of) or pt.is_duration(of):
        return "number"
    if pt.is_integer(of) or pt.is_floating(of) or pt.is_decimal(of):
        return "number"
    if pt.is_string(of) or pt.is_large_string(of) or pt.is_string_view(of):
        return "text"
    if pt.is_time(of):
        return "text"
    return "time" if pt.is_timestamp(of) or pt.is_date(of) else "other"


def as_list(column: pa.Array) -> list[Any]:
    """The values as JSON has them, times as text; NaN stays and means missing."""
    of = column.type
    if pt.is_dictionary(of):
        return as_list(column.dictionary_decode())
    if pt.is_decimal(of) or pt.is_float16(of):
        column = column.cast(pa.float64())
    elif pt.is_duration(of):
        column = column.cast(pa.int64())
    elif pt.is_temporal(of):
        # Not as Python's own: a file may hold years that Python has not.
        column = column.cast(pa.string())
    values: list[Any] = column.to_pylist()
    return values


def _epoch_ms(column: pa.Array) -> list[int | None]:
    """The moments of a column of timestamps or dates; without a zone they are taken for UTC."""
    if pt.is_date(column.type):
        column = column.cast(pa.date64()).cast(pa.timestamp("ms"))
    zone = getattr(column.type, "tz", None)
    values: list[int | None] = (
        column.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64()).to_pylist()
    )
    return values
