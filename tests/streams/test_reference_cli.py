"""`driftsentry reference`: of a file, and what it says to wrong usage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
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
from tests.streams.events import START_MS, label, prediction
from tests.streams.scan_kit import shifting_table, write_csv, write_ndjson, write_parquet

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


def labelled_table() -> dict[str, Any]:
    """Predictions of which those with a high score are mostly right, and their labels."""
    table = shifting_table(N, shift_at=N)
    rng = np.random.default_rng(9)
    truth = rng.random(N) < np.array(table["score"])
    table["outcome"] = [None if i % 10 == 0 else int(t) for i, t in enumerate(truth)]
    # Not a name of the row: many rows share it.
    table["id"] = [i % 17 for i in range(N)]
    return table


def expected_calibration(table: dict[str, Any]) -> tuple[int, int]:
    """Predictions with a label, and those of them whose label is 1."""
    known = [outcome for outcome in table["outcome"] if outcome is not None]
    return len(known), sum(known)


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_the_labels_of_a_file_calibrate_the_score(form: str) -> None:
    table = labelled_table()
    write = {"csv": write_csv, "ndjson": write_ndjson, "parquet": write_parquet}[form]
    write(Path(f"labelled.{form}"), table)
    found = said(*FIT, f"labelled.{form}")["output"]
    n, n_positive = expected_calibration(table)
    assert (found["score_of"], found["positive"], found["n_labelled"]) == ("positive", "1", n)
    shares = [(own["rows"], own["share"]) for own in found["bins"]]
    assert sum(rows * share for rows, share in shares) == pytest.approx(n_positive)
    assert [share for _, share in shares] == sorted(share for _, share in shares)
    result = run("show", "out.json")
    assert f"how often it is 1, by {n:,} predictions with a label" in result.stdout
    assert (
        said(*FIT, f"labelled.{form}", "--label", "none", "--drop", "outcome")["output"][
            "n_labelled"
        ]
        == 0
    )


def test_the_labels_of_events_find_their_predictions_and_the_first_one_counts() -> None:
    rng = np.random.default_rng(9)
    score = rng.random(400)
    events = [
        prediction(i, {"x": float(rng.normal())}, model="churn", prediction=int(s > 0.5), score=s)
        for i, s in enumerate(score.tolist())
    ]
    late = [label(i, int(i % 4 == 0), model="churn", ts=START_MS + 5_000 + i) for i in range(300)]
    conflicting = [label(i, 1, model="churn", ts=START_MS + 9_000 + i) for i in range(300)]
    of_others = [label(i, 1, model="other", ts=START_MS + i) for i in range(400)]
    early = [label(399, 0, model="churn", ts=START_MS)]
    lines = [*early, *of_others, *events, *late, *conflicting]
    Path("events.ndjson").write_bytes(b"\n".join(lines))
    found = said("fit", "--model", "churn", "--out", "out.json", "events.ndjson")["output"]
    assert found["n_labelled"] == 301
    positives = sum(own["rows"] * own["share"] for own in found["bins"])
    assert positives == pytest.approx(75)


def test_what_is_refused_is_told_by_its_row_where_rows_have_labels() -> None:
    table = labelled_table()
    table["ts"][1_234] = -1
    path = write_csv(Path("bad.csv"), table)
    scan, source = open_scan(path, ScanOptions(model="churn"))
    run_scan(scan, source, with_labels=True)
    assert {reason: own.examples for reason, own in scan.refused.items()} == {
        "bad_timestamp": [1_234]
    }
    assert scan.n_labels == expected_calibration(table)[0]
