"""What every signal did over the file: means over equal stretches of rows, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from detectors.categories import BOOLEANS
from detectors.kernels.observe import MAX_RAW
from detectors.learning import only_numbers
from schemas.batch import F64, I64, U8, Decoded, ModelKey, PredictionKind, ValueKind
from schemas.signal_names import category_signal, class_signal, feature_signal, new_signal

N_STRETCHES: Final = 240
"""About as many points as a plot has room for."""
MIN_STRETCH_ROWS: Final = 20
"""A mean over fewer rows says too much about one of them."""
MAX_MODELS: Final = 20
"""Further models are folded as well, and not drawn."""

MAX_CATEGORIES: Final = 64
"""Of one feature; those that come first."""
MAX_KNOWN: Final = 10_000
"""Categories of the reference of one feature; where it has more, nobody counts new ones."""
MAX_CURVES: Final = 10_000
"""Of all models together: some 40 MB."""


class Curve(NamedTuple):
    """One signal over the file."""

    at: F64
    """(m,) the middle row of each stretch."""
    means: F64
    """(m,) its mean there; NaN where there was no value."""
    reference_mean: float
    """Over the model's reference; NaN where that had no value."""
    reference_sd: float
    rows_per_point: float
    """How many rows with a value stand behind a point, on average."""


@dataclass(slots=True)
class _Sums:
    """Sum and number of values, per stretch and over the reference."""

    total: F64
    n: F64
    reference: F64 = field(default_factory=lambda: np.zeros(3))
    """Number, sum and sum of squares over the reference."""


class Series:
    """The curves of all signals of a file of `n_rows`, model by model.

    The first `n_reference(model)` predictions of a model are its reference.
    """

    def __init__(self, n_rows: int, n_reference: Callable[[ModelKey], int]) -> None:
        self._n_reference: Final = n_reference
        self.width = max(-(-n_rows // N_STRETCHES), MIN_STRETCH_ROWS)
        """Rows of a stretch."""
        self.n_stretches = -(-n_rows // self.width)
        self.n_events: dict[ModelKey, int] = {}
        """How many predictions each model had."""
        self._sums: dict[tuple[ModelKey, str], _Sums] = {}
        self._n_of: dict[ModelKey, F64] = {}
        self._categories: dict[tuple[ModelKey, str], set[str]] = {}
        """Of each feature that has any, those that are drawn."""
        self._known: dict[tuple[ModelKey, str], set[str]] = {}
        """Of each feature that has any, the categories of its reference."""
        self._feature_of: dict[tuple[ModelKey, str], str] = {}
        """By model and `X=V`: the feature."""

    def take(self, events: Decoded) -> None:
        """Take in decoded events, as they are folded."""
        for code, model in enumerate(events.models):
            rows = np.flatnonzero((events.model == code) & ~events.is_label)
            if not len(rows):
                continue
            before = self.n_events.get(model, 0)
            self.n_events[model] = before + len(rows)
            if model not in self._n_of and len(self._n_of) >= MAX_MODELS:
                continue
            n_reference = min(max(self._n_reference(model) - before, 0), len(rows))
            for shape, names in enumerate(events.shapes):
                of_shape = events.shape[rows] == shape
                n_of_reference = int(np.count_nonzero(of_shape[:n_reference]))
                self._features(events, model, rows[of_shape], names, n_of_reference)
            self._outputs(events, model, rows, n_reference)

    def curve(self, model: ModelKey, signal: str) -> Curve | None:
        """What a signal did; None where nothing is known of it."""
        kind, _, name = signal.partition(":")
        n_of = self._n_of.get(model)
        sums = self._sums.get((model, f"present:{name}" if kind == "missing" else signal))
        if n_of is None:
            return None
        if sums is None:
            return self._share(model, name) if kind == "feature" else None
        n, total, reference = sums.n, sums.total, sums.reference
        if kind in {"missing", "class"}:
            # A share of all the model's events.
            n_reference = float(min(self.n_events[model], self._n_reference(model)))
            share = reference[1] if kind == "class" else n_reference - reference[1]
            n, total = n_of, total if kind == "class" else n_of - total
            reference = np.array([n_reference, share, share])
        return self._curve(n, total, reference)

    def _share(self, model: ModelKey, category: str) -> Curve | None:
        """The share of a category, `X=V`, of the values of its feature that are there."""
        feature = self._feature_of.get((model, category))
        those = self._sums.get((model, f"share:{category}"))
        present = self._sums.get((model, f"present:{feature}"))
        if feature is None or those is None or present is None:
            return None
        n_those = those.reference[1]
        reference = np.array([present.reference[0], n_those, n_those])
        return self._curve(present.n, those.total, reference)

    def _curve(self, n: F64, total: F64, reference: F64) -> Curve:
        with np.errstate(invalid="ignore", divide="ignore"):
            means = total / n
            mean = float(reference[1] / reference[0])
            variance = float(reference[2] / reference[0]) - mean * mean
        known = n[n > 0]
        at: F64 = (np.arange(self.n_stretches, dtype=np.float64) + 0.5) * self.width
        return Curve(
            at, means, mean, max(variance, 0.0) ** 0.5, float(known.mean()) if len(known) else 0.0
        )

    def _features(
        self, events: Decoded, model: ModelKey, rows: I64, names: tuple[str, ...], n_reference: int
    ) -> None:
        if not len(rows) or not names:
            return
        at = events.value_ptr[rows][:, None] + np.arange(len(names))
        value, kind = events.value[at], events.kind[at]
        present = (kind != ValueKind.NULL) & (kind != ValueKind.INVALID)
        for j, name in enumerate(names):
            offset, numbers = events.offset[rows], only_numbers(value[:, j], kind[:, j])
            self._add(model, feature_signal(name), offset, numbers, n_reference)
            self._add_categories(events, model, name, offset, value[:, j], kind[:, j], n_reference)
            self._add(
                model,
                f"present:{name}",
                offset,
                np.where(present[:, j], 1.0, np.nan),
                n_reference,
            )

    def _add_categories(
        self,
        events: Decoded,
        model: ModelKey,
        feature: str,
        offset: I64,
        value: F64,
        kind: U8,
        n_reference: int,
    ) -> None:
        """Add the categories among the values of a feature."""
        drawn = self._categories.setdefault((model, feature), set())
        for own, names in ((ValueKind.STRING, events.categories), (ValueKind.BOOLEAN, BOOLEANS)):
            rows = np.flatnonzero((kind == own) & (value >= 0.0))
            rows = rows[np.argsort(value[rows], kind="stable")]
            of_each = np.split(rows, np.flatnonzero(np.diff(value[rows])) + 1) if len(rows) else []
            for those in sorted(of_each, key=lambda some: int(some[0])):
                name = names[int(value[those[0]])]
                n_learned = int(np.searchsorted(those, n_reference))
                self._add_new(model, feature, name, offset[those], n_learned)
                name = category_signal(feature, name).removeprefix("feature:")
                if name not in drawn and len(drawn) >= MAX_CATEGORIES:
                    continue
                drawn.add(name)
                self._feature_of[model, name] = feature
                self._add(model, f"share:{name}", offset[those], np.ones(len(those)), n_learned)

    def _add_new(
        self, model: ModelKey, feature: str, name: str, offset: I64, n_learned: int
    ) -> None:
        """Count rows of a category of a feature that the reference did not have."""
        known = self._known.setdefault((model, feature), set())
        new = new_signal(feature).removeprefix("feature:")
        self._feature_of[model, new] = feature
        if n_learned and len(known) <= MAX_KNOWN:
            known.add(name)
        if name not in known and len(known) <= MAX_KNOWN:
            self._add(model, f"share:{new}", offset, np.ones(len(offset)), 0)

    def _outputs(self, events: Decoded, model: ModelKey, rows: I64, n_reference: int) -> None:
        offset = events.offset[rows]
        n_of = self._n_of.setdefault(model, np.zeros(self.n_stretches))
        n_of += np.bincount(offset // self.width, minlength=self.n_stretches)
        self._add(model, "score", offset, events.score[rows], n_reference)
        self._add(model, "prediction", offset, events.prediction[rows], n_reference)
        if not np.any(events.prediction_kind[rows] != PredictionKind.ABSENT):
            return
        classes = events.predicted_class[rows]
        # A model that predicts whole numbers of many values has no classes to draw.
        for code in np.unique(classes[classes >= 0])[:64].tolist():
            is_class = np.where(classes == code, 1.0, np.nan)
            self._add(model, class_signal(events.classes[code]), offset, is_class, n_reference)

    def _add(self, model: ModelKey, signal: str, offset: I64, value: F64, n_reference: int) -> None:
        """Add values in the order of the file; NaN is none."""
        # As detectors take them: the squares of larger ones are no numbers.
        value = np.clip(value, -MAX_RAW, MAX_RAW)
        known = ~np.isnan(value)
        if not known.any():
            return
        sums = self._sums.get((model, signal))
        if sums is None:
            if len(self._sums) >= MAX_CURVES:
                return
            sums = _Sums(np.zeros(self.n_stretches), np.zeros(self.n_stretches))
            self._sums[model, signal] = sums
        first = int(offset[0]) // self.width
        stretch = offset[known] // self.width - first
        n = np.bincount(stretch)
        sums.n[first : first + len(n)] += n
        sums.total[first : first + len(n)] += np.bincount(stretch, value[known])
        learned = value[:n_reference][known[:n_reference]]
        if len(learned):
            sums.reference += (len(learned), learned.sum(), (learned * learned).sum())
