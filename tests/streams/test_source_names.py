"""`driftsentry source`: a pseudonym and a name, for who holds the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import orjson
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from schemas.source_hash import SourceKey, pseudonym
from streams.cli import main
from streams.source_names import NameFinder, look_at_lines
from tests.schemas.arrow_streams import stream_of
from tests.streams.events import START_MS, label, prediction

SECRET: Final = bytes(range(100, 132)).hex()
KEY: Final = SourceKey(SECRET.encode())
NAMES: Final = ["mallory", "alice", "a client with spaces", "münze"]


def hash_of(name: str) -> str:
    return KEY.digest(name).hex()


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRIFTSENTRY_SOURCE_KEY", SECRET)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, said: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["source", *arguments], input=said, prog_name="driftsentry")


def test_a_name_has_the_pseudonym_that_findings_have() -> None:
    result = run("hash", *NAMES)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [f"{hash_of(name)}  {name}" for name in NAMES]
    assert result.stderr == f"key {KEY.fingerprint}\n"
    ((first, second), *_) = KEY.words(["mallory"]).tolist()
    assert pseudonym((first, second)) == hash_of("mallory")


def test_a_list_of_names_is_compared() -> None:
    Path("names.txt").write_bytes(b"bob\r\n\nmallory\r\na client with spaces")
    wanted = [hash_of("a client with spaces"), hash_of("mallory").upper()]
    result = run("resolve", *wanted, "--names", "names.txt", "--key-id", KEY.fingerprint)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{hash_of('a client with spaces')}  a client with spaces",
        f"{hash_of('mallory')}  mallory",
    ]
    from_stdin = run("resolve", *wanted, "--names", "-", said="mallory\na client with spaces\n")
    assert from_stdin.stdout == result.stdout


@pytest.mark.parametrize("n_digits", [12, 20, 32])
def test_the_digits_that_a_sentence_has_are_enough(n_digits: int) -> None:
    asked = hash_of("mallory")[:n_digits]
    result = run("resolve", asked, "--names", "-", said="bob\nmallory\n")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{hash_of('mallory')}  mallory\n"
    result = run("resolve", asked, "--names", "-", said="bob\n")
    assert (result.exit_code, result.stdout) == (1, "")


def test_the_mark_that_editors_put_before_a_list_is_not_of_a_name() -> None:
    result = run("resolve", hash_of("bob"), "--names", "-", said="\ufeffbob\r\n".encode())
    assert result.stdout == f"{hash_of('bob')}  bob\n"


def test_who_is_not_found_is_said_and_lines_that_are_no_text_are_counted() -> None:
    names = b"\xff\xfe\nmallory\n\xff\n"
    result = run("resolve", hash_of("eve"), hash_of("mallory"), "--names", "-", said=names)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"{hash_of('mallory')}  mallory"]
    assert "2 lines are no UTF-8" in result.stderr
    assert f"no candidate is {hash_of('eve')}" in result.stderr
    assert KEY.fingerprint in result.stderr


def test_a_name_prints_no_control_characters_and_json_has_it_unchanged() -> None:
    name = "a\x1b[2Jb"
    asked = ("resolve", hash_of(name), "--names", "-")
    assert run(*asked, said=name).stdout == f"{hash_of(name)}  a?[2Jb\n"
    document = orjson.loads(run(*asked, "--json", said=name).stdout)
    assert document == {"source": hash_of(name), "name": name}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("resolve", "0" * 32), "either --names or --from-topic"),
        (("resolve", "0" * 32, "--names", "-", "--from-topic"), "either --names or --from-topic"),
        (("resolve", "0" * 11, "--names", "-"), "is no pseudonym: it has 32 hex digits"),
        (("resolve", "--names", "-"), "PSEUDONYM"),
        (("resolve", "0" * 32, "--names", "-", "--key-id", "ff"), "are of key ff"),
        (("resolve", "0" * 32, "--from-topic"), "bootstrap_servers"),
        (("resolve", "0" * 32, "--names", "no.txt"), "could not read the names: "),
        (("hash", ""), "an empty name is no source"),
        (("hash", "a\udcff"), "is no UTF-8, and so no name of a source"),
        (("hash",), "NAME"),
    ],
)
def test_wrong_usage_is_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("arguments", [("hash", "x"), ("resolve", "0" * 32, "--names", "-")])
def test_without_a_key_nothing_can_be_said(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.delenv("DRIFTSENTRY_SOURCE_KEY")
    result = run(*arguments)
    assert result.exit_code == 2
    assert "no source key is configured" in result.stderr


def test_the_key_itself_is_never_shown() -> None:
    for result in (run("hash", "x"), run("resolve", "0" * 32, "--names", "-", said="x")):
        assert SECRET not in result.output
        assert SECRET not in result.stderr


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=12))
def test_of_all_candidates_those_are_found_that_are_wanted(candidates: list[str]) -> None:
    names = [name for name in candidates if name and not set(name) & set("\r\n")]
    wanted = {hash_of(name): name for name in names[::2]}
    finder = NameFinder(SECRET.encode(), wanted)
    assert look_at_lines(finder, (name.encode() + b"\n" for name in names)) == 0
    assert finder.found == wanted
    # To decode with it gives what any key gives.
    assert (finder.words([*names, None]) == KEY.words([*names, None])).all()


@pytest.mark.kafka
def test_the_sources_of_the_events_topic_are_candidates(
    kafka: str, new_topic: Callable[..., str]
) -> None:
    topic = new_topic("events", n_partitions=2)
    producer = Producer({"bootstrap.servers": kafka})
    in_clear = prediction(0, {"x": 1.0}, source="mallory")
    of_label = orjson.dumps({**orjson.loads(label(1, 1, ts=START_MS)), "label_source": "a lab"})
    in_arrow = stream_of(
        [
            orjson.loads(prediction(number, {"x": 1.0}, source=f"batch {number}"))
            for number in range(3)
        ]
    )
    refused = prediction(5, {"x": 1.0}, model="", source="refused")
    for partition, value in ((0, in_clear), (1, of_label), (1, in_arrow), (0, refused)):
        producer.produce(topic, value=value, key=b"m", partition=partition)
    assert producer.flush(30) == 0
    names = ["mallory", "a lab", "batch 2"]
    asked = ("resolve", *map(hash_of, names), "--from-topic", "--events-topic", topic)
    result = run(*asked, "--bootstrap-servers", kafka)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [f"{hash_of(name)}  {name}" for name in names]
    assert result.stderr == "5 events looked at\n"
    # What the workers refused is in no finding.
    result = run(
        *("resolve", hash_of("refused"), "--from-topic", "--events-topic", topic),
        *("--bootstrap-servers", kafka),
    )
    assert result.exit_code == 1
    missing = run(
        *("resolve", "0" * 32, "--from-topic", "--events-topic", f"{topic}-no"),
        *("--bootstrap-servers", kafka),
    )
    assert missing.exit_code == 3
    assert "could not read the events: there is no topic" in missing.stderr
