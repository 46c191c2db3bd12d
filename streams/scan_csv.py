"""The rows of a CSV file, read twice: first for what its columns hold, then for its rows.

A column's type is that of all its values, never of the first block: whole numbers, numbers, true
and false, or text. In a column that mixes them each value is what it looks like.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.compute as pc  # type: ignore[import-untyped]  # it ships no types
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]  # it ships no types

from schemas.records import Record
from streams.scan_columns import Profile, ScanError
from streams.scan_events import EventMaker
from streams.scan_files import is_packed, open_bytes

Holds = Literal["nothing", "boolean", "integer", "number", "text", "mixed"]

_BLOCK_BYTES: Final = 4 * 1024 * 1024
_SAMPLE: Final = 100
_DELIMITERS: Final = ",;\t|"
_NUMBER: Final = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_MISSING: Final = [
    *("", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "NaN", "nan", "-nan", "None", "<NA>"),
]
"""What stands for a missing value."""
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True} | {
    "false": False,
    "False": False,
    "FALSE": False,
}


class CsvRows:
    """A CSV file with a line of names."""

    is_events = False

    def __init__(self, path: Path, *, delimiter: str | None, encoding: str) -> None:
        self._path = path
        self._encoding = "utf-8-sig" if encoding.lower() in {"utf8", "utf-8"} else encoding
        self.notes: list[str] = []
        self.unreadable: list[tuple[int, str]] = []
        self._names, self._delimiter = self._head(delimiter)
        self._holds: dict[str, Holds] = dict.fromkeys(self._names, "nothing")
        self._bad: list[int] = []
        self.n_rows = 0
        samples: dict[str, list[Any]] = {name: [] for name in self._names}
        with closing(self._batches(first_pass=True)) as batches:
            for rows, batch in batches:
                for name, column in zip(self._names, batch.columns, strict=True):
                    if len(samples[name]) < _SAMPLE:
                        samples[name] += [v for v in column.slice(0, _SAMPLE).to_pylist() if v]
                    self._learn(name, rows, column)
                self.n_rows += batch.num_rows
        self.n_rows += len(self._bad)
        if len(self._bad) * 2 > self.n_rows:
            raise ScanError(
                f"most rows of {path.name} have not as many values as there are names "
                f"({len(self._names)}, taken apart at {self._delimiter!r}): name what parts the "
                "values with --delimiter"
            )
        self.profiles = [
            self._profile(name, pa.array(samples[name], pa.string())) for name in self._names
        ]

    def records(self, maker: EventMaker) -> Iterator[list[Record]]:
        """All rows as records, a few megabytes of the file at a time."""
        plan = maker.plan
        wanted = [*dict.fromkeys([*plan.roles.values(), *plan.features])]
        with closing(self._batches(first_pass=False)) as batches:
            for rows, batch in batches:
                columns = {
                    name: values_of(batch.column(self._names.index(name)), self._holds[name])
                    for name in wanted
                }
                yield maker.of_columns(rows, columns)

    def _head(self, delimiter: str | None) -> tuple[list[str], str]:
        """The names in the first line, and what parts them."""
        with (
            open_bytes(self._path) as file,
            TextIOWrapper(file, self._encoding, newline="") as text,
        ):
            line = text.readline(1_000_000)
            if delimiter is None:
                delimiter = max(_DELIMITERS, key=line.count)
            lines = [line, *(text.readline(1_000_000) for _ in range(20))]
        try:
            names = next(csv.reader(lines, delimiter=delimiter), [])
        except csv.Error as error:
            raise ScanError(
                f"the first line of {self._path.name} holds no column names ({error}): is it a "
                "CSV file? --format says what it is"
            ) from None
        if not names:
            raise ScanError(
                f"the first line of {self._path.name} is empty: put the column names there"
            )
        if names and all(re.match(_NUMBER, name) for name in names):
            raise ScanError(
                f"the first line of {self._path.name} holds values, not names: add a line of "
                "column names"
            )
        return names, delimiter

    def _batches(
        self, *, first_pass: bool
    ) -> Generator[tuple[list[int], pa.RecordBatch], None, None]:
        """The row numbers and the columns, all of text."""

        def unfit(row: pa_csv.InvalidRow) -> Literal["skip"]:
            if first_pass:
                # It counts from 1, with the line of names.
                self._bad.append(row.number - 2)
                self.unreadable.append(
                    (
                        row.number - 2,
                        f"{row.actual_columns} values for {row.expected_columns} names",
                    )
                )
            return "skip"

        read_options = pa_csv.ReadOptions(
            # Only one thread knows the numbers of the rows that are left out.
            use_threads=False,
            block_size=_BLOCK_BYTES,
            column_names=[str(i) for i in range(len(self._names))],
            skip_rows_after_names=1,
            encoding="utf8" if self._encoding == "utf-8-sig" else self._encoding,
        )
        parse_options = pa_csv.ParseOptions(
            delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=unfit
        )
        convert_options = pa_csv.ConvertOptions(
            column_types={str(i): pa.string() for i in range(len(self._names))},
            null_values=_MISSING,
            strings_can_be_null=True,
        )
        # Closed whatever happens, the reader first: it reads ahead in a thread.
        with (
            _stream(self._path) as stream,
            pa_csv.open_csv(stream, read_options, parse_options, convert_options) as reader,
        ):
            row = 0
            for batch in reader:
                rows, row = self._numbers(row, batch.num_rows)
                if rows:
                    yield rows, batch

    def _numbers(self, row: int, n: int) -> tuple[list[int], int]:
        """The numbers of n rows from `row` on, and of the next: those left out are passed over."""
        if not self._bad:
            return list(range(row, row + n)), row + n
        n_bad = len(self._bad)
        numbers = np.setdiff1d(np.arange(row, row + n + n_bad), np.array(self._bad))[:n].tolist()
        return numbers, (numbers[-1] + 1 if numbers else row)

    def _learn(self, name: str, rows: list[int], column: pa.Array) -> None:
        """Widen what the column is known to hold, so that it fits these values too."""
        before = self._holds[name]
        if before == "mixed" or column.null_count == len(column):
            return
        known = column.drop_null()
        fits = [held for held in _WIDER[before] if _holds(known, held)]
        after: Holds = fits[0] if fits else "mixed"
        if after == "mixed" and before in {"integer", "number"}:
            odd = pc.fill_null(pc.invert(pc.match_substring_regex(column, _NUMBER)), False)
            self.notes.append(
                f"`{name}` holds numbers, but not in row {rows[pc.index(odd, True).as_py()]:,}: "
                "what is no number there counts as missing"
            )
        self._holds[name] = after

    def _profile(self, name: str, sample: pa.Array) -> Profile:
        values = [v for v in values_of(sample, self._holds[name]) if v is not None]
        is_text = 2 * sum(isinstance(value, str) for value in values) > len(values)
        return Profile(name, "text" if is_text else "number", values)


@contextmanager
def _stream(path: Path) -> Iterator[pa.NativeFile]:
    """The content for Arrow, unpacked.

    A thread of Arrow's that wants the interpreter when this is about to end would abort the
    process. It does so for every file of Python's: hence a plain one is Arrow's own.
    """
    if is_packed(path):
        with open_bytes(path) as file, pa.PythonFile(file, "r") as stream:
            yield stream
    else:
        with pa.OSFile(os.fsencode(path)) as stream:
            yield stream


_WIDER: Final[dict[Holds, tuple[Holds, ...]]] = {
    "nothing": ("boolean", "integer", "number", "text"),
    "boolean": ("boolean",),
    "integer": ("integer", "number"),
    "number": ("number",),
    "text": ("text",),
}
"""What a column may turn out to hold; if none of it fits, it is mixed."""


def _holds(column: pa.Array, holds: Holds) -> bool:
    """Whether all values, of which none is missing, are of this type."""
    if holds == "boolean":
        return bool(pc.all(pc.is_in(column, pa.array(list(_BOOLEANS)))).as_py())
    if holds == "text":
        looks_else = pc.or_(
            pc.match_substring_regex(column, _NUMBER), pc.is_in(column, pa.array(list(_BOOLEANS)))
        )
        return not pc.any(looks_else).as_py()
    try:
        _numbers(column, holds)
    except pa.ArrowInvalid:
        return False
    return True


def _numbers(column: pa.Array, holds: Holds) -> pa.Array:
    """Text as numbers. Raises `ArrowInvalid` where a value is none."""
    of = pa.int64() if holds == "integer" else pa.float64()
    try:
        return column.cast(of)
    except pa.ArrowInvalid:
        return pc.utf8_trim_whitespace(column).cast(of)


def values_of(column: pa.Array, holds: Holds) -> list[Any]:
    """The values of a column of text that holds what was learned of it."""
    if holds in {"integer", "number"}:
        values: list[Any] = _numbers(column, holds).to_pylist()
        return values
    values = column.to_pylist()
    if holds == "boolean":
        return [None if value is None else _BOOLEANS[value] for value in values]
    return values if holds == "text" else [_any(value) for value in values]


def _any(value: str | None) -> object:
    """What one value of a mixed column looks like."""
    if value is None or not re.match(_NUMBER, value):
        return None if value is None else _BOOLEANS.get(value, value)
    try:
        number = int(value)
    except ValueError:
        return float(value)
    # A JSON event has 64 bits for it; beyond them a number is a double, as in a column of numbers.
    return number if -(1 << 63) <= number < 1 << 63 else float(value)
