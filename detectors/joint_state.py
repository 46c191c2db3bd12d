"""What monitors' features say together, as arrays of a checkpoint and of a reference document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.drift.joint import (
    LEAST_WIDTH,
    MAX_COMPONENTS,
    MAX_FEATURES,
    MAX_PATTERNS,
    Joint,
    Partial,
    empty_partial,
)
from detectors.kernels.joint import CENTRE, LIMIT, MAX_RAW, MEAN, SD, WIDTH

_NUMBERS: Final = 5
"""Features, components, features that may be missing, patterns, events of a block."""
MAX_BLOCK: Final = 50_000
"""As in the config."""
_MAX_COMPONENT: Final = 1e3
_LEAST_SD: Final = 1e-150
"""No reference has a lesser one, nor one that is larger than the largest number."""
_MAX_VALUE: Final = 2.0 * LIMIT / LEAST_WIDTH
"""No standardised value lies further out."""

Found = tuple[Joint, Partial]


def snapshot_joints(found: Sequence[Found]) -> dict[str, NDArray[Any]]:
    """All of them, one after the other; of blocks only those that have begun.

    Arrays `joint_` are frozen and part of a reference, `partial_` are not.
    """
    joints = [joint for joint, _ in found]
    begun = [(at, own) for at, (_, own) in enumerate(found) if own.count[0] > 0]
    numbers = [
        (len(j.features), len(j.components), len(j.missing), len(j.patterns), j.block_events)
        for j in joints
    ]
    no_numbers, no_features = np.zeros(0), np.zeros(0, np.int32)
    return {
        "joint_numbers": np.array(numbers, np.int64).reshape(-1, _NUMBERS),
        "joint_units": np.array([j.unit for j in joints], np.float64),
        "joint_features": np.concatenate([no_features, *(j.features for j in joints)]),
        "joint_scales": np.concatenate([np.zeros((0, 4)), *(j.scales for j in joints)]),
        "joint_components": np.concatenate([no_numbers, *(j.components.ravel() for j in joints)]),
        "joint_pair_means": np.concatenate([no_numbers, *(j.pair_means for j in joints)]),
        "joint_missing": np.concatenate([no_features, *(j.missing for j in joints)]),
        "joint_patterns": np.concatenate([np.zeros(0, np.int64), *(j.patterns for j in joints)]),
        "partial_counts": np.array(
            [(at, int(own.count[0])) for at, own in begun], np.int64
        ).reshape(-1, 2),
        "partial_sums": np.concatenate([no_numbers, *(own.sums for _, own in begun)]),
    }


class JointReader:
    """Cuts them apart again. Raises `StateError` where they cannot be any."""

    def __init__(self, state: BankState) -> None:
        numbers = require_array(state, "joint_numbers", np.int64, (None, _NUMBERS))
        most = (MAX_FEATURES, MAX_COMPONENTS, MAX_FEATURES, MAX_PATTERNS, MAX_BLOCK)
        if not ((numbers >= 0) & (numbers <= most)).all():
            raise StateError("a joint reference is larger than any")
        self._numbers: list[list[int]] = numbers.tolist()
        self._units = require_array(state, "joint_units", np.float64, (len(numbers),))
        n_features, _, n_missing, n_patterns, _ = numbers.sum(axis=0).tolist()
        lengths = {
            "features": n_features,
            "scales": n_features,
            "components": int((numbers[:, 0] * numbers[:, 1]).sum()),
            "pair_means": int((numbers[:, 0] * (numbers[:, 0] - 1) // 2).sum()),
            "missing": n_missing,
            "patterns": n_patterns,
        }
        dtypes = {"features": np.int32, "missing": np.int32, "patterns": np.int64}
        self._arrays: dict[str, NDArray[Any]] = {}
        for name, length in lengths.items():
            tail = (4,) if name == "scales" else ()
            dtype = dtypes.get(name, np.float64)
            array = require_array(state, f"joint_{name}", dtype, (length, *tail))
            if not np.isfinite(array).all():
                raise StateError(f"array 'joint_{name}' has a value that is not finite")
            self._arrays[name] = array
        self._at = dict.fromkeys(lengths, 0)
        self._next = 0
        counts = require_array(state, "partial_counts", np.int64, (None, 2))
        self._counts = dict(counts.tolist())
        if len(self._counts) < len(counts) or list(self._counts) != sorted(self._counts):
            raise StateError("a block is under way twice, or out of order")
        self._sums = require_array(state, "partial_sums", np.float64, (None,))
        self._at_sum = 0

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self._numbers)

    def _cut(self, name: str, length: int) -> NDArray[Any]:
        start = self._at[name]
        self._at[name] = start + length
        return self._arrays[name][start : start + length].copy()

    def read(self, n_features: int) -> Found:
        """The next one, of a model with so many features."""
        if self._next == len(self._numbers):
            raise StateError("there are fewer joint references than models have")
        p, m, n_missing, n_patterns, block = self._numbers[self._next]
        joint = Joint(
            features=self._cut("features", p),
            scales=self._cut("scales", p),
            components=self._cut("components", m * p).reshape(m, p),
            pair_means=self._cut("pair_means", p * (p - 1) // 2),
            unit=float(self._units[self._next]),
            block_events=block,
            missing=self._cut("missing", n_missing),
            patterns=self._cut("patterns", n_patterns),
        )
        _check(joint, n_features)
        partial = self._partial(joint)
        self._next += 1
        return joint, partial

    def _partial(self, joint: Joint) -> Partial:
        partial = empty_partial(joint)
        count = self._counts.get(self._next)
        if count is None:
            return partial
        own = self._sums[self._at_sum : self._at_sum + joint.n_pairs]
        self._at_sum += len(own)
        if not 0 < count <= joint.block_events or len(own) < joint.n_pairs:
            raise StateError("a block is under way that cannot be")
        if not (np.abs(own) <= count * _MAX_VALUE * _MAX_VALUE).all():
            raise StateError("the sums of a block are out of range")
        partial.sums[:] = own
        partial.count[0] = count
        return partial

    def finish(self) -> None:
        """Raise where there are more than models have."""
        is_too_many = self._next < len(self._numbers) or self._at_sum < len(self._sums)
        if is_too_many or any(not 0 <= at < self._next for at in self._counts):
            raise StateError("there are more joint references or blocks than models have")


def _check(joint: Joint, n_features: int) -> None:
    for own, least in ((joint.features, 2), (joint.missing, 2)):
        is_there = len(own) == 0 or len(own) >= least
        # In whatever order: an heir may number its features otherwise.
        is_one = len(np.unique(own)) == len(own)
        if not (is_there and is_one and ((own >= 0) & (own < n_features)).all()):
            raise StateError("a joint reference has features that do not exist, or too few")
    scales = joint.scales
    fits = (
        ((scales[:, SD] >= _LEAST_SD) & (scales[:, SD] <= MAX_RAW)).all()
        and (np.abs(scales[:, MEAN]) <= MAX_RAW).all()
        and (np.abs(scales[:, CENTRE]) <= LIMIT).all()
        and ((scales[:, WIDTH] > LEAST_WIDTH) & (scales[:, WIDTH] <= 2.0 * LIMIT)).all()
        and (np.abs(joint.components) <= _MAX_COMPONENT).all()
        and (np.abs(joint.pair_means) <= 2.0).all()
        and 0.0 < joint.unit < np.inf
    )
    if not fits or (joint.patterns[1:] <= joint.patterns[:-1]).any():
        raise StateError("a joint reference is out of range")
    if (joint.block_events > 0 and not len(joint.features)) or (
        len(joint.patterns) > 0 and not len(joint.missing)
    ):
        raise StateError("a joint reference is of no features")
    if len(joint.components) and not len(joint.features):
        raise StateError("a joint reference has components of no features")
