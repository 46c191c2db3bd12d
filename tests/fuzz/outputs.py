"""Targets: the output topics, as `driftsentry alerts` and `driftsentry verify` read them."""

from __future__ import annotations

import orjson

from schemas.alerts import AlertData
from streams.alert_reader import AlertsError, as_cloudevent, as_sentence
from streams.audit_observed import INPUT_OFFSET, Observed, OutputDuty, Position, Seen
from streams.cloudevents import alert_output
from tests.fuzz.target import Choices, Target, must

ALERT = AlertData.model_validate(AlertData.model_config["json_schema_extra"]["examples"][0])  # type: ignore[index]  # pydantic types it as a callable, too
OUTPUT = alert_output("alerts", ALERT, 1_795_405_378_000)
DUTIES: tuple[OutputDuty, ...] = tuple(INPUT_OFFSET)


class Written:
    """A record of the alerts topic, as far as its reader asks."""

    def __init__(self, value: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
        self._value = value
        self._headers = headers

    def value(self) -> bytes | None:
        return self._value

    def topic(self) -> str:
        return "alerts"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7

    def headers(self) -> list[tuple[str, bytes | None]]:
        return self._headers


def record(choices: Choices) -> tuple[bytes | None, list[tuple[str, bytes | None]]]:
    """An alert's value and headers, some of them others."""
    headers: list[tuple[str, bytes | None]] = list(OUTPUT.headers)
    for _ in range(choices.below(4)):
        name, value = choices.one_of(headers)
        match choices.below(4):
            case 0:
                headers.append((name, None))
            case 1:
                headers.insert(0, (name, choices.text()))
            case 2:
                headers = [each for each in headers if each[0] != name] or headers
            case _:
                headers.append((choices.text().decode("utf-8", "replace"), value))
    match choices.below(4):
        case 0:
            return OUTPUT.value, headers
        case 1:
            return None, headers
        case 2:
            return choices.take(4_096), headers
        case _:
            fields = orjson.loads(OUTPUT.value)
            for _ in range(choices.below(4)):
                try:
                    fields[choices.one_of(list(fields))] = orjson.loads(choices.text())
                except ValueError:
                    continue
            return orjson.dumps(fields), headers


def run_alerts(content: bytes) -> None:
    """`AlertsError`, or a line for people and one for machines."""
    value, headers = record(Choices(content))
    try:
        event = as_cloudevent(Written(value, headers))  # type: ignore[arg-type]  # of the client's class few methods are used
    except AlertsError:
        return
    line = as_sentence(event)
    must(line.isprintable() or not any(ord(c) < 32 for c in line), "a control character")
    must(b"\n" not in orjson.dumps(event), "more than one line")


def run_audit(content: bytes) -> None:
    """Whatever stands on the topics, each record is counted once."""
    choices = Choices(content)
    lineages = frozenset({ALERT.lineage, "x"})
    observed = Observed(lineages, {duty: {0: 0} for duty in DUTIES})
    n_records = 0
    while choices.left and n_records < 64:
        value, headers = record(choices)
        key = None if choices.below(2) else choices.text()
        seen = Seen(key, value, tuple(headers), choices.number(8) - (1 << 63))
        position = Position(choices.below(3), n_records)
        observed.add(choices.one_of(DUTIES), seen, position)
        n_records += 1
    must(observed.n_bytes >= 0, "a size below nothing")
    tables = [observed.table(duty, lineage) for duty in DUTIES for lineage in sorted(lineages)]
    for table in tables:
        must(all(table.seq[1:] >= table.seq[:-1]), "not in the order of their numbers")
        must(table.max_seq >= 0, "a number below nothing")
        if len(table.seq):
            table.position(len(table.seq) - 1)
    must(
        sum(len(table.seq) for table in tables) + observed.foreign.total() == n_records,
        "a record is lost",
    )


TOKENS = (
    *(b"ce_sequence", b"ce_lineage", b"ce_id", b"content-type", b"null", b'"x"', b"1e999", b"[]"),
    *(b"0000000000000000017", b"9223372036854775808", b"\x1b[31m", b"\xc2\xb2", b"-1", b"{}"),
)
TARGETS = (
    Target(
        "alerts", run_alerts, lambda: [b"", b"\x00\x02{}", b"\x00\x01", b"\x00\x02\xff"], TOKENS
    ),
    Target("audit", run_audit, lambda: [b"", bytes(64), bytes(range(200)), b"\x00\x02{}"], TOKENS),
)
