"""A scan with labels: told in rows of the file, the same totals whenever labels come."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.performance.intervals import Measure
from schemas.alerts import AlertData
from schemas.config import DetectionConfig, LabelsConfig
from schemas.records import Record
from streams.cli import main
from streams.scan import Scan, ScanOptions, open_scan, run_scan
from streams.scan_columns import ScanError, Wishes
from streams.scan_events import TP
from streams.scan_labels import LateLabels
from streams.scan_performance import ModelPerformance
from streams.scan_performance_report import performance_section
from streams.scan_performance_story import group_errors, performance_lines, worst_group
from streams.scan_report import render_scan_report
from streams.scan_story import summary_lines
from tests.streams.scan_kit import write_csv, write_ndjson, write_parquet
from tests.streams.test_report import Page

N = 6_000
WORSE_AT = 4_000
N_REFERENCE = 500
N_TOLD = N - N_REFERENCE


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def labelled(n: int = N, *, worse_at: int = WORSE_AT, seed: int = 5) -> dict[str, Any]:
    """Predictions of a calibrated score; from row `worse_at` on labels of `west` are a coin's."""
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    west = rng.random(n) < 0.3
    truth = rng.random(n) < np.where(west & (np.arange(n) >= worse_at), 0.5, score)
    return {
        "x": rng.normal(size=n).tolist(),
        "region": [("east", "west")[int(w)] for w in west],
        "code": [int(w) + 1 for w in west],
        "prediction": (score > 0.5).astype(int).tolist(),
        "score": score.tolist(),
        "label": truth.astype(int).tolist(),
    }


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["scan", *arguments], prog_name="driftsentry")


def scanned(path: Path, **options: Any) -> tuple[Scan, list[bytes]]:
    values: list[bytes] = []
    options = {"uses_labels": True, "n_reference": N_REFERENCE} | options
    scan, source = open_scan(path, ScanOptions(**options))
    run_scan(scan, source, on_alert=values.append)
    return scan, values


def only(scan: Scan) -> ModelPerformance:
    (told,) = scan.performance.models
    return told


def value(measure: Measure | None) -> float:
    assert measure is not None
    return measure.value


def accuracy(table: dict[str, Any], first: int, stop: int) -> float:
    """Of the rows that have a label."""
    pairs = list(zip(table["prediction"][first:stop], table["label"][first:stop], strict=True))
    known = [guess == label for guess, label in pairs if label is not None]
    return float(np.mean(known))


def test_a_worse_model_is_found_at_its_row_and_told_everywhere() -> None:
    table = labelled()
    write_csv(Path("t.csv"), table)
    result = run("t.csv", "--reference", str(N_REFERENCE))
    assert result.exit_code == 0, result.output
    assert re.search(r"label +`label`, a guess: compared .*right after it", result.stderr)
    found = re.search(r"where region=west rose .* since about row ([\d,]+)", result.stdout)
    assert found is not None
    assert abs(int(found[1].replace(",", "")) - WORSE_AT) < 150
    expected = 100 * accuracy(table, N_REFERENCE, N)
    assert f"Performance from row 500 on: accuracy {expected:.1f} %" in result.stdout
    assert f"by {N_TOLD:,} labels" in result.stdout
    latest = 100 * accuracy(table, N - 901, N)
    assert re.search(rf"accuracy +{expected:.1f} % .* {latest:.1f} % \(", result.stdout)
    assert re.search(r" all 5,500 labels +the latest 901\n", result.stdout)
    for name in ("precision", "recall", "F1", "log loss", "Brier score", "ROC-AUC"):
        assert len(re.findall(rf"^  {name} .* to .* to ", result.stdout, re.MULTILINE)) == 1, name
    assert re.search(r"^  error of ROC-AUC by bins +0\.0\d+ +0\.0\d+$", result.stdout, re.MULTILINE)
    assert re.search(r"Worst: region=west, with \d\d.* % of the errors on", result.stdout)
    assert "Calibration: scores and outcomes are" in result.stdout
    page = Page(Path("t.csv-report.html").read_text("utf-8"))
    for text in (
        "How well it predicts",
        "expected by the score",
        "region=west, with",
        "Came true",
        "Metrics of all labels, and of the latest ones",
        f"{latest:.1f} % (",
    ):
        assert text in page.text
    assert "It is told by labels" in page.text
    assert "There are more models" not in page.text
    assert page.text.index("How well it predicts") < page.text.index("The signals that moved")
    labels = [value for _, name, value in page.attributes if name == "aria-label"]
    assert any("what scores made one expect" in label for label in labels)
    assert "reliability diagram" in labels


@pytest.mark.parametrize("delay", [0, 700])
def test_alert_records_name_rows_of_the_file(delay: int) -> None:
    write_csv(Path("t.csv"), labelled())
    result = run(
        *("t.csv", "--reference", "500", "--json", "--no-report"), "--label-delay", str(delay)
    )
    alerts = [AlertData.model_validate(orjson.loads(line)) for line in result.stdout.splitlines()]
    assert alerts
    for alert in alerts:
        places = [alert.opened_offset, alert.trigger_offset, alert.change_offset]
        places += [p for each in alert.signals for p in (each.found_offset, each.change_offset)]
        assert max(places) < N
        assert f"at offset {alert.signals[0].found_offset}" in alert.message
    of_error = [
        each for alert in alerts for each in alert.signals if each.signal == "error:region=west"
    ]
    # It is seen where the labels come.
    assert abs(of_error[0].change_offset - WORSE_AT - delay) < 150


def test_chunks_are_those_of_the_rows_whatever_the_delay() -> None:
    table = labelled()
    table["label"] = [None if i % 7 == 0 else label for i, label in enumerate(table["label"])]
    path = write_parquet(Path("t.parquet"), table)
    for delay in (0, 1, 1_234, N + 10):
        told = only(scanned(path, label_delay=delay)[0])
        assert told.chunks[0].first == N_REFERENCE
        assert told.chunks[-1].stop == N
        for chunk, later in pairwise(told.chunks):
            assert chunk.stop == later.first
        for chunk in told.chunks:
            rows = range(chunk.first, chunk.stop)
            assert chunk.n == len(rows)
            assert chunk.n_labels == sum(table["label"][row] is not None for row in rows)
            assert value(chunk.realised) == pytest.approx(accuracy(table, chunk.first, chunk.stop))


@settings(deadline=None, max_examples=5)
@given(
    delay=st.integers(0, 2_500),
    gaps=st.sampled_from([0.0, 0.1, 0.8]),
    seed=st.integers(0, 2**32 - 1),
    numbers=st.booleans(),
)
def test_any_delay_gives_the_same_total(
    tmp_path_factory: pytest.TempPathFactory, delay: int, gaps: float, seed: int, numbers: bool
) -> None:
    n, n_reference = 2_000, 300
    table = labelled(n, seed=seed)
    rng = np.random.default_rng(seed)
    if numbers:
        table["prediction"] = rng.normal(size=n).tolist()
        table["label"] = rng.normal(size=n).tolist()
    is_there = rng.random(n) >= gaps
    table["label"] = [
        v if there else None for v, there in zip(table["label"], is_there, strict=True)
    ]
    path = write_parquet(tmp_path_factory.mktemp("delay") / "t.parquet", table)
    at_once = only(scanned(path, n_reference=n_reference)[0]).total
    late = only(scanned(path, n_reference=n_reference, label_delay=delay)[0]).total
    assert at_once is not None
    assert late is not None
    assert at_once.n_rows == late.n_rows == int(is_there[n_reference:].sum())
    if numbers:
        errors = [
            abs(guess - label)
            for guess, label in zip(table["prediction"], table["label"], strict=True)
            if label is not None
        ][-at_once.n_rows :]
        assert value(at_once.mae) == pytest.approx(float(np.mean(errors)))
        for name in ("mae", "rmse"):
            assert getattr(late, name) == pytest.approx(getattr(at_once, name), rel=1e-9)
        return
    assert value(at_once.accuracy) == pytest.approx(accuracy(table, n_reference, n))
    for name in ("accuracy", "positive", "macro", "by_class", "auc"):
        assert getattr(late, name) == getattr(at_once, name), name
    assert [one.observed for one in late.reliability] == [
        one.observed for one in at_once.reliability
    ]
    assert value(late.brier) == pytest.approx(value(at_once.brier), rel=1e-9)


def test_the_estimate_holds_while_scores_mean_what_they_meant_and_not_after() -> None:
    told = only(scanned(write_csv(Path("t.csv"), labelled()))[0])
    known = [chunk for chunk in told.chunks if chunk.estimate is not None]
    before = [chunk for chunk in known if chunk.stop <= WORSE_AT]
    assert before
    # It begins with the first chunk that has no part in the calibration.
    calibrated = N_REFERENCE + N // 4
    assert known[0].first in range(calibrated, calibrated + 501)
    assert sum(chunk.departs for chunk in before) <= 1
    after = [chunk for chunk in known if chunk.first >= WORSE_AT]
    assert all(value(chunk.estimate) > value(chunk.realised) for chunk in after)
    assert any(chunk.departs for chunk in after)
    assert told.worst is not None
    assert told.worst.stop > WORSE_AT


@pytest.mark.parametrize("write", [write_csv, write_ndjson, write_parquet])
def test_a_column_of_numbers_is_a_slice_where_one_asks_for_it(write: Any) -> None:
    table = labelled()
    del table["region"]
    path = write(Path("model.file"), table)
    told = only(scanned(path, slices=("code",))[0])
    assert told.groups is not None
    found = {one.name: one for one in group_errors(told.groups)}
    assert set(found) == {"code=1", "code=2"}
    worst = worst_group(list(found.values()))
    assert worst is not None
    assert worst.name == "code=2"
    # The window of groups holds all labels from the reference on.
    rows = [i for i in range(N_REFERENCE, N) if table["code"][i] == 2]
    wrong = sum(table["prediction"][i] != table["label"][i] for i in rows)
    assert worst.error.n in {len(rows), len(rows) + 1}
    assert worst.error.value == pytest.approx(wrong / len(rows), abs=2e-3)


def test_rows_that_are_sorted_keep_their_labels() -> None:
    table = labelled()
    order = np.random.default_rng(3).permutation(N)
    table["ts"] = [1_790_000_000_000 + 1_000 * i for i in range(N)]
    table["label"] = [None if i % 9 == 0 else label for i, label in enumerate(table["label"])]
    mixed = {name: [values[i] for i in order] for name, values in table.items()}
    straight, alerts = scanned(write_parquet(Path("t.parquet"), table))
    Path("mixed").mkdir()
    again, same = scanned(write_parquet(Path("mixed/t.parquet"), mixed), sort=True)
    assert only(again).chunks == only(straight).chunks
    assert [AlertData.model_validate_json(own).message for own in same] == [
        AlertData.model_validate_json(own).message for own in alerts
    ]


def test_refused_and_unreadable_rows_leave_chunks_where_they_are() -> None:
    table = labelled()
    table["ts"] = [1_790_000_000_000 + 1_000 * i for i in range(N)]
    table["ts"][1_234] = table["ts"][3_456] = None
    path = write_csv(Path("t.csv"), table)
    lines = path.read_text("utf-8").splitlines()
    lines[2_001] += ",1,2,3"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    for delay in (0, 50):
        scan, _ = scanned(path, label_delay=delay)
        assert {reason: own.examples for reason, own in scan.refused.items()} == {
            "unreadable_row": [2_000],
            "wrong_type": [1_234, 3_456],
        }
        told = only(scan)
        assert told.total is not None
        assert told.total.n_rows == sum(chunk.n_labels for chunk in told.chunks) == N_TOLD - 3
        for chunk in told.chunks:
            lost = sum(row in range(chunk.first, chunk.stop) for row in (1_234, 2_000, 3_456))
            assert chunk.n == chunk.n_labels == chunk.stop - chunk.first - lost


def test_several_models_are_told_apart() -> None:
    table = labelled()
    table["model_id"] = [f"m{i % 3 // 2}" for i in range(N)]
    scan, _ = scanned(write_csv(Path("t.csv"), table), n_reference=300)
    first, second = scan.performance.models
    assert (first.model.model_id, second.model.model_id) == ("m0", "m1")
    for k, told in enumerate((first, second)):
        rows = [i for i in range(told.first_row, N) if i % 3 // 2 == k]
        right = [table["prediction"][i] == table["label"][i] for i in rows]
        assert value(told.measure) == pytest.approx(np.mean(right))
        assert sum(chunk.n for chunk in told.chunks) == len(rows)
    assert "Performance of m1 1" in "\n".join(performance_lines(scan))
    assert performance_section(scan, []).count("<h3>m") == 2


def test_numbers_have_a_mean_absolute_error() -> None:
    rng = np.random.default_rng(8)
    truth = rng.normal(size=N)
    table = {
        "x": rng.normal(size=N).tolist(),
        "prediction": (truth + rng.normal(size=N)).tolist(),
        "actual": truth.tolist(),
    }
    write_csv(Path("t.csv"), table)
    result = run("t.csv", "--slice", "x")
    assert result.exit_code == 2
    assert "numbers with fractions, which make no groups" in result.stderr
    result = run("t.csv")
    error = np.abs(np.array(table["prediction"]) - truth)[1_500:].mean()
    assert f"mean absolute error {error:.4g} (" in result.stdout
    square = np.sqrt(np.mean((np.array(table["prediction"]) - truth)[1_500:] ** 2))
    assert re.search(rf"root mean square error +{square:.4g} \(", result.stdout)
    assert "ROC-AUC" not in result.stdout
    assert "Mean absolute error" in Page(Path("t.csv-report.html").read_text("utf-8")).text


@pytest.mark.parametrize("perfect", [False, True])
def test_a_chunk_after_an_error_out_of_all_bounds_has_no_error_made_up_for_it(
    perfect: bool,
) -> None:
    """Beside a sum of 1e60 the errors that come after it are nothing, and not 0."""
    rng = np.random.default_rng(9)
    truth = rng.normal(size=N)
    noise = np.where(np.arange(N) < N - 500, 1.0, 1.0 - perfect) * rng.normal(size=N)
    table = {"x": rng.normal(size=N).tolist(), "prediction": (truth + noise).tolist()}
    plain, _ = scanned(write_csv(Path("plain.csv"), table | {"actual": truth.tolist()}))
    last = only(plain).chunks[-1]
    at = last.first - 700
    truth[at] = 1e300
    told = only(scanned(write_csv(Path("wild.csv"), table | {"actual": truth.tolist()}))[0])
    of_wild = next(k for k, chunk in enumerate(told.chunks) if chunk.first <= at < chunk.stop)
    assert told.chunks[:of_wild] == only(plain).chunks[:of_wild]
    assert value(told.chunks[of_wild].realised) > 1e55
    later = told.chunks[of_wild + 1 :]
    assert later
    assert all(chunk.realised is None and chunk.n_labels == chunk.n for chunk in later)
    # What is 0 without such an error is told.
    assert value(last.realised) == pytest.approx(np.abs(noise[last.first :]).mean(), abs=1e-9)
    assert value(told.measure) > 1e55
    assert told.worst == told.chunks[of_wild]


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_a_label_that_is_no_finite_number_is_one_that_never_came(write: Any) -> None:
    rng = np.random.default_rng(10)
    truth = rng.normal(size=N)
    prediction = (truth + rng.normal(size=N)).tolist()
    truth[1_000::10], truth[1_001::10], truth[1_002::10] = np.inf, -np.inf, np.nan
    table = {"x": rng.normal(size=N).tolist(), "prediction": prediction, "actual": truth.tolist()}
    scan, _ = scanned(write(Path("odd"), table))
    assert not scan.refused
    told = only(scan)
    assert told.total is not None
    assert told.total.n_rows == np.isfinite(truth[N_REFERENCE:]).sum()


def test_a_wider_error_has_a_level_after_it_in_the_words_of_a_scan() -> None:
    """It is found within a few rows, of which no mean is told, and moves before it settles."""
    rng = np.random.default_rng(3)
    n, at = 12_000, 3_000
    truth = 10.0 * rng.normal(size=n)
    error = rng.normal(size=n) * np.where(np.arange(n) < at, 1.0, 6.0)
    table = {"x": rng.normal(size=n).tolist(), "prediction": (truth + error).tolist()}
    path = write_csv(Path("t.csv"), table | {"actual": truth.tolist()})
    scan, _ = scanned(path)
    moved = next(
        each
        for alert in scan.alerts
        for each in alert.moved.values()
        if each.signal == "error" and abs(each.change_offset - at) < 50
    )
    assert (moved.unit, moved.direction) == ("spread", "rose")
    assert moved.before == pytest.approx(np.abs(error[:at]).mean(), rel=0.05)
    assert moved.after == pytest.approx(np.abs(error[at:]).mean(), rel=0.05)
    words = "\n".join(summary_lines(scan))
    assert re.search(r"error +\d +its spread rose from 0\.\d+ to 4\.\d+ \(", words)


def test_the_groups_of_a_model_of_numbers_are_told_by_their_mean_absolute_error() -> None:
    rng = np.random.default_rng(8)
    west = rng.random(N) < 0.3
    truth = 10.0 * rng.normal(size=N)
    error = rng.normal(size=N) * np.where(west, 3.0, 1.0)
    table = {
        "x": rng.normal(size=N).tolist(),
        "region": [("east", "west")[int(w)] for w in west],
        "prediction": (truth + error).tolist(),
        "actual": truth.tolist(),
    }
    path = write_csv(Path("t.csv"), table)
    told = only(scanned(path, slices=("region",))[0])
    assert told.groups is not None
    found = group_errors(told.groups)
    worst = worst_group(found)
    assert worst is not None
    assert worst.name == "region=west"
    # The window of groups holds all labels from the reference on.
    own, all_of_it = np.abs(error[N_REFERENCE:]), np.abs(error[N_REFERENCE:]).sum()
    is_west = west[N_REFERENCE:]
    assert worst.error.value == pytest.approx(own[is_west].mean(), rel=0.01)
    assert worst.of_errors == pytest.approx(own[is_west].sum() / all_of_it, abs=2e-3)
    assert worst.of_rows == pytest.approx(is_west.mean(), abs=2e-3)
    result = run("t.csv", "--reference", str(N_REFERENCE), "--slice", "region")
    assert result.exit_code == 0, result.output
    assert re.search(
        r"Worst: region=west, with \d\d.* % of the absolute error on \d\d.* % of the rows: "
        r"mean absolute error 2\.\d+ \(",
        result.stdout,
    )
    text = Page(Path("t.csv-report.html").read_text("utf-8")).text
    assert "region=west, with" in text
    assert "Mean absolute error" in text


@pytest.mark.parametrize("numbers", [False, True])
def test_a_group_with_little_more_of_the_errors_is_no_worst_one(numbers: bool) -> None:
    """Two regions that fare alike: chance gives one of them some more than half of the errors."""
    table = labelled(worse_at=N)
    rng = np.random.default_rng(9)
    if numbers:
        truth = rng.normal(size=N)
        table |= {"prediction": truth.tolist(), "label": (truth + rng.normal(size=N)).tolist()}
    path = write_csv(Path("t.csv"), table)
    scan, _ = scanned(path, slices=("region",))
    told = only(scan)
    assert told.groups is not None
    found = group_errors(told.groups)
    assert found[0].of_errors > found[0].of_rows
    assert worst_group(found) is None
    assert "Worst: none has more of the errors than chance may give it." in "\n".join(
        performance_lines(scan)
    )


def test_groups_without_labels_are_no_worst_ones() -> None:
    """One label says no mean: there is no error to be told of any group."""
    table: dict[str, Any] = {
        "x": list(range(2_000)),
        "region": [("east", "west")[i % 2] for i in range(2_000)],
        "prediction": [i + 0.5 for i in range(2_000)],
        "actual": [1.5 if i == 1_990 else None for i in range(2_000)],
    }
    write_csv(Path("t.csv"), table)
    result = run("t.csv", "--label", "actual", "--reference", "300", "--slice", "region")
    assert result.exit_code == 0, result.output
    assert "No group has labels." in result.stdout


def test_a_config_may_say_that_labels_are_not_joined() -> None:
    write_csv(Path("t.csv"), labelled())
    Path("c.yaml").write_text("detection: {labels: {enabled: false}}", "utf-8")
    result = run("t.csv", "--config", "c.yaml", "--no-report")
    assert "left out: the config says `labels.enabled: false`" in result.stderr
    assert "Performance" not in result.stdout
    result = run("t.csv", "--config", "c.yaml", "--slice", "region", "--no-report")
    assert result.exit_code == 2
    assert "the config says `labels.enabled: false`" in result.stderr


def test_what_a_config_says_of_labels_stays() -> None:
    path = write_csv(Path("t.csv"), labelled())
    own = DetectionConfig(labels=LabelsConfig(reference_labels=123))
    scan, _ = open_scan(path, ScanOptions(uses_labels=True, detection=own))
    labels = scan.detection.labels
    assert (labels.enabled, labels.reference_labels) == (True, 123)
    assert labels.calibration_labels == N // 4


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({}, {"wishes": Wishes({"label": "prediction"})}, "predictions with --prediction"),
        (
            {},
            {"wishes": Wishes({"label": "score", "prediction": "score"})},
            "`score` is named by two options",
        ),
        ({"label": ["yes", "no"]}, {}, "is text, such as 'yes', and the prediction in"),
        ({"label": [True, False]}, {}, "is true or false, such as True, and the prediction in"),
        ({"label": None}, {}, "`label` has another text in nearly every row"),
        ({}, {"slices": ("nowhere",)}, "--slice: there is no column `nowhere`"),
        ({}, {"slices": ("label",)}, "the column `label` is the label, and a slice is a"),
        ({}, {"slices": ("x",)}, "numbers with fractions"),
        ({}, {"slices": tuple("abcdefgh")}, "name 7 at most"),
        ({"model_id": ["a", "b"]}, {"slices": ("region",)}, "is for a file of one model"),
        (
            {},
            {"label_delay": 5, "wishes": Wishes({"label": "none"})},
            "--label-delay needs labels, and `--label none` leaves them out: name their column",
        ),
        (
            {},
            {"slices": ("region",), "wishes": Wishes(drop=("region",))},
            "--slice: --drop leaves the column `region` out: give it to one of the two only",
        ),
        (
            {},
            {"slices": ("region",), "wishes": Wishes(features=("x",))},
            "--slice: the column `region` is no feature",
        ),
    ],
)
def test_what_cannot_be_is_said_with_the_column_and_the_remedy(
    change: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    table = labelled(400)
    for name, some in change.items():
        table[name] = [f"n{i}" if some is None else some[i % len(some)] for i in range(400)]
    path = write_parquet(Path("t.parquet"), table)
    # A column that is only guessed is no error.
    options = {"wishes": Wishes({"label": "label"})} | options
    with pytest.raises(ScanError) as refused:
        open_scan(path, ScanOptions(uses_labels=True, **options))
    assert said in str(refused.value)


TAKEN = "and the column `label`, which was taken for them, cannot be used: "
WRITTEN_OTHERWISE = (
    "the label in `label` is text, such as 'yes', and the prediction in `prediction` a number, "
    "such as 0, so that none would ever be right. Write both in the same way, or name other "
    "columns with --label and --prediction"
)
NO_CLASS = (
    "the column `label` has another text in nearly every row, so that it is no class. Name the "
    "column of the truth with --label"
)
ALONE = (
    "labels are compared with predictions, and beside `label` no column looks like them. Name the "
    "column of predictions with --prediction"
)
NONE = "and no column looks like them: name their column with --label"


@pytest.mark.parametrize(
    ("drop", "label", "arguments", "said"),
    [
        (
            "",
            ["yes", "no"],
            ("--slice", "region"),
            f"--slice needs labels, {TAKEN}{WRITTEN_OTHERWISE}",
        ),
        (
            "",
            None,
            ("--slice", "region", "--label-delay", "5"),
            f"--slice and --label-delay need labels, {TAKEN}{NO_CLASS}",
        ),
        ("prediction", [1, 0], ("--slice", "region"), f"--slice needs labels, {TAKEN}{ALONE}"),
        ("label", [1, 0], ("--label-delay", "5"), f"--label-delay needs labels, {NONE}"),
    ],
)
def test_a_slice_without_usable_labels_says_which_column_why_and_what_to_do(
    drop: str, label: list[Any] | None, arguments: tuple[str, ...], said: str
) -> None:
    table = labelled(400)
    own = label or [f"n{i}" for i in range(400)]
    table |= {"label": [own[i % len(own)] for i in range(400)], "prediction": [0, 1] * 200}
    write_csv(Path("t.csv"), {name: of for name, of in table.items() if name != drop})
    result = run("t.csv", "--no-report", *arguments)
    assert result.exit_code == 2
    assert result.stderr.strip() == f"driftsentry: {said}"


def test_a_guess_that_cannot_be_the_label_is_left_out_with_the_reason() -> None:
    table = labelled(800)
    table["label"] = ["yes" if own else "no" for own in table["label"]]
    write_csv(Path("t.csv"), table)
    result = run("t.csv", "--no-report")
    assert result.exit_code == 0
    assert "left out: the label in `label` is text, such as 'yes'" in result.stderr.replace(
        "\n", ""
    )


def test_strange_labels_are_said() -> None:
    table = labelled(1_200)
    write_csv(Path("same.csv"), table | {"label": table["prediction"]})
    assert "is one a copy of the other?" in run("same.csv", "--no-report").stdout
    other = [own + 5 for own in table["prediction"]]
    write_csv(Path("other.csv"), table | {"label": other})
    assert "No label in `label` equals its prediction" in run("other.csv", "--no-report").stdout
    few = [own if i < 100 else None for i, own in enumerate(table["label"])]
    write_csv(Path("few.csv"), table | {"label": few})
    assert "No label came for a row after the reference" in run("few.csv", "--no-report").stdout


def test_names_of_groups_stay_text_in_the_report() -> None:
    table = labelled()
    hostile = "<script>alert(1)</script>"
    table["region"] = [hostile if own == "west" else own for own in table["region"]]
    scan, _ = scanned(write_parquet(Path("t.parquet"), table))
    page = Page(render_scan_report(scan))
    assert "script" not in page.count
    assert hostile in page.text


@given(
    delay=st.integers(1, 40),
    has_label=st.lists(st.booleans(), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
)
def test_late_labels_come_in_order_each_once_and_at_its_row(
    delay: int, has_label: list[bool], cuts: list[int]
) -> None:
    rows = [
        [Record(TP, 2 * i, 1, b"m", b"p")] + [Record(TP, 2 * i + 1, 1, b"m", b"%d" % i)] * there
        for i, there in enumerate(has_label)
    ]
    late = LateLabels(delay, 2)
    came: list[Record] = []
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, stop in pairwise(bounds):
        came += late.taken([record for own in rows[start:stop] for record in own])
    for rest in late.rest():
        came += rest
    assert [record.offset for record in came] == sorted(record.offset for record in came)
    labels = {record.offset: record.value for record in came if record.offset % 2}
    assert labels == {2 * (i + delay) + 1: b"%d" % i for i, there in enumerate(has_label) if there}
    assert sum(record.offset % 2 == 0 for record in came) == len(rows)
