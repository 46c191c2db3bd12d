"""`driftsentry security`: of files, and what it says to wrong usage."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from detectors.security.calibration_document import calibration_of
from detectors.security.calibration_fit import CalibrationRows, Choice
from schemas.calibration import parse_calibration
from schemas.commands import SetCalibration, read_command
from schemas.config import DetectionConfig
from schemas.records import Record
from schemas.security_config import SecurityConfig
from schemas.source_hash import SourceKey
from streams import kafka_commands
from streams.attack_traffic import honest, probability
from streams.cli import main
from streams.embedded import EmbeddedBroker
from tests.streams.calibration_kit import benign, decoded
from tests.streams.events import prediction, record

KEY = "a key of 16 bytes or more"
CALIBRATE = ("calibrate", "--model", "credit", "--version", "3", "--source", "client")


def table(path: str, n: int, seed: int) -> None:
    """n rows of 10 clients, with a column of text."""
    rng = np.random.default_rng(seed)
    x = np.round(honest(rng, n), 6)
    p = probability(x)
    with Path(path).open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["ts", "client", *(f"f{k}" for k in range(x.shape[1])), "region", "score"])
        for i in range(n):
            region = "eu" if x[i, 0] > 0.0 else "us"
            client = f"client-{rng.integers(10)}"
            row = [1_790_000_000_000 + 1_000 * i, client, *x[i].tolist(), region, float(p[i])]
            out.writerow(row)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("DRIFTSENTRY_"):
            monkeypatch.delenv(name)
    Path("key").write_text(KEY)
    Path("key").chmod(0o600)
    Path("workers.yaml").write_text(
        f"worker:\n  source_key: ${{file:{tmp_path / 'key'}}}\n"
        "detection:\n  security:\n    kinds:\n      batch: [client-1]\n"
    )
    table("all.csv", 600, 1)
    table("batch.csv", 300, 2)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["security", *arguments], prog_name="driftsentry")


def test_a_calibration_of_files_is_told_of_written_and_set(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--config", "workers.yaml", "--kind", "batch=batch.csv", "--out", "out.json")
    result = run(*CALIBRATE, "all.csv", *options)
    assert result.exit_code == 0, result.output
    document = parse_calibration(Path("out.json").read_bytes())
    key = SourceKey(KEY.encode()).fingerprint
    assert (document.model_id, document.model_version) == ("credit", "3")
    assert (document.is_salted, document.source_key) == (True, key)
    assert "client" not in document.population.features
    assert [(k.kind, k.n_rows, k.n_sources) for k in document.kinds] == [
        ("", 600, 10),
        ("batch", 300, 10),
    ]
    lines = result.stdout.splitlines()
    assert lines[0] == f"credit 3  calibration {document.digest}"
    assert lines[1] == "  600 rows, 6 numbers and 1 category, no predicted classes"
    assert lines[2] == f"  holds under the source key {key} alone"
    assert lines[3].startswith("  clients of no kind: 600 rows of 10 sources from 2026-09-21T14:13")
    assert any("not windows off the benign rows, which needs 2,000" in line for line in lines)
    why = "cannot be calibrated: off_distribution needs 500 distinct rows, not 300"
    assert f"    off_distribution  {why}" in lines
    assert "source      column `client`" in result.stderr
    assert "later rows are compared" not in result.stderr
    assert "driftsentry security set out.json" in result.stderr
    assert KEY not in result.output
    assert run("show", "out.json").stdout == result.stdout
    told: dict[str, Any] = orjson.loads(run("show", "out.json", "--json").stdout)
    assert told["digest"] == document.digest
    assert told["kinds"][1]["missing"] == document.kinds[1].missing
    assert list(calibration_of(document).kinds) == ["", "batch"]

    again = run(*CALIBRATE, "all.csv", *options[:-1], "again.json")
    assert again.stdout == result.stdout
    assert Path("again.json").read_bytes() == Path("out.json").read_bytes()

    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(kafka_commands, "send_command", lambda *given, **_: sent.append(given))
    with EmbeddedBroker() as broker:
        servers = ("--bootstrap-servers", broker.bootstrap_servers)
        result = run("set", "out.json", "--version", "4", "--by", "ann", *servers)
    assert result.exit_code == 0, result.output
    ((_, topic, key_of_record, value),) = sent
    assert (topic, key_of_record) == ("driftsentry.commands", b"credit")
    order = read_command(value)
    assert isinstance(order, SetCalibration)
    assert (order.model_id, order.model_version, order.by) == ("credit", "4", "ann")
    assert order.document == document
    assert result.stdout.strip() == order.command_id


def test_events_of_our_own_say_who_sent_them() -> None:
    lines = [record.value or b"" for record in benign(400)]
    lines.insert(7, b'{"type": "prediction"}')
    lines.append(prediction(9, {"f0": 1.0}, model="other"))
    Path("events.ndjson").write_bytes(b"\n".join(lines))
    own = ("calibrate", "--model", "m", "--out", "out.json", "events.ndjson")
    result = run(*own, "--config", "workers.yaml")
    assert result.exit_code == 0, result.output
    document = parse_calibration(Path("out.json").read_bytes())
    assert (document.kinds[0].n_rows, document.kinds[0].n_sources) == (400, 20)
    assert (document.is_salted, document.source_key) == (False, None)
    assert "refused     1 rows, such as: " in result.stderr
    result = run(*own, "--kind", "partner=events.ndjson")
    assert "no source key is configured: all clients are one here" in result.stderr
    assert "`detection.security.kinds` of the config has no partner" in result.stderr
    document = parse_calibration(Path("out.json").read_bytes())
    assert [each.n_sources for each in document.kinds] == [1, 1]


def test_too_few_rows_are_refused() -> None:
    table("few.csv", 199, 3)
    refused = run(*CALIBRATE, "few.csv", "--out", "out.json")
    assert refused.exit_code == 2
    assert "the files have 199 predictions of credit 3" in refused.stderr
    assert "200 are the least: take longer files" in refused.stderr
    assert not Path("out.json").exists()
    # All kinds together count: which detectors a kind has too few rows for, the report says.
    table("one.csv", 1, 4)
    both = run(*CALIBRATE, "few.csv", "--kind", "batch=one.csv", "--out", "out.json")
    assert both.exit_code == 0, both.output


def sent(broker: EmbeddedBroker, records: list[Record], partition: int) -> None:
    """These records, in their order, to a partition of the events topic."""
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for each in records:
        producer.produce("driftsentry.events", each.value, b"m", partition)
    assert producer.flush(30) == 0


def test_the_topic_is_read_between_offsets_or_times_and_the_config_says_who_is_of_which_kind() -> (
    None
):
    taken = benign(700)
    of_batch = [orjson.loads(each.value or b"")["source"] == "client-1" for each in taken]
    with EmbeddedBroker() as broker:
        sent(broker, [*taken, record(700, b"{}")], 1)
        sent(broker, benign(250, seed=7), 3)
        options = ("--config", "workers.yaml", "--bootstrap-servers", broker.bootstrap_servers)
        own = ("calibrate", "--model", "m", "--from-topic", "--out", "out.json", *options)
        whole = run(*own)
        assert whole.exit_code == 0, whole.output
        document = parse_calibration(Path("out.json").read_bytes())
        between = run(*own, "--offsets", "1:100-499")
        assert between.exit_code == 0, between.output
        part = parse_calibration(Path("out.json").read_bytes())
        times = ("--since", "2026-09-21T14:13:20.100Z", "--until", "2026-09-21T14:13:20.500Z")
        within = run(*own, *times)
        assert within.exit_code == 0, within.output
        assert parse_calibration(Path("out.json").read_bytes()).digest == part.digest
        too_few = run(*own, "--offsets", "1:0-150", "--offsets", "3:5-90")
        nobody = run(*own, "--offsets", "0:0-9")
        beyond = run(*own, "--offsets", "9:0-9")
    said = "several partitions hold m 1: 700 in partition 1, 250 in partition 3; the one with most"
    assert said in whole.stderr
    assert "several partitions" not in between.stderr
    n_batch = sum(of_batch)
    assert [(k.kind, k.n_rows) for k in document.kinds] == [("", 700 - n_batch), ("batch", n_batch)]
    # The same as of the same rows by kind, without a broker.
    config = DetectionConfig(security=SecurityConfig(kinds={"batch": ["client-1"]}))
    rows = CalibrationRows(Choice("m", "1"), config, SourceKey(KEY.encode()))
    for kind in ("", "batch"):
        own_rows = [
            r for r, is_batch in zip(taken, of_batch, strict=True) if is_batch == (kind != "")
        ]
        rows.take(kind, decoded(own_rows, SourceKey(KEY.encode())))
    assert rows.fit().digest == document.digest
    n_batch = sum(of_batch[100:500])
    assert [(k.kind, k.n_rows) for k in part.kinds] == [("", 400 - n_batch), ("batch", n_batch)]
    assert (too_few.exit_code, nobody.exit_code, beyond.exit_code) == (2, 2, 2)
    assert "has 151 predictions of m 1 within what was asked for, and 200 are" in too_few.stderr
    assert "take more with --since, --until or --offsets, wait" in too_few.stderr
    assert "there is no prediction of model m, version 1" in nobody.stderr
    assert "has no partition 9" in beyond.stderr


def test_a_topic_that_is_not_there_is_a_sentence() -> None:
    with EmbeddedBroker() as broker:
        result = run(
            *("calibrate", "--model", "m", "--from-topic", "--events-topic", "no.such"),
            *("--bootstrap-servers", broker.bootstrap_servers),
        )
    assert result.exit_code == 1
    assert "there is no topic no.such" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (CALIBRATE, "either a FILE, --kind KIND=FILE, or both; or --from-topic"),
        ((*CALIBRATE, "all.csv", "--from-topic"), "or both; or --from-topic"),
        ((*CALIBRATE, "--from-topic"), "--source says what a file holds"),
        ((*CALIBRATE[:5], "--from-topic", "--sort"), "--sort says what a file holds"),
        ((*CALIBRATE[:5], "--from-topic"), "bootstrap_servers"),
        ((*CALIBRATE, "all.csv", "--offsets", "0:1-2"), "--offsets says where in Kafka"),
        ((*CALIBRATE, "all.csv", "--bootstrap-servers", "b:1"), "--bootstrap-servers says where"),
        ((*CALIBRATE[:5], "--from-topic", "--offsets", "0:9-2"), "PARTITION:FIRST-LAST"),
        ((*CALIBRATE[:5], "--from-topic", "--offsets", "9"), "PARTITION:FIRST-LAST"),
        ((*CALIBRATE, "all.csv", "--reference", "100"), "--reference is for `scan`"),
        ((*CALIBRATE, "nowhere.csv"), "nowhere.csv"),
        ((*CALIBRATE, "--kind", "batch"), "write it as KIND=FILE, each kind once"),
        ((*CALIBRATE, "--kind", "a=b", "--kind", "a=c"), "write it as KIND=FILE, each kind once"),
        ((*CALIBRATE[:5], "--source", "nobody", "all.csv"), "there is no column `nobody`"),
        ((*CALIBRATE, "all.csv", "--since", "2027-01-01T00:00:00Z"), "no prediction of model"),
        (("show", "nowhere.json"), "cannot be read: No such file"),
        (("show", "all.csv"), "holds no calibration"),
        (("set", "all.csv"), "holds no calibration"),
    ],
)
def test_wrong_usage_is_a_sentence_and_exit_code_2(arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, says in result.stderr) == (2, True), result.output
