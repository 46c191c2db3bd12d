"""The budgets in words, a few lines a model, for the terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from detectors.drift.rhythm import ENOUGH_PERIODS
from detectors.promise import Promise, Reason, too_few_periods
from streams.budget import PROVISIONAL_ROWS, ModelBudget, Observed, Replayed
from streams.budget_signals import SignalBudget

MAX_SIGNALS: Final = 8
"""Signals named of each kind of promise; the JSON form has all."""
_ORDERS: Final = {
    "shuffled": "shuffled",
    "blocks": "in blocks",
    "frozen": "shuffled, old reference",
}
_WHY: Final = {
    Reason.INDEPENDENT: "reference too short",
    Reason.CORRELATED: "rows depend on each other",
    Reason.RARE: "rare, and maybe in bursts",
    Reason.RHYTHM: "few periods of its rhythm",
    Reason.NO_ROWS: "no rows of a reference, not watched within a budget",
}


def model_lines(budget: ModelBudget) -> Iterator[str]:
    """All that is to be said of one model."""
    key = budget.key
    shard = "" if key.shard < 0 else f", shard {key.shard}"
    yield (
        f"{key.model_id} {key.model_version}{shard}  (partition {budget.partition}, state at "
        f"{budget.offset:,})"
    )
    yield _line("events", f"{budget.n_events:,}, {_rate(budget)}")
    yield _line("reference", _reference(budget))
    yield from _unsteady_lines(budget)
    if not budget.detectors:
        yield _line("budget", _without(budget))
    elif not budget.watched:
        yield _line(
            "budget", f"none: no signal of it is watched by {_either(budget.detectors)} yet"
        )
    else:
        yield from _promised(budget)
    for each in budget.replays:
        yield _line("replay", _replayed(each))
    for note in budget.notes:
        yield _line("note", note)
    if budget.detectors:
        yield from promise_lines(budget.not_kept(), len(budget.signals))


def _rate(budget: ModelBudget) -> str:
    if budget.events_per_week:
        return f"{budget.events_per_week:,.0f} a week"
    if budget.n_reference:
        return "how many a week its times do not say: one a second is assumed"
    why = "no rows of its reference are kept" if budget.signals else "its reference is not complete"
    return f"how many a week is not known, since {why}"


def _either(names: Sequence[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def _without(budget: ModelBudget) -> str:
    """What there is where no detector keeps a budget."""
    text = (
        "none: no detector that keeps one is on. Switch on `focus` (or `windows`) under "
        "`detection.detectors`; references that are completed from then on keep it"
    )
    if budget.others and budget.n_reference:
        text += (
            f". What {_either(budget.others)} finds opens an alert where it is as strong as "
            f"`focus` would ask at one false alarm in {budget.arl0:,.0f} events of each signal"
        )
    return text


def _reference(budget: ModelBudget) -> str:
    text = f"{budget.n_reference:,} rows" if budget.n_reference else "none is complete"
    if budget.signals and not budget.n_reference:
        # Its means and frequencies are there, which is all that other detectors ask.
        text = "complete, but its rows are not kept"
    if budget.reference:
        text += f", set: {budget.reference}"
    why = []
    if 0 < budget.n_reference < PROVISIONAL_ROWS:
        why.append(f"has fewer than {PROVISIONAL_ROWS:,}")
    if short := too_few_periods(budget.n_periods):
        why.append(f"covers {' and '.join(short)}, fewer than {ENOUGH_PERIODS} periods")
    text += f": provisional, it {' and '.join(why)}" if why else ""
    return text + ("; one is still being learned" if budget.is_learning else "")


def _unsteady_lines(budget: ModelBudget) -> Iterator[str]:
    if not budget.unsteady:
        return
    worst = sorted(budget.unsteady, key=lambda each: (-each.enough, -each.factor))
    yield _line(
        "reference",
        f"does not represent what came after it, by {_n(len(worst), 'signal')}: later blocks vary "
        f"more than it allows, so that more alerts than stated will be false. Make one of "
        f"{worst[0].enough:,} rows or more (`driftsentry reference fit`):",
    )
    for each in worst[:MAX_SIGNALS]:
        yield (
            f"    {each.signal}: means of {each.block:,} rows vary {each.factor:.3g} times as much "
            f"as allowed; {each.rows:,} rows, and {each.enough:,} would have seen it"
        )
    if len(worst) > MAX_SIGNALS:
        yield f"    and {len(worst) - MAX_SIGNALS:,} more (--json names them)"


def _promised(budget: ModelBudget) -> Iterator[str]:
    n_watched, n_signals = len(budget.watched), len(budget.signals)
    of = "" if n_watched == n_signals else f"{n_watched:,} of "
    yield _line("watched", f"{of}{_n(n_signals, 'signal')} in {_n(budget.n_lanes, 'lane')}")
    accepted = (
        f"{budget.accepted_per_week:,.4g} false alert"
        f"{'' if budget.accepted_per_week == 1.0 else 's'} a week"
        if budget.accepted_per_week
        else "stated as ARL0"
    )
    yield _line(
        "budget", f"{accepted}: each signal one false alarm in {budget.arl0:,.0f} events (ARL0)"
    )
    limits = "; ".join(
        f"{kind} {youngest:.2f} to {oldest:.2f}"
        for kind, (youngest, oldest) in budget.thresholds().items()
    )
    if limits:
        yield _line("thresholds", f"{limits} (youngest ages to oldest)")
    yield _line("expected", f"{budget.expected:.2f} false alerts since its lanes began")
    if budget.observed is not None:
        text = _observed(budget.observed)
        yield _line("observed", f"{text}. Observed ones may be true changes.")


def _observed(observed: Observed) -> str:
    low, high = observed.interval
    text = f"{_n(observed.n_alerts, 'alert')}, 95 % interval {low:.2f} to {high:.2f}"
    if observed.n_alerts:
        text += f"; so many or more by chance alone: {_share(observed.probability)}"
    return text


def _replayed(each: Replayed) -> str:
    of = f" of {each.block:,}" if each.kind == "blocks" else ""
    return (
        f"{_ORDERS[each.kind]}{of}: {_observed(each.observed)}; expected "
        f"{each.observed.expected:.2f} over {_n(each.n_events, 'event')} (seed {each.seed})"
    )


def promise_lines(signals: Sequence[SignalBudget], n_signals: int) -> Iterator[str]:
    """Which signals are not believed to keep the budget, with the reference that would do."""
    if n_signals and not signals:
        yield _line("promise", "believed to be kept by every signal")
    for promise, says in (
        (Promise.NOT_KEPT, "cannot be kept by"),
        (Promise.PROVISIONAL, "kept only roughly by"),
    ):
        own = [each for each in signals if each.verdict.promise is promise]
        if own:
            yield _line("promise", f"{says} {len(own):,} of {_n(n_signals, 'signal')}:")
        own.sort(key=lambda each: (-each.verdict.enough, -each.verdict.variance))
        yield from (f"    {promise_sentence(each)}" for each in own[:MAX_SIGNALS])
        if len(own) > MAX_SIGNALS:
            yield f"    and {len(own) - MAX_SIGNALS:,} more (--json names them)"


def promise_sentence(signal: SignalBudget) -> str:
    """Why, and the length of reference that would do."""
    verdict = signal.verdict
    factor = f" (variance factor {verdict.variance:.3g})" if verdict.variance > 1.0 else ""
    why = _WHY[verdict.reason] + (factor if verdict.reason is Reason.CORRELATED else "")
    if signal.rhythm is not None and verdict.reason is Reason.RHYTHM:
        why += f" ({signal.rhythm.periods} {signal.rhythm.name}s)"
    return (
        f"{signal.name}: {why}; {verdict.rows:,} rows, and {verdict.enough:,} would do, "
        f"{verdict.least:,} at the very least"
    )


def caveats(budgets: Sequence[ModelBudget]) -> Iterator[str]:
    """What must be known to read the replays; nothing where there are none."""
    if not any(budget.replays for budget in budgets):
        return
    yield (
        "Shuffled: any order is as likely, so every alarm is false; but what hangs together in "
        "time is destroyed, so that this says nothing of correlation."
    )
    yield (
        "In blocks: most of the correlation within a block is kept, and so are the changes that "
        "the past had: alarms may be either."
    )
    yield (
        "Shuffled, old reference: against the reference that workers use. Alarms say also that "
        "what came after is as a whole unlike it."
    )


def _line(name: str, text: str) -> str:
    return f"  {name:<11} {text}"


def _n(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _share(probability: float) -> str:
    return "under 0.0001" if probability < 1e-4 else f"{probability:.2g}"
