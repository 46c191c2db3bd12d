"""The live view: the values of each model's signals, and what its partition has counted."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from benchmarks.kit.detection import rivers
from schemas.config import DetectionConfig, DetectorsConfig, LabelsConfig, WindowsConfig
from streams.lineage import Lineage
from streams.views import live_views
from streams.worker import Detection, OutputTopics, PartitionWorker
from tests.streams.events import START_MS, TP, label, prediction, record, shifting_stream

DETECTION = Detection(
    DetectionConfig(
        reference_events=100,
        detectors=rivers(40.0),
    ),
    None,
)
LINEAGE = Lineage(deployment="driftsentry", topic_id="t", partition=0, start_offset=0)
N_EVENTS = 1_500
STREAM = shifting_stream(N_EVENTS, seed=3, shift_at=700, n_models=2)


def worker() -> PartitionWorker:
    return PartitionWorker(TP, LINEAGE, DETECTION, 0, OutputTopics("alerts", "dead", "journal"))


def test_each_model_shows_its_signals_since_the_reference_and_its_alerts() -> None:
    partition = worker()
    partition.process(STREAM)

    views = live_views([partition])

    assert set(views) == {"m0/1", "m1/1"}
    view = views["m0/1"]
    assert (view["n_events"], view["offset"]) == (b"750", b"1500")
    assert (view["partition"], view["learning"]) == (str(TP).encode(), b"false")
    shown = orjson.loads(view["signals"])["feature:x"]
    own = [orjson.loads(r.value)["features"]["x"] for r in STREAM if r.key == b"m0" and r.value]
    assert shown["n"] == 650
    assert shown["last"] == pytest.approx(own[-1])
    assert shown["mean"] == pytest.approx(np.mean(own[100:]))
    assert shown["reference_mean"] == pytest.approx(np.mean(own[:100]))
    alerts = orjson.loads(view["alerts"])
    assert alerts
    assert {alert["model_id"] for alert in alerts} == {"m0"}


def test_the_distances_of_the_latest_window_are_shown() -> None:
    windows = WindowsConfig(enabled=True, window_events=100)
    config = DetectionConfig(reference_events=100, detectors=DetectorsConfig(windows=windows))
    detection = Detection(config, None)
    partition = PartitionWorker(
        TP, LINEAGE, detection, 0, OutputTopics("alerts", "dead", "journal")
    )
    partition.process(STREAM)

    shown = orjson.loads(live_views([partition])["m0/1"]["signals"])["feature:x"]["window"]

    assert {name for name, x in shown.items() if x} == {"psi", "js", "ks", "wasserstein"}
    assert shown["wasserstein"] > 0.5
    without = worker()
    without.process(STREAM)
    signals = orjson.loads(live_views([without])["m0/1"]["signals"])
    assert signals["feature:x"]["window"] is None


def test_how_well_a_model_predicts_is_shown_once_it_has_labels() -> None:
    labels_config = LabelsConfig(enabled=True, windows=[100, 1_000])
    config = DetectionConfig(reference_events=100, labels=labels_config)
    partition = PartitionWorker(
        TP, LINEAGE, Detection(config, None), 0, OutputTopics("alerts", "dead", "journal")
    )
    events = [
        prediction(i, {"x": float(i % 7)}, prediction="ab"[i % 2], score=(i % 10) / 10)
        for i in range(400)
    ]
    partition.process([record(i, value) for i, value in enumerate(events)])
    assert orjson.loads(live_views([partition])["m/1"]["performance"]) is None
    # Three of four are right.
    labels = [label(i, "ab"[(i + (i % 4 == 0)) % 2], ts=START_MS + 500 + i) for i in range(400)]
    partition.process([record(400 + i, value) for i, value in enumerate(labels)])

    shown = orjson.loads(live_views([partition])["m/1"]["performance"])

    assert set(shown["windows"]) == {"100", "1000"}
    for metrics, n in (
        (shown["total"], 400),
        (shown["windows"]["1000"], 400),
        (shown["windows"]["100"], 100),
    ):
        accuracy = metrics["accuracy"]
        assert (accuracy["value"], accuracy["n"], metrics["n_rows"]) == (0.75, n, n)
        assert accuracy["low"] < 0.75 < accuracy["high"]
        assert set(metrics["by_class"]) == {"a", "b"}
    assert shown["expected"] is None


def test_what_was_counted_is_shown_with_every_model() -> None:
    partition = worker()
    odd = {"x": "text", "y": [1], "z": 1.0}
    label = orjson.dumps(
        {"type": "label", "event_id": "e1", "model_id": "m0", "ts": 1_790_000_000_000, "label": 1}
    )
    records = [
        *STREAM,
        record(N_EVENTS, prediction(0, odd, model="m0", source="s", extra=1, more=2), key="m0"),
        record(N_EVENTS + 1, label, key="m0"),
        record(N_EVENTS + 2, b"not json", key="m0"),
    ]
    partition.process(records)

    counts = orjson.loads(live_views([partition])["m1/1"]["counters"])

    assert counts == partition.counts()
    assert counts["n_events"] == N_EVENTS + 2
    assert (counts["n_predictions"], counts["n_labels"]) == (N_EVENTS + 1, 1)
    assert (counts["n_unknown_fields"], counts["n_sources_dropped"]) == (2, 1)
    assert (counts["n_unfit_values"], counts["n_dead_letters"]) == (2, 1)
    assert counts["n_alerts"] == partition.n_alerts > 0


def test_a_model_that_learns_says_so_and_shows_no_signal_yet() -> None:
    partition = worker()
    partition.process(STREAM[:50])

    view = live_views([partition])["m0/1"]

    assert view["learning"] == b"true"
    assert orjson.loads(view["signals"]) == {}
