"""What a score meant, as a reference has it: told by the predictions and their labels."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.labels.identity import NONE, class_code
from detectors.performance.declare import declared
from detectors.performance.fit import KnownLabels
from detectors.performance.outputs import SHAPE, even_cuts
from detectors.reference_document import monitor_of
from detectors.reference_fit import fit_reference
from schemas.batch import F64, I32, ModelKey
from schemas.config import DetectionConfig, ModelConfig, OutputConfig
from schemas.reference import ModelOutput, parse_reference
from tests.detectors.decoded import Event, Scalar, decoded

N = 4_000


def of_classes(
    score: F64,
    predicted: I32,
    classes: str = "01",
    *,
    positive: str | None = None,
    of: str | None = None,
) -> tuple[int, str, int]:
    config = OutputConfig.model_validate({"positive": positive, "score": of})
    output = declared(list(classes), predicted, score, SHAPE, config)
    return len(output.classes), output.score_of, output.positive


def test_what_a_score_means_is_told_by_the_predictions() -> None:
    rng = np.random.default_rng(3)
    p = rng.random(N)
    predicted = (p >= 0.5).astype(np.int32)
    strict = (p >= 0.9).astype(np.int32)
    assert of_classes(p, predicted) == (2, "positive", 1)
    assert of_classes(p, strict) == (2, "positive", 1)
    assert of_classes(np.maximum(p, 1 - p), predicted) == (2, "predicted", 1)
    assert of_classes(10 * p - 5, predicted) == (2, "rank", 1)
    assert of_classes(p, predicted, "ab", positive="a") == (2, "positive", 0)
    assert of_classes(1 - p, predicted, "ba") == (2, "positive", 0)
    assert of_classes(p, predicted, "ba") == (2, "positive", 1)
    assert of_classes(p, 0 * predicted, "ba") == (2, "positive", 0)
    assert of_classes(p, predicted, of="rank") == (2, "rank", 1)
    many = rng.integers(0, 3, N).astype(np.int32)
    assert of_classes(p, many, "abc") == (3, "predicted", -1)
    assert of_classes(p, many, "abc", of="positive") == (3, "predicted", -1)
    largest = np.where(predicted == 0, 1.7e308, 1e308)
    assert of_classes(largest, predicted) == (2, "rank", 0), "their sums are beyond all doubles"
    nothing = np.full(N, np.nan)
    assert of_classes(nothing, predicted) == (2, "none", 1)


def fitted(
    score: F64, predicted: list[Scalar], labels: list[str | None], **wish: str
) -> ModelOutput:
    """The calibration of a reference of these predictions with these labels."""
    events = [
        Event(i, {"x": float(i % 7)}, score=float(s), prediction=p)
        for i, (s, p) in enumerate(zip(score, predicted, strict=True))
    ]
    names = {class_code(name): name for name in labels if name is not None}
    code = np.array([NONE if name is None else class_code(name) for name in labels], np.int64)
    output = OutputConfig.model_validate(wish)
    config = DetectionConfig(model={"m": ModelConfig(output=output)})
    document = fit_reference(decoded(events), config, KnownLabels(code, names)).document
    again = parse_reference(document.canonical())
    assert again.digest == document.digest
    assert monitor_of(again, ModelKey("m", "1")).reference == document.digest
    assert again.output is not None
    return again.output


def test_the_counts_are_those_of_the_rows_with_score_and_label() -> None:
    rng = np.random.default_rng(5)
    p = rng.random(N)
    truth = rng.random(N) < p
    labels = [None if i % 9 == 0 else "yes" if t else "no" for i, t in enumerate(truth)]
    score = np.where(np.arange(N) % 11 == 0, np.nan, p)
    found = fitted(score, ["yes" if s >= 0.5 else "no" for s in p], labels)
    assert (found.score_of, found.classes[found.positive], found.cuts) == ("positive", "yes", [])
    known = np.array([label is not None for label in labels]) & ~np.isnan(score)
    assert found.n_labelled == known.sum()
    edges = np.array([0.0, *even_cuts(64), 1.0])
    for outcome in (0, 1):
        rows = score[known & (truth == bool(outcome))]
        assert counts_of(found)[outcome] == np.histogram(rows, edges)[0].tolist()


def test_of_several_classes_the_outcome_is_to_be_right() -> None:
    rng = np.random.default_rng(6)
    p = rng.random(N)
    right = rng.random(N) < p
    predicted: list[Scalar] = ["abc"[i % 3] for i in range(N)]
    labels: list[str | None] = [
        "abc"[i % 3] if r else "abcd"[(i + 1) % 4] for i, r in enumerate(right)
    ]
    found = fitted(p, predicted, labels)
    assert (found.score_of, found.positive) == ("predicted", -1)
    is_right = np.array([a == b for a, b in zip(predicted, labels, strict=True)])
    assert [sum(own) for own in counts_of(found)] == [(~is_right).sum(), is_right.sum()]


def test_a_class_that_only_labels_have_counts() -> None:
    """A model that never says yes is one of two classes, as its labels show."""
    p = np.linspace(0.0, 0.4, N)
    labels: list[str | None] = ["1" if i % 5 == 0 else "0" for i in range(N)]
    found = fitted(p, [0] * N, labels)
    assert (found.score_of, found.classes, found.positive) == ("positive", ["0", "1"], 1)
    assert sum(counts_of(found)[1]) == N // 5


@pytest.mark.parametrize("what", ["no label", "no score", "a number"])
def test_without_labels_scores_or_classes_there_is_none(what: str) -> None:
    rng = np.random.default_rng(7)
    p = np.full(N, np.nan) if what == "no score" else rng.random(N)
    predicted: list[Scalar] = [float(x) if what == "a number" else 1 for x in rng.normal(size=N)]
    labels: list[str | None] = [None if what == "no label" else "1"] * N
    found = fitted(p, predicted, labels)
    assert found.counts is None
    assert found.score_of == ("none" if what != "no label" else "predicted")


def counts_of(output: ModelOutput) -> list[list[int]]:
    assert output.counts is not None
    return output.counts


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"counts": [[1], [2, 3]]}, "different numbers of bins"),
        ({"counts": [[], []]}, "none"),
        ({"cuts": [0.2, 0.1, 0.3]}, "not ascending"),
        ({"cuts": [0.1]}, "one fewer"),
        ({"cuts": [], "score_of": "rank"}, "a score that orders needs them"),
        ({"positive": -1}, "needed there"),
        ({"classes": ["1", "1"]}, "names one twice"),
        ({"classes": ["0", "1", "2"]}, "for two classes"),
        ({"classes": ["0", "1", "2"], "positive": -1}, "said to be its probability"),
        ({"classes": [], "positive": -1}, "no score that counts"),
        ({"score_of": "none"}, "and there is none"),
        ({"counts": [[1, 1, 1, -1], [0, 0, 0, 0]]}, "greater than or equal to 0"),
    ],
)
def test_an_output_that_contradicts_itself_is_refused(change: dict[str, object], says: str) -> None:
    good = {
        "classes": ["0", "1"],
        "positive": 1,
        "score_of": "positive",
        "cuts": [0.1, 0.2, 0.3],
        "counts": [[1, 2, 3, 4], [0, 0, 1, 9]],
    }
    assert ModelOutput.model_validate(good).n_labelled == 20
    with pytest.raises(ValueError, match=says):
        ModelOutput.model_validate(good | change)
