"""Nothing is settled before all that was said of it has been read; and in the end all of it is."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.responder_ports import FoldPlace
from streams.responder_settling import (
    WATERMARK_EVENTS,
    DutyCommit,
    Look,
    OutputPlace,
    Settling,
    least,
    watermark_of,
)

PLACES: list[OutputPlace] = [("alerts", 0), ("alerts", 1), ("anomalies", 0)]


def fold(partition: int) -> FoldPlace:
    return FoldPlace(partition, f"lineage {partition}")


def commit(offset: int, partition: int = 0) -> DutyCommit:
    return DutyCommit(offset, fold(partition).lineage, "topic")


@dataclass
class _Transaction:
    duty: int
    partition: int
    offset: int
    """To be committed for the duty's partition of the events."""
    places: dict[OutputPlace, int] = field(default_factory=dict)
    """Offsets of its records."""


class Cluster:
    """Workers of two duties that write in transactions, and responders that read committed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ends = dict.fromkeys(PLACES, 0)
        self.open: list[_Transaction] = []
        self.folded: list[dict[int, DutyCommit]] = [{}, {}]
        self.said: list[tuple[int, OutputPlace, int]] = []
        """Of which events' offset, and where the record stands; committed ones."""
        self.said_partition: list[int] = []
        self.done = dict.fromkeys(PLACES, 0)

    def begin(self) -> None:
        duty, partition = self.random.randrange(2), self.random.randrange(2)
        if any((each.duty, each.partition) == (duty, partition) for each in self.open):
            return
        before = self.folded[duty].get(partition, commit(0)).offset
        made = _Transaction(duty, partition, before + self.random.randint(1, 5))
        for place in self.random.sample(PLACES, self.random.randint(0, 2)):
            made.places[place] = self.ends[place]
            self.ends[place] += 1
        self.open.append(made)

    def end(self) -> None:
        if not self.open:
            return
        each = self.open.pop(self.random.randrange(len(self.open)))
        for place in each.places:
            self.ends[place] += 1  # the marker
        if self.random.random() < 0.3:
            return
        for place, offset in each.places.items():
            self.said.append((each.offset - 1, place, offset))
            self.said_partition.append(each.partition)
        own = commit(each.offset, each.partition)
        self.folded[each.duty][each.partition] = own

    def read(self) -> None:
        place = self.random.choice(PLACES)
        held = [each.places[place] for each in self.open if place in each.places]
        stable = min([*held, self.ends[place]])
        if stable > self.done[place]:
            self.done[place] = self.random.randint(self.done[place] + 1, stable)

    def look(self) -> Look:
        return Look(least(self.folded), dict(self.ends))

    def check(self, settled: dict[FoldPlace, int]) -> None:
        for (offset, place, at), partition in zip(self.said, self.said_partition, strict=True):
            if offset < settled.get(fold(partition), 0):
                assert at < self.done[place], "it was said of settled events, and is not read"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_what_is_settled_was_read(seed: int, n_responders: int) -> None:
    cluster = Cluster(seed)
    # Each responder has looks of its own; what one of them settles is settled for all.
    responders = [Settling() for _ in range(n_responders)]
    settled: dict[FoldPlace, int] = {}
    for _ in range(150):
        step = cluster.random.random()
        if step < 0.3:
            cluster.begin()
        elif step < 0.6:
            cluster.end()
        elif step < 0.85:
            cluster.read()
        else:
            responder = cluster.random.choice(responders)
            look = cluster.look()
            for _ in range(cluster.random.randrange(3)):
                cluster.random.choice([cluster.begin, cluster.end, cluster.read])()
            for partition, offset in responder.advance(look, dict(cluster.done)).items():
                settled[partition] = max(offset, settled.get(partition, 0))
        cluster.check(settled)
    while cluster.open:
        cluster.end()
    cluster.done = dict(cluster.ends)
    for partition, offset in responders[0].advance(cluster.look(), cluster.done).items():
        settled[partition] = max(offset, settled.get(partition, 0))
    cluster.check(settled)
    for partition, offset in least(cluster.folded).items():
        assert settled[partition] == offset, "in the end all of it is settled"


def test_it_gets_on_where_there_is_always_something_new() -> None:
    settling = Settling()
    last: dict[FoldPlace, int] = {}
    for number in range(1, 50):
        look = Look({fold(0): 10 * number}, {("alerts", 0): number})
        last = settling.advance(look, {("alerts", 0): number - 1}) or last
    assert last[fold(0)] >= 400


def test_a_partition_that_nobody_has_written_to_is_read() -> None:
    assert Settling().advance(Look({fold(0): 7}, {("alerts", 0): 0}), {}) == {fold(0): 7}
    assert Settling().advance(Look({fold(0): 7}, {("alerts", 0): 1}), {}) == {}


def test_without_a_commit_of_every_duty_nothing_is_folded() -> None:
    assert least([{0: commit(5), 1: commit(8)}, {0: commit(4)}]) == {fold(0): 4}
    assert least([{0: commit(5)}]) == {fold(0): 5}
    assert least([{0: commit(5)}, {}]) == {}
    assert least([]) == {}


def test_commits_on_two_topics_of_one_name_settle_nothing() -> None:
    """One duty has begun on a topic that was made anew, the other has not noticed yet."""
    former, anew = commit(5_000), DutyCommit(4, "later", "another topic")
    assert least([{0: anew}, {0: former}]) == {}
    assert least([{0: former}, {0: anew}]) == {}
    # Each duty has a lineage of its own; that of the first one names the fold.
    both = least([{0: anew}, {0: anew._replace(lineage="of attacks", offset=3)}])
    assert both == {FoldPlace(0, "later"): 3}


def test_the_watermark_is_the_median_of_the_last_events() -> None:
    assert watermark_of([]) is None
    assert watermark_of([5]) == 5
    assert watermark_of([9, 1, 5]) == 5
    assert watermark_of([1, 2]) == 1
    assert watermark_of([10**15] * 500 + list(range(WATERMARK_EVENTS))) == 49


@given(
    st.lists(st.integers(0, 10**6), min_size=3, max_size=150),
    st.integers(0, 149),
    st.integers(10**9, 10**15),
)
def test_one_time_from_the_future_does_not_push_it_beyond_the_others(
    times_ms: list[int], place: int, future_ms: int
) -> None:
    times_ms[place % len(times_ms)] = future_ms
    watermark_ms = watermark_of(times_ms)
    assert watermark_ms is not None
    assert watermark_ms <= 10**6
