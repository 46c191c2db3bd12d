"""The demo's traffic: what a model's events are, and three models on the census sample.

Pure: which events there are and in which order. `streams/traffic_producer.py` sends them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

import numpy as np
import orjson

from schemas.batch import F64, I32, I64, Bool
from schemas.config import DetectionConfig
from streams.census import REAL_CHANGES, CensusSample

REFERENCE_EVENTS: Final = DetectionConfig().reference_events
"""What the worker learns a model on by default; the demo's changes all come later."""

_N_RESAMPLED: Final = 10_000
_INJECTED_AT: Final = 6_000
_MONTHS_A_YEAR: Final = 12
_NULL_SHARE: Final = 0.05
_N_SOURCES: Final = 20
_SEX_NAMES: Final = {1: "male", 2: "female"}


class Change(NamedTuple):
    """A change in a model's traffic, and what must be said of it."""

    event: int
    """The model's first event after it."""
    title: str
    injected: bool
    """False: it is in the data set itself."""
    expected: tuple[str, ...]
    """The signals on which an alert must come."""
    within: int
    """... triggered by one of this many events after the change."""


class Attack(NamedTuple):
    """Who attacks a model, and what must be said of it."""

    title: str
    source: str
    """The attacker, as events name them."""
    at: I64
    """(k,) which of the model's events are the attacker's, or have their label of them; ascending.
    """
    within: int
    """The attacker must be named after at most so many of them."""
    kind: Literal["queries", "labels"]
    """By what the model is attacked."""
    weights: F64 | None = None
    """(n_numbers,) of a linear model: its boundary is where the weighted sum is 0. None: there is
    no picture of it."""

    @property
    def by(self) -> str:
        """What the attacker is among, in a word or two."""
        return "client" if self.kind == "queries" else "label source"


class Labels(NamedTuple):
    """What turns out to be true of each of a model's n events, and who says so."""

    values: I64
    """(n,) the class, as it is told."""
    sources: tuple[str, ...]
    """n"""
    after: int
    """A label comes so many events of the model after its prediction; the last ones never come."""


@dataclass(frozen=True, slots=True)
class ModelTraffic:
    """The n events of one model, as columns."""

    model_id: str
    model_version: str
    about: str
    numbers: dict[str, F64]
    """Per numeric feature (n,) values; NaN is sent as null."""
    categories: dict[str, list[str]]
    """Per categorical feature the n values."""
    prediction: I64
    """(n,) the predicted class."""
    score: F64
    """(n,) the probability of class 1."""
    changes: tuple[Change, ...]
    sources: tuple[str, ...] = ()
    """Who asks, for each event; empty: so many clients in turn."""
    attack: Attack | None = None
    labels: Labels | None = None

    def __len__(self) -> int:
        return len(self.prediction)

    def event(self, index: int, event_id: str, ts: str) -> dict[str, object]:
        """One event in the wire form of `schemas.events.PredictionEvent`."""
        features: dict[str, object] = {
            name: None if np.isnan(values[index]) else _number(float(values[index]))
            for name, values in self.numbers.items()
        }
        features |= {name: values[index] for name, values in self.categories.items()}
        return {
            "type": "prediction",
            "event_id": event_id,
            "model_id": self.model_id,
            "model_version": self.model_version,
            "ts": ts,
            "source": self.source(index),
            "features": features,
            "prediction": int(self.prediction[index]),
            "score": round(float(self.score[index]), 6),
        }

    def label(self, index: int, event_id: str, ts: str) -> dict[str, object]:
        """The label of one event in the wire form of `schemas.events.LabelEvent`."""
        if self.labels is None:
            raise ValueError(f"{self.model_id} has no labels")
        return {
            "type": "label",
            "event_id": event_id,
            "model_id": self.model_id,
            "ts": ts,
            "label": int(self.labels.values[index]),
            "label_source": self.labels.sources[index],
        }

    def source(self, index: int) -> str:
        """Who sends this event."""
        return self.sources[index] if self.sources else f"client-{index % _N_SOURCES:02d}"

    def signal(self, name: str) -> F64 | None:
        """(n,) what the worker sees of a signal; NaN where nothing; None if it is not a number."""
        kind, _, of = name.partition(":")
        if kind == "feature":
            return self.numbers.get(of)
        if kind == "missing" and of in self.numbers:
            is_missing: F64 = np.isnan(self.numbers[of]).astype(np.float64)
            return is_missing
        if kind == "class":
            is_class: F64 = np.array(self.prediction.astype(str) == of, dtype=np.float64)
            return is_class
        if name == "error" and self.labels is not None:
            is_wrong: F64 = np.array(self.prediction != self.labels.values, dtype=np.float64)
            is_wrong[max(len(self) - self.labels.after, 0) :] = np.nan
            return is_wrong
        return self.score if name == "score" else None


def _number(value: float) -> float:
    """As the clients write it: codes and ages are whole numbers."""
    return int(value) if value.is_integer() else value


def census_traffic(sample: CensusSample) -> tuple[ModelTraffic, ...]:
    """The three models of census rows; the same arrays on every call."""
    first, second, third = (sample.index_of(change.row) for change in REAL_CHANGES)
    titles = [change.title for change in REAL_CHANGES]
    everything = ("feature:RELP", "class:1", "score")
    random = np.random.default_rng(0)
    in_file_order = _rows(
        sample,
        np.arange(len(sample)),
        random,
        model_id="employment-ma",
        about="The census rows in the order of the file: three changes that are really in it.",
        changes=(
            # The first is small: only RELP shows it within the rows of the sample.
            Change(first, titles[0], injected=False, expected=("feature:RELP",), within=4_000),
            Change(second, titles[1], injected=False, expected=everything, within=2_000),
            Change(third, titles[2], injected=False, expected=everything, within=2_000),
        ),
    )
    app = _rows(
        sample,
        random.integers(0, first, _N_RESAMPLED),
        random,
        model_id="employment-ma-app",
        about=(
            "The rows before the first change, drawn at random; later an app sends the age in"
            " months. This change is injected."
        ),
        changes=(
            Change(
                _INJECTED_AT,
                "the app sends AGEP in months instead of years",
                injected=True,
                expected=("feature:AGEP",),
                within=200,
            ),
        ),
    )
    app.numbers["AGEP"][_INJECTED_AT:] *= _MONTHS_A_YEAR
    control = _rows(
        sample,
        random.integers(0, first, _N_RESAMPLED),
        random,
        model_id="employment-ma-control",
        about="The rows before the first change, drawn at random: nothing changes here.",
        changes=(),
    )
    return (in_file_order, app, control)


def _rows(
    sample: CensusSample,
    rows: I64,
    random: np.random.Generator,
    *,
    model_id: str,
    about: str,
    changes: tuple[Change, ...],
) -> ModelTraffic:
    numbers = {
        name: codes[rows].astype(np.float64)
        for name, codes in sample.features.items()
        if name != "SEX"
    }
    # Real traffic has gaps: one feature comes as null now and then, from beginning to end.
    numbers["ANC"][random.random(len(rows)) < _NULL_SHARE] = np.nan
    return ModelTraffic(
        model_id=model_id,
        model_version="1",
        about=about,
        numbers=numbers,
        categories={"SEX": [_SEX_NAMES[code] for code in sample.features["SEX"][rows].tolist()]},
        prediction=sample.prediction[rows],
        score=sample.probability[rows],
        changes=changes,
    )


class Schedule(NamedTuple):
    """All models' events as one sequence: each model's are spread evenly over it."""

    model: I32
    """(n,) index of the model."""
    event: I32
    """(n,) index of the event within its model."""
    is_label: Bool
    """(n,) whether it is the label of that event."""


def schedule(models: Sequence[ModelTraffic]) -> Schedule:
    """Merge the models so that all begin and end together; ties go to the earlier model."""
    model = np.concatenate([np.full(len(m), i, dtype=np.int32) for i, m in enumerate(models)])
    event = np.concatenate([np.arange(len(m), dtype=np.int32) for m in models])
    at = np.concatenate([(np.arange(len(m)) + 0.5) / len(m) for m in models])
    is_label = np.zeros(len(at), dtype=np.bool_)
    for i, each in enumerate(models):
        if each.labels is None:
            continue
        # A label goes where the event is that it waits for, and so behind that one.
        labelled = np.arange(max(len(each) - each.labels.after, 0), dtype=np.int32)
        model = np.concatenate((model, np.full(len(labelled), i, dtype=np.int32)))
        event = np.concatenate((event, labelled))
        at = np.concatenate((at, (labelled + each.labels.after + 0.5) / len(each)))
        is_label = np.concatenate((is_label, np.ones(len(labelled), dtype=np.bool_)))
    order = np.argsort(at, kind="stable")
    return Schedule(model[order], event[order], is_label[order])


def timestamp(epoch_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    at = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class BadEvent(NamedTuple):
    """A record that the worker must refuse."""

    what: str
    key: bytes
    value: bytes


def bad_events(model: ModelTraffic, epoch_ms: int) -> Iterator[BadEvent]:
    """One of each kind of mistake that clients really make; each ends as a dead letter."""
    key = model.model_id.encode()

    def event(what: str) -> dict[str, object]:
        return model.event(0, f"bad-{what}-{epoch_ms}", timestamp(epoch_ms))

    whole = orjson.dumps(event("truncated"))
    yield BadEvent("cut off in the middle", key, whole[: len(whole) // 2])
    yield BadEvent("keyed by another model", b"another-model", orjson.dumps(event("key")))
    without_ts = event("ts")
    del without_ts["ts"]
    yield BadEvent("without a time", key, orjson.dumps(without_ts))
    # orjson would write null: this is what Python's own json module writes.
    text = orjson.dumps(event("nan") | {"score": 0.125})
    yield BadEvent("NaN for a score", key, text.replace(b'"score":0.125', b'"score":NaN'))
