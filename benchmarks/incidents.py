"""Incidents of real changes without an attack: how many, what they are, when training is asked for.

    DRIFTSENTRY_DATA=DIRECTORY python -m benchmarks.incidents
        [--only steps|census|shuffled] [--seeds N] [--quick] [--json]

The whole chain in memory: events and labels through the workers of both duties, what they publish
through the responder, with the defaults of all settings but that labels are joined, and that no
group of features is named. Steps: a made stream with one change of what features mean, for each
seed. Census: a real model's predictions and their labels in the order of the file, with three
changes that are in the data, and years that follow on each other. Shuffled: the same rows in random
order, so that nothing changes. Who asked and who labelled are 20 invented names each, since the
data have none. Events are a second apart. The directory holds the census (streams/sample/README.md
says where it comes from); a quick run takes the sample.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.attacks.traffic import generator
from benchmarks.concept.rows import SLICES, LabelledCensus, sample, whole
from benchmarks.kit.report import FigureTable, parser, publish, show
from benchmarks.kit.responding import (
    SECOND_MS,
    START_MS,
    Chain,
    EventColumns,
    EventLog,
    Responder,
    span_of,
)
from benchmarks.performance.part import Part
from benchmarks.performance.rows import MISSING
from schemas.batch import F64, I64
from schemas.config import DetectionConfig, LabelsConfig
from schemas.incidents import IncidentData
from schemas.responder_config import RetrainingConfig
from schemas.retraining import RetrainingData
from streams.census import FEATURES, REAL_CHANGES

POLL: Final = 1_000
"""Events, half of them labels: after each poll the responder has read what was said of it."""
N_SOURCES: Final = 20
N_SEEDS: Final = 10
N_BEFORE: Final = 8_000
N_AFTER: Final = 16_000
DETECTION: Final = DetectionConfig(labels=LabelsConfig(enabled=True))


class RequestStory(NamedTuple):
    """What came of a retraining request."""

    request_id: str
    status: str
    """At the end of the log."""
    holds: list[str]
    """At the end of the log."""
    first: int
    """Row at which its window begins."""
    asked: int
    """Row at which it stood on the topic for the first time, held."""
    released: int | None
    n_released: int
    """How many different released records it had: more than one would be an error."""
    benefit: tuple[float, float, float] | None
    """What it may win back at the end of the log: accuracy, and its interval."""


class Story(NamedTuple):
    """What is known of one incident at the end of the log; places are rows of predictions."""

    incident_id: str
    reason: str
    also: list[str]
    status: str
    severity: str
    start: int
    """Row whose time it begins with."""
    last: int
    opened: int
    """Row at which it, or what became part of it, stood on the topic for the first time."""
    n_alerts: int
    """Of those that it names, 64 at most; the same of anomalies."""
    n_anomalies: int
    n_evidence: int
    """In all."""
    n_records: int
    """Of it on the topic."""
    message: str
    request: RequestStory | None

    @property
    def wait(self) -> int | None:
        """Predictions from the opened incident to the released request; None: there is none."""
        if self.request is None or self.request.released is None:
            return None
        return self.request.released - self.opened


@dataclass(frozen=True, slots=True)
class Run:
    """One log and what the responder made of it."""

    name: str
    n_rows: int
    changes: Sequence[int]
    """Rows at which something changes."""
    stories: list[Story]
    n_gone: int
    """Incidents that became part of another one: keys with a record without a value."""
    n_told_again: int
    """Incidents that closed and were opened again."""
    n_evidence: dict[str, int] = field(default_factory=dict)
    """Records of alerts and anomalies."""

    def of_change(self, number: int) -> list[Story]:
        """The incidents from a change to the next one, by when they were opened."""
        stop = self.changes[number + 1] if number + 1 < len(self.changes) else math.inf
        return [each for each in self.stories if self.changes[number] <= each.opened < stop]

    def before(self) -> list[Story]:
        """Those before the first change: in a log without one, all."""
        first = self.changes[0] if self.changes else math.inf
        return [each for each in self.stories if each.opened < first]


def run(name: str, log: EventLog, changes: Sequence[int], rows: Sequence[int] | None = None) -> Run:
    """Fold and respond, by the defaults. `rows` names the predictions, if not counted from 0."""
    chain = Chain(log, DETECTION, [RetrainingConfig()])
    asyncio.run(chain.run(POLL))
    return _run_of(name, log, changes, rows, chain, chain.responders[0])


def _run_of(
    name: str,
    log: EventLog,
    changes: Sequence[int],
    rows: Sequence[int] | None,
    chain: Chain,
    responder: Responder,
) -> Run:
    n = log.times_ms[-1] // SECOND_MS - START_MS // SECOND_MS + 1
    place = _Places(log, [*range(n)] if rows is None else rows)
    stories = [_story(each, responder, place) for each in responder.incidents()]
    kept = {f"incident/{each.incident_id}" for each in stories}
    told = [each for each in responder.said if each.key.startswith("incident/")]
    return Run(
        name,
        n,
        changes,
        stories,
        n_gone=len({each.key for each in told} - kept),
        n_told_again=_n_opened_again(responder),
        n_evidence=dict(chain.n_evidence),
    )


class _Places:
    """From offsets and times to rows."""

    def __init__(self, log: EventLog, rows: Sequence[int]) -> None:
        self._times_ms: Final = log.times_ms
        self._rows: Final = rows

    def of_offset(self, offset: int) -> int:
        """The row of the latest prediction at an offset, or of the last one."""
        return self.of_time(self._times_ms[min(offset, len(self._times_ms) - 1)])

    def of_time(self, time_ms: int) -> int:
        """The row of that time."""
        return int(self._rows[(time_ms - START_MS) // SECOND_MS])


def _story(incident: IncidentData, responder: Responder, place: _Places) -> Story:
    # One that late evidence gave another name was opened under the old one.
    own = {each.evidence_id for each in incident.evidence}
    of_it = [
        offset
        for offset, before in responder.told_of_incidents()
        if own & {one.evidence_id for one in before.evidence}
    ]
    requests = [each for each in responder.requests() if each.incident_id == incident.incident_id]
    assert len(requests) <= 1, "a version has one request an incident"
    return Story(
        incident_id=incident.incident_id,
        reason=incident.verdict.reason,
        also=[*incident.verdict.also],
        status=incident.status,
        severity=incident.severity,
        start=place.of_time(incident.start_ms),
        last=place.of_time(incident.last_ms),
        opened=place.of_offset(of_it[0]),
        n_alerts=sum(each.kind == "alert" for each in incident.evidence),
        n_anomalies=sum(each.kind == "anomaly" for each in incident.evidence),
        n_evidence=incident.n_evidence,
        n_records=len(of_it),
        message=incident.message,
        request=_request(requests[0], responder, place) if requests else None,
    )


def _request(request: RetrainingData, responder: Responder, place: _Places) -> RequestStory:
    key = f"retraining/{request.request_id}"
    told = [each for each in responder.said if each.key == key]
    released = [
        each
        for each in told
        if each.value is not None
        and RetrainingData.model_validate_json(each.value).status == "released"
    ]
    benefit = request.benefit
    return RequestStory(
        request.request_id,
        request.status,
        [each.reason for each in request.holds],
        place.of_offset(span_of(request)[0]),
        place.of_offset(told[0].offset),
        place.of_offset(released[0].offset) if released else None,
        len({each.value for each in released}),
        None if benefit is None else (benefit.loss, benefit.low, benefit.high),
    )


def _n_opened_again(responder: Responder) -> int:
    found = 0
    status: dict[str, str] = {}
    for _, now in responder.told_of_incidents():
        found += status.get(now.incident_id) == "closed" and now.status != "closed"
        status[now.incident_id] = now.status
    return found


def made_step(seed: int, n_before: int = N_BEFORE, n_after: int = N_AFTER) -> EventColumns:
    """A stream with one change: the model's two classes, of which it is right in nine of ten.

    Six independent normal features; the score is a logistic function of the first two; from row
    `n_before` on the label follows the third in place of the second one. Nobody lies.
    """
    rng = generator("incidents", "step", seed)
    n = n_before + n_after
    x = rng.normal(size=(n, 6))
    score = 1.0 / (1.0 + np.exp(-3.0 * (x[:, 0] + x[:, 1])))
    is_after = np.arange(n) >= n_before
    drive = 3.0 * (x[:, 0] + np.where(is_after, x[:, 2], x[:, 1]))
    label = (rng.random(n) < 1.0 / (1.0 + np.exp(-drive))).astype(np.int64)
    features = {f"f{number}": x[:, number].tolist() for number in range(x.shape[1])}
    return columns(features, score, (score > 0.5).astype(np.int64), label, rng)


def columns(
    features: dict[str, list[float] | list[str]],
    score: F64,
    predicted: I64,
    label: I64,
    rng: np.random.Generator,
) -> EventColumns:
    """With invented clients, and invented sources of labels, of equal shares."""
    n = len(score)
    names = [f"{kind}{number}" for kind in ("client", "desk") for number in range(N_SOURCES)]
    by = rng.integers(0, N_SOURCES, (2, n))
    return EventColumns(
        features=features,
        predicted=predicted.tolist(),
        score=score.tolist(),
        source=[names[number] for number in by[0].tolist()],
        label=label.tolist(),
        label_source=[names[N_SOURCES + number] for number in by[1].tolist()],
    )


def census_columns(data: LabelledCensus, order: I64, rng: np.random.Generator) -> EventColumns:
    """These rows of the census, as events."""
    features: dict[str, list[float] | list[str]] = {}
    for name in FEATURES:
        codes = data.features[name][order].tolist()
        features[name] = [str(code) for code in codes] if name in SLICES else codes
    rows = data.rows
    return columns(
        features,
        rows.score[order],
        rows.predicted[order].astype(np.int64),
        rows.employed[order].astype(np.int64),
        rng,
    )


def steps(n_seeds: int, *, quick: bool) -> Part:
    """The made stream, so many times."""
    runs = [run(f"step {seed}", made_step(seed).log(), [N_BEFORE]) for seed in range(n_seeds)]
    del quick
    return Part([steps_table(runs)], {"runs": [as_figures(each) for each in runs]})


def census(_n_seeds: int, *, quick: bool) -> Part:
    """The census in its own order."""
    data = sample() if quick else whole()
    if data is None:
        return Part([], {}, [f"the census: {MISSING}"])
    rng = generator("incidents", "census")
    log = census_columns(data, np.arange(len(data)), rng).log()
    changes = [change.row for change in REAL_CHANGES]
    own = run("census", log, changes, data.row.tolist())
    title = "incidents of the census in the order of the file, with changes at rows " + ", ".join(
        f"{row:,}" for row in changes
    )
    tables = [
        story_table("census", title, own),
        sentence_table("sentences", own),
    ]
    return Part(tables, as_figures(own))


def shuffled(_n_seeds: int, *, quick: bool) -> Part:
    """The census in random order: nothing changes."""
    data = sample() if quick else whole()
    if data is None:
        return Part([], {}, [f"the shuffled census: {MISSING}"])
    rng = generator("incidents", "shuffled")
    log = census_columns(data, rng.permutation(len(data)), rng).log()
    own = run("shuffled", log, [])
    title = f"incidents of the same {len(data):,} rows in random order: nothing changes"
    return Part([story_table("shuffled", title, own)], as_figures(own))


def as_figures(own: Run) -> dict[str, Any]:
    """All that is known of a run."""
    stories = [
        each._asdict()
        | {"wait": each.wait, "request": each.request._asdict() if each.request else None}
        for each in own.stories
    ]
    return asdict(own) | {"stories": stories, "changes": [*own.changes]}


def steps_table(runs: Sequence[Run]) -> FigureTable:
    """What one change came to, over all seeds."""
    waits = [each.wait for one in runs for each in one.of_change(0) if each.wait is not None]
    reasons = sorted({each.reason for one in runs for each in one.of_change(0)})
    late = [one.of_change(0)[0].opened - one.changes[0] for one in runs if one.of_change(0)]
    released = [
        sum(each.request is not None and each.request.status == "released" for each in one.stories)
        for one in runs
    ]
    rows = [
        ("logs with one change", f"{len(runs)}"),
        ("incidents after the change: one in", f"{sum(len(r.of_change(0)) == 1 for r in runs)}"),
        ("incidents after the change: most", f"{max(len(one.of_change(0)) for one in runs)}"),
        ("incidents before it, in all", f"{sum(len(one.before()) for one in runs)}"),
        ("reasons", ", ".join(reasons)),
        ("requests released: one in", f"{sum(n == 1 for n in released)}"),
        ("closed and opened again, in all", f"{sum(one.n_told_again for one in runs)}"),
        ("became part of another one, in all", f"{sum(one.n_gone for one in runs)}"),
        ("predictions from the change to the incident", _spread(late)),
        ("predictions from the incident to the released request", _spread(waits)),
        ("accuracy it may win back, as the request says", _losses(runs)),
    ]
    title = (
        f"one change without an attack, {len(runs)} made streams of {N_BEFORE + N_AFTER:,} "
        "predictions with labels at once; of places the least, the middle and the most"
    )
    return FigureTable("steps", title, ("what", "came of it"), rows)


def _spread(places: Sequence[int]) -> str:
    if not places:
        return "-"
    return f"{min(places):,}, {median(places):,.0f}, {max(places):,}"


def _losses(runs: Sequence[Run]) -> str:
    found = [each.request for one in runs for each in one.stories if each.request is not None]
    known = sorted(each.benefit[0] for each in found if each.benefit is not None)
    if not known:
        return "-"
    said = f"{known[0]:.3f}, {median(known):.3f}, {known[-1]:.3f}"
    return said if len(known) == len(found) else f"{said} (of {len(known)} in {len(found)})"


def story_table(name: str, title: str, own: Run) -> FigureTable:
    """A row for each incident."""
    rows = []
    for number, each in enumerate(own.stories, 1):
        request = each.request
        rows.append(
            (
                f"{number}",
                each.reason.replace("_", " "),
                f"{each.start:,}",
                f"{each.opened:,}",
                f"{each.last:,}",
                each.status,
                f"{each.n_alerts} / {each.n_anomalies}",
                "none" if request is None else _status(request),
                "-" if each.wait is None else f"{each.wait:,}",
                _benefit(request),
            )
        )
    columns = ("incident", "reason", "begins", "opened", "last word", "at the end",
               "alerts / anomalies", "request", "predictions to it",
               "accuracy it may win back")  # fmt: skip
    more = (
        f"; {own.n_gone} became part of another one, {own.n_told_again} were opened again after "
        "they had closed"
    )
    return FigureTable(name, title + more, columns, rows)


def _benefit(request: RequestStory | None) -> str:
    if request is None or request.benefit is None:
        return "-"
    loss, low, high = request.benefit
    return f"{loss:.3f} ({low:.3f} to {high:.3f})"


def _status(request: RequestStory) -> str:
    if not request.holds:
        return request.status
    return f"{request.status}: {', '.join(each.replace('_', ' ') for each in request.holds)}"


def sentence_table(name: str, own: Run) -> FigureTable:
    """What they say of themselves."""
    rows = [(f"{number}", each.message) for number, each in enumerate(own.stories, 1)]
    return FigureTable(name, "what these incidents say", ("incident", "sentence"), rows)


PARTS: Final[dict[str, Callable[..., Part]]] = {
    "steps": steps,
    "census": census,
    "shuffled": shuffled,
}


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("incidents", __doc__)
    options_parser.add_argument("--only", choices=PARTS, action="append", help="this part")
    options_parser.add_argument("--seeds", type=int, help="of the made streams")
    options = options_parser.parse_args()
    n_seeds = options.seeds or (2 if options.quick else N_SEEDS)
    figures: dict[str, Any] = {}
    done: list[Part] = []
    for name in options.only or PARTS:
        part = PARTS[name](n_seeds, quick=options.quick)
        show(part.tables)
        figures[name] = part.figures
        done.append(part)
    tables = [table for part in done for table in part.tables]
    not_run = [reason for part in done for reason in part.not_run]
    publish("incidents", tables, figures, options, not_run, are_shown=True)


if __name__ == "__main__":
    main()
