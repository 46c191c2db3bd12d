"""The report's picture of an attack: a model's queries seen along its boundary, and the alarm."""

from __future__ import annotations

from html import escape
from typing import Final, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm

from schemas.batch import F64
from streams.demo_anomalies import Sighting
from streams.demo_story import Story
from streams.report_plots import INK, svg_of
from streams.traffic import ModelTraffic

_HONEST: Final = "#b9c3cc"
_ALARM: Final = "#c0392b"
_MAX_HONEST: Final = 1_200
"""Drawn at most, evenly from all: more would be a large file and the same cloud."""
_N_COLOURS: Final = 20
_SIZE_INCHES: Final = (9.4, 4.9)
_REACH: Final = 3.0
"""How far the picture goes from the boundary, in standard deviations of honest queries."""


class AttackPlot(NamedTuple):
    """What is drawn of one attack; places are (distance from the boundary, along it)."""

    honest: F64
    """(m, 2)"""
    queries: F64
    """(k, 2) the attacker's, in their order."""
    alarm: int
    """At which of these the attacker was named, from 1; 0: never."""


def plot_of_attack(model: ModelTraffic, weights: F64, sighting: Sighting) -> AttackPlot:
    """The model's queries in two directions.

    Across: along the model's weights, so that 0 is the boundary and the sign is the answer. Up: at
    right angles to them, where the attacker's queries spread most.
    """
    attack = sighting.attack
    rows = np.column_stack(list(model.numbers.values()))
    across = weights / np.linalg.norm(weights)
    in_boundary = rows - np.outer(rows @ across, across)
    of_attacker = in_boundary[attack.at]
    spread = np.linalg.svd(of_attacker - of_attacker.mean(axis=0), full_matrices=False)[2][0]
    # Of the two signs a decomposition may give, always the same one.
    up = spread * np.sign(spread[np.argmax(np.abs(spread))])
    places = np.column_stack((rows @ across, rows @ up))
    honest = np.delete(places, attack.at, axis=0)
    step = -(-len(honest) // _MAX_HONEST)
    return AttackPlot(
        honest[::step], places[attack.at], 0 if sighting.anomaly is None else sighting.n_events
    )


def attack_svg(plot: AttackPlot) -> str:
    """The plot as an `<svg>` element that is as wide as what it stands in."""
    return svg_of(lambda axes: _draw(axes, plot), _SIZE_INCHES)


def _draw(axes: Axes, plot: AttackPlot) -> None:
    n = len(plot.queries)
    axes.plot(*plot.honest.T, linestyle="none", marker="o", markersize=2.6, color=_HONEST, mew=0)
    axes.axvline(0.0, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    edges = np.linspace(0.5, n + 0.5, _N_COLOURS + 1)
    colours = colormaps["plasma"].resampled(_N_COLOURS)
    norm = BoundaryNorm(edges.tolist(), _N_COLOURS)
    axes.plot(*plot.queries.T, color="#5b2a86", linewidth=0.5, alpha=0.35)
    axes.scatter(
        plot.queries[:, 0],
        plot.queries[:, 1],
        c=np.arange(1, n + 1),
        cmap=colours,
        norm=norm,
        s=20,
        linewidths=0,
        zorder=3,
    )
    bar = axes.figure.colorbar(
        ScalarMappable(norm, colours), ax=axes, pad=0.02, aspect=30, spacing="proportional"
    )
    bar.set_label("the attacker's queries, by order", color=INK)
    bar.set_ticks([1, *range(50, n + 1, 50)])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    if plot.alarm:
        _mark_alarm(axes, bar.ax, plot)
    axes.set_xlim(-_REACH, _REACH)
    axes.set_ylim(-_REACH, _REACH)
    axes.set_xlabel("distance from the decision boundary  (left: answer 0, right: answer 1)")
    axes.set_ylabel("along the boundary")
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.tick_params(length=0, pad=5)


def _mark_alarm(axes: Axes, bar: Axes, plot: AttackPlot) -> None:
    """A ring around the query at which the attacker was named, and a line on the colour bar."""
    place = plot.queries[plot.alarm - 1]
    axes.plot(*place, marker="o", markersize=12, color="none", mec=_ALARM, mew=2.0, zorder=5)
    axes.annotate(
        f"alarm at query {plot.alarm}",
        place.tolist(),
        xytext=(0.73, 0.92),
        textcoords="axes fraction",
        color=_ALARM,
        weight="bold",
        bbox={"boxstyle": "round,pad=0.25", "fc": "white", "ec": "none", "alpha": 0.85},
        arrowprops={"arrowstyle": "-", "color": _ALARM, "lw": 1.2, "shrinkB": 7},
        zorder=6,
    )
    bar.axhline(plot.alarm, color=_ALARM, linewidth=2.5)


def attack_sections(story: Story) -> str:
    """The report's part about attacks: what was said, and the picture of each."""
    models = {model.model_id: model for model in story.models}
    sections = "".join(_section(models[each.model_id], each) for each in story.sightings())
    others = "".join(
        f"<li>{escape(anomaly.said.message)}</li>" for anomaly in story.false_accusations()
    )
    if not others:
        return sections
    return (
        f'{sections}<div class="card change wide"><div><b class="cross">Accused falsely</b>'
        '<div class="soft small">Nobody attacks there. A change that all clients make at once can'
        f" look like an attack.</div><ul>{others}</ul></div></div>"
    )


def _section(model: ModelTraffic, sighting: Sighting) -> str:
    attack, anomaly = sighting.attack, sighting.anomaly
    n = len(attack.at)
    if anomaly is None:
        found = '<span class="cross">not noticed</span>'
        said = ""
    else:
        detectors = escape(", ".join(anomaly.said.unmapped.detectors))
        found = (
            f'<span class="tick">found after {sighting.n_events:,} of {n:,} {attack.kind}</span>'
            f' <span class="soft small">{detectors}</span>'
        )
        said = (
            f'<p>{escape(anomaly.said.message)}</p><p class="soft small">What to do:'
            f" {escape(anomaly.said.remediation.desc)}</p>"
        )
    honest, whom = escape(", ".join(sighting.accused)), attack.by
    others = (
        f'<span class="cross">honest {whom}s were accused: {honest}</span>'
        if honest
        else f'<span class="tick">no honest {whom} was accused</span>'
    )
    picture = ""
    if attack.weights is not None:
        label = escape(f"The queries of {model.model_id} along its decision boundary", quote=True)
        picture = (
            f'<figure class="card plot wide"><div role="img" aria-label="{label}">'
            f"{attack_svg(plot_of_attack(model, attack.weights, sighting))}</div></figure>"
        )
    return (
        f"<section><p>{escape(model.about)}</p>"
        f'<div class="card change"><div><b>Made up: {escape(attack.title)}</b>'
        f'<div class="soft small">from event {int(attack.at[0]):,} of'
        f" <code>{escape(model.model_id)}</code>, by <code>{escape(attack.source)}</code></div>"
        f"<ul><li>{found}</li><li>{others}</li></ul>{said}</div></div>{picture}</section>\n"
    )
