"""Every kept input once, and a short while of fuzzing; `make fuzz SECONDS=3600` goes on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import __main__ as driver
from tests.fuzz import runs
from tests.fuzz.child import HUNG, code_of
from tests.fuzz.registry import MAX_FILES, MODULES, corpus, load
from tests.fuzz.runs import HAS_ATHERIS, Nursery, Run, replay
from tests.fuzz.target import MAX_LEN, Choices

SECONDS = 60


@pytest.mark.parametrize("name", MODULES)
def test_the_corpus_is_kept_and_small(name: str) -> None:
    kept = corpus(name)
    assert 0 < len(kept) <= MAX_FILES
    assert all(path.stat().st_size <= MAX_LEN for path in kept)
    assert load(name).seeds()


def test_the_fuzzer_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    # Each file of the corpus is run before anything is made up; without atheris only those are.
    code = driver.main(["--seconds", str(SECONDS)])
    said = capsys.readouterr()
    assert code == 0, said.out
    assert (driver.NOT_GUIDED in said.err) == (not HAS_ATHERIS)
    lines = re.findall(r"^(\w+) +([\d,]+)", said.out, re.MULTILINE)
    counts = {name: int(n.replace(",", "")) for name, n in lines}
    assert counts.keys() == MODULES.keys()
    for name, n_executions in counts.items():
        assert n_executions >= len(corpus(name)), name


def test_an_input_that_fails_is_told_with_the_command_that_shows_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No input fails, so the exception is put where one might come from.
    bad = tmp_path / "bad"
    bad.write_bytes(b"no file is read where there is a directory")
    run = replay("metadata", [bad, tmp_path])
    assert "IsADirectoryError" in run.failure
    assert f"python -m tests.fuzz metadata --replay {tmp_path}" in run.failure
    monkeypatch.setattr(driver, "replay", lambda *_: run)
    assert driver.main(["metadata", "--replay", str(bad)]) == 1
    assert f"input:  {tmp_path}" in capsys.readouterr().out


def test_without_atheris_the_corpus_runs_and_that_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "HAS_ATHERIS", False)
    assert driver.main(["metadata"]) == 0
    said = capsys.readouterr()
    assert driver.NOT_GUIDED in said.err
    assert f"{len(corpus('metadata')):,}" in said.out.split("metadata")[1].split()[0]


def test_an_unknown_target_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        driver.main(["nothing"])
    assert "no such target: nothing" in capsys.readouterr().err


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "STARTING_S", 0)
    run = replay("metadata", corpus("metadata"))
    assert "exit code 124" in run.failure


def test_a_forked_target_that_hangs_is_ended() -> None:
    for command, timeout_s, code in (("sleep 60", 0.1, HUNG), ("exit 77", 60.0, 77)):
        process = subprocess.Popen(["sh", "-c", command])
        assert code_of(process.pid, timeout_s) == code
        process.wait()


@pytest.mark.skipif(not HAS_ATHERIS, reason="atheris has wheels for Linux on x86-64 alone")
def test_what_a_target_says_and_its_exit_code_come_from_the_shared_process() -> None:
    nursery = Nursery(["metadata"])
    try:
        done = nursery.child(
            "metadata", [str(runs.VAR / "seeds"), "-no_such_flag=1", "-runs=1"], 60
        )
    finally:
        nursery.close()
    assert done.returncode == 0, done.stdout
    assert "no_such_flag" in done.stdout


def test_choices_are_made_of_bytes_and_end_with_them() -> None:
    choices = Choices(b"\x07\x02ab\x05")
    assert choices.below(4) == 3
    assert choices.text() == b"ab"
    assert choices.left
    assert choices.one_of("abcdef") == "f"
    assert (choices.number(8), choices.text(), choices.below(300)) == (0, b"", 0)


def test_a_report_line_says_what_was_not_guided() -> None:
    run = Run("x", is_guided=False, n_executions=3, per_second=0, n_corpus=3, n_covered=0)
    assert driver.line(run).split() == ["x", "3", "-", "-", "3", "ok"]
