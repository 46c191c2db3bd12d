"""A worker that is held up while it takes up a partition: what it has asked may be of yesterday.

Another member can have folded, committed and saved meanwhile. Nothing is wrong then, and nobody has
to decide anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from schemas.records import TopicPartition
from streams.ports import Committed
from tests.streams.test_runner import EVENTS, FaultyCommits, house_with_events, undisturbed


@pytest.mark.parametrize("is_first", [True, False], ids=["before the first commit", "later"])
def test_a_commit_that_moves_during_recovery_is_not_taken_for_one_that_moved_back(
    monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    house = house_with_events()
    expected = undisturbed(house).outputs()
    run = house.run("held-up")
    first = run.worker()
    if not is_first:
        run.step(first, 4)
    stale = {tp: house.broker.committed(run.name, tp) for tp in EVENTS}
    assert all((commit is None) == is_first for commit in stale.values())
    run.step(first, 12)
    first.drain()
    first.log.close()

    second = run.worker()
    assert isinstance(second.commits, FaultyCommits)
    ask, answers = second.commits.committed, dict(stale)

    def committed(tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, Committed | None]:
        """The old answer to the first question for each partition."""
        return {tp: answers.pop(tp) if tp in answers else ask([tp])[tp] for tp in tps}

    monkeypatch.setattr(second.commits, "committed", committed)
    run.finish(second)
    assert not answers
    assert run.outputs() == expected
