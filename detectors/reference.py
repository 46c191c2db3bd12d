"""Learning a reference: the first events of a model, folded, then frozen into signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from detectors.categories import Categories, Tally, n_cells
from detectors.kernels.observe import (
    KIND_ANY,
    SOURCE_CATEGORY,
    SOURCE_CELL,
    SOURCE_CLASS,
    SOURCE_MISSING,
    SOURCE_NEW,
    SOURCE_OTHER,
    SOURCE_PREDICTION,
    SOURCE_SCORE,
    SOURCE_VALUE,
    learn_column,
    learn_features,
)
from detectors.learning import N_OUTPUT_COLUMNS, Rows, own_values
from detectors.signals import CELL_SCALE, Signal, number_scale, share_scale
from schemas.batch import F64, I32, I64, U8, PredictionKind, ValueKind
from schemas.config import BoundsConfig, SignalConfig
from schemas.signal_names import feature_signal

MAX_INTEGER_CLASSES = 20
"""An integer prediction with at most so many distinct values in the reference is a class."""

N_VALUE_KINDS = len(ValueKind)
N_PREDICTION_KINDS = len(PredictionKind)
CATEGORY_KINDS = (ValueKind.STRING, ValueKind.BOOLEAN)


@dataclass(slots=True)
class Cohort:
    """Signals of one model version that learn their reference on the same events.

    The outputs learn from the model's first event on, a feature from the first event that carries
    it; what begins with the same event is one cohort.
    """

    start: int
    """The model event it began with."""
    end: int
    """The model event before which it is complete."""
    score: bool = False
    """Whether it learns the score too."""
    prediction: bool = False
    """Whether it learns the prediction too."""
    features: list[int] = field(default_factory=list)
    n_kind: I64 = field(default_factory=lambda: np.zeros((0, N_VALUE_KINDS), np.int64))
    mean: F64 = field(default_factory=lambda: np.zeros(0))
    m2: F64 = field(default_factory=lambda: np.zeros(0))
    tallies: list[Tally] = field(default_factory=list)
    """Of each feature, its categories."""
    output_n: I64 = field(default_factory=lambda: np.zeros(2, np.int64))
    """Numbers seen of score and of prediction."""
    output_mean: F64 = field(default_factory=lambda: np.zeros(2))
    output_m2: F64 = field(default_factory=lambda: np.zeros(2))
    n_prediction_kind: I64 = field(default_factory=lambda: np.zeros(N_PREDICTION_KINDS, np.int64))
    n_class: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    """By class number of the model; grows with its classes."""
    n_other_class: int = 0
    """Predictions of classes past the bound."""
    rows: Rows | None = None
    """Its rows, where a detector wants more than moments of them and there is room for them."""

    @property
    def n_reserved(self) -> int:
        """How many values its rows may come to."""
        if self.rows is None:
            return 0
        return (self.end - self.start) * (len(self.features) + N_OUTPUT_COLUMNS)

    def add_feature(self, feature: int) -> None:
        """Learn this feature too."""
        self.features.append(feature)
        self.n_kind = np.vstack([self.n_kind, np.zeros((1, N_VALUE_KINDS), np.int64)])
        self.mean = np.append(self.mean, 0.0)
        self.m2 = np.append(self.m2, 0.0)
        self.tallies.append(Tally())

    def learn(
        self,
        rows: I32,
        value_ptr: I64,
        column_ptr: I64,
        column: I32,
        value: F64,
        kind: U8,
        categories: list[str] | None,
        max_categories: int,
        score: F64,
        prediction: F64,
        prediction_kind: U8,
        predicted_class: I32,
        n_classes: int,
        event_time_ms: I64,
        latency_ms: F64,
        flags: U8,
    ) -> None:
        """Fold these rows (of its model, in order, before `end`) into the reference.

        `categories` are the names of the poll's; None where no value of it is a category.
        """
        features = np.array(self.features, np.int32)
        if self.rows is not None or (categories is not None and self.features):
            own_value, own_kind = own_values(
                rows, features, value_ptr, column_ptr, column, value, kind
            )
            if categories is not None:
                is_category = (own_kind == ValueKind.STRING) | (own_kind == ValueKind.BOOLEAN)
                for j in np.flatnonzero(is_category.any(axis=0)).tolist():
                    values, kinds = own_value[:, j], own_kind[:, j]
                    self.tallies[j].learn(values, kinds, categories, max_categories)
            if self.rows is not None:
                self.rows.add(
                    own_value,
                    own_kind,
                    score[rows],
                    prediction[rows],
                    predicted_class[rows],
                    event_time_ms[rows],
                    latency_ms[rows],
                    flags[rows],
                )
        if self.features:
            learn_features(
                rows,
                features,
                value_ptr,
                column_ptr,
                column,
                value,
                kind,
                self.n_kind,
                self.mean,
                self.m2,
            )
        for at, (is_learned, values) in enumerate(
            ((self.score, score), (self.prediction, prediction))
        ):
            one = slice(at, at + 1)
            if is_learned:
                learn_column(
                    rows, values, self.output_n[one], self.output_mean[one], self.output_m2[one]
                )
        if not self.prediction:
            return
        self.n_prediction_kind += np.bincount(
            prediction_kind[rows], minlength=N_PREDICTION_KINDS
        ).astype(np.int64)
        classes = predicted_class[rows]
        counts = np.bincount(classes[classes >= 0], minlength=n_classes).astype(np.int64)
        counts[: len(self.n_class)] += self.n_class
        self.n_class = counts
        self.n_other_class += int(np.count_nonzero(classes == -1))

    @property
    def has_no_prediction(self) -> bool:
        """Whether none of its events had a prediction."""
        return not self.n_prediction_kind[PredictionKind.ABSENT + 1 :].any()

    def limit_classes(self, max_classes: int) -> bool:
        """Count what is beyond the first `max_classes` classes as other; whether that is any."""
        if self.rows is not None:
            classes = self.rows.column("predicted_class")
            classes[classes >= max_classes] = -1
        self.n_other_class += int(self.n_class[max_classes:].sum())
        self.n_class = self.n_class[:max_classes]
        return self.n_other_class > 0


class FrozenFeatures(NamedTuple):
    """What a reference says of its features, by feature number, and their signals."""

    kinds: dict[int, int]
    categories: dict[int, Categories]
    signals: list[Signal]


def freeze_features(
    cohort: Cohort,
    features: list[str],
    config: Mapping[str, SignalConfig],
    bounds: BoundsConfig,
) -> FrozenFeatures:
    """Freeze the cohort's features.

    A feature's kind is that of most of its values (of equal counts: number, string, boolean).
    Each feature has `missing:X`; a numeric one that had a number has `feature:X`, a category has
    `feature:X=V` for its most frequent ones. A feature that was always missing has kind KIND_ANY:
    from then on any value is present.
    """
    n = cohort.end - cohort.start
    frozen = FrozenFeatures({}, {}, [])
    signals = frozen.signals
    for j, feature in enumerate(cohort.features):
        by_kind = {
            kind: int(cohort.n_kind[j, kind]) for kind in (ValueKind.NUMBER, *CATEGORY_KINDS)
        }
        wanted = config.get(feature_signal(features[feature]), SignalConfig()).kind
        if wanted == "number":
            expected = int(ValueKind.NUMBER)
        elif wanted == "category":
            expected = int(max(CATEGORY_KINDS, key=by_kind.__getitem__))
        elif any(by_kind.values()):
            expected = int(max(by_kind, key=by_kind.__getitem__))
        else:
            expected = KIND_ANY
        frozen.kinds[feature] = expected
        categories = cohort.tallies[j].frozen(expected, cohort.n_kind[j])
        frozen.categories[feature] = categories
        signals += category_signals(feature, expected, categories, bounds.max_category_signals)
        if expected == ValueKind.NUMBER:
            scale = number_scale(
                by_kind[ValueKind.NUMBER], float(cohort.mean[j]), float(cohort.m2[j])
            )
            if scale is not None:
                signals.append(Signal(SOURCE_VALUE, feature, expected, scale))
        present = sum(by_kind.values()) if expected == KIND_ANY else by_kind[ValueKind(expected)]
        signals.append(Signal(SOURCE_MISSING, feature, expected, share_scale(n - present, n)))
    return frozen


def category_signals(feature: int, kind: int, categories: Categories, most: int) -> list[Signal]:
    """The shares of a feature's most frequent categories, and of those it did not have.

    Of values that are there. How often one is new is told by those that were there once: so often
    a row of the reference had what no other row of it has (Good 1953). Last the category as a
    whole.
    """
    n = categories.n
    signals = [
        Signal(SOURCE_CATEGORY, feature, kind, share_scale(categories.counts[k], n), category=k)
        for k in categories.with_shares(most)
    ]
    if categories.has_new(kind):
        signals.append(Signal(SOURCE_NEW, feature, kind, share_scale(categories.n_once, n)))
    if kind == ValueKind.STRING and n_cells(categories.cells):
        unknown = categories.unknown_cell
        signals.append(Signal(SOURCE_CELL, feature, kind, CELL_SCALE, category=unknown))
    return signals


def freeze_score(cohort: Cohort) -> list[Signal]:
    """The signal of the score; none where no event had one."""
    n, mean, m2 = int(cohort.output_n[0]), float(cohort.output_mean[0]), float(cohort.output_m2[0])
    scale = number_scale(n, mean, m2)
    return [] if scale is None else [Signal(SOURCE_SCORE, 0, 0, scale)]


def freeze_number(cohort: Cohort) -> list[Signal]:
    """The signal of a numeric prediction; none where the config calls names numbers."""
    n, mean, m2 = int(cohort.output_n[1]), float(cohort.output_mean[1]), float(cohort.output_m2[1])
    scale = number_scale(n, mean, m2)
    return [] if scale is None else [Signal(SOURCE_PREDICTION, 0, 0, scale)]


def freeze_classes(cohort: Cohort, classes: list[str]) -> list[Signal]:
    """The signals of a prediction that is a class.

    Of two classes only the one that sorts last has a signal: the other is its complement. With
    two or more, `class:__other__` is the share of classes that the reference did not have.
    """
    n = int(cohort.n_class.sum()) + cohort.n_other_class
    ranked = sorted(range(len(classes)), key=classes.__getitem__)
    if len(classes) == 2 and cohort.n_other_class == 0:
        ranked = ranked[1:]
    signals = [
        Signal(SOURCE_CLASS, c, 0, share_scale(int(cohort.n_class[c]), n)) for c in sorted(ranked)
    ]
    if len(classes) > 1:
        signals.append(Signal(SOURCE_OTHER, 0, 0, share_scale(cohort.n_other_class, n)))
    return signals


def is_class(cohort: Cohort, config: Mapping[str, SignalConfig]) -> bool:
    """Whether the model's prediction is a class, by config or by what the reference held."""
    wanted = config.get("prediction", SignalConfig()).kind
    if wanted is not None:
        return wanted == "category"
    n = cohort.n_prediction_kind
    n_names = int(n[PredictionKind.STRING] + n[PredictionKind.BOOLEAN])
    n_numbers = int(n[PredictionKind.INTEGER] + n[PredictionKind.NUMBER])
    if n_names >= n_numbers:
        return n_names > 0
    return (
        int(n[PredictionKind.NUMBER]) == 0
        and cohort.n_other_class == 0
        and len(cohort.n_class) <= MAX_INTEGER_CLASSES
    )
