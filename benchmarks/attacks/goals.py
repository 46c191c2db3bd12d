"""The goals of the security lane, G1 to G10, each met or missed and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.attacks.agreement import ENOUGH
from benchmarks.attacks.cost import ALL, WIDE
from benchmarks.attacks.duels import ALONE, SYBIL, Duel, Setting
from benchmarks.attacks.intervals import per_million, quantile
from benchmarks.attacks.recordings import IN_POOL, PROBING, SYNTHETIC
from benchmarks.attacks.results import Results
from benchmarks.kit.report import FigureTable

MET: Final = "met"
MISSED: Final = "missed"
NOT_SHOWN: Final = "not shown"
"""Too little was run to say either."""
QUICK_ATTACK: Final = "hopskipjump"
_LATEST_SD: Final = 0.5
"""By which a source may have moved when it is found, at the latest (G9)."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing that was promised."""

    name: str
    wanted: str
    measured: str
    verdict: str


def goals(results: Results) -> list[Goal]:
    """Those of which anything was run."""
    found: list[Goal] = []
    if results.duels:
        found += _of_attacks(results)
    if results.quiet:
        found += _of_benign(results)
    if results.adapted:
        found.append(_of_adaptive(results))
    if results.duels:
        found += _of_thefts(results)
    if results.lies:
        found += _of_labels(results)
    if results.boiled:
        found += _of_baseline(results)
    if results.costs:
        found += _of_cost(results)
    return found


def _verdict(is_met: bool) -> str:
    return MET if is_met else MISSED


def _of(duels: Sequence[Duel], setting: Setting, attacks: Sequence[str]) -> list[Duel]:
    return [one for one in duels if one.setting == setting and one.attack in attacks]


def _queries(duels: Sequence[Duel]) -> list[float]:
    """Of the victims of attacks that found another answer at all: ZOO often does not."""
    return [
        queries
        for one in duels
        for queries, succeeds in zip(one.lane.queries, one.succeeds, strict=True)
        if succeeds
    ]


def _of_attacks(results: Results) -> Iterator[Goal]:
    alone = _of(results.duels, ALONE, PROBING)
    if not alone:
        return
    queries = _queries(alone)
    n_found = sum(map(math.isfinite, queries))
    yield Goal(
        "G1 probing, one source: victims",
        "99 %",
        f"{n_found} of {len(queries)}",
        _verdict(n_found >= 0.99 * len(queries)),
    )
    shares = [
        queries / whole
        for one in alone
        for queries, whole, succeeds in zip(
            one.lane.queries, one.n_whole, one.succeeds, strict=True
        )
        if succeeds
    ]
    yield Goal(
        "G1 queries to detection, median of the attack's own",
        "25 %",
        _percent(quantile(shares, 0.5)),
        _verdict(quantile(shares, 0.5) <= 0.25),
    )
    for one in alone:
        if one.attack == QUICK_ATTACK:
            most = 50 if not one.data.startswith("elec") else 100
            median = one.lane.median
            yield Goal(
                f"G1 {QUICK_ATTACK}, {one.data}: median queries",
                f"{most}",
                _number(median),
                _verdict(median <= most),
            )
    spread = _of(results.duels, SYBIL, PROBING)
    if spread:
        hidden = _queries(spread)
        n_found = sum(map(math.isfinite, hidden))
        yield Goal(
            "G2 the same at 10 % from 20 sources: victims",
            "95 %",
            f"{n_found} of {len(hidden)}",
            _verdict(n_found >= 0.95 * len(hidden)),
        )
        ratio = quantile(hidden, 0.5) / quantile(queries, 0.5)
        yield Goal(
            "G2 queries, median beside G1's",
            "2 times",
            f"{ratio:.1f} times" if math.isfinite(ratio) else "-",
            _verdict(ratio <= 2.0),
        )


def _of_benign(results: Results) -> Iterator[Goal]:
    for one in results.quiet:
        rate, high = per_million(one.n_findings, one.n_events)
        verdict = MET if high <= 10.0 else MISSED if rate > 10.0 else NOT_SHOWN
        yield Goal(
            f"G3 {one.data}, {one.mix}: findings per million",
            "10",
            f"{one.n_findings} in {one.n_events:,}: {rate:.1f}, at most {high:.1f}",
            verdict,
        )


def _of_adaptive(results: Results) -> Goal:
    own = [one for one in results.adapted if one.floor in (1.0, 2.0)]
    n_before = sum(one.n_before for one in own)
    n = sum(len(one.queries) for one in own)
    return Goal(
        "G4 success before detection with floors r and 2 r",
        "10 %",
        f"{n_before} of {n}",
        _verdict(n_before <= 0.1 * n),
    )


def _of_thefts(results: Results) -> Iterator[Goal]:
    for one in _of(results.duels, ALONE, SYNTHETIC):
        share = one.lane.median / one.n_whole[0]
        yield Goal(
            f"G5 {one.data}, {one.attack}: queries of its budget",
            "25 %",
            _percent(share),
            _verdict(share <= 0.25),
        )
    found_after = {
        (one.data, one.attack): one.lane.median for one in _of(results.duels, ALONE, SYNTHETIC)
    }
    for copy in results.stolen:
        queries = found_after[copy.data, copy.attack]
        yield Goal(
            f"G5 {copy.data}, {copy.attack}: queries, a copy agrees in {ENOUGH:.0%}",
            f"before {_number(copy.queries, 'never')}",
            _number(queries),
            _verdict(queries < copy.queries),
        )
    for thief in results.ranked:
        if thief.attack in IN_POOL:
            top = max(1, thief.n_clients // 100)
            yield Goal(
                f"G6 {thief.data}, {thief.attack}: rank by exposure",
                "top 1 %",
                f"{thief.rank} of {thief.n_clients}",
                _verdict(1 <= thief.rank <= top),
            )
    wanted = {1.0: 0.99, 0.5: 0.95, 0.2: 0.8}
    for clients in results.mixed:
        yield Goal(
            f"G7 {clients.data}, {clients.share:.0%} of a client's rows: clients",
            f"{wanted[clients.share]:.0%}",
            f"{clients.n_found} of {clients.n_clients}",
            _verdict(clients.n_found >= wanted[clients.share] * clients.n_clients),
        )


def _of_labels(results: Results) -> Iterator[Goal]:
    most = {0.5: 75.0, 0.2: 200.0}
    for one in results.lies:
        if one.flips in most:
            median = quantile(one.labels_to, 0.5)
            yield Goal(
                f"G8 flips of {one.flips:.0%}: median labels of the source",
                f"{most[one.flips]:.0f}",
                _number(median),
                _verdict(median <= most[one.flips]),
            )
        elif not one.flips:
            yield Goal(
                "G8 false alarms in 200,000 labels",
                "0",
                f"{one.n_false} in {sum(one.n_labels):,}",
                _verdict(one.n_false == 0)
                if sum(one.n_labels) >= 200_000 or one.n_false
                else NOT_SHOWN,
            )


def _of_baseline(results: Results) -> Iterator[Goal]:
    for one in results.boiled:
        if one.case.startswith("honest"):
            yield Goal(
                "G9 honest drift: sources accused",
                "0",
                f"{one.n_accused}",
                _verdict(one.n_accused == 0),
            )
            continue
        most = 0.1 if " 5%" in one.case else 0.35
        shift, moved = max(one.shift), max(one.moved_by)
        yield Goal(
            f"G9 {one.case}: shift of the baseline, sd",
            f"{most:g}",
            f"{shift:.2f}",
            _verdict(shift <= most),
        )
        n_found = sum(map(math.isfinite, one.events_to))
        latest = max((by for by in one.moved_by if math.isfinite(by)), default=math.inf)
        yield Goal(
            f"G9 {one.case}: found",
            f"every time, before {_LATEST_SD:g} sd",
            f"{n_found} of {len(one.events_to)}"
            + (f", at {latest:.2f} sd at the latest" if n_found else ""),
            _verdict(moved < _LATEST_SD),
        )


def _of_cost(results: Results) -> Iterator[Goal]:
    for one in results.costs:
        if one.detector == ALL and one.n_features == WIDE:
            yield Goal(
                "G10 us an event at 30 features",
                "50",
                f"{one.us_per_event:.1f}",
                _verdict(one.us_per_event <= 50.0),
            )
            yield Goal(
                "G10 KiB a source",
                "64",
                f"{one.bytes_per_place / 1024:.1f}",
                _verdict(one.bytes_per_place <= 64 * 1024),
            )


def _percent(share: float) -> str:
    return f"{share:.0%}" if math.isfinite(share) else "not found"


def _number(value: float, infinite: str = "not found") -> str:
    return f"{value:,.0f}" if math.isfinite(value) else infinite


def goal_table(found: Sequence[Goal]) -> FigureTable:
    """One line for each."""
    return FigureTable(
        "goals",
        "goals on the development streams; other data sets, models and attacks decide",
        ("goal", "verdict", "wanted", "measured"),
        [(one.name, one.verdict, one.wanted, one.measured) for one in found],
    )
