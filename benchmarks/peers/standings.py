"""What came of the contest, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from benchmarks.kit.report import FigureTable
from benchmarks.kit.rounds import middle, ratio
from benchmarks.peers.contest import ARROW, BARE, FAUST, OWN, PLAIN, QUIX, Run
from benchmarks.peers.task import Found
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


def typical(runs: Sequence[Run]) -> Run:
    """The run in the middle."""
    return runs[middle([run.figures for run in runs])]


def rates_of(runs: Sequence[Run]) -> list[float]:
    """Events per second of each round."""
    return [float(run.figures["events_per_s"]) for run in runs]


def standings_table(runs: Runs, event_bytes: float, n_rounds: int) -> FigureTable:
    """Speed, CPU time and memory; the ratios come first."""
    rates = {name: rates_of(of_name) for name, of_name in runs.items()}
    rows = []
    for name, of_name in runs.items():
        figures = typical(of_name).figures
        is_other = name not in {BARE, OWN, ARROW}
        rows.append(
            (
                name,
                _ratio(ratio(rates[name], rates[BARE])),
                _ratio(ratio(rates[OWN], rates[name])) if is_other else "",
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
        f"median of {n_rounds} rounds; a ratio is the median of each round's own",
        (
            "contestant", "of the bare loop", "driftsentry is", "target", "events/s", "us/event",
            "CPU s per million", "peak MiB", "events timed",
        ),
        rows,
    )  # fmt: skip


def _ratio(times: float) -> str:
    """Below one as a share, above as a multiple."""
    return f"{times:.0%}" if times < 1 else f"{times:.1f} x"


class Compared(NamedTuple):
    """What a contestant found, beside what river found, in the events that both have read."""

    found: list[set[Found]]
    """By run."""
    expected: set[Found]
    n_events: int

    @property
    def differing(self) -> list[Found]:
        """What one found and the other did not, in any run."""
        return sorted(set().union(*(found ^ self.expected for found in self.found)))


def compare(runs: Runs) -> dict[str, Compared]:
    """Everyone who looks for something, beside the plain loop with river."""
    rivers = typical(runs[PLAIN]).found or frozenset()
    n_rivers = typical(runs[PLAIN]).n_events
    compared = {}
    for name, of_name in runs.items():
        if name == BARE:
            continue
        n_events = min(n_rivers, typical(of_name).n_events)
        n_read = n_events // N_PARTITIONS
        compared[name] = Compared(
            [{one for one in run.found or () if one.offset < n_read} for run in of_name],
            {one for one in rivers if one.offset < n_read},
            n_events,
        )
    return compared


def detections_table(compared: Mapping[str, Compared]) -> FigureTable:
    """Whether everyone found the same, at the same events."""
    rows = []
    for name, one in compared.items():
        n_differing = len(one.differing)
        n_adwin = sum(found.detector == "adwin" for found in one.found[0])
        rows.append(
            (
                name,
                f"{n_differing:,} differ" if n_differing else "the same",
                f"{n_adwin:,}",
                f"{len(one.found[0]) - n_adwin:,}",
                f"{one.n_events:,}",
            )
        )
    return FigureTable(
        "detections",
        "what was found, and whether at the same events as by river in the plain loop",
        ("contestant", "than river", "ADWIN", "Page-Hinkley", "in events"),
        rows,
    )
