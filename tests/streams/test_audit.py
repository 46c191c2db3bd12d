"""The audit: what a group has published is what its events say, and whatever differs is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.source_hash import SourceKey
from streams.audit_observed import Position, Seen, murmur2_partition
from streams.audit_plan import plan_partition
from streams.audit_verdict import Kind, differing_fields
from streams.checkpoint import state_digest
from streams.ports import Committed, Output
from streams.recovery import RecoverySettings
from tests.streams.audit_kit import NEWER, Group, Low, Published, events
from tests.streams.events import TP


@cache
def folded() -> Group:
    """A group that has folded everything, its worker once killed and its config once changed."""
    group = Group()
    group.produce(events())
    runner = group.worker()
    group.step(runner, 8)
    group.kill(runner)
    runner = group.worker()
    group.step(runner, 6)
    group.leave(runner)
    group.finish(group.worker(NEWER))
    return group


@cache
def honest() -> list[Published]:
    return folded().published()


def test_what_was_published_is_verified_across_a_kill_and_a_config_switch() -> None:
    verdict = folded().audit()

    assert not verdict.n_differences
    assert not verdict.unverified
    assert not verdict.notes
    assert verdict.n_events == 1_200
    published = Counter(each.duty for each in honest())
    assert verdict.n_equal == published
    assert published["alerts"] >= 6
    assert published["dead_letter"] == 30


def replaced(i: int, seen: Seen) -> list[Published]:
    records = list(honest())
    records[i] = records[i]._replace(seen=seen)
    return records


def with_header(seen: Seen, name: str, value: bytes) -> Seen:
    headers = tuple((n, value if n == name else v) for n, v in seen.headers)
    assert headers != seen.headers
    return seen._replace(headers=headers)


N_PUBLISHED = 40
INDEX = st.integers(0, N_PUBLISHED - 1)


def index(i: int) -> int:
    return i * len(honest()) // N_PUBLISHED


@settings(deadline=None, max_examples=25)
@given(INDEX)
def test_a_dropped_record_is_missing(i: int) -> None:
    gone = honest()[index(i)]
    verdict = folded().audit([each for each in honest() if each is not gone])

    assert verdict.n_differences == {Kind.MISSING: 1}
    (found,) = verdict.examples
    assert (found.duty, found.seq) == (gone.duty, gone.seen.sequence)
    assert found.ce_id == gone.seen.header("ce_id")
    assert found.input_offset >= 0


@settings(deadline=None, max_examples=25)
@given(INDEX, st.integers(0, 1))
def test_a_repeated_record_is_duplicated_or_an_allowed_repeat(i: int, partition: int) -> None:
    twice = honest()[index(i)]
    again = [*honest(), twice._replace(position=Position(partition, 10_000))]

    strict = folded().audit(again)
    assert strict.n_differences == {Kind.DUPLICATED: 1}
    assert strict.examples[0].seq == twice.seen.sequence
    lenient = folded().audit(again, exactly_once=False)
    assert not lenient.n_differences
    assert lenient.n_repeats == 1


def altered(seen: Seen, how: str, salt: int) -> Seen:
    if how == "key":
        return seen._replace(key=(seen.key or b"") + b"x")
    if how == "timestamp":
        return seen._replace(timestamp_ms=seen.timestamp_ms + 1)
    if how == "empty":
        return seen._replace(value=None)
    if how == "more":
        return seen._replace(headers=(*seen.headers, ("x", b"")))
    if how == "byte":
        # A fault before this one may have left nothing.
        changed = bytearray(seen.value or b"\0")
        changed[salt % len(changed)] ^= 1
        return seen._replace(value=bytes(changed))
    name, value = seen.headers[salt % len(seen.headers)]
    return with_header(seen, name, (value or b"") + b"0")


@settings(deadline=None, max_examples=40)
@given(
    INDEX,
    st.sampled_from(["key", "timestamp", "empty", "more", "byte", "header"]),
    st.integers(0, 10_000),
)
def test_an_altered_record_is_found_whatever_was_altered(i: int, how: str, salt: int) -> None:
    was = honest()[index(i)]
    seen = altered(was.seen, how, salt)
    verdict = folded().audit(replaced(index(i), seen))

    if seen.header("ce_lineage") != was.seen.header("ce_lineage"):
        assert verdict.n_differences == {Kind.MISSING: 1}
        return
    assert verdict.n_differences[Kind.ALTERED] == 1
    (found,) = (each for each in verdict.examples if each.kind is Kind.ALTERED)
    assert found.position == was.position
    if seen.sequence == was.seen.sequence:
        assert verdict.n_differences.total() == 1
        assert found.expected == was.seen
        assert differing_fields(was.seen, seen)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_two_records_that_changed_places_are_out_of_order(salt: int) -> None:
    records = list(honest())
    pairs = [
        (i, i + 1)
        for i in range(len(records) - 1)
        if (records[i].duty, records[i].position.partition)
        == (records[i + 1].duty, records[i + 1].position.partition)
    ]
    i, j = pairs[salt % len(pairs)]
    first, second = records[i], records[j]
    records[i] = first._replace(seen=second.seen)
    records[j] = second._replace(seen=first.seen)

    assert folded().audit(records).n_differences == {Kind.OUT_OF_ORDER: 1}


def as_read(records: Iterable[Published]) -> dict[tuple[str, int], list[Seen]]:
    """What a reader of each topic and partition sees, in order."""
    read: dict[tuple[str, int], list[Seen]] = {}
    for record in sorted(records):
        read.setdefault((record.duty, record.position.partition), []).append(record.seen)
    return read


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1 << 30))
@example(235_949)
@example(41_296)
@example(794)
def test_any_mixture_of_faults_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    records = list(honest())
    for number in range(int(rng.integers(1, 5))):
        i = int(rng.integers(len(records)))
        fault = int(rng.integers(3))
        if fault == 0:
            del records[i]
        elif fault == 1:
            further_on = records[i].position._replace(offset=10_000 + number)
            records.append(records[i]._replace(position=further_on))
        else:
            how = ["key", "timestamp", "empty", "more", "byte"][int(rng.integers(5))]
            seen = altered(records[i].seen, how, int(rng.integers(10_000)))
            records[i] = records[i]._replace(seen=seen)
    # A copy of the last one in place of it, further on in the log, is no fault.
    is_honest = as_read(records) == as_read(honest())

    assert bool(folded().audit(records).n_differences) is not is_honest


def forged(was: Published, seq: int, ce_id: bytes, offset: int) -> Published:
    """An alert that nobody's fold has said."""
    document = orjson.loads(was.seen.value or b"") | {"trigger_offset": offset}
    seen = was.seen._replace(value=orjson.dumps(document))
    seen = with_header(with_header(seen, "ce_sequence", str(seq).encode()), "ce_id", ce_id)
    return Published("alerts", Position(0, 20_000), seen)


def test_a_record_that_the_fold_does_not_say_is_extra() -> None:
    seq = 1 + sum(each.duty == "alerts" for each in honest())
    verdict = folded().audit([*honest(), forged(honest()[0], seq, b"f.1", 700)])

    assert verdict.n_differences == {Kind.EXTRA: 1}
    assert verdict.examples[0].seq == seq


def test_a_known_name_under_another_number_is_duplicated() -> None:
    was = honest()[0]
    copy = with_header(was.seen, "ce_sequence", b"999")
    verdict = folded().audit([*honest(), was._replace(position=Position(0, 20_000), seen=copy)])

    assert verdict.n_differences == {Kind.DUPLICATED: 1}


def test_a_repeat_with_other_content_is_never_allowed() -> None:
    was = honest()[0]
    changed = was._replace(position=Position(0, 20_000), seen=altered(was.seen, "byte", 40))

    strict = folded().audit([*honest(), changed])
    assert strict.n_differences == {Kind.DUPLICATED: 1}
    lenient = folded().audit([*honest(), changed], exactly_once=False)
    assert lenient.n_differences == {Kind.ALTERED: 1}


def test_only_so_many_examples_are_kept_and_all_are_counted() -> None:
    verdict = folded().audit([], n_examples=2)

    assert verdict.n_differences == {Kind.MISSING: len(honest())}
    assert [each.seq for each in verdict.examples] == [1, 2]


def test_records_of_other_folds_are_counted_and_named() -> None:
    group = folded()
    stranger = with_header(honest()[0].seen, "ce_lineage", b"another")
    observed = group.observed([*honest(), Published("alerts", Position(1, 30_000), stranger)])

    assert observed.foreign == {("driftsentry", "another"): 1}


# What the commit says


def metadata_with(**changes: object) -> Committed:
    committed = folded().committed()
    assert committed is not None
    document = orjson.loads(committed.metadata) | changes
    return Committed(committed.offset, orjson.dumps(document).decode())


@pytest.mark.parametrize("name", ["n_events", "n_alerts", "n_dead", "generation", "config_from"])
def test_a_commit_that_says_something_else_is_found(name: str) -> None:
    group = folded()
    said = metadata_with(**{name: 1})
    planned = plan_partition(group.facts(committed=said, settled=said))
    verdict = group.audit(planned=planned)

    assert verdict.n_differences == {Kind.METADATA: 1}
    assert verdict.examples[0].detail.startswith(f"{name} is 1")


def test_a_commit_that_knows_another_state_is_found() -> None:
    group = folded()
    assert orjson.loads(metadata_with().metadata)["digest"], "no checkpoint before the commit"
    said = metadata_with(digest="0" * 32)
    verdict = group.audit(planned=plan_partition(group.facts(committed=said, settled=said)))

    assert verdict.n_differences == {Kind.DIGEST: 1}


def test_a_commit_without_metadata_is_said_and_the_outputs_are_compared() -> None:
    group = folded()
    bare = Committed(1_200, "")
    facts = group.facts(committed=bare, settled=bare)
    verdict = group.audit(planned=plan_partition(facts))

    assert not verdict.n_differences
    assert "no metadata" in verdict.notes[0]
    dropped = group.audit(honest()[1:], plan_partition(facts))
    assert dropped.n_differences == {Kind.MISSING: 1}


# Where the worker stands


def test_events_past_the_commit_are_not_due_and_their_outputs_must_not_be_there() -> None:
    group = folded()
    half = Committed(600, "")
    verdict = group.audit(planned=plan_partition(group.facts(committed=half, settled=half)))

    assert verdict.n_events == 600
    assert set(verdict.n_differences) == {Kind.EXTRA}


def partly(n: int) -> tuple[Committed, Committed, Group]:
    """A group at two commits, one after the other."""
    group = Group()
    group.produce(events())
    runner = group.worker()
    group.step(runner, n)
    earlier = group.committed()
    group.finish(runner)
    later = group.committed()
    assert earlier is not None
    assert later is not None
    assert earlier.offset < later.offset
    return earlier, later, group


def test_outputs_of_commits_made_meanwhile_are_not_compared() -> None:
    earlier, later, group = partly(20)
    planned = plan_partition(group.facts(committed=earlier, settled=later))
    verdict = group.audit(planned=planned)

    assert not verdict.n_differences
    assert verdict.n_later > 0
    assert verdict.n_events == earlier.offset


def test_at_least_once_may_have_published_what_is_not_committed_yet() -> None:
    earlier, _, group = partly(20)
    facts = group.facts(committed=earlier, settled=earlier, exactly_once=False)
    verdict = group.audit(planned=plan_partition(facts), exactly_once=False)
    assert not verdict.n_differences

    published = group.published()
    published[-1] = published[-1]._replace(seen=altered(published[-1].seen, "byte", 40))
    verdict = group.audit(published, plan_partition(facts), exactly_once=False)
    assert verdict.n_differences == {Kind.ALTERED: 1}


def reset_group() -> tuple[Group, list[Published]]:
    """A group whose offset was moved back, and who accepted that."""
    group = Group()
    group.produce(events())
    runner = group.worker()
    group.step(runner, 26)
    group.leave(runner)
    before = group.published()
    group.broker.commit("group", TP, Committed(200, ""))
    group.finish(group.worker(settings=RecoverySettings(accept_reset=True)))
    return group, before


def test_every_lineage_is_verified_also_one_that_a_reset_has_replaced() -> None:
    group, before = reset_group()
    verdict = group.audit()

    assert not verdict.n_differences
    assert not verdict.unverified
    assert verdict.n_equal.total() == len(group.published())
    old = {each.seen.header("ce_lineage") for each in before}
    assert len(old) == 1

    # All but the last: where it ended is known only by what it has published.
    last = {
        duty: max((e.seen.sequence for e in before if e.duty == duty), default=0)
        for duty in ("alerts", "dead_letter")
    }
    inner = [each for each in before if each.seen.sequence < last[each.duty]]
    assert len(inner) > 5
    for gone in inner[::3]:
        found = group.audit([each for each in group.published() if each != gone])
        assert found.n_differences == {Kind.MISSING: 1}
        assert found.examples[0].lineage in old
    assert group.audit([*group.published(), forged(before[0], 900, b"f.1", 90)]).n_differences == {
        Kind.EXTRA: 1
    }


def test_a_record_from_before_its_lineage_began_is_named_so() -> None:
    group, before = reset_group()
    new = [e for e in group.published() if e.seen not in [b.seen for b in before]]
    alert = next(each for each in new if each.duty == "alerts")
    verdict = group.audit([*group.published(), forged(alert, 900, b"f.1", 150)])

    assert verdict.n_differences == {Kind.ORPHAN: 1}


def test_a_switch_at_the_very_offset_of_the_commit_is_seen_from_both_sides() -> None:
    group = Group()
    group.produce(events())
    runner = group.worker()
    group.step(runner, 10)
    group.leave(runner)
    before = group.committed()
    digests = {state_digest(group.checkpoints()[0].parts)}
    runner = group.worker(NEWER)
    group.step(runner, 1)
    after = group.committed()
    assert before is not None
    assert after is not None
    at, then, now = before.offset, orjson.loads(before.metadata), orjson.loads(after.metadata)
    assert now["config_from"] == at
    # The barrier's own commit: the same offset and counts, the new config.
    barrier = then | {name: now[name] for name in ("generation", "config", "config_from")}
    for said in (then, barrier):
        committed = Committed(at, orjson.dumps(said).decode())
        verdict = group.audit(planned=plan_partition(group.facts(committed=committed)))
        assert not verdict.n_differences, verdict
    # The checkpoint at that offset may have been made before the switch, or after it.
    kept = [each for each in group.checkpoints() if each.next_offset == at]
    digests |= {state_digest(each.parts) for each in kept}
    assert len(digests) == 2
    for digest in digests:
        document = barrier | {"digest": digest, "digest_offset": at}
        committed = Committed(at, orjson.dumps(document).decode())
        verdict = group.audit(planned=plan_partition(group.facts(committed=committed)))
        assert not verdict.n_differences, verdict
    group.leave(runner)


@pytest.mark.parametrize("seed", range(6))
def test_at_any_moment_of_a_troubled_life_nothing_differs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = Group()
    group.produce(events(900, seed=seed))
    runner = group.worker()
    config = None
    for _ in range(8):
        group.step(runner, int(rng.integers(1, 6)))
        fault = int(rng.integers(4))
        if fault == 0:
            group.kill(runner)
            config = NEWER if config is NEWER or rng.random() < 0.3 else None
            runner = group.worker() if config is None else group.worker(config)
        elif fault == 1:
            group.store.wipe()
        elif fault == 2:
            # A producer that gives its records up leaves holes.
            transaction = group.broker.begin("up", group.broker.open_producer("up"))
            for _ in range(int(rng.integers(1, 4))):
                group.broker.write(Output(TP.topic, 0, b"m0", b"{}", (), 1), transaction)
            group.broker.end(transaction, commit=False)
        for from_checkpoint in (False, True):
            planned = plan_partition(group.facts(from_checkpoint=from_checkpoint))
            verdict = group.audit(planned=planned)
            assert not verdict.n_differences, verdict
            assert from_checkpoint or not verdict.unverified
    group.leave(runner)
    verdict = group.audit()
    assert not verdict.n_differences
    assert verdict.n_equal.total() == len(group.published()) > 0


# What cannot be verified


def test_a_log_without_the_start_is_said_and_numbers_are_looked_at() -> None:
    group, _, published = trimmed()
    verdict = group.audit(published)
    assert not verdict.n_differences
    assert verdict.n_only_numbered == len(published)
    (said,) = verdict.unverified
    assert "the log holds nothing before 300" in said
    assert "--from checkpoint" in said

    gone = next(each for each in published if each.seen.sequence == 3)
    verdict = group.audit([each for each in published if each is not gone])
    assert verdict.n_differences == {Kind.SEQ_GAP: 1}
    verdict = group.audit([*published, gone._replace(position=Position(0, 10_000))])
    assert verdict.n_differences == {Kind.DUPLICATED: 1}


def trimmed() -> tuple[Group, int, list[Published]]:
    """A group whose log has lost its beginning."""
    group = Group()
    group.produce(events())
    group.finish(group.worker())
    published = group.published()
    group.broker.partition(TP).trim(300)
    return group, 300, published


def test_from_a_checkpoint_what_comes_after_it_is_verified() -> None:
    group, low, published = trimmed()
    planned = plan_partition(group.facts(from_checkpoint=True))
    (plan,) = planned.plans
    assert low <= plan.start < 1_200
    assert len(plan.milestones) >= 2
    verdict = group.audit(published, planned)

    assert not verdict.n_differences
    assert not verdict.unverified
    assert verdict.n_events == 1_200 - plan.start
    assert verdict.n_only_numbered + verdict.n_equal.total() == len(published)
    assert verdict.n_equal.total() > 0
    gone = published[-1]
    found = group.audit(published[:-1], planned)
    assert found.n_differences == {Kind.MISSING: 1}, gone


def test_without_a_checkpoint_nothing_is_claimed() -> None:
    group, _, published = trimmed()
    group.store.wipe()
    verdict = group.audit(published, plan_partition(group.facts(from_checkpoint=True)))

    assert verdict.n_events == 0
    assert "no checkpoint" in verdict.unverified[0]


def unverified_with(**changes: object) -> str:
    group = folded()
    verdict = group.audit(planned=plan_partition(group.facts(**changes)))
    assert not verdict.n_differences
    return " ".join(verdict.unverified)


def edited_journal(**changes: object) -> Sequence[bytes]:
    return [orjson.dumps(orjson.loads(value) | changes) for value in folded().journal()]


def test_what_this_release_does_not_know_is_refused_by_name() -> None:
    assert "kind 'mute'" in unverified_with(journal=edited_journal(kind="mute"))
    assert "journal record cannot be read" in unverified_with(journal=edited_journal(v=2))
    versions = {"adwin": 99}
    assert "{'adwin': 99}" in unverified_with(journal=edited_journal(versions=versions))
    foreign = Committed(1_200, '{"another": "program"}')
    assert "metadata" in unverified_with(committed=foreign, settled=foreign)


def test_a_journal_an_offset_or_a_topic_that_is_gone_is_said() -> None:
    assert "the journal does not know" in unverified_with(journal=[])
    assert "no committed offset" in unverified_with(committed=None, settled=None)
    assert "began while it was looked at" in unverified_with(committed=None)
    assert "deleted and made again" in unverified_with(topic_id="another")
    back = Committed(3, "")
    assert "moved back" in unverified_with(committed=back, settled=back)
    far = Committed(9_000, "")
    assert "records were lost" in unverified_with(committed=far, settled=far)


def test_a_source_key_that_is_not_configured_keeps_nothing_from_being_compared() -> None:
    group = Group(source_key=SourceKey(b"k" * 16))
    group.produce(events())
    group.finish(group.worker())

    verdict = group.audit()
    assert not verdict.n_differences
    assert "source key" in verdict.notes[0]
    group.audit_key = SourceKey(b"k" * 16)
    assert not group.audit().notes
    group.audit_key = SourceKey(b"another" * 4)
    assert "source key" in group.audit().notes[0]


def test_what_retention_may_have_removed_is_not_called_missing() -> None:
    group, n_removed = folded(), 2
    records: list[Published] = []
    next_offset: Counter[tuple[str, int]] = Counter()
    for each in sorted(honest(), key=lambda e: (e.duty, e.seen.sequence)):
        number = murmur2_partition(each.seen.key or b"", 2)
        records.append(each._replace(position=Position(number, next_offset[each.duty, number])))
        next_offset[each.duty, number] += 1
    kept = [each for each in records if each.position.offset >= n_removed]
    low: Low = {"alerts": {0: n_removed, 1: n_removed}, "dead_letter": {0: n_removed, 1: n_removed}}
    assert min(next_offset.values()) > n_removed
    planned = plan_partition(group.facts())
    verdict = group.audit(kept, planned, low=low)

    assert not verdict.n_differences
    assert verdict.n_expired == len(records) - len(kept) > 0
    later = next(each for each in kept if each.position.offset > n_removed)
    verdict = group.audit([each for each in kept if each is not later], planned, low=low)
    assert verdict.n_differences == {Kind.MISSING: 1}


@pytest.mark.parametrize(
    ("key", "number"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
    ],
)
def test_keys_go_where_kafka_s_own_clients_send_them(key: bytes, number: int) -> None:
    assert murmur2_partition(key, 1 << 31) == number & 0x7FFFFFFF


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.builds(
            Seen,
            st.none() | st.binary(max_size=8),
            st.none() | st.binary(max_size=8) | st.just(b'{"trigger_offset": 1e999}'),
            st.lists(
                st.tuples(
                    st.sampled_from(["ce_id", "ce_sequence", "ce_source", "x"]),
                    st.none() | st.binary(max_size=25) | st.integers().map(lambda i: b"%d" % i),
                ),
                max_size=4,
            ).map(lambda headers: (("ce_lineage", honest_lineage()), *headers)),
            st.integers(-1, 1 << 62),
        ),
        max_size=6,
    )
)
def test_whatever_else_stands_on_the_topic_is_found_and_hides_nothing(hostile: list[Seen]) -> None:
    more = [Published("alerts", Position(0, 50_000 + i), seen) for i, seen in enumerate(hostile)]
    verdict = folded().audit([*honest(), *more])

    assert verdict.n_equal == Counter(each.duty for each in honest())
    assert verdict.n_differences.total() >= len(hostile)


def honest_lineage() -> bytes:
    return honest()[0].seen.header("ce_lineage").encode()


def test_a_record_takes_64_bytes_whatever_its_size() -> None:
    observed = folded().observed(honest())
    assert observed.n_bytes == 64 * len(honest())
