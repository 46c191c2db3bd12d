"""What `driftsentry scan` refuses: with exit code 2, the option's name, and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from tests.streams.events import prediction
from tests.streams.scan_kit import shifting_table, write_csv, write_parquet

TABLE = shifting_table(400, shift_at=300, shift=4.0)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["scan", *arguments], prog_name="driftsentry")


def refused(*arguments: str) -> str:
    """What it says against these arguments."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


def test_a_file_of_which_no_row_could_be_taken_is_no_quiet_one() -> None:
    wide = {f"x{i}": [(i + 1.0) / 7.0 / (row + 1.0) for row in range(60)] for i in range(4_000)}
    write_parquet(Path("wide.parquet"), wide)
    result = run("wide.parquet", "--reference", "20")
    assert result.exit_code == 2, result.output
    assert "60 of them were refused" in result.stdout
    assert "no row could be taken" in result.stderr
    page = Path("wide.parquet-report.html").read_text("utf-8")
    assert "Nothing was compared." in page
    assert "No alert." not in page


def test_rows_that_are_all_of_the_reference_get_no_tick() -> None:
    write_csv(Path("few.csv"), shifting_table(20, shift_at=10, shift=4.0))
    result = run("few.csv")
    assert result.exit_code == 0, result.output
    assert "a reference has 20 rows at least: give more rows" in result.stdout
    assert "Nothing was compared." in Path("few.csv-report.html").read_text("utf-8")


def test_a_table_without_rows_is_refused_whatever_its_format() -> None:
    write_parquet(Path("none.parquet"), {"x": []})
    Path("none.csv").write_text("x,y\n")
    for name in ("none.parquet", "none.csv"):
        assert "has no row: there is nothing to scan" in refused(name)


def test_the_report_never_takes_the_place_of_the_file() -> None:
    write_csv(Path("t.csv"), TABLE)
    before = Path("t.csv").read_bytes()
    Path("link").symlink_to("t.csv")
    for report in ("t.csv", "./t.csv", "link"):
        assert "--report" in refused("t.csv", "--report", report)
    assert Path("t.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--drop", "amount"], "--drop"),
        (["--features", "x"], "--features"),
        (["--time", "zzz"], "--time"),
        (["--model", "other"], "--model"),
        (["--version", "7"], "--version"),
    ],
)
def test_columns_are_not_chosen_of_events_that_say_what_is_what(
    arguments: list[str], named: str
) -> None:
    events = b"\n".join(prediction(i, {"x": float(i % 7)}) for i in range(100))
    Path("events.ndjson").write_bytes(events)
    said = refused("events.ndjson", *arguments)
    assert "driftsentry's own events" in said
    assert said.endswith(f"leave out {named}")
    assert run("events.ndjson", "--no-report").exit_code == 0


def test_a_pipe_is_refused_by_what_it_is() -> None:
    os.mkfifo("pipe")
    assert "is a pipe or a device" in refused("pipe")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--encoding", "base64"], "'base64' is not known here"),
        (["--encoding", "utf-16"], "name its encoding with --encoding"),
        (["--delimiter", "é"], "one ASCII character"),
    ],
)
def test_what_a_csv_cannot_be_written_with_is_refused(arguments: list[str], said: str) -> None:
    write_csv(Path("t.csv"), TABLE)
    assert said in refused("t.csv", *arguments)


def test_a_cell_that_is_longer_than_a_block_is_told_in_words() -> None:
    Path("long.csv").write_text("x,y\n1,2\n" + "a" * (9 << 20) + ",3\n")
    said = refused("long.csv")
    assert "straddling" not in said
    assert "shorten its longest value" in said
