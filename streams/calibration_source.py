"""The rows of which a calibration is made: of files, or of the events topic; both read only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np

from detectors.security.banks import kinds_by_words
from detectors.security.calibration_fit import CalibrationRows, Choice
from schemas.calibration import BadCalibrationError, CalibrationDocument
from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.limits import DecodeLimits
from schemas.records import TopicPartition
from schemas.source_hash import SourceKey
from streams.audit_reader import AuditReader
from streams.config import Settings
from streams.kafka_properties import read_properties
from streams.past import taken
from streams.scan import ScanOptions, in_order, open_scan
from streams.scan_events import TP, EventMaker
from streams.scan_files import readable
from streams.scan_story import opening_lines

LEAST_ROWS: Final = 200
"""What the least demanding detector needs."""
PATIENCE_S: Final = 60.0


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
    remedy = "take longer files, or more of them with --events, --since or --until"
    return _fitted(rows, "the files have", remedy, say)


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


def calibrate_topic(
    settings: Settings,
    detection: DetectionConfig,
    choice: Choice,
    source_key: SourceKey | None,
    ranges: Mapping[int, tuple[int, int]],
    *,
    say: Callable[[list[str]], None],
) -> CalibrationDocument:
    """Make a calibration of the events that the topic has now, committed ones only.

    `ranges` are the first and last offset of each partition that is looked at; without any it is
    all of it. Of a model that several partitions hold, the one that has most of its rows is used.
    Whose rows are of which kind the config says. Raises `LogError`, `KafkaException`,
    `BadCalibrationError`.
    """
    topic = settings.topics.events
    reader = AuditReader(
        settings.bootstrap_servers,
        settings.topics,
        group=settings.group,
        kafka_properties=read_properties(settings.kafka),
        patience_s=PATIENCE_S,
    )
    best = CalibrationRows(choice, detection, source_key)
    holders: list[str] = []
    try:
        known = reader.partitions(topic)
        if missing := sorted(set(ranges) - set(known)):
            raise BadCalibrationError(f"the topic {topic} has no partition {missing[0]}")
        for number in sorted(ranges) or known:
            tp = TopicPartition(topic, number)
            rows = CalibrationRows(choice, detection, source_key)
            _read_partition(reader, tp, ranges.get(number), rows, detection, source_key)
            if rows.n_rows:
                holders.append(f"{rows.n_rows:,} in partition {number}")
            rows.names.update(best.names)
            best.names.update(rows.names)
            if rows.n_rows > best.n_rows:
                best = rows
    finally:
        reader.close()
    if len(holders) > 1:
        name = f"{choice.model_id} {choice.model_version}"
        text = f"several partitions hold {name}: {', '.join(holders)}; the one with most is used"
        say([text])
    remedy = (
        "take more with --since, --until or --offsets, wait until more have come, or calibrate by "
        "a FILE of earlier traffic"
    )
    return _fitted(best, f"the topic {topic} has", remedy, say)


def _fitted(
    rows: CalibrationRows, who_has: str, remedy: str, say: Callable[[list[str]], None]
) -> CalibrationDocument:
    """The calibration of these rows, where there are enough of them."""
    if 0 < rows.n_rows < LEAST_ROWS:
        raise BadCalibrationError(
            f"{who_has} {rows.n_rows:,} predictions of {rows.choice.model_id} "
            f"{rows.choice.model_version} within what was asked for, and {LEAST_ROWS} are the "
            f"least: {remedy}"
        )
    if rows.n_refused:
        say([f"  {rows.n_refused:,} values are of more features than `bounds.max_features` allows"])
    return rows.fit()


def _read_partition(
    reader: AuditReader,
    tp: TopicPartition,
    wanted: tuple[int, int] | None,
    rows: CalibrationRows,
    detection: DetectionConfig,
    source_key: SourceKey | None,
) -> None:
    """Take in what is readable of a partition now, and wanted."""
    low, high = reader.watermarks(tp)[:2]
    if wanted is not None:
        low, high = max(low, wanted[0]), min(high, wanted[1] + 1)
    if low >= high:
        return
    kind_of = kinds_by_words(detection, source_key)
    limits, fast_path = DecodeLimits.of(detection), FastPath()
    for records in reader.events(tp, low, high):
        events = decode_records(tp, records, limits, source_key, None, fast_path).events
        if not kind_of:
            rows.take("", events)
            continue
        kinds = np.array(
            [kind_of.get((first, second), "") for first, second in events.source.tolist()]
        )
        for kind in np.unique(kinds).tolist():
            rows.take(kind, taken(events, np.flatnonzero(kinds == kind)))
