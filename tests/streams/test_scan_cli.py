"""`driftsentry scan` as a stranger meets it: what it prints where, its exit codes, its report."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from benchmarks.kit.detection import WITHOUT_ROWS, rivers
from schemas.alerts import AlertData
from schemas.config import DetectionConfig
from streams.cli import main
from streams.scan import ScanOptions
from streams.scan_columns import Wishes
from streams.scan_report import MAX_PLACES, render_scan_report
from streams.scan_story import place_lines, sentence, strongest
from streams.sentences import move, percent
from tests.streams.scan_kit import scanned, shifting_table, write_csv, write_parquet
from tests.streams.test_report import Page

TABLE = shifting_table(2_000, shift_at=1_200, shift=4.0)
HOSTILE = "<script>alert(1)</script>\x1b[31m"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["scan", *arguments], prog_name="driftsentry")


def test_it_says_what_it_took_the_file_for_what_moved_and_where_the_report_is() -> None:
    write_csv(Path("churn.csv"), TABLE)
    result = run("churn.csv")
    assert result.exit_code == 0, result.output
    assert "churn.csv: 2,000 rows" in result.stderr
    assert re.search(r"time +`ts`, a guess +\(--time\)", result.stderr)
    assert re.search(r"reference +the first 500 rows", result.stderr)
    assert re.search(r"\[critical\] feature x rose .* since about row 1,[12]\d\d,", result.stdout)
    assert "0 of them were refused" in result.stdout
    assert re.search(r"^feature:x +1 ", result.stdout, re.MULTILINE)
    assert "churn.csv-report.html" in result.stderr
    page = Page(Path("churn.csv-report.html").read_text("utf-8"))
    assert page.count["svg"] == 1
    assert "Something moved." in page.text
    assert "`ts`, a guess" in page.text


def test_json_is_all_that_stands_on_stdout() -> None:
    write_csv(Path("t.csv"), TABLE)
    result = run("t.csv", "--json", "--no-report")
    alerts = [AlertData.model_validate(orjson.loads(line)) for line in result.stdout.splitlines()]
    assert [alert.model_dump_json().encode() for alert in alerts]
    assert {"feature:x"} <= {alert.signal for alert in alerts}
    assert "0 of them were refused" in result.stderr
    assert not Path("t.csv-report.html").exists()


def test_exit_codes() -> None:
    write_csv(Path("t.csv"), TABLE)
    assert run("t.csv", "--no-report").exit_code == 0
    assert run("t.csv", "--no-report", "--fail-on-alert").exit_code == 1
    assert run("t.csv", "--no-report", "--fail-on-alert", "--features", "z").exit_code == 0
    assert run("t.csv", "--time", "when").exit_code == 2
    assert run("t.csv", "--reference", "5").exit_code == 2
    assert run("t.csv", "--report", "t.csv/report.html").exit_code == 1


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--delimiter", "ab", "give one ASCII character"),
        ("--delimiter", "", "give one ASCII character"),
        ("--encoding", "foo", "try utf-8"),
    ],
)
def test_an_option_that_cannot_be_is_said_with_what_to_do(
    option: str, value: str, said: str
) -> None:
    write_csv(Path("t.csv"), TABLE)
    result = run("t.csv", option, value)
    assert result.exit_code == 2
    assert option in result.stderr
    assert said in result.stderr


def test_a_config_that_names_no_reference_leaves_that_to_the_length_of_the_file() -> None:
    write_csv(Path("t.csv"), TABLE)
    Path("c.yaml").write_text("detection: {detectors: {focus: {enabled: true}}}", "utf-8")
    assert "the first 500 rows" in run("t.csv", "--config", "c.yaml").stderr
    Path("c.yaml").write_text("detection: {reference_events: 700}", "utf-8")
    assert "the first 700 rows" in run("t.csv", "--config", "c.yaml").stderr


def test_options_and_config_change_the_scan() -> None:
    write_csv(Path("t.csv"), TABLE)
    result = run("t.csv", "--drop", "x,plan", "--model", "m", "--version", "7", "--no-report")
    assert "m, version 7" in result.stderr
    assert "feature x" not in result.stdout
    Path("d.yaml").write_text("detection: {reference_events: 60, deployment: mine}\n")
    result = run("t.csv", "--config", "d.yaml", "--json", "--no-report")
    assert "the first 60 rows" in result.stderr
    assert '"deployment":"mine"' in result.stdout
    Path("d.yaml").write_text("detection: {reference_event: 60}\n")
    result = run("t.csv", "--config", "d.yaml")
    assert result.exit_code == 2
    assert "reference_event" in result.stderr


def test_without_matplotlib_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(Path("t.csv"), TABLE)
    for name in [n for n in sys.modules if n.startswith(("matplotlib", "streams.scan_report"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "streams.report_plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run("t.csv")
    assert result.exit_code == 0
    assert "pip install 'driftsentry[demo]'" in result.stderr
    assert "feature x rose" in result.stdout


def test_quiet_files_say_why() -> None:
    write_csv(Path("few.csv"), {name: values[:15] for name, values in TABLE.items()})
    result = run("few.csv")
    assert result.exit_code == 0
    assert "nothing was compared" in result.stdout
    assert "Nothing was compared." in Page(Path("few.csv-report.html").read_text("utf-8")).text


def test_refused_rows_and_times_that_step_back_are_said() -> None:
    times: list[object] = list(TABLE["ts"])
    times[5], times[20] = "", times[900]
    write_csv(Path("t.csv"), {**TABLE, "ts": times})
    result = run("t.csv", "--no-report")
    assert "wrong_type: 1 row (5). First: `ts` is required" in result.stdout
    assert "steps backwards at 1 row, first at row 21" in result.stdout


def test_names_from_a_hostile_file_stay_text(tmp_path: Path) -> None:
    table: dict[str, list[Any]] = {
        HOSTILE: TABLE["x"],
        "prediction": [HOSTILE] * 1_000 + ["no"] * 1_000,
    }
    path = write_parquet(tmp_path / "t.parquet", table)
    result = run(str(path))
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout + result.stderr
    text = Path("t.parquet-report.html").read_text("utf-8")
    page = Page(text)
    assert "script" not in page.count
    assert page.text.count("<script>alert(1)</script>") >= 3
    for tag, name, value in page.attributes:
        if name in {"href", "src"} or name.startswith("on"):
            assert value.startswith("#"), (tag, name, value)


def test_a_restless_signal_says_less_than_one_that_moved_once(tmp_path: Path) -> None:
    n = 40_000
    table = shifting_table(n, shift_at=25_000, shift=1.0)
    table["season"] = [float(i // 1_500 % 2) * 5 + v for i, v in enumerate(table["score"])]
    options = ScanOptions(detection=DetectionConfig(bounds=WITHOUT_ROWS, detectors=rivers()))
    scan, _ = scanned(write_parquet(tmp_path / "t.parquet", table), options)
    assert len(scan.alerts) > MAX_PLACES
    (best,) = strongest(scan.alerts, 1)
    assert "feature:x" in best.found_events
    lines = "\n".join(place_lines(scan))
    assert "weaker alerts." in lines
    page = Page(render_scan_report(scan))
    assert page.text.index("x rose") < page.text.index("season")
    assert "season (" in page.text


def test_alerts_are_told_in_rows_and_shares(tmp_path: Path) -> None:
    n = 4_000
    gone = [None if i >= 2_500 else 1.0 + i % 3 for i in range(n)]
    fixed = [1.0 if i < 2_500 else 2.0 + i % 2 for i in range(n)]
    table: dict[str, list[Any]] = {
        "gone": gone,
        "fixed": fixed,
        "prediction": [int(i >= 2_500) for i in range(n)],
    }
    options = ScanOptions(wishes=Wishes({"time": "none"}))
    scan, _ = scanned(write_parquet(tmp_path / "t.parquet", table), options)
    moved = {each.signal: each for alert in scan.alerts for each in alert.moved.values()}
    assert "from 0 %" in move(moved["missing:gone"])
    assert moved["feature:fixed"].unit == "departures"
    for alert in scan.alerts:
        text = sentence(alert, name_model=False)
        assert "since about row 2," in text
        assert "offset" not in text
        assert sentence(alert, name_model=True) == f"t 1: {text}"


def test_a_share_that_misses_zero_by_rounding_is_zero() -> None:
    assert percent(5.42e-20) == percent(-5.42e-20) == "0 %"
    assert percent(1.0 + 1e-12) == "100 %"
