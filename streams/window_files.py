"""Rows to train on as a file: NDJSON or Parquet. It is there whole, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import orjson
import pyarrow as pa  # type: ignore[import-untyped]  # it comes without type hints
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # the same

from schemas.batch import ValueKind
from schemas.events import classify
from streams.window_facts import Value
from streams.window_rows import TrainingRow

MAX_COLUMNS: Final = 10_000
"""Features of a Parquet file: each is a column of its own."""
_ROWS_AT_ONCE: Final = 10_000
"""Of a row group, which is in memory as a whole."""
_INT64: Final = range(-(2**63), 2**63)

Kinds = set[ValueKind]
Writer = Callable[[Iterable[TrainingRow], Path], int]


class UnfitError(Exception):
    """The rows cannot be written in this form; the message says why, and what to do."""


def writer_of(path: Path) -> Writer | None:
    """What writes a file of this name; None: its name says no form that is known."""
    return WRITERS.get(path.suffix.lower())


def write_ndjson(rows: Iterable[TrainingRow], path: Path) -> int:
    """One JSON object a line; returns how many. Raises `OSError`."""
    with _whole(path) as temporary, temporary.open("wb") as file:
        return _write_lines(rows, file)


def write_parquet(rows: Iterable[TrainingRow], path: Path) -> int:
    """Features as columns `features.NAME`; returns how many rows. Raises `OSError`, `UnfitError`.

    A column's type follows from all of its values, so rows wait in a file beside it until all are
    known.
    """
    with _whole(path) as temporary, _beside(path) as lines:
        columns = _Columns()
        with lines.open("wb") as file:
            n = _write_lines(map(columns.seen, rows), file)
        schema = columns.schema()
        with lines.open("rb") as file, pq.ParquetWriter(temporary, schema) as out:
            for documents in _in_pieces(file):
                out.write_table(_table(documents, schema))
        return n


WRITERS: Final[dict[str, Writer]] = {".ndjson": write_ndjson, ".parquet": write_parquet}


class _Columns:
    """What values the columns have whose types nobody has told."""

    def __init__(self) -> None:
        self._features: Final[dict[str, Kinds]] = {}
        self._outcomes: Final[set[type]] = set()
        self._is_wide = False

    def seen(self, row: TrainingRow) -> TrainingRow:
        for name, value in row.features.items():
            kinds = self._features.get(name)
            if kinds is None:
                kinds = self._features[name] = set()
                if len(self._features) > MAX_COLUMNS:
                    raise UnfitError(
                        f"the events have more than {MAX_COLUMNS:,} features of different names, "
                        "and each would be a column: export to .ndjson"
                    )
            if value is not None:
                kinds.add(classify(value))
        for value in (row.prediction, row.label):
            self._outcomes.add(type(value))
            self._is_wide |= type(value) is int and value not in _INT64
        return row

    def schema(self) -> pa.Schema:
        outcome = self._outcome()
        return pa.schema(
            [
                ("event_id", pa.string()),
                ("ts", pa.timestamp("ms", "UTC")),
                ("model_version", pa.string()),
                *(
                    (f"features.{name}", _type_of(self._features[name]))
                    for name in sorted(self._features)
                ),
                ("prediction", outcome),
                ("score", pa.float64()),
                ("label", outcome),
            ]
        )

    def _outcome(self) -> pa.DataType:
        """Of predictions and labels alike, so that they compare."""
        of = self._outcomes - {type(None)}
        if of == {int} and not self._is_wide:
            return pa.int64()
        if of == {bool}:
            return pa.bool_()
        return pa.float64() if of and of <= {int, float} and float in of else pa.string()


def _type_of(kinds: Kinds) -> pa.DataType:
    """Of a feature: numbers are doubles, as they are monitored; of several kinds, text."""
    if kinds <= {ValueKind.NUMBER}:
        return pa.float64()
    return pa.bool_() if kinds == {ValueKind.BOOLEAN} else pa.string()


def _table(documents: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name.startswith("features."):
            name = field.name.removeprefix("features.")
            values = [document["features"].get(name) for document in documents]
        else:
            values = [document[field.name] for document in documents]
        columns.append(pa.array([_as(field.type, value) for value in values], field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _as(kind: pa.DataType, value: Value) -> Value:
    """A value as its column has it; in one of text what is none is written as JSON writes it."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    return float(value) if pa.types.is_float64(kind) else value


def _write_lines(rows: Iterable[TrainingRow], file: IO[bytes]) -> int:
    n = 0
    for row in rows:
        file.write(row.as_json())
        n += 1
    return n


def _in_pieces(lines: Iterable[bytes]) -> Iterator[list[dict[str, Any]]]:
    piece: list[dict[str, Any]] = []
    for line in lines:
        piece.append(orjson.loads(line))
        if len(piece) == _ROWS_AT_ONCE:
            yield piece
            piece = []
    if piece:
        yield piece


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` once it is on disk as a whole."""
    with _beside(path) as temporary:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name in the same folder that nobody else has, and no file of it in the end."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
