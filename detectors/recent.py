"""The ids of the latest predictions of a partition: what is sent twice is found by them."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.base import BankState, StateError, require_array
from detectors.kernels.recent import find_recent
from detectors.labels.identity import version_code
from schemas.batch import I32, Bool, Decoded

N_PLACES: Final = 32_768
"""Of the table, 4 bytes each. An event that came so many events ago is still known with a
probability of 0.37, one that came a tenth as many ago with 0.90. Another one is taken for it with
a probability of 2e-10."""


def recent_table(state: BankState) -> I32 | None:
    """The table of a snapshot; None where ids were not read. Raises `StateError`."""
    table = require_array(state, "recent_ids", np.int32, (None,))
    if len(table) not in (0, N_PLACES):
        raise StateError(f"the table of recent ids has {len(table)} places")
    return table.copy() if len(table) else None


class RecentIds:
    """The table of one partition. Fingerprints are keyed, so nobody can aim at a place of it."""

    def __init__(self, table: I32 | None = None) -> None:
        self.table: I32 = np.zeros(N_PLACES, np.int32) if table is None else table

    def duplicates(self, events: Decoded) -> tuple[Bool, Bool]:
        """(n,) which predictions have the id of a recent one of the same model version.

        And (n,) which have an id at all. Two versions may answer one request.
        """
        has_id = ~events.is_label & (events.event_id != 0)
        found = np.zeros(len(events), np.bool_)
        if has_id.any():
            of_model = np.array([version_code(key) for key in events.models], np.int64)
            key = events.event_id.view(np.int64) ^ of_model[events.model]
            find_recent(key, has_id, self.table, found)
        return found, has_id
