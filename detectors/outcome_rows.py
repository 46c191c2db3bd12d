"""What labels and predictions of one model version bring to its signals of labels, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from detectors.leakage import SampledLabels
from schemas.batch import F64, I32, I64, Bool


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """What labels tell of predictions of one model version, (k,) each, in the order joined."""

    row: I32
    """The row of the poll that made the pair complete."""
    is_wrong: Bool
    """Of classes: whether another one was predicted than the label says."""
    has_error: Bool
    """Whether there are both, classes or numbers."""
    residue: F64
    """Of numbers: predicted less true; NaN where one is missing."""
    label_class: I32
    """By number in the model's classes; -1: none of them."""
    is_positive: Bool
    """Of two classes: whether the positive one was predicted."""
    is_true: Bool
    """Of two classes: whether the label says the positive one."""
    delay_s: F64
    quantile: F64
    """See `randomised_quantile`; NaN where the score is no probability."""
    expected: I64
    """The expected error in parts of ONE; -1: unknown."""
    groups: I64
    sampled: SampledLabels
    """Those of them whose features are kept."""


class Outcome(NamedTuple):
    """When it was known of predictions of one model version whether labels come: (k,) each."""

    row: I32
    is_labelled: Bool


class Expected(NamedTuple):
    """What scores make one expect of predictions of one model version: (k,) each."""

    row: I32
    error: I64
    """In parts of ONE; -1: unknown."""
