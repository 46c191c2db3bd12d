"""The calibration of a score from predictions whose labels are known: a part of a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import numpy as np

from detectors.labels.identity import NONE, class_code, value_codes
from detectors.performance.declare import declared
from detectors.performance.labelled import LabelledPerformance
from detectors.performance.outputs import ScoreOf, Shape, Task
from detectors.performance.rows import JoinedRows
from schemas.batch import I32, I64, Decoded
from schemas.config import OutputConfig
from schemas.reference import ScoreCalibration

MAX_LABELLED_CLASSES: Final = 1_024
"""Classes that labels may name; the others are errors, and no class themselves."""


class KnownLabels(NamedTuple):
    """The labels of some predictions, row by row."""

    code: I64
    """(n,) as `detectors.labels.identity` has it, NONE where it is not known."""
    names: Mapping[int, str]
    """The class of each code."""


def calibration_of(
    events: Decoded, classes: list[str], labels: KnownLabels, wish: OutputConfig
) -> ScoreCalibration | None:
    """What the score of these predictions (n,), all of one model, meant; None without labels.

    `classes` are those that the model is known to predict.
    """
    has_label = labels.code != NONE
    if not (has_label & ~np.isnan(events.score)).any():
        return None
    known = {class_code(name) for name in classes}
    labelled = {int(code) for code in np.unique(labels.code[has_label])} - known
    others = sorted(labels.names[code] for code in labelled)[:MAX_LABELLED_CLASSES]
    names = [*classes, *others]
    predicted, label = (_numbers(codes, names) for codes in (value_codes(events), labels.code))
    shape = Shape()
    output = declared(names, predicted, events.score, shape, wish)
    bank = LabelledPerformance(shape, 1)
    bank.declare(0, output)
    nothing = np.full(len(events), np.nan)
    bank.update(
        JoinedRows(
            slot=np.zeros(len(events), np.int32),
            predicted_class=predicted,
            predicted=nothing,
            score=np.ascontiguousarray(events.score),
            label_class=label,
            label=nothing,
            event_time_ms=np.ascontiguousarray(events.event_time_ms),
        )
    )
    return ScoreCalibration(
        score_of=_WORDS[output.score_of],
        positive=names[output.positive] if output.task == Task.BINARY else None,
        cuts=list(output.cuts),
        counts=bank.total(0).histogram.tolist(),
    )


def _numbers(codes: I64, names: list[str]) -> I32:
    """(n,) the class number of each code, -1 where it has none."""
    number = {class_code(name): k for k, name in enumerate(names)}
    used, place = np.unique(codes, return_inverse=True)
    found = np.array([number.get(code, -1) for code in used.tolist()], np.int32)
    return found[place.reshape(-1)]


_WORDS: Final[dict[ScoreOf, Literal["positive", "predicted", "rank"]]] = {
    ScoreOf.POSITIVE: "positive",
    ScoreOf.PREDICTED: "predicted",
    ScoreOf.RANK: "rank",
}
