"""Which groups the rows of a stretch are in, written beside their predictions."""

from __future__ import annotations

import numpy as np

from detectors.catalog import Catalog
from detectors.kernels.slices import mark_groups
from detectors.slices import TAG_AT, named_groups, tag_of
from detectors.stretch import Stretch
from schemas.batch import I32, I64, Decoded, ValueKind


def mark(
    catalog: Catalog,
    events: Decoded,
    stretch: Stretch,
    column_ptr: I64,
    column: I32,
    words: I64,
) -> None:
    """Write into `words` (n,) the groups of the rows of a stretch whose models have slices.

    `column_ptr` and `column` are as `detectors.stretch.Columns` has them; n rows from the
    beginning of the stretch.
    """
    wanted = [
        (b, catalog.monitor(slot))
        for b, slot in enumerate(stretch.block_slot.tolist())
        if catalog.monitor(slot).slices
    ]
    if not wanted:
        return
    code = {name: number for number, name in enumerate(events.categories)}
    for b, monitor in wanted:
        rows = stretch.rows[stretch.block_ptr[b] : stretch.block_ptr[b + 1]]
        table = np.zeros((len(monitor.slices), len(events.categories) + 1), np.uint8)
        flags = np.zeros((len(monitor.slices), 2), np.uint8)
        for j, feature in enumerate(monitor.slices):
            for group, name in named_groups(monitor.categories[feature]):
                if monitor.kinds[feature] == ValueKind.BOOLEAN:
                    flags[j, int(name == "true")] = group
                elif name in code:
                    table[j, code[name]] = group
        mark_groups(
            rows,
            np.array(monitor.slices, np.int32),
            table,
            flags,
            events.value_ptr[stretch.start : stretch.stop],
            column_ptr,
            column,
            events.value,
            events.kind,
            tag_of(monitor) << TAG_AT,
            words,
        )
