"""What the signals of labels observe in one stretch, as the detector banks want it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.outcome_lanes import Series
from detectors.stretch import Stretch, ends_of_runs
from schemas.batch import I32, I64, Batch, Decoded


def outcome_batch(
    events: Decoded, stretch: Stretch, n_events: I64, series: Sequence[Series]
) -> Batch:
    """A block for each series; a row stands in it as often as it brought something.

    What a row is of is the label, or the prediction, at which something became known. `n_events`
    (slots,) counts the predictions of each model version before the stretch.
    """
    row = np.concatenate([each.row for each in series])
    slot = np.repeat(
        np.array([each.slot for each in series], np.int32), [len(each.row) for each in series]
    )
    n_rows = np.array([len(each.row) for each in series], np.int64)
    n_lanes = np.array([len(each.lanes) for each in series], np.int64)
    return Batch(
        tp=events.tp,
        offset=events.offset[row],
        event_row=events.row[row],
        event_time_ms=events.event_time_ms[row],
        model=slot,
        model_event=_model_events(stretch, n_events, slot, row),
        row_index=np.arange(len(row), dtype=np.int32),
        block_row_ptr=ends_of_runs(n_rows),
        block_lane_ptr=ends_of_runs(n_lanes),
        block_value_ptr=ends_of_runs(n_rows * n_lanes),
        lane=np.concatenate([np.array(each.lanes, np.int32) for each in series]),
        value=np.concatenate([each.z.ravel() for each in series]),
    )


def _model_events(stretch: Stretch, n_events: I64, slot: I32, row: I32) -> I64:
    """(k,) how many predictions of its model version came before each of these rows."""
    before = n_events[slot].copy()
    for b, own in enumerate(stretch.block_slot.tolist()):
        those = slot == own
        of_model = stretch.rows[stretch.block_ptr[b] : stretch.block_ptr[b + 1]] + stretch.start
        before[those] += np.searchsorted(of_model, row[those])
    return before
