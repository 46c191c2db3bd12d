"""What models' features say together, as flat arrays for the kernel, and what it makes of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.drift.joint import MAX_FEATURES, Joint, Partial
from detectors.kernels.joint import N_NUMBERS, derive
from schemas.batch import F64, I32, I64, U8

N_DERIVED: Final = 3
"""Values of a row: its residual, the distance of the block that it ends, whether it is unusual in
what is missing."""


_POWERS: Final = np.array([1.0, -1.0, 1.0, -1.0])
"""The kernel multiplies by one over sd and width."""


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


@dataclass(frozen=True, slots=True)
class JointTable:
    """All models', one after the other; the numbers of each are described beside the kernel."""

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
        """(3, n) what these rows' lanes of derived signals observe; the blocks go on."""
        out = np.full((N_DERIVED, len(value_ptr)), np.nan)
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


def build_table(slots: Sequence[Watched | None]) -> JointTable:
    """The table of these slots. From here on their blocks go on in its arrays.

    A block that is not watched is forgotten.
    """
    of_slot = np.full(len(slots), -1, np.int32)
    found: list[Watched] = []
    for slot, watched in enumerate(slots):
        if watched is not None:
            of_slot[slot] = len(found)
            found.append(watched)
    numbers = np.zeros((len(found), N_NUMBERS), np.int64)
    sums = np.zeros(sum(each.joint.n_pairs for each in found))
    count = np.zeros(len(found), np.int64)
    feature_at = component_at = pair_at = missing_at = pattern_at = 0
    for j, each in enumerate(found):
        own, partial = each.joint, each.partial
        p, n_missing = len(own.features), len(own.missing)
        numbers[j] = (
            feature_at,
            p,
            component_at,
            len(own.components) if each.residual else 0,
            pair_at,
            own.block_events if each.mmd else 0,
            missing_at,
            n_missing if each.missing else 0,
            pattern_at,
            len(own.patterns),
        )
        room = sums[pair_at : pair_at + own.n_pairs]
        if each.mmd:
            room[:] = partial.sums
            count[j] = partial.count[0]
        partial.sums, partial.count = room, count[j : j + 1]
        feature_at += p
        component_at += own.components.size
        pair_at += own.n_pairs
        missing_at += n_missing
        pattern_at += len(own.patterns)
    joints = [each.joint for each in found]
    expected = [each.kinds[f] for each in found for f in each.joint.missing.tolist()]
    no_numbers, no_features = np.zeros(0), np.zeros(0, np.int32)
    return JointTable(
        of_slot=of_slot,
        numbers=numbers,
        feature=np.concatenate([no_features, *(each.features for each in joints)]),
        scales=np.concatenate([np.zeros((0, 4)), *(each.scales for each in joints)]) ** _POWERS,
        components=np.concatenate([no_numbers, *(each.components.ravel() for each in joints)]),
        pair_means=np.concatenate([no_numbers, *(each.pair_means for each in joints)]),
        unit=np.array([each.unit for each in joints], np.float64),
        missing=np.concatenate([no_features, *(each.missing for each in joints)]),
        expected=np.array(expected, np.uint8),
        patterns=np.concatenate([np.zeros(0, np.int64), *(each.patterns for each in joints)]),
        sums=sums,
        count=count,
    )
