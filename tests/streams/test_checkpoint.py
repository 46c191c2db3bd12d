"""A checkpoint comes back as it was, and one that would not is never written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams import checkpoint as manifest_module
from streams import segments as segments_module
from streams.checkpoint import (
    Checkpoint,
    CheckpointError,
    decode_checkpoint,
    encode_checkpoint,
    platform_tag,
    referenced_segments,
    state_digest,
)
from tests.streams.checkpoint_kit import KEY, SMALL, checkpoint_of, same_bytes

DTYPES = ("?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8")

names = st.text(max_size=8)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays_of.arrays(
        np.dtype(dtype), arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)
    )
)
states = st.dictionaries(names, st.dictionaries(names, arrays, max_size=5), max_size=4)
json_atoms = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
json_values = st.recursive(
    json_atoms,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@contextmanager
def pieces_of(large_bytes: int, piece_bytes: int) -> Iterator[None]:
    """Cut arrays into small pieces, so that small arrays show what large ones do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments_module, "LARGE_BYTES", large_bytes)
        patch.setattr(segments_module, "PIECE_BYTES", piece_bytes)
        yield


@given(
    parts=states,
    fields=st.dictionaries(st.text(max_size=5), json_values, max_size=4),
    versions=st.dictionaries(names, st.integers(0, 2**31), max_size=4),
    key=st.none() | st.binary(min_size=1, max_size=40),
    texts=st.tuples(st.text(min_size=1), st.text(), st.text(), st.text()),
    next_offset=st.integers(0, 2**63 - 1),
    large_bytes=st.sampled_from([8, 24, 65536]),
)
@settings(max_examples=150, deadline=None)
def test_a_checkpoint_comes_back_as_it_was(
    parts: dict[str, dict[str, NDArray[Any]]],
    fields: dict[str, Any],
    versions: dict[str, int],
    key: bytes | None,
    texts: tuple[str, str, str, str],
    next_offset: int,
    large_bytes: int,
) -> None:
    lineage, parent, topic_id, identity = texts
    before = Checkpoint(
        lineage, parent, topic_id, next_offset, identity, 5, versions, fields, parts
    )
    with pieces_of(large_bytes, 2 * large_bytes):
        encoded = encode_checkpoint(before, key)
        assert encoded.digest == state_digest(parts)
    after = decode_checkpoint(encoded.manifest, encoded.segments, key)
    assert same_bytes(after.parts, parts)
    assert dataclasses.replace(after, parts={}) == dataclasses.replace(before, parts={})
    assert list(encoded.referenced) == list(encoded.segments)
    assert set(referenced_segments(encoded.manifest, key)) == set(encoded.referenced)
    for state in after.parts.values():
        assert all(a.flags.writeable and a.flags.c_contiguous for a in state.values())


@given(parts=states, data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_same_arrays_in_another_order_are_the_same_bytes(
    parts: dict[str, dict[str, NDArray[Any]]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(sorted(parts)))
    turned = {
        part: {
            name: np.asfortranarray(parts[part][name])
            for name in data.draw(st.permutations(sorted(parts[part])))
        }
        for part in order
    }
    turned = {
        part: {name: a.reshape(parts[part][name].shape) for name, a in state.items()}
        for part, state in turned.items()
    }
    assert state_digest(turned) == state_digest(parts)
    one = encode_checkpoint(checkpoint_of(parts), KEY)
    other = encode_checkpoint(checkpoint_of(turned), KEY)
    assert one.manifest == other.manifest
    assert one.segments == other.segments


@given(parts=states.filter(lambda p: any(a.size for s in p.values() for a in s.values())),
       data=st.data())  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_other_byte_of_state_is_another_digest(
    parts: dict[str, dict[str, NDArray[Any]]], data: st.DataObject
) -> None:
    filled = [(p, n) for p, s in sorted(parts.items()) for n, a in sorted(s.items()) if a.size]
    part, name = data.draw(st.sampled_from(filled))
    other = {p: dict(s) for p, s in parts.items()}
    raw = bytearray(other[part][name].tobytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1
    array = np.frombuffer(bytes(raw), other[part][name].dtype).reshape(other[part][name].shape)
    other[part][name] = array
    assert state_digest(other) != state_digest(parts)


def test_name_shape_dtype_and_part_are_in_the_digest() -> None:
    digests = [
        state_digest(parts)
        for parts in (
            {"a": {"x": np.zeros(4)}},
            {"a": {"x": np.zeros((2, 2))}},
            {"a": {"x": np.zeros(4, np.int64)}},
            {"a": {"y": np.zeros(4)}},
            {"b": {"x": np.zeros(4)}},
            {"a": {"x": np.zeros(4)}, "b": {}},
            {"a": {"x": -np.zeros(4)}},
        )
    ]
    assert len(set(digests)) == len(digests)


def test_the_digest_knows_nothing_but_the_state() -> None:
    one = encode_checkpoint(checkpoint_of(SMALL), None)
    other = encode_checkpoint(
        checkpoint_of(SMALL, lineage="z", next_offset=9, fields={}, platform="big-s390x"), KEY
    )
    assert one.digest == other.digest == state_digest(SMALL)
    assert one.manifest != other.manifest


def test_only_the_pieces_that_changed_are_new() -> None:
    table = np.arange(1_000_000, dtype=np.int64)
    before = encode_checkpoint(checkpoint_of({"t": {"big": table, "n": np.array(3)}}), None)
    table[500_000] = -1
    after = encode_checkpoint(checkpoint_of({"t": {"big": table, "n": np.array(3)}}), None)
    assert len(before.segments) == 9
    assert len(set(after.segments) - set(before.segments)) == 1
    again = decode_checkpoint(after.manifest, before.segments | after.segments, None)
    assert np.array_equal(again.parts["t"]["big"], table)


def test_what_is_read_back_is_private() -> None:
    encoded = encode_checkpoint(checkpoint_of(SMALL), None)
    first = decode_checkpoint(encoded.manifest, encoded.segments, None)
    first.parts["adwin"]["mean"][:] = 9.0
    again = decode_checkpoint(encoded.manifest, encoded.segments, None)
    assert same_bytes(again.parts, SMALL)


def test_big_endian_arrays_are_stored_little_endian() -> None:
    parts = {"a": {"x": np.arange(5, dtype=">f8")}}
    native = {"a": {"x": np.arange(5, dtype=np.float64)}}
    encoded = encode_checkpoint(checkpoint_of(parts), None)
    assert encoded.digest == state_digest(native)
    assert same_bytes(decode_checkpoint(*encoded[:2], None).parts, native)


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.array(["text"]),
        np.array([b"text"]),
        np.array([1j]),
        np.array([1], "M8[ms]"),
        np.zeros(2, [("a", "f8")]),
        np.zeros(2, np.float16),
        np.zeros((1,) * 9),
    ],
    ids=lambda array: f"{array.dtype} of {array.ndim}",
)
def test_an_array_that_is_not_plain_numbers_is_not_written(array: NDArray[Any]) -> None:
    with pytest.raises(CheckpointError, match="'x'"):
        encode_checkpoint(checkpoint_of({"a": {"x": array}}), None)


@pytest.mark.parametrize(
    "fields",
    [
        {"x": math.nan},
        {"x": math.inf},
        {"x": (1, 2)},
        {"x": 2**64},
        {"x": {1: 2}},
        {"x": b"bytes"},
        {"x": "\ud800"},
        {"x": np.int64(3)},
        {"x": {"set"}},
    ],
    ids=repr,
)
def test_fields_that_json_would_change_are_not_written(fields: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        encode_checkpoint(checkpoint_of(SMALL, fields=fields), None)


@pytest.mark.parametrize(
    "changes",
    [{"lineage": ""}, {"next_offset": -1}, {"next_offset": 2**63}, {"versions": {"a": True}}],
    ids=str,
)
def test_what_could_not_be_read_back_is_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        encode_checkpoint(checkpoint_of(SMALL, **changes), None)


def test_too_much_state_or_too_many_fields_are_not_written() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_module, "MAX_MANIFEST_BYTES", 2000)
        encode_checkpoint(checkpoint_of(SMALL), None)
        with pytest.raises(CheckpointError, match="too much in its fields"):
            encode_checkpoint(checkpoint_of(SMALL, fields={"x": "y" * 2000}), None)
    huge = np.broadcast_to(np.zeros(1), (1 << 28,))
    with pytest.raises(CheckpointError, match="cap"):
        segments_module.check_size(
            {"a": [segments_module.ArrayEntry("x", "f8", huge.shape, (), 0)]}
        )


def test_the_platform_is_said() -> None:
    encoded = encode_checkpoint(Checkpoint("a", "", "t", 0, "c", 1, {}, {}, {}), None)
    assert decode_checkpoint(encoded.manifest, {}, None).platform == platform_tag()
    assert platform_tag().split("-")[0] in {"little", "big"}


GOLDEN_STATE = "995439b9858797fbdb4962b911dfb87f"
GOLDEN_SEGMENTS = {
    "75907b3ded17bcde1482f02de0c37d71": (
        "4453534701000000020000006638020000000000000069340200000000000000000000000000e03f00000000"
        "000000c00100000002000000"
    )
}
GOLDEN_MANIFEST = (
    "4452494654435054010001007abc162d2e42cb205b0100007b22636f6e6669675f6964656e74697479223a22"
    "633066666565222c226669656c6473223a7b226e5f6576656e7473223a34312c22736571223a7b22616c6572"
    "7473223a377d7d2c2267656e65726174696f6e223a332c226c696e65616765223a2261316232222c226e6578"
    "745f6f6666736574223a34312c22706172656e74223a22222c227061727473223a7b22616477696e223a5b5b"
    "226d65616e222c226638222c5b325d2c5b223735393037623364656431376263646531343832663032646530"
    "633337643731225d2c305d2c5b226e222c226934222c5b322c315d2c5b223735393037623364656431376263"
    "646531343832663032646530633337643731225d2c315d5d7d2c22706c6174666f726d223a226c6974746c65"
    "2d7838365f3634222c22746f7069635f6964223a22746f706963222c2276657273696f6e73223a7b22616477"
    "696e223a312c226d6f6d656e7473223a327d7d9aa1f4039144bc4d1b0b2fae02114b278808229366164f69b8"
    "3d26914813171e501a6e3e31f574bc28b897d1417dc1ab532186ba793594a981a03e9d61e1927a"
)


def test_format_version_1_stays_readable() -> None:
    """Written by the first release. A change here orphans every stored checkpoint: new version."""
    segments = {digest: bytes.fromhex(content) for digest, content in GOLDEN_SEGMENTS.items()}
    read = decode_checkpoint(bytes.fromhex(GOLDEN_MANIFEST), segments, KEY)
    parts = {"adwin": {"mean": np.array([0.5, -2.0]), "n": np.array([[1], [2]], np.int32)}}
    assert same_bytes(read.parts, parts)
    assert state_digest(parts) == GOLDEN_STATE
    assert dataclasses.replace(read, parts={}) == checkpoint_of({})
    assert encode_checkpoint(checkpoint_of(parts), KEY).manifest.hex() == GOLDEN_MANIFEST
