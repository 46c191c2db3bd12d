"""An audit trail that was changed in any one way is found broken, and at which record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.audit_check import TrailVerification
from schemas.audit_trail import (
    GENESIS,
    AuditRecordError,
    Head,
    canonical,
    next_record,
    plain,
    read_audit_record,
)
from streams.trail_check import MAX_BREAKS, check_trail, summary_lines
from tests.streams.trail_kit import (
    CHAIN,
    OTHER_CHAIN,
    START_MS,
    hashed_anew,
    trail,
    values,
)

N = 9
WHOLE = trail(N)
VALUES = values(WHOLE)
PLACES = st.integers(0, N - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(records: Sequence[bytes | None], *heads: Head) -> TrailVerification:
    return check_trail(enumerate(records, 100), heads)


def first(found: TrailVerification) -> tuple[str, int, int]:
    assert not found.is_whole
    broken = found.breaks[0]
    return broken.kind, broken.seq, broken.place


def test_a_whole_trail_is_whole() -> None:
    found = check(VALUES, WHOLE[3].head)
    assert (found.is_whole, found.begins, found.n_breaks) == (True, "first_record", 0)
    assert (found.chain, found.first_seq, found.n_records) == (CHAIN, 1, N)
    assert found.head == str(WHOLE[-1].head)
    assert found.heads_found == [str(WHOLE[3].head)]
    assert "whole" in summary_lines(found, {"name": "trail", "place": "offset"})[-1]


def test_the_hash_can_be_checked_with_nothing_of_this_program() -> None:
    before = GENESIS
    for value in VALUES:
        record = json.loads(value)
        said = record.pop("hash")
        form = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert sha256(form.encode()).hexdigest() == said
        assert record["prev"] == before
        before = said


@UNHURRIED
@given(JSON)
def test_the_canonical_form_is_that_of_rfc_8785(document: object) -> None:
    # For strings, safe integers and ASCII names these are its rules, section 3.2.
    form = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical({"it": document}) == f'{{"it":{form}}}'.encode()


@UNHURRIED
@given(st.recursive(st.floats() | st.integers() | TEXT, st.lists, max_leaves=5))
def test_what_has_no_one_form_becomes_text_or_is_refused(value: object) -> None:
    assert orjson.loads(canonical({"it": plain(value)}))
    with pytest.raises(AuditRecordError):
        canonical({"it": 0.5})


# One change of any kind


@UNHURRIED
@given(PLACES, st.data())
def test_a_byte_that_was_changed_is_found_at_its_record(i: int, data: st.DataObject) -> None:
    value = bytearray(VALUES[i])
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != value[at]))
    kind, seq, place = first(check([*VALUES[:i], bytes(value), *VALUES[i + 1 :]]))
    # As a record, as none any more, or as one of another chain.
    assert kind in {"changed", "foreign"}
    assert (seq, place) == (i + 1, 100 + i)


@UNHURRIED
@given(PLACES, st.sampled_from(["facts", "at_ms", "by", "prev", "kind"]))
def test_a_record_that_was_changed_and_hashed_anew_is_given_away(i: int, name: str) -> None:
    other: dict[str, object] = {
        "facts": {"number": -1},
        "at_ms": START_MS - 1,
        "by": "eve",
        "prev": "ab" * 32,
        "kind": "stopped",
    }
    forged = hashed_anew(WHOLE[i], {name: other[name]}).dump()
    found = check([*VALUES[:i], forged, *VALUES[i + 1 :]])
    if i == N - 1 and name != "prev":
        assert found.is_whole  # nothing behind it says another hash
        found = check([*VALUES[:i], forged], WHOLE[-1].head)
    kind, seq, place = first(found)
    # Where it is the last one, the two sides of a wrong link look alike.
    assert kind == "changed"
    assert seq in ({i + 1, i} if i == N - 1 else {i + 1})
    assert place in {100 + i, 100 + i + 1}


@UNHURRIED
@given(PLACES, st.integers(0, N + 3))
def test_a_record_with_another_number_is_found(i: int, seq: int) -> None:
    if seq in (0, i + 1):
        return
    forged = hashed_anew(WHOLE[i], {"seq": seq}).dump()
    found = check([*VALUES[:i], forged, *VALUES[i + 1 :]], WHOLE[-1].head)
    assert not found.is_whole
    assert found.n_breaks > 0
    assert min(broken.place for broken in found.breaks) in {100 + i, 101 + i}


@UNHURRIED
@given(st.integers(1, N - 2), st.integers(1, 3))
def test_records_that_were_taken_out_are_named(i: int, n: int) -> None:
    n = min(n, N - 1 - i)
    found = check([*VALUES[:i], *VALUES[i + n :]])
    assert first(found) == ("missing", i + 1, 100 + i)
    assert found.n_breaks == 1
    assert (f"seq {i + 1} to {i + n}" if n > 1 else f"seq {i + 1} ") in found.breaks[0].detail


@UNHURRIED
@given(st.integers(1, N - 1))
def test_a_beginning_that_is_not_there_is_no_whole_trail_unless_its_head_was_kept(n: int) -> None:
    found = check(VALUES[n:])
    assert (found.is_whole, found.begins, found.n_breaks) == (False, "unknown", 0)
    assert "NOT ALL VERIFIED" in summary_lines(found, {"name": "t", "place": "line"})[0]
    found = check(VALUES[n:], WHOLE[n - 1].head)
    assert (found.is_whole, found.begins) == (True, "kept_head")
    found = check(VALUES[n:], Head(n, "ab" * 32))
    assert first(found)[:2] == ("changed", n)
    if n > 1:
        found = check(VALUES[n:], WHOLE[n - 2].head)
        assert (found.is_whole, found.heads_before) == (False, [str(WHOLE[n - 2].head)])


@UNHURRIED
@given(st.integers(1, N - 1))
def test_a_trail_that_was_cut_is_seen_by_a_kept_head_alone(n: int) -> None:
    assert check(VALUES[:n]).is_whole
    found = check(VALUES[:n], WHOLE[-1].head)
    assert first(found) == ("truncated", n + 1, 100 + n - 1)
    assert first(check([], WHOLE[-1].head)) == ("truncated", 1, 0)


def test_a_trail_without_a_record_is_not_verified() -> None:
    found = check([])
    assert (found.is_whole, found.begins, found.head) == (False, "empty", None)
    assert summary_lines(found, {"name": "t", "place": "line"}) == ["t: there is no record"]


@UNHURRIED
@given(PLACES, PLACES)
def test_records_that_changed_places_are_found_where_the_order_ends(i: int, j: int) -> None:
    if i >= j:
        return
    moved = list(VALUES)
    moved[i], moved[j] = moved[j], moved[i]
    found = check(moved)
    kind, seq, place = first(found)
    assert kind == "reordered"
    if i > 0:
        assert {broken.kind for broken in found.breaks} == {"reordered"}
        assert (seq, place) == (i + 1, 100 + i)


@UNHURRIED
@given(PLACES, PLACES)
def test_a_record_that_was_moved_is_found_where_the_order_ends(i: int, j: int) -> None:
    if i == j:
        return
    moved = list(VALUES)
    moved.insert(j, moved.pop(i))
    found = check(moved)
    kind, seq, place = first(found)
    assert kind == "reordered"
    if min(i, j) > 0:
        assert found.n_breaks == 1
        assert (seq, place) == (min(i, j) + 1, 100 + min(i, j))
    assert found.head == str(WHOLE[-1].head)


@UNHURRIED
@given(PLACES, st.integers(1, N))
def test_a_record_that_stands_there_twice_is_named(i: int, at: int) -> None:
    if at <= i:
        return
    doubled = [*VALUES[:at], VALUES[i], *VALUES[at:]]
    found = check(doubled)
    assert first(found) == ("doubled", i + 1, 100 + at)
    assert found.n_breaks == 1


GARBAGE = [b"", b"{}", b"[1]", b"\xff", None, VALUES[0] + b" ", VALUES[0].replace(b",", b", ", 1)]
FOREIGN = [*GARBAGE, *values(trail(3, OTHER_CHAIN)[1:])]


@UNHURRIED
@given(st.integers(1, N), st.sampled_from(FOREIGN))
def test_what_somebody_else_wrote_is_named_and_the_rest_is_whole(
    at: int, value: bytes | None
) -> None:
    found = check([*VALUES[:at], value, *VALUES[at:]], WHOLE[-1].head)
    assert first(found) == ("foreign", at + 1, 100 + at)
    assert found.n_breaks == 1
    assert found.n_records == N
    assert found.heads_found == [str(WHOLE[-1].head)]


@UNHURRIED
@given(st.integers(1, N - 1), st.integers(-3, 50))
def test_a_record_that_pretends_to_be_of_the_chain_is_named(at: int, further: int) -> None:
    head = WHOLE[at - 1].head
    seq = max(1, at + 1 + further)
    link = Head(seq - 1, head.hash) if seq > 1 else None
    forged = next_record(
        CHAIN, link, kind="said", at_ms=0, clock="noted", noted_ms=0, facts={"number": "forged"}
    )
    found = check([*VALUES[:at], forged.dump(), *VALUES[at:]], WHOLE[-1].head)
    assert not found.is_whole
    places = {broken.place for broken in found.breaks}
    assert min(places) in {100 + at, 101 + at}
    # One that is no next record is told from it for what it is, and the chain goes on without it.
    if seq > N:
        assert first(found) == ("foreign", at + 1, 100 + at)
        assert (found.n_breaks, found.head) == (1, str(WHOLE[-1].head))


def test_a_chain_that_a_person_let_begin_anew_is_named_and_followed() -> None:
    second = trail(4, OTHER_CHAIN)
    found = check([*VALUES, *values(second)])
    assert first(found) == ("restarted", N + 1, 100 + N)
    assert (found.n_breaks, found.chain, found.head) == (1, OTHER_CHAIN, str(second[-1].head))


@pytest.mark.parametrize("kept", [0, 2, N - 1])
@pytest.mark.parametrize("later", [None, 0, 2, 3])
def test_a_kept_head_of_either_chain_is_in_it(kept: int, later: int | None) -> None:
    # A head does not say of which chain it is: it was held against the record of the other one.
    second = trail(4, OTHER_CHAIN)
    heads = [WHOLE[kept].head, *([] if later is None else [second[later].head])]
    found = check([*VALUES, *values(second)], *heads)
    assert [each.kind for each in found.breaks] == ["restarted"]
    assert sorted(found.heads_found) == sorted(str(each) for each in heads)
    assert not found.heads_before


def test_a_kept_head_that_no_chain_has_is_told_once() -> None:
    second = trail(4, OTHER_CHAIN)
    found = check([*VALUES, *values(second)], Head(2, "0" * 64))
    assert [(each.kind, each.seq) for each in found.breaks] == [
        ("changed", 2),
        ("restarted", N + 1),
    ]
    found = check([*VALUES[:-2], *values(second)], WHOLE[-1].head)
    assert [each.kind for each in found.breaks] == ["restarted", "truncated"]


def test_a_chain_that_begins_late_and_anew_is_held_against_the_head_before_it() -> None:
    found = check([*VALUES[3:], *values(trail(4, OTHER_CHAIN))], WHOLE[2].head)
    assert [each.kind for each in found.breaks] == ["restarted"]
    assert found.heads_found == [str(WHOLE[2].head)]
    # What retention took of the first chain is not held against the second.
    found = check([*VALUES[4:], *values(trail(4, OTHER_CHAIN))], WHOLE[1].head)
    assert [each.kind for each in found.breaks] == ["restarted"]
    assert found.heads_before == [str(WHOLE[1].head)]
    lines = summary_lines(found, {"name": "trail", "place": "offset"})
    assert any("cannot be checked if it is of before its beginning" in line for line in lines)


@pytest.mark.parametrize("kept", [1, 5])
def test_a_head_that_retention_took_the_record_of_is_no_sign_that_the_end_is_gone(
    kept: int,
) -> None:
    # Behind the end of the second chain, which began anew, and before the oldest record.
    second = values(trail(4, OTHER_CHAIN))
    found = check([*VALUES[7:], *second], WHOLE[kept].head)
    assert [each.kind for each in found.breaks] == ["restarted"]
    assert found.heads_before == [str(WHOLE[kept].head)]
    # One of a number that the first chain has reached is gone, if it was there.
    found = check([*VALUES[7:], *second], Head(N + 1, "0" * 64))
    assert [each.kind for each in found.breaks] == ["restarted", "truncated"]
    assert not found.heads_before


def test_breaks_are_counted_and_some_are_told() -> None:
    found = check([*VALUES, *([b"x"] * (MAX_BREAKS + 5))])
    assert (found.n_breaks, len(found.breaks)) == (MAX_BREAKS + 5, MAX_BREAKS)
    assert any("5 further" in line for line in summary_lines(found, {"name": "", "place": ""}))


# Records


def test_a_field_that_is_not_known_is_refused() -> None:
    document = orjson.loads(VALUES[0]) | {"more": 1}
    with pytest.raises(AuditRecordError, match="more"):
        read_audit_record(canonical(document))


def test_facts_that_are_too_much_lose_their_largest_fields_and_say_which() -> None:
    record = next_record(
        *(CHAIN, None),
        kind="config",
        at_ms=0,
        clock="noted",
        noted_ms=0,
        facts={"document": "x" * 300_000, "note": "y" * 200_000, "config": "ab"},
    )
    assert set(record.facts) == {"config", "note", "left_out"}
    assert record.facts["left_out"] == ["document"]
    assert check([record.dump()]).is_whole


@pytest.mark.parametrize("text", ["", "1", "0:" + "a" * 64, "1:" + "A" * 64, "x:y", "1:ab", "²:ab"])
def test_a_head_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(AuditRecordError, match="no head"):
        Head.parse(text)
    assert Head.parse(f" {WHOLE[0].head}\n") == WHOLE[0].head
