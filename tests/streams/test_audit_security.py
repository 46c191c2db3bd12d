"""The audit of the security duty: anomalies are compared with the fold as alerts are."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import DetectionConfig
from schemas.records import Record
from schemas.source_hash import SourceKey
from streams.audit_observed import Position, input_offset
from streams.audit_plan import plan_partition
from streams.audit_verdict import Kind, Verdict, differing_fields
from streams.worker import PartitionWorker
from tests.delivery.attacked import attacked
from tests.delivery.traffic import START_MS
from tests.streams.audit_kit import Group, Published
from tests.streams.events import TP

KEY, OTHER = SourceKey(b"one key of sixteen bytes"), SourceKey(b"another key of sixteen bytes")
SMALL = {"learn_events": 300, "max_models": 1, "max_sources": 64}
"""State digests are taken at every checkpoint."""
CONFIG = DetectionConfig.model_validate({"security": SMALL})
NEWER = DetectionConfig.model_validate({"generation": 2, "security": {**SMALL, "admit_after": 2}})
N_BAD = 12


def events(n: int = 1_200) -> list[Record]:
    """One model whose boundary somebody searches for, with records that are refused."""
    sent = list(attacked(n, since=320, every=4))
    return [
        Record(
            TP,
            i,
            START_MS + i,
            each.key,
            b"no json" if i % (n // N_BAD) == 7 else each.value,
        )
        for i, each in enumerate(sent)
    ]


def group_of(source_key: SourceKey = KEY, later_key: SourceKey = KEY) -> Group:
    """A group that has folded everything, its worker once killed and its config once changed."""
    group = Group(duty="security", source_key=source_key, audit_key=later_key)
    group.produce(events())
    runner = group.worker(CONFIG)
    group.step(runner, 12)
    group.kill(runner)
    runner = group.worker(CONFIG)
    group.step(runner, 8)
    group.leave(runner)
    group.source_key = later_key
    group.finish(group.worker(NEWER))
    return group


@cache
def folded() -> Group:
    return group_of()


@cache
def honest() -> list[Published]:
    return folded().published()


def audited_with(group: Group, key: SourceKey | None, *, from_checkpoint: bool = False) -> Verdict:
    before, group.audit_key = group.audit_key, key
    try:
        planned = plan_partition(group.facts(from_checkpoint=from_checkpoint))
        return group.audit(planned=planned)
    finally:
        group.audit_key = before


@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_what_was_published_is_verified_across_a_kill_and_a_config_switch(
    from_checkpoint: bool,
) -> None:
    verdict = audited_with(folded(), KEY, from_checkpoint=from_checkpoint)

    assert not verdict.n_differences, verdict.examples
    assert not verdict.unverified
    if not from_checkpoint:
        assert verdict.n_events == len(events())
        assert verdict.n_equal == {"anomalies": len(honest())}
    assert len(honest()) >= 4
    assert {each.duty for each in honest()} == {"anomalies"}


INDEX = st.integers(0, 1_000).map(lambda i: i % len(honest()))


@settings(deadline=None, max_examples=8)
@given(INDEX)
def test_a_dropped_finding_is_missing(i: int) -> None:
    gone = honest()[i]
    verdict = folded().audit([each for each in honest() if each is not gone])

    assert verdict.n_differences == {Kind.MISSING: 1}
    (found,) = verdict.examples
    assert (found.duty, found.seq) == ("anomalies", gone.seen.sequence)
    assert found.ce_id == gone.seen.header("ce_id")
    assert found.input_offset == input_offset("anomalies", gone.seen) >= 320


@settings(deadline=None, max_examples=8)
@given(INDEX, st.integers(0, 1))
def test_a_repeated_finding_is_duplicated_or_an_allowed_repeat(i: int, partition: int) -> None:
    twice = honest()[i]
    again = [*honest(), twice._replace(position=Position(partition, 10_000))]

    strict = folded().audit(again)
    assert strict.n_differences == {Kind.DUPLICATED: 1}
    assert strict.examples[0].seq == twice.seen.sequence
    lenient = folded().audit(again, exactly_once=False)
    assert not lenient.n_differences
    assert lenient.n_repeats == 1


@settings(deadline=None, max_examples=12)
@given(INDEX, st.integers(0, 1 << 20))
def test_a_finding_with_one_byte_altered_is_found(i: int, at: int) -> None:
    records = list(honest())
    was = records[i].seen
    changed = bytearray(was.value or b"")
    changed[at % len(changed)] ^= 1
    records[i] = records[i]._replace(seen=was._replace(value=bytes(changed)))
    verdict = folded().audit(records)

    assert verdict.n_differences == {Kind.ALTERED: 1}
    assert verdict.examples[0].position == records[i].position
    assert verdict.examples[0].expected == was
    assert differing_fields(was, records[i].seen)


@pytest.mark.parametrize("key", [None, OTHER])
def test_without_the_source_key_only_the_numbers_are_looked_at_and_that_is_said(
    key: SourceKey | None,
) -> None:
    verdict = audited_with(folded(), key)
    assert not verdict.n_differences
    assert verdict.n_events == 0
    assert verdict.n_only_numbered == len(honest())
    (said,) = verdict.unverified
    assert KEY.fingerprint in said
    assert (key.fingerprint if key else "configured is none") in said

    group = folded()
    before, group.audit_key = group.audit_key, key
    try:
        without_one = sorted(honest(), key=lambda each: each.seen.sequence)
        del without_one[1]
        assert group.audit(without_one).n_differences == {Kind.SEQ_GAP: 1}
    finally:
        group.audit_key = before


def test_under_a_new_source_key_what_came_before_cannot_be_verified_and_the_rest_can() -> None:
    group = group_of(KEY, OTHER)
    assert not group.audit().n_differences
    (said,) = audited_with(group, OTHER).unverified
    assert KEY.fingerprint in said
    later = audited_with(group, OTHER, from_checkpoint=True)
    assert not later.n_differences, later.examples
    assert not later.unverified
    assert 0 < later.n_events < len(events())
    # With the former key alone neither is possible.
    for from_checkpoint in (False, True):
        assert audited_with(group, KEY, from_checkpoint=from_checkpoint).unverified


def test_a_fold_that_says_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters and state digests are those of the security duty's own fold."""
    real = PartitionWorker.process

    def one_less(self: PartitionWorker, records: list[Record]) -> None:
        real(self, [each for each in records if each.offset != 900])

    group = folded()
    monkeypatch.setattr(PartitionWorker, "process", one_less)
    verdict = group.audit()
    assert verdict.n_differences[Kind.METADATA] >= 1
    assert verdict.n_differences[Kind.DIGEST] >= 1
