"""The detection config changes at a barrier, only upwards, and a replay does it again."""

from __future__ import annotations

from streams.launch import EXIT_OPERATOR
from tests.delivery.kit import SmallRun
from tests.delivery.oracle import expected_outputs, journal_of
from tests.delivery.outputs import check_equal

SECOND = {"generation": 2, "detectors": {"page_hinkley": {"enabled": True, "threshold": 20.0}}}


def test_the_same_generation_with_other_content_is_refused_by_name(small_run: SmallRun) -> None:
    first = small_run.start()
    small_run.send(400)
    small_run.wait_done()
    first.stop()
    committed = small_run.committed()

    other = small_run.start(detection={"detectors": {"adwin": {"enabled": True, "delta": 0.01}}})
    small_run.send(400)

    assert other.wait() == EXIT_OPERATOR, other.log()
    (line,) = other.said("a person has to decide")
    assert line["reason"].startswith("config_conflict")
    assert "detection.detectors.adwin.delta" in line["reason"]
    assert not other.said("Traceback"), other.log()
    # It stops before it folds anything of that partition under a config that is not its own.
    assert small_run.committed() == committed


def test_a_higher_generation_begins_at_a_barrier_and_a_replay_repeats_it(
    small_run: SmallRun,
) -> None:
    first = small_run.start()
    small_run.send(2_000)
    small_run.wait_done()
    first.stop()
    second = small_run.start(detection=SECOND)
    small_run.send(2_000)
    small_run.wait_done()
    second.kill()
    with small_run.store() as store:
        store.flushdb()

    third = small_run.start(detection=SECOND)
    small_run.send(1_000)
    small_run.wait_done()
    third.stop()

    assert sorted(line["events"] for line in third.said("replay complete")) == [1_000] * 4
    assert not third.said("state_divergence")
    for entries in journal_of(small_run).values():
        assert [(e.kind, e.generation, e.offset) for e in entries] == [
            ("lineage", 1, 0),
            ("config", 2, 500),
        ]
    check_equal(small_run.outputs(), expected_outputs(small_run))


def test_a_lower_generation_keeps_the_newer_one(small_run: SmallRun) -> None:
    first = small_run.start(detection=SECOND)
    small_run.send(2_000)
    small_run.wait_done()
    first.kill()

    older = small_run.start()
    small_run.send(1_000)
    small_run.wait_done()
    older.stop()

    assert len(older.said("the partition keeps the newer detection config")) == 4
    assert {e.generation for entries in journal_of(small_run).values() for e in entries} == {2}
    check_equal(small_run.outputs(), expected_outputs(small_run))
