"""Records kept as columns are the same records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.records import Record, Records, TopicPartition

TP = TopicPartition("events", 3)
RECORDS = st.lists(
    st.builds(
        Record,
        st.just(TP),
        st.integers(0, 2**40),
        st.integers(-1, 2**40),
        st.none() | st.binary(max_size=3),
        st.none() | st.binary(max_size=3),
    ),
    max_size=6,
)
ENDS = st.none() | st.integers(-8, 8)


@given(RECORDS, ENDS, ENDS, ENDS.filter(bool))
def test_columns_are_the_same_sequence(
    records: list[Record], start: int | None, stop: int | None, step: int | None
) -> None:
    columns = Records.of(records)
    assert Records.of(columns) is columns
    assert list(columns) == records
    assert [columns[i] for i in range(-len(records), len(records))] == records * 2
    assert list(columns[start:stop:step]) == records[start:stop:step]
    assert bool(columns) == bool(records)
