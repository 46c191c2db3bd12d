"""The demo on the screen: a live picture on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from schemas.alerts import MovedSignal
from schemas.batch import F64
from schemas.incidents import IncidentData
from schemas.retraining import RetrainingData
from streams.alert_book import SeenAlert, from_to
from streams.demo_anomalies import SeenAnomaly
from streams.demo_flow import News, Progress
from streams.demo_story import meaning
from streams.evidence import severity
from streams.traffic import REFERENCE_EVENTS, ModelTraffic

_BARS: Final = "▁▂▃▄▅▆▇█"
_N_BARS: Final = 40
_LEAST_EVENTS_A_BAR: Final = 200
_LINE_EVERY_S: Final = 5.0
_WHAT: Final = {IncidentData: "INCIDENT", RetrainingData: "RETRAINING"}
_COLOURS: Final = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "blue"}


class View(Protocol):
    """What the demo shows itself on."""

    def say(self, text: str) -> None:
        """Show what is going on now."""
        ...

    def show(self, progress: Progress, new: News) -> None:
        """Show where the run stands and what has just come."""
        ...


class PlainView:
    """A line every five seconds, and one per alert, anomaly, incident and turn of a retraining."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_s = time.monotonic()

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, progress: Progress, new: News) -> None:
        """What is said at once, the progress now and then."""
        for alert in new.alerts:
            self.say(f"ALERT {alert.number} [{alert.said.severity}] {alert.said.message}")
        for anomaly in new.anomalies:
            severity_word = anomaly.said.severity.lower()
            self.say(f"ANOMALY {anomaly.number} [{severity_word}] {anomaly.said.message}")
        for turn in new.turns:
            self.say(f"{_WHAT[type(turn.said)]} {turn.said.message}")
        now_s = time.monotonic()
        if now_s - self._said_s >= _LINE_EVERY_S:
            self._said_s = now_s
            self.say(flow_line(progress))

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to restore."""


class LiveView:
    """One picture, four times a second: the flow, the models, what drifts, the latest alerts."""

    def __init__(self, console: Console, models: Sequence[ModelTraffic]) -> None:
        self._models = models
        self._console = console
        self._status = ""
        self._progress: Progress | None = None
        self._alerts: deque[SeenAlert] = deque(maxlen=50)
        self._anomalies: deque[SeenAnomaly] = deque(maxlen=50)
        self._n_by_model: dict[str, int] = {}
        self._retraining: dict[str, str] = {}
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.picture)

    def say(self, text: str) -> None:
        """Replace the status line."""
        self._status = text
        self._live.refresh()

    def show(self, progress: Progress, new: News) -> None:
        """Take in what is new; it is drawn with the next picture."""
        self._progress = progress
        self._anomalies.extend(new.anomalies)
        for turn in new.turns:
            if isinstance(turn.said, RetrainingData):
                self._retraining[turn.said.model_id] = turn.said.status
        for alert in new.alerts:
            self._alerts.append(alert)
            model_id = alert.said.model_id
            self._n_by_model[model_id] = self._n_by_model.get(model_id, 0) + 1

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the terminal back; the last picture stays."""
        self._live.stop()

    def picture(self) -> RenderableType:
        """The whole picture; its height fits the terminal."""
        title = Text.assemble(("driftsentry demo", "bold"), "  ", (self._status, "dim"))
        if self._progress is None:
            return title
        # Title, flow, models with frame and head, two frames: the rest is for signals and alerts.
        free = max(self._console.height - len(self._models) - 11, 6)
        return Group(
            title,
            Text(flow_line(self._progress), style="cyan", no_wrap=True, overflow="ellipsis"),
            Panel(self._models_table(self._progress), title="models", title_align="left"),
            Panel(
                self._signals_table(self._progress, min(free // 2, 9)),
                title="what drifts: its mean from the first event until now",
                title_align="left",
            ),
            Panel(
                self._alert_lines(free - min(free // 2, 9)),
                title="the latest anomaly, and the latest alerts",
                title_align="left",
            ),
        )

    def _models_table(self, progress: Progress) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
        accusing = [e for e in self._anomalies if not (e.is_exposure or e.is_of_data)]
        suspected = {each.model_id for each in accusing}
        longest = max(len(model.model_id) for model in self._models)
        table.add_column("model", header_style="dim", no_wrap=True, min_width=longest)
        table.add_column("events", header_style="dim", no_wrap=True, justify="right")
        table.add_column("", no_wrap=True)
        table.add_column("state", header_style="dim", no_wrap=True, ratio=1)
        table.add_column("alerts", header_style="dim", no_wrap=True, justify="right")
        for model, n_sent in zip(self._models, progress.sent_by_model, strict=True):
            learning = n_sent < REFERENCE_EVENTS
            state = (
                Text(f"learns, {n_sent / REFERENCE_EVENTS:.0%}", style="dim")
                if learning
                else Text("watched", style="green")
            )
            if model.model_id in suspected:
                state = Text("an attack is suspected", style="bold red")
            if model.model_id in self._retraining:
                state.append(f"; retraining {self._retraining[model.model_id]}", style="yellow")
            table.add_row(
                model.model_id,
                f"{n_sent:,}",
                ProgressBar(
                    total=len(model),
                    completed=n_sent,
                    width=min(20, max(self._console.width - 55, 5)),
                ),
                state,
                str(self._n_by_model.get(model.model_id, 0)),
            )
        return table

    def _signals_table(self, progress: Progress, n_lines: int) -> RenderableType:
        sent = dict(zip((m.model_id for m in self._models), progress.sent_by_model, strict=True))
        models = {model.model_id: model for model in self._models}
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, expand=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis", style="dim")
        for (model_id, name), moved in self._worth_showing(n_lines):
            values = models[model_id].signal(name)
            if values is None:
                continue
            means = window_means(values[: sent[model_id]])
            table.add_row(
                name.removeprefix("feature:"),
                Text(spark_line(means), style=_COLOURS[severity(moved.effect)]),
                from_to(moved),
                f"{meaning(name)}  {model_id}",
            )
        if not table.row_count:
            return Text("nothing so far", style="dim")
        return table

    def _worth_showing(self, n_lines: int) -> list[tuple[tuple[str, str], MovedSignal]]:
        """The drifting signals: what the demo is about first, then the largest moves."""
        # An alert goes on to gather signals after it has been shown.
        drifting = {
            (alert.said.model_id, moved.signal): moved
            for alert in self._alerts
            for moved in alert.moved.values()
        }
        expected = {
            (model.model_id, signal)
            for model in self._models
            for change in model.changes
            for signal in change.expected
        }
        return sorted(
            drifting.items(),
            key=lambda item: (item[0] not in expected, -abs(item[1].effect)),
        )[:n_lines]

    def _alert_lines(self, n_lines: int) -> RenderableType:
        if not self._alerts and not self._anomalies:
            return Text("none so far", style="dim")
        width = max(self._console.width - 4, 20)
        lines: deque[Text] = deque()
        head = self._anomaly_lines(max(n_lines // 2, 1), width)
        n_lines -= len(head)
        for alert in reversed(self._alerts):
            word = alert.said.severity
            text = Text.assemble((f"{word:<8} ", _COLOURS[word]), alert.said.message)
            n_lines -= len(text.wrap(self._console, width))
            if n_lines < 0:
                break
            lines.appendleft(text)
        return Group(*head, *lines)

    def _anomaly_lines(self, n_lines: int, width: int) -> list[Text]:
        """The latest anomaly, cut off after so many lines: alerts never push it out."""
        if not self._anomalies:
            return []
        said = self._anomalies[-1].said
        word = said.severity.lower()
        text = Text.assemble((f"ANOMALY, {word} ", _COLOURS.get(word, "dim")), said.message)
        return list(text.wrap(self._console, width))[:n_lines]


def window_means(values: F64, n_bars: int = _N_BARS) -> F64:
    """(n_bars or fewer,) means of equal stretches of what was sent, missing values left out."""
    n = min(n_bars, max(len(values) // _LEAST_EVENTS_A_BAR, 1))
    parts = [part[~np.isnan(part)] for part in np.array_split(values, n)]
    means: F64 = np.array([part.mean() if len(part) else np.nan for part in parts])
    return means


def spark_line(values: F64) -> str:
    """The values as bars between their least and their greatest; a gap where there is none."""
    known = values[~np.isnan(values)]
    if not len(known):
        return ""
    low, high = float(known.min()), float(known.max())
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        " " if np.isnan(value) else _BARS[round((value - low) * scale)] for value in values.tolist()
    )


def flow_line(progress: Progress) -> str:
    """One line: how far, how fast, what was refused, what waits."""
    return (
        f"{progress.n_sent:,} of {progress.n_events:,} sent -> Kafka (mock)"
        f" -> {progress.n_folded:,} folded, {progress.rate:,.0f} events/s,"
        f" {progress.n_rejected} refused, {progress.n_waiting:,} waiting"
    )
