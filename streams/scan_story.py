"""A scan in words: what was decided before it, which signals moved and when, how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from detectors.monitor import reference_events
from schemas.alerts import MovedSignal
from schemas.batch import ModelKey
from streams.alert_book import SeenAlert
from streams.scan import MIN_REFERENCE, Scan
from streams.scan_columns import plan_lines
from streams.scan_performance_story import label_use, performance_lines, performance_quiet_lines
from streams.sentences import drift_sentence, move, move_of_named, subject

MAX_PLACES: Final = 8
"""Alerts told on the terminal; the strongest are."""
RESTLESS: Final = 10
"""A signal with so many alerts is told apart from those that moved once or twice."""
MAX_LINES: Final = 4
"""Signals of an alert that are told, likewise."""
MAX_SIGNALS: Final = 15
"""In the table of signals, likewise."""


class Signal(NamedTuple):
    """A signal of a model of the file."""

    model: ModelKey
    name: str


class Sighting(NamedTuple):
    """A signal in one of the alerts."""

    alert: SeenAlert
    moved: MovedSignal

    @property
    def size(self) -> float:
        """How far the signal was from its reference, in its standard deviations."""
        return abs(self.moved.effect)


def model_of(alert: SeenAlert) -> ModelKey:
    """The model of an alert."""
    said = alert.said
    return ModelKey(said.model_id, said.model_version, -1 if said.shard is None else said.shard)


def largest(sightings: Sequence[Sighting]) -> Sighting:
    """Where the signal went furthest."""
    return max(sightings, key=lambda each: each.size)


def by_signal(alerts: Sequence[SeenAlert]) -> dict[Signal, list[Sighting]]:
    """Where each signal moved; first the signals that moved far and seldom.

    A signal that moves again and again (a season, a region) says less with each move.
    """
    found: dict[Signal, list[Sighting]] = {}
    for alert in alerts:
        for moved in alert.moved.values():
            signal = Signal(model_of(alert), moved.signal)
            found.setdefault(signal, []).append(Sighting(alert, moved))

    def weight(sightings: list[Sighting]) -> float:
        return largest(sightings).size / len(sightings)

    return dict(sorted(found.items(), key=lambda item: -weight(item[1])))


def strongest(alerts: Sequence[SeenAlert], most: int) -> list[SeenAlert]:
    """Those that say most, in the order of the file."""
    n_of = {signal: len(sightings) for signal, sightings in by_signal(alerts).items()}

    def weight(alert: SeenAlert) -> float:
        return sum(
            abs(moved.effect) / n_of[Signal(model_of(alert), moved.signal)]
            for moved in alert.moved.values()
        )

    kept = sorted(alerts, key=lambda alert: -weight(alert))[:most]
    return sorted(kept, key=lambda alert: alert.said.opened_offset)


def sentence(alert: SeenAlert, *, name_model: bool) -> str:
    """The alert as its message says it, with rows where a topic has offsets."""
    said = alert.said
    if said.kind == "bound":
        return f"{said.message.removesuffix('.')}, at row {said.trigger_offset:,}."
    # What moved, and not how it ended: that stands beside it.
    return drift_sentence(
        said.model_copy(update={"resolution": None}), "row", name_model=name_model
    )


def opening_lines(scan: Scan, *, is_reference: bool = False, use: str = "") -> list[str]:
    """What will be done with the file, and which option changes it.

    `is_reference`: all rows are one, and are compared with nothing. `use`: likewise, and so much
    is made of a label.
    """
    n_reference = scan.n_reference
    head = f"{scan.path.name}: {_n(scan.n_rows, 'row')}"
    if scan.is_events:
        lines = [f"{head}, each one of driftsentry's own events"]
    else:
        lines = [f"{head}, taken as predictions in this way:"]
        of_label = "calibrates the score" if is_reference else label_use(scan)
        lines += plan_lines(scan.plan, scan.model, scan.version, label_use=use or of_label)
    if not (is_reference or use):
        lines.append(
            f"  {'reference':<11} the first {n_reference:,} rows of a model{_unless(scan)}; later "
            "rows are compared with them  (--reference)"
        )
    order = "sorted by time" if scan.is_sorted else "as in the file"
    lines.append(f"  {'order':<11} {order}; rows are counted from 0  (--sort)")
    lines += [f"  {'note':<11} {note}" for note in scan.notes[:8]]
    return lines


def _unless(scan: Scan) -> str:
    """What to add where the config has other references for some of many models."""
    others = {each.reference_events for each in scan.detection.model.values()}
    is_one = not scan.is_events and "model_id" not in scan.plan.roles
    return ", or as the config says of one" if others - {None} and not is_one else ""


def place_lines(scan: Scan) -> list[str]:
    """The alerts that say most, in the order of the file."""
    shown = strongest(scan.alerts, MAX_PLACES)
    name_model = len(scan.models) > 1
    lines: list[str] = []
    for alert in shown:
        n = len(alert.moved)
        what = "a limit was reached" if not n else _n(n, "signal") + " moved"
        ended = f", {alert.said.resolution} later" if alert.said.resolution else ""
        lines += ["", f"Row {alert.said.opened_offset:,}: {what}{ended}"]
        lines.append(f"  [{alert.said.severity}] {sentence(alert, name_model=name_model)}")
        others = alert.said.signals[1:]
        for moved in others[:MAX_LINES]:
            lines.append(f"  {subject(moved)} {move(moved)}, seen at row {moved.found_offset:,}")
        if n - 1 > MAX_LINES:
            lines.append(f"  and {_n(n - 1 - MAX_LINES, 'further signal')}")
    n_left = len(scan.alerts) - len(shown)
    if n_left:
        lines += ["", f"And {_n(n_left, 'weaker alert')}."]
    return lines


def refused_lines(scan: Scan) -> list[str]:
    """What was refused, by reason, with the numbers of some rows."""
    lines = []
    for reason, refused in sorted(scan.refused.items()):
        rows = ", ".join(f"{row:,}" for row in refused.examples)
        more = " ..." if refused.n_rows > len(refused.examples) else ""
        lines.append(
            f"  {reason}: {_n(refused.n_rows, 'row')} ({rows}{more}). First: {refused.detail}"
        )
    return lines


def quiet_lines(scan: Scan) -> list[str]:
    """Why there was less to see than the user may think."""
    lines = []
    if learning := scan.learning:
        who = (
            f"{len(learning)} of {len(scan.models)} models" if len(scan.models) > 1 else "The model"
        )
        fewest = min(learning, key=lambda model: scan.series.n_events[model])
        n_reference = reference_events(scan.detection, fewest)
        shorter = max(scan.series.n_events[fewest] // 4, MIN_REFERENCE)
        remedy = (
            f"choose a shorter one, such as --reference {shorter}."
            if shorter < n_reference
            else f"a reference has {MIN_REFERENCE:,} rows at least: give more rows."
        )
        lines.append(
            f"{who} had no row after the reference, so that nothing was compared: {remedy}"
        )
    elif not scan.models:
        lines.append("There was no prediction to watch.")
    elif not scan.n_signals:
        lines.append(_nothing_watched(scan))
    if scan.n_labels and not scan.detection.labels.enabled:
        lines.append(
            f"{scan.n_labels:,} labels were read and not used: `labels.enabled` in a file for "
            "--config joins them."
        )
    lines += performance_quiet_lines(scan)
    if scan.n_backward and not scan.is_sorted:
        lines.append(
            f"The time steps backwards at {_n(scan.n_backward, 'row')}, first at row "
            f"{scan.first_backward_row:,}; rows were taken in the order of the file (--sort)."
        )
    restless = [
        f"{signal.name.removeprefix('feature:')} ({len(sightings)})"
        for signal, sightings in by_signal(scan.alerts).items()
        if len(sightings) >= RESTLESS
    ]
    if restless:
        lines.append(
            f"These move again and again, as with a season or from place to place: "
            f"{', '.join(restless[:8])}{' ...' if len(restless) > 8 else ''}. --drop leaves "
            "a column out."
        )
    return lines


def _nothing_watched(scan: Scan) -> str:
    """Why there is no signal."""
    # A bound has an alert of its own, whose signal is its name.
    reached = [a.said.signal.partition(":")[2] for a in scan.alerts if a.said.kind == "bound"]
    names = list(dict.fromkeys(reached))
    if not names:
        return "No column holds what could be watched."
    limits = ", ".join(
        f"bounds.{name} ({getattr(scan.detection.bounds, name):,})" for name in names
    )
    return f"The bounds leave no signal to be watched: raise {limits}."


def summary_lines(scan: Scan) -> list[str]:
    """How the scan ended, and which signals moved most."""
    n_refused = sum(refused.n_rows for refused in scan.refused.values())
    of_signal = by_signal(scan.alerts)
    lines = [
        "",
        f"{_n(scan.n_rows, 'row')} in {scan.seconds:.1f} s; {n_refused:,} of them were refused.",
        *refused_lines(scan),
        f"{len(of_signal):,} of {scan.n_signals:,} signals moved: {_n(len(scan.alerts), 'alert')}.",
        *quiet_lines(scan),
        *performance_lines(scan),
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
    for name, (_, sightings) in zip(names, shown, strict=True):
        worst = largest(sightings)
        lines.append(f"{name:<{width}}  {len(sightings):>6}  {move_of_named(worst.moved)}")
    if len(of_signal) > len(shown):
        lines.append(f"and {_n(len(of_signal) - len(shown), 'further signal')}")
    return lines


def _n(number: int, what: str) -> str:
    """So many of something, in words."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
