"""Sources that pull the baseline away, however slowly, while the others stay."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from detectors.base import BankState
from detectors.drift.lane_table import MAX_N, Column, LaneTable, require_all, require_names
from detectors.kernels import baseline_guard as kernel
from detectors.kernels.compile import DONE
from detectors.security.base import (
    MAX_DIMS,
    N_KINDS,
    Calibration,
    SecurityBank,
    SecurityRows,
    SecuritySpec,
    Suspicion,
    Technique,
)
from detectors.security.baseline_guard_fit import fit, strictest
from detectors.security.kind_table import KindTable, begin_anew, calibrated, jitter
from schemas.batch import F64, I32, I64, Bool
from schemas.security_config import BaselineGuardConfig

NAME: Final = "baseline_guard"

SUSTAINED: Final = 8
"""A source fires when it was far off at so many candidates in a row."""
MIN_ROWS: Final = 64
"""A source has a vote from so many rows on ..."""
IDLE: Final = 16_384
"""... until it was silent for so many events."""
MAX_VOTERS: Final = 1_024
BASE_ROWS: Final = 256
"""From so many rows on it is known where a source is, and how far from the others."""
LEAST_SOURCES: Final = 3
"""Of two nobody can say which one moved."""
_NEW_ROWS: Final = 8
"""A source that sent fewer since the last candidate is not judged again."""
_QUIET: Final = 1_024
_ALLOWANCE: Final = 0.1
"""Of the gap, in scales: so much of it is no news."""
_OPEN: Final = 5.0
"""The sum of gaps beyond the allowance that is reported as an open gap."""
_MAX_GAP: Final = 1e6

MEDIAN, APART, APART_POOLED = range(3)
"""What is noted of a source at first: its medians, and how far they lie from the candidate and from
the median of all rows."""
IN_A_ROW, TOTAL, NEXT, LAST, JUDGED_AT, FIRST_OFFSET, FIRST_TIME, HAS_BASE = range(8)
_N_RUN: Final = 8

_D: Final = (MAX_DIMS,)
_KINDS: Final = (
    Column("centre", np.float64, 0.0, _D),
    Column("threshold", np.float64, 0.0, _D),
    Column("is_reviewed", np.bool_, 0),
    Column("n_events", np.int64, 0),
    Column("n_pooled", np.int64, 0),
    Column("pooled", np.float64, 0.0, _D),
    Column("candidate", np.float64, 0.0, _D),
    Column("n_voters", np.int64, 0),
    Column("gap", np.float64, 0.0, (2, MAX_DIMS)),
)
_PLACES: Final = (
    Column("owner", np.int32, -1),
    Column("judged", np.int32, 0),
    Column("n_rows", np.int64, 0),
    Column("latest", np.int64, 0),
    Column("turn", np.int64, 0),
    Column("median", np.float64, 0.0, _D),
    Column("base", np.float64, 0.0, (3, MAX_DIMS)),
    Column("run", np.int64, 0, (_N_RUN,)),
)


class Baseline(NamedTuple):
    """Where a kind of client of a model is now, for people who may want to make it the reference.

    Nothing learns from it by itself.
    """

    candidate: F64
    """(MAX_DIMS,) median of the sources' medians, by number, in scales of the reference."""
    frozen: F64
    """(MAX_DIMS,) what was calibrated."""
    gap: F64
    """(2, MAX_DIMS) CUSUM of candidate - frozen, upwards and downwards, beyond 0.1 scales."""
    n_sources: int
    """How many had a vote; 0: there is no candidate yet."""

    @property
    def is_open(self) -> Bool:
        """(MAX_DIMS,) whether the candidate has left the reference."""
        is_so: Bool = self.gap.max(axis=0) > _OPEN
        return is_so


class BaselineGuardBank:
    """A median for each source and number, of one value each, and the median of these.

    The medians take a step towards each row (Ma, Muthukrishnan and Sandler 2013), so no row, and no
    source, weighs more than another. A source is suspected where its own median has moved, away
    from that of the sources and from that of all rows: so neither a drift of all, nor one that a
    source has noticed earlier or later than others, accuses anybody.
    """

    def __init__(self, n_models: int, n_places: int, salt: int, state: BankState | None) -> None:
        self._salt = salt
        self._n_models = n_models
        self._kinds = KindTable(_KINDS, n_models, state)
        self._places = LaneTable(_PLACES, n_places, state)
        if state is not None:
            require_names(state, {*self._kinds.names, *self._places.names})
            self._check()

    def _check(self) -> None:
        kinds, places = self._kinds, self._places
        for name in ("centre", "pooled", "candidate"):
            require_all(np.abs(kinds[name]) <= 9.0, f"{name} is out of range")
        for name in ("threshold", "gap"):
            fits = (kinds[name] >= 0.0) & (kinds[name] <= _MAX_GAP)
            require_all(fits, f"{name} is out of range")
        for name in ("n_events", "n_pooled", "n_voters"):
            require_all((kinds[name] >= 0) & (kinds[name] <= MAX_N), f"{name} is out of range")
        owner, judged = places["owner"], places["judged"]
        require_all((owner >= -1) & (owner < self._n_models), "owner is out of range")
        require_all((judged >= 0) & (judged < N_KINDS), "judged is out of range")
        for name in ("n_rows", "latest", "turn"):
            require_all((places[name] >= 0) & (places[name] <= MAX_N), f"{name} is out of range")
        require_all(np.abs(places["median"]) <= 9.0, "median is out of range")
        require_all(np.abs(places["base"]) <= 18.0, "base is out of range")
        run = places["run"]
        counts = run[:, [IN_A_ROW, TOTAL, NEXT, LAST, JUDGED_AT]]
        require_all((counts >= 0) & (counts <= 2 * MAX_N), "run is out of range")
        has_base = run[:, HAS_BASE]
        require_all((has_base == 0) | (has_base == 1), "run is out of range")

    def update(self, rows: SecurityRows) -> list[Suspicion]:
        """Fold a stretch; raises IndexError at a model, kind or place that there is not."""
        kinds, places = self._kinds, self._places
        cursor = np.zeros(2, np.int64)
        found: list[Suspicion] = []
        while True:
            status = kernel.baseline_update(
                rows.model,
                rows.z,
                rows.is_repeat,
                rows.source,
                rows.is_first,
                rows.kind,
                rows.n_numbers,
                kinds.entry,
                kinds["n_events"],
                kinds["n_pooled"],
                kinds["pooled"],
                places["owner"],
                places["judged"],
                places["n_rows"],
                places["latest"],
                places["turn"],
                places["median"],
                places["base"],
                places["run"],
                cursor,
            )
            if status != DONE:
                raise IndexError(f"rows of a model, a kind or a place that {NAME} has not")
            if cursor[1] < 0:
                return found
            found += self._judge(rows, int(cursor[0]) - 1, int(cursor[1]))

    def _judge(self, rows: SecurityRows, i: int, entry: int) -> list[Suspicion]:
        """Make the candidate of an entry anew at row i, and see who is far from it."""
        kinds, places = self._kinds, self._places
        model, kind = (int(each[0]) for each in np.nonzero(kinds.entry == entry))
        is_own = (places["owner"] == model) & (places["judged"] == kind)
        is_there = kinds["n_events"][entry] - places["latest"] <= IDLE
        voters = np.flatnonzero(is_own & is_there & (places["n_rows"] >= MIN_ROWS))[:MAX_VOTERS]
        if not len(voters):
            return []
        numbers = slice(0, max(int(rows.n_numbers[model]), 0))
        median = places["median"][voters, numbers]
        candidate, pooled = np.median(median, axis=0), kinds["pooled"][entry, numbers]
        kinds["candidate"][entry, numbers] = candidate
        kinds["n_voters"][entry] = len(voters)
        gap = candidate - kinds["centre"][entry, numbers]
        for side, own in enumerate((gap, -gap)):
            total = kinds["gap"][entry, side, numbers] + own - _ALLOWANCE
            kinds["gap"][entry, side, numbers] = np.clip(total, 0.0, _MAX_GAP)
        if len(voters) < LEAST_SOURCES:
            return []
        now = np.stack([median, median - candidate, median - pooled], axis=1)
        run = places["run"]
        is_new = (run[voters, HAS_BASE] == 0) & (places["n_rows"][voters] >= BASE_ROWS)
        fresh = voters[is_new]
        places["base"][fresh, :, numbers] = now[is_new]
        run[fresh, HAS_BASE] = 1
        run[fresh, JUDGED_AT] = places["n_rows"][fresh]
        moved = now - places["base"][voters, :, numbers]
        return self._suspects(rows, i, entry, voters, moved, now[:, APART])

    def _suspects(
        self, rows: SecurityRows, i: int, entry: int, voters: I64, moved: F64, apart: F64
    ) -> list[Suspicion]:
        """Who has moved by himself: `moved` (k, 3, numbers) since the base, `apart` now."""
        run, n_rows = self._places["run"], self._places["n_rows"]
        threshold = self._kinds["threshold"][entry, : apart.shape[1]]
        side = np.sign(moved[:, MEDIAN])
        all_four = np.concatenate([moved, apart[:, np.newaxis]], axis=1) * side[:, np.newaxis]
        least = all_four.min(axis=1)
        ratio = np.where(threshold > 0.0, least / np.where(threshold > 0.0, threshold, 1.0), 0.0)
        found: list[Suspicion] = []
        if not ratio.shape[1]:
            return found
        worst = np.argmax(ratio, axis=1)
        n_new = n_rows[voters] - run[voters, JUDGED_AT]
        is_due = (run[voters, HAS_BASE] == 1) & (n_new >= _NEW_ROWS)
        is_far = ratio.max(axis=1) > 1.0
        run[voters[is_due], JUDGED_AT] = n_rows[voters[is_due]]
        run[voters[is_due & ~is_far], IN_A_ROW] = 0
        for at in np.flatnonzero(is_due & is_far).tolist():
            place = int(voters[at])
            own, n, f = run[place], int(n_rows[place]), int(worst[at])
            if own[TOTAL] == 0 or n - own[LAST] > _QUIET or (own[IN_A_ROW] == own[NEXT] == 0):
                own[TOTAL] = own[NEXT] = own[IN_A_ROW] = 0
                own[FIRST_OFFSET], own[FIRST_TIME] = rows.offset[i], rows.event_time_ms[i]
            own[IN_A_ROW] += 1
            own[TOTAL] += 1
            own[LAST] = n
            if own[IN_A_ROW] >= SUSTAINED and own[TOTAL] >= own[NEXT]:
                own[NEXT] = 2 * own[TOTAL]
                found.append(
                    Suspicion(
                        offset=int(rows.offset[i]),
                        event_row=int(rows.event_row[i]),
                        model=int(rows.model[i]),
                        source=place,
                        detector=NAME,
                        technique=Technique.FROG_BOILING,
                        event_time_ms=int(rows.event_time_ms[i]),
                        statistic=float(least[at, f]),
                        threshold=float(threshold[f]),
                        n_hits=int(own[TOTAL]),
                        n_seen=n,
                        first_offset=int(own[FIRST_OFFSET]),
                        first_time_ms=int(own[FIRST_TIME]),
                        is_provisional=not bool(self._kinds["is_reviewed"][entry]),
                        detail=f"number {f}",
                    )
                )
        return found

    def baseline(self, model: int, kind: int = 0) -> Baseline | None:
        """Candidate and gap of a kind of client; None where it was never calibrated."""
        entry = int(self._kinds.entry[model, kind])
        if entry < 0:
            return None
        kinds = self._kinds
        candidate, frozen, gap = (
            kinds[name][entry].copy() for name in ("candidate", "centre", "gap")
        )
        return Baseline(candidate, frozen, gap, int(kinds["n_voters"][entry]))

    def calibrate(self, model: int, kind: int, calibration: Calibration, *, reviewed: bool) -> None:
        """Judge by this from here on; the sources that it is about begin anew."""
        require_names(calibration, {"centre", "threshold"})
        threshold = calibrated(calibration, "threshold", _D, 0.0, 100.0)
        values = {
            "centre": calibrated(calibration, "centre", _D, -9.0, 9.0),
            "threshold": threshold * jitter(self._salt, model, kind),
            "is_reviewed": reviewed,
        }
        self._kinds.give(model, kind, values)
        begin_anew(self._places, model, kind)

    def forget(self, model: int) -> None:
        """The slot is another model's from here on."""
        self._kinds.forget(model)
        begin_anew(self._places, model)

    def standing(self) -> I32:
        """(S,) at how many candidates in a row a source was far off."""
        found: I32 = np.minimum(self._places["run"][:, IN_A_ROW], 2**31 - 1).astype(np.int32)
        return found

    def snapshot(self) -> BankState:
        """The whole state; a function of the rows alone."""
        return {**self._kinds.snapshot(), **self._places.snapshot()}


def build(
    config: BaselineGuardConfig,  # noqa: ARG001 - there is nothing to set
    n_models: int,
    n_places: int,
    salt: int,
    state: BankState | None,
) -> SecurityBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return BaselineGuardBank(n_models, n_places, salt, state)


SPEC: Final = SecuritySpec(
    NAME, 1, BaselineGuardConfig, build, fit, strictest, "standard deviations"
)
