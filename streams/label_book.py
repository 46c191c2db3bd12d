"""The labels that a log or a file has, found by the predictions that they are about."""

from __future__ import annotations

import numpy as np

from detectors.labels.identity import NONE, class_names, value_codes
from detectors.performance.fit import KnownLabels
from schemas.batch import I64, U64, Decoded


class LabelBook:
    """All labels of one model; of several for one event the first in the log counts."""

    def __init__(self) -> None:
        self._ids: list[U64] = []
        self._codes: list[I64] = []
        self._names: dict[int, str] = {}

    def take(self, labels: Decoded) -> None:
        """Take in labels, in the order of the log, with the fingerprints of their events."""
        self._ids.append(labels.event_id)
        self._codes.append(value_codes(labels))
        self._names |= class_names(labels)

    def of(self, predictions: Decoded) -> KnownLabels:
        """The labels of these predictions."""
        none = np.full(len(predictions), NONE, np.int64)
        if not self._ids:
            return KnownLabels(none, {})
        ids, first = np.unique(np.concatenate(self._ids), return_index=True)
        codes = np.concatenate(self._codes)[first]
        place = np.minimum(np.searchsorted(ids, predictions.event_id), len(ids) - 1)
        is_there = ids[place] == predictions.event_id
        return KnownLabels(np.where(is_there, codes[place], none), self._names)
