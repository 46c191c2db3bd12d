"""Alerts and stories as a run of the demo gives them, without a run."""

from __future__ import annotations

from functools import cache

from schemas.alerts import AlertData, MovedSignal
from schemas.anomalies import AnomalyData
from schemas.source_hash import SourceKey
from streams.alert_book import AlertBook, SeenAlert
from streams.demo_alerts import event_numbers
from streams.demo_anomalies import AnomalyBook, SeenAnomaly, names_of
from streams.demo_models import demo_models
from streams.demo_story import Story
from streams.traffic import ModelTraffic
from tests.streams.anomaly_kit import Told, suspicion

MODELS = demo_models()
assert MODELS[-1].attack is not None
ATTACK = MODELS[-1].attack
KEY = SourceKey(b"the key of tests of the demo")


@cache
def positions() -> dict[tuple[int, int], tuple[str, int]]:
    """Each model in a partition of its own, events at their own numbers."""
    return {
        (partition, event): (model.model_id, event)
        for partition, model in enumerate(MODELS)
        for event in range(len(model))
    }


def alert_data(
    model: ModelTraffic,
    signal: str,
    event: int,
    *,
    after: float | None = 2.0,
    effect: float = 0.4,
    message: str | None = None,
) -> AlertData:
    """An alert on a signal of a model, triggered by one of its events."""
    return AlertData(
        alert_id=f"{model.model_id}-{signal}-{event}",
        revision=1,
        seq=1,
        kind="drift",
        status="opened",
        resolution=None,
        deployment="driftsentry",
        lineage="a3d1f0c2b4e5968778695a4b3c2d1e0f",
        model_id=model.model_id,
        model_version=model.model_version,
        shard=None,
        signal=signal,
        detectors=["page_hinkley"],
        severity="medium",
        effect=effect,
        before=1.0,
        after=after,
        unit="value",
        change_offset=max(event - 10, 0),
        trigger_offset=event,
        trigger_row=0,
        opened_offset=event,
        partition=MODELS.index(model),
        event_time_ms=1_795_405_378_000,
        signals=[
            MovedSignal(
                signal=signal,
                unit="value",
                direction="rose",
                effect=effect,
                before=1.0,
                after=after,
                standing="moved",
                detectors=["page_hinkley"],
                change_offset=max(event - 10, 0),
                found_offset=event,
            )
        ],
        n_signals=1,
        n_findings=1,
        budget_share=1.0,
        message=message or f"{model.model_id} 1: {signal} moved at {event}.",
    )


def record(said: AlertData) -> bytes:
    """The alert as it stands on the topic."""
    return said.model_dump_json().encode()


def anomaly_record(
    source: str, event: int, *, model: ModelTraffic | None = None, uid: int = 1
) -> bytes:
    """An anomaly that accuses a source of a model (the attacked one), told at one of its events."""
    model = model or MODELS[-1]
    (told,) = Told().until(20, suspicion(10))
    document = told.as_ocsf()
    pseudonym = KEY.digest(source).hex()
    document["finding_info"]["uid"] = f"{uid:032x}"
    document["metadata"]["uid"] = f"{uid:032x}.1"
    document["resources"][0]["name"] = model.model_id
    document["unmapped"]["partition"] = MODELS.index(model)
    document["unmapped"]["trigger_offset"] = event
    document["unmapped"]["quarantine"]["sources"] = [pseudonym]
    return AnomalyData.model_validate(document).model_dump_json(exclude_none=True).encode()


def anomalies_of(*records: bytes) -> list[SeenAnomaly]:
    """The anomalies of these records."""
    book = AnomalyBook(positions())
    for each in records:
        book.add(each)
    return book.anomalies


def whole_story(*more: AlertData) -> Story:
    """A run in which every change was seen on every expected signal after 30 events.

    And the attacker of the last model after ten queries.
    """
    book = AlertBook(event_numbers(positions()))
    for model in MODELS:
        for change in model.changes:
            for signal in change.expected:
                book.add(record(alert_data(model, signal, change.event + 30)))
    for said in more:
        book.add(record(said))
    alerts: list[SeenAlert] = book.alerts
    return Story(
        models=MODELS,
        alerts=alerts,
        anomalies=anomalies_of(anomaly_record(ATTACK.source, int(ATTACK.at[9]))),
        name_of=names_of(MODELS, KEY),
        n_sent=47_604,
        n_folded=47_600,
        reasons={"not_json": 2, "key_mismatch": 1, "missing_field": 1},
        seconds=50.4,
        started="23 November 2026, 12:00 UTC",
        worker_status=0,
    )
