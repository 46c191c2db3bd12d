"""The demo's report is one file that needs nothing else, and believes nothing it is told."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from streams.report import MAX_PLOTS, render_report
from streams.report_plots import ChangeMark, plot_of_values, signal_svg
from tests.streams.demo_kit import (
    APP,
    CENSUS,
    alert_data,
    anomalies_of,
    anomaly_record,
    whole_story,
)

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Counts elements, checks their nesting, and gathers text and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_has_a_plot_for_each_drifting_signal_and_each_alerts_sentence() -> None:
    story = whole_story(alert_data(CENSUS, "feature:MAR", 9_000))
    page = Page(render_report(story))
    drifting = {(alert.said.model_id, alert.said.signal) for alert in story.alerts}
    assert page.count["svg"] - 1 == len(drifting) == 6
    labels = [value for _, name, value in page.attributes if name == "aria-label"]
    for model_id, signal in drifting:
        assert any(f"{signal} of {model_id}" in label for label in labels)
    for alert in story.alerts:
        assert alert.said.message in page.text
    assert "As expected." in page.text
    assert "5 of 5" in page.text
    assert "found after 10 of 300 queries" in page.text
    assert "alarm at query 10" in page.text
    assert "no honest client was accused" in page.text
    assert "No alert." in page.text
    assert "at-least-once" in page.text


def test_it_says_whom_it_has_accused_falsely() -> None:
    story = whole_story()
    assert "0false accusations" in Page(render_report(story)).text
    other = anomalies_of(anomaly_record("client-01", 7_000, model=APP))
    page = Page(render_report(replace(story, anomalies=[*story.anomalies, *other])))
    assert "As expected, but for a false accusation." in page.text
    assert "1false accusations" in page.text
    assert "Accused falsely" in page.text
    assert other[0].said.message in page.text


def test_it_says_what_was_not_as_expected() -> None:
    story = whole_story()
    story = type(story)(
        **{f: getattr(story, f) for f in story.__slots__} | {"alerts": [], "anomalies": []}
    )
    page = Page(render_report(story))
    assert "Not as expected." in page.text
    assert "0 of 5" in page.text
    assert page.text.count("not noticed") == 11
    assert page.count["svg"] == 1
    assert "alarm at query" not in page.text


def test_it_loads_nothing() -> None:
    page = Page(render_report(whole_story()))
    assert not {"script", "link", "img", "iframe", "object"} & page.count.keys()
    for tag, name, value in page.attributes:
        if name.removeprefix("xlink:") in {"href", "src", "action", "data"}:
            assert value.startswith("#"), (tag, name, value)
        if name == "style":
            assert all(url.startswith("(#") for url in re.findall(r"url(\([^)]*\))", value))
    assert "@import" not in render_report(whole_story())


def test_hostile_names_stay_text() -> None:
    story = whole_story(
        alert_data(CENSUS, f"feature:{HOSTILE}", 9_000, message=f"{HOSTILE} & \"'"),
        alert_data(CENSUS, f'class:" onload="{HOSTILE}', 9_000),
    )
    for moved in story.alerts[0].moved.values():
        moved.detectors.append(HOSTILE)
    hostile = type(story)(
        **{f: getattr(story, f) for f in story.__slots__} | {"reasons": {HOSTILE: 4}}
    )
    page = Page(render_report(hostile))
    assert "script" not in page.count
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count(HOSTILE) >= 4
    assert f"{HOSTILE} & \"'" in page.text


def test_a_flood_of_signals_does_not_make_a_flood_of_plots() -> None:
    story = whole_story(*(alert_data(CENSUS, f"class:{i}", 9_000) for i in range(2, MAX_PLOTS + 4)))
    page = Page(render_report(story))
    # Those of the other two models that change, and the picture of the attack.
    assert page.count["svg"] == MAX_PLOTS + 3
    assert "further signals have alerts" in page.text


def test_the_same_story_gives_the_same_bytes() -> None:
    assert render_report(whole_story()) == render_report(whole_story())


def test_a_plot_bears_missing_constant_and_few_values() -> None:
    marks = [ChangeMark("A", 0, injected=True), ChangeMark("B", 1_000, injected=False)]
    for values in (
        np.full(1_000, np.nan),
        np.full(1_000, 3.0),
        np.array([1.0]),
        np.where(np.arange(1_000) < 500, np.nan, 1.0),
    ):
        svg = signal_svg(plot_of_values(values, 200, marks, [0, 0]))
        page = Page(svg)
        assert page.count["svg"] == 1
        assert ">A</text>" in svg
        assert ">B</text>" not in svg


def test_letters_that_would_hide_each_other_stand_together() -> None:
    marks = [
        ChangeMark(letter, event, injected=False)
        for letter, event in (("A", 100), ("B", 5_000), ("C", 5_010), ("D", 5_020), ("E", 8_000))
    ]
    svg = signal_svg(plot_of_values(np.zeros(10_000), 100, marks, []))
    assert re.findall(r">([A-E]+)</text>", svg) == ["A", "BCD", "E"]
