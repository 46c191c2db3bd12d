from __future__ import annotations

import struct
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import source_hash
from schemas.source_hash import SourceKey

KEY = b"0123456789abcdef"


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)))
def test_words_are_the_keyed_hash_of_each_source(sources: list[str | None]) -> None:
    key = SourceKey(KEY)
    expected = []
    for source in sources:
        digest = blake2b((source or "").encode(), digest_size=16, key=KEY, person=b"drift.source")
        expected.append(struct.unpack("<QQ", digest.digest()) if source else (0, 0))
    for _ in range(2):  # unseen, then remembered
        words = key.words(sources)
        assert words.dtype == np.uint64
        assert words.shape == (len(sources), 2)
        assert [tuple(row) for row in words.tolist()] == expected


def test_another_key_gives_other_words_and_another_fingerprint() -> None:
    one, two = SourceKey(KEY), SourceKey(KEY + b"!")
    assert (one.words(["a"]) != two.words(["a"])).all()
    assert one.fingerprint != two.fingerprint
    assert SourceKey(KEY).fingerprint == one.fingerprint


def test_the_memory_is_bounded_and_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_hash, "_CACHE_SIZE", 10)
    key = SourceKey(KEY)
    for start in range(0, 100, 4):
        sources: list[str | None] = [None, "", *(f"s{i % 17}" for i in range(start, start + 6))]
        assert (key.words(sources) == SourceKey(KEY).words(sources)).all()
        assert len(key._digests) <= 10
    many: list[str | None] = [f"t{i}" for i in range(300)]
    assert (key.words(many)[:3] == SourceKey(KEY).words(many[:3])).all()
    assert len(key.words([None])) == 1


def test_the_key_shows_nowhere() -> None:
    secret = b"a very secret key of mine"
    key = SourceKey(secret)
    for text in (repr(key), str(key), key.fingerprint, f"{key!r}"):
        assert "secret" not in text
        assert secret.hex() not in text
    assert key.fingerprint in repr(key)
    assert not hasattr(key, "__dict__")


def test_a_short_key_is_refused_and_a_long_one_is_taken() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        SourceKey(b"short")
    assert SourceKey(b"k" * 65).fingerprint != SourceKey(b"k" * 64).fingerprint
