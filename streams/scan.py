"""The fold over a file: what a worker would say of a topic with these events, without a topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from detectors.fold import Fold
from detectors.monitor import reference_events
from schemas.alerts import AlertData, DeadLetterData
from schemas.batch import Decoded, Decoding, ModelKey
from schemas.config import DetectionConfig
from schemas.records import Record
from streams.alert_book import AlertBook, SeenAlert
from streams.lineage import Lineage
from streams.scan_columns import ROLES, Plan, ScanError, Wishes, plan_columns
from streams.scan_end import last_records
from streams.scan_events import TP, EventMaker
from streams.scan_files import Format, RowSource, model_name, open_rows, readable
from streams.scan_labels import (
    LateLabels,
    in_rows,
    joins_labels,
    with_labels_joined,
    with_usable_label,
)
from streams.scan_performance import Performance
from streams.scan_series import Series
from streams.worker import Detection, OutputTopics, PartitionWorker

MIN_REFERENCE: Final = 20
N_EXAMPLES: Final = 5
"""Refused rows that are named, of each reason."""

_TOPICS: Final = OutputTopics("alerts", "dead-letter", "journal")
_UNREADABLE: Final = "unreadable_row"


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What is wanted of a scan; None: a good guess."""

    wishes: Wishes = field(default_factory=Wishes)
    model: str | None = None
    version: str = "1"
    n_reference: int | None = None
    sort: bool = False
    format: Format | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    detection: DetectionConfig | None = None
    """None: the defaults, with a shorter reference for a short file."""
    uses_labels: bool = False
    """Whether labels of a column are joined, unless `detection` says that they are not."""
    label_delay: int = 0
    """So many rows after its prediction's row a label comes; 0: right after it."""
    slices: tuple[str, ...] = ()
    """Columns whose values are groups, the errors of which are told apart."""


@dataclass(slots=True)
class Refused:
    """The rows refused for one reason."""

    n_rows: int = 0
    detail: str = ""
    """Of the first: which field, and what to do."""
    examples: list[int] = field(default_factory=list)
    """The numbers of the first few."""


@dataclass(slots=True)
class Scan:
    """One scan: what is known before it, and what came out."""

    path: Path
    plan: Plan
    model: str
    version: str
    detection: DetectionConfig
    n_rows: int
    is_events: bool
    """Whether the file holds driftsentry's own events."""
    is_sorted: bool
    notes: list[str]
    series: Series
    book: AlertBook
    performance: Performance
    """How well the models predict; empty without labels."""
    has_labels: bool = False
    """Whether labels of a column are joined."""
    label_delay: int = 0
    refused: dict[str, Refused] = field(default_factory=dict)
    n_signals: int = 0
    """How many signals were watched."""
    inheriting: frozenset[ModelKey] = frozenset()
    """Versions that were compared, on the reference of an earlier one, while they learned."""
    n_folded: int = 0
    n_labels: int = 0
    n_backward: int = 0
    first_backward_row: int = -1
    seconds: float = 0.0

    @property
    def alerts(self) -> list[SeenAlert]:
        """In the order of the rows at which they came."""
        return self.book.alerts

    @property
    def models(self) -> list[ModelKey]:
        """The models of the file, in order of appearance."""
        return list(self.series.n_events)

    @property
    def learning(self) -> list[ModelKey]:
        """The models without a row after their reference: nothing of them was compared."""
        return [
            model
            for model, n in self.series.n_events.items()
            if n <= reference_events(self.detection, model) and model not in self.inheriting
        ]

    @property
    def n_reference(self) -> int:
        """Rows of the reference of the file's model; where it has many, of those without a word."""
        is_one = not self.is_events and "model_id" not in self.plan.roles
        own = ModelKey(self.model, self.version, -1)
        return reference_events(self.detection, own) if is_one else self.detection.reference_events

    def refuse(self, reason: str, row: int, detail: str) -> None:
        """Count a refused row."""
        refused = self.refused.setdefault(reason, Refused(detail=detail))
        refused.n_rows += 1
        if len(refused.examples) < N_EXAMPLES:
            refused.examples.append(row)


class _FileWorker(PartitionWorker):
    """The worker of a file; others see what it folds."""

    takers: Sequence[Callable[[Decoded], None]] = ()

    def decode(self, records: Sequence[Record]) -> Decoding:
        """As ever."""
        decoding = super().decode(records)
        for take in self.takers:
            take(decoding.events)
        return decoding


def open_scan(path: Path, options: ScanOptions, *, purpose: str = "scan") -> tuple[Scan, RowSource]:
    """Look at the file and decide what is what. Raises `ScanError`.

    `purpose` is what is to be done with its rows, as in "nothing to scan".
    """
    source = open_rows(
        path, wanted=options.format, delimiter=options.delimiter, encoding=options.encoding
    )
    if not source.n_rows and not source.unreadable:
        raise ScanError(f"{path.name} has no row: there is nothing to {purpose}")
    if source.is_events:
        require_unsaid(path, _options_of(options.wishes))
    plan = (
        Plan({}, frozenset(), None, (), frozenset(), {}, as_events=True)
        if source.is_events
        else plan_columns(source.profiles, options.wishes)
    )
    if options.sort and plan.unit is None and not source.is_events:
        raise ScanError("--sort needs a time: name its column with --time")
    model = options.model or model_name(path)
    detection = _detection(options, plan, source, model)
    has_labels = False
    if options.uses_labels and joins_labels(options.detection) and not source.is_events:
        plan, has_labels = with_usable_label(
            plan, source.profiles, options.wishes, options.slices, options.label_delay
        )
    elif options.slices or options.label_delay:
        raise ScanError(_no_labels(source))
    if has_labels:
        detection = with_labels_joined(
            detection, model, plan.slices, source.n_rows, options.label_delay
        )
    own = ModelKey(model, options.version, -1)
    scan = Scan(
        path=path,
        plan=plan,
        model=model,
        version=options.version,
        detection=detection,
        n_rows=source.n_rows,
        is_events=source.is_events,
        is_sorted=options.sort,
        notes=source.notes,
        series=Series(source.n_rows, lambda model: reference_events(detection, model)),
        book=AlertBook(lambda _said, offset: offset),
        performance=Performance(
            source.n_rows,
            options.label_delay if has_labels else 0,
            min(detection.reference_events, reference_events(detection, own)),
        ),
        has_labels=has_labels,
        label_delay=options.label_delay if has_labels else 0,
    )
    for row, detail in source.unreadable:
        scan.refuse(_UNREADABLE, row, detail)
    return scan, source


def _no_labels(source: RowSource) -> str:
    """Why options that need labels of a column cannot be followed."""
    if source.is_events:
        return (
            "--slice and --label-delay are for labels in a column; driftsentry's own events bring "
            "theirs: name slices in a file for --config, as detection.model.NAME.slices"
        )
    return (
        "--slice and --label-delay need labels, and the config says `labels.enabled: false`: "
        "take that out"
    )


def _options_of(wishes: Wishes) -> list[str]:
    given = [ROLES[role] for role in wishes.roles]
    given += ["--features"] if wishes.features else []
    return given + (["--drop"] if wishes.drop else [])


def require_unsaid(path: Path, given: Sequence[str]) -> None:
    """Raise `ScanError` where these options say of events what events say themselves."""
    if given:
        raise ScanError(
            f"{path.name} holds driftsentry's own events, which say themselves what is what: "
            f"leave out {', '.join(given)}"
        )


def run_scan(
    scan: Scan,
    source: RowSource,
    *,
    on_progress: Callable[[int], None] = lambda _n_rows: None,
    on_alert: Callable[[bytes], None] = lambda _value: None,
    on_events: Callable[[Decoded], None] | None = None,
    lineage: Lineage | None = None,
    with_labels: bool = False,
) -> Fold:
    """Fold the whole file into `scan`; the fold's state at its end.

    `on_alert` gets every alert record as it would stand on the topic, `on_events` what is folded.
    `lineage` is part of the alerts' identity; None: that of the file. `with_labels` makes events of
    the labels in a column, too, as is done for a scan that joins them. All that is told is told
    in rows. Raises `ScanError` where the file cannot be read on.
    """
    began_s = time.monotonic()
    with_labels |= scan.has_labels
    maker = EventMaker(scan.plan, scan.model, scan.version, with_labels=with_labels)
    late = LateLabels(scan.label_delay, maker.stride)

    def row_of(offset: int) -> int:
        # Labels that are to come after the last row come at it.
        return min(maker.row_of(offset), max(scan.n_rows - 1, 0))

    detection = Detection(scan.detection, None)
    worker = _FileWorker(TP, lineage or lineage_of(scan), detection, 0, _TOPICS)
    worker.takers = [
        lambda events: scan.series.take(maker.by_row(events)),
        *([on_events] if on_events else []),
    ]

    def told(said: AlertData) -> AlertData:
        return said if maker.stride == 1 else in_rows(said, row_of)

    def fold(records: list[Record]) -> None:
        for part in scan.performance.parts(worker.fold, records, maker.stride):
            worker.process(part)
            scan.performance.look(worker.fold, -(-worker.next_offset // maker.stride))
        for output in worker.take_outputs():
            if output.topic == _TOPICS.alerts:
                said = told(AlertData.model_validate_json(output.value))
                on_alert(orjson.dumps(said.model_dump()))
                scan.book.take(said)
            else:
                letter = DeadLetterData.model_validate_json(output.value)
                detail = _of_file(letter.detail, scan.plan)
                scan.refuse(letter.reason, row_of(letter.offset), detail)

    with (
        readable(scan.path),
        closing(in_order(source, maker, is_sorted=scan.is_sorted)) as chunks,
    ):
        for records in chunks:
            fold(late.taken(records))
            on_progress(maker.row_of(worker.next_offset))
    scan.performance.close(worker.fold)
    for records in late.rest():
        fold(records)
    scan.performance.finish(worker.fold)
    for last in last_records(worker):
        scan.book.take(told(last))
    counters = worker.fold.counters
    scan.n_folded, scan.n_labels = counters["n_events"], counters["n_labels"]
    scan.n_signals = sum(
        sum(signal.lane >= 0 for signal in monitor.signals)
        for monitor in worker.fold.catalog.slots
        if monitor is not None
    )
    scan.inheriting = frozenset(
        monitor.key
        for monitor in worker.fold.catalog.slots
        if monitor is not None and monitor.n_lanes and monitor.cohorts
    )
    scan.n_backward, scan.first_backward_row = maker.n_backward, maker.first_backward_row
    scan.seconds = time.monotonic() - began_s
    return worker.fold


def lineage_of(scan: Scan) -> Lineage:
    """What stands for the topic in the identity of alerts: the file's name without endings.

    The same rows give the same alerts with the same identities, as CSV and as Parquet.
    """
    return Lineage(
        deployment=scan.detection.deployment,
        topic_id=f"file:{model_name(scan.path)}",
        partition=TP.partition,
        start_offset=0,
    )


def _of_file(detail: str, plan: Plan) -> str:
    """What is wrong with a row, with the file's names where an event has its own."""
    for role, name in plan.roles.items():
        detail = detail.replace(f"`{'ts' if role == 'time' else role}`", f"`{name}`")
    return detail


def in_order(
    source: RowSource, maker: EventMaker, *, is_sorted: bool
) -> Generator[list[Record], None, None]:
    """The records of a file, in its order or, where that is asked for, in that of their times."""
    if not is_sorted:
        yield from source.records(maker)
        return
    # A row and its label stay together: both have the time of the row.
    rows: list[list[Record]] = []
    for records in source.records(maker):
        for record in records:
            if record.offset % maker.stride:
                rows[-1].append(record)
            else:
                rows.append([record])
    rows.sort(key=lambda of_row: of_row[0].timestamp_ms)
    yield [
        record._replace(offset=place * maker.stride + k)
        for place, of_row in enumerate(rows)
        for k, record in enumerate(of_row)
    ]


def _detection(options: ScanOptions, plan: Plan, source: RowSource, model: str) -> DetectionConfig:
    detection = options.detection or DetectionConfig()
    n_reference = options.n_reference
    own = detection.model.get(model)
    is_free = "reference_events" not in detection.model_fields_set
    is_free &= own is None or own.reference_events is None
    if n_reference is None and is_free and not source.is_events:
        one_model = "model_id" not in plan.roles and "model_version" not in plan.roles
        if one_model and source.n_rows < 4 * detection.reference_events:
            n_reference = max(source.n_rows // 4, MIN_REFERENCE)
    if n_reference is None:
        return detection
    # What the command line says goes before all that a file says.
    models = {
        name: each.model_copy(update={"reference_events": None})
        for name, each in detection.model.items()
    }
    return detection.model_copy(
        update={
            "reference_events": n_reference,
            "model": detection.model if options.n_reference is None else models,
        }
    )
