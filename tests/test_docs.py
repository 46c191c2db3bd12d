"""The documentation is true: links resolve, commands parse, examples run."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import click
import pytest
from confluent_kafka import Consumer, Producer

from schemas.alerts import AlertData, DeadLetterData
from schemas.anomalies import AnomalyData
from schemas.decode import decode_records
from schemas.events import EVENT, PredictionEvent
from schemas.incidents import IncidentData
from schemas.limits import DecodeLimits
from schemas.reasons import Reason
from schemas.records import Record, TopicPartition
from streams.cli import main
from streams.cloudevents import alert_output
from streams.embedded import EmbeddedBroker
from streams.evidence import severity
from streams.identity import incident_id
from streams.incident_sentences import sentence
from tests.kit.pages import (
    ALL_PAGES,
    DOCS,
    FENCE,
    INLINE,
    LINK,
    PAGES,
    ROOT,
    anchors,
    blocks,
    commands,
    name_of,
)
from tests.schemas.ocsf import violations

TP = TopicPartition("driftsentry.events", 0)


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert path.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(path), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for link in LINK.findall(page.read_text("utf-8")):
            path = (page.parent / link.partition("#")[0]).resolve()
            if path.is_file():
                waiting.append(path)
    assert set(PAGES) <= seen


def parse(arguments: list[str]) -> None:
    """Parse a command line of ours without running it; raises click's errors."""
    command: click.Command = main
    parent: click.Context | None = None
    name: str | None = "driftsentry"
    with ExitStack() as stack:
        while True:
            context = command.make_context(name, arguments, parent=parent)
            stack.callback(context.close)
            if not isinstance(command, click.Group):
                return
            rest = [*context._protected_args, *context.args]
            name, found, arguments = command.resolve_command(context, rest)
            assert found is not None
            command, parent = found, context


def driftsentry_lines() -> list[tuple[str, str]]:
    return [
        (name_of(page), line.strip())
        for page in PAGES
        for line in commands(page)
        if line.strip().startswith("driftsentry ")
    ]


def test_commands_are_found_and_wrong_ones_are_refused() -> None:
    assert len(driftsentry_lines()) > 15
    for wrong in ("frobnicate", "worker --no-such-option", "config check"):
        with pytest.raises(click.UsageError):
            parse(wrong.split())


@pytest.mark.parametrize(
    "line",
    [pytest.param(line, id=f"{page}: {line}") for page, line in dict.fromkeys(driftsentry_lines())],
)
def test_every_command_line_parses(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("events.jsonl", "trail.ndjson"):
        (tmp_path / name).touch()
    words = shlex.split(line, comments=True)[1:]
    # A command may be named without what it needs: `driftsentry topics`.
    named_only = len(words) <= 2 and not any(word.startswith("-") for word in words)
    incomplete = click.MissingParameter, click.exceptions.NoArgsIsHelpError
    with suppress(*incomplete) if named_only else nullcontext():
        parse(words)


def commands_of(group: click.Group, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands_of(command, f"{before}{name} ")
        else:
            yield before + name


def test_the_changelog_names_every_command() -> None:
    assert isinstance(main, click.Group)
    named = set(INLINE.findall((ROOT / "CHANGELOG.md").read_text("utf-8")))
    assert set(commands_of(main)) - named == set()


def test_every_make_target_and_module_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    n_targets = n_modules = 0
    for page in ALL_PAGES:
        for line in commands(page):
            if (match := re.match(r"make ([a-z-]+)", line)) is not None:
                assert match[1] in targets, (page, line)
                n_targets += 1
            if (match := re.search(r"python -m ([a-z_.]+)", line)) is not None:
                assert importlib.util.find_spec(match[1]) is not None, (page, line)
                n_modules += 1
            if (match := re.search(r"pytest (tests/\S+)", line)) is not None:
                assert (ROOT / match[1]).exists(), (page, line)
    assert n_targets > 5
    assert n_modules > 3


def test_files_named_in_the_docs_exist() -> None:
    for page in PAGES:
        for code in INLINE.findall(page.read_text("utf-8")):
            if re.fullmatch(r"(schemas|detectors|streams|tests|examples)/[\w/]+\.\w+", code):
                assert (ROOT / code).exists(), (page, code)


# Examples


def contract_of(document: dict[str, Any]) -> Any:
    if "type" in document:
        return EVENT.validate_python(document)
    if "class_uid" in document:
        assert violations(document) == []
        return AnomalyData.model_validate(document)
    if "verdict" in document:
        return IncidentData.model_validate(document)
    model = DeadLetterData if "reason" in document else AlertData
    return model.model_validate(document)


def as_the_responder_says_it(incident: IncidentData) -> IncidentData:
    """The example with name, revision and sentence made of its own evidence, verdict and causes."""
    who, first = incident.model_id, incident.evidence[0]
    n_news = sum(each.revision for each in incident.evidence)
    said = (incident.verdict, incident.causes, incident.start_ms, incident.closed_ms)
    return incident.model_copy(
        update={
            "incident_id": incident_id(incident.deployment, who, first.evidence_id),
            "revision": 2 * n_news - 1 + (incident.closed_ms is not None),
            "start_ms": first.start_ms,
            "n_evidence": len(incident.evidence),
            "message": sentence(who, incident.model_versions, *said),
        }
    )


def json_examples() -> list[tuple[str, str]]:
    return [(name_of(page), block) for page in PAGES for block in blocks(page, "json")]


def test_there_are_examples_of_everything() -> None:
    kinds = {type(contract_of(json.loads(block))).__name__ for _, block in json_examples()}
    assert kinds == {
        *("PredictionEvent", "LabelEvent", "AlertData", "DeadLetterData", "AnomalyData"),
        "IncidentData",
    }


@pytest.mark.parametrize(("page", "block"), json_examples())
def test_every_json_example_is_valid(page: str, block: str) -> None:
    document = json.loads(block)
    contract = contract_of(document)
    known = set(type(contract).model_fields)
    assert set(document) <= known, page
    if "type" in document:
        key = document["model_id"] + (f"/{document['shard']}" if "shard" in document else "")
        record = Record(TP, 0, 1_795_428_000_250, key.encode(), block.encode())
        events, rejects = decode_records(TP, [record], DecodeLimits(), None, None)
        assert len(events) == 1
        assert rejects == []
    elif isinstance(contract, AlertData) and contract.effect is not None:
        assert severity(contract.effect) == contract.severity
    elif isinstance(contract, IncidentData):
        assert contract == as_the_responder_says_it(contract)
    elif isinstance(contract, DeadLetterData):
        assert contract.reason in set(Reason)


def python_example(page: Path, word: str) -> str:
    (found,) = [block for block in blocks(page, "python") if word in block]
    compile(found, str(page), "exec")
    return found


def on(broker: EmbeddedBroker, example: str) -> str:
    assert '"localhost:9092"' in example
    return example.replace("localhost:9092", broker.bootstrap_servers)


def test_the_emit_example_sends_a_valid_event_under_its_key() -> None:
    example = python_example(ROOT / "README.md", "Producer(")
    with EmbeddedBroker() as broker:
        exec(on(broker, example), {})  # noqa: S102 - the example is what is tested
        message = only_message(broker, "driftsentry.events")
    key, value = message.key(), message.value()
    assert isinstance(value, bytes)
    event = PredictionEvent.model_validate(json.loads(value))
    assert key == event.model_id.encode()
    assert abs(event.ts - time.time() * 1000) < 60_000
    events, rejects = decode_records(
        TP, [Record(TP, 0, event.ts, key, value)], DecodeLimits(), None, None
    )
    assert (len(events), rejects) == (1, [])


def only_message(broker: EmbeddedBroker, topic: str) -> Any:
    """The one record of a topic of the mock broker, whatever its partition."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "test"})
    try:
        partitions = consumer.list_topics(topic, 10).topics[topic].partitions
        consumer.assign([kafka_partition(topic, number) for number in partitions])
        deadline_s = time.monotonic() + 20
        while time.monotonic() < deadline_s:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                return message
    finally:
        consumer.close()
    raise AssertionError(f"nothing arrived on {topic}")


def kafka_partition(topic: str, number: int) -> Any:
    from confluent_kafka import TopicPartition as KafkaPartition  # noqa: PLC0415 - two of that name

    return KafkaPartition(topic, number, 0)


class PrintedError(Exception):
    """Ends the example's endless loop."""


def test_the_consume_example_prints_an_alert() -> None:
    example = python_example(ROOT / "README.md", "Consumer(")
    assert '"isolation.level": "read_committed"' in example
    schema_example = AlertData.model_config["json_schema_extra"]
    assert isinstance(schema_example, dict)
    documents: Any = schema_example["examples"]
    alert = AlertData.model_validate(documents[0])
    printed: list[tuple[object, ...]] = []

    def print_once(*words: object) -> None:
        printed.append(words)
        raise PrintedError

    with EmbeddedBroker() as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        output = alert_output("driftsentry.alerts", alert, 1_795_428_000_250)
        producer.produce(
            output.topic, value=output.value, key=output.key, headers=list(output.headers)
        )
        assert producer.flush(20) == 0
        namespace: dict[str, Any] = {"print": print_once}
        with pytest.raises(PrintedError):
            exec(on(broker, example), namespace)  # noqa: S102 - the example is what is tested
        namespace["consumer"].close()
    assert printed == [(alert.alert_id, alert.revision, alert.severity, alert.message)]


def test_the_validation_example_runs() -> None:
    exec(python_example(DOCS / "events.md", "model_validate"), {})  # noqa: S102 - as above


def test_the_examples_are_short() -> None:
    for word, n_lines in (("Producer(", 14), ("Consumer(", 14)):
        example = python_example(ROOT / "README.md", word)
        assert len([line for line in example.splitlines() if line.strip()]) <= n_lines
