"""What a store may hand back that is no checkpoint: refused with one error, and with no other."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import checkpoint as manifest_module
from streams import segments as segments_module
from streams.checkpoint import (
    CheckpointError,
    EncodedCheckpoint,
    decode_checkpoint,
    encode_checkpoint,
    referenced_segments,
)
from tests.streams.checkpoint_kit import KEY, SMALL, checkpoint_of


@pytest.mark.parametrize("key", [None, KEY])
def test_no_byte_of_a_manifest_can_change(key: bytes | None) -> None:
    encoded = encode_checkpoint(checkpoint_of(SMALL), key)
    for at in range(len(encoded.manifest)):
        for mask in (1, 32, 255):
            damaged = bytearray(encoded.manifest)
            damaged[at] ^= mask
            with pytest.raises(CheckpointError):
                decode_checkpoint(bytes(damaged), encoded.segments, key)
    for n in range(len(encoded.manifest)):
        with pytest.raises(CheckpointError):
            decode_checkpoint(encoded.manifest[:n], encoded.segments, key)
    with pytest.raises(CheckpointError):
        decode_checkpoint(encoded.manifest + b"\0", encoded.segments, key)


def test_no_byte_of_a_segment_can_change() -> None:
    encoded = encode_checkpoint(checkpoint_of(SMALL), None)
    for digest, segment in encoded.segments.items():
        damaged = [segment[:n] for n in range(len(segment))] + [segment + b"\0"]
        for at in range(len(segment)):
            flipped = bytearray(segment)
            flipped[at] ^= 128
            damaged.append(bytes(flipped))
        for content in damaged:
            with pytest.raises(CheckpointError, match="damaged"):
                decode_checkpoint(encoded.manifest, encoded.segments | {digest: content}, None)
        without = {d: s for d, s in encoded.segments.items() if d != digest}
        with pytest.raises(CheckpointError, match="missing"):
            decode_checkpoint(encoded.manifest, without, None)


@given(content=st.binary(max_size=200), key=st.none() | st.just(KEY))
@settings(deadline=None)
def test_arbitrary_bytes_are_no_manifest(content: bytes, key: bytes | None) -> None:
    with pytest.raises(CheckpointError):
        decode_checkpoint(content, {}, key)
    with pytest.raises(CheckpointError):
        referenced_segments(content, key)


def test_signatures_are_required_where_a_key_is_configured() -> None:
    signed = encode_checkpoint(checkpoint_of(SMALL), KEY)
    unsigned = encode_checkpoint(checkpoint_of(SMALL), None)
    for manifest, key, words in (
        (unsigned.manifest, KEY, "not signed"),
        (signed.manifest, b"another key", "configured one is"),
        (signed.manifest, None, "no key is configured"),
    ):
        with pytest.raises(CheckpointError, match=words):
            decode_checkpoint(manifest, signed.segments, key)
        with pytest.raises(CheckpointError, match=words):
            referenced_segments(manifest, key)
    with pytest.raises(CheckpointError, match="empty"):
        encode_checkpoint(checkpoint_of(SMALL), b"")


def test_a_forger_without_the_key_is_refused() -> None:
    # The right key id and a right checksum, which anybody can make; only the HMAC is guessed.
    signed = encode_checkpoint(checkpoint_of(SMALL), KEY)
    forged = manifest_module._seal(body_of(signed, b'"next_offset":41', b'"next_offset":99'), KEY)
    guessed = forged[:-32] + signed.manifest[-32:]
    with pytest.raises(CheckpointError, match="signature is wrong"):
        decode_checkpoint(guessed, signed.segments, KEY)


def body_of(encoded: EncodedCheckpoint, old: bytes, new: bytes) -> bytes:
    body = orjson.dumps(orjson.loads(manifest_module._unseal(encoded.manifest, KEY)))
    assert old in body
    return body.replace(old, new)


@pytest.mark.parametrize("version", [0, 2, 65535])
def test_an_unknown_format_version_is_refused(version: int) -> None:
    encoded = encode_checkpoint(checkpoint_of(SMALL), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_module, "_VERSION", version)
        other = encode_checkpoint(checkpoint_of(SMALL), None)
    with pytest.raises(CheckpointError, match=f"unknown format version {version}"):
        decode_checkpoint(other.manifest, encoded.segments, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments_module, "_VERSION", version)
        other = encode_checkpoint(checkpoint_of(SMALL), None)
    with pytest.raises(CheckpointError, match=f"unknown format version {version}"):
        decode_checkpoint(other.manifest, other.segments, None)


odd_values = st.sampled_from(
    [0, 1, -1, 7, 2**31, 2**40, 2**62, 2**63, 2**64 - 1, 1.5, None, True, "", "x", "f8", "O8",
     "0" * 32, [], {}, [1], [[1]], [2**62, 2**62], [0, 2**62], {"a": 1}]
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_a_well_sealed_manifest_full_of_nonsense_is_refused_and_nothing_else(
    data: st.DataObject,
) -> None:
    encoded = encode_checkpoint(checkpoint_of(SMALL), None)
    body = orjson.loads(manifest_module._unseal(encoded.manifest, None))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([p for p in places(body) if p]))
        holder = body
        for step in path[:-1]:
            holder = holder[step]
        if data.draw(st.booleans()):
            holder[path[-1]] = copy.deepcopy(data.draw(odd_values))
        else:
            del holder[path[-1]]
    manifest = manifest_module._seal(orjson.dumps(body), None)
    try:
        read = decode_checkpoint(manifest, encoded.segments, None)
    except CheckpointError:
        return
    # What is accepted is at least a checkpoint that can be written again.
    encode_checkpoint(read, None)


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_a_rightly_named_segment_full_of_nonsense_is_refused_and_nothing_else(
    data: st.DataObject,
) -> None:
    parts = {"a": {"x": np.arange(3.0), "y": np.array([True, False]), "z": np.arange(2)}}
    encoded = encode_checkpoint(checkpoint_of(parts), None)
    (old, segment), = encoded.segments.items()  # fmt: skip
    mutable = bytearray(segment)
    for _ in range(data.draw(st.integers(1, 4))):
        mutable[data.draw(st.integers(0, len(mutable) - 1))] = data.draw(st.integers(0, 255))
    forged = bytes(mutable[: data.draw(st.integers(0, len(mutable)))])
    forged += data.draw(st.binary(max_size=20))
    new = segments_module.segment_digest(forged)
    body = manifest_module._unseal(encoded.manifest, None).replace(old.encode(), new.encode())
    manifest = manifest_module._seal(body, None)
    try:
        read = decode_checkpoint(manifest, {new: forged}, None)
    except CheckpointError:
        return
    assert {name: a.dtype for name, a in read.parts["a"].items()} == {
        name: a.dtype for name, a in parts["a"].items()
    }


def test_the_cap_is_looked_at_before_anything_is_allocated() -> None:
    # A thousand tebibytes announced over a segment of a few bytes.
    encoded = encode_checkpoint(checkpoint_of({"a": {"x": np.zeros(4)}}), None)
    body = orjson.loads(manifest_module._unseal(encoded.manifest, None))
    body["parts"]["a"][0][2] = [2**47]
    forged = manifest_module._seal(orjson.dumps(body), None)
    with pytest.raises(CheckpointError, match="cap"):
        decode_checkpoint(forged, encoded.segments, None)
    with pytest.raises(CheckpointError, match="cap of 31"):
        decode_checkpoint(encoded.manifest, encoded.segments, None, max_bytes=31)
    assert decode_checkpoint(encoded.manifest, encoded.segments, None, max_bytes=32)


def test_one_small_segment_named_many_times_counts_many_times() -> None:
    encoded = encode_checkpoint(checkpoint_of({"a": {"x": np.zeros(1000)}}), None)
    body = orjson.loads(manifest_module._unseal(encoded.manifest, None))
    _, dtype, shape, digests, block = body["parts"]["a"][0]
    body["parts"]["a"] = [[str(n), dtype, shape, digests, block] for n in range(200_000)]
    forged = manifest_module._seal(orjson.dumps(body), None)
    with pytest.raises(CheckpointError, match="cap"):
        decode_checkpoint(forged, encoded.segments, None)


def test_a_deeply_nested_body_is_refused() -> None:
    forged = manifest_module._seal(b"[" * 100_000, None)
    with pytest.raises(CheckpointError, match="not JSON"):
        decode_checkpoint(forged, {}, None)


def test_a_truth_value_of_two_is_refused() -> None:
    encoded = encode_checkpoint(
        checkpoint_of({"a": {"x": np.array([1, 2], np.uint8).view(np.bool_)}}), None
    )
    with pytest.raises(CheckpointError, match="neither 0 nor 1"):
        decode_checkpoint(encoded.manifest, encoded.segments, None)
