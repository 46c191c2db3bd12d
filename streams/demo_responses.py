"""What the demo's run says of incidents and retrainings, and whether it is as it must be. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.incidents import IncidentData
from schemas.retraining import RetrainingData
from streams.incident_names import names_of
from streams.incident_sentences import WORDS
from streams.traffic import ModelTraffic

SHORT: Final = 12
"""So many digits of an id are shown."""


class Turn(NamedTuple):
    """A record of an incident or of a request that says something new, as it came."""

    at_s: float
    """Since the first event."""
    said: IncidentData | RetrainingData
    former: str | None = None
    """The incident that goes on in this one, which is new."""


class Decision(NamedTuple):
    """What the demo's operator did about a request that was held."""

    at_s: float
    request_id: str
    by: str
    because: str
    commands: tuple[str, ...]
    """As typed, in their order; without where the broker is."""


class ResponseBook:
    """Incidents and retraining requests by identity, as they are and as they came to be."""

    def __init__(self) -> None:
        self.incidents: Final[dict[str, IncidentData]] = {}
        """By id, as each is now."""
        self.requests: Final[dict[str, RetrainingData]] = {}
        """By id, as each is now."""
        self.turns: Final[list[Turn]] = []
        """In the order in which they came."""

    def add_incident(self, key: bytes, value: bytes | None, at_s: float) -> Turn | None:
        """Take in one record of the incidents topic; what is new in it.

        That is a new incident, or another reason or status of a known one.
        """
        if value is None:
            self.incidents.pop(key.decode(), None)
            return None
        said = IncidentData.model_validate_json(value)
        known = self.incidents.get(said.incident_id)
        self.incidents[said.incident_id] = said
        if known is not None and _state(known) == _state(said):
            return None
        return self._turn(at_s, said, None if known else self._former(said))

    def add_request(self, key: bytes, value: bytes | None, at_s: float) -> Turn | None:
        """Take in one record of the retraining topic; the same of status and what holds it."""
        if value is None:
            self.requests.pop(key.decode(), None)
            return None
        said = RetrainingData.model_validate_json(value)
        known = self.requests.get(said.request_id)
        self.requests[said.request_id] = said
        if known is not None and _stand(known) == _stand(said):
            return None
        return self._turn(at_s, said)

    def waits_for_a_person(self) -> RetrainingData | None:
        """A request that a suspected attack holds back, and nothing else."""
        for each in self.requests.values():
            if each.status == "held" and {one.reason for one in each.holds} == {"attack_suspected"}:
                return each
        return None

    def behind(self, request: RetrainingData) -> list[IncidentData]:
        """Its incident, and those that hold the attacks for which it is held."""
        attacks = {one for hold in request.holds for one in hold.evidence_ids}
        return [
            each
            for each in self.incidents.values()
            if each.incident_id == request.incident_id
            or any(one.evidence_id in attacks for one in each.evidence)
        ]

    def _former(self, incident: IncidentData) -> str | None:
        """The one that was told of last of those that have become part of it."""
        names = names_of(incident) - {incident.incident_id}
        told = [each.said.incident_id for each in self.turns if isinstance(each.said, IncidentData)]
        return next((name for name in reversed(told) if name in names), None)

    def _turn(
        self, at_s: float, said: IncidentData | RetrainingData, former: str | None = None
    ) -> Turn:
        turn = Turn(at_s, said, former)
        self.turns.append(turn)
        return turn


def _state(incident: IncidentData) -> tuple[str, bool]:
    return incident.verdict.reason, incident.status == "closed"


def _stand(request: RetrainingData) -> tuple[str, list[str]]:
    return request.status, [each.reason for each in request.holds]


@dataclass(frozen=True, slots=True)
class Responses:
    """What the responder made of one run."""

    incidents: Sequence[IncidentData] = ()
    requests: Sequence[RetrainingData] = ()
    turns: Sequence[Turn] = ()
    decisions: Sequence[Decision] = ()
    responder_status: int = 0
    """The exit status of the responder after SIGTERM."""

    def steps(self, request: RetrainingData) -> list[Turn | Decision]:
        """What happened to a request and to its incident, in time, whatever they were called.

        Evidence that begins earlier and comes later gives both of them another name.
        """
        names = {request.incident_id}
        for each in self.incidents:
            if each.incident_id == request.incident_id:
                names |= names_of(each)
        found: list[Turn | Decision] = [
            turn for turn in self.turns if turn.said.incident_id in names
        ]
        found += [each for each in self.decisions if each.request_id == request.request_id]
        # A decision and what follows from it are never at one time.
        return sorted(found, key=lambda each: each.at_s)


def left_out(request: RetrainingData, name_of: Callable[[str], str]) -> list[str]:
    """Whose events a training leaves out, by name, sorted; "everybody" where all in a range are."""
    names = set[str]()
    for part in request.quarantine:
        names.update(map(name_of, part.sources) if part.sources else ["everybody"])
    return sorted(names)


def evidence_words(incident: IncidentData) -> str:
    """How many alerts, anomalies and silences an incident is made of."""
    counts = Counter[str](each.kind for each in incident.evidence)
    words = {
        "alert": ("alert", "alerts"),
        "anomaly": ("anomaly", "anomalies"),
        "liveness": ("silence", "silences"),
    }
    more = incident.n_evidence - len(incident.evidence)
    said = [f"{counts[kind]} {words[kind][counts[kind] > 1]}" for kind in words if counts[kind]]
    return ", ".join([*said, *([f"{more} more"] if more else [])])


def reason_words(incident: IncidentData) -> str:
    """What an incident is, and what it would be as well."""
    return " and ".join(WORDS[each] for each in (incident.verdict.reason, *incident.verdict.also))


def step_words(step: Turn | Decision, name_of: Callable[[str], str]) -> str:
    """One step of a request in words."""
    if isinstance(step, Decision):
        return f"{step.by} looks at the evidence and approves: {step.because}"
    said = step.said
    if isinstance(said, IncidentData):
        before = f", in which {step.former[:SHORT]} goes on," if step.former else ""
        who = f"incident {said.incident_id[:SHORT]}{before}"
        return f"{who} is {WORDS[said.verdict.reason]}: {said.verdict.because}"
    if said.status == "held":
        return f"held: {'; '.join(hold.detail for hold in said.holds)}"
    if said.status == "withdrawn":
        return "withdrawn: what had changed has come back"
    return f"released: {window_words(said, name_of)}"


def window_words(request: RetrainingData, name_of: Callable[[str], str]) -> str:
    """On what to train, and without whom."""
    window = request.window
    places = ", ".join(
        f"offsets {each.first_offset:,} to {each.last_offset:,} of partition {part.partition}"
        for part in window.parts
        for each in part.ranges
    )
    words = f"train on {places}, {window.n_labels or 0:,} labels"
    if request.quarantine:
        words += (
            f"; left out are {window.n_quarantined or 0:,} labels,"
            f" by {', '.join(left_out(request, name_of))}"
        )
    return words


def response_lines(responses: Responses, name_of: Callable[[str], str]) -> Iterator[str]:
    """The end of the demo's summary: incidents, and each request step by step."""
    n = len(responses.incidents)
    yield f"What the responder made of all that, {n} incident{'s' if n != 1 else ''}:"
    for incident in responses.incidents:
        who = incident.model_id or "a partition"
        yield f"  {who}: {reason_words(incident)} ({evidence_words(incident)})"
    for request in responses.requests:
        yield ""
        yield (
            f"The retraining of {request.model_id} {request.model_version},"
            f" request {request.request_id[:SHORT]}:"
        )
        for step in responses.steps(request):
            yield f"  {step.at_s:5.1f} s  {step_words(step, name_of)}"
            if isinstance(step, Decision):
                yield from (f"           $ {command}" for command in step.commands)


def response_problems(
    responses: Responses, models: Sequence[ModelTraffic], name_of: Callable[[str], str]
) -> Iterator[str]:
    """What the responder should have said and has not, a sentence each."""
    for model in models:
        attack = model.attack
        if attack is None or attack.kind != "labels":
            continue
        who = model.model_id
        own = [each for each in responses.requests if each.model_id == who]
        if not own:
            yield f"no retraining of {who} was asked for"
        for request in own:
            turns = [each.said for each in responses.steps(request) if isinstance(each, Turn)]
            was_held = any(
                hold.reason == "attack_suspected"
                for said in turns
                if isinstance(said, RetrainingData)
                for hold in said.holds
            )
            if not was_held:
                yield f"the retraining of {who} was never held for the attack"
            if request.status != "released":
                yield f"the retraining of {who} is {request.status} in the end"
            elif left_out(request, name_of) != [attack.source]:
                whom = ", ".join(left_out(request, name_of)) or "nobody"
                yield f"the retraining of {who} leaves out {whom}, not {attack.source}"
    if responses.responder_status != 0:
        yield f"the responder ended with status {responses.responder_status} when asked to stop"
