"""Labels from bytes to pairs: through decoder, worker and checkpoint, in any form of events."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import DetectionConfig, LabelsConfig
from schemas.records import Record
from schemas.source_hash import SourceKey
from streams.checkpoint import Checkpoint, decode_checkpoint, encode_checkpoint, state_digest
from streams.lineage import Lineage
from streams.worker import Detection, OutputTopics, PartitionWorker
from tests.schemas.arrow_streams import stream_of
from tests.streams.events import TP, record

KEY = SourceKey(b"0123456789abcdef")
CONFIG = DetectionConfig(reference_events=20, labels=LabelsConfig(enabled=True, max_pending=400))
LINEAGE = Lineage(deployment="driftsentry", topic_id="t", partition=0, start_offset=0)
START_MS = 1_790_000_000_000
N_EVENTS = 1_000
Pair = tuple[int, float, float, int]


def events() -> list[dict[str, Any]]:
    """Predictions, each fifth event a label of an earlier or a later one of two versions."""
    rng = np.random.default_rng(5)
    made: list[dict[str, Any]] = []
    for i in range(N_EVENTS):
        common = {"model_id": "m", "ts": START_MS + i, "event_id": f"e{i}"}
        about = max(0, i + int(rng.integers(-300, 20)))
        if i % 5 == 4:
            label = {"label": int(rng.integers(2)), "label_source": "desk"}
            made.append({"type": "label", **common, "event_id": f"e{about}", **label})
            continue
        said = {"prediction": int(rng.integers(2)), "score": float(rng.random()), "source": "s"}
        version = {"model_version": str(1 + i % 2), "features": {"x": float(rng.normal())}}
        made.append({"type": "prediction", **common, **said, **version})
    return made


EVENTS = events()
JSON = [record(i, orjson.dumps(event)) for i, event in enumerate(EVENTS)]


def worker(key: SourceKey | None = KEY, checkpoint: Checkpoint | None = None) -> PartitionWorker:
    topics = OutputTopics("alerts", "dead", "journal")
    return PartitionWorker(TP, LINEAGE, Detection(CONFIG, key), 0, topics, checkpoint)


def fold_in(
    partition: PartitionWorker, records: Sequence[Record], cuts: Sequence[int]
) -> list[Pair]:
    """The labels that were joined: their offsets, what was said, what is true, the delay."""
    pairs: list[Pair] = []
    for start, stop in pairwise(sorted({0, *(c for c in cuts if c < len(records)), len(records)})):
        for _ in partition.steps(records[start:stop]):
            for joined in partition.fold.joined:
                columns = (joined.offset, joined.predicted, joined.label, joined.delay_ms)
                pairs += zip(*(column.tolist() for column in columns), strict=True)
    return pairs


def expected() -> list[Pair]:
    """The first label of each event whose prediction is among the 400 before it, or comes later."""
    kept: dict[str, tuple[float, int]] = {}
    waiting: dict[str, tuple[float, int, int]] = {}
    answered: set[str] = set()
    pairs: list[Pair] = []

    def join(name: str, offset: int, label: tuple[float, int]) -> None:
        said, ts = kept[name]
        pairs.append((offset, said, label[0], label[1] - ts))
        answered.add(name)

    for i, event in enumerate(EVENTS):
        name = event["event_id"]
        if event["type"] == "prediction":
            kept[name] = float(event["prediction"]), event["ts"]
            if len(kept) > 400:
                del kept[next(iter(kept))]
            if name in waiting:
                label, ts, offset = waiting.pop(name)
                join(name, offset, (label, ts))
        elif name not in kept:
            waiting.setdefault(name, (float(event["label"]), event["ts"], i))
        elif name not in answered:
            join(name, i, (float(event["label"]), event["ts"]))
    return pairs


@settings(deadline=None, max_examples=12)
@given(cuts=st.lists(st.integers(1, N_EVENTS - 1), max_size=12), at=st.integers(1, N_EVENTS - 1))
def test_pairs_are_those_of_the_log_however_it_is_read(cuts: list[int], at: int) -> None:
    whole, first = worker(), worker()
    pairs = fold_in(whole, JSON, [])
    assert pairs == expected()
    before = fold_in(first, JSON[:at], cuts)
    encoded = encode_checkpoint(first.checkpoint(), b"k" * 32)
    loaded = decode_checkpoint(encoded.manifest, encoded.segments, b"k" * 32)
    second = worker(checkpoint=loaded)
    assert before + fold_in(second, JSON[at:], []) == pairs
    assert state_digest(second.parts()) == state_digest(whole.parts())
    assert second.counts() == whole.counts()


def test_predictions_in_arrow_meet_labels_in_json() -> None:
    pairs = fold_in(worker(), JSON, [])
    records: list[Record] = []
    held: list[dict[str, Any]] = []
    for event in [*EVENTS, None]:
        if event is None or event["type"] == "label":
            for version in "12" if held else "":
                of_version = [e for e in held if e["model_version"] == version]
                records.append(record(len(records), stream_of(of_version)))
            held = []
        if event is not None and event["type"] == "label":
            records.append(record(len(records), orjson.dumps(event)))
        elif event is not None:
            held.append(event)
    in_arrow = worker()
    found = fold_in(in_arrow, records, [])
    assert in_arrow.counts()["n_joined_labels"] == len(pairs)
    # Predictions between two labels stand by their versions there, and so do pairs they complete.
    assert sorted(pair[1:] for pair in found) == sorted(pair[1:] for pair in pairs)


@pytest.mark.parametrize("other", [None, SourceKey(b"fedcba9876543210")])
def test_under_another_source_key_earlier_predictions_are_unknown(other: SourceKey | None) -> None:
    partition = worker()
    predictions = [r for r, e in zip(JSON, EVENTS, strict=True) if e["type"] == "prediction"]
    fold_in(partition, predictions[:100], [])
    after = PartitionWorker(
        *(TP, LINEAGE, Detection(CONFIG, other), 0),
        OutputTopics("alerts", "dead", "journal"),
        partition.checkpoint(),
    )
    label = {**EVENTS[4], "event_id": EVENTS[50]["event_id"]}
    assert fold_in(after, [record(2_000, orjson.dumps(label))], []) == []
    assert after.counts()["n_early_labels"] == 1
    assert len(fold_in(partition, [record(2_000, orjson.dumps(label))], [])) == 1
