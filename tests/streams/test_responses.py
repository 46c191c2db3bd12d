"""What people say to the responder stands on the commands topic, and workers pass over it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.commands import CommandError, read_command
from schemas.responses import (
    ApproveQuarantine,
    OpenEvidence,
    OverruleIncident,
    is_response,
    read_response,
)
from streams.obedience import Obedience
from tests.streams.test_set_reference import Said

ABOUT: dict[str, Any] = {
    "command_id": "a-1",
    "deployment": "driftsentry",
    "model_id": "churn",
    "incident_id": "0" * 32,
    "by": "ana",
}
SHOWN: dict[str, Any] = {"revision": 3, "evidence_ids": ("2" * 32,)}
WORDS = [
    OverruleIncident(**ABOUT, verdict="data_fault", reason="a broken join", evidence={"2" * 32: 4}),
    ApproveQuarantine(**ABOUT, request_id="1" * 32, **SHOWN),
    OpenEvidence(**ABOUT, revision=3, evidence={"2" * 32: 4}),
]


def value(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_read_as_it_was_written(word: OverruleIncident) -> None:
    written = word.model_dump_json().encode()
    assert read_response(written) == word
    assert is_response(written)
    with pytest.raises(CommandError):
        read_command(written)


def test_what_is_for_workers_is_none_of_the_responders_business() -> None:
    mute = {"kind": "mute", "command_id": "m", "model_id": "churn", "from_ms": 0, "until_ms": 1}
    assert read_response(value(mute)) is None


@given(st.binary(max_size=60) | st.none())
def test_bytes_of_any_kind_are_no_word(given_value: bytes | None) -> None:
    assert read_response(given_value) is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"by": ""}, "by"),
        ({"incident_id": "x"}, "incident_id"),
        ({"verdict": "nonsense"}, "verdict"),
        ({"more": 1}, "more"),
        ({"deployment": ""}, "deployment"),
    ],
)
def test_a_refusal_names_the_field(change: dict[str, Any], field: str) -> None:
    fields = orjson.loads(WORDS[0].model_dump_json())
    with pytest.raises(CommandError, match=field):
        read_response(value({**fields, **change}))


def test_a_worker_passes_over_words_for_the_responder() -> None:
    listening = Obedience(Said(*(each.model_dump_json().encode() for each in WORDS), b"{}"))
    listening.listen()
    assert (listening.n_heard, listening.n_refused) == (0, 1)
