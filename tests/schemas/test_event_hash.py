from __future__ import annotations

import struct
from hashlib import blake2b

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.decode import decode_records
from schemas.event_hash import EventKey
from schemas.limits import DecodeLimits
from schemas.source_hash import SourceKey
from tests.schemas.contract import KEY, TP, record, right_key
from tests.schemas.samples import LABEL, PREDICTION, decode
from tests.schemas.strategies import to_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(TEXTS))
def test_words_are_the_keyed_hash_of_each_id(event_ids: list[str]) -> None:
    for source_key in (None, KEY):
        key = b"" if source_key is None else source_key.derived(b"driftsentry event ids")
        expected = [
            struct.unpack(
                "<Q",
                blake2b(one.encode(), digest_size=8, key=key, person=b"drift.event").digest(),
            )[0]
            for one in event_ids
        ]
        words = EventKey(source_key).words(event_ids)
        assert words.dtype == np.uint64
        assert words.tolist() == expected


def test_fingerprints_hang_on_the_source_key() -> None:
    keys = [None, KEY, SourceKey(b"another key, of no use")]
    assert len({int(EventKey(key).words(["e"])[0]) for key in keys}) == 3
    assert int(EventKey(KEY).words(["e"])[0]) not in KEY.words(["e"]).tolist()[0]


def test_a_label_has_the_fingerprint_of_its_prediction() -> None:
    events = decode(PREDICTION, {**LABEL, "event_id": "f"}, LABEL, {**PREDICTION, "event_id": "f"})
    assert (events.events.event_id[[0, 1]] == events.events.event_id[[2, 3]]).all()
    assert events.events.event_id[0] != events.events.event_id[1]


def test_nobody_asks_and_nothing_is_hashed() -> None:
    values = [to_json(event).encode() for event in (PREDICTION, LABEL)]
    records = [record(i, value, right_key(value)) for i, value in enumerate(values)]
    events = decode_records(TP, records, DecodeLimits(), KEY, None).events
    assert events.event_id.tolist() == [0, 0]
