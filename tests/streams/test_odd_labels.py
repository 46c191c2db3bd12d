"""Labels that no metric can take as they are: what is refused, what is left out, what is capped."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest

from detectors.kernels.performance import MOST_ERROR
from detectors.slice_counts import LOSS_PARTS, MAX_LOSS
from schemas.alerts import DeadLetterData
from schemas.config import DetectionConfig, LabelsConfig, ModelConfig
from streams.lineage import Lineage
from streams.views import live_views
from streams.worker import Detection, OutputTopics, PartitionWorker
from tests.schemas.arrow_streams import stream_of
from tests.streams.events import START_MS, TP, label, prediction, record

N = 400
LINEAGE = Lineage(deployment="driftsentry", topic_id="t", partition=0, start_offset=0)
CONFIG = DetectionConfig(
    reference_events=100,
    labels=LabelsConfig(enabled=True, reference_labels=80, calibration_labels=100),
    model={"m": ModelConfig(slices=["region"])},
)


def worker() -> PartitionWorker:
    """It has seen N predictions of numbers with a standard deviation of about 10."""
    made = PartitionWorker(
        TP, LINEAGE, Detection(CONFIG, None), 0, OutputTopics("alerts", "dead", "journal")
    )
    said = 10.0 * np.random.default_rng(1).normal(size=N)
    events = [
        prediction(i, {"region": ("east", "west")[i % 2]}, prediction=float(x))
        for i, x in enumerate(said)
    ]
    made.process([record(i, event) for i, event in enumerate(events)])
    return made


def told(partition: PartitionWorker, labels: list[bytes]) -> dict[str, Any]:
    """The performance that the live view has after these labels."""
    partition.process([record(N + i, value) for i, value in enumerate(labels)])
    shown: dict[str, Any] = orjson.loads(live_views([partition])["m/1"]["performance"])
    return shown


def of(i: int, value: object) -> bytes:
    return label(i, value, ts=START_MS + N + i)


GOOD = [of(i, 1.0) for i in range(200)]


@pytest.mark.parametrize("written", [b"1e999", b"-1e999", b"Infinity", b"NaN"])
def test_a_label_that_is_no_finite_number_is_a_dead_letter(written: bytes) -> None:
    partition = worker()
    odd = of(200, 123.25).replace(b"123.25", written)
    before = told(partition, GOOD)
    assert told(partition, [odd]) == before
    letters = [o for o in partition.take_outputs() if o.topic == "dead"]
    assert [DeadLetterData.model_validate_json(o.value).reason for o in letters] == ["not_json"]
    assert partition.counts()["n_dead_letters"] == 1


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan])
def test_a_label_in_arrow_that_is_no_finite_number_is_a_dead_letter(odd: float) -> None:
    partition = worker()
    rows = [orjson.loads(of(i, 1.0)) for i in (200, 201)]
    rows[0]["label"] = odd
    told(partition, GOOD)
    assert told(partition, [stream_of(rows)])["total"]["mae"]["n"] == len(GOOD) + 1
    letters = [o for o in partition.take_outputs() if o.topic == "dead"]
    assert [DeadLetterData.model_validate_json(o.value).reason for o in letters] == ["wrong_type"]


def test_labels_that_are_no_numbers_are_rows_without_an_error() -> None:
    texts: list[object] = ["12 EUR", "inf", "nan"]
    partition = worker()
    slices = told(partition, GOOD)["slices"]
    shown = told(partition, [of(200 + i, text) for i, text in enumerate(texts)])
    assert shown["total"]["n_rows"] == len(GOOD) + len(texts)
    assert shown["total"]["mae"]["n"] == len(GOOD)
    assert shown["slices"] == slices


@pytest.mark.parametrize("huge", [1e300, -1e300, 1.7976931348623157e308])
def test_a_huge_error_counts_as_the_most_that_one_may(huge: float) -> None:
    """It is finite, so it is an error; one alone is told by a mean that no unit explains."""
    partition = worker()
    plain = told(partition, GOOD)["slices"]["region"]["groups"]["east"]["mae"]["value"]
    shown = told(partition, [of(200, huge)])
    n = len(GOOD) + 1
    assert shown["total"]["mae"]["value"] == pytest.approx(MOST_ERROR / n)
    assert shown["total"]["rmse"]["value"] == pytest.approx(MOST_ERROR / math.sqrt(n))
    assert shown["total"]["rmse"]["high"] < math.inf
    # In its group it counts for 1,024 standard deviations of the predictions.
    group = shown["slices"]["region"]["groups"]["east"]["mae"]
    most = group["value"] * group["n"] - plain * (group["n"] - 1)
    assert most == pytest.approx(10.0 * MAX_LOSS / LOSS_PARTS, rel=0.2)
