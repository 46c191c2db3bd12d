"""How many labels a signal takes before it can be told: the fold, its constants, and the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from detectors.fold import Fold
from detectors.outcome_signals import plan, reference_length
from detectors.outcome_sources import SOURCE_EXPECTED, SOURCE_GAP
from detectors.signals import Signal
from schemas.config import DetectionConfig, LabelsConfig, ModelConfig
from tests.detectors.decoded import decoded
from tests.detectors.test_outcome_signals import stream

PAGE = Path(__file__).resolve().parents[2] / "docs" / "label-signals.md"
CONFIG = DetectionConfig(
    reference_events=200,
    labels=LabelsConfig(enabled=True),
    model={"m": ModelConfig(slices=["region"])},
)


def needed(signal: Signal) -> tuple[int, int]:
    """Labels before its reference begins, and what it takes itself: by constants and defaults."""
    is_calibrated = signal.source in (SOURCE_EXPECTED, SOURCE_GAP)
    before = CONFIG.labels.calibration_labels if is_calibrated else 0
    return before, reference_length(CONFIG, signal) * signal.block


def page() -> dict[str, str]:
    """The last column of the table of signals, by the kind of the signal."""
    rows = re.findall(
        r"^\| `(\w+)(:F=V)?(?::\w)?` \|.*\| ([^|]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    return {kind + of_group: told for kind, of_group, told in rows}


def test_the_page_says_how_many_labels_each_signal_needs() -> None:
    fold = Fold(CONFIG)
    fold.process(decoded(stream(400)))
    monitor = fold.catalog.monitor(0)
    told = page()
    found: dict[str, str] = {}
    for signal in plan(CONFIG, monitor):
        name = monitor.name(signal)
        kind = name.partition(":")[0] + (":F=V" if name.startswith("error:") else "")
        before, own = needed(signal)
        words = f"{before + own:,}"
        if kind == "expected_error":
            words = f"{before:,}, then {own:,} predictions"
        after = {"label_coverage": " predictions", "error:F=V": " of the group"}
        found[kind] = ("about " if kind == "leakage" else "") + words + after.get(kind, "")
    assert told == found


@pytest.mark.parametrize("name", ["error", "error_gap"])
def test_a_signal_has_its_lane_with_the_label_that_completes_its_reference(name: str) -> None:
    fold = Fold(CONFIG)
    # The first label comes when the model's own reference is complete.
    fold.process(decoded(stream(400, delay=300)))
    monitor = fold.catalog.monitor(0)
    (signal,) = (each for each in plan(CONFIG, monitor) if monitor.name(each) == name)
    n = sum(needed(signal))
    events = stream(n + 1, delay=300)
    n_labels, at = 0, 0
    while n_labels < n:
        n_labels += events[at].is_label
        at += 1
    learning = Fold(CONFIG)
    learning.process(decoded(events[: at - 1]))
    lanes = {
        learning.catalog.monitor(0).name(s): s.lane for s in learning.catalog.monitor(0).signals
    }
    assert lanes[name] < 0
    learning.process(decoded(events[at - 1 : at]))
    lanes = {
        learning.catalog.monitor(0).name(s): s.lane for s in learning.catalog.monitor(0).signals
    }
    assert lanes[name] >= 0
