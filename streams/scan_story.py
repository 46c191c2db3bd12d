"""A scan in words: what was decided before it, which signals moved and when, how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.batch import ModelKey
from streams.alert_book import SeenAlert
from streams.scan import Scan
from streams.scan_columns import plan_lines
from streams.sentences import detector_name, model_name, number, percent

GROUP_ROWS: Final = 1_000
"""Alerts that come within so many rows of the first are told together."""
MAX_GROUPS: Final = 8
"""Told on the terminal; the strongest are."""
RESTLESS: Final = 10
"""A signal with so many alerts is told apart from those that moved once or twice."""
MAX_LINES: Final = 4
"""Of a group, likewise."""
MAX_SIGNALS: Final = 15
"""In the table of signals, likewise."""


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts that came at about the same place of the file, those that say most first."""

    alerts: Sequence[SeenAlert]
    weight: float
    """How much they say together."""

    @property
    def first_row(self) -> int:
        """The row at which the first of them came."""
        return min(alert.said.opened_offset for alert in self.alerts)

    @property
    def last_row(self) -> int:
        """The row at which the last of them came."""
        return max(alert.said.opened_offset for alert in self.alerts)

    @property
    def since_row(self) -> int:
        """From about which row on the signal that says most has moved."""
        return self.alerts[0].said.change_offset


class Signal(NamedTuple):
    """What an alert is about."""

    model: ModelKey
    name: str


def signal_of(alert: SeenAlert) -> Signal:
    """The signal of an alert."""
    said = alert.said
    shard = -1 if said.shard is None else said.shard
    return Signal(ModelKey(said.model_id, said.model_version, shard), said.signal)


def size(alert: SeenAlert) -> float:
    """How far the signal moved, in reference standard deviations; 0 where nothing moved."""
    return abs(alert.said.effect or 0.0)


def by_signal(alerts: Sequence[SeenAlert]) -> dict[Signal, list[SeenAlert]]:
    """The alerts of each signal; first the signals that moved far and seldom.

    A signal that moves again and again (a season, a region) says less with each move.
    """
    found: dict[Signal, list[SeenAlert]] = {}
    for alert in alerts:
        found.setdefault(signal_of(alert), []).append(alert)
    return dict(sorted(found.items(), key=lambda item: -max(map(size, item[1])) / len(item[1])))


def groups(alerts: Sequence[SeenAlert]) -> list[Group]:
    """The alerts by place, in the order of the file."""
    n_of = {signal: len(of_signal) for signal, of_signal in by_signal(alerts).items()}

    def weight(alert: SeenAlert) -> float:
        return size(alert) / n_of[signal_of(alert)]

    found: list[list[SeenAlert]] = []
    for alert in sorted(alerts, key=lambda alert: alert.said.opened_offset):
        row = alert.said.opened_offset
        if found and row - found[-1][0].said.opened_offset <= GROUP_ROWS:
            found[-1].append(alert)
        else:
            found.append([alert])
    return [
        Group(sorted(group, key=lambda alert: -weight(alert)), sum(map(weight, group)))
        for group in found
    ]


def strongest(every: Sequence[Group], most: int) -> list[Group]:
    """Those that say most, in the order of the file."""
    kept = sorted(every, key=lambda group: -group.weight)[:most]
    return sorted(kept, key=lambda group: group.first_row)


def sentence(alert: SeenAlert, *, name_model: bool) -> str:
    """The alert as its message says it, with rows where a topic has offsets."""
    said = alert.said
    text, is_drift, _ = said.message.rpartition(" since about offset ")
    if not is_drift:
        return f"{said.message.removesuffix('.')}, at row {said.trigger_offset:,}."
    if not name_model:
        shard = -1 if said.shard is None else said.shard
        text = text.removeprefix(f"{model_name(said.model_id, said.model_version, shard)}: ")
    names = " and ".join(map(detector_name, alert.detectors))
    first = said.opened_offset
    return (
        f"{text} since about row {said.change_offset:,}, seen at row {said.trigger_offset:,} "
        f"by {names}{'' if first == said.trigger_offset else f' (first at row {first:,})'}."
    )


def move(alert: SeenAlert) -> str:
    """From what to what the mean went; where too few rows stand behind one, nothing of it."""
    said = alert.said
    departs = " departs from its constant " in said.message
    is_share = departs or said.signal.startswith(("missing:", "class:"))
    show = percent if is_share else number
    parts = [] if said.before is None else [show(said.before)]
    parts += [] if said.after is None else ["to", show(said.after)]
    what = " of rows depart from its constant" if departs and parts else ""
    effect = "" if said.effect is None else f" ({said.effect:+.2f} sd)"
    return f"{' '.join(parts)}{what}{effect}".strip()


def opening_lines(scan: Scan) -> list[str]:
    """What will be done with the file, and which option changes it."""
    n_reference = scan.detection.reference_events
    head = f"{scan.path.name}: {_n(scan.n_rows, 'row')}"
    if scan.is_events:
        lines = [f"{head}, each one of driftsentry's own events"]
    else:
        lines = [f"{head}, taken as predictions in this way:"]
        lines += plan_lines(scan.plan, scan.model, scan.version)
    lines.append(
        f"  {'reference':<11} the first {n_reference:,} rows of a model; later rows are compared "
        "with them  (--reference)"
    )
    order = "sorted by time" if scan.is_sorted else "as in the file"
    lines.append(f"  {'order':<11} {order}; rows are counted from 0  (--sort)")
    lines += [f"  {'note':<11} {note}" for note in scan.notes[:8]]
    return lines


def group_lines(scan: Scan) -> list[str]:
    """The alerts, place by place."""
    every = groups(scan.alerts)
    shown = strongest(every, MAX_GROUPS)
    name_model = len(scan.models) > 1
    lines: list[str] = []
    for group in shown:
        n = len(group.alerts)
        where = f"Row {group.first_row:,}"
        if group.last_row > group.first_row:
            where = f"Rows {group.first_row:,} to {group.last_row:,}"
        lines += ["", f"{where}: {n} alert{'s' if n > 1 else ''}"]
        for alert in group.alerts[:MAX_LINES]:
            lines.append(f"  [{alert.said.severity}] {sentence(alert, name_model=name_model)}")
        if n > MAX_LINES:
            lines.append(f"  and {n - MAX_LINES} weaker ones")
    n_left = len(every) - len(shown)
    if n_left:
        lines += ["", f"{n_left} further places have weaker alerts."]
    return lines


def refused_lines(scan: Scan) -> list[str]:
    """What was refused, by reason, with the numbers of some rows."""
    lines = []
    for reason, refused in sorted(scan.refused.items()):
        rows = ", ".join(f"{row:,}" for row in refused.examples)
        more = " ..." if refused.n_rows > len(refused.examples) else ""
        lines.append(f"  {reason}: {refused.n_rows:,} rows ({rows}{more}). First: {refused.detail}")
    return lines


def quiet_lines(scan: Scan) -> list[str]:
    """Why there was less to see than the user may think."""
    lines = []
    n_reference = scan.detection.reference_events
    learning = [model for model in scan.models if scan.series.n_events[model] <= n_reference]
    if learning:
        who = (
            f"{len(learning)} of {len(scan.models)} models" if len(scan.models) > 1 else "The model"
        )
        lines.append(
            f"{who} had no row after the reference, so that nothing was compared: "
            "choose a shorter one, such as --reference "
            f"{max(min(scan.series.n_events[model] for model in learning) // 4, 20)}."
        )
    elif not scan.models:
        lines.append("There was no prediction to watch.")
    elif not scan.n_signals:
        lines.append("No column holds numbers that could be watched.")
    if scan.n_labels:
        lines.append(f"{scan.n_labels:,} labels were read; they are not used yet.")
    if scan.n_backward and not scan.is_sorted:
        lines.append(
            f"The time steps backwards at {scan.n_backward:,} rows, first at row "
            f"{scan.first_backward_row:,}; rows were taken in the order of the file (--sort)."
        )
    restless = [
        f"{signal.name.removeprefix('feature:')} ({len(alerts)})"
        for signal, alerts in by_signal(scan.alerts).items()
        if len(alerts) >= RESTLESS
    ]
    if restless:
        lines.append(
            f"These move again and again, as with a season or from place to place: "
            f"{', '.join(restless[:8])}{' ...' if len(restless) > 8 else ''}. --drop leaves "
            "a column out."
        )
    return lines


def summary_lines(scan: Scan) -> list[str]:
    """How the scan ended, and which signals moved most."""
    n_refused = sum(refused.n_rows for refused in scan.refused.values())
    of_signal = by_signal(scan.alerts)
    lines = [
        "",
        f"{scan.n_rows:,} rows in {scan.seconds:.1f} s; {n_refused:,} of them were refused.",
        *refused_lines(scan),
        f"{len(of_signal):,} of {scan.n_signals:,} signals moved: {_n(len(scan.alerts), 'alert')}.",
        *quiet_lines(scan),
    ]
    if not of_signal:
        return lines
    shown = list(of_signal.items())[:MAX_SIGNALS]
    names = [
        (f"{model.model_id} {model.model_version}  " if len(scan.models) > 1 else "") + name
        for (model, name), _ in shown
    ]
    width = max([len("signal"), *map(len, names)])
    lines += ["", f"{'signal':<{width}}  alerts  largest move"]
    for name, (_, alerts) in zip(names, shown, strict=True):
        worst = max(alerts, key=size)
        lines.append(f"{name:<{width}}  {len(alerts):>6}  {move(worst)}".rstrip())
    if len(of_signal) > len(shown):
        lines.append(f"and {len(of_signal) - len(shown)} further signals")
    return lines


def _n(number: int, what: str) -> str:
    """So many of something, in words."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
