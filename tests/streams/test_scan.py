"""A scan says of a file what a worker says of a topic with the same events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.kit.detection import rivers
from schemas.alerts import AlertData
from schemas.config import DetectionConfig, ModelConfig
from schemas.records import Record, TopicPartition
from streams.checkpoints import Cadence
from streams.lineage import Lineage
from streams.memory_broker import MemoryBroker
from streams.memory_commits import MemoryCommits
from streams.memory_log import MemoryLog
from streams.memory_store import MemoryStore
from streams.ports import Output
from streams.recovery import RecoverySettings
from streams.runner import Runner
from streams.scan import ScanOptions, open_scan, run_scan
from streams.scan_columns import ScanError, Wishes
from streams.scan_events import EventMaker
from streams.scan_story import opening_lines, quiet_lines
from streams.topics import journal_key
from streams.worker import Detection, OutputTopics
from tests.streams.events import shifting_stream
from tests.streams.scan_kit import (
    packed,
    rows_of,
    scanned,
    shifting_table,
    write_csv,
    write_ndjson,
    write_parquet,
)

FAST = DetectionConfig(
    reference_events=100,
    detectors=rivers(20.0),
)
OPTIONS = ScanOptions(detection=FAST)
TABLE = shifting_table(1_500, shift_at=700)


class StillClock:
    """No time passes."""

    def monotonic_s(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def worker_outputs(records: list[Record]) -> tuple[Lineage, dict[str, list[bytes]]]:
    """The lineage, and what a runner publishes by topic, over these records in a broker."""
    broker = MemoryBroker()
    for topic in ("events", "alerts", "dead", "journal"):
        broker.create_topic(topic)
    for record in records:
        offset = broker.write(
            Output(
                *("events", 0, record.key or b"", record.value or b"", ()),
                timestamp_ms=record.timestamp_ms,
            )
        )
        assert offset == record.offset
    log = MemoryLog(broker, "events", group="g", instance="a")
    clock = StillClock()
    runner = Runner(
        log=log,
        commits=MemoryCommits(log, journal_topic="journal", instance="a"),
        store=MemoryStore(clock.monotonic_s),
        clock=clock,
        detection=Detection(FAST, None),
        topics=OutputTopics("alerts", "dead", "journal"),
        recovery=RecoverySettings(),
        journal_key=lambda tp: journal_key("g", tp),
        cadence=Cadence(
            poll_records=137, commit_interval_s=0.0, checkpoint_interval_s=1e9, drain_s=5.0
        ),
    )
    log.subscribe(runner)
    for _ in range(100):
        runner.step()
    runner.drain()
    committed = broker.committed("g", TopicPartition("events", 0))
    assert committed is not None
    assert committed.offset == len(records)
    lineage = Lineage(
        deployment=FAST.deployment,
        topic_id=broker.topic_id("events"),
        partition=0,
        start_offset=0,
    )
    return lineage, {
        topic: [entry.record.value or b"" for entry in broker.records(TopicPartition(topic, 0))]
        for topic in ("alerts", "dead")
    }


@pytest.mark.parametrize("write", [write_csv, write_ndjson, write_parquet])
def test_it_is_the_fold_of_a_worker_on_a_topic(write: Any, tmp_path: Path) -> None:
    table = dict(TABLE)
    # A worker refuses what has no time.
    table["ts"] = [None if i % 97 == 0 else ts for i, ts in enumerate(TABLE["ts"])]
    path = write(tmp_path / "model", table)
    scan, source = open_scan(path, OPTIONS)
    maker = EventMaker(scan.plan, scan.model, scan.version)
    records = [record for chunk in source.records(maker) for record in chunk]

    lineage, outputs = worker_outputs(records)
    alerts: list[bytes] = []
    run_scan(scan, source, on_alert=alerts.append, lineage=lineage)

    assert alerts == outputs["alerts"]
    assert {AlertData.model_validate_json(value).signal for value in alerts} >= {"feature:x"}
    assert scan.refused["wrong_type"].n_rows == len(outputs["dead"]) == 16
    assert scan.refused["wrong_type"].examples == [0, 97, 194, 291, 388]
    assert scan.n_folded == 1_500 - 16


def test_native_events_are_taken_as_they_are(tmp_path: Path) -> None:
    stream = shifting_stream(1_500, seed=3, shift_at=700, n_models=2, bad_every=50)
    stream = [record for record in stream if record.value]
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(record.value or b"" for record in stream))
    scan, source = open_scan(path, OPTIONS)
    assert scan.is_events
    records = [r for chunk in source.records(EventMaker(scan.plan, "-", "-")) for r in chunk]
    good = [i for i, r in enumerate(stream) if b"features" in (r.value or b"")]
    assert [(records[i].key, records[i].value) for i in good] == [
        (stream[i].key, stream[i].value) for i in good
    ]

    lineage, outputs = worker_outputs(records)
    alerts: list[bytes] = []
    run_scan(scan, source, on_alert=alerts.append, lineage=lineage)

    assert alerts == outputs["alerts"]
    assert {m.model_id for m in scan.models} == {"m0", "m1"}
    assert sum(refused.n_rows for refused in scan.refused.values()) == len(outputs["dead"]) == 20


COLUMN = st.sampled_from(["number", "integer", "boolean", "text"])


@settings(deadline=None, max_examples=25)
@given(
    kinds=st.lists(COLUMN, min_size=1, max_size=4),
    n=st.integers(150, 400),
    seed=st.integers(0, 2**32 - 1),
    gaps=st.sampled_from([0.0, 0.1, 1.0]),
    by_time=st.booleans(),
)
def test_the_same_table_gives_the_same_alerts_in_every_format(
    tmp_path_factory: pytest.TempPathFactory,
    kinds: list[str],
    n: int,
    seed: int,
    gaps: float,
    by_time: bool,
) -> None:
    directory = tmp_path_factory.mktemp("formats")
    table = dict(shifting_table(n, shift_at=n // 2, seed=seed, shift=4.0))
    if by_time:
        table["ts"] = [f"2026-03-{1 + i % 28:02d} 10:00:00" for i in range(n)]
    else:
        del table["ts"]
    made: dict[str, list[Any]] = {
        "number": [v / 8 + 0.0625 for v in range(n)],
        "integer": [int(v) % 7 for v in range(n)],
        "boolean": [v % 3 == 0 for v in range(n)],
        "text": [("red", "green", 'é, "blue"\n')[v % 3] for v in range(n)],
    }
    for k, kind in enumerate(kinds):
        table[f"f{k}"] = [
            None if gaps == 1.0 or (gaps and (i * 31 + seed) % 10 == 0) else value
            for i, value in enumerate(made[kind])
        ]

    paths = [
        write_csv(directory / "t.csv", table),
        write_csv(directory / "t.tsv", table, delimiter="\t"),
        write_ndjson(directory / "t.jsonl", table),
        write_parquet(directory / "t.parquet", table),
    ]
    paths += [packed(paths[0]), packed(paths[2])]
    answers = []
    for path in paths:
        scan, alerts = scanned(path, OPTIONS)
        assert not scan.refused
        answers.append((alerts, scan.n_signals, scan.n_folded, scan.n_backward))

    assert all(answer == answers[0] for answer in answers[1:])
    assert answers[0][2] == n


def test_rows_count_as_time_where_there_is_none_and_steps_back_are_said(tmp_path: Path) -> None:
    table = {name: values for name, values in TABLE.items() if name != "ts"}
    _, alerts = scanned(write_csv(tmp_path / "a.csv", table), OPTIONS)
    first = AlertData.model_validate_json(alerts[0])
    assert first.event_time_ms == 1_000 * first.trigger_offset

    times = list(TABLE["ts"])
    times[10], times[20] = times[20], times[10]
    scan, _ = scanned(write_csv(tmp_path / "b.csv", {**TABLE, "ts": times}), OPTIONS)
    assert (scan.n_backward, scan.first_backward_row) == (2, 11)


@pytest.mark.parametrize("write", [write_csv, write_ndjson, write_parquet])
def test_sorting_by_time_gives_the_alerts_of_the_sorted_file(write: Any, tmp_path: Path) -> None:
    rows = rows_of(TABLE)
    shuffled = [rows[(i * 701) % len(rows)] for i in range(len(rows))]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    mixed = {name: [row[name] for row in shuffled] for name in TABLE}
    _, wanted = scanned(write(tmp_path / "a" / "t", TABLE), OPTIONS)
    sorting = ScanOptions(detection=FAST, sort=True)
    _, found = scanned(write(tmp_path / "b" / "t", mixed), sorting)
    assert found == wanted

    untimed = {name: values for name, values in TABLE.items() if name != "ts"}
    with pytest.raises(ScanError, match="--time"):
        open_scan(write(tmp_path / "c", untimed), sorting)


def test_columns_can_name_model_and_version(tmp_path: Path) -> None:
    table = {
        **TABLE,
        "model_id": [("a", "b")[i % 2] for i in range(1_500)],
        "v": [1 + i % 2 for i in range(1_500)],
    }
    options = ScanOptions(detection=FAST, wishes=Wishes({"model_version": "v"}))
    for write in (write_csv, write_ndjson, write_parquet):
        scan, _ = scanned(write(tmp_path / "t", table), options)
        assert [(m.model_id, m.model_version) for m in scan.models] == [("a", "1"), ("b", "2")]
        assert "model_id" not in scan.plan.features


def test_a_short_file_gets_a_short_reference(tmp_path: Path) -> None:
    short = shifting_table(1_200, shift_at=700, shift=4.0)
    scan, alerts = scanned(write_csv(tmp_path / "t.csv", short))
    assert scan.detection.reference_events == 300
    assert any(AlertData.model_validate_json(value).signal == "feature:x" for value in alerts)
    scan, _ = scanned(tmp_path / "t.csv", ScanOptions(n_reference=50))
    assert scan.detection.reference_events == 50
    scan, _ = scanned(tmp_path / "t.csv", ScanOptions(detection=DetectionConfig()))
    assert scan.detection.reference_events == 300
    named = DetectionConfig(reference_events=2_000)
    scan, _ = scanned(tmp_path / "t.csv", ScanOptions(detection=named))
    assert scan.detection.reference_events == 2_000


def test_what_the_config_says_of_the_model_is_its_reference(tmp_path: Path) -> None:
    table = shifting_table(1_200, shift_at=700, shift=4.0)
    path = write_csv(tmp_path / "t.csv", table)
    own = DetectionConfig(model={"t": ModelConfig(reference_events=400)})
    scan, alerts = scanned(path, ScanOptions(detection=own))
    assert "the first 400 rows of a model; later" in "\n".join(opening_lines(scan))
    assert scan.detection.reference_events == 2_000  # none was guessed
    assert not scan.learning
    assert alerts
    curve = scan.series.curve(scan.models[0], "feature:x")
    assert curve is not None
    assert curve.reference_mean == pytest.approx(np.mean(table["x"][:400]))
    # The command line goes before the file.
    scan, _ = scanned(path, ScanOptions(detection=own, n_reference=50))
    assert "the first 50 rows" in "\n".join(opening_lines(scan))
    assert scan.detection.model["t"].reference_events is None


def test_a_version_that_inherits_a_reference_is_compared_while_it_learns(tmp_path: Path) -> None:
    table = shifting_table(1_500, shift_at=1_300, shift=4.0)
    table["model_version"] = [1 + (i >= 1_200) for i in range(1_500)]
    options = ScanOptions(n_reference=500)
    scan, alerts = scanned(write_parquet(tmp_path / "t.parquet", table), options)
    assert [(each.model_version, n) for each, n in scan.series.n_events.items()] == [
        ("1", 1_200),
        ("2", 300),
    ]
    found = [AlertData.model_validate_json(value) for value in alerts]
    assert {each.model_version for each in found} == {"2"}
    assert scan.learning == []
    assert "nothing was compared" not in "\n".join(quiet_lines(scan))


def test_the_series_are_the_means_of_the_files_values(tmp_path: Path) -> None:
    scan, _ = scanned(write_parquet(tmp_path / "t.parquet", TABLE), OPTIONS)
    (model,) = scan.models
    width = scan.series.width
    for signal, values in {
        "feature:x": TABLE["x"],
        "feature:z": TABLE["z"],
        "score": TABLE["score"],
        "missing:z": [float(v is None) for v in TABLE["z"]],
        "class:1": TABLE["prediction"],
    }.items():
        curve = scan.series.curve(model, signal)
        assert curve is not None
        for k, mean in enumerate(curve.means.tolist()):
            known = [v for v in values[k * width : (k + 1) * width] if v is not None]
            assert mean == pytest.approx(sum(known) / len(known))
        reference = [v for v in values[:100] if v is not None]
        assert curve.reference_mean == pytest.approx(sum(reference) / len(reference))
    assert scan.series.curve(model, "feature:none") is None


def test_nan_and_infinity_are_missing(tmp_path: Path) -> None:
    table = dict(TABLE)
    nan, inf = float("nan"), float("inf")
    with_nan = {**table, "x": [nan if i % 3 else v for i, v in enumerate(table["x"])]}
    with_inf = {**table, "x": [inf if i % 3 else v for i, v in enumerate(table["x"])]}
    with_null = {**table, "x": [None if i % 3 else v for i, v in enumerate(table["x"])]}
    answers = [
        scanned(write(tmp_path / "t", of), OPTIONS)[1]
        for write in (write_csv, write_parquet)
        for of in (with_nan, with_inf, with_null)
    ]
    assert all(answer == answers[0] for answer in answers)


def test_an_event_without_type_has_its_features_inside(tmp_path: Path) -> None:
    flat = write_ndjson(tmp_path / "t.jsonl", TABLE)
    _, wanted = scanned(flat, OPTIONS)
    inner = ("x", "z", "plan")
    lines = [
        {n: v for n, v in row.items() if n not in inner} | {"features": {n: row[n] for n in inner}}
        for row in rows_of(TABLE)
    ]
    flat.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    scan, found = scanned(flat, OPTIONS)
    assert found == wanted
    assert not scan.is_events
