"""What is told of an event beside its features: late, from the future, sent twice; the latency.

What a poll's rows say of it is two columns, of which those of a reference keep a copy: the latency,
and a byte of flags.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.kernels.observe import (
    FIRST_DERIVED,
    N_DERIVED_ROWS,
    RULE_Z,
    SOURCE_DUPLICATE,
    SOURCE_FUTURE,
    SOURCE_LATE,
    SOURCE_LATENCY,
    learn_column,
)
from detectors.learning import MIN_ROWS, Rows
from detectors.signals import Signal, number_scale, share_scale
from schemas.batch import F64, U8, Bool

FLAG_LATE: Final = 1
FLAG_FUTURE: Final = 2
FLAG_DUPLICATE: Final = 4
FLAG_HAS_ID: Final = 8
"""Whether anybody asked for its id: without one it is not known whether it is a duplicate."""
_FLAG_OF: Final = {
    SOURCE_LATE: FLAG_LATE,
    SOURCE_FUTURE: FLAG_FUTURE,
    SOURCE_DUPLICATE: FLAG_DUPLICATE,
}


def flags_of(late: Bool, future: Bool, duplicate: Bool, has_id: Bool) -> U8:
    """(n,) what these say of each row, as bits."""
    flags = late * np.uint8(FLAG_LATE)
    flags |= future * np.uint8(FLAG_FUTURE)
    flags |= duplicate * np.uint8(FLAG_DUPLICATE)
    flags |= has_id * np.uint8(FLAG_HAS_ID)
    return flags


def fill_events(derived: F64, latency_ms: F64, flags: U8) -> None:
    """Write what the lanes of these rows' events observe into `derived` (N_DERIVED_ROWS, n)."""
    derived[SOURCE_LATENCY - FIRST_DERIVED] = latency_ms
    for source, flag in _FLAG_OF.items():
        derived[source - FIRST_DERIVED] = (flags & flag) != 0
    derived[SOURCE_DUPLICATE - FIRST_DERIVED, (flags & FLAG_HAS_ID) == 0] = np.nan


def derived_of(rows: Rows) -> F64:
    """(N_DERIVED_ROWS, rows) the same of a reference; what it says of other signals is NaN."""
    derived = np.full((N_DERIVED_ROWS, rows.n), np.nan)
    fill_events(derived, rows.column("latency_ms"), rows.column("flags"))
    return derived


def freeze_events(derived: F64) -> list[Signal]:
    """The signals of the events of a reference; none of what too few of them say anything of."""
    signals: list[Signal] = []
    x = np.ascontiguousarray(derived[SOURCE_LATENCY - FIRST_DERIVED])
    n, mean, m2 = np.zeros(1, np.int64), np.zeros(1), np.zeros(1)
    learn_column(np.arange(len(x), dtype=np.int32), x, n, mean, m2)
    scale = number_scale(int(n[0]), float(mean[0]), float(m2[0]))
    # One latency for all is a field that nobody fills.
    if n[0] >= MIN_ROWS and scale is not None and scale.rule == RULE_Z:
        signals.append(Signal(SOURCE_LATENCY, 0, 0, scale))
    for source in _FLAG_OF:
        own = derived[source - FIRST_DERIVED]
        n_known = int(np.count_nonzero(~np.isnan(own)))
        if n_known >= MIN_ROWS:
            scale = share_scale(int(np.count_nonzero(own == 1.0)), n_known)
            signals.append(Signal(source, 0, 0, scale))
    return signals
