"""A small checkpoint and how to compare two, for the tests of the format."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from detectors.base import BankState
from schemas.records import TopicPartition
from streams.checkpoint import Checkpoint, CheckpointError, encode_checkpoint, state_digest
from streams.checkpoint_sources import load
from streams.ports import CheckpointPlace
from streams.spares import WholeCheckpoint

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


def whole(tp: TopicPartition, next_offset: int, seed: int = 0, n: int = 60) -> WholeCheckpoint:
    """A signed checkpoint whose state depends on its offset and the seed."""
    state = np.random.default_rng([seed, next_offset]).normal(size=n)
    parts = {"adwin": {"mean": state}, "policy": {"open": np.array([next_offset])}}
    fields = {"config_from": 0, "n_alerts": 1, "n_dead": 0, "n_records": next_offset}
    checkpoint = checkpoint_of(parts, next_offset=next_offset, fields=fields)
    encoded = encode_checkpoint(checkpoint, KEY)
    return WholeCheckpoint(
        tp, checkpoint.lineage, next_offset, encoded.manifest, dict(encoded.segments)
    )


def usable(place: CheckpointPlace, tp: TopicPartition, seed: int = 0, n: int = 60) -> list[int]:
    """The offsets of what recovery would take, each of which must be what `whole` made."""
    found: list[int] = []
    for stored in place.manifests(tp):
        try:
            checkpoint = load(tp, stored, place, KEY)
        except CheckpointError:
            continue
        expected = whole(tp, checkpoint.next_offset, seed, n)
        assert (stored.manifest, stored.next_offset) == (expected.manifest, expected.next_offset)
        assert state_digest(checkpoint.parts)
        found.append(checkpoint.next_offset)
    return found
