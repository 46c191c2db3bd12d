"""One plot per drifting signal, as SVG for a page: its mean over time, changes and alerts."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from schemas.batch import F64

WINDOW_EVENTS: Final = 150
"""Each point of a line is the mean of this many events."""
BAND_SDS: Final = 3.0
"""Half the height of the band, in standard deviations of such a mean."""

INK: Final = "#24303d"
LINE: Final = "#1f6fb2"
_BAND: Final = "#dfe7ee"
_REAL: Final = "#5b6670"
_INJECTED: Final = "#8e44ad"
_ALERT: Final = "#c0392b"
_CLOSE: Final = 0.015
"""The part of the width within which two letters would hide each other."""
_SIZE_INCHES: Final = (5.6, 2.3)

_STYLE: Final[dict[str, Any]] = {
    # Text stays text: small files, the page's font, and readable by a screen reader.
    "svg.fonttype": "none",
    # The same run gives the same bytes.
    "svg.hashsalt": "driftsentry",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": "#b4bec8",
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
}


class ChangeMark(NamedTuple):
    """A change in the traffic: its letter, and the model's first event after it."""

    letter: str
    event: int
    injected: bool


class SignalPlot(NamedTuple):
    """What is drawn of one signal, over events 0 to `n_events`."""

    n_events: int
    at: F64
    """(m,) the middle event of each window."""
    means: F64
    """(m,) the signal's mean over each window; NaN where it is missing."""
    band: tuple[float, float] | None
    """Between which values the means stay while nothing changes; None where that is unknown."""
    changes: Sequence[ChangeMark]
    alert_events: Sequence[int]
    """The events that triggered alerts."""


def plot_of_values(
    values: F64, n_reference: int, changes: Sequence[ChangeMark], alert_events: Sequence[int]
) -> SignalPlot:
    """The plot of a signal whose (n,) values are all at hand; NaN where one is missing.

    The first `n_reference` events are the reference.
    """
    reference = values[:n_reference]
    reference = reference[~np.isnan(reference)]
    band = None
    if len(reference):
        band = band_around(float(reference.mean()), float(reference.std()), WINDOW_EVENTS)
    at, means = _window_means(values)
    return SignalPlot(len(values), at, means, band, changes, alert_events)


def band_around(mean: float, sd: float, n_events: float) -> tuple[float, float]:
    """Where means over `n_events` events stay: the mean, give or take `BAND_SDS` of their sd."""
    reach = BAND_SDS * sd / n_events**0.5
    return mean - reach, mean + reach


def signal_svg(plot: SignalPlot) -> str:
    """The plot as an `<svg>` element that is as wide as what it stands in."""
    return svg_of(lambda axes: _draw(axes, plot), _SIZE_INCHES)


def svg_of(draw: Callable[[Axes], None], size_inches: tuple[float, float]) -> str:
    """What is drawn as an `<svg>` element that is as wide as what it stands in."""
    with style.context(_STYLE):
        figure = Figure(figsize=size_inches, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        text = io.StringIO()
        figure.savefig(
            text, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    svg = text.getvalue()
    # The size is the page's to give, and the groups' names would repeat from plot to plot.
    body = re.sub(r'<g id="[^"]*"', "<g", svg[svg.index(">", svg.index("<svg")) + 1 :])
    width, height = (inches * 72 for inches in size_inches)
    return f'<svg viewBox="0 0 {width:g} {height:g}" aria-hidden="true">{body}'


def _draw(axes: Axes, plot: SignalPlot) -> None:
    n = plot.n_events
    if plot.band is not None:
        axes.axhspan(*plot.band, color=_BAND, linewidth=0)
    axes.plot(plot.at, plot.means, color=LINE, linewidth=1.4, solid_joinstyle="round")
    draw_marks(axes, n, plot.changes, plot.alert_events)
    axes.margins(y=0.12)
    axes.yaxis.set_major_locator(MaxNLocator(4))


def draw_marks(
    axes: Axes, n: int, changes: Sequence[ChangeMark], alert_events: Sequence[int]
) -> None:
    """Changes and alerts over events 0 to n, and an axis for these."""
    for change in changes:
        if change.event >= n:
            continue
        colour = _INJECTED if change.injected else _REAL
        axes.axvline(change.event, color=colour, linewidth=1.0, linestyle=(0, (4, 3)))
    for event, letters, colour in _letters(changes, n):
        axes.annotate(
            letters,
            (event, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=colour,
            weight="bold",
        )
    # Triangles on the lower edge, in an axis of their own: they never hide the line.
    axes.plot(
        list(alert_events),
        [0.0] * len(alert_events),
        linestyle="none",
        marker="^",
        markersize=7,
        color=_ALERT,
        markeredgecolor="white",
        markeredgewidth=0.6,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        zorder=5,
    )
    axes.set_xlim(0, n)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.grid(axis="y", color="#edf1f4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, pad=5)
    # Below the triangles.
    axes.tick_params(axis="x", length=0, pad=9)


def _letters(changes: Sequence[ChangeMark], n: int) -> list[tuple[int, str, str]]:
    """Where letters stand, and their colour: those that would hide each other stand together."""
    found: list[tuple[int, str, str]] = []
    for change in sorted(changes, key=lambda change: change.event):
        if change.event >= n:
            continue
        colour = _INJECTED if change.injected else _REAL
        if found and found[-1][2] == colour and change.event - found[-1][0] < _CLOSE * n:
            event, letters, _ = found.pop()
            found.append((event, letters + change.letter, colour))
        else:
            found.append((change.event, change.letter, colour))
    return found


def _window_means(values: F64) -> tuple[F64, F64]:
    """Middle and mean of each whole window of events, missing values left out."""
    n_windows = max(len(values) // WINDOW_EVENTS, 1)
    middles = np.empty(n_windows, dtype=np.float64)
    means = np.full(n_windows, np.nan, dtype=np.float64)
    for i, part in enumerate(np.array_split(values[: n_windows * WINDOW_EVENTS], n_windows)):
        middles[i] = (i + 0.5) * WINDOW_EVENTS
        known = part[~np.isnan(part)]
        if len(known):
            means[i] = known.mean()
    return middles, means
