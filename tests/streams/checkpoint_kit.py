"""A small checkpoint and how to compare two, for the tests of the format."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from detectors.base import BankState
from streams.checkpoint import Checkpoint

KEY = b"0123456789abcdef0123456789abcdef"


def checkpoint_of(parts: Mapping[str, BankState], **changes: Any) -> Checkpoint:
    plain = Checkpoint(
        lineage="a1b2",
        parent="",
        topic_id="topic",
        next_offset=41,
        config_identity="c0ffee",
        generation=3,
        versions={"adwin": 1, "moments": 2},
        fields={"n_events": 41, "seq": {"alerts": 7}},
        parts=parts,
        platform="little-x86_64",
    )
    return dataclasses.replace(plain, **changes)


def same_bytes(left: Mapping[str, BankState], right: Mapping[str, BankState]) -> bool:
    return left.keys() == right.keys() and all(
        left[part].keys() == right[part].keys()
        and all(
            array.dtype == right[part][name].dtype
            and array.shape == right[part][name].shape
            and array.tobytes() == right[part][name].tobytes()
            for name, array in left[part].items()
        )
        for part in left
    )


SMALL = {
    "adwin": {"mean": np.linspace(0, 1, 7), "n": np.arange(6).reshape(2, 3)},
    "policy": {"open": np.array([True, False]), "none": np.zeros((0, 4), np.int32)},
}
