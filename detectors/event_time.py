"""The time of a partition: the latest event time so far, those from the future left out."""

from __future__ import annotations

import numpy as np

from schemas.batch import I64, Bool, Decoded


def from_the_future(events: Decoded, max_future_ms: int) -> Bool:
    """(n,) which events lie in the future of their records."""
    found: Bool = events.event_time_ms > events.record_time_ms + max_future_ms
    return found


def watermarks(events: Decoded, before_ms: int, max_future_ms: int) -> I64:
    """(n,) the latest event time up to and with each row, `before_ms` that before all of them."""
    on_time = np.where(from_the_future(events, max_future_ms), 0, events.event_time_ms)
    return np.maximum.accumulate(np.maximum(on_time, before_ms))
