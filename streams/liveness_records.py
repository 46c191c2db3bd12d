"""What the liveness topic holds: what the rules say, with an identity, as a sentence, as bytes."""

from __future__ import annotations

from typing import Final

import orjson

from detectors.learning import WEEK_MS
from schemas.liveness import LivenessData, Trouble
from schemas.records import TopicPartition
from streams.cloudevents import clock_headers
from streams.identity import liveness_id
from streams.liveness import Said
from streams.ports import Output
from streams.sentences import model_name

_TYPES: Final = {
    "silence": "io.driftsentry.liveness.silent.v1",
    "low_volume": "io.driftsentry.liveness.low-volume.v1",
    "high_volume": "io.driftsentry.liveness.high-volume.v1",
    "recovered": "io.driftsentry.liveness.recovered.v1",
}
_UNITS: Final = (
    ("week", WEEK_MS),
    ("day", 86_400_000),
    ("hour", 3_600_000),
    ("minute", 60_000),
    ("second", 1_000),
)


def liveness_data(said: Said, deployment: str, tp: TopicPartition, window_ms: int) -> LivenessData:
    """One thing that was said of a model of this partition; `window_ms` is the base window."""
    key = said.key
    kind = "recovered" if said.is_over else said.kind
    start_ms = said.window * window_ms
    return LivenessData(
        liveness_id=liveness_id(deployment, *key, start_ms, kind),
        kind=kind,
        recovered_from=said.kind if said.is_over else None,
        severity="low" if said.is_over else "high" if kind == "silence" else "medium",
        deployment=deployment,
        model_id=key.model_id,
        model_version=key.model_version,
        shard=None if key.shard < 0 else key.shard,
        topic=tp.topic,
        partition=tp.partition,
        window_start_ms=start_ms,
        window_ms=said.n_windows * window_ms,
        since_ms=said.since * window_ms,
        until_ms=said.until * window_ms,
        n_events=said.n_events,
        n_expected=round(said.n_expected, 1),
        message=_sentence(said, tp, window_ms),
    )


def liveness_output(topic: str, data: LivenessData, now_ms: int) -> Output:
    """The record on the liveness topic, keyed by its model, with the worker's time."""
    return Output(
        topic=topic,
        partition=-1,
        key=data.model_id.encode(),
        value=orjson.dumps(data.model_dump()),
        headers=clock_headers(
            event_id=data.liveness_id,
            event_type=_TYPES[data.kind],
            deployment=data.deployment,
            subject=f"{data.model_id}/{data.model_version}",
            model_id=data.model_id,
            severity=data.severity,
            partition=data.partition,
            time_ms=now_ms,
        ),
        timestamp_ms=now_ms,
    )


def _sentence(said: Said, tp: TopicPartition, window_ms: int) -> str:
    model = model_name(*said.key)
    length_ms = (said.until - said.since) * window_ms
    lasted = duration(length_ms)
    expected = f"about {_round_number(said.n_expected)}"
    if said.is_over:
        return f"{model}: {_over(said.kind, lasted, said.n_events, expected)}"
    if said.kind == "silence":
        return (
            f"{model}: no prediction for {lasted}, where {expected} were to be expected. Look at "
            f"the service that sends them, at the errors of its producer, and at topic {tp.topic}, "
            f"partition {tp.partition}."
        )
    where = (
        "Look at the services that send them: has one of several stopped, does its producer "
        "report errors, or was traffic moved away?"
        if said.kind == "low_volume"
        else "Look at the services that send them: is something sent again and again, or was "
        "traffic moved here?"
    )
    return (
        f"{model}: {said.n_events:,} predictions in {lasted}, where {expected} were to be "
        f"expected. {where}"
    )


def _over(kind: Trouble, lasted: str, n_events: int, expected: str) -> str:
    if kind == "silence":
        return f"predictions come again, after {lasted} without one."
    much = "few" if kind == "low_volume" else "many"
    return (
        f"as many predictions come as is to be expected again, after {lasted} of too {much} "
        f"({n_events:,} where {expected} were to be expected)."
    )


def duration(length_ms: int) -> str:
    """A length of time in the largest unit that gives two of it or more: `34 minutes`."""
    for name, unit_ms in _UNITS:
        if length_ms >= 2 * unit_ms:
            return f"{round(length_ms / unit_ms)} {name}s"
    n = round(length_ms / 1_000)
    return f"{n} second" if n == 1 else f"{n} seconds"


def _round_number(x: float) -> str:
    """Three significant digits: it is an expectation."""
    return f"{float(f'{x:.3g}'):,.0f}"
