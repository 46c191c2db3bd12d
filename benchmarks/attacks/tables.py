"""The tables of the benchmark: what was measured, as it is shown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from benchmarks.attacks.adaptive import Adapted
from benchmarks.attacks.agreement import ENOUGH, Stolen
from benchmarks.attacks.baselines import NAMES as PEERS
from benchmarks.attacks.breaks import Broken
from benchmarks.attacks.controls import CONTROLS, Controlled
from benchmarks.attacks.cost import Cost
from benchmarks.attacks.duels import ALONE, MOST_QUERIES, N_BEFORE, Duel, Found, Setting
from benchmarks.attacks.frog import Boiled
from benchmarks.attacks.intervals import per_million, quantile, wilson
from benchmarks.attacks.patient import Patient
from benchmarks.attacks.poisoned import Lies
from benchmarks.attacks.quiet import Quiet
from benchmarks.attacks.thefts import Mixed, Ranked
from benchmarks.kit.report import FigureTable


def count(value: float) -> str:
    """A count that may be infinite: then it was missed."""
    return f"{value:,.0f}" if math.isfinite(value) else "-"


def share(n: int, of: int) -> str:
    """With its 95 % interval."""
    low, high = wilson(n, of)
    return f"{n} of {of} ({100 * low:.0f} to {100 * high:.0f} %)"


def found_text(found: Found) -> str:
    """Median and how many, for a baseline."""
    if not found.n_found:
        return "-"
    missed = len(found.queries) - found.n_found
    return count(found.median) + (f" ({found.n_found} of {len(found.queries)})" if missed else "")


def attack_table(setting: Setting, duels: Sequence[Duel]) -> FigureTable:
    """One line for each data set and attack."""
    rows = []
    for one in duels:
        if one.setting != setting:
            continue
        first = min(one.of_detectors, key=lambda who: one.of_detectors[who].queries, default="-")
        rows.append(
            (
                f"{one.data}, {one.attack}",
                share(one.lane.n_found, len(one.n_queries)),
                f"{count(one.lane.median)} / {count(one.lane.p95)}",
                count(quantile([float(n) for n in one.n_whole], 0.5)),
                first,
                *(found_text(one.of_baselines[who]) for who in PEERS),
            )
        )
    few = f", at most {MOST_QUERIES} queries each" if setting.share < 0.1 else ""
    title = (
        f"victims found and queries to the first alarm, median / 95 %, misses as infinite (-); "
        f"queries are {setting.share:.0%} of the traffic and come from {setting.n_sources} "
        f"sources{few}, {N_BEFORE} benign events before them; baselines: median"
    )
    columns = ("data, attack", "found (95 %)", "queries", "of", "first detector", *PEERS)
    return FigureTable(f"attacks_{setting.name}", title, columns, rows)


def off_table(found: Sequence[tuple[str, int, list[str]]]) -> FigureTable:
    """Which detectors do not watch which data set."""
    rows = [(name, f"{n:,}", ", ".join(off) or "none") for name, n, off in found]
    columns = ("data", "benign rows to calibrate with", "off")
    return FigureTable("off", "detectors that are off, since there are too few rows", columns, rows)


def stolen_table(copies: Sequence[Stolen], duels: Sequence[Duel]) -> FigureTable:
    """One line for each theft by rows of its own."""
    found = {(one.data, one.attack): one for one in duels if one.setting == ALONE}
    rows = []
    for one in copies:
        duel = found[one.data, one.attack]
        rows.append(
            (
                f"{one.data}, {one.attack}",
                count(duel.lane.median),
                count(one.queries),
                f"{duel.n_whole[0]:,}",
                f"{one.at_first:.0%}",
                f"{one.at_last:.0%}",
            )
        )
    title = (
        f"thefts: queries until one is found, and until a copy agrees with the model in "
        f"{ENOUGH:.0%} of benign rows (-: never)"
    )
    columns = ("data, attack", "found", "agrees", "of", "agreement after 5", "after all")
    return FigureTable("stolen", title, columns, rows)


def theft_tables(thefts: Sequence[Ranked], clients: Sequence[Mixed]) -> list[FigureTable]:
    """Ranks of thieves, and clients who mix."""
    ranks = FigureTable(
        "ranked",
        "thieves among 100 honest clients with a third of their queries, by exposure",
        ("data, attack", "rank", "clients", "honest ones that exposure spoke of"),
        [
            (f"{one.data}, {one.attack}", f"{one.rank}", f"{one.n_clients}", f"{one.n_said}")
            for one in thefts
        ],
    )
    mixed = FigureTable(
        "mixed",
        "clients of 200 rows of which a share is a theft's by uniform rows, beside 20 honest ones",
        ("data, share", "found (95 %)", "by off_distribution alone", "honest ones named"),
        [
            (
                f"{one.data}, {one.share:.0%}",
                share(one.n_found, one.n_clients),
                f"{one.n_found_by_window}",
                f"{one.n_honest_named}",
            )
            for one in clients
        ],
    )
    return [ranks, mixed]


def benign_table(found: Sequence[Quiet]) -> FigureTable:
    """One line for each mix."""
    rows = []
    for one in found:
        rate, high = per_million(one.n_findings, one.n_events)
        which = ", ".join(f"{who} {n}" for who, n in sorted(one.n_of.items())) or "none"
        cells = (f"{one.n_events:,}", f"{one.n_findings:,}", f"{rate:,.0f}", f"{high:,.0f}", which)
        rows.append((f"{one.data}, {one.mix}", *cells))
    return FigureTable(
        "benign",
        "findings in benign traffic, each firing counted; the exact 95 % upper bound of their rate",
        ("data, mix", "events", "findings", "per million", "at most", "by detector"),
        rows,
    )


def break_table(found: Sequence[Broken]) -> FigureTable:
    """One line for each break of each data set."""
    rows = []
    for one in found:
        which = ", ".join(f"{who} {n}" for who, n in sorted(one.n_of.items())) or "none"
        before = ", ".join(f"{who} {n}" for who, n in sorted(one.n_of_without.items())) or "none"
        rows.append(
            (
                f"{one.data}, {one.break_name}, {'answered' if one.is_answered else 'recorded'}",
                f"{one.n_events:,}",
                f"{one.n_accused} of {one.n_clients:,}",
                which,
                f"{one.n_accused_without}",
                before,
                f"{one.n_told} of {one.n_lanes}",
            )
        )
    return FigureTable(
        "breaks",
        "honest clients accused while data is broken, and where nothing is held back",
        (
            "data, break, predictions",
            "events",
            "accused",
            "by detector",
            "else accused",
            "else by detector",
            "change told",
        ),
        rows,
    )


def control_table(found: Sequence[Controlled]) -> FigureTable:
    """One line for each attack: as it is, and with one thing taken away."""
    of = {(f"{one.data}, {one.attack}", one.control): one for one in found}
    rows = []
    for label in dict.fromkeys(label for label, _ in of):
        cells: list[str] = []
        for control in CONTROLS:
            one = of[label, control]
            first = ", ".join(f"{who} {n}" for who, n in sorted(one.first.items())) or "-"
            cells += [
                f"{one.lane.n_found} of {len(one.lane.queries)}, {count(one.lane.median)}",
                first,
            ]
        rows.append((label, *cells))
    return FigureTable(
        "controls",
        "victims found and median queries to it, by one source with nothing between its queries: "
        "as recorded, with their answers permuted, and in random order; and who was first",
        ("data, attack", *(text for one in CONTROLS for text in (one, "first"))),
        rows,
    )


def patient_table(found: Sequence[Patient]) -> FigureTable:
    """One line for each attack of many names that were known before."""
    rows = []
    for one in found:
        held, free = one.medians
        n = len(one.queries)
        rows.append(
            (
                f"{one.data}, {one.attack}, {100 * one.share:.0f} %",
                one.break_name,
                f"{one.n_found} of {n}",
                count(held),
                f"{one.n_found_without} of {n}",
                count(free),
                f"{one.n_told} of {n}",
            )
        )
    return FigureTable(
        "patient",
        "attacks by 200 names among 20 honest clients, all known before",
        (
            "data, attack, share",
            "break",
            "found",
            "queries",
            "else found",
            "else queries",
            "change told",
        ),
        rows,
    )


def detector_table(found: Sequence[Quiet]) -> FigureTable:
    """One line for each detector that said anything, over the calibrated mixes."""
    judged = [one for one in found if one.is_calibrated]
    n_of: Counter[str] = Counter()
    for one in judged:
        n_of.update(one.n_of)
    n_events = sum(one.n_events for one in judged)
    rows = []
    for who, n in [*n_of.most_common(), ("all others together", 0), ("all", sum(n_of.values()))]:
        rate, high = per_million(n, n_events)
        rows.append((who, f"{n:,}", f"{rate:,.1f}", f"{high:,.1f}"))
    title = f"findings in {n_events:,} benign events, all calibrated mixes together, by detector"
    return FigureTable("detectors", title, ("detector", "findings", "per million", "at most"), rows)


def peer_table(found: Sequence[Quiet]) -> FigureTable:
    """What the baselines say of the same mixes."""
    rows = [
        (
            f"{one.data}, {one.mix}",
            f"{one.n_findings / one.n_events * 1e6:,.0f}",
            *(f"{one.n_of_peers.get(who, 0) / one.n_peer_events * 1e6:,.0f}" for who in PEERS),
            f"{one.n_peer_events:,}",
        )
        for one in found
        if one.n_peer_events
    ]
    title = "alarms per million benign events, beside baselines calibrated on the same rows"
    columns = ("data, mix", "lane", *PEERS, "events of the baselines")
    return FigureTable("benign_baselines", title, columns, rows)


def cost_table(found: Sequence[Cost]) -> FigureTable:
    """One line for each detector."""
    widths = sorted({one.n_features for one in found})
    of = {(one.detector, one.n_features): one for one in found}
    rows = []
    for who in dict.fromkeys(one.detector for one in found):
        own = [of[who, width] for width in widths]
        rows.append(
            (
                who,
                *(f"{one.us_per_event:.1f}" for one in own),
                f"{own[-1].bytes_per_place / 1024:,.1f}",
                f"{own[-1].bytes_in_all / 1024**2:,.1f}",
            )
        )
    columns = (
        "detector",
        *(f"us, {width} features" for width in widths),
        "KiB a source",
        "MiB with 1,024 sources",
    )
    title = "CPU an event in the fold on one core, in polls of 1,024 events of 100 clients"
    return FigureTable("cost", title, columns, rows)


def label_table(found: Sequence[Lies]) -> FigureTable:
    """One line for each share of flips."""
    rows = []
    for one in found:
        n_runs = len(one.labels_to)
        n_found = sum(map(math.isfinite, one.labels_to))
        _, high = per_million(one.n_false, sum(one.n_labels))
        median, p95 = (quantile(one.labels_to, level) for level in (0.5, 0.95))
        rows.append(
            (
                f"{one.flips:.0%}" if one.flips else "nobody",
                share(n_found, n_runs) if n_runs else "",
                f"{count(median)} / {count(p95)}" if n_runs else "",
                f"{one.n_false}",
                f"{sum(one.n_labels):,}",
                f"{high:,.0f}",
            )
        )
    columns = (
        "flips of one source of 20",
        "found (95 %)",
        "its labels to the alarm",
        "false",
        "labels in all",
        "false per million, at most",
    )
    return FigureTable(
        "labels",
        "labels turned over by one source, median / 95 % of its labels to the alarm that names it",
        columns,
        rows,
    )


def boiled_table(found: Sequence[Boiled]) -> FigureTable:
    """One line for each case."""
    rows = []
    for one in found:
        n_found = sum(map(math.isfinite, one.events_to))
        is_honest = one.case.startswith("honest")
        rows.append(
            (
                one.case,
                "" if is_honest else f"{n_found} of {len(one.events_to)}",
                "" if is_honest else count(quantile(one.events_to, 0.5)),
                "" if is_honest else _deviations(quantile(one.moved_by, 0.5)),
                f"{one.n_accused}",
                f"{max(one.shift):.2f}",
                f"{max(one.shift_of_mean):.2f}",
            )
        )
    columns = (
        "who moves",
        "found",
        "events to the alarm",
        "had moved by, sd",
        "honest ones accused",
        "candidate moved, sd",
        "a mean over all, sd",
    )
    title = (
        f"a source that moves one feature by 3 sd over {0.75 * found[0].n_events:,.0f} events, "
        f"or all by 1 sd; medians of {len(found[0].shift)} runs, shifts: the largest"
    )
    return FigureTable("baseline", title, columns, rows)


def _deviations(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def adaptive_table(found: Sequence[Adapted]) -> FigureTable:
    """One line for each data set, attack and floor."""
    rows = []
    for one in found:
        n = len(one.queries)
        if not n:
            continue
        n_success = sum(map(math.isfinite, one.success_at))
        rows.append(
            (
                f"{one.data}, {one.attack}, {one.floor:g} r",
                count(quantile([float(k) for k in one.n_queries], 0.5)),
                share(sum(map(math.isfinite, one.queries)), n),
                count(quantile(one.queries, 0.5)),
                f"{n_success} of {n}",
                f"{one.n_before} of {n}",
            )
        )
    columns = (
        "attack, floor",
        "queries left",
        "found (95 %)",
        "queries",
        "succeed",
        "before found",
    )
    title = "attacks whose queries lie at least so many radii apart: found, and successful before"
    return FigureTable("adaptive", title, columns, rows)
