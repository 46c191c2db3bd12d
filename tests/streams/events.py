"""Events as bytes, for tests of what reads them."""

from __future__ import annotations

import numpy as np
import orjson

from schemas.records import Record, TopicPartition

TP = TopicPartition("events", 0)
START_MS = 1_790_000_000_000


def prediction(
    i: int, features: dict[str, object], *, model: str = "m", version: str = "1", **more: object
) -> bytes:
    """A prediction event as a producer would send it."""
    return orjson.dumps(
        {
            "type": "prediction",
            "event_id": f"e{i}",
            "model_id": model,
            "model_version": version,
            "ts": START_MS + i,
            "features": features,
            **more,
        }
    )


def label(i: int, value: object, *, model: str = "m", ts: int) -> bytes:
    """The label of the prediction with this number."""
    about = {"type": "label", "event_id": f"e{i}", "model_id": model}
    return orjson.dumps({**about, "ts": ts, "label": value})


def record(offset: int, value: bytes | None, *, key: str = "m", tp: TopicPartition = TP) -> Record:
    """A record of the events topic."""
    return Record(tp, offset, START_MS + offset, key.encode(), value)


def shifting_stream(
    n: int,
    *,
    seed: int,
    shift_at: int,
    shift: float = 2.0,
    n_models: int = 1,
    bad_every: int = 0,
    tp: TopicPartition = TP,
) -> list[Record]:
    """n records of models m0, m1, ... whose feature x shifts at row `shift_at`; some are bad."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(n):
        model = f"m{i % n_models}"
        level = shift if i >= shift_at else 0.0
        features: dict[str, object] = {
            "x": float(rng.normal()) + level,
            "y": float(rng.normal()) if rng.random() > 0.05 else None,
        }
        score = float(rng.random())
        value = prediction(i, features, model=model, score=score, prediction=int(score > 0.5))
        if bad_every and i % bad_every == bad_every - 1:
            value = [b"not json", b"", b'{"type": "prediction"}'][i // bad_every % 3]
        records.append(record(i, value, key=model, tp=tp))
    return records
