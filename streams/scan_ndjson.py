"""The rows of a file with one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson

from schemas.field_rules import Json
from schemas.records import Record
from streams.scan_columns import ColumnKind, Profile, ScanError
from streams.scan_events import EventMaker, flat, is_event
from streams.scan_files import CHUNK_ROWS, open_bytes

_SAMPLE: Final = 1_000
"""How many first lines say which columns there are; a name that comes later is a feature."""
_MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class NdjsonRows:
    """A file of lines; each is an event of driftsentry's own, or an object of columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notes: list[str] = []
        self.unreadable: list[tuple[int, str]] = []
        self.n_rows = 0
        samples: dict[str, list[Json]] = {}
        n_objects = n_events = 0
        for line in self._lines():
            self.n_rows += 1
            if self.n_rows > _SAMPLE:
                continue
            row_object = _object(line)
            if row_object is None:
                continue
            n_objects += 1
            if is_event(row_object):
                n_events += 1
                continue
            for name, value in flat(row_object).items():
                of_name = samples.setdefault(name, [])
                if value is not None:
                    of_name.append(value)
        if not n_objects:
            raise ScanError(
                f"{path.name}: none of its first lines is a JSON object: write one object a line, "
                "without NaN and Infinity (pandas: df.to_json(orient='records', lines=True))"
            )
        self.profiles = [Profile(name, _kind(values), values) for name, values in samples.items()]
        self.is_events = 2 * n_events > n_objects

    def records(self, maker: EventMaker) -> Iterator[list[Record]]:
        """All lines as records, some thousands at a time; empty lines have no number."""
        chunk: list[Record] = []
        for row, line in enumerate(self._lines()):
            chunk += maker.of_line(row, line)
            if len(chunk) >= CHUNK_ROWS:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _lines(self) -> Iterator[bytes]:
        with open_bytes(self._path) as file:
            is_first = True
            while line := file.readline(_MAX_LINE_BYTES):
                if len(line) == _MAX_LINE_BYTES:
                    raise ScanError(
                        f"{self._path.name} has a line of more than {_MAX_LINE_BYTES} bytes: "
                        "write one object a line"
                    )
                if is_first:
                    line, is_first = line.removeprefix(_BOM), False
                line = line.strip()
                if line:
                    yield line


def _object(line: bytes) -> dict[str, Json] | None:
    try:
        row_object = orjson.loads(line)
    except (ValueError, RecursionError):
        return None
    return row_object if type(row_object) is dict else None


def _kind(values: list[Json]) -> ColumnKind:
    types = set(map(type, values))
    if types <= {int, float, bool}:
        return "number"
    return "other" if types <= {dict, list} else "text"
