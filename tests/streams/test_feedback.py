"""When labels are said to depend on predictions, and when not."""

from __future__ import annotations

import numpy as np
import pytest

from streams.feedback import feedback_warnings, labels_that_follow, selective_labels
from streams.prediction_regions import Region
from tests.streams.rollback_kit import every, served
from tests.streams.test_retraining_gate import held_for, only, worse
from tests.streams.test_window_facts import events_of
from tests.streams.window_kit import window, wish


def of_class(name: str, n: int, n_labelled: int, n_agree: int | None = None) -> Region:
    return Region("class", f"class={name}", n, n_labelled, n_agree)


def test_a_class_that_is_labelled_more_often_is_named_once() -> None:
    (found,) = selective_labels([of_class("no", 500, 50), of_class("yes", 500, 450)])
    assert (found.kind, found.region) == ("selective_labels", "class=yes")
    assert (found.share, found.other) == (0.9, 0.1)
    assert 0.7 < found.low < 0.8 < found.high < 0.9
    assert "90% of the predictions with class=yes have labels, and 10% of the others" in (
        found.detail
    )


@pytest.mark.parametrize(
    ("n", "few", "many"),
    [(500, 450, 450), (500, 400, 440), (49, 5, 45), (10_000, 8_100, 9_000)],
    ids=["alike", "below the least effect", "too few rows", "sure, and small"],
)
def test_what_is_no_sign(n: int, few: int, many: int) -> None:
    assert selective_labels([of_class("no", n, few), of_class("yes", n, many)]) == []


def test_of_several_classes_the_one_that_gets_none_is_named() -> None:
    regions = [of_class(name, 1_000, 0 if name == "c" else 800) for name in "abcd"]
    found = {each.region: each.share - each.other for each in selective_labels(regions)}
    assert found["class=c"] == pytest.approx(-0.8)


def test_by_chance_it_is_hardly_ever_said() -> None:
    """Labels that come at random: at 99 % one window in a hundred at most."""
    rng = np.random.default_rng(3)
    n_said = sum(
        bool(
            selective_labels(
                [of_class(name, 60, int(rng.binomial(60, 0.5))) for name in "abcdefgh"]
            )
        )
        for _ in range(1_000)
    )
    assert n_said <= 10


def test_labels_that_follow_the_new_version_in_one_class() -> None:
    old = [of_class("no", 500, 300, 240), of_class("yes", 500, 300, 180)]
    new = [of_class("no", 500, 300, 240), of_class("yes", 500, 300, 285)]
    (found,) = labels_that_follow(new, old)
    assert (found.kind, found.region) == ("labels_follow_predictions", "class=yes")
    assert (found.share, found.other) == (0.95, 0.6)
    assert feedback_warnings(new, old) == [found]
    better = [of_class("no", 500, 300, 290), of_class("yes", 500, 300, 285)]
    assert labels_that_follow(better, old) == [], "a model that is better is better everywhere"
    assert labels_that_follow(old, new) == []
    assert labels_that_follow(new[1:], old) == [], "nobody knows of the others"


def test_labels_that_never_disagree_with_the_new_version() -> None:
    # The whole loop looked like a better model.
    old = [of_class("no", 500, 400, 300), of_class("yes", 500, 400, 320)]
    new = [of_class("no", 500, 400, 400), of_class("yes", 500, 300, 300)]
    (found,) = labels_that_follow(new, old)
    assert (found.kind, found.region) == ("labels_follow_predictions", "all")
    assert (found.share, found.other) == (1.0, 620 / 800)
    assert "all of 700 labels agree with the new version, and 78% did" in found.detail
    one_is_not = [new[0], of_class("yes", 500, 300, 299)]
    assert labels_that_follow(one_is_not, old) == []
    good = [of_class("no", 500, 400, 390), of_class("yes", 500, 400, 385)]
    assert labels_that_follow(new, good) == [], "a good model may be without errors for a while"


def test_regions_of_events_and_the_warning_in_a_retraining_request() -> None:
    """Whoever is predicted 1 gets a label, and of the others one in eight."""

    def is_labelled(i: int) -> bool:
        return (i // 4) % 2 == 1 or i % 8 == 0

    records = served(0, 400, "7", every(10), is_labelled=is_labelled)
    facts = events_of([records], wish(window((0, 0, 999)))).facts()
    assert [each[:4] for each in facts.regions] == [
        ("class", "class=0", 200, 50),
        ("class", "class=1", 200, 200),
    ]
    request = only(worse(), facts=facts)
    assert [each.region for each in request.warnings] == ["class=1"]
    assert (request.status, held_for(request)) == ("released", []), "a warning holds nothing"
    assert f". Beware: {request.warnings[0].detail}." in request.message
    assert not only(worse()).warnings
    assert "Beware" not in only(worse()).message


def test_quarters_of_scores_and_of_numbers() -> None:
    records = []
    for i in range(400):
        # The upper half of the scores is labelled.
        records += served(
            2 * i,
            1,
            "7",
            score=i / 400,
            is_labelled=lambda _, at=i: at >= 200,  # type: ignore[misc]
        )
    facts = events_of([records], wish(window((0, 0, 999)))).facts()
    bands = [each for each in facts.regions if each.kind == "score"]
    assert [each.name for each in bands] == [f"score={k}/4" for k in (1, 2, 3, 4)]
    assert sum(each.n for each in bands) == 400
    found = {each.region for each in selective_labels(facts.regions)}
    assert {"score=1/4", "score=4/4"} <= found
