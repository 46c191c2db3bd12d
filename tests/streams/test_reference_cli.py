"""`driftsentry reference`: of a file, and what it says to wrong usage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from detectors.fold import Fold
from detectors.monitor import Monitor
from detectors.reference_document import monitor_of
from schemas.batch import ModelKey
from schemas.config import DetectionConfig
from schemas.reference import parse_reference
from streams.cli import main
from streams.scan import ScanOptions, open_scan, run_scan
from tests.streams.scan_kit import shifting_table, write_csv, write_parquet

N = 3_000
FIT = ("fit", "--model", "churn", "--out", "out.json")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("DRIFTSENTRY_"):
            monkeypatch.delenv(name)
    write_csv(Path("churn.csv"), shifting_table(N, shift_at=N))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["reference", *arguments], prog_name="driftsentry")


def said(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = orjson.loads(result.stdout)
    return found


def test_a_reference_of_a_file_is_what_scan_learns_of_it() -> None:
    result = run(*FIT, "churn.csv")
    assert result.exit_code == 0, result.output
    assert "churn.csv: 3,000 rows" in result.stderr
    assert "later rows are compared" not in result.stderr
    assert "driftsentry reference set out.json" in result.stderr
    lines = result.stdout.splitlines()
    document = parse_reference(Path("out.json").read_bytes())
    assert lines[0] == f"churn 1  reference {document.digest}"
    assert lines[1].startswith("  3,000 events from 2026-09-21T14:13:20.000Z to 2026-09-21T15:03")
    assert any(line.split()[:2] == ["feature:x", "3,000"] for line in lines)
    assert "  provisional: it has fewer than 20,000 events" in lines
    assert run("show", "out.json").stdout == result.stdout

    options = ScanOptions(detection=DetectionConfig(reference_events=N))
    scan, source = open_scan(Path("churn.csv"), options)
    fold: Fold = run_scan(scan, source)
    learned: Monitor = fold.catalog.monitor(0)
    fitted = monitor_of(document, ModelKey("churn", "1"))
    assert [learned.name(s) for s in learned.signals] == [fitted.name(s) for s in fitted.signals]
    assert [s.scale for s in learned.signals] == [s.scale for s in fitted.signals]


def test_the_same_rows_give_the_same_digest_and_others_another() -> None:
    write_parquet(Path("churn.parquet"), shifting_table(N, shift_at=N))
    first = said(*FIT, "churn.csv")
    assert said(*FIT, "churn.parquet") == first
    assert first["is_provisional"]
    latest = said(*FIT, "churn.csv", "--events", "500")
    assert (latest["n_events"], latest["last_ms"]) == (500, first["last_ms"])
    assert latest["digest"] != first["digest"]
    times = ("--since", "2026-09-21T14:13:30Z", "--until", "2026-09-21T14:15:00Z")
    within = said(*FIT, "churn.csv", *times)
    assert (within["n_events"], within["first_ms"] - first["first_ms"]) == (90, 10_000)


def test_without_a_place_it_is_named_by_its_digest() -> None:
    digest = said("fit", "--model", "churn", "churn.csv")["digest"]
    (path,) = Path().glob("reference-*.json")
    assert path.name == f"reference-{digest[:12]}.json"
    assert said("show", str(path))["digest"] == digest


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fit", "--model", "churn"), "either a FILE or --from-topic"),
        ((*FIT, "churn.csv", "--from-topic"), "either a FILE or --from-topic"),
        ((*FIT, "churn.csv", "--reference", "100"), "--reference is for `scan`"),
        ((*FIT, "--from-topic", "--sort"), "--sort says what a file holds"),
        ((*FIT, "churn.csv", "--group", "g"), "--group says where Kafka is"),
        ((*FIT, "--from-topic"), "bootstrap_servers"),
        ((*FIT, "nowhere.csv"), "nowhere.csv"),
        (
            (*FIT, "churn.csv", "--since", "2027-01-01T00:00:00Z"),
            "no prediction of model churn, version 1",
        ),
        (
            (*FIT, "churn.csv", "--until", "2026-09-21T14:13:30Z"),
            "10 predictions form no reference",
        ),
        (("show", "nowhere.json"), "cannot be read: No such file"),
        (("show", "churn.csv"), "holds no reference"),
        (("set", "churn.csv"), "holds no reference"),
    ],
)
def test_wrong_usage_is_a_sentence_and_exit_code_2(arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, says in result.stderr) == (2, True), result.output


def test_a_file_that_was_altered_is_another_reference_or_none() -> None:
    digest = said(*FIT, "churn.csv")["digest"]
    document = orjson.loads(Path("out.json").read_bytes())
    document["events_per_week"] /= 2
    Path("out.json").write_bytes(orjson.dumps(document))
    assert said("show", "out.json")["digest"] != digest
    document["kinds"][0] = 255
    Path("out.json").write_bytes(orjson.dumps(document))
    result = run("show", "out.json")
    assert (result.exit_code, "contradicts itself" in result.stderr) == (2, True), result.output


def test_what_fit_refuses_stands_not_in_its_help() -> None:
    result = run("fit", "--help")
    assert "--event-id" in result.stdout
    assert "--reference" not in result.stdout
