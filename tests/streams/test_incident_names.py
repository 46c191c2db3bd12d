"""What a person types names one incident, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.incidents import IncidentData
from streams.identity import incident_id
from streams.incident_names import MIN_PREFIX, UnknownNameError, incident_named, names_of, one_named
from tests.streams.incident_kit import alert
from tests.streams.incident_scene import incidents

# Few digits, so that names begin alike.
_ids = st.text("0a", min_size=32, max_size=32)
(ONE,) = incidents(alert(1), alert(2, 5))


def of_name(name: str) -> IncidentData:
    """An incident of this name; its evidence, and so its former names, are those of `ONE`."""
    return ONE.model_copy(update={"incident_id": name})


@given(st.sets(_ids, max_size=6), _ids, st.integers(0, 32))
def test_a_beginning_names_the_one_that_has_it_and_nothing_else(
    known: set[str], name: str, n_digits: int
) -> None:
    typed = name[:n_digits]
    alike = [each for each in known if each.startswith(typed)]
    if n_digits >= MIN_PREFIX and len(alike) == 1:
        assert one_named(typed, {each: each for each in known}, "incident") == alike[0]
        return
    with pytest.raises(UnknownNameError) as error:
        one_named(typed, {each: each for each in known}, "incident")
    if n_digits >= MIN_PREFIX and alike:
        assert all(each in str(error.value) for each in alike)


@given(st.sets(_ids, min_size=1, max_size=6))
def test_a_whole_name_names_its_own_however_it_is_written(known: set[str]) -> None:
    for each in known:
        found = incident_named(f" {each.upper()}\n", [of_name(one) for one in sorted(known)])
        assert found.incident_id == each


@given(st.text(max_size=40))
def test_what_is_no_name_is_refused_and_not_repeated_raw(typed: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        incident_named(typed, [])
    assert not any(ord(each) < 32 or 127 <= ord(each) < 160 for each in str(error.value))


def test_a_name_from_before_two_became_one_names_what_they_became() -> None:
    former = incident_id("driftsentry", "churn", f"{2:032x}")
    assert former != ONE.incident_id
    assert names_of(ONE) == {former, ONE.incident_id}
    assert incident_named(former[:8], [ONE]) == ONE
    # Its own name goes first: a list shows that one.
    other = of_name(former)
    assert incident_named(former, [ONE, other]) == other
    with pytest.raises(UnknownNameError, match="there is no incident"):
        incident_named(former, [])


def test_a_whole_name_is_not_made_doubtful_by_a_longer_one() -> None:
    # Whoever can write to the topic can make one.
    known = [of_name("a" * 32), of_name("a" * 33)]
    assert incident_named("a" * 32, known) == known[0]


def test_a_former_name_of_two_is_refused() -> None:
    former = incident_id("driftsentry", "churn", f"{2:032x}")
    with pytest.raises(UnknownNameError):
        incident_named(former, [of_name("0" * 32), of_name("a" * 32)])
