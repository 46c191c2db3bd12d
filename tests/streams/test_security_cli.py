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

from detectors.security.calibration_document import calibration_of
from schemas.calibration import parse_calibration
from schemas.commands import SetCalibration, read_command
from schemas.source_hash import SourceKey
from streams import kafka_commands
from streams.cli import main
from tests.delivery.attacked import honest, probability
from tests.streams.calibration_kit import benign
from tests.streams.events import prediction

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
    assert lines[1] == "  900 rows, 6 numbers and 1 category, no predicted classes"
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
    servers = ("--bootstrap-servers", "localhost:9092")
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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (CALIBRATE, "say of what: a FILE, or --kind KIND=FILE, or both"),
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
