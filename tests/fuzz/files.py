"""Targets: the files that `driftsentry scan` reads, whatever they are called."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types

from streams.scan import ScanOptions
from streams.scan_columns import ScanError, Wishes
from streams.scan_files import Format
from tests.fuzz.target import Target, directory, must, written
from tests.schemas.samples import LABEL, PREDICTION
from tests.streams.scan_kit import (
    Table,
    scanned,
    shifting_table,
    write_csv,
    write_ndjson,
    write_parquet,
)

TABLE = shifting_table(24, shift_at=12)
ODD: dict[str, Any] = {
    "Event Time": ["2026-03-01T12:00:00Z", "2026-03-01 12:00", "", "1969-01-01"],
    "model_id": ["m", "n", "", "m"],
    "model_version": [1, 2, 1, 1],
    "id": ["a", "b", "a", ""],
    "x": ["1", "", "abc", "true"],
    "class": ["a", "b", "a", "b"],
}


def runner(kind: Format | None, name: str) -> Callable[[bytes], None]:
    """A whole scan of a file with this content: `ScanError`, or every row folded or refused."""

    def run(content: bytes) -> None:
        path = written(content, name)
        options = ScanOptions(
            format=kind,
            wishes=Wishes(drop=("z",)) if content[-1:] == b" " else Wishes(),
            sort=content[-2:] == b"  ",
            n_reference=20,
        )
        try:
            scan, _ = scanned(path, options)
        except ScanError as error:
            must(str(error), "an error without words")
            return
        n_refused = sum(refused.n_rows for refused in scan.refused.values())
        must(scan.n_folded + n_refused == scan.n_rows, "a row is lost")

    return run


def contents(write: Callable[..., object], name: str, *tables: Table) -> list[bytes]:
    """These tables as files."""
    found = []
    for table in tables:
        path = directory() / name
        write(path, table)
        found.append(path.read_bytes())
    return found


def csv_seeds() -> list[bytes]:
    return [
        *contents(write_csv, "seed.csv", TABLE, ODD),
        b"a;b\n1;2\n3;x\n",
        b"a\tts\n1e5\t1790000000\n,\n7\t1790000001\n",
        b'a,"b\nc"\n"1","2\n3"\n4\n',
        gzip.compress(b"a,b\n1,2\n", mtime=0),
        b"PK\x03\x04",
    ]


def ndjson_seeds() -> list[bytes]:
    return [
        *contents(write_ndjson, "seed.ndjson", TABLE, ODD),
        b"\n".join(map(orjson.dumps, (PREDICTION, LABEL))),
        b'{"a":1,"features":{"b":[1],"c":null}}\n\n[1]\n{"a":"x"}',
    ]


def parquet_seeds() -> list[bytes]:
    def write(path: object, table: Table) -> None:
        pq.write_table(
            pa.table(dict(table)), path, compression="none", write_statistics=False, version="1.0"
        )

    small: dict[str, Any] = {
        "ts": [1_790_000_000_000, 1_790_000_001_000],
        "x": [0.5, None],
        "s": ["a", "b"],
    }
    nested: dict[str, Any] = {
        "a.b": [1, 2],
        "a": [{"b": 1}, None],
        "flag": [True, None],
        "l": [[1], []],
    }
    return [
        *contents(write, "seed.parquet", small, nested),
        *contents(write_parquet, "seed.parquet", small),
    ]


WORDS = (
    *(b"ts", b"model_id", b"prediction", b"score", b"label", b"event_id", b"true", b"NaN", b"null"),
    *(b"99999999999999999999", b"1e400", b"-0.0", b"2026-03-01T12:00:00Z", b"1790000000", b"\r\n"),
)
TARGETS = (
    Target("csv", runner("csv", "table.csv"), csv_seeds, (*WORDS, b'"', b'""', b"\xef\xbb\xbf")),
    Target(
        "ndjson",
        runner("ndjson", "table.ndjson"),
        ndjson_seeds,
        (*WORDS, b'{"a":', b"}\n{", b"[[[[", b"\\ud800", b'"features":{', b'"type":"label"'),
    ),
    Target("parquet", runner("parquet", "table.parquet"), parquet_seeds, (b"PAR1", b"\xff\xff")),
    Target("file", runner(None, "table.dat"), lambda: [*csv_seeds(), *ndjson_seeds()], WORDS),
)
