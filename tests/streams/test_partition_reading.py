"""Up to where a partition is done with, beside the simplest way to say it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.partition_reading import PartitionReading

STEPS = st.lists(
    st.one_of(
        # So many offsets are skipped (aborted, markers), then a record is handed out.
        st.tuples(st.just("hand_out"), st.integers(0, 5)),
        # The nth of those that were ever handed out is handled, again perhaps.
        st.tuples(st.just("handle"), st.integers(0, 30)),
        # The log goes on with so many offsets that no reader is given.
        st.tuples(st.just("skip"), st.integers(0, 5)),
        # A seek back: the nth is handed out once more.
        st.tuples(st.just("again"), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(first=st.integers(0, 3), steps=STEPS)
def test_all_below_is_handled_and_nothing_that_is_done_is_left_out(
    first: int, steps: list[tuple[str, int]]
) -> None:
    reading = PartitionReading()
    given_out: list[int] = []
    open_ones: set[int] = set()
    position = first
    for step, number in steps:
        if step == "hand_out":
            offset = position + number
            given_out.append(offset)
            open_ones.add(offset)
            reading.hand_out(offset)
            position = offset + 1
        elif step == "skip":
            position += number
            reading.read_to(position)
        elif given_out:
            offset = given_out[number % len(given_out)]
            if step == "handle":
                open_ones.discard(offset)
                reading.handled(offset)
            else:
                open_ones.add(offset)
                reading.hand_out(offset)
        assert reading.n_outstanding == len(open_ones)
        if reading.done_to is None:
            assert not given_out
            continue
        # Nothing that is left to do lies below; and either it is just there, or all is done.
        assert all(offset >= reading.done_to for offset in open_ones)
        assert reading.done_to in open_ones or not open_ones
    for offset in list(open_ones):
        reading.handled(offset)
    if given_out:
        assert reading.done_to == position


def test_what_was_never_handed_out_changes_nothing() -> None:
    reading = PartitionReading()
    reading.handled(7)
    assert reading.done_to is None
    reading.hand_out(3)
    reading.handled(7)
    assert reading.done_to == 3
