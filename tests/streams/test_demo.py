"""The demo: its alerts, its summary, its view, and a run of the whole."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest
from rich.console import Console

from streams.alert_book import AlertBook, SeenAlert, from_to
from streams.demo_alerts import change_before, event_numbers, verdicts
from streams.demo_flow import News, Progress
from streams.demo_story import Story, meaning, summary_lines
from streams.demo_view import LiveView, PlainView, spark_line, window_means
from streams.traffic import ModelTraffic
from tests.streams.demo_kit import (
    APP,
    ATTACK,
    CENSUS,
    CONTROL,
    CREDIT,
    KEY,
    MODELS,
    alert_data,
    anomalies_of,
    anomaly_record,
    positions,
    record,
    whole_story,
)


def test_an_alert_gathers_its_updates_and_repeats_count_once() -> None:
    book = AlertBook(event_numbers(positions()))
    first = alert_data(CENSUS, "feature:RELP", 7_810, after=None, effect=3.0)
    new = book.add(record(first))
    assert new is not None
    assert new.model_event == 7_810
    joined = first.signals[0].model_copy(
        update={"signal": "score", "found_offset": first.trigger_offset + 20}
    )
    update = first.model_copy(
        update={"revision": 2, "signals": [joined, *first.signals], "n_signals": 2}
    )
    assert book.add(record(update)) is None
    assert book.add(record(update)) is None
    assert book.alerts == [new]
    assert new.n_updates == 1
    assert new.said == update
    assert [moved.signal for moved in new.moved.values()] == ["feature:RELP", "score"]
    assert new.found_events == {"feature:RELP": [7_810], "score": [7_830]}


def test_offsets_of_other_models_lead_to_the_next_event_of_the_alerts_model() -> None:
    book = AlertBook(event_numbers({(0, 5): (APP.model_id, 9), (0, 6): (CENSUS.model_id, 3)}))
    said = alert_data(CENSUS, "score", 0).model_copy(
        update={"partition": 0, "trigger_offset": 6, "change_offset": 5}
    )
    alert = book.add(record(said))
    assert alert is not None
    assert (alert.model_event, alert.change_event) == (3, 3)
    elsewhere = said.model_copy(update={"alert_id": "other", "trigger_offset": 7_000})
    alert = book.add(record(elsewhere))
    assert alert is not None
    assert alert.model_event == -1


def seen(model: ModelTraffic, signal: str, event: int) -> SeenAlert:
    alert = AlertBook(event_numbers(positions())).add(record(alert_data(model, signal, event)))
    assert alert is not None
    return alert


def test_a_change_is_seen_only_on_its_signal_in_its_model_and_in_time() -> None:
    change = APP.changes[0]
    good = seen(APP, "feature:AGEP", change.event + 5)
    bad = [
        seen(APP, "feature:AGEP", change.event - 1),
        seen(APP, "feature:AGEP", change.event + change.within),
        seen(APP, "feature:MAR", change.event + 5),
        seen(CENSUS, "feature:AGEP", change.event + 5),
    ]
    (verdict,) = verdicts([APP], [*bad, good])
    assert verdict.alert is good
    assert verdict.delay_events == 5
    (verdict,) = verdicts([APP], bad)
    assert verdict.alert is None
    assert verdict.delay_events == -1


def test_an_alert_belongs_to_the_latest_change_if_it_is_near_or_on_its_signals() -> None:
    first, second, _ = CENSUS.changes
    assert change_before(CENSUS, seen(CENSUS, "feature:MAR", first.event - 1)) is None
    assert change_before(CENSUS, seen(CENSUS, "feature:MAR", second.event + 60)) is second
    assert change_before(CENSUS, seen(CENSUS, "feature:MAR", second.event + 5_000)) is None
    assert change_before(CENSUS, seen(CENSUS, "score", second.event + 5_000)) is second


def test_a_story_in_which_all_was_seen_has_no_problems() -> None:
    story = whole_story()
    assert story.problems() == []
    text = "\n".join(summary_lines(story))
    assert "As expected" in text
    for what in ("D  injected, employment-ma-app event 6,000", "not_json 2", "at-least-once"):
        assert what in text
    assert "NOT" not in text


def without_score_alerts(story: Story) -> Story:
    return replace(story, alerts=[a for a in story.alerts if a.said.signal != "score"])


def with_alerts_on_the_control(_: Story) -> Story:
    return whole_story(*(alert_data(CONTROL, "score", event) for event in (2_100, 4_000)))


def accused_too_late(story: Story) -> Story:
    late = int(ATTACK.at[ATTACK.within])
    return replace(story, anomalies=anomalies_of(anomaly_record(ATTACK.source, late)))


def accused_too_early(story: Story) -> Story:
    early = int(ATTACK.at[0]) - 1
    return replace(story, anomalies=anomalies_of(anomaly_record(ATTACK.source, early)))


def accused_an_honest_client(story: Story) -> Story:
    honest = anomalies_of(anomaly_record("client-07", 4_000))
    return replace(story, anomalies=[*story.anomalies, *honest])


def test_the_attack_is_told_with_what_it_took_and_what_was_said_beside_it() -> None:
    story = whole_story()
    text = "\n".join(summary_lines(story))
    assert "found after 10 of its queries, by probing; the accused is mallory" in text
    assert "no honest client was accused" in text
    assert "FALSE" not in text
    assert "\nAs expected: every change was seen" in text


def test_whom_it_accuses_where_nobody_attacks_is_told_as_false() -> None:
    story = whole_story()
    other = anomalies_of(anomaly_record("client-01", 7_000, model=APP))
    story = replace(story, anomalies=[*story.anomalies, *other])
    text = "\n".join(summary_lines(story))
    assert f"FALSE, for nobody attacks there: {other[0].said.message}" in text
    assert "\nAs expected, but for a false accusation: every change was seen" in text
    more = replace(story, anomalies=[*story.anomalies, *other])
    assert "but for 2 false accusations: " in summary_lines(more)[-1]


def test_that_the_data_changed_accuses_nobody() -> None:
    record = orjson.loads(anomaly_record("client-01", 7_000, model=APP))
    record["unmapped"]["technique"] = "data_change"
    story = whole_story()
    change = anomalies_of(orjson.dumps(record))
    story = replace(story, anomalies=[*story.anomalies, *change])
    assert (story.false_accusations(), story.data_changes()) == ([], change)
    text = "\n".join(summary_lines(story))
    assert f"  accuses nobody: {change[0].said.message}" in text
    assert "FALSE" not in text
    assert "\nAs expected: every change was seen" in text


def test_an_anomaly_gathers_its_updates_and_repeats_count_once() -> None:
    first = anomaly_record(ATTACK.source, int(ATTACK.at[9]))
    update = orjson.loads(anomaly_record("client-03", int(ATTACK.at[20])))
    update["metadata"]["uid"] = update["metadata"]["uid"][:-1] + "2"
    (anomaly,) = anomalies_of(first, orjson.dumps(update), first)
    assert anomaly.model_event == ATTACK.at[9]
    assert [anomaly.number, anomaly.model_id] == [1, CREDIT.model_id]
    assert anomaly.said.metadata.uid.endswith(".2")
    assert anomaly.accused == {
        KEY.digest(ATTACK.source).hex(): ATTACK.at[9],
        KEY.digest("client-03").hex(): ATTACK.at[20],
    }


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (without_score_alerts, "no alert on score of employment-ma"),
        (with_alerts_on_the_control, "2 alerts on employment-ma-control"),
        (lambda story: replace(story, n_folded=59_559), "59559 folded"),
        (lambda story: replace(story, reasons={"not_json": 2}), "2 dead letters"),
        (lambda story: replace(story, worker_status=-9), "status -9"),
        (lambda story: replace(story, anomalies=[]), "no anomaly on credit within 100 queries"),
        (accused_too_late, "no anomaly on credit within 100 queries"),
        (accused_too_early, "no anomaly on credit within 100 queries"),
        (accused_an_honest_client, "honest clients of credit were accused: client-07"),
    ],
)
def test_whatever_is_wrong_is_said(spoil: Callable[[Story], Story], problem: str) -> None:
    story = spoil(whole_story())
    assert any(problem in line for line in story.problems())
    text = "\n".join(summary_lines(story))
    assert "NOT AS EXPECTED" in text
    assert problem in text


def test_moves_are_short_to_read() -> None:
    for before, after, text in (
        (1.25, 2.0, "1.25 -> 2"),
        (None, 0.123456, "? -> 0.1235"),
        (-4.2e-14, 0.5, "0 -> 0.5"),
        (3.0, 0.0, "3 -> 0"),
        (0.0, 0.0, "0 -> 0"),
        (1e-12, 2e-12, "1e-12 -> 2e-12"),
    ):
        (moved,) = alert_data(CENSUS, "score", 8_000, after=after).signals
        assert from_to(moved.model_copy(update={"before": before})) == text


def test_signals_have_a_meaning() -> None:
    assert meaning("feature:AGEP") == "age in years"
    assert "not employed" in meaning("class:0")
    assert "ANC" in meaning("missing:ANC")
    assert meaning("feature:unheard") == ""


PROGRESS = Progress(
    n_events=59_564,
    n_sent=20_000,
    n_consumed=19_000,
    n_rejected=2,
    rate=812.4,
    sent_by_model=(12_000, 1_500, 1_500, 1_500, 2_500),
)


def test_the_plain_view_prints_alerts_whole_and_never_reads_them_as_markup() -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    said = alert_data(CENSUS, "score", 8_000).model_copy(update={"message": "[red]x[/] " * 30})
    alert = AlertBook(event_numbers(positions())).add(record(said))
    assert alert is not None
    with PlainView(console) as view:
        view.show(PROGRESS, News([alert], whole_story().anomalies))
    text = console.export_text()
    assert said.message.strip() in text
    assert f"ANOMALY 1 [medium] {whole_story().anomalies[0].said.message}" in text


@pytest.mark.parametrize("size", [(120, 40), (60, 20)])
def test_the_live_picture_fits_the_terminal(size: tuple[int, int]) -> None:
    width, height = size
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True)
    view = LiveView(console, MODELS)
    view.show(PROGRESS, News(whole_story().alerts, whole_story().anomalies))
    lines = console.render_lines(view.picture(), pad=False)
    assert len(lines) <= height
    text = "\n".join("".join(segment.text for segment in line) for line in lines)
    for what in ("employment-ma-control", "learns", "watched", "RELP", "▁", "ANOMALY"):
        assert what in text


def test_spark_lines_show_gaps_and_constants() -> None:
    values = window_means(CENSUS.numbers["RELP"])
    line = spark_line(values)
    assert len(line) == len(values) == 40
    assert line[-20] == "█"
    assert spark_line(values[:0]) == ""
    assert spark_line(window_means(CENSUS.numbers["RELP"][:0])) == ""
    assert set(spark_line(values * 0)) == {"▁"}
