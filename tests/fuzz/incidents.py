"""Targets: what the responder reads of topics and of its store, and what people say to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from schemas.commands import CommandError, read_command
from schemas.incidents import IncidentData
from schemas.printable import masked
from schemas.responder_config import IncidentConfig
from schemas.responses import ApproveQuarantine, OpenEvidence, OverruleIncident, read_response
from streams.cloudevents import incident_headers
from streams.incident_desk import as_bytes
from streams.incident_evidence import (
    Evidence,
    EvidenceError,
    from_alert,
    from_anomaly,
    from_liveness,
    merge,
)
from streams.incident_reader import OpenedEvidence
from streams.incident_view import incident_line, incident_page
from streams.incidents import incidents_of
from tests.fuzz.target import Choices, Target, must
from tests.streams.incident_kit import alert, anomalies, moved, silence

RECORDS = (alert(1, signals=[moved("error"), moved("score")]), *anomalies()[:1], silence())
PARSERS: tuple[Callable[[bytes], Evidence | None], ...] = (from_alert, from_anomaly, from_liveness)
FAR_MS = 2**60
"""All is over by then."""


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value where another one may stand: its container and its key."""
    found = []
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        found += [(value, key), *places(value[key])]
    return found


def record(choices: Choices) -> tuple[int, bytes]:
    """The number of a parser, and a record: its own with other values in it, or any bytes."""
    number = choices.below(len(PARSERS))
    if choices.below(8) == 1:
        return number, choices.take(4_096)
    fields = orjson.loads(RECORDS[number])
    for _ in range(choices.below(6)):
        known = places(fields)
        container, key = known[choices.number(2) % len(known)]
        text = choices.text()
        try:
            container[key] = orjson.loads(text)
        except orjson.JSONDecodeError:
            container[key] = text.decode("utf-8", "replace")
    return number, orjson.dumps(fields)


def run_evidence(content: bytes) -> None:
    """`EvidenceError` in a sentence, or evidence that can be kept, merged, told of and shown."""
    choices = Choices(content)
    known: list[Evidence] = []
    while choices.left and len(known) < 8:
        number, value = record(choices)
        try:
            found = PARSERS[number](value)
        except EvidenceError as error:
            must(str(error), "an error without a sentence")
            continue
        if found is not None:
            check_evidence(found)
            known.append(found)
    by_model: dict[tuple[str, str], dict[str, Evidence]] = {}
    for each in known:
        own = by_model.setdefault((each.deployment, each.model_id), {})
        before = own.get(each.evidence_id)
        own[each.evidence_id] = each if before is None else merge(before, each)
    for evidence in by_model.values():
        for watermark_ms in (None, FAR_MS):
            check_incidents(evidence, watermark_ms)


def check_evidence(found: Evidence) -> None:
    """It is the same after it was kept, and after it was read twice."""
    must(Evidence.load(found.dump()) == found, "other evidence after writing and reading")
    must(merge(found, found) == found, "twice is not as once")


def check_incidents(evidence: dict[str, Evidence], watermark_ms: int | None) -> None:
    """They can be written and read again, hold all evidence, and do nothing to a terminal."""
    incidents = incidents_of(evidence.values(), (), watermark_ms, IncidentConfig())
    held = sorted(each.evidence_id for incident in incidents for each in incident.evidence)
    must(held == sorted(evidence), "evidence in no incident, or in two")
    for incident in incidents:
        must(IncidentData.model_validate_json(as_bytes(incident)) == incident, "another incident")
        must(masked(incident.message) == incident.message, "a control character in a sentence")
        for line in (
            incident_line(incident),
            *incident_page(incident, OpenedEvidence(evidence, {})),
        ):
            must(masked(line) == line, "a control character on a terminal")
        incident_headers(incident)


def run_stored(content: bytes) -> None:
    """`EvidenceError`, or evidence that is the same when it is written and read again."""
    try:
        found = Evidence.load(content)
    except EvidenceError as error:
        must(str(error), "an error without a sentence")
        return
    check_evidence(found)


def run_words(content: bytes) -> None:
    """`CommandError` in a line, no word, or a word that no worker takes for a command."""
    try:
        word = read_response(content)
    except CommandError as error:
        must(str(error) and masked(str(error)) == str(error), "an error that is no line")
        return
    if word is None:
        return
    must(read_response(word.model_dump_json().encode()) == word, "another word")
    try:
        read_command(content)
    except CommandError:
        return
    must(False, "a worker obeys what is said to the responder")


ABOUT: dict[str, Any] = {
    "command_id": "a-1",
    "deployment": "driftsentry",
    "model_id": "churn",
    "incident_id": "0" * 32,
    "by": "ana",
}
SHOWN: dict[str, Any] = {"revision": 3, "evidence_ids": ("2" * 32,)}
WORDS = (
    OverruleIncident(**ABOUT, verdict="data_fault", reason="a broken join", evidence={"2" * 32: 4}),
    ApproveQuarantine(**ABOUT, request_id="1" * 32, **SHOWN),
    OpenEvidence(**ABOUT, revision=3, evidence={"2" * 32: 4}),
)
TOKENS = (
    *(b"null", b"true", b"-1", b"1.5", b"1e308", b"NaN", b"9223372036854775807", b"[]", b"{}"),
    *(b"18446744073709551615", b"9007199254740993", b'"\x1b[2J"', b'"\\u202e"', b'"quality:range"'),
    *(b'"resolved"', b'"closed"', b'"recovered"', b'"bound"', b'"label_poisoning"', b'""'),
)


def evidence_seeds() -> list[bytes]:
    """Each kind as it is; then with another value in one place."""
    plain = [bytes([number, 0, 0]) for number in range(len(PARSERS))]
    return [
        b"".join(plain),
        *plain,
        bytes([0, 0, 1, 7, 0, 4]) + b"null",
        bytes([1, 0, 2, 40, 0, 2]) + b"-1" + bytes([3, 0, 2]) + b'""',
        bytes([2, 1]) + RECORDS[2],
    ]


def stored_seeds() -> list[bytes]:
    """What the store has of each kind."""
    found = [parse(value) for parse, value in zip(PARSERS, RECORDS, strict=True)]
    return [*(each.dump() for each in found if each is not None), b"", b"{}", b"null"]


TARGETS = (
    Target("evidence", run_evidence, evidence_seeds, TOKENS),
    Target("stored", run_stored, stored_seeds, TOKENS),
    Target(
        "words",
        run_words,
        lambda: [*(each.model_dump_json().encode() for each in WORDS), b"", b"{}", b'{"kind":1}'],
        (*TOKENS, b'"kind":"mute"', b'"kind":"opened"', b'"kind":"approve"', b'"kind":"overrule"'),
    ),
)
