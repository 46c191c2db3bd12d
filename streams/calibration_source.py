"""The rows of which a calibration is made: of files, which are read as `scan` reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from detectors.security.calibration_fit import CalibrationRows, Choice
from schemas.calibration import CalibrationDocument
from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.limits import DecodeLimits
from schemas.source_hash import SourceKey
from streams.scan import ScanOptions, in_order, open_scan
from streams.scan_events import TP, EventMaker
from streams.scan_files import readable
from streams.scan_story import opening_lines


def calibrate_files(
    files: Mapping[str, Path],
    options: ScanOptions,
    choice: Choice,
    source_key: SourceKey | None,
    *,
    say: Callable[[list[str]], None],
) -> CalibrationDocument:
    """Make a calibration of one file for each kind of client, "" for those of no kind.

    `say` takes what each file was taken for, and what was left out. Raises `ScanError`,
    `BadCalibrationError`.
    """
    detection = options.detection or DetectionConfig()
    rows = CalibrationRows(choice, detection, source_key)
    for kind, path in sorted(files.items()):
        _read(kind, path, options, rows, source_key, say)
    if rows.n_refused:
        say([f"  {rows.n_refused:,} values are of more features than `bounds.max_features` allows"])
    return rows.fit()


def _read(
    kind: str,
    path: Path,
    options: ScanOptions,
    rows: CalibrationRows,
    source_key: SourceKey | None,
    say: Callable[[list[str]], None],
) -> None:
    scan, source = open_scan(path, options, purpose="calibrate by")
    say([*([f"kind {kind}:"] if kind else []), *opening_lines(scan, use="left out")])
    maker = EventMaker(scan.plan, scan.model, scan.version)
    limits, fast_path = DecodeLimits.of(scan.detection), FastPath()
    n_refused, example = sum(each.n_rows for each in scan.refused.values()), ""
    if n_refused:
        example = next(iter(scan.refused.values())).detail
    with (
        readable(path),
        closing(in_order(source, maker, is_sorted=scan.is_sorted)) as chunks,
    ):
        for records in chunks:
            events, rejects = decode_records(TP, records, limits, source_key, None, fast_path)
            rows.take(kind, events)
            n_refused += len(rejects)
            if rejects and not example:
                example = rejects[0].detail
    if n_refused:
        say([f"  {'refused':<11} {n_refused:,} rows, such as: {example}"])
