"""One run: a model is used, its labels are lied about, and it is trained anew in three ways.

Naive: on all events since the change began. Gate: on what the released request exports. Unpoisoned:
on the events of the naive window with labels of which none is a lie. The training is that of
`examples/retrain_sklearn.py`, on the files that `driftsentry window export` writes.
"""

from __future__ import annotations

import asyncio
import importlib.util
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from benchmarks.attacks.traffic import generator
from benchmarks.kit.children import ROOT
from benchmarks.kit.responding import KEY, Chain, EventColumns, EventLog, Responder, span_of
from benchmarks.retraining.lies import Attack, Labels, labels_of
from benchmarks.retraining.worlds import WORLDS, Rows, Sizes, World
from schemas.anomalies import OffsetRange
from schemas.batch import F64, I64
from schemas.config import DetectionConfig, LabelsConfig
from schemas.incidents import IncidentData
from schemas.responder_config import RetrainingConfig
from schemas.retraining import CleanWindow, RetrainingData, WindowPart
from streams.incident_reasons import Approval, Opening, Overruling
from streams.window_export import export_window
from streams.window_files import write_ndjson
from streams.window_reader import Decoder

POLL: Final = 1_000
N_CLIENTS: Final = 20
DETECTION: Final = DetectionConfig(labels=LabelsConfig(enabled=True))
ASK: Final = RetrainingConfig(quarantine="ask")
ACT: Final = RetrainingConfig(quarantine="act")
_PERSON: Final = "ana"


def _example() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "retrain_sklearn", ROOT / "examples" / "retrain_sklearn.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


JOB: Final = _example()


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that was trained on a window, and what was in it."""

    accuracy: float
    """On the test rows."""
    n_rows: int
    n_lies: int
    """Of those rows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run."""

    world: str
    attack: str
    seed: int
    old: float
    """Accuracy of the model that is to be replaced, on the test rows."""
    naive: Trained | None
    """None: no alert asks for a retraining, and nobody retrains."""
    gate: Trained | None
    """Of what `act` releases, else of what a person lets out; None: held for ever, too."""
    unpoisoned: Trained | None
    status: str
    """Of the request where named sources may be left out without asking, at the end: `none`."""
    holds: tuple[str, ...]
    asked: str
    """Of the request where a person is asked."""
    asked_holds: tuple[str, ...]
    approved: str
    """The same after the person has approved of the quarantine, where there was anything to."""
    decided: str
    """The same after they have said that data are right which were held for a fault."""
    reason: str
    """Of the incident."""
    n_incidents: int
    n_liars: int
    n_liars_left_out: int
    """Liars of whom events were left out of the gate's window."""
    n_honest_left_out: int
    """Honest sources of whom that is true."""

    def accuracy(self, who: str) -> float:
        """Of the model in force at the end: the old one where nothing was trained."""
        found: Trained | None = getattr(self, who)
        return self.old if found is None else found.accuracy


class Used(NamedTuple):
    """A model in its world."""

    world: World
    model: Any
    """Trained on its first rows."""
    score: F64
    """Of all that are predicted."""


@lru_cache(maxsize=1)
def _used(name: str, sizes: Sizes, seed: int) -> Used:
    world = WORLDS[name](sizes, seed)
    lines = [
        orjson.dumps({"features": features, "label": label})
        for features, label in zip(_dicts(world, world.train), world.train.y.tolist(), strict=True)
    ]
    model = JOB.train_model(lines)
    rows = world.before.then(world.after)
    return Used(world, model, model.predict_proba(_dicts(world, rows))[:, 1])


def _dicts(world: World, rows: Rows) -> list[dict[str, float]]:
    return [dict(zip(world.names, row, strict=True)) for row in rows.x.tolist()]


def run(name: str, attack: Attack, seed: int, sizes: Sizes) -> Outcome:
    """Use the model, respond, and train. Raises `MissingError`."""
    used = _used(name, sizes, seed)
    world = used.world
    labels = labels_of(world, attack, name, seed)
    log = _events(used, labels.said, labels.source, name, seed).log()
    chain = Chain(log, DETECTION, [ACT, ASK])
    asyncio.run(chain.run(POLL))
    acting, asking = chain.responders
    request, asked = _wanted(acting, sizes), _wanted(asking, sizes)
    held = asked
    if asked is not None and "attack_suspected" in {each.reason for each in asked.holds}:
        asyncio.run(_approve(chain, asking, asked))
        held = _wanted(asking, sizes)
    decided = held
    if held is not None and "data_fault_open" in _holds(held):
        asyncio.run(_believe(chain, asking, held))
        decided = _wanted(asking, sizes)
    own = [] if request is None else [incident_of(request, acting.incidents())]
    judge = _Judge(world, labels, chain.decoder)
    naive = unpoisoned = gate = None
    if request is not None:
        begun = min(
            each.first_offset
            for each in own[0].evidence
            if each.kind == "alert" and each.first_offset is not None
        )
        whole = _since(request, begun, len(log))
        true = world.before.then(world.after).y
        truth = _events(used, true, labels.source, name, seed).log()
        naive = judge.trained(log, whole, labels)
        unpoisoned = judge.trained(truth, whole, None)
        out = next((r for r in (request, held, decided) if r and r.status == "released"), None)
        if out is not None:
            gate = judge.trained(log, out, labels)
    return Outcome(
        world=name,
        attack=attack.name,
        seed=seed,
        old=judge.accuracy(used.model),
        naive=naive,
        gate=gate,
        unpoisoned=unpoisoned,
        status="none" if request is None else request.status,
        holds=_holds(request),
        asked="none" if asked is None else asked.status,
        asked_holds=_holds(asked),
        approved="none" if held is None else held.status,
        decided="none" if decided is None else decided.status,
        reason="none" if not own else own[0].verdict.reason,
        n_incidents=len(acting.incidents()),
        n_liars=len(labels.liars),
        n_liars_left_out=_n_left_out(request, labels.liars),
        n_honest_left_out=_n_left_out(request, {*range(attack.n_sources)} - labels.liars),
    )


def _events(used: Used, said: I64, by: I64, *seed: object) -> EventColumns:
    """The predictions, each with what this source says of it."""
    world, score = used.world, used.score
    rows = world.before.then(world.after)
    clients = generator("retraining", "clients", *seed).integers(0, N_CLIENTS, len(score))
    return EventColumns(
        features={name: rows.x[:, number].tolist() for number, name in enumerate(world.names)},
        predicted=(score > 0.5).astype(np.int64).tolist(),
        score=score.tolist(),
        source=[f"client{number}" for number in clients.tolist()],
        label=said.tolist(),
        label_source=[_name(number) for number in by.tolist()],
    )


def _name(source: int) -> str:
    return f"desk{source}"


def _wanted(responder: Responder, sizes: Sizes) -> RetrainingData | None:
    """The request for a window with events from the change on; of several, what is released."""
    found = [each for each in responder.requests() if span_of(each)[1] >= 2 * sizes.before]
    return min(found, key=lambda each: (each.status != "released", span_of(each)), default=None)


def incident_of(request: RetrainingData, incidents: Sequence[IncidentData]) -> IncidentData:
    """The one that a request is of. A released one stays when its incident has another name."""
    evidence = set(request.evidence_ids)
    return max(
        incidents,
        key=lambda each: (
            each.incident_id == request.incident_id,
            len(evidence & {one.evidence_id for one in each.evidence}),
        ),
    )


def _holds(request: RetrainingData | None) -> tuple[str, ...]:
    return () if request is None else tuple(each.reason for each in request.holds)


async def _believe(chain: Chain, responder: Responder, request: RetrainingData) -> None:
    """The person says that what seems to be broken data is the world, which has changed."""
    evidence = tuple(
        (one.evidence_id, one.revision)
        for each in responder.incidents()
        if each.incident_id == request.incident_id
        for one in each.evidence
    )
    await chain.hear(
        responder,
        Overruling(2_000, request.incident_id, "harmful_drift", _PERSON, "other people", evidence),
    )


async def _approve(chain: Chain, responder: Responder, request: RetrainingData) -> None:
    """A person looks at the evidence, and approves of leaving it out."""
    attacks = tuple(
        evidence_id
        for hold in request.holds
        if hold.reason == "attack_suspected"
        for evidence_id in hold.evidence_ids
    )
    name, revision = request.incident_id, 0
    for place, each in enumerate(responder.incidents()):
        found = tuple((one.evidence_id, one.revision) for one in each.evidence)
        if each.incident_id == name:
            revision = each.revision
        elif not set(dict(found)) & set(attacks):
            continue
        await chain.hear(responder, Opening(place, each.incident_id, _PERSON, each.revision, found))
    await chain.hear(
        responder,
        Approval(1_000, request.request_id, name, _PERSON, "liars", revision, attacks),
    )


def _since(request: RetrainingData, first: int, n: int) -> RetrainingData:
    """As a naive team has it: all events from there on, as many as the request's window has.

    None from `n` on, where the log ends.
    """
    last = min(first + span_of(request)[1] - span_of(request)[0], n - 1)
    part = WindowPart(partition=0, ranges=[OffsetRange(first_offset=first, last_offset=last)])
    window = CleanWindow(
        topic=request.window.topic,
        parts=[part],
        since_ms=None,
        until_ms=None,
        n_predictions=None,
        n_labels=None,
        n_quarantined=None,
    )
    return request.model_copy(update={"window": window, "quarantine": []})


def _n_left_out(request: RetrainingData | None, who: Iterable[int]) -> int:
    """How many of these sources a request leaves out."""
    if request is None:
        return 0
    named = {name for part in request.quarantine for name in part.sources}
    return sum(KEY.digest(_name(number)).hex() in named for number in who)


class _Judge:
    """Trains on what is exported, and counts what is right of the test rows."""

    def __init__(self, world: World, labels: Labels, decoder: Decoder) -> None:
        self._rows: Final = _dicts(world, world.test)
        self._true: Final = world.test.y
        self._labels: Final = labels
        self._decoder: Final = decoder

    def trained(self, log: EventLog, request: RetrainingData, labels: Labels | None) -> Trained:
        """`labels` are those of the log; None: nobody lies in it."""
        with tempfile.TemporaryDirectory(prefix="driftsentry-benchmark-") as folder:
            path = Path(folder, "window.ndjson")
            export_window(log, request, self._decoder, write_ndjson, path)
            lines = path.read_bytes().splitlines()
        at = [int(orjson.loads(line)["event_id"][1:]) for line in lines]
        n_lies = 0 if labels is None else int(labels.is_lie[at].sum())
        return Trained(self.accuracy(JOB.train_model(lines)), len(lines), n_lies)

    def accuracy(self, model: Any) -> float:
        """On the test rows."""
        return float((model.predict(self._rows) == self._true).mean())
