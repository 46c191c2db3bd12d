"""Logs in which labels come late, never, twice and with two answers; and what is to come of them.

The join of docs/labels.md and the metrics of docs/performance-metrics.md again, over rows, in plain
Python and numpy: what the fold is compared with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from detectors.performance.intervals import Measure
from detectors.performance.metrics import Metrics
from schemas.batch import F64, I32, I64, Bool, Decoded, ModelKey, PredictionKind
from tests.detectors.decoded import TP

START_MS: Final = 1_790_000_000_000
MISSING: Final = 0.10
DUPLICATED: Final = 0.01
CONFLICTING: Final = 0.01
LEAST_PROBABILITY: Final = 2.0**-52


@dataclass(frozen=True)
class Stream:
    """The predictions of one model, of class 0 or 1 or of numbers, and the truth; (n,) each."""

    model_id: str
    predicted: F64
    truth: F64
    score: F64 | None = None
    """The probability of class 1; None: the model predicts numbers."""


@dataclass(frozen=True)
class LateLog:
    """A partition of m events, a millisecond from one to the next; (m,) each."""

    streams: Sequence[Stream]
    of: I32
    """The number of the stream."""
    about: I64
    """The row of the stream."""
    is_label: Bool
    said: F64
    """What is predicted, or what the label says."""

    def __len__(self) -> int:
        return len(self.of)


class JoinedPair(NamedTuple):
    """A prediction and its label."""

    predicted: float
    score: float
    truth: float


@dataclass
class Expected:
    """What is to come of a log."""

    pairs: list[list[JoinedPair]]
    """Of each stream those that count, in the order joined."""
    counts: Counter[str] = field(default_factory=Counter)


def late_log(streams: Sequence[Stream], most: int, seed: int) -> LateLog:
    """The predictions in turns; labels up to `most` predictions later, evenly spread.

    A tenth of them is missing, one in a hundred comes twice, and to one in a hundred another label
    comes that says something else. Which of two comes first is chance.
    """
    rng = np.random.default_rng(seed)
    n_streams = len(streams)
    parts: list[tuple[F64, I32, I64, Bool, F64]] = []

    def add(place: F64, number: int, about: I64, said: F64, *, is_label: bool) -> None:
        of = np.full(len(about), number, np.int32)
        parts.append((place, of, about, np.full(len(about), is_label), said))

    def add_labels(number: int, about: I64, said: F64) -> None:
        delay = rng.integers(0, most + 1, len(about))
        place = (about * n_streams + number + delay).astype(np.float64) + 0.5
        add(place, number, about, said, is_label=True)

    for number, stream in enumerate(streams):
        rows = np.arange(len(stream.predicted))
        place = (rows * n_streams + number).astype(np.float64)
        add(place, number, rows, stream.predicted, is_label=False)
        labelled = rows[rng.random(len(rows)) >= MISSING]
        add_labels(number, labelled, stream.truth[labelled])
        again = labelled[rng.random(len(labelled)) < DUPLICATED]
        add_labels(number, again, stream.truth[again])
        other = labelled[rng.random(len(labelled)) < CONFLICTING]
        # Of a class the other one; of a number one that is near it.
        add_labels(number, other, np.abs(1.0 - stream.truth[other]))
    place, of, about, is_label, said = (np.concatenate(c) for c in zip(*parts, strict=True))
    order = np.argsort(place, kind="stable")
    return LateLog(streams, of[order], about[order], is_label[order], said[order])


def allowed_delay_ms(most: int) -> int:
    """A `max_delay_ms` for labels up to `most` predictions late that some of them exceed.

    Nearly as many labels as predictions lie between the two. None comes so late that it is
    forgotten that its prediction is expired.
    """
    return most * 17 // 10


def polls(log: LateLog, size: int) -> Iterator[Decoded]:
    """The log as the decoder would give it, `size` events at a time."""
    for start in range(0, len(log), size):
        yield _poll(log, slice(start, start + size), start)


def _poll(log: LateLog, rows: slice, start: int) -> Decoded:
    of, about, is_label, said = log.of[rows], log.about[rows], log.is_label[rows], log.said[rows]
    n = len(of)
    offset = np.arange(start, start + n, dtype=np.int64)
    has_classes = np.array([stream.score is not None for stream in log.streams])[of]
    score = np.full(n, np.nan)
    for number, stream in enumerate(log.streams):
        if stream.score is not None:
            own = (of == number) & ~is_label
            score[own] = stream.score[about[own]]
    ids = [stream.model_id for stream in log.streams]
    kind = np.where(has_classes, PredictionKind.INTEGER, PredictionKind.NUMBER)
    return Decoded(
        tp=TP,
        offset=offset,
        row=np.zeros(n, np.int32),
        record_time_ms=offset + START_MS,
        event_time_ms=offset + START_MS,
        is_label=is_label,
        model=of + len(ids) * is_label.astype(np.int32),
        models=[ModelKey(one, version) for version in ("1", "") for one in ids],
        shape=np.where(is_label, -1, 0).astype(np.int32),
        shapes=[()],
        value_ptr=np.zeros(n + 1, np.int64),
        value=np.empty(0),
        kind=np.empty(0, np.uint8),
        categories=[],
        score=score,
        prediction_kind=kind.astype(np.uint8),
        prediction=said,
        predicted_class=np.where(has_classes, said, -1).astype(np.int32),
        classes=["0", "1"],
        latency_ms=np.full(n, np.nan),
        source=np.zeros((n, 2), np.uint64),
        # The streams share their event ids: the key of the join holds the model.
        event_id=(about.astype(np.uint64) + 1) * np.uint64(0x9E3779B97F4A7C15),
        n_unknown_fields=0,
        n_sources_dropped=0,
    )


def expected_of(log: LateLog, max_delay_ms: int, n_reference: int) -> Expected:
    """The pairs that count, event by event, after the rules of docs/labels.md.

    Nothing counts that was complete before the model's `n_reference`-th prediction was there. For
    labels that come after their predictions, and while these are remembered.
    """
    expected = Expected([[] for _ in log.streams])
    counts = expected.counts
    made: dict[tuple[int, int], int] = {}
    answer: dict[tuple[int, int], float] = {}
    n_predicted = [0] * len(log.streams)
    columns = (log.of.tolist(), log.about.tolist(), log.is_label.tolist(), log.said.tolist())
    for now, (of, about, is_label, said) in enumerate(zip(*columns, strict=True)):
        key = of, about
        if not is_label:
            made[key] = now
            n_predicted[of] += 1
            if n_predicted[of] == n_reference:
                expected.pairs[of].clear()
            continue
        age = now - made[key]
        # Beyond that a prediction is forgotten, and its label one that waits for another.
        assert age <= max_delay_ms + max_delay_ms // 4
        if age > max_delay_ms:
            counts["n_expired_labels"] += 1
        elif key in answer:
            same = answer[key] == said
            counts["n_duplicate_labels" if same else "n_conflicting_labels"] += 1
        else:
            answer[key] = said
            counts["n_joined_labels"] += 1
            stream = log.streams[of]
            score = np.nan if stream.score is None else float(stream.score[about])
            expected.pairs[of].append(JoinedPair(float(stream.predicted[about]), score, said))
    return expected


def latest(pairs: list[JoinedPair], window: int) -> list[JoinedPair]:
    """The pairs that a window of at most so many holds: it moves on by a tenth of itself."""
    first = 0
    while len(pairs) - first > window:
        first += window // 10
    return pairs[first:]


def columns_of(pairs: Sequence[JoinedPair]) -> tuple[F64, F64, F64]:
    """(k,) each: what was predicted, the score, the truth."""
    predicted, score, truth = np.array(pairs, np.float64).reshape(-1, 3).T
    return predicted, score, truth


def class_metrics(predicted: F64, score: F64, truth: F64) -> dict[str, float]:
    """Of predictions of two classes (k,), from the definitions."""
    hits = float(np.sum((predicted == 1) & (truth == 1)))
    precision, recall = hits / np.sum(predicted == 1), hits / np.sum(truth == 1)
    p = np.clip(score, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    return {
        "accuracy": float(np.mean(predicted == truth)),
        "precision": float(precision),
        "recall": float(recall),
        "F1": float(2.0 * precision * recall / (precision + recall)),
        "log loss": float(-np.mean(np.where(truth == 1, np.log(p), np.log1p(-p)))),
        "Brier score": float(np.mean((score - truth) ** 2)),
        "ROC-AUC": area(score, truth),
    }


def number_metrics(predicted: F64, truth: F64) -> dict[str, float]:
    """Of predictions of numbers (k,), from the definitions."""
    error = predicted - truth
    return {
        "MAE": float(np.mean(np.abs(error))),
        "RMSE": float(np.sqrt(np.mean(error**2))),
    }


def area(score: F64, truth: F64) -> float:
    """The share of pairs of one row of each class that the score orders; ties count half."""
    negatives = np.sort(score[truth == 0])
    positives = score[truth == 1]
    below = np.searchsorted(negatives, positives, "left")
    not_above = np.searchsorted(negatives, positives, "right")
    return float((below + not_above).sum() / 2.0 / len(negatives) / len(positives))


def found_of(metrics: Metrics) -> dict[str, Measure]:
    """What the fold measured, by the names that are used here."""
    positive = metrics.positive
    found = {
        "accuracy": metrics.accuracy,
        "precision": None if positive is None else positive.precision,
        "recall": None if positive is None else positive.recall,
        "F1": None if positive is None else positive.f1,
        "log loss": metrics.log_loss,
        "Brier score": metrics.brier,
        "ROC-AUC": metrics.auc,
        "MAE": metrics.mae,
        "RMSE": metrics.rmse,
    }
    return {name: measure for name, measure in found.items() if measure is not None}
