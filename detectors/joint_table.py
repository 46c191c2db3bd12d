"""What models' features say together, as flat arrays for the kernel, and what it makes of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from detectors.drift.joint import MAX_FEATURES, Joint, Partial
from detectors.kernels.joint import (
    BLOCK_EVENTS,
    COMPONENT_AT,
    FEATURE_AT,
    MISSING_AT,
    N_COMPONENTS,
    N_FEATURES,
    N_MISSING,
    N_NUMBERS,
    N_PATTERNS,
    PAIR_AT,
    PATTERN_AT,
    SD,
    WIDTH,
    derive,
)
from detectors.kernels.observe import N_DERIVED_ROWS
from schemas.batch import F64, I32, I64, U8

N_DERIVED: Final = 3
"""Values of a row: its residual, the distance of the block that it ends, whether it is unusual in
what is missing."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One model's, and which of its parts are watched."""

    joint: Joint
    partial: Partial
    kinds: Sequence[int]
    """The expected kind of each feature of the model."""
    residual: bool
    mmd: bool
    missing: bool

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features, components, their numbers, pairs, events of a block, missing, patterns."""
        own = self.joint
        return (
            len(own.features),
            len(own.components),
            own.components.size,
            own.n_pairs,
            own.block_events,
            len(own.missing),
            len(own.patterns),
        )


N_SIZES: Final = 7


@dataclass(frozen=True, slots=True)
class JointTable:
    """All models', one after the other; the numbers of each are described beside the kernel."""

    watched: tuple[Watched, ...]
    of_slot: I32
    """(slots,) -1: none."""
    numbers: I64
    feature: I32
    scales: F64
    components: F64
    pair_means: F64
    unit: F64
    missing: I32
    expected: U8
    patterns: I64
    sums: F64
    count: I64

    def derive(
        self,
        rows: I32,
        block_slot: I32,
        block_row_ptr: I64,
        value_ptr: I64,
        column_ptr: I64,
        column: I32,
        value: F64,
        kind: U8,
        model_event: I64,
    ) -> F64:
        """(N_DERIVED_ROWS, n) what these rows' lanes of joint signals observe; the blocks go on.

        NaN in the rows of what is derived elsewhere.
        """
        out = np.full((N_DERIVED_ROWS, len(value_ptr)), np.nan)
        if not len(self.numbers):
            return out
        derive(
            rows,
            block_slot,
            block_row_ptr,
            self.of_slot,
            self.numbers,
            self.feature,
            self.scales,
            self.components,
            self.pair_means,
            self.unit,
            self.missing,
            self.expected,
            self.patterns,
            value_ptr,
            column_ptr,
            column,
            value,
            kind,
            model_event,
            self.sums,
            self.count,
            np.empty(MAX_FEATURES),
            out,
        )
        return out


def build_table(slots: Sequence[Watched | None], before: JointTable | None = None) -> JointTable:
    """The table of these slots. From here on their blocks go on in its arrays.

    A block that is not watched is forgotten. Of the same models the table `before` it is taken.
    """
    found = tuple(each for each in slots if each is not None)
    of_slot = np.full(len(slots), -1, np.int32)
    of_slot[[slot for slot, each in enumerate(slots) if each is not None]] = np.arange(len(found))
    # By identity: a monitor makes another one where anything of it has changed.
    if before is not None and list(map(id, found)) == list(map(id, before.watched)):
        return replace(before, of_slot=of_slot)
    sizes = np.array([each.sizes for each in found], np.int64).reshape(-1, N_SIZES)
    on = np.array([(each.residual, each.mmd, each.missing) for each in found], np.bool_)
    on = on.reshape(-1, N_DERIVED)
    first = np.cumsum(sizes, axis=0) - sizes
    numbers = np.zeros((len(found), N_NUMBERS), np.int64)
    numbers[:, FEATURE_AT], numbers[:, N_FEATURES] = first[:, 0], sizes[:, 0]
    numbers[:, COMPONENT_AT], numbers[:, N_COMPONENTS] = first[:, 2], sizes[:, 1] * on[:, 0]
    numbers[:, PAIR_AT], numbers[:, BLOCK_EVENTS] = first[:, 3], sizes[:, 4] * on[:, 1]
    numbers[:, MISSING_AT], numbers[:, N_MISSING] = first[:, 5], sizes[:, 5] * on[:, 2]
    numbers[:, PATTERN_AT], numbers[:, N_PATTERNS] = first[:, 6], sizes[:, 6]
    joints = [each.joint for each in found]
    expected = [each.kinds[f] for each in found for f in each.joint.missing.tolist()]
    no_numbers, no_features = np.zeros(0), np.zeros(0, np.int32)
    sums = np.concatenate([no_numbers, *(each.partial.sums for each in found)])
    count = np.concatenate([np.zeros(0, np.int64), *(each.partial.count for each in found)])
    count *= on[:, 1]
    sums *= np.repeat(on[:, 1], sizes[:, 3])
    for j, (each, at) in enumerate(zip(found, first[:, 3].tolist(), strict=True)):
        each.partial.sums = sums[at : at + len(each.partial.sums)]
        each.partial.count = count[j : j + 1]
    scales = np.concatenate([np.zeros((0, 4)), *(each.scales for each in joints)])
    scales[:, SD], scales[:, WIDTH] = 1.0 / scales[:, SD], 1.0 / scales[:, WIDTH]
    return JointTable(
        watched=found,
        of_slot=of_slot,
        numbers=numbers,
        feature=np.concatenate([no_features, *(each.features for each in joints)]),
        scales=scales,
        components=np.concatenate([no_numbers, *(each.components.ravel() for each in joints)]),
        pair_means=np.concatenate([no_numbers, *(each.pair_means for each in joints)]),
        unit=np.array([each.unit for each in joints], np.float64),
        missing=np.concatenate([no_features, *(each.missing for each in joints)]),
        expected=np.array(expected, np.uint8),
        patterns=np.concatenate([np.zeros(0, np.int64), *(each.patterns for each in joints)]),
        sums=sums,
        count=count,
    )
