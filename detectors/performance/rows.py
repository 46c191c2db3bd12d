"""The columns that the performance banks are given: predictions with their labels, and without."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import F64, I32, I64


@dataclass(frozen=True, slots=True)
class JoinedRows:
    """Predictions that a label has come for, (n,) each; the rows of one slot in the order joined.

    How the slots' rows lie between each other says nothing. Raises ValueError at another dtype or
    length.
    """

    slot: I32
    """The slot of the model version that predicted."""
    predicted_class: I32
    """Its number, -1: none."""
    predicted: F64
    """The predicted value, NaN: none."""
    score: F64
    """What it means the slot's `Output` says; NaN: none."""
    label_class: I32
    """The number of the true class, numbered as those predicted; -1: none."""
    label: F64
    """The true value, NaN: none."""
    event_time_ms: I64
    """Of the prediction, epoch ms."""

    def __post_init__(self) -> None:
        require_columns(self)

    def __len__(self) -> int:
        return len(self.slot)


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Predictions as they are made, (n,) each, as in `JoinedRows`."""

    slot: I32
    predicted_class: I32
    score: F64
    event_time_ms: I64

    def __post_init__(self) -> None:
        require_columns(self)

    def __len__(self) -> int:
        return len(self.slot)


def require_columns(rows: JoinedRows | ScoredRows) -> None:
    """Raise ValueError where a column has another dtype, or is not contiguous and as long."""
    n = len(rows.slot)
    for field in fields(rows):
        column: NDArray[Any] = getattr(rows, field.name)
        wanted = _DTYPES[field.name]
        if column.dtype != wanted or column.shape != (n,) or not column.flags.c_contiguous:
            raise ValueError(
                f"`{field.name}` is {column.dtype} of shape {column.shape}; "
                f"give a contiguous array of {wanted} of shape ({n},)"
            )


_DTYPES: dict[str, np.dtype[Any]] = {
    "slot": np.dtype(np.int32),
    "predicted_class": np.dtype(np.int32),
    "predicted": np.dtype(np.float64),
    "score": np.dtype(np.float64),
    "label_class": np.dtype(np.int32),
    "label": np.dtype(np.float64),
    "event_time_ms": np.dtype(np.int64),
}
