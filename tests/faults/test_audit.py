"""The judge sees what is wrong: a record lost, one twice, one altered, one in another's place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.outputs import Outputs, Said, Stream
from tests.faults import run
from tests.faults.audit import Verdict, compared
from tests.faults.faults import FAULTS
from tests.faults.run import Row, rows_table, times, write_docs

STREAM = Stream("alerts", 0, "lineage")


def record(number: int, sequence: int | None = None, value: bytes = b"") -> Said:
    headers = (
        ("ce_id", f"alert-{number}.1".encode()),
        ("ce_sequence", str(number if sequence is None else sequence).encode()),
    )
    return Said(b"model", value or f"value {number}".encode(), headers, (1, number))


def outputs(*records: Said) -> Outputs:
    return {STREAM: list(records)} if records else {}


ALL = [record(number) for number in range(1, 6)]


def test_equal_outputs_are_clean() -> None:
    verdict = compared(outputs(*ALL), outputs(*ALL))
    assert verdict == Verdict(5, 0, 0, 0)
    assert verdict.is_clean
    assert compared({}, {}).is_clean


@given(st.integers(0, 4))
def test_each_fault_is_counted_under_its_name(at: int) -> None:
    expected = outputs(*ALL)
    rest = ALL[:at] + ALL[at + 1 :]
    assert compared(outputs(*rest), expected) == Verdict(4, 1, 0, 0)
    assert compared(outputs(*ALL, ALL[at]), expected) == Verdict(6, 0, 1, 0)
    altered = record(at + 1, value=b"other")
    assert compared(outputs(*rest, altered), expected) == Verdict(5, 0, 0, 1)
    renumbered = record(at + 1, sequence=9)
    assert compared(outputs(*rest, renumbered), expected) == Verdict(5, 0, 0, 1)
    assert compared(outputs(*ALL, record(77)), expected) == Verdict(6, 0, 0, 1)
    elsewhere = {STREAM: rest, STREAM._replace(partition=1): [ALL[at]]}
    assert compared(elsewhere, expected) == Verdict(5, 1, 0, 1)


def test_a_whole_lineage_that_is_missing_is_lost() -> None:
    assert compared({}, outputs(*ALL)) == Verdict(0, 5, 0, 0)


def test_a_row_takes_the_worst_of_its_verdicts_and_the_nearest_rank() -> None:
    assert not Row("nothing has come out", 7).is_clean
    row = Row("worker killed", 7, n_events=1_000, recovery_s=[float(n) for n in range(1, 101)])
    row.judge(Verdict(5, 0, 0, 0), Verdict(5, 0, 0, 0))
    assert (row.is_clean, row.percentile_s(0)) == (True, 1.0)
    assert (row.percentile_s(50), row.percentile_s(99)) == (50.0, 99.0)
    assert rows_table([row]).splitlines()[-1] == (
        "| worker killed | 100 | 1,000 | 5 | 0 | 0 | 0 | 7 | 50.0 s | 99.0 s |"
    )
    row.judge(Verdict(5, 0, 2, 0), Verdict(5, 1, 0, 0))
    assert (row.n_lost, row.n_duplicated, row.is_clean) == (1, 2, False)
    hanging = Row("worker killed", 7, n_outputs=5, problem="a transaction hangs")
    assert not hanging.is_clean


def test_the_table_takes_the_place_of_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "delivery.md"
    page.write_text(run.PAGE.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(run, "PAGE", page)
    before = page.read_text("utf-8")
    for fault in ("one", "another"):
        write_docs([Row(fault, 1, recovery_s=[1.0])], "the command")
        text = page.read_text("utf-8")
        assert text.count(f"| {fault} | 1 | 0 |") == 1
        assert text.count("`the command`") == 1
    assert "| one |" not in text
    head, foot = before.split(run._BEGIN)[0], before.split(run._END)[1]
    assert text.startswith(head)
    assert text.endswith(foot)
    page.write_text("no table", "utf-8")
    with pytest.raises(ValueError, match="no place"):
        write_docs([], "the command")


def test_every_fault_is_asked_for() -> None:
    wanted = times(200, 50, 8)
    assert wanted.keys() == FAULTS.keys()
    assert (wanted["worker killed"], wanted["worker a zombie"]) == (200, 50)
    assert all(n > 0 for n in times(1, 1, 1).values())
