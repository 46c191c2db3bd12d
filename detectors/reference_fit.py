"""Making a reference of the events that a person chose: what a fold would have learned of them."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from detectors.drift.ranks import GRAIN, MAX_ORDER, Ranks
from detectors.fold import Fold
from detectors.kernels.observe import KIND_LEARNING
from detectors.learning import MIN_ROWS, Rows
from detectors.monitor import Monitor, model_config, signal_config
from detectors.performance.fit import KnownLabels, output_with_labels
from detectors.performance.outputs import SHAPE
from detectors.reference import Cohort
from detectors.reference_document import document_of
from detectors.signals import Signal
from schemas.batch import F64, I64, Decoded, ModelKey
from schemas.config import DetectionConfig, DetectorsConfig
from schemas.reference import BadReferenceError, ReferenceDocument

MAX_EVENTS: Final = 1_000_000
"""Of a reference, the highest `reference_events` of a config."""
_DIGITS: Final = 4
"""Correlations are rounded, so that another machine's last bits give the same document."""
_NO_BOUND: Final = 2**62


class Fitted(NamedTuple):
    """A reference, and the monitor that has it."""

    document: ReferenceDocument
    monitor: Monitor


def fit_reference(
    events: Decoded, config: DetectionConfig, labels: KnownLabels | None = None
) -> Fitted:
    """The reference that these predictions, all of one model, in their order, form.

    Kinds of features, classes and bounds are as the config says. `labels` are theirs, by which the
    score is calibrated. Raises `BadReferenceError` where they are too few or too many, or the
    document would be too large.
    """
    n = len(events)
    if not MIN_ROWS <= n <= MAX_EVENTS:
        raise BadReferenceError(
            f"{n:,} predictions form no reference: {MIN_ROWS} to {MAX_EVENTS:,} are needed"
        )
    monitor = learn(events, config)
    learned = _rows_of(monitor, n)
    _complete(monitor, config, n)
    times = events.event_time_ms
    if labels is not None and monitor.output is not None and monitor.output.classes:
        wish = model_config(config, monitor.key.model_id).output
        monitor.output = output_with_labels(events, monitor.classes, labels, wish, SHAPE)
    document = document_of(
        monitor,
        n_events=n,
        times_ms=(int(times.min()), int(times.max())),
        correlation=_correlation(monitor.signals, *learned),
    )
    return Fitted(document, monitor)


def learn(events: Decoded, config: DetectionConfig) -> Monitor:
    """A monitor that is still learning after these predictions, all of one model.

    Its references keep their rows.
    """
    key = events.models[0]
    fold = Fold(_fitting(config, key, len(events)))
    fold.process(events)
    return fold.catalog.monitor(fold.catalog.slot_of[key])


def _fitting(config: DetectionConfig, key: ModelKey, n: int) -> DetectionConfig:
    """The config under which all of the events are learned, and the fold itself completes nothing.

    Rows are kept whatever room a worker has for them, and no detector runs: `focus` is on, so that
    rows are kept, and has no lanes before a reference is complete.
    """
    own = model_config(config, key.model_id).model_copy(update={"reference_events": n + 1})
    bounds = config.bounds.model_copy(update={"max_learning_values": _NO_BOUND})
    return config.model_copy(
        update={
            "bounds": bounds,
            "detectors": DetectorsConfig(),
            "model": {**config.model, key.model_id: own},
        }
    )


def _rows_of(monitor: Monitor, n: int) -> tuple[Rows, list[int]]:
    """The rows of the reference that began with the first event, and the features in them."""
    first = next(cohort for cohort in monitor.cohorts if cohort.start == 0)
    assert first.rows is not None
    assert first.rows.n == n
    return first.rows, list(first.features)


def _complete(monitor: Monitor, config: DetectionConfig, n: int) -> None:
    """Complete what is being learned after so many events.

    What came too late to say how it varies is left to be learned when it comes.
    """
    whole = [cohort for cohort in monitor.cohorts if n - cohort.start >= MIN_ROWS]
    late = [cohort for cohort in monitor.cohorts if n - cohort.start < MIN_ROWS]
    monitor.cohorts = whole
    for cohort in whole:
        cohort.end = n
    # Whether a worker watches them is its own config's choice.
    joint = config.joint.model_copy(update={"residual": True, "mmd": True, "missing": True})
    signals, _ = monitor.freeze(
        n,
        signal_config(config, monitor),
        config.bounds,
        joint,
        model_config(config, monitor.key.model_id).output,
    )
    monitor.signals += signals
    for cohort in late:
        _leave_out(monitor, cohort)


def _leave_out(monitor: Monitor, cohort: Cohort) -> None:
    for feature in cohort.features:
        monitor.kinds[feature] = KIND_LEARNING
    monitor.awaits_score |= cohort.score
    monitor.awaits_prediction |= cohort.prediction


def _correlation(
    signals: list[Signal], rows: Rows, features: list[int]
) -> dict[tuple[int, int], float]:
    """Of each two numeric signals of these rows, by place: that of their normal scores.

    Over the rows that have both; 0 where there are none. Rhythms are out of them: what two signals
    share because both follow the time of day is no correlation of what their lanes see.
    """
    known = set(features)
    numeric = [
        (place, signal)
        for place, signal in enumerate(signals)
        if isinstance(signal.ranks, Ranks)
        and not (signal.is_joint or signal.is_of_event or signal.is_quality)
        and (signal.is_output or signal.index in known)
    ]
    if len(numeric) < 2:
        return {}
    observed = rows.observations([signal for _, signal in numeric], features)
    times = rows.column("event_time_ms")
    scores = np.empty_like(observed)
    for row, (_, signal) in enumerate(numeric):
        assert isinstance(signal.ranks, Ranks)
        scores[row] = normal_scores(signal.ranks, observed[row], times)
    has = ~np.isnan(scores)
    scores[~has] = 0.0
    # About 0, which is the mean of all of them; each pair over the rows that have both.
    squares = (scores * scores) @ has.T.astype(np.float64)
    size = np.sqrt(squares * squares.T)
    found = np.divide(scores @ scores.T, size, out=np.zeros_like(size), where=size > 0.0)
    found = np.round(np.clip(found, -1.0, 1.0), _DIGITS)
    places = [place for place, _ in numeric]
    return {
        (a, b): float(found[i, j])
        for i, a in enumerate(places)
        for j, b in enumerate(places[i + 1 :], i + 1)
    }


def normal_scores(ranks: Ranks, x: F64, times: I64) -> F64:
    """(n,) normal scores of a signal's rows at these event times, as its location lane sees them.

    In z, as they come, with the rhythm. NaN where the row is, and for the first rows of an
    autoregression.
    """
    out = np.full(len(x), np.nan)
    at = np.flatnonzero(~np.isnan(x))
    observed = x[at]
    if ranks.rhythm is not None:
        observed = ranks.rhythm.without(observed, times[at])
    order = int(np.max(np.flatnonzero(ranks.coefficient), initial=-1)) + 1
    assert order <= MAX_ORDER
    residual = observed[order:].copy()
    for lag in range(1, order + 1):
        residual -= ranks.coefficient[lag - 1] * observed[order - lag : len(observed) - lag]
    place = np.searchsorted(ranks.cuts, residual, side="right")
    out[at[order:]] = ranks.location[place] / GRAIN
    return out
