"""`driftsentry budget` over a file, and what it says to wrong usage."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from streams import audit_reader
from streams.cli import main
from tests.streams.scan_kit import Table, shifting_table, write_csv

N = 6_000


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("DRIFTSENTRY_"):
            monkeypatch.delenv(name)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["budget", *arguments], prog_name="driftsentry")


def said(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = orjson.loads(result.stdout)
    return found


def test_of_a_file_it_says_what_is_promised_expected_and_observed() -> None:
    write_csv(Path("churn.csv"), shifting_table(N, shift_at=4_000, shift=2.0))
    result = run("churn.csv", "--reference", "1000")
    assert result.exit_code == 0, result.output
    assert "churn.csv: 6,000 rows" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("churn 1  (partition 0, state at 6,000)")
    assert re.search(r"reference +1,000 rows: provisional, it has fewer than 20,000", result.stdout)
    assert re.search(r"budget +1 false alert a week: each signal one false", result.stdout)
    assert re.search(r"expected +0\.\d\d false alerts since its lanes began", result.stdout)
    assert re.search(r"observed +\d+ alerts?, 95 % interval .* may be true changes", result.stdout)
    assert re.search(r"kept only roughly by \d+ of \d+ signals", result.stdout)
    assert "1,000 rows, and 2,000 would do, 20 at the very least" in result.stdout
    assert "replay" not in result.stdout


def test_a_reference_that_later_rows_do_not_keep_to_is_said_with_a_longer_one() -> None:
    table = shifting_table(12_000, shift_at=12_000)
    levels = np.repeat(np.random.default_rng(3).normal(size=24), 500)
    table["x"] = (np.array(table["x"]) + levels).tolist()
    write_csv(Path("churn.csv"), table)
    (model,) = said("churn.csv", "--reference", "500")["models"]
    (found,) = model["unsteady"]
    assert (found["signal"], found["rows"]) == ("feature:x", 500)
    assert found["enough"] >= 1_000
    result = run("churn.csv", "--reference", "500")
    assert re.search(
        r"reference +does not represent what came after it, by 1 signal", result.stdout
    )
    assert f"Make one of {found['enough']:,} rows or more (`driftsentry reference fit`)" in (
        result.stdout
    )
    assert re.search(r"feature:x: means of \d+ rows vary [\d.]+ times as much", result.stdout)
    # A stream that stands still is not told of.
    write_csv(Path("churn.csv"), shifting_table(12_000, shift_at=12_000))
    assert said("churn.csv", "--reference", "500")["models"][0]["unsteady"] == []


def test_the_observed_alerts_are_those_of_scan() -> None:
    write_csv(Path("churn.csv"), shifting_table(N, shift_at=4_000, shift=2.0))
    scanned = CliRunner().invoke(
        main, ["scan", "churn.csv", "--reference", "1000", "--json", "--no-report"]
    )
    opened = [orjson.loads(line) for line in scanned.stdout.splitlines()]
    n_opened = sum(alert["revision"] == 1 and alert["kind"] == "drift" for alert in opened)
    assert n_opened >= 1
    (model,) = said("churn.csv", "--reference", "1000")["models"]
    assert model["observed"]["n_alerts"] == n_opened
    assert model["observed"]["expected"] == model["expected"]
    assert model["replays"] == []


def test_a_replay_is_seeded_and_tells_a_change_from_its_shuffled_past() -> None:
    write_csv(Path("churn.csv"), shifting_table(N, shift_at=4_000, shift=3.0))
    first = said("churn.csv", "--replay", "--reference", "1000")
    assert first == said("churn.csv", "--replay", "--reference", "1000", "--seed", "1")
    (model,) = first["models"]
    of = {each["kind"]: each for each in model["replays"]}
    assert list(of) == ["shuffled", "blocks", "frozen"]
    assert (of["shuffled"]["n_alerts"], of["shuffled"]["n_events"]) == (0, 5_000)
    assert of["shuffled"]["expected"] < 0.2
    assert of["frozen"]["n_alerts"] >= 1
    assert of["blocks"]["block"] == 500
    # The latest 3,000: a reference, 2,000 more, of which 2,000 come after the change.
    (latest,) = said("churn.csv", "--replay", "--reference", "1000", "--events", "3000")["models"]
    assert [each["n_events"] for each in latest["replays"]] == [2_000, 2_000, 3_000]
    text = run("churn.csv", "--replay", "--reference", "1000").stdout
    assert re.search(r"replay +shuffled: 0 alerts, .* over 5,000 events \(seed 1\)", text)
    assert "in blocks of 500" in text
    assert "what hangs together in time is destroyed" in text


def test_a_signal_that_cannot_keep_it_is_said_with_the_reference_that_would_do() -> None:
    rng = np.random.default_rng(3)
    x = [0.0]
    for step in rng.normal(size=1_999).tolist():
        x.append(0.95 * x[-1] + step)
    table: Table = {"ts": [1_790_000_000 + i for i in range(2_000)], "x": x}
    write_csv(Path("slow.csv"), table)
    text = run("slow.csv", "--reference", "300").stdout
    assert re.search(r"cannot be kept by 1 of 7 signals:", text)
    found = re.search(
        r"feature:x: rows depend on each other \(variance factor [\d.]+\); 300 rows, and "
        r"([\d,]+) would do, ([\d,]+) at the very least",
        text,
    )
    assert found is not None
    assert int(found[1].replace(",", "")) >= 20_000
    assert int(found[2].replace(",", "")) >= 400


def test_a_model_of_several_is_chosen() -> None:
    table = shifting_table(2_000, shift_at=9_999) | {"model_id": ["a", "b"] * 1_000}
    write_csv(Path("two.csv"), table)
    assert [m["model_id"] for m in said("two.csv", "--reference", "100")["models"]] == ["a", "b"]
    (only,) = said("two.csv", "--reference", "100", "--model", "b")["models"]
    assert (only["model_id"], only["n_events"]) == ("b", 1_000)
    missing = run("two.csv", "--model", "c")
    assert missing.exit_code == 2
    assert "has no model c; it has a, b" in missing.stderr


def test_names_in_a_file_print_no_control_characters() -> None:
    table = shifting_table(400, shift_at=9_999) | {"bad\x1b[31mname": [1.0 * i for i in range(400)]}
    write_csv(Path("odd.csv"), table)
    result = run("odd.csv", "--model", "m\x1b[2J")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    assert "bad?[31mname" in result.output


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["t.csv", "--group", "g"], "--group says where a group of workers is"),
        (["--time", "ts"], "--time says what a file holds: name the FILE too"),
        (["t.csv", "--seed", "2"], "--seed is for --replay alone"),
        (["t.csv", "--events", "5", "--replay"], "100<=x<=10000000"),
        (["nothing.csv"], "nothing.csv"),
        (["t.csv", "--time", "when"], "there is no column `when`"),
        ([], "bootstrap_servers"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], what: str) -> None:
    write_csv(Path("t.csv"), shifting_table(200, shift_at=100))
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert what in result.stderr


def test_brokers_that_do_not_answer_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_reader, "_REQUEST_S", 0.2)
    result = run("--bootstrap-servers", "127.0.0.1:1", "--redis-url", "redis://127.0.0.1:1/0")
    assert result.exit_code == 1
    assert "no broker answers at 127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.output
