"""The real worker under faults at every step: its outputs are those of an undisturbed run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import orjson
import pytest

from schemas.records import TopicPartition
from streams.lineage import load_metadata
from tests.simulation.attacks import SHARE
from tests.simulation.oracle import check, found_rows
from tests.simulation.process import GROUP
from tests.simulation.run import quiet, run_seed, run_seeds
from tests.simulation.traffic import EVERYTHING
from tests.simulation.world import World

N_SEEDS: Final = 1_000
N_SEEDS_AT_MOST: Final = 3_000
"""Where a place that is rarely met needs more of them."""
N_SEEDS_OF_LONG: Final = 4_000
N_SEEDS_OF_EVERYTHING: Final = 16
N_JOBS: Final = 2

PLACES: Final = {
    f"{when} {call}"
    for when in ("before", "after")
    for call in (
        *("poll", "publish", "committed", "watermarks", "journal"),
        *("manifests", "segments", "save"),
    )
} | {
    "in a transaction: begun",
    "in a transaction: record written",
    "in a transaction: offset added",
}


@pytest.fixture(autouse=True)
def _without_the_log() -> Iterator[None]:
    with quiet():
        yield


def test_whatever_fails_the_output_is_that_of_an_undisturbed_run() -> None:
    hits: Counter[tuple[str, str]] = Counter()
    outcomes = run_seeds(range(N_SEEDS_AT_MOST), N_JOBS)
    for number, outcome in enumerate(outcomes, 1):
        assert not outcome.problem, f"{outcome.problem}\nto see it again: {outcome.command}"
        hits += outcome.hits
        if number >= N_SEEDS and not _hardly_met(hits):
            break
    outcomes.close()
    # Each place has been met by each kind of fault, or the seeds show less than they claim.
    assert not _hardly_met(hits)


def _hardly_met(hits: Counter[tuple[str, str]]) -> dict[str, set[str]]:
    """The places that not every kind of fault has met, with those that have."""
    kinds = {place: {kind for at, kind in hits if at == place} for place in PLACES}
    return {
        place: met
        for place, met in kinds.items()
        if not {"killed", "paused"} < met or not any(kind.endswith("Error") for kind in met)
    }


@pytest.mark.long
def test_the_same_holds_for_more_seeds() -> None:
    for outcome in run_seeds(range(N_SEEDS, N_SEEDS_OF_LONG), N_JOBS):
        assert not outcome.problem, f"{outcome.problem}\nto see it again: {outcome.command}"


def test_the_same_holds_with_everything_on() -> None:
    for outcome in run_seeds(range(EVERYTHING, EVERYTHING + N_SEEDS_OF_EVERYTHING), N_JOBS):
        assert not outcome.problem, f"{outcome.problem}\nto see it again: {outcome.command}"


@pytest.mark.parametrize("seed", [291, 664, 551, 695])
def test_what_seeds_have_found_stays_mended(seed: int) -> None:
    """In at-least-once mode, entries in the journal whose commit never came.

    A commit with the digest of a state before a switch, taken up from a checkpoint at the same
    offset that was made after it. A command that one thought dead journals again after the next.
    """
    outcome = run_seed(seed)
    assert not outcome.problem, f"{outcome.problem}\nto see it again: {outcome.command}"


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_gives_the_same_run_again(seed: int) -> None:
    first, again = run_seed(seed), run_seed(seed)

    assert first == again
    assert first.n_steps > 10


@pytest.mark.parametrize("seed", range(20))
def test_the_oracle_says_what_an_undisturbed_worker_says(seed: int) -> None:
    world = World(seed)

    world.run_undisturbed()

    check(world)
    assert world.n_started == 1
    assert not world.hits
    said = [row for tp in world.tps for row in found_rows(world).get(("alerts", tp.partition), [])]
    assert world.is_short or any(b'"kind":"drift"' in (value or b"") for _, _, value, *_ in said)


@pytest.mark.parametrize("seed", [7, 37])
def test_a_seed_of_the_security_duty_opens_updates_and_closes_anomalies(seed: int) -> None:
    world = World(seed)
    assert world.duty == "security"
    world.exactly_once = True

    world.run_undisturbed()

    check(world)
    for tp in world.tps:
        said = [row[2] or b"" for row in found_rows(world)["anomalies", tp.partition]]
        statuses = {orjson.loads(value)["unmapped"]["status"] for value in said}
        assert statuses == {"opened", "updated", "closed"}
        committed = world.broker.stable_commit(GROUP, tp)
        assert committed is not None
        metadata = load_metadata(committed.metadata)
        assert metadata is not None
        assert (metadata.lineage.duty, metadata.n_alerts) == ("security", len(said))
        # Refused records are counted, and told by the other duty.
        assert metadata.n_dead > 0
    assert not world.broker.records(TopicPartition("dead", 0))


def test_the_security_duty_has_its_share_of_the_seeds() -> None:
    duties = Counter(World(seed).duty for seed in range(2 * SHARE))
    assert duties == {"security": 2, "drift": 2 * SHARE - 2}


@pytest.mark.parametrize(("seed", "topic"), [(1, "alerts"), (7, "anomalies")])
def test_the_check_notices_an_output_that_is_missing_or_there_twice(seed: int, topic: str) -> None:
    for tamper in ("missing", "twice"):
        world = World(seed)
        world.exactly_once = True
        world.run_undisturbed()
        check(world)
        of_topic = [world.broker.partition(TopicPartition(topic, n)).entries for n in (0, 1)]
        alerts = max(of_topic, key=len)
        records = [i for i, entry in enumerate(alerts) if not entry.is_marker]
        if tamper == "missing":
            del alerts[records[-1]]
        else:
            alerts.append(alerts[records[0]])
        with pytest.raises(AssertionError, match="seq"):
            check(world)
