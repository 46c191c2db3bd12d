"""The fast decoder accepts, refuses and reads exactly what the pydantic models do."""

from __future__ import annotations

import re
from unittest import mock

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas import decode, poll
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.limits import DecodeLimits
from schemas.records import Record, Reject
from schemas.templates import Compiled
from tests.schemas.contract import (
    KEY,
    TP,
    Refused,
    Row,
    by_model,
    check_form,
    n_unknown,
    record,
    right_key,
    rows,
    same,
)
from tests.schemas.strategies import polls

LIMITS = DecodeLimits(event_ids=True)
BYTES_REASONS = {"empty", "bad_arrow", "framing", "not_json", "not_object"}
SETTINGS = settings(deadline=None, max_examples=300)  # as many as are looked at below


def records_of(values: list[bytes]) -> list[Record]:
    return [record(i, value, right_key(value)) for i, value in enumerate(values)]


# Knows what a worker may have learned from the examples before: whatever it is, it must not tell.
LIVED = FastPath(Compiled())


def same_field(reject: Reject, refused: Refused) -> bool:
    if refused.fields is None:
        return reject.reason in BYTES_REASONS
    named = re.search(r"`(\w+)`", reject.detail)
    return named is not None and named[1] in refused.fields


@SETTINGS
@given(polls(), st.sampled_from([1, 2, 256]))
@example([b""], 256)
@example([b"[" * 5_000], 256)
@example([b'{"type": "prediction", "features": {}}', b'{"features": {}}'], 256)
def test_decoder_and_models_agree(values: list[bytes], chunk: int) -> None:
    expected = [by_model(value) for value in values]
    with mock.patch.object(decode, "AT_ONCE", 2 * chunk), mock.patch.object(poll, "CHUNK", chunk):
        decoding = decode_records(TP, records_of(values), LIMITS, KEY, None)
    check_form(decoding.events)
    accepted = {i: row for i, row in enumerate(expected) if isinstance(row, Row)}
    refused = {i: row for i, row in enumerate(expected) if isinstance(row, Refused)}
    assert decoding.events.offset.tolist() == list(accepted)
    assert rows(decoding.events) == list(accepted.values())
    assert decoding.events.n_unknown_fields == sum(n_unknown(values[i]) for i in accepted)
    assert [r.offset for r in decoding.rejects] == list(refused)
    for reject in decoding.rejects:
        assert same_field(reject, refused[reject.offset]), (reject, refused[reject.offset])


@SETTINGS
@given(polls(), st.sampled_from([1, 2, 256]))
def test_with_templates_every_column_is_the_same(values: list[bytes], chunk: int) -> None:
    records = records_of(values)
    slow = decode_records(TP, records, LIMITS, KEY, None)
    with mock.patch.object(decode, "AT_ONCE", 2 * chunk), mock.patch.object(poll, "CHUNK", chunk):
        fast_path = FastPath(Compiled())
        for _ in range(3):  # learned, learned a second time, taken
            same(decode_records(TP, records, LIMITS, KEY, None, fast_path), slow)
        same(decode_records(TP, records, LIMITS, KEY, None, LIVED), slow)


@SETTINGS
@given(polls(), st.data())
def test_any_split_decodes_to_the_same_rows(values: list[bytes], data: st.DataObject) -> None:
    records = records_of(values)
    whole = decode_records(TP, records, LIMITS, KEY, None)
    cut = data.draw(st.integers(0, len(records)))
    parts = [decode_records(TP, part, LIMITS, KEY, None) for part in (records[:cut], records[cut:])]
    assert rows(whole.events) == [row for part in parts for row in rows(part.events)]
    assert whole.rejects == [reject for part in parts for reject in part.rejects]
    assert whole.events.offset.tolist() == [o for p in parts for o in p.events.offset.tolist()]
    assert whole.events.n_unknown_fields == sum(p.events.n_unknown_fields for p in parts)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=40))
def test_arbitrary_bytes_never_raise(value: bytes) -> None:
    decoding = decode_records(TP, [record(0, value, None)], LIMITS, KEY, None)
    assert len(decoding.events) + len(decoding.rejects) == 1
    assert (by_model(value) == Refused(None)) == (decoding.rejects[0].reason in BYTES_REASONS)


@pytest.mark.long
@settings(deadline=None, max_examples=30_000)
@given(polls())
def test_decoder_and_models_agree_for_long(values: list[bytes]) -> None:
    expected = [row for row in map(by_model, values) if isinstance(row, Row)]
    records = records_of(values)
    decoding = decode_records(TP, records, LIMITS, KEY, None)
    assert rows(decoding.events) == expected
    fast_path = FastPath(Compiled())
    for _ in range(3):
        same(decode_records(TP, records, LIMITS, KEY, None, fast_path), decoding)


def test_the_strategy_reaches_acceptance_and_many_fields() -> None:
    # Guards the guard: if mutations became too wild, agreement would be about refusals alone.
    n_accepted = 0
    fields: set[str] = set()

    @settings(deadline=None, max_examples=300, database=None, derandomize=True)
    @given(polls())
    def look(values: list[bytes]) -> None:
        nonlocal n_accepted
        for value in values:
            outcome = by_model(value)
            if isinstance(outcome, Row):
                n_accepted += 1
                assert orjson.loads(value)
            else:
                fields.update(outcome.fields or ())

    look()
    assert n_accepted > 100
    assert len(fields) > 8, fields
