"""Categories where people see them: in the sentences of a scan, its curves, and a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.reference_fit import fit_reference
from schemas.config import DetectionConfig
from schemas.reference import ReferenceDocument
from streams.reference_report import reference_json, reference_lines
from streams.scan import ScanOptions
from streams.scan_report import render_scan_report
from streams.sentences import subject
from tests.detectors.decoded import Event, decoded
from tests.streams.scan_kit import scanned, write_csv, write_ndjson

N, AT = 6_000, 4_000
OPTIONS = ScanOptions(detection=DetectionConfig(arl0=1e6))


def table(before: Mapping[Any, float], after: Mapping[Any, float]) -> dict[str, Any]:
    """A number that stays, and a country whose shares change at row AT."""
    rng = np.random.default_rng(5)
    country: list[object] = []
    for n, shares in ((AT, before), (N - AT, after)):
        kinds = list(shares)
        country += [kinds[k] for k in rng.choice(len(kinds), n, p=list(shares.values()))]
    return {
        "ts": [1_790_000_000_000 + 1_000 * i for i in range(N)],
        "x": rng.normal(size=N).tolist(),
        "country": country,
    }


@pytest.mark.parametrize(
    ("before", "after", "category", "words"),
    [
        ((0.5, 0.3, 0.2), (0.2, 0.6, 0.2), "NL", "country=NL"),
        ((0.6, 0.4, 0.0), (0.6, 0.3, 0.1), "__new__", "new categories of country"),
        ((0.6, 0.3, 0.1), (0.7, 0.3, 0.0), "FR", "country=FR"),
    ],
)
def test_an_alert_names_the_category(
    tmp_path: Path,
    before: tuple[float, ...],
    after: tuple[float, ...],
    category: str,
    words: str,
) -> None:
    names = ("DE", "NL", "FR")
    was, is_now = (dict(zip(names, shares, strict=True)) for shares in (before, after))
    scan, _ = scanned(write_csv(tmp_path / "t.csv", table(was, is_now)), OPTIONS)
    (alert,) = (alert.said for alert in scan.alerts)
    assert alert.change_offset == pytest.approx(AT, abs=60)
    moved = {each.signal: each for each in alert.signals}[f"feature:country={category}"]
    assert subject(moved) == f"the share of {words}"
    assert f"the share of {words}" in alert.message
    curve = scan.series.curve(scan.models[0], moved.signal)
    assert curve is not None
    own = "FR" if category == "__new__" else category
    assert curve.reference_mean == pytest.approx(was[own], abs=0.04)
    assert np.mean(curve.means[-60:]) == pytest.approx(is_now[own], abs=0.04)
    assert words in render_scan_report(scan)


def test_a_boolean_is_a_category_and_its_curve_a_share(tmp_path: Path) -> None:
    rows = table({True: 0.2, False: 0.8}, {True: 0.5, False: 0.5})
    scan, _ = scanned(write_ndjson(tmp_path / "t.ndjson", rows), OPTIONS)
    (alert,) = (alert.said for alert in scan.alerts)
    assert alert.signal == "feature:country=true"
    assert "the share of country=true rose from" in alert.message
    curve = scan.series.curve(scan.models[0], alert.signal)
    assert curve is not None
    assert curve.reference_mean == pytest.approx(0.2, abs=0.03)
    assert float(np.nanmean(curve.means[-60:])) == pytest.approx(0.5, abs=0.03)
    assert scan.series.curve(scan.models[0], "feature:country") is None
    assert scan.series.curve(scan.models[0], "feature:country=__new__") is None


def document(values: Sequence[object]) -> ReferenceDocument:
    config = DetectionConfig(reference_events=len(values))
    events = [Event(i, {"w": value}) for i, value in enumerate(values)]
    return fit_reference(decoded(events), config).document


def test_a_reference_says_how_often_each_category_was_there() -> None:
    values = ["b"] * 10 + ["a"] * 30 + ["x" * 300] * 10
    lines = list(reference_lines(document(values)))
    assert "  w is a category: a 0.6, b 0.2; others 0.2" in lines
    assert reference_json(document(values))["categories"] == [
        {"feature": "w", "counts": {"a": 30, "b": 10}, "other": 10, "has_more": False}
    ]
    many = [f"v{i % 12:02}" for i in range(24)]
    (line,) = (line for line in reference_lines(document(many)) if "category" in line)
    assert line.endswith("v07 0.0833; 4 more")


def test_names_with_blanks_are_quoted_and_long_ones_cut() -> None:
    long = "x" * 100
    (line,) = (
        line for line in reference_lines(document([" ", "a, b", long] * 10)) if "category" in line
    )
    assert line == f'  w is a category: " " 0.333, "a, b" 0.333, {long[:60]}... 0.333'


def test_a_category_as_a_whole_is_no_number_and_is_there_for_windows_alone() -> None:
    own = document(["b"] * 10 + ["a"] * 30 + ["x" * 300] * 10)
    (row,) = [each for each in reference_json(own)["signals"] if each["signal"] == "feature:w"]
    assert (row["mean"], row["sd"], row["rows"]) == (None, None, 50)
    assert row["detectors"] == ["windows"]
    (line,) = [each for each in reference_lines(own) if each.split()[0] == "feature:w"]
    assert line.split()[1:4] == ["50", "-", "-"]
    assert line.endswith("; `windows` alone uses it")
    shares = [each for each in reference_json(own)["signals"] if each["signal"] != "feature:w"]
    assert all(each["detectors"] is None and each["sd"] is not None for each in shares)


def test_what_is_not_there_together_has_no_line() -> None:
    lines = list(reference_lines(document(["a", "b"] * 20)))
    assert "  w is a category: a 0.5, b 0.5" in lines
    assert not any("together" in line for line in lines)
