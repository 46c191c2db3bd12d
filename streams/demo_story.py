"""What a run of the demo was: its figures and its summary, and whether it went as it must."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streams.alert_book import SeenAlert
from streams.census import MEANINGS
from streams.demo_alerts import Verdict, change_before, verdicts
from streams.demo_anomalies import SeenAnomaly, Sighting, sightings
from streams.demo_responses import Responses, response_lines, response_problems
from streams.traffic import Change, ModelTraffic

N_BAD_EVENTS = 4
MAX_FALSE_ALERTS = 1
"""How many alerts the control model may have: nothing changes in it, but chance remains."""

NOT_DURABLE = (
    "This broker is a stand-in: it lives in the memory of the demo's process, keeps 5 MiB per"
    " partition and is gone now. It knows no transactions, so the worker ran in at-least-once"
    " mode; on a real Kafka it runs exactly-once. Valkey was the real server, without persistence."
)

AS_EXPECTED = (
    "Every change was seen, the control stayed quiet, both attackers were found and nobody honest"
    " in their models was accused, and the retraining waited until a person had looked."
)

_WHY_OTHERS = ": the census goes from region to region, and people differ"


@dataclass(frozen=True, slots=True)
class Story:
    """One run of the demo."""

    models: Sequence[ModelTraffic]
    alerts: Sequence[SeenAlert]
    anomalies: Sequence[SeenAnomaly]
    name_of: Callable[[str], str]
    """Who stands behind a pseudonym: the demo made the key, so it can tell."""
    n_sent: int
    n_folded: int
    reasons: Mapping[str, int]
    """Dead letters by reason code."""
    seconds: float
    """From the first event to the last alert."""
    started: str
    """When, for people."""
    worker_status: int
    """The exit status of the worker after SIGTERM."""
    responses: Responses
    """Incidents, and what became of the retraining."""

    def verdicts(self) -> list[Verdict]:
        """Whether each change was seen where it had to be."""
        return verdicts(self.models, self.alerts)

    def sightings(self) -> list[Sighting]:
        """What was said of each attack."""
        return sightings(self.models, self.anomalies, self.name_of)

    def false_accusations(self) -> list[SeenAnomaly]:
        """Anomalies where nobody attacks, without those that only rank or say that data changed."""
        attacked = {model.model_id for model in self.models if model.attack is not None}
        return [
            anomaly
            for anomaly in self.anomalies
            if anomaly.model_id not in attacked
            and not anomaly.is_exposure
            and not anomaly.is_of_data
        ]

    def data_changes(self) -> list[SeenAnomaly]:
        """Findings that many clients' data changed at once, which accuse nobody."""
        return [anomaly for anomaly in self.anomalies if anomaly.is_of_data]

    def verdict(self) -> str:
        """In a word or two, where there are no problems: what was said in error is no secret."""
        n = len(self.false_accusations())
        if not n:
            return "As expected"
        return "As expected, but for " + (
            "a false accusation" if n == 1 else f"{n} false accusations"
        )

    def of_model(self, model: ModelTraffic) -> list[SeenAlert]:
        """The alerts of one model."""
        return [alert for alert in self.alerts if alert.said.model_id == model.model_id]

    def labels(self) -> dict[tuple[str, int], str]:
        """A letter for each change, by (model id, event): A is the one that comes first."""
        changes = [(c.event / len(m), m.model_id, c.event) for m in self.models for c in m.changes]
        return {
            (model_id, event): chr(ord("A") + i)
            for i, (_, model_id, event) in enumerate(sorted(changes))
        }

    def label_of(self, model: ModelTraffic, alert: SeenAlert) -> str:
        """The letter of the change that an alert follows closely, or ""."""
        change = change_before(model, alert)
        return "" if change is None else self.labels()[model.model_id, change.event]

    def problems(self) -> list[str]:
        """What was not as it must be, a sentence each; empty: the demo has shown what it should."""
        n_rejected = sum(self.reasons.values())
        found = [
            f"no alert on {v.signal} of {v.model_id} within {v.change.within} events of:"
            f" {v.change.title}"
            for v in self.verdicts()
            if v.alert is None
        ]
        found += [
            f"{len(self.of_model(model))} alerts on {model.model_id}, in which nothing changes"
            for model in self.models
            if is_quiet(model) and len(self.of_model(model)) > MAX_FALSE_ALERTS
        ]
        for sighting in self.sightings():
            found += _attack_problems(sighting)
        if n_rejected != N_BAD_EVENTS:
            found.append(f"{n_rejected} dead letters, but {N_BAD_EVENTS} bad events were sent")
        if self.n_folded + n_rejected != self.n_sent:
            found.append(f"{self.n_sent} events were sent, {self.n_folded} folded")
        if self.worker_status != 0:
            found.append(f"the worker ended with status {self.worker_status} when asked to stop")
        return [*found, *response_problems(self.responses, self.models, self.name_of)]


def is_quiet(model: ModelTraffic) -> bool:
    """Whether nothing happens in this model: an attack's queries are another traffic as well."""
    return not model.changes and model.attack is None


def _attack_problems(sighting: Sighting) -> list[str]:
    attack = sighting.attack
    found = []
    if not sighting.is_in_time:
        found.append(
            f"no anomaly on {sighting.model_id} within {attack.within} {attack.kind} of:"
            f" {attack.title}"
        )
    if sighting.accused:
        who = ", ".join(sighting.accused)
        found.append(f"honest {attack.by}s of {sighting.model_id} were accused: {who}")
    return found


def meaning(signal: str) -> str:
    """What a signal of the census model is, in a few words; "" if it says so itself."""
    kind, _, of = signal.partition(":")
    if kind == "class":
        name = {"1": "employed", "0": "not employed"}.get(of, of)
        return f"share of people predicted {name}"
    if kind == "missing":
        return f"share of events without {of}"
    if kind == "feature":
        return MEANINGS.get(of, "")
    if kind == "error":
        return "share of predictions that were wrong by their labels"
    return "the probability that the model gives its class" if signal == "score" else ""


def change_lines(story: Story) -> list[str]:
    """Per change: what it is, then on which signals it was seen and how soon."""
    letters = story.labels()
    lines: list[str] = []
    shown: Change | None = None
    for verdict in sorted(story.verdicts(), key=lambda v: letters[v.model_id, v.change.event]):
        if verdict.change is not shown:
            shown = verdict.change
            letter = letters[verdict.model_id, shown.event]
            kind = "injected" if shown.injected else "real"
            lines.append(
                f"  {letter}  {kind}, {verdict.model_id} event {shown.event:,}: {shown.title}"
            )
        if verdict.alert is None:
            lines.append(f"       {verdict.signal}: NOT SEEN")
        else:
            lines.append(f"       {verdict.signal}: alert after {verdict.delay_events:,} events")
    return lines


def attack_lines(story: Story) -> list[str]:
    """Per attack: what it is, after how many queries it was found, and who else was accused."""
    lines = []
    for sighting in story.sightings():
        attack, anomaly = sighting.attack, sighting.anomaly
        lines.append(
            f"  made up, {sighting.model_id} event {int(attack.at[0]):,}: {attack.title}"
            f" ({len(attack.at):,} {attack.kind})"
        )
        if anomaly is None:
            lines.append("       NOT SEEN")
        else:
            lines.append(
                f"       found after {sighting.n_events:,} of its {attack.kind}, by"
                f" {anomaly.said.unmapped.detectors[0]}; the accused is {attack.source}"
            )
        honest = ", ".join(sighting.accused)
        lines.append(
            f"       honest {attack.by}s accused: {honest}"
            if honest
            else f"       no honest {attack.by} was accused"
        )
    return [
        *lines,
        *(f"  accuses nobody: {anomaly.said.message}" for anomaly in story.data_changes()),
        *(
            f"  FALSE, for nobody attacks there: {anomaly.said.message}"
            for anomaly in story.false_accusations()
        ),
    ]


def summary_lines(story: Story) -> list[str]:
    """The summary at the end of a run, as plain lines."""
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(story.reasons.items()))
    n_rejected = sum(story.reasons.values())
    flow = (
        f"{story.n_sent:,} events sent in {story.seconds:.0f} s, {story.n_folded:,} folded,"
        f" {n_rejected} refused as dead letters ({reasons or 'none'};"
        f" {N_BAD_EVENTS} bad ones were sent on purpose)"
    )
    lines = [
        flow,
        "",
        "Changes and what was seen of them:",
        *change_lines(story),
        "",
        "The attacks and what was seen of them:",
        *attack_lines(story),
        "",
        "Alerts:",
    ]
    for model in story.models:
        alerts = story.of_model(model)
        by_signal: dict[str, int] = {}
        for alert in alerts:
            for name in alert.found_events:
                by_signal[name] = by_signal.get(name, 0) + 1
        n_other = sum(1 for alert in alerts if not story.label_of(model, alert))
        counts = ", ".join(f"{name.removeprefix('feature:')} {n}" for name, n in by_signal.items())
        said = f"{len(alerts)} ({counts})" if alerts else "none"
        note = ": nothing changes in it" if is_quiet(model) else ""
        lines.append(f"  {model.model_id}: {said}{note}")
        if model.changes and n_other:
            why = "" if model.labels else _WHY_OTHERS
            lines.append(f"       {n_other} of them belong to none of these changes{why}")
    lines += ["", *response_lines(story.responses, story.name_of), "", NOT_DURABLE]
    problems = story.problems()
    if problems:
        lines += ["", "NOT AS EXPECTED:", *(f"  {problem}" for problem in problems)]
    else:
        lines += ["", f"{story.verdict()}: {AS_EXPECTED[0].lower()}{AS_EXPECTED[1:]}"]
    return lines
