"""What a retraining may win back: the loss of accuracy since the reference, which alerts name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from detectors.fold import Fold
from schemas.alerts import AlertData
from schemas.config import PageHinkleyConfig
from schemas.findings import ErrorReference, Finding
from streams.episode_state import restore_episodes
from streams.incident_evidence import EvidenceError, from_alert
from streams.retraining_gate import request_of
from tests.detectors.decoded import Event, decoded
from tests.detectors.folding import fold_in
from tests.detectors.test_outcome_numbers import stream as of_numbers
from tests.detectors.test_outcome_signals import CONFIG as FOLDED
from tests.detectors.test_outcome_signals import stream
from tests.streams.incident_kit import moved
from tests.streams.policy_kit import decide, finding, policy, settled
from tests.streams.test_retraining_gate import CONFIG, FACTS, drafts, only, worse

N_REFERENCE = FOLDED.labels.reference_labels
TENTH = {"n_errors": 200, "n_labels": 2_000}


def of_reference(n_errors: int, n_labels: int = 2_000) -> dict[str, Any]:
    return {"error_reference": {"n_errors": n_errors, "n_labels": n_labels}}


def alerts_of(events: list[Event]) -> list[AlertData]:
    return decide(policy(), *Fold(FOLDED).process(decoded(events)))


def wrong_in_reference(events: list[Event]) -> int:
    """How many labels of the reference contradict: it begins once outputs have been learned."""
    predicted = {e.event_id: e.prediction for e in events if not e.is_label}
    learned = [e for e in events if not e.is_label][FOLDED.reference_events - 1]
    labels = [e for e in events if e.is_label and e.offset > learned.offset][:N_REFERENCE]
    return sum(predicted[each.event_id] != each.prediction for each in labels)


def test_it_is_known_where_only_a_group_is_known_to_be_worse() -> None:
    group = moved("error:region=west", before=0.1, change_offset=5_000, found_offset=5_200)
    request = only(worse(signals=[group], error_reference=TENTH))
    assert (request.status, request.reason) == ("released", "harmful_drift")
    benefit = request.benefit
    assert benefit is not None
    assert benefit.loss == pytest.approx(0.1)
    # By hand, of 160 in 800 (0.1737 to 0.2291) and 200 in 2,000 (0.0876 to 0.1139).
    assert benefit.low == pytest.approx(0.0703, abs=1e-4)
    assert benefit.high == pytest.approx(0.1316, abs=1e-4)
    assert (benefit.error_rate, benefit.n_labels) == (0.2, 800)
    assert (benefit.reference_error_rate, benefit.n_reference_labels) == (0.1, 2_000)
    assert "; accuracy has fallen by 0.100 (0.070 to 0.132)" in request.message


@pytest.mark.parametrize(
    ("alert", "facts"),
    [
        ({"error_reference": None}, FACTS),
        (of_reference(200), None),
        (of_reference(200), FACTS._replace(n_errors=None)),
        (of_reference(200), FACTS._replace(n_labels=0, n_errors=0)),
    ],
)
def test_it_is_null_where_either_side_is_not_known(alert: dict[str, Any], facts: Any) -> None:
    assert only(worse(**alert), facts=facts).benefit is None


def test_an_alert_with_more_errors_than_labels_is_no_evidence() -> None:
    with pytest.raises(EvidenceError, match="error_reference"):
        from_alert(worse(**of_reference(21, 20)))


def test_it_is_against_the_reference_of_the_version() -> None:
    requests = [
        request_of(draft, FACTS, [], CONFIG)
        for draft in drafts(
            worse(1, model_version="6", **of_reference(800)),
            worse(
                2,
                1,
                model_version="7",
                opened_offset=5_300,
                trigger_offset=5_300,
                **of_reference(200),
            ),
        )
    ]
    (request,) = (each for each in requests if each.model_version == "7")
    assert request.benefit is not None
    assert request.benefit.reference_error_rate == 0.1


def test_of_shards_in_one_partition_it_is_that_of_all_their_labels() -> None:
    one = worse(1, shard=0, **of_reference(900))
    request = only(one, worse(2, shard=1, **of_reference(200)))
    assert request.benefit is not None
    assert request.benefit.reference_error_rate == pytest.approx(1_100 / 4_000)
    assert request.benefit.n_reference_labels == 4_000


def test_of_two_references_that_of_the_newest_alert_counts_also_where_it_is_not_known() -> None:
    old = worse(1, **of_reference(900))
    at = {"trigger_offset": 5_400, "opened_offset": 5_400}
    new = only(old, worse(2, 1, **at, **of_reference(200)))
    assert new.benefit is not None
    assert new.benefit.reference_error_rate == 0.1
    assert only(old, worse(2, 1, **at, error_reference=None)).benefit is None


def test_of_partitions_it_is_that_of_all_their_labels_and_of_each_the_newest() -> None:
    other = {"partition": 3, "lineage": "b7" * 16, "shard": 1}
    ways = [
        worse(1, **of_reference(900)),
        worse(2, 1, trigger_offset=5_400, opened_offset=5_400, **of_reference(200)),
        worse(3, 1, **other, **of_reference(100, 1_000)),
    ]

    request = only(*ways)
    assert request.benefit is not None
    assert request.benefit.reference_error_rate == pytest.approx(0.1)
    assert request.benefit.n_reference_labels == 3_000
    assert only(*reversed(ways)) == request


def test_what_is_told_beyond_the_window_says_nothing_of_the_reference() -> None:
    late = worse(1, 1, revision=2, status="updated", trigger_offset=6_500, **of_reference(900))
    alone = only(worse(error_reference=None))
    assert only(worse(error_reference=None), late) == alone
    assert alone.benefit is None


def test_alerts_of_a_group_name_how_often_all_were_wrong_in_the_reference() -> None:
    """From event 2,500 on the west is wrong as often as the others are right."""
    events = stream(
        6_000,
        lambda i, p, region, u: (u < p) if i < 2_500 or region != "west" else (u < 1.0 - p),
    )
    alerts = alerts_of(events)
    own = [each for each in alerts if each.signal == "error:region=west"]
    assert own
    expected = wrong_in_reference(events)
    for each in own:
        assert each.error_reference is not None
        assert (each.error_reference.n_errors, each.error_reference.n_labels) == (
            expected,
            N_REFERENCE,
        )


def test_the_reference_is_named_from_the_row_on_that_completes_it_however_events_come() -> None:
    """Something is found with every label: the number of the feature goes up and down."""
    events = [
        replace(each, features={**(each.features or {}), "x": float(each.offset // 40 % 2)})
        if each.features
        else each
        for each in stream(1_400)
    ]
    noisy = FOLDED.model_copy(
        update={
            "detectors": FOLDED.detectors.model_copy(
                update={"page_hinkley": PageHinkleyConfig(enabled=True, threshold=3.0)}
            )
        }
    )
    whole = Fold(noisy).process(decoded(events))
    found = [each.error_reference for each in whole if isinstance(each, Finding)]
    assert {None, found[-1]} == set(found)
    for size in (1, 7, 300):
        cuts = range(size, len(events), size)
        assert fold_in(Fold(noisy), events, cuts=list(cuts)) == whole


def test_alerts_of_a_model_of_numbers_name_none() -> None:
    events = of_numbers(3_000, lambda i, _, u: u if i < 1_500 else 5.0 + u)
    alerts = alerts_of(events)
    assert any(one.signal == "error" for each in alerts for one in each.signals)
    assert {each.error_reference for each in alerts} == {None}


def test_an_alert_names_the_reference_as_soon_as_it_is_known_and_in_every_later_record() -> None:
    reference = ErrorReference(40, 400)
    own = policy()
    first, updated, resolved = decide(
        own,
        finding(5_000),
        finding(5_010, signal="feature:y")._replace(error_reference=reference),
        settled(7_000, effect=0.0),
        settled(7_010, signal="feature:y", effect=0.0),
    )[:3]
    assert first.error_reference is None
    assert restore_episodes(own.snapshot()).episodes == own.book.episodes
    for each in (updated, resolved):
        assert each.error_reference is not None
        assert each.error_reference.model_dump() == reference._asdict()


def test_a_reference_of_a_few_labels_is_not_published() -> None:
    few = finding(5_000)._replace(error_reference=ErrorReference(1, 19))
    (alert,) = decide(policy(), few)
    assert alert.error_reference is None


def test_the_loss_is_negative_where_fewer_are_wrong_than_in_the_reference() -> None:
    request = only(worse(**of_reference(600)))
    assert request.benefit is not None
    assert request.benefit.loss == pytest.approx(-0.1)
    assert request.benefit.low < -0.1 < request.benefit.high < 0.0
    assert "; accuracy has risen by 0.100 (0.0" in request.message
