"""The end of the demo: the incident, the request that is held, who approves, what is released."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from schemas.incidents import IncidentData
from schemas.retraining import RetrainingData
from streams.demo_responder import OperatorError, approve
from streams.demo_responses import Decision, ResponseBook, Responses, left_out, step_words
from streams.demo_story import Story, summary_lines
from streams.incident_desk import as_bytes
from streams.report import render_report
from tests.streams.demo_kit import DELIVERY, LIES, whole_story
from tests.streams.incident_kit import alert
from tests.streams.incident_scene import incidents
from tests.streams.test_report import HOSTILE, Page


def request_of(story: Story) -> RetrainingData:
    (request,) = story.responses.requests
    return request


def test_the_story_ends_with_a_request_that_was_held_and_then_released() -> None:
    story = whole_story()
    lines = summary_lines(story)
    begin = next(i for i, line in enumerate(lines) if line.startswith("The retraining of"))
    assert lines[begin].startswith("The retraining of delivery 1, request ")
    end = lines.index("", begin)
    drift, unsettled, poisoned, both, held, approved, command, released = lines[begin + 1 : end]
    assert "27.0 s  incident" in drift
    assert "is harmful drift: predictions are worse" in drift
    assert "27.0 s  held: not every duty has folded the whole window" in unsettled
    assert "is suspected poisoning: poisoning of the next training" in poisoned
    assert "29.5 s  held: label poisoning is suspected in the window; approve of" in both
    assert "not every duty has folded" in both
    assert "42.0 s  held: label poisoning is suspected in the window; approve of" in held
    assert "not every duty has folded" not in held
    assert "51.0 s  ana looks at the evidence and approves: it lies" in approved
    assert "$ driftsentry incident approve" in command
    assert released.strip() == (
        "51.5 s  released: train on offsets 3,020 to 5,019 of partition 4, 1,870 labels; left out "
        "are 130 labels, by depot-07"
    )


def test_what_is_new_of_a_record_is_a_turn_and_its_repetition_is_none() -> None:
    said = [each.said for each in whole_story().responses.turns]
    incident = next(each for each in said if isinstance(each, IncidentData))
    request = next(each for each in said if isinstance(each, RetrainingData))
    book = ResponseBook()
    keys = incident.incident_id.encode(), request.request_id.encode()
    assert book.add_incident(keys[0], as_bytes(incident), 1.0) is not None
    more = incident.model_copy(update={"revision": incident.revision + 2, "message": "more"})
    assert book.add_incident(keys[0], as_bytes(more), 2.0) is None
    assert book.incidents[incident.incident_id] == more
    assert book.add_request(keys[1], as_bytes(request), 3.0) is not None
    assert book.add_request(keys[1], as_bytes(request), 4.0) is None
    assert [each.at_s for each in book.turns] == [1.0, 3.0]
    assert book.add_incident(keys[0], None, 5.0) is None
    assert book.add_request(keys[1], None, 5.0) is None
    assert (book.incidents, book.requests) == ({}, {})


def test_an_incident_that_goes_on_in_another_one_is_named_with_it() -> None:
    early, late = alert(1, 0), alert(2, 1)
    (first,) = incidents(late)
    (whole,) = incidents(early, late)
    book = ResponseBook()
    book.add_incident(first.incident_id.encode(), as_bytes(first), 1.0)
    turn = book.add_incident(whole.incident_id.encode(), as_bytes(whole), 2.0)
    book.add_incident(first.incident_id.encode(), None, 2.0)
    assert turn is not None
    names = whole.incident_id[:12], first.incident_id[:12]
    assert step_words(turn, str).startswith(f"incident {names[0]}, in which {names[1]} goes on, is")
    assert "goes on" not in step_words(book.turns[0], str)


def test_a_person_is_waited_for_only_where_an_attack_alone_holds() -> None:
    story = whole_story()
    held = [
        each.said
        for each in story.responses.turns
        if isinstance(each.said, RetrainingData) and each.said.status == "held"
    ]
    for request in held:
        book = ResponseBook()
        book.add_request(request.request_id.encode(), as_bytes(request), 0.0)
        reasons = [each.reason for each in request.holds]
        assert (book.waits_for_a_person() is None) == (reasons != ["attack_suspected"])
    assert held[-1].holds[0].reason == "attack_suspected"
    assert len(held[-1].holds) == 1


def never_held(responses: Responses) -> Responses:
    turns = [
        each
        for each in responses.turns
        if not (isinstance(each.said, RetrainingData) and each.said.status == "held")
    ]
    return replace(responses, turns=turns)


def still_held(responses: Responses) -> Responses:
    (request,) = responses.requests
    return replace(responses, requests=[request.model_copy(update={"status": "held"})])


def without_quarantine(responses: Responses) -> Responses:
    (request,) = responses.requests
    return replace(responses, requests=[request.model_copy(update={"quarantine": []})])


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda each: replace(each, requests=[]), "no retraining of delivery was asked for"),
        (never_held, "the retraining of delivery was never held for the attack"),
        (still_held, "the retraining of delivery is held in the end"),
        (without_quarantine, "the retraining of delivery leaves out nobody, not depot-07"),
        (lambda each: replace(each, responder_status=1), "the responder ended with status 1"),
    ],
)
def test_what_the_responder_has_not_said_is_a_problem(
    spoil: Callable[[Responses], Responses], problem: str
) -> None:
    story = whole_story()
    assert story.problems() == []
    story = replace(story, responses=spoil(story.responses))
    assert any(problem in each for each in story.problems())


def test_whom_a_quarantine_does_not_name_is_everybody() -> None:
    story = whole_story()
    request = request_of(story)
    assert left_out(request, story.name_of) == [LIES.source]
    (part,) = request.quarantine
    nameless = request.model_copy(
        update={"quarantine": [part, part.model_copy(update={"sources": []})]}
    )
    assert left_out(nameless, story.name_of) == [LIES.source, "everybody"]


def test_the_report_has_every_step_with_its_reason() -> None:
    story = whole_story()
    page = Page(render_report(story))
    for what in (
        "The retraining of delivery 1",
        "Incident: harmful drift",
        "Incident: suspected poisoning and harmful drift",
        "window_not_settled",
        "attack_suspected",
        "ana opens the evidence and approves",
        "driftsentry incident approve",
        "Retraining released",
        "left out are 130 labels, by depot-07; approved by ana",
        "1 alert, 1 anomaly",
        "So a retraining may win back",
    ):
        assert what in page.text
    for hold in (each.holds for each in story.responses.requests):
        assert not hold


def test_what_came_out_of_records_stays_text_in_the_report() -> None:
    story = whole_story()
    responses = story.responses
    turns = [
        each._replace(said=each.said.model_copy(update={"message": HOSTILE, "model_id": HOSTILE}))
        for each in responses.turns
    ]
    (request,) = responses.requests
    hostile = Responses(
        [each.model_copy(update={"model_id": HOSTILE}) for each in responses.incidents],
        [request.model_copy(update={"model_id": HOSTILE, "approved_by": HOSTILE})],
        turns,
        [Decision(51.0, request.request_id, HOSTILE, HOSTILE, (HOSTILE,))],
    )
    page = Page(render_report(replace(story, responses=hostile)))
    assert "script" not in page.count
    assert page.text.count(HOSTILE) >= 5


def test_an_operator_that_reaches_nobody_says_what_the_command_said() -> None:
    story = whole_story()
    with pytest.raises(OperatorError, match="incident show` has failed"):
        approve(
            request_of(story),
            story.responses.incidents,
            "why",
            bootstrap_servers="no such address",
            env={},
        )


def test_the_labels_come_behind_their_predictions_and_one_depot_turns_them_over() -> None:
    labels = DELIVERY.labels
    assert labels is not None
    lies = set(LIES.at.tolist())
    assert all(labels.sources[i] == LIES.source for i in lies)
    errors = DELIVERY.signal("error")
    assert errors is not None
    honest = [i for i in range(4_000, 5_900) if i not in lies]
    assert errors[honest].mean() < 0.5 < errors[sorted(lies)[:200]].mean()
    assert errors[:3_000].mean() < 0.2
    with pytest.raises(ValueError, match="has no labels"):
        replace(DELIVERY, labels=None).label(0, "one", "")
