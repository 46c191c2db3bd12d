"""A rare error becomes twice as frequent: who finds it, how late, and what else each says.

One lane a seed, the same zeros and ones for everyone: a reference, quiet labels, and labels after
the doubling. Those of river's detectors that stand here are banks of ours, fed zeros and ones from
the first quiet label on; river's own run on the first few seeds, and must fire at the same labels.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from river import drift

from benchmarks.drift.contest import DEFAULTS, FOCUS, Contestant, Entrant
from benchmarks.drift.nulls import FalseAlarms
from benchmarks.kit.report import FigureTable, finite
from benchmarks.performance.part import Part
from schemas.batch import F64
from schemas.error_config import DdmConfig, EddmConfig, FhddmConfig, HddmAConfig, HddmWConfig
from tests.detectors.river_errors import RiverErrors

BEFORE: Final = 0.01
AFTER: Final = 0.02
N_REFERENCE: Final = 20_000
N_QUIET: Final = 20_000
"""Labels between the reference and the doubling."""
N_AFTER: Final = 60_000
"""Labels after it; what is not found in them is missed."""
N_RIVER: Final = 3
"""Seeds on which river's own detectors run."""
NULL_LANES: Final = 100
_POLL_ROWS: Final = 5_000

ERRORS: Final = (
    Entrant("DDM", "ddm", DdmConfig(enabled=True)),
    Entrant("EDDM", "eddm", EddmConfig(enabled=True)),
    Entrant("HDDM_A", "hddm_a", HddmAConfig(enabled=True)),
    Entrant("HDDM_W", "hddm_w", HddmWConfig(enabled=True)),
    Entrant("FHDDM", "fhddm", FhddmConfig(enabled=True)),
)
RIVERS: Final = (*ERRORS, *DEFAULTS[:2])
"""With river's parameters."""


class Competitor(NamedTuple):
    """Who takes part, and what it knows."""

    who: Entrant
    n_reference: int
    """The last so many labels of the reference are its own; 0: it asks for none."""
    arl0: float = math.inf

    @property
    def name(self) -> str:
        """As tables show it."""
        if not self.n_reference:
            return self.who.name
        return f"{self.who.name}, ARL0 {self.arl0:.0e}, reference {self.n_reference:,}"

    def enter(self, reference: F64) -> Contestant:
        """It on lanes with these (lanes, labels) as their reference."""
        own = reference[:, -(self.n_reference or 1_000) :]
        return Contestant(self.who, own, self.arl0, is_raw=not self.n_reference)


OURS: Final = tuple(
    Competitor(FOCUS, n_reference, arl0)
    for n_reference in (N_REFERENCE, 2_000)
    for arl0 in (1e6, 1e7)
)
"""2,000 labels are the default of `labels.reference_labels`."""
COMPETITORS: Final = (*OURS, *(Competitor(who, 0) for who in RIVERS))


@dataclass
class Found:
    """What one competitor said, over all seeds."""

    name: str
    late: list[float]
    """By seed, labels to the first alarm after the doubling; infinite: none."""
    n_early: int = 0
    """Alarms in the quiet labels."""
    fired: dict[int, list[int]] = field(default_factory=dict)
    """Of the first seeds all labels at which it fired, counted from the first quiet one."""

    @property
    def n_found(self) -> int:
        """How many of the seeds."""
        return sum(map(math.isfinite, self.late))

    def quantile(self, q: float) -> float:
        """Of the delays; an order statistic, so that infinities may stand."""
        return sorted(self.late)[min(int(q * len(self.late)), len(self.late) - 1)]


def doubled(n_seeds: int) -> tuple[list[Found], F64]:
    """What everyone finds; and (N_RIVER, labels) the first seeds' zeros and ones themselves."""
    rng = np.random.default_rng(601)
    reference = _ones(rng, BEFORE, n_seeds, N_REFERENCE)
    entered = [each.enter(reference) for each in COMPETITORS]
    n_kept = min(N_RIVER, n_seeds)
    found = [
        Found(each.name, [math.inf] * n_seeds, fired={lane: [] for lane in range(n_kept)})
        for each in COMPETITORS
    ]
    kept = []
    for start in range(-N_QUIET, N_AFTER, _POLL_ROWS):
        errors = _ones(rng, BEFORE if start < 0 else AFTER, n_seeds, _POLL_ROWS)
        kept.append(errors[:n_kept])
        for one, contestant in zip(found, entered, strict=True):
            for firing in contestant.feed(errors):
                since = firing.model_event - N_QUIET + 1
                if since <= 0:
                    one.n_early += 1
                else:
                    one.late[firing.lane] = min(one.late[firing.lane], since)
                if firing.lane in one.fired:
                    one.fired[firing.lane].append(firing.model_event)
    for one in found:
        for labels in one.fired.values():
            labels.sort()
    return found, np.concatenate(kept, axis=1)


def false_alarms(n_updates: int) -> list[FalseAlarms]:
    """Of everyone, over so many labels in all in which nothing changes."""
    rng = np.random.default_rng(602)
    entered = [each.enter(_ones(rng, BEFORE, NULL_LANES, N_REFERENCE)) for each in COMPETITORS]
    lanes: list[list[int]] = [[] for _ in COMPETITORS]
    left = n_updates // NULL_LANES
    while left > 0:
        errors = _ones(rng, BEFORE, NULL_LANES, min(left, _POLL_ROWS))
        left -= errors.shape[1]
        for alarms, contestant in zip(lanes, entered, strict=True):
            alarms += [firing.lane for firing in contestant.feed(errors)]
    return [
        FalseAlarms(
            f"Bernoulli {BEFORE:g}",
            each.name,
            each.n_reference,
            n_updates // NULL_LANES * NULL_LANES,
            len(alarms),
            len(set(alarms)),
            0,
        )
        for each, alarms in zip(COMPETITORS, lanes, strict=True)
    ]


def _ones(rng: np.random.Generator, rate: float, n_lanes: int, n: int) -> F64:
    return (rng.random((n_lanes, n)) < rate).astype(np.float64)


def rivers_own(errors: F64) -> dict[str, list[list[int]]]:
    """Where river itself fires on these (lanes, labels), by detector and lane."""
    fired: dict[str, list[list[int]]] = {who.name: [] for who in RIVERS}
    for lane in errors:
        for who in ERRORS:
            config: Any = who.config
            fired[who.name].append(RiverErrors(config).update(lane))
        others: list[tuple[str, Any]] = [  # they have no types
            ("ADWIN", drift.ADWIN),
            ("Page-Hinkley", drift.PageHinkley),
        ]
        for name, made in others:
            detector = made()
            at = []
            for i, x in enumerate(lane.tolist()):
                detector.update(x)
                if detector.drift_detected:
                    at.append(i)
            fired[name].append(at)
    return fired


def rare(*, n_seeds: int, n_updates: int) -> Part:
    """The doubling, false alarms, and whether river's own fire at the same labels."""
    found, errors = doubled(n_seeds)
    theirs = rivers_own(errors)
    for one in found:
        if one.name in theirs and list(one.fired.values()) != theirs[one.name]:
            sys.exit(f"river's {one.name} fires elsewhere than ours on the same labels")
    quiet = false_alarms(n_updates)
    figures = {
        "found": [
            asdict(one) | {"late": [x if math.isfinite(x) else None for x in one.late]}
            for one in found
        ],
        "nulls": [
            finite(asdict(one)) | {"interval": one.interval(), "arl0": _finite(each.arl0)}
            for one, each in zip(quiet, COMPETITORS, strict=True)
        ],
        "n_alarms_of_river": {name: sum(map(len, lanes)) for name, lanes in theirs.items()},
    }
    return Part([rare_table(found, quiet)], figures)


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def rare_table(found: Sequence[Found], quiet: Sequence[FalseAlarms]) -> FigureTable:
    """The doubling, and beside it what is said where nothing changes."""
    n_seeds = len(found[0].late)
    rows = []
    for one, null, each in zip(found, quiet, COMPETITORS, strict=True):
        rate = null.n_alarms / null.n_updates
        low, high = null.interval()
        middle, most = one.quantile(0.5), one.quantile(0.95)
        rows.append(
            (
                one.name,
                f"{one.n_found} of {n_seeds}",
                " / ".join("-" if math.isinf(x) else f"{x:,.0f}" for x in (middle, most)),
                f"{one.n_early:,}",
                f"{null.n_alarms:,}",
                f"{low:,.1f} to {high:,.1f}",
                f"{null.n_updates / each.arl0:,.0f}" if each.n_reference else "",
                f"{1.0 - math.exp(-rate * N_AFTER):.1%}",
            )
        )
    title = (
        f"an error rate of {BEFORE:g} becomes {AFTER:g}: found within {N_AFTER:,} labels, delay in "
        f"labels (median / 95 %), alarms in the {N_QUIET * n_seeds:,} labels before; and alarms in "
        f"{quiet[0].n_updates:,} labels in which nothing changes, the exact 95 % interval of their "
        f"mean, what is stated, and how often by chance one falls into {N_AFTER:,} labels. "
        f"river's detectors have river's defaults; river's own fire at the same labels on "
        f"{min(N_RIVER, n_seeds)} seeds"
    )
    columns = (
        *("detector", "found", "delay", "before"),
        *("false", "95 % interval", "stated", "by chance"),
    )
    return FigureTable("rare", title, columns, rows)
