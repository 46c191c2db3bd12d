"""A small fixed model with labels: what it predicts comes to hang on other things; a depot lies.

Pure: the same arrays on every call. It says of parcels whether they will be late, and depots say
which were. At the same time as the world changes, one depot turns its labels over: who retrains on
all of them learns its lies.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.batch import F64
from streams.traffic import Attack, Change, Labels, ModelTraffic

MODEL_ID: Final = "delivery"
LIAR: Final = "depot-07"
N_EVENTS: Final = 6_000
CHANGED_AT: Final = 3_000
"""Past the 2,000 labels that say what is usual of labels, and those of the reference of errors."""
LIES_SINCE: Final = 3_200

_N_DEPOTS: Final = 10
_LABEL_AFTER: Final = 40
_FEATURES: Final = ("km", "kg", "stops", "rain")
_WEIGHTS: Final[F64] = np.array([1.0, -0.4, 1.2, 0.5])
"""Of the model, and until the change of the world."""
_WEIGHTS_LATER: Final[F64] = np.array([1.0, -0.4, 0.2, 0.5])
"""Of the world from then on: stops hardly make a parcel late any more. The model errs in 27 of 100
then instead of 15; where it erred in half of them nobody could tell a lie from the truth."""
_SLOPE: Final = 2.0


def delivery_traffic() -> ModelTraffic:
    """The model with all its events and their labels."""
    random = np.random.default_rng(7)
    rows = np.round(random.normal(size=(N_EVENTS, len(_FEATURES))), 4)
    score = _probability(rows, _WEIGHTS)
    truth = np.where(np.arange(N_EVENTS) < CHANGED_AT, score, _probability(rows, _WEIGHTS_LATER))
    was_late = (random.random(N_EVENTS) < truth).astype(np.int64)
    depots = tuple(f"depot-{k:02d}" for k in random.integers(_N_DEPOTS, size=N_EVENTS))
    is_lie = np.array([depot == LIAR for depot in depots]) & (np.arange(N_EVENTS) >= LIES_SINCE)
    return ModelTraffic(
        model_id=MODEL_ID,
        model_version="1",
        about=(
            f"A fixed logistic model that says whether a parcel will be late; {_N_DEPOTS} depots"
            f" say later which were. From event {CHANGED_AT:,} on, stops hardly make a"
            f" parcel late any more. From event {LIES_SINCE:,} on, one depot turns its labels over."
        ),
        numbers={name: rows[:, j].copy() for j, name in enumerate(_FEATURES)},
        categories={},
        prediction=(score > 0.5).astype(np.int64),
        score=score,
        changes=(
            Change(
                CHANGED_AT,
                "stops hardly make a parcel late any more: the model errs more often",
                injected=True,
                expected=("error",),
                within=1_000,
            ),
        ),
        attack=Attack(
            title="a depot turns its labels over",
            source=LIAR,
            at=np.flatnonzero(is_lie),
            within=100,
            kind="labels",
        ),
        labels=Labels(np.where(is_lie, 1 - was_late, was_late), depots, _LABEL_AFTER),
    )


def _probability(rows: F64, weights: F64) -> F64:
    p: F64 = 1.0 / (1.0 + np.exp(-_SLOPE * (rows @ weights)))
    return p
