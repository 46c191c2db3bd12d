"""What kind of file it is, by its first bytes, and its rows as records."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Literal, Protocol, cast

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types

from schemas.records import Record
from streams.scan_columns import Profile, ScanError
from streams.scan_events import EventMaker

Format = Literal["csv", "ndjson", "parquet"]

CHUNK_ROWS: Final = 4_096
"""How many rows are held at a time."""

_N_FIRST_BYTES: Final = 4_096
_GZIP: Final = b"\x1f\x8b"
_OTHERS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"PK\x03\x04", "a zip archive (an Excel workbook is one): unpack it, or save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save it as CSV"),
    (b"ARROW1", "an Arrow or Feather file: save it as Parquet"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first (unzstd)"),
    (b"BZh", "compressed with bzip2: unpack it first (bunzip2)"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first (unxz)"),
    (b"\x80\x04\x95", "a Python pickle: save it as Parquet"),
    (b"\x80\x05\x95", "a Python pickle: save it as Parquet"),
    (b"SQLite format 3", "an SQLite database: export a table as CSV"),
    (b"\x89HDF", "an HDF5 file: save it as Parquet"),
    (b"%PDF", "a PDF document: give a table of rows"),
)


class RowSource(Protocol):
    """The rows of a file, in order."""

    n_rows: int
    """How many there are."""
    profiles: list[Profile]
    notes: list[str]
    """What should be said of the file."""
    unreadable: list[tuple[int, str]]
    """Rows that cannot even be made an event, and why."""
    is_events: bool
    """Whether the rows are driftsentry's own events, so that there is nothing to guess."""

    def records(self, maker: EventMaker) -> Iterator[list[Record]]:
        """All rows as records, some at a time."""
        ...


def open_rows(
    path: Path, *, wanted: Format | None = None, delimiter: str | None = None, encoding: str
) -> RowSource:
    """Look at the whole file once. Raises `ScanError` where it cannot be scanned."""
    # Imported here: each needs the other for its types.
    from streams.scan_csv import CsvRows  # noqa: PLC0415
    from streams.scan_ndjson import NdjsonRows  # noqa: PLC0415
    from streams.scan_parquet import ParquetRows  # noqa: PLC0415

    with readable(path):
        kind = wanted or format_of(path)
        if kind == "parquet":
            return ParquetRows(path)
        if kind == "ndjson":
            return NdjsonRows(path)
        return CsvRows(path, delimiter=delimiter, encoding=encoding)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever goes wrong with reading the file inside the block becomes a `ScanError`."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ScanError(
            f"{path.name} is cut off or damaged within its gzip compression ({error}): "
            "copy it again"
        ) from None
    except pa.ArrowException as error:
        why = _first_line(error)
        if "straddling" in why:
            why = "a row is longer than what is read at a time: shorten its longest value"
        raise ScanError(f"{path.name} cannot be read: {why}") from None
    except UnicodeError as error:
        raise not_text(path, str(error)) from None
    except OSError as error:
        why = error.strerror or _first_line(error)
        remedy = "check the path" if isinstance(error, FileNotFoundError) else "check the file"
        raise ScanError(f"cannot read {path}: {why}; {remedy}") from None


def not_text(path: Path, why: str) -> ScanError:
    """The error of a text in another encoding than was said."""
    return ScanError(
        f"{path.name} is not text in the encoding it should be in ({why}): name its encoding "
        "with --encoding, such as latin-1 or utf-16"
    )


def format_of(path: Path) -> Format:
    """What a file holds, whatever it is called. Raises `ScanError` for what is none of the three.

    OSError where it cannot be read.
    """
    if path.is_dir():
        raise ScanError(f"{path} is a directory: name one file in it")
    if path.exists() and not path.is_file():
        raise ScanError(
            f"{path} is a pipe or a device, and a scan reads a file twice: write it to a file first"
        )
    with path.open("rb") as file:
        first = file.read(_N_FIRST_BYTES)
    for magic, what in _OTHERS:
        if first.startswith(magic):
            raise ScanError(f"{path.name} is {what}")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if first.startswith(b"PAR1"):
        return "parquet"
    if suffixes[-1:] in ([".parquet"], [".pq"]):
        why = "is empty" if not first else "does not begin as one"
        raise ScanError(
            f"{path.name} is called a Parquet file and {why}: write it again, or say what it is "
            "with --format csv or --format ndjson"
        )
    if first.startswith(_GZIP):
        with gzip.open(path) as unpacked:
            first = unpacked.read(_N_FIRST_BYTES)
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise ScanError(f"{path.name} is empty: it has no line of names and no row")
    if text.startswith(b"["):
        raise ScanError(
            f"{path.name} looks like one JSON array: write one object a line, such as with "
            "`jq -c '.[]'`"
        )
    return "ndjson" if text.startswith(b"{") else "csv"


def open_bytes(path: Path) -> IO[bytes]:
    """The file's content, unpacked where it is packed with gzip."""
    return cast("IO[bytes]", gzip.open(path)) if is_packed(path) else path.open("rb")


def is_packed(path: Path) -> bool:
    """Whether the file is packed with gzip."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def model_name(path: Path) -> str:
    """What a model is called for which nothing else is said: the file's name without endings."""
    return path.name.split(".")[0][:256] or "model"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
