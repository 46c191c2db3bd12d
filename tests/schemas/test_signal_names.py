"""No two signals of a model share a name, whatever the names from outside are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.signal_names import (
    NEW_CATEGORY,
    OTHER_CLASS,
    category_signal,
    class_signal,
    feature_signal,
    new_signal,
    of_feature,
    other_signal,
    plain,
    plain_value,
)

NAMES = st.one_of(
    st.text("\\=ab_", max_size=6),
    st.sampled_from([NEW_CATEGORY, OTHER_CLASS, f"\\{NEW_CATEGORY}", f"a={NEW_CATEGORY}", "\n"]),
)


@given(NAMES, NAMES, NAMES, NAMES)
def test_each_has_its_own(feature: str, category: str, other: str, another: str) -> None:
    named = {
        ("number", feature): feature_signal(feature),
        ("number", other): feature_signal(other),
        ("new", feature): new_signal(feature),
        ("new", other): new_signal(other),
        ("category", feature, category): category_signal(feature, category),
        ("category", other, another): category_signal(other, another),
        ("class", category): class_signal(category),
        ("class", another): class_signal(another),
        ("other class",): other_signal(),
    }
    assert len(set(named.values())) == len(named)


@given(NAMES, NAMES)
def test_the_names_are_read_back(feature: str, category: str) -> None:
    assert of_feature(feature_signal(feature))[1] is None
    assert plain(of_feature(feature_signal(feature))[0]) == feature
    written, own = of_feature(category_signal(feature, category))
    assert own is not None
    assert (plain(written), plain_value(own)) == (feature, category)
    assert of_feature(new_signal(feature))[1] == NEW_CATEGORY


def test_usual_names_stand_as_they_are() -> None:
    assert category_signal("kind", "a b") == "feature:kind=a b"
    assert feature_signal("x.y") == "feature:x.y"
    assert class_signal("yes") == "class:yes"
