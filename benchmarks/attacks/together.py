"""All methods in one table: what each finds, after how many queries, its false alarms, its cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.attacks.baselines import NAMES as PEERS
from benchmarks.attacks.cost import ALL
from benchmarks.attacks.duels import ALONE, LANE, SYBIL, Duel, Found, Setting
from benchmarks.attacks.intervals import per_million
from benchmarks.attacks.recordings import PROBING, SYNTHETIC
from benchmarks.attacks.results import Results
from benchmarks.attacks.tables import count, share
from benchmarks.kit.report import FigureTable

SHOWN: Final = (ALONE, SYBIL, Setting(0.02, 200))
"""From an attack that does not hide to one that hides best."""


def together_table(results: Results) -> FigureTable:
    """One line for the lane, and one for each baseline.

    Victims are those of all attacks that send other rows than honest clients do; benign events
    those of all mixes with a calibration, of which baselines see the first ones of each.
    """
    judged = [one for one in results.quiet if one.is_calibrated]
    n_events = sum(one.n_events for one in judged)
    n_peer_events = sum(one.n_peer_events for one in judged)
    costs = {one.name: (one.us_per_event, one.bytes_per_source) for one in results.peer_costs}
    width = results.peer_costs[0].n_features
    own = next(one for one in results.costs if (one.detector, one.n_features) == (ALL, width))
    costs[LANE] = own.us_per_event, own.bytes_per_place
    rows = []
    for who in (LANE, *PEERS):
        settings = [_pooled(results.duels, setting, _of(who)) for setting in SHOWN]
        if who == LANE:
            n, n_of = n_events, sum(one.n_findings for one in judged)
        else:
            n, n_of = n_peer_events, sum(one.n_of_peers.get(who, 0) for one in judged)
        rate, high = per_million(n_of, n)
        us, kept = costs[who]
        rows.append(
            (
                who,
                *(cell for found in settings for cell in _cells(found)),
                f"{n:,}",
                f"{rate:,.0f} (at most {high:,.0f})",
                f"{us:.1f}",
                f"{kept / 1024:,.1f}" if math.isfinite(kept) else "grows",
            )
        )
    columns = (
        "method",
        *(text for one in SHOWN for text in (_hidden(one), "queries")),
        "benign events",
        "alarms per million",
        f"us an event, {width} features",
        "KiB a source",
    )
    title = (
        "all methods: victims found (95 %) with the attack's share of the traffic and its sources, "
        "queries to the first alarm, median / 95 %, misses as infinite (-)"
    )
    return FigureTable("together", title, columns, rows)


def _hidden(setting: Setting) -> str:
    return f"found, {setting.share:.0%} from {setting.n_sources}"


def _of(who: str) -> Callable[[Duel], Found]:
    return lambda one: one.lane if who == LANE else one.of_baselines[who]


def _pooled(duels: Sequence[Duel], setting: Setting, of: Callable[[Duel], Found]) -> Found:
    """The victims of all attacks in one setting."""
    own = [one for one in duels if one.setting == setting and one.attack in (*PROBING, *SYNTHETIC)]
    return Found([queries for one in own for queries in of(one).queries])


def _cells(found: Found) -> tuple[str, str]:
    if not found.queries:
        return "", ""
    return share(found.n_found, len(found.queries)), f"{count(found.median)} / {count(found.p95)}"
