"""`driftsentry audit` on files and on a broker without transactions; the page's own example."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from streams import cli_audit
from streams.cli import main
from streams.cli_audit import export_line
from streams.embedded import EmbeddedBroker
from tests.kit.pages import DOCS, blocks
from tests.streams.trail_kit import trail, values

WHOLE = trail(5)
VALUES = values(WHOLE)
HEAD = str(WHOLE[-1].head)


def run(*arguments: str, servers: str = "") -> Result:
    environment = {"DRIFTSENTRY_BOOTSTRAP_SERVERS": servers} if servers else {}
    return CliRunner().invoke(main, ["audit", *arguments], env=environment)


def exported(directory: Path, lines: list[bytes]) -> Path:
    path = directory / "trail.ndjson"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def test_a_file_that_is_whole_is_told_with_its_head(tmp_path: Path) -> None:
    path = exported(tmp_path, VALUES)
    result = run("verify", "--file", str(path))
    assert result.exit_code == 0, result.output
    assert result.stdout == f"trail.ndjson: 5 records, whole; head {HEAD}\n"


def test_heads_that_were_kept_in_a_file_must_be_in_the_trail(tmp_path: Path) -> None:
    heads = tmp_path / "heads"
    heads.write_text("".join(f"{record.head}\n" for record in WHOLE[2:]), "ascii")
    whole = run("verify", "--file", str(exported(tmp_path, VALUES)), "--head", str(heads), "--json")
    assert whole.exit_code == 0, whole.output
    assert orjson.loads(whole.stdout)["heads_found"] == [str(record.head) for record in WHOLE[2:]]
    cut = run("verify", "--file", str(exported(tmp_path, VALUES[:4])), "--head", str(heads))
    assert cut.exit_code == 1
    assert cut.stdout.startswith("BROKEN truncated at line 4: seq 5: ")


def test_a_line_that_was_changed_is_named(tmp_path: Path) -> None:
    lines = [*VALUES[:2], VALUES[2].replace(b"word 2", b"word 3"), *VALUES[3:]]
    result = run("verify", "--file", str(exported(tmp_path, lines)))
    assert result.exit_code == 1
    assert result.stdout.startswith("BROKEN changed at line 3: seq 3: ")


@pytest.mark.parametrize("head", ["", "3", "3:ab", f"0:{'a' * 64}"])
def test_a_head_that_is_none_is_wrong_usage(head: str, tmp_path: Path) -> None:
    result = run("verify", "--file", str(exported(tmp_path, VALUES)), "--head", head)
    assert result.exit_code == 2
    empty = tmp_path / "empty"
    empty.touch()
    result = run("verify", "--file", str(exported(tmp_path, VALUES)), "--head", str(empty))
    assert result.exit_code == 2
    assert "names no head" in result.stderr


def test_control_characters_in_a_trail_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    lines = [*VALUES, b'{"v":"\\u001b[2J\x1b[2J"}']
    result = run("verify", "--file", str(exported(tmp_path, lines)))
    assert result.exit_code == 1
    assert "\x1b" not in result.output


def test_a_broker_without_transactions_is_refused_and_a_missing_topic_is_named(
    tmp_path: Path,
) -> None:
    with EmbeddedBroker() as broker:
        servers = broker.bootstrap_servers
        refused = run("run", servers=servers)
        missing = run("verify", servers=servers)
        output = tmp_path / "out"
        not_exported = run("export", "--output", str(output), servers=servers)
        # No client outlives its broker.
        gc.collect()
    assert refused.exit_code == 2
    assert "mock broker" in refused.output
    assert missing.exit_code == 3
    assert "there is no topic driftsentry.audit" in missing.stderr
    assert not_exported.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def held(*_: object) -> Iterator[tuple[str, Iterable[tuple[int, bytes]]]]:
        yield "driftsentry.audit", enumerate(VALUES)

    monkeypatch.setattr(cli_audit, "trail_of", held)
    written = run("export", "--output", str(tmp_path / "out"))
    assert written.exit_code == 0, written.output
    for place, why in (("nowhere", "No such file or directory"), ("out", "Not a directory")):
        output = tmp_path / place / "out"
        result = run("export", "--output", str(output))
        # As where the trail cannot be read: exit code 1 would say that it is broken.
        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr == (
            f"driftsentry: {output} could not be written: {why}; name a file in another place with "
            "--output\n"
        )


def test_the_example_of_the_page_checks_an_export_and_finds_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = blocks(DOCS / "audit-trail.md", "python")
    monkeypatch.chdir(tmp_path)
    exported(tmp_path, VALUES)
    exec(example, {})  # noqa: S102 - the example is what is tested
    assert capsys.readouterr().out == f"whole; head {HEAD}\n"
    changed = [each.replace(b"word 2", b"word 3") for each in VALUES]
    for broken in (VALUES[1:], [*VALUES[:2], *VALUES[3:]], changed, *other_forms(VALUES)):
        path = exported(tmp_path, broken)
        with pytest.raises(AssertionError):
            exec(example, {})  # noqa: S102 - as above
        assert run("verify", "--file", str(path)).exit_code != 0
    # The last line may have no end.
    path.write_bytes(b"\n".join(VALUES))
    exec(example, {})  # noqa: S102 - as above


def other_forms(values: list[bytes]) -> Iterator[list[bytes]]:
    """The same records, one of them as no auditor writes it: JSON of the same content."""
    first, one, *rest = values
    for other in (
        b'{"by":"eve",' + one[1:],
        one.replace(b":", b": ", 1),
        b" " + one,
        one + b"\r",
        one + b" ",
    ):
        yield [first, other, *rest]


@pytest.mark.parametrize("strange", [None, b"", b"two\nlines", b"\xff\n"])
def test_what_no_line_can_hold_is_exported_and_named(strange: bytes | None, tmp_path: Path) -> None:
    values = [*VALUES[:2], strange, *VALUES[2:]]
    lines = [export_line(offset, value) for offset, value in enumerate(values)]
    assert all(b"\n" not in line for line in lines)
    assert [line for line in lines if line in VALUES] == VALUES
    result = run("verify", "--file", str(exported(tmp_path, lines)))
    assert result.exit_code == 1
    assert result.stdout.startswith("BROKEN foreign at line 3: ")
    assert f"head {HEAD}" in result.stdout
