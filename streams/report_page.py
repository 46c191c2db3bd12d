"""What every report is made of: one HTML page that needs nothing else, and its small parts.

Whatever came from outside is escaped here or by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from string import Template

from schemas.alerts import AlertData, MovedSignal
from schemas.reasons import EXPLANATIONS, Reason
from streams.sentences import detector_name


def template_text(name: str) -> str:
    """A template that is shipped beside this module."""
    return files("streams").joinpath(name).read_text(encoding="utf-8")


def page(title: str, body: str) -> str:
    """The whole page around a body that is HTML already."""
    return Template(template_text("report_page.html")).substitute(title=escape(title), body=body)


def table_rows(cells: Iterable[str]) -> str:
    """Rows of a table, each given as its cells."""
    return "".join(f"<tr>{row}</tr>\n" for row in cells) or "<tr><td>none</td></tr>"


def reason_rows(reasons: Mapping[str, int]) -> str:
    """What was refused, by reason code: its sentence and how many events."""
    return table_rows(_reason(reason, n) for reason, n in sorted(reasons.items()))


def _reason(reason: str, n_events: int) -> str:
    known = reason in set(Reason)
    sentence = EXPLANATIONS[Reason(reason)].sentence if known else ""
    return (
        f"<td><code>{escape(reason)}</code></td><td>{escape(sentence)}</td>"
        f'<td class="n">{n_events}</td>'
    )


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Large figures side by side, each with what it counts; both are HTML already."""
    return "".join(
        f'<div class="card tile"><b>{figure}</b><span class="soft small">{what}</span></div>'
        for figure, what in figures
    )


def severity_cell(said: AlertData) -> str:
    """The cell of a table that says how severe an alert is."""
    return f'<td><span class="severity {said.severity}">{said.severity}</span></td>'


def detector_names(moved: MovedSignal) -> str:
    """The detectors that found it, by the names people know."""
    return escape(", ".join(map(detector_name, moved.detectors)))
