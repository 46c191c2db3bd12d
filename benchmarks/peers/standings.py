"""What came of the contest, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.kit.report import FigureTable
from benchmarks.peers.contest import ARROW, BARE, FAUST, OWN, PLAIN, QUIX, Run
from benchmarks.pipeline import N_FEATURES, N_PARTITIONS

TARGETS: Final = {
    OWN: "60% of the bare loop",
    ARROW: "3 x the bare loop",
    PLAIN: "5 x",
    QUIX: "6 x",
    FAUST: "35 x",
}
"""How fast driftsentry is to be: beside the bare loop, and how many times as fast as the others."""

Runs = Mapping[str, Sequence[Run]]


def best(runs: Sequence[Run]) -> Run:
    """The fastest of several runs: what disturbs a run only ever slows it down."""
    return max(runs, key=lambda run: float(run.figures["events_per_s"]))


def standings_table(runs: Runs, event_bytes: float, n_rounds: int) -> FigureTable:
    """Speed, CPU time and memory; the ratios come first."""
    rates = {name: float(best(of).figures["events_per_s"]) for name, of in runs.items()}
    rows = []
    for name, of_name in runs.items():
        figures = best(of_name).figures
        is_other = name not in {BARE, OWN, ARROW}
        rows.append(
            (
                name,
                _ratio(rates[name] / rates[BARE]),
                _ratio(rates[OWN] / rates[name]) if is_other else "",
                TARGETS.get(name, ""),
                f"{figures['events_per_s']:,.0f}",
                f"{figures['us_per_event']:.2f}",
                f"{figures['cpu_s_per_million']:.1f}",
                f"{figures['peak_rss_mib']:,.0f}",
                f"{figures['n_timed']:,}",
            )
        )
    return FigureTable(
        "standings",
        f"{N_FEATURES} features, {event_bytes:.0f} bytes of JSON, {N_PARTITIONS} partitions, "
        f"best of {n_rounds}",
        (
            "contestant", "of the bare loop", "driftsentry is", "target", "events/s", "us/event",
            "CPU s per million", "peak MiB", "events timed",
        ),
        rows,
    )  # fmt: skip


def _ratio(times: float) -> str:
    """Below one as a share, above as a multiple."""
    return f"{times:.0%}" if times < 1 else f"{times:.1f} x"


def detections_table(runs: Runs) -> FigureTable:
    """Whether everyone found the same, at the same events, as the plain loop with river."""
    rivers = best(runs[PLAIN]).found or frozenset()
    n_per_partition = {name: best(of).n_events // N_PARTITIONS for name, of in runs.items()}
    rows = []
    for name, of_name in runs.items():
        if name == BARE:
            continue
        # Compared is what both have read.
        n_read = min(n_per_partition[name], n_per_partition[PLAIN])
        expected = {one for one in rivers if one.offset < n_read}
        found = [{one for one in run.found or () if one.offset < n_read} for run in of_name]
        n_adwin = sum(one.detector == "adwin" for one in found[0])
        is_same = all(one == expected for one in found)
        rows.append(
            (
                name,
                "the same" if is_same else f"{len(found[0] ^ expected):,} differ",
                f"{n_adwin:,}",
                f"{len(found[0]) - n_adwin:,}",
                f"{n_read * N_PARTITIONS:,}",
            )
        )
    return FigureTable(
        "detections",
        "what was found, and whether at the same events as by river in the plain loop",
        ("contestant", "than river", "ADWIN", "Page-Hinkley", "in events"),
        rows,
    )
