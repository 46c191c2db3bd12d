"""Tables as files: the same rows as CSV, NDJSON and Parquet."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types

from streams.scan import Scan, ScanOptions, open_scan, run_scan

Table = Mapping[str, Sequence[Any]]


def shifting_table(n: int, *, shift_at: int, shift: float = 2.0, seed: int = 7) -> dict[str, Any]:
    """n predictions whose feature x shifts at row `shift_at`."""
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    return {
        "ts": [1_790_000_000_000 + 1_000 * i for i in range(n)],
        "x": (rng.normal(size=n) + shift * (np.arange(n) >= shift_at)).tolist(),
        "z": [float(v) if rng.random() > 0.05 else None for v in rng.normal(size=n)],
        "plan": [("basic", "plus")[int(k)] for k in rng.integers(0, 2, n)],
        "prediction": (score > 0.5).astype(int).tolist(),
        "score": score.tolist(),
    }


def rows_of(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def write_csv(path: Path, table: Table, *, delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


def write_ndjson(path: Path, table: Table) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows_of(table)))
    return path


def write_parquet(path: Path, table: Table) -> Path:
    pq.write_table(pa.table(dict(table)), path)
    return path


def packed(path: Path) -> Path:
    """The same file, packed with gzip."""
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


def scanned(path: Path, options: ScanOptions | None = None) -> tuple[Scan, list[bytes]]:
    """A whole scan, and its alert records."""
    scan, source = open_scan(path, options or ScanOptions())
    values: list[bytes] = []
    run_scan(scan, source, on_alert=values.append)
    return scan, values
