"""What a model version predicts and what its score meant, of predictions: a part of a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from detectors.labels.identity import NONE, value_codes
from detectors.performance.declare import declared, output_of
from detectors.performance.labelled import LabelledPerformance
from detectors.performance.numbering import Numbering
from detectors.performance.outputs import Shape
from detectors.performance.rows import JoinedRows
from schemas.batch import I64, Decoded
from schemas.config import OutputConfig
from schemas.reference import ModelOutput

MAX_LABELLED_CLASSES: Final = 1_000
"""Classes that labels may name; the others are errors, and no class themselves."""


class KnownLabels(NamedTuple):
    """The labels of some predictions, row by row."""

    code: I64
    """(n,) as `detectors.labels.identity` has it, NONE where it is not known."""
    names: Mapping[int, str]
    """The class of each code."""


def output_with_labels(
    events: Decoded, classes: list[str], labels: KnownLabels, wish: OutputConfig, shape: Shape
) -> ModelOutput:
    """What a model predicts that knows these classes, by its predictions (n,) and their labels."""
    has_label = labels.code != NONE
    known = set(Numbering(classes).number)
    labelled = {int(code) for code in np.unique(labels.code[has_label])} - known
    names = [*classes, *sorted(labels.names[code] for code in labelled)[:MAX_LABELLED_CLASSES]]
    numbering = Numbering(names)
    codes = value_codes(events)
    output = declared(names, numbering.numbers(codes), events.score, shape, wish)
    if output.score_of == "none" or not (has_label & ~np.isnan(events.score)).any():
        return output
    predicted, label = Numbering(output.classes).pairs(codes, labels.code)
    bank = LabelledPerformance(shape, (), 1)
    bank.declare(0, output_of(output))
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
    return output.model_copy(update={"counts": bank.total(0).histogram.tolist()})
