"""What the lanes of labels observe: errors, delays, calibration, groups, what scores expect.

Pure, and independent of batches: every sum is one of whole numbers, and every signal begins at the
row of the log that completes its reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.catalog import Catalog
from detectors.drift.ranks import Indicator
from detectors.leakage import NOBODY, LeakageBlock, Strongest
from detectors.monitor import Monitor, is_monitored
from detectors.outcome_groups import count, disparity, losses, members
from detectors.outcome_rows import Expected, LabelledRows, Outcome
from detectors.outcome_scores import ONE
from detectors.outcome_signals import (
    bounded,
    complete,
    plan,
    reference_length,
    standardised,
)
from detectors.outcome_sources import (
    BLOCK_ROWS,
    DISPARITIES,
    SOURCE_CALIBRATION,
    SOURCE_COVERAGE,
    SOURCE_DELAY,
    SOURCE_EXPECTED,
    SOURCE_GAP,
    SOURCE_LABEL,
    SOURCE_LEAKAGE,
    SOURCE_RESIDUE,
    SOURCE_SLICE,
    SOURCE_SLICE_RESIDUE,
    SOURCE_WRONG,
)
from detectors.signals import Signal
from detectors.slice_counts import SliceCounts
from detectors.slices import tag_of
from schemas.batch import F64, I32
from schemas.config import DetectionConfig
from schemas.findings import ErrorReference, GroupLoss


class Series(NamedTuple):
    """What some lanes of one model version observe at some rows."""

    slot: int
    row: I32
    """(k,) rows of the poll, ascending."""
    lanes: list[int]
    z: F64
    """(lanes, k)"""


@dataclass(slots=True)
class Watch:
    """The signals of labels of one model version: what they learn, and blocks under way."""

    monitor: Monitor
    places: list[int]
    """Where they stand among the monitor's signals."""
    learning: list[list[F64]]
    """Of each, what it has observed while its reference is not complete."""
    expected: list[int] = field(default_factory=lambda: [0, 0])
    """Of the block of `expected_error`: rows, and their sum."""
    gap: list[int] = field(default_factory=lambda: [0, 0])
    counts: SliceCounts | None = None
    """Of each group; None where there are no slices."""
    leakage: LeakageBlock | None = None
    """None where no features are kept."""

    def signals(self) -> Iterator[tuple[int, Signal]]:
        """Its signals, each with its number."""
        for j, place in enumerate(self.places):
            yield j, self.monitor.signals[place]


class _Observed(NamedTuple):
    """What one signal observed, raw: NaN where nothing."""

    watch: Watch
    slot: int
    number: int
    x: F64
    row: I32


def begin(config: DetectionConfig, monitor: Monitor) -> Watch:
    """Give a model version its signals of labels; as many as have a share of its budget."""
    first = len(monitor.signals)
    monitor.signals += plan(config, monitor)[: monitor.n_outcomes]
    return watch_of(monitor, first)


def watch_of(monitor: Monitor, first: int = 0) -> Watch:
    """That of a monitor that has its signals, from this place on; nothing is learned yet."""
    places = [
        place
        for place, signal in enumerate(monitor.signals)
        if place >= first and signal.is_outcome
    ]
    n_slices = len(monitor.slices)
    counts = None
    if n_slices:
        has_losses = monitor.output is not None and not monitor.output.classes
        counts = SliceCounts(n_slices, tag_of(monitor), has_losses=has_losses)
    leakage = None
    if monitor.sampled and monitor.output is not None:
        leakage = LeakageBlock(len(monitor.sampled), monitor.output.positive)
    return Watch(monitor, places, [[] for _ in places], counts=counts, leakage=leakage)


def shorten(config: DetectionConfig, watch: Watch) -> None:
    """Follow references that are shorter now: the next observation completes one that is longer."""
    for number, signal in watch.signals():
        if signal.ranks is None and watch.learning[number]:
            missing = reference_length(config, signal) - 1
            watch.learning[number] = [np.concatenate(watch.learning[number])[:missing]]


def end(catalog: Catalog, watch: Watch) -> None:
    """Take the signals of a monitor that stays back, and their lanes."""
    for _, signal in watch.signals():
        if signal.lane >= 0:
            catalog.lanes.give_back(signal.lane)
    watch.monitor.signals = [each for each in watch.monitor.signals if not each.is_outcome]


class OutcomeLanes:
    """Lets the signals of labels observe; collects what their lanes see in one stretch."""

    def __init__(self, config: DetectionConfig, catalog: Catalog) -> None:
        self.config = config
        self._catalog = catalog
        self._observed: list[_Observed] = []
        self._counted: dict[int, tuple[Watch, SliceCounts, LabelledRows]] = {}
        """By slot, what was counted of its groups before a stretch, and the stretch's labels."""
        self._strongest: dict[int, tuple[Watch, Strongest]] = {}
        """By slot, what the blocks that ended in a stretch said."""
        self._learned_at: dict[int, int] = {}
        """By slot, the row at which a stretch completed the reference of `error`."""

    def begin(self) -> None:
        """A stretch begins."""
        self._counted.clear()
        self._strongest.clear()
        self._learned_at.clear()

    def worst_groups(self, slot: int, row: int) -> tuple[GroupLoss, ...]:
        """The groups with more of the errors than of the events, at a row of this stretch."""
        if slot not in self._counted:
            return ()
        watch, before, rows = self._counted[slot]
        counts = before.copy()
        n = int(np.searchsorted(rows.row, row, side="right"))
        for _ in count(watch.monitor, counts, rows, n):
            pass
        return losses(watch.monitor, counts)

    def leaking(self, slot: int, row: int) -> str:
        """The feature that told most of the label at a row of this stretch; "" where none did."""
        if slot not in self._strongest:
            return ""
        watch, found = self._strongest[slot]
        at = int(np.searchsorted(found.row, row, side="right")) - 1
        feature = found.feature[at] if at >= 0 else NOBODY
        return watch.monitor.features[watch.monitor.sampled[feature]] if feature >= 0 else ""

    def error_reference(self, slot: int, row: int) -> ErrorReference | None:
        """The reference of `error` at a row of this stretch, where classes are predicted."""
        if row < self._learned_at.get(slot, row):
            return None
        for signal in self._catalog.monitor(slot).signals:
            if signal.source == SOURCE_WRONG and isinstance(signal.ranks, Indicator):
                return ErrorReference(signal.ranks.ones, signal.ranks.n)
        return None

    def labelled(self, slot: int, watch: Watch, rows: LabelledRows) -> None:
        """Labels were joined with predictions of the model version in this slot."""
        of_error = np.where(rows.has_error, rows.is_wrong, np.nan)
        residue = bounded(rows.residue)
        of_groups = {SOURCE_SLICE: of_error, SOURCE_SLICE_RESIDUE: residue}
        simple = {
            SOURCE_WRONG: of_error,
            SOURCE_RESIDUE: residue,
            SOURCE_DELAY: rows.delay_s,
            SOURCE_CALIBRATION: rows.quantile,
        }
        at_blocks: dict[int, tuple[F64, I32]] = {}
        is_known = (rows.expected >= 0) & rows.has_error
        gap = rows.is_wrong[is_known] * ONE - rows.expected[is_known]
        at_blocks[SOURCE_GAP] = _means(watch.gap, gap, rows.row[is_known])
        if watch.leakage is not None:
            strongest = watch.leakage.add(rows.sampled)
            self._strongest[slot] = watch, strongest
            at_blocks[SOURCE_LEAKAGE] = strongest.strength, strongest.row
        apart: dict[tuple[int, int], tuple[F64, I32]] = {}
        if watch.counts is not None:
            self._counted[slot] = watch, watch.counts.copy(), rows
            apart = disparity(watch.monitor, watch.counts, rows)
        is_in = members(watch.monitor, rows.groups)
        for number, signal in watch.signals():
            x, row = np.zeros(0), np.zeros(0, np.int32)
            if signal.source in simple:
                x, row = simple[signal.source], rows.row
            elif signal.source == SOURCE_LABEL:
                x, row = (rows.label_class == signal.index).astype(np.float64), rows.row
            elif signal.source in of_groups:
                is_own = is_in[signal.index, signal.category]
                x, row = np.where(is_own, of_groups[signal.source], np.nan), rows.row
            elif signal.source in at_blocks:
                x, row = at_blocks[signal.source]
            elif signal.source in DISPARITIES:
                x, row = apart[signal.source, signal.index]
            self._add(watch, slot, number, x, row)

    def decided(self, slot: int, watch: Watch, rows: Outcome) -> None:
        """It is known of predictions whether labels have come for them."""
        for number, signal in watch.signals():
            if signal.source == SOURCE_COVERAGE:
                self._add(watch, slot, number, rows.is_labelled.astype(np.float64), rows.row)

    def predicted(self, slot: int, watch: Watch, rows: Expected) -> None:
        """Predictions were made, with scores that make one expect errors."""
        is_known = rows.error >= 0
        means = _means(watch.expected, rows.error[is_known], rows.row[is_known])
        for number, signal in watch.signals():
            if signal.source == SOURCE_EXPECTED:
                self._add(watch, slot, number, *means)

    def take(self) -> tuple[list[Series], list[tuple[int, int]]]:
        """What the lanes see of all that was told since, and who got no lanes for its signals.

        Of these the slot and the row of the poll, in the order of the log.
        """
        observed, self._observed = self._observed, []
        live_from = [self._learn(each) for each in observed]
        completed = sorted(
            (int(each.row[at - 1]), each.slot, each.number, k)
            for k, (each, at) in enumerate(zip(observed, live_from, strict=True))
            if at > 0
        )
        for row, slot, number, k in completed:
            watch = observed[k].watch
            if watch.monitor.signals[watch.places[number]].source == SOURCE_WRONG:
                self._learned_at[slot] = row
        refused = [
            (slot, row)
            for row, slot, number, k in completed
            if not self._complete(observed[k].watch, slot, number)
        ]
        return self._series(observed, live_from), refused

    def _add(self, watch: Watch, slot: int, number: int, x: F64, row: I32) -> None:
        if len(x):
            self._observed.append(_Observed(watch, slot, number, x, row))

    def _learn(self, observed: _Observed) -> int:
        """Let a signal learn; the row that follows its reference's last one, 0: it had one before.

        As many as there are, and -1 says that there is none yet.
        """
        watch, number = observed.watch, observed.number
        signal = watch.monitor.signals[watch.places[number]]
        if signal.ranks is not None:
            return 0
        learning = watch.learning[number]
        missing = reference_length(self.config, signal) - sum(map(len, learning))
        there = np.flatnonzero(~np.isnan(observed.x))[: max(missing, 1)]
        learning.append(observed.x[there])
        return -1 if len(there) < missing or not len(there) else int(there[-1]) + 1

    def _complete(self, watch: Watch, slot: int, number: int) -> bool:
        """Freeze the reference of a signal and give it a lane; False where there is none left.

        One that is not monitored any more has none.
        """
        place = watch.places[number]
        signal = complete(watch.monitor.signals[place], np.concatenate(watch.learning[number]))
        watch.learning[number] = []
        catalog = self._catalog
        lane = -1
        # It may have been switched off while it learned.
        wanted = is_monitored(self.config, watch.monitor, signal)
        if wanted and catalog.lanes.room(self.config.bounds.max_lanes):
            lane = catalog.lanes.take()
            catalog.fresh_lanes[lane] = slot
        watch.monitor.signals[place] = replace(signal, lane=lane)
        return lane >= 0 or not wanted

    def _series(self, observed: Sequence[_Observed], live_from: Sequence[int]) -> list[Series]:
        """What lanes see, those together that see it at the same rows."""
        found: list[Series] = []
        for each, start in zip(observed, live_from, strict=True):
            signal = each.watch.monitor.signals[each.watch.places[each.number]]
            if signal.lane < 0 or start < 0:
                continue
            z = standardised(signal, each.x)[np.newaxis]
            z[0, :start] = np.nan
            last = found[-1] if found else None
            if last is not None and last.slot == each.slot and last.row is each.row:
                last.lanes.append(signal.lane)
                found[-1] = last._replace(z=np.concatenate([last.z, z]))
            else:
                found.append(Series(each.slot, each.row, [signal.lane], z))
        return found


def _means(block: list[int], x: NDArray[np.int64], row: I32) -> tuple[F64, I32]:
    """The means of the blocks of BLOCK_ROWS that end among these rows, and where they end.

    `block` holds rows and sum of the one that is under way; it is taken further.
    """
    n_before, before = block
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(x, dtype=np.int64)])
    ends = np.arange(BLOCK_ROWS - n_before, len(x) + 1, BLOCK_ROWS)
    bounds = sums[np.concatenate([np.zeros(1, np.int64), ends])]
    of_block = np.diff(bounds)
    if len(ends):
        of_block[0] += before
        block[:] = [int(len(x) - ends[-1]), int(sums[-1] - bounds[-1])]
    else:
        block[:] = [n_before + len(x), before + int(sums[-1])]
    return of_block / float(BLOCK_ROWS * ONE), row[ends - 1].astype(np.int32)
