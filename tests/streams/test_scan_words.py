"""What a scan says: of moves near the end of a file, of little, of nothing, and of huge numbers."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]  # it ships no types
import pytest
from click.testing import CliRunner

from schemas.config import BoundsConfig, DetectionConfig
from streams import scan_csv
from streams.cli import main
from streams.evidence import MIN_EVENTS, Evidence, Since, Standing
from streams.scan import Scan, ScanOptions, open_scan, run_scan
from streams.scan_report import render_scan_report
from streams.scan_story import place_lines, summary_lines
from streams.sentences import move
from tests.streams.demo_kit import MODELS, alert_data
from tests.streams.scan_kit import scanned, write_csv, write_parquet


def late_table(n_after: int, shift: float = 4.0) -> dict[str, Any]:
    """600 rows about 0, then so many about `shift`: a detector needs few to see it."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=600), shift + rng.normal(size=n_after)])
    return {"x": x.tolist()}


def late_scan(path: Path, table: dict[str, Any]) -> tuple[Scan, list[bytes]]:
    options = ScanOptions(n_reference=300)
    scan, source = open_scan(write_parquet(path, table), options)
    records: list[bytes] = []
    run_scan(scan, source, on_alert=records.append)
    return scan, records


def test_at_the_end_of_a_file_it_is_known_where_a_strong_change_led(tmp_path: Path) -> None:
    table = late_table(200)
    scan, records = late_scan(tmp_path / "t.parquet", table)
    (alert,) = scan.alerts
    assert b'"after":null' in records[-1]  # what a worker tells stays as it was
    assert alert.said.after == pytest.approx(np.mean(table["x"][600:]), abs=0.1)
    assert alert.said.effect not in (None, round(alert.said.effect or 0.0))
    assert f"to {alert.said.after:.4g} (" in "\n".join(place_lines(scan))


def test_what_is_known_at_the_end_hangs_on_no_split_into_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = late_table(200)
    whole, _ = late_scan(tmp_path / "t.parquet", table)
    monkeypatch.setattr("streams.scan_parquet.CHUNK_ROWS", 37)
    split, _ = late_scan(tmp_path / "t.parquet", table)
    assert [alert.said for alert in split.alerts] == [alert.said for alert in whole.alerts]
    assert split.alerts[0].said.after is not None


def test_few_rows_after_a_change_give_no_mean_and_a_size_in_round_numbers(tmp_path: Path) -> None:
    scan, _ = late_scan(tmp_path / "t.parquet", late_table(MIN_EVENTS - 4))
    (alert,) = scan.alerts
    (moved,) = alert.moved.values()
    assert moved.after is None
    told = "\n".join([*place_lines(scan), *summary_lines(scan)])
    assert f"(some {moved.effect:+.0f} sd from its reference)" in told
    assert f"{moved.effect:+.2f}" not in told


@pytest.mark.parametrize(
    ("effect", "after", "size"),
    [
        (3.0, None, "some +3 sd"),
        (-10.0, None, "some -10 sd or more"),
        (0.0, None, "less than half a sd"),
        (3.0, 7.5, "+3.00 sd"),
    ],
)
def test_a_rounded_size_is_told_as_one(effect: float, after: float | None, size: str) -> None:
    moved = alert_data(MODELS[0], "score", 10).signals[0]
    moved = moved.model_copy(update={"effect": effect, "after": after, "direction": "rose"})
    assert f"({size} from its reference)" in move(moved)


def evidence() -> Evidence:
    return Evidence(
        detectors=["focus"],
        effect=3.0,
        before=0.0,
        after=None,
        is_rise=True,
        is_share=False,
        is_departure=False,
        change_offset=0,
        found_offset=5,
        change_event=0,
        n_before=2_000,
        n_after=5,
    )


def test_a_mean_completes_what_was_found_and_nothing_else() -> None:
    known = evidence()
    assert not known.complete(Since(2.0, 2.0, MIN_EVENTS - 1))
    assert not known.complete(Since(-2.0, -2.0, 500)), "it rose, and this is another change"
    assert known.complete(Since(2.0, 2.0, MIN_EVENTS))
    assert (known.effect, known.after, known.n_after) == (2.0, 2.0, MIN_EVENTS)
    assert not known.complete(Since(2.5, 2.5, 500))
    gone = evidence()
    gone.standing = Standing.SUPERSEDED
    assert not gone.complete(Since(2.0, 2.0, 500))


def of_texts(n: int = 3_000) -> dict[str, Any]:
    """New values of a category, and a correlation that goes, both at row 1,500."""
    rng = np.random.default_rng(5)
    p, q = rng.normal(size=(2, n))
    q[:1_500] = 0.95 * p[:1_500] + 0.3 * q[:1_500]
    city = [("rome", "oslo")[i % 2] if i < 1_500 or i % 4 else "lima" for i in range(n)]
    return {"p": p.tolist(), "q": q.tolist(), "city": city}


def test_new_categories_are_drawn_and_what_has_no_curve_says_why(tmp_path: Path) -> None:
    options = ScanOptions(n_reference=750)
    scan, _ = scanned(write_parquet(tmp_path / "t.parquet", of_texts()), options)
    moved = {each.signal for alert in scan.alerts for each in alert.moved.values()}
    joint = [name for name in moved if name.startswith("joint:")]
    assert joint
    assert "feature:city=__new__" in moved
    curve = scan.series.curve(scan.models[0], "feature:city=__new__")
    assert curve is not None
    assert curve.reference_mean == 0.0
    late = curve.at > 1_500 + scan.series.width
    assert np.nansum(np.nan_to_num(curve.means)[curve.at < 1_500 - scan.series.width]) == 0.0
    assert curve.means[late] == pytest.approx(0.25, abs=0.06)
    page = render_scan_report(scan)
    assert "No plot." not in page
    assert page.count("which have no single curve") == len(joint)
    assert page.count('<figure class="card plot">') == page.count('<div role="img"')
    assert "the largest move: " in page
    for alert, place in zip(scan.alerts, page.split('<li class="card change">')[1:], strict=True):
        names = sorted(alert.moved.values(), key=lambda each: -abs(each.effect))
        at = [place.index(f"<b>{each.signal.removeprefix('feature:')}</b>") for each in names[:8]]
        assert at == sorted(at)


def test_bounds_that_leave_nothing_are_named(tmp_path: Path) -> None:
    detection = DetectionConfig(reference_events=300, bounds=BoundsConfig(max_lanes=1))
    path = write_parquet(tmp_path / "t.parquet", late_table(200))
    scan, _ = scanned(path, ScanOptions(detection=detection))
    assert not scan.n_signals
    told = "\n".join(summary_lines(scan))
    assert "The bounds leave no signal to be watched: raise bounds.max_lanes (1)." in told


def test_huge_numbers_are_no_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    table = {"x": [*(rng.normal(size=400) * 1e300), *((rng.normal(size=400) + 3.0) * 1e300)]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan, _ = scanned(write_csv(tmp_path / "t.csv", table), ScanOptions(n_reference=200))
        curve = scan.series.curve(scan.models[0], "feature:x")
        page = render_scan_report(scan)
    assert curve is not None
    assert np.isfinite([curve.reference_mean, curve.reference_sd, *curve.means]).all()
    assert "<svg" in page or not scan.alerts


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, arguments, prog_name="driftsentry")


@pytest.mark.parametrize(
    ("command", "verb"),
    [
        (["scan"], "nothing to scan"),
        (["budget"], "nothing to judge a budget by"),
        (
            ["reference", "fit", "--model", "m", "--version", "1"],
            "nothing to make a reference of",
        ),
    ],
)
def test_a_file_without_rows_is_refused_in_the_words_of_the_command(
    command: list[str], verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("none.csv").write_text("x,prediction\n")
    assert verb in " ".join(run(*command, "none.csv").stderr.split())


def test_a_column_without_a_name_is_spoken_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(Path("t.csv"), {"": range(100), "x": range(100)})
    said = run("scan", "t.csv", "--no-report", "--no-tty").stderr
    assert "the column without a name, a guess: left out of what is watched  (--event-id)" in said


class _Reader:
    """A reader of Arrow's that notes when it is closed, and whether its stream was open then."""

    def __init__(self, stream: Any, reader: Any) -> None:
        self.stream, self.reader = stream, reader
        self.closed_in_time = False

    def __enter__(self) -> Any:
        return self.reader.__enter__()

    def __exit__(self, *error: object) -> None:
        self.closed_in_time = not self.stream.closed
        self.reader.__exit__(*error)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    "text",
    [
        b"x,prediction\n",
        b"x,y\n1\n2\n3\n",
        b"x,y\n1,2\n\xff\xfe,3\n",
        b"x,y\n1,2\n" + b"a" * (9 << 20) + b",3\n",
    ],
    ids=["no row", "ragged", "no text", "a row beyond a block"],
)
def test_every_refusal_leaves_nothing_of_the_file_open(
    text: bytes, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opened: list[_Reader] = []
    own = pa_csv.open_csv

    def opening(stream: Any, *options: Any) -> _Reader:
        opened.append(_Reader(stream, own(stream, *options)))
        return opened[-1]

    monkeypatch.setattr(pa_csv, "open_csv", opening)
    Path(f"t.csv{ending}").write_bytes(gzip.compress(text) if ending else text)
    result = run("scan", f"t.csv{ending}", "--no-tty", "--no-report")
    assert result.exit_code == 2, result.output
    assert all(reader.closed_in_time and reader.stream.closed for reader in opened)


def test_a_plain_file_is_read_without_the_interpreter(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", {"x": [1]})
    with scan_csv._stream(path) as stream:
        assert isinstance(stream, pa.OSFile)
