"""Alerts, responses and stories as a run of the demo gives them, without a run."""

from __future__ import annotations

import asyncio
from functools import cache

import orjson

from schemas.alerts import AlertData, ErrorsInReference, MovedSignal
from schemas.anomalies import AnomalyData
from schemas.responder_config import IncidentConfig, RetrainingConfig
from schemas.source_hash import SourceKey
from streams.alert_book import AlertBook, SeenAlert
from streams.delivery_traffic import CHANGED_AT
from streams.demo_alerts import event_numbers
from streams.demo_anomalies import AnomalyBook, SeenAnomaly, names_of
from streams.demo_models import demo_models
from streams.demo_responses import SHORT, Decision, ResponseBook, Responses
from streams.demo_story import Story
from streams.incident_desk import IncidentDesk
from streams.incident_evidence import from_alert, from_anomaly
from streams.incident_reasons import Approval, Opening
from streams.responder_memory import MemoryIncidentStore, MemoryOutlet, MemoryWindows
from streams.responder_ports import FoldPlace, ModelName
from streams.retraining_gate import WindowFacts
from streams.traffic import ModelTraffic
from tests.streams.anomaly_kit import Told, suspicion

MODELS = demo_models()
CENSUS, APP, CONTROL, CREDIT, DELIVERY = MODELS
assert CREDIT.attack is not None
assert DELIVERY.attack is not None
ATTACK, LIES = CREDIT.attack, DELIVERY.attack
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
        error_reference=ErrorsInReference(n_errors=360, n_labels=2_000),
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
        n_faults_unnamed=0,
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
    model = model or CREDIT
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

    And each attacker after ten of its queries or labels.
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
        anomalies=anomalies_of(
            anomaly_record(ATTACK.source, int(ATTACK.at[9])),
            anomaly_record(LIES.source, int(LIES.at[9]), model=DELIVERY, uid=2),
        ),
        name_of=names_of(MODELS, KEY),
        n_sent=59_564,
        n_folded=59_560,
        reasons={"not_json": 2, "key_mismatch": 1, "missing_field": 1},
        seconds=50.4,
        started="23 November 2026, 12:00 UTC",
        worker_status=0,
        responses=responses(),
    )


def errors_rose() -> bytes:
    """The alert on the errors of the model whose labels are attacked."""
    said = alert_data(DELIVERY, "error", CHANGED_AT + 30)
    (moved,) = said.signals
    share = moved.model_copy(update={"unit": "share", "before": 0.12, "after": 0.24})
    return record(said.model_copy(update={"signals": [share]}))


def lies() -> bytes:
    """The anomaly on its labels, which names who lies."""
    document = orjson.loads(anomaly_record(LIES.source, int(LIES.at[9]), model=DELIVERY, uid=2))
    for name in ("start_time", "end_time", "time"):
        document[name] = alert_data(DELIVERY, "error", 0).event_time_ms
    own = document["unmapped"]
    alert = alert_data(DELIVERY, "error", 0)
    own.update(technique="label_poisoning", lineage=alert.lineage, opened_offset=int(LIES.at[9]))
    first, last = int(LIES.at[0]), int(LIES.at[9])
    own["quarantine"].update(
        partition=alert.partition, ranges=[{"first_offset": first, "last_offset": last}]
    )
    return orjson.dumps(document)


@cache
def responses() -> Responses:
    """A responder's real answer: held for the attack, then released without the liar."""
    return asyncio.run(_responses())


async def _responses() -> Responses:
    store, outlet, book = MemoryIncidentStore(), MemoryOutlet(), ResponseBook()
    facts = WindowFacts(2_000, 1_870, 440, 130, 1_795_405_378_000, 1_795_405_388_000)
    desk = IncidentDesk(
        store,
        outlet,
        MemoryWindows(facts),
        IncidentConfig(),
        RetrainingConfig(window_offsets=2_000),
        events_topic="driftsentry.events",
        writer="one",
    )
    n_read = 0

    def read(at_s: float) -> None:
        nonlocal n_read
        for key, value, _ in outlet.records[n_read:]:
            kind, _, name = key.partition("/")
            add = book.add_incident if kind == "incident" else book.add_request
            add(name.encode(), value, at_s)
        n_read = len(outlet.records)

    for at_s, evidence in ((27.0, from_alert(errors_rose())), (29.5, from_anomaly(lies()))):
        assert evidence is not None
        await desk.take(evidence)
        read(at_s)
    fold = alert_data(DELIVERY, "error", 0)
    await store.raise_settled({FoldPlace(fold.partition, fold.lineage): len(DELIVERY)})
    await desk.sweep()
    read(42.0)
    request = book.waits_for_a_person()
    assert request is not None
    model = ModelName("driftsentry", DELIVERY.model_id)
    for number, incident in enumerate(book.behind(request)):
        shown = tuple((each.evidence_id, each.revision) for each in incident.evidence)
        opening = Opening(number, incident.incident_id, "ana", incident.revision, shown)
        await desk.hear(model, opening)
    attacks = tuple(request.holds[0].evidence_ids)
    name, revision = request.incident_id, book.incidents[request.incident_id].revision
    approval = Approval(100, request.request_id, name, "ana", "it lies", revision, attacks)
    await desk.hear(model, approval)
    read(51.5)
    command = f"driftsentry incident approve {request.request_id[:SHORT]} --by ana"
    decision = Decision(51.0, request.request_id, "ana", "it lies", (command,))
    incidents, requests = list(book.incidents.values()), list(book.requests.values())
    return Responses(incidents, requests, book.turns, [decision])
