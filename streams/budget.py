"""What each model's budget of false alerts comes to: promised, expected, observed. Pure.

From the state of a fold: what its references, lanes and counters say. Observed alerts and replays
are put in by whoever has read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

from detectors.banks import stated_budget
from detectors.budget import accepted_in_a_week, enabled_detectors, events_between_alarms
from detectors.fold import Fold
from detectors.promise import CORRELATED_ROWS, Promise, periods_covered, too_few_periods
from detectors.steadiness import Unsteady, unsteady_signals
from schemas.batch import ModelKey
from schemas.commands import SetReference
from streams.budget_signals import SignalBudget, signal_budgets
from streams.lineage import JournalEntry
from streams.past import Past
from streams.poisson import at_least, interval

PROVISIONAL_ROWS: Final = CORRELATED_ROWS
"""A reference with fewer rows is provisional."""


class Observed(NamedTuple):
    """A count of alerts beside what is expected where nothing changes."""

    n_alerts: int
    expected: float

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the mean that such a count comes from."""
        return interval(self.n_alerts)

    @property
    def probability(self) -> float:
        """How likely so many or more are where only false ones come, at the stated rate."""
        return at_least(self.n_alerts, self.expected)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        low, high = self.interval
        return {
            "n_alerts": self.n_alerts,
            "expected": self.expected,
            "interval": [low, high],
            "probability": self.probability,
        }


class Replayed(NamedTuple):
    """What a fold said of the model's own past in another order."""

    kind: str
    """`shuffled`, `blocks` or `frozen`."""
    seed: int
    block: int
    """Events that were moved together."""
    n_events: int
    """Folded after the reference."""
    n_alarms: int
    """Firings of single signals."""
    observed: Observed

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        numbers = self._asdict()
        del numbers["observed"]
        return numbers | self.observed.as_json()


@dataclass(slots=True)
class ModelBudget:
    """One model version of one partition."""

    key: ModelKey
    partition: int
    offset: int
    """The state is that before this record."""
    n_events: int
    n_reference: int
    """Rows of the longest reference of its signals; 0: none is complete."""
    is_learning: bool
    """Whether a reference is still being learned."""
    reference: str
    """The digest of the one that a person has set; empty: its first events, or inherited."""
    events_per_week: float
    """By the times of the reference; 0: unknown, and one a second is assumed."""
    accepted_per_week: float
    """0: unknown, since `arl0` is stated and the rate is not known."""
    arl0: float
    signals: list[SignalBudget]
    """Those that are monitored: each has a share of the budget."""
    detectors: tuple[str, ...] = ()
    """Those that are on and keep a budget."""
    others: tuple[str, ...] = ()
    """Those that are on and find changes without one: what they find has to be as strong."""
    observed: Observed | None = None
    replays: list[Replayed] = field(default_factory=list)
    unsteady: list[Unsteady] = field(default_factory=list)
    """Signals whose later blocks vary more than the reference allows."""
    notes: list[str] = field(default_factory=list)

    @property
    def watched(self) -> list[SignalBudget]:
        """The signals that a detector with a budget watches."""
        return [signal for signal in self.signals if signal.is_watched]

    @property
    def n_lanes(self) -> int:
        """Location and spread are a lane each, a frequency or a category as a whole is one."""
        return sum(signal.n_lanes for signal in self.signals)

    @property
    def expected(self) -> float:
        """False alarms expected since the references were complete."""
        return sum(signal.expected for signal in self.signals)

    @property
    def is_provisional(self) -> bool:
        """Whether its reference has fewer rows than every kind of signal needs, or periods."""
        is_short = 0 < self.n_reference < PROVISIONAL_ROWS
        return is_short or bool(too_few_periods(self.n_periods))

    @property
    def n_periods(self) -> dict[str, int]:
        """Of each rhythm that signals have, how many periods the shortest reference covers."""
        return periods_covered(each.rhythm for each in self.signals)

    def thresholds(self) -> dict[str, tuple[float, float]]:
        """Of the youngest and the oldest ages, by kind of lane of `focus`: the lowest there is."""
        found: dict[str, tuple[float, float]] = {}
        for signal in self.watched:
            if signal.lane is None:
                continue
            kind = "frequency" if signal.lane.n_aspects == 1 else "location, spread"
            pair = signal.lane.youngest, signal.lane.oldest
            found[kind] = min(found.get(kind, pair), pair)
        return found

    def not_kept(self) -> list[SignalBudget]:
        """The signals whose budget is not believed to hold, or only roughly."""
        return [each for each in self.signals if each.verdict.promise is not Promise.KEPT]

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "model_id": self.key.model_id,
            "model_version": self.key.model_version,
            "shard": None if self.key.shard < 0 else self.key.shard,
            "partition": self.partition,
            "offset": self.offset,
            "n_events": self.n_events,
            "n_reference": self.n_reference,
            "reference": self.reference or None,
            "is_learning": self.is_learning,
            "is_provisional": self.is_provisional,
            "n_periods": self.n_periods,
            "detectors": list(self.detectors),
            "n_signals": len(self.watched),
            "n_lanes": self.n_lanes,
            "events_per_week": self.events_per_week or None,
            "accepted_per_week": self.accepted_per_week or None,
            "arl0": self.arl0,
            "thresholds": {
                kind: {"youngest": youngest, "oldest": oldest}
                for kind, (youngest, oldest) in self.thresholds().items()
            },
            "expected": self.expected,
            "observed": None if self.observed is None else self.observed.as_json(),
            "replays": [each.as_json() for each in self.replays],
            "unsteady": [each._asdict() for each in self.unsteady],
            "signals": [each.as_json() for each in self.signals],
            "notes": self.notes,
        }


def model_budgets(
    fold: Fold, partition: int, offset: int, model_id: str | None = None
) -> list[ModelBudget]:
    """What the models of a fold have, or those with this name; in the order of their names."""
    slots = sorted(fold.catalog.slot_of.items())
    return [
        _budget_of(fold, slot, partition, offset)
        for key, slot in slots
        if model_id is None or key.model_id == model_id
    ]


def _budget_of(fold: Fold, slot: int, partition: int, offset: int) -> ModelBudget:
    monitor = fold.catalog.monitor(slot)
    signals = signal_budgets(fold, monitor)
    finding = [spec for spec in enabled_detectors(fold.config) if not spec.is_for_reading]
    return ModelBudget(
        key=monitor.key,
        partition=partition,
        offset=offset,
        n_events=int(fold.catalog.n_events[slot]),
        n_reference=max((each.verdict.rows for each in signals), default=0),
        is_learning=bool(monitor.cohorts),
        reference=monitor.reference,
        events_per_week=monitor.events_per_week,
        accepted_per_week=accepted_in_a_week(fold.config, monitor),
        arl0=events_between_alarms(fold.config, monitor),
        signals=signals,
        detectors=tuple(spec.name for spec in finding if spec.has_budget),
        others=tuple(spec.name for spec in finding if not spec.has_budget),
    )


def counting_from(start: int, entries: Sequence[JournalEntry]) -> int:
    """The offset from which lanes have counted: another budget or `focus` begins them anew.

    `entries` are those in force, of a lineage that began at `start`.
    """
    since = start
    configs = [(each.offset, each.document) for each in entries if each.document is not None]
    for (_, was), (offset, now) in pairwise(configs):
        is_same = was.detectors.focus == now.detectors.focus
        if not (is_same and stated_budget(was) == stated_budget(now)):
            since = offset
    return since


def references_set(entries: Sequence[JournalEntry], n_commands: int) -> dict[tuple[str, str], int]:
    """From which offset the lanes of model versions count whose reference a person has set.

    By the journal, of the commands that had taken effect when so many had.
    """
    found: dict[tuple[str, str], int] = {}
    for entry in entries:
        if entry.command is not None and entry.command.number <= n_commands:
            order = entry.command.order
            if isinstance(order, SetReference):
                found[order.model_id, order.model_version] = entry.offset
    return found


def observe(budgets: Iterable[ModelBudget], n_alerts: Mapping[tuple[int, ModelKey], int]) -> None:
    """Put in how many alerts were opened, by partition and model."""
    for each in budgets:
        each.observed = Observed(n_alerts.get((each.partition, each.key), 0), each.expected)


def judge_references(fold: Fold, budgets: Iterable[ModelBudget], past: Past) -> None:
    """Put in which signals later events show to vary more than their reference allows.

    `past`: the models' latest events; those of a reference among them are left out.
    """
    for each in budgets:
        monitor = fold.catalog.monitor(fold.catalog.slot_of[each.key])
        n_learned = 0 if monitor.reference else each.n_reference
        events = past.of(each.key, each.n_events - n_learned)
        if events is not None:
            each.unsteady = unsteady_signals(monitor, events, fold.config)
