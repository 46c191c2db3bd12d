"""A new source key: taken up where nothing is replayed, asked for where something is."""

from __future__ import annotations

import pytest

from schemas.records import TopicPartition
from schemas.source_hash import SourceKey
from streams.recovery import OperatorNeededError
from streams.runner import Runner
from tests.streams.test_runner import EVENTS, FAST, House, house_with_events, undisturbed


@pytest.fixture
def house() -> House:
    return house_with_events()


def stop(runner: Runner, *, drains: bool = True) -> None:
    if drains:
        runner.drain()
    runner.log.close()


KEYS = [None, SourceKey(b"a" * 16), SourceKey(b"b" * 16)]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (0, 1), (1, 0)])
def test_a_new_source_key_is_taken_up_where_nothing_is_to_be_replayed(
    house: House, before: int, after: int
) -> None:
    expected = undisturbed(house).outputs()
    run = house.run("rekeyed")
    runner = run.worker(key=KEYS[before])
    run.step(runner, 15)
    stop(runner)
    at = {tp: house.broker.committed(run.name, tp) for tp in EVENTS}
    newer = FAST.model_copy(update={"generation": 2})

    runner = run.worker(newer, key=KEYS[after])
    run.step(runner, 3)

    for tp, held in runner.held.items():
        committed = at[tp]
        assert committed is not None
        assert held.worker.config_from == committed.offset
        assert held.worker.detection.key is KEYS[after]
    # A crash now: the checkpoint and the journal know the new key alone.
    stop(runner, drains=False)
    runner = run.worker(newer, key=KEYS[after])
    run.finish(runner)
    # No event of this stream has a source, so the key changes nothing that is said.
    assert run.outputs() == expected


def test_the_same_generation_with_another_key_is_a_conflict(house: House) -> None:
    run = house.run("conflict")
    runner = run.worker(key=KEYS[1])
    run.step(runner, 5)
    stop(runner)
    other = run.worker(key=KEYS[2])
    with pytest.raises(OperatorNeededError, match="the source key") as caught:
        run.step(other, 3)
    assert caught.value.code == "config_conflict"


@pytest.mark.parametrize("why", ["a replay", "an older generation", "a fold from the start"])
def test_a_key_that_is_needed_is_asked_for(
    house: House, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = house.run("needed")
    newer = FAST.model_copy(update={"generation": 2})
    first, second = (newer, FAST) if why == "an older generation" else (FAST, newer)
    runner = run.worker(first, key=KEYS[1])
    run.step(runner, 17)
    if why == "a replay":
        run.store.unavailable = True
        run.step(runner, 4)
        stop(runner)
        run.store.unavailable = False
    else:
        stop(runner)
    if why == "a fold from the start":
        run.store.wipe()
    other = run.worker(second, key=KEYS[2])
    run.step(other, 3)
    assert set(other.adrift) == set(EVENTS)
    assert "the replay needs the source key" in capsys.readouterr().out
    stop(other, drains=False)
    # With it everything goes on.
    run.finish(run.worker(first, key=KEYS[1]))


def test_a_switch_to_a_new_key_whose_checkpoint_was_lost_is_taken_up_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = undisturbed(house).outputs()
    run = house.run("switched")
    runner = run.worker(key=KEYS[1])
    run.step(runner, 15)
    stop(runner)
    newer = FAST.model_copy(update={"generation": 2})
    # The barrier is committed and journaled; what should be saved then is not.
    runner = run.worker(newer, key=KEYS[2])
    lost: list[TopicPartition] = []
    monkeypatch.setattr(runner.checkpointer, "submit", lambda tp, _: lost.append(tp))
    run.step(runner, 2)
    assert set(lost) == set(EVENTS)
    stop(runner, drains=False)

    runner = run.worker(newer, key=KEYS[2])
    run.finish(runner)
    assert all(held.worker.detection.config == newer for held in runner.held.values())
    assert run.outputs() == expected
