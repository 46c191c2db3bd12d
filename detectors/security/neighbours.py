"""The bank of what a source's nearest queries say: `probing`, `query_distance`, `inversion`.

- `probing`: rows that lie near an earlier one of the same source and are of another class (flips),
  or near one and on the boundary. Searches for the boundary do both, whatever they search it for:
  evasion, or membership by labels alone, which measures how far from the boundary a row lies. The
  two look the same, and both are told of as probing. Membership by scores asks for one row once,
  and is not seen here.
- `query_distance`: distances to the nearest earlier row of the same class are no longer as normal
  as those of benign clients: PRADA (Juuti et al., EuroS&P 2019), on the latest rows.
- `inversion`: a score that moves one way over a long run of small steps.

What spreads over many sources, steps farther than is near, or hides each query among more others
than a place has room for, is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.drift.lane_table import LaneTable, require_all, require_names
from detectors.kernels.compile import DONE, NO_LANE
from detectors.kernels.probing import (
    BOUNDARY,
    CLIMB,
    DISTANCE,
    FLIPS,
    LAST,
    LOW,
    MAX_HITS,
    N_THRESHOLDS,
    NEAR,
    NEEDED,
    NEXT,
    TOTAL,
    USUAL,
    W,
    accuse,
)
from detectors.mixing import GOLDEN, splitmix64
from detectors.security import neighbour_fit as fitted
from detectors.security.base import (
    N_KINDS,
    Calibration,
    SecurityRows,
    SecuritySpec,
    Suspicion,
    Technique,
)
from detectors.security.neighbour_places import (
    MAX_ROWS,
    PLACE_COLUMNS,
    ROOM,
    filled_rows,
    require_places,
)
from detectors.security.neighbour_rates import alarm_at
from detectors.security.neighbour_search import EVERY, Asked, find
from schemas.batch import F64, I32
from schemas.security_config import NeighboursConfig

NAME: Final = "neighbours"

QUIET: Final = 1_024
"""Distinct rows of a source without a hit, after which its evidence begins anew."""
LOOKS: Final = 3
"""W has to be low at so many looks in a row."""
_RULES: Final[Mapping[int, tuple[str, Technique, str]]] = {
    FLIPS: ("probing", Technique.PROBING, "flips"),
    BOUNDARY: ("probing", Technique.PROBING, "boundary"),
    DISTANCE: ("query_distance", Technique.EXTRACTION, ""),
    CLIMB: ("inversion", Technique.INVERSION, ""),
}
_UNKNOWN, _PROVISIONAL, _REVIEWED = range(3)
_MODEL_ARRAYS: Final = {"thresholds", "known"}
_CAPACITY: Final = 256


class NeighboursBank:
    """Rings of the latest distinct rows of each place, and what adds up against its source.

    A model's places begin anew when its kind 0 is calibrated: with it its rows are scaled.
    """

    def __init__(
        self,
        config: NeighboursConfig,
        n_models: int,
        n_places: int,
        salt: int,
        state: BankState | None,
    ) -> None:
        self._config = config
        self._salt = salt
        self._places = LaneTable(PLACE_COLUMNS, n_places, None)
        self._ring = np.zeros(n_places * ROOM, np.float32)
        self._known = np.zeros((n_models, N_KINDS), np.uint8)
        self._thresholds = np.zeros((n_models, N_KINDS, fitted.N_FIELDS))
        self._table = np.zeros((n_models, N_KINDS, N_THRESHOLDS))
        """Derived of `thresholds`, config and salt, no part of the state: what is in use."""
        self._among = np.array([config.probing.flips_of, config.probing.near_of])
        self._cursor = np.zeros(2, np.int64)
        self._fired_row = np.empty(_CAPACITY, np.int64)
        self._fired_rule = np.empty(_CAPACITY, np.int32)
        self._fired_numbers = np.empty((_CAPACITY, 3))
        self._fired_counts = np.empty((_CAPACITY, 4), np.int64)
        if state is not None:
            self._resume(state)
        for model in range(n_models):
            self._derive(model)

    def _resume(self, state: BankState) -> None:
        require_names(
            state, {column.name for column in PLACE_COLUMNS} | _MODEL_ARRAYS | {"place", "ring"}
        )
        n_models, n_places = len(self._known), self._places.n_lanes
        self._known = require_array(state, "known", np.uint8, (n_models, N_KINDS))
        require_all(self._known <= _REVIEWED, "known is out of range")
        self._thresholds = require_array(
            state, "thresholds", np.float64, (n_models, N_KINDS, fitted.N_FIELDS)
        )
        fitted.require_thresholds(self._thresholds[self._known > 0])
        require_all(self._thresholds[self._known == 0] == 0.0, "thresholds of no calibration")
        place = require_array(state, "place", np.int32, (None,))
        require_all((place >= 0) & (place < n_places), "place is out of range")
        require_all(np.diff(place) > 0, "places do not ascend")
        kept = LaneTable(PLACE_COLUMNS, len(place), state)
        require_places(kept, n_models)
        dims = kept["dims"].astype(np.int64)
        filled = filled_rows(kept)
        rows = require_array(state, "ring", np.float32, (int((dims * filled).sum()),))
        require_all(np.abs(rows) <= 1e9, "a row is out of range")
        if not self._config.enabled:
            return
        for name in kept.names:
            self._places[name][place] = kept[name]
        at = 0
        for one, width, n in zip(place.tolist(), dims.tolist(), filled.tolist(), strict=True):
            self._rows_of(one, width)[:, :n] = rows[at : at + width * n].reshape(width, n)
            at += width * n

    def _rows_of(self, place: int, width: int) -> NDArray[np.float32]:
        """(width, rows that there is room for) the ring of a place, by column: a view."""
        room = min(MAX_ROWS, ROOM // max(width, 1))
        return self._ring[place * ROOM :][: width * room].reshape(width, room)

    def update(self, rows: SecurityRows) -> list[Suspicion]:
        """Advance over the rows; raises IndexError at a model, place or kind that there is not."""
        if not self._config.enabled or not len(rows):
            return []
        places = self._places
        asked = Asked(
            rows.z,
            rows.is_repeat,
            rows.source,
            rows.is_first,
            rows.model,
            rows.predicted,
            rows.n_dims,
            rows.n_numbers,
        )
        if len(rows.n_dims) != len(self._known):
            raise IndexError(f"rows of {len(rows.n_dims)} models to a bank of {len(self._known)}")
        found = find(asked, places, self._ring)
        suspicions: list[Suspicion] = []
        self._cursor[:] = 0
        while True:
            status = accuse(
                found.position,
                found.begins,
                rows.source,
                rows.model,
                rows.kind,
                found.nearest,
                found.is_flip,
                found.step,
                found.w,
                rows.margin,
                rows.score,
                rows.offset,
                rows.event_time_ms,
                self._table.reshape(-1),
                N_KINDS,
                self._among,
                EVERY,
                QUIET,
                places["hits"].reshape(-1),
                places["n_hits"].reshape(-1),
                places["episode"].reshape(-1),
                places["run"].reshape(-1),
                places["last"],
                places["way"],
                self._cursor,
                self._fired_row,
                self._fired_rule,
                self._fired_numbers,
                self._fired_counts,
            )
            suspicions += self._drain(rows)
            if status == NO_LANE:
                raise IndexError("a row is of a model or of a kind that the bank has not")
            if status == DONE:
                return suspicions

    def _drain(self, rows: SecurityRows) -> list[Suspicion]:
        """Take out what has fired so far."""
        n_fired = int(self._cursor[1])
        self._cursor[1] = 0
        suspicions = []
        for k in range(n_fired):
            row = int(self._fired_row[k])
            detector, technique, detail = _RULES[int(self._fired_rule[k])]
            statistic, threshold, baseline = self._fired_numbers[k].tolist()
            n_hits, n_seen, first_offset, first_time_ms = self._fired_counts[k].tolist()
            model = int(rows.model[row])
            suspicions.append(
                Suspicion(
                    offset=int(rows.offset[row]),
                    event_row=int(rows.event_row[row]),
                    model=model,
                    source=int(rows.source[row]),
                    detector=detector,
                    technique=technique,
                    event_time_ms=int(rows.event_time_ms[row]),
                    statistic=statistic,
                    threshold=threshold,
                    n_hits=n_hits,
                    n_seen=n_seen,
                    first_offset=first_offset,
                    first_time_ms=first_time_ms,
                    baseline=baseline,
                    is_provisional=self._judged_by(model, int(rows.kind[row])) == _PROVISIONAL,
                    detail=detail,
                )
            )
        return suspicions

    def _judged_by(self, model: int, kind: int) -> int:
        known = self._known[model]
        return int(known[kind] or known[0])

    def calibrate(self, model: int, kind: int, calibration: Calibration, *, reviewed: bool) -> None:
        """Judge clients of this kind by this from here on; kind 0 begins the model's places anew.

        Raises `StateError` if it is no calibration of this bank, IndexError at an unknown model.
        """
        if not (0 <= model < len(self._known) and 0 <= kind < N_KINDS):
            raise IndexError(f"kind {kind} of model {model} of a bank of {len(self._known)}")
        numbers = fitted.flat(calibration)
        if kind == 0:
            self._forget_places(model)
        elif not self._known[model, 0]:
            raise StateError(f"kind {kind} of model {model} is calibrated before kind 0")
        self._thresholds[model, kind] = numbers
        self._known[model, kind] = _REVIEWED if reviewed else _PROVISIONAL
        self._derive(model)

    def forget(self, model: int) -> None:
        """Forget a model, its calibrations and what was kept of its sources."""
        if not 0 <= model < len(self._known):
            raise IndexError(f"model {model} of a bank of {len(self._known)}")
        self._known[model] = _UNKNOWN
        self._thresholds[model] = 0.0
        self._forget_places(model)
        self._derive(model)

    def _forget_places(self, model: int) -> None:
        self._places.reset(np.flatnonzero(self._places["owner"] == model).astype(np.int32))

    def _derive(self, model: int) -> None:
        """What is in use for each kind of client of a model."""
        self._table[model] = 0.0
        for kind in range(N_KINDS):
            of = kind if self._known[model, kind] else 0
            if self._known[model, of]:
                self._table[model, kind] = self._in_use(self._thresholds[model, of], of)

    def _in_use(self, numbers: F64, kind: int) -> F64:
        config, table = self._config, np.zeros(N_THRESHOLDS)
        jitter = 1.0 + fitted.JITTER * _between(self._salt, kind)
        table[NEAR] = numbers[fitted.NEAR] * jitter[0]
        table[LOW] = numbers[fitted.MARGIN] * jitter[1]
        for rule, least, at in (
            (FLIPS, config.probing.flips, fitted.FLIPS),
            (BOUNDARY, config.probing.near, fitted.BOUNDARY),
        ):
            among = int(self._among[rule])
            rate, clump, most = numbers[at : at + 3].tolist()
            table[NEEDED + rule] = alarm_at(rate, clump, most, least, among)
            table[USUAL + rule] = rate * among
            if not config.probing.enabled:
                table[NEEDED + rule] = 0.0
        w, usual = numbers[fitted.W : fitted.W + 2].tolist()
        if config.query_distance.enabled and w > 0.0:
            table[W] = 1.0 - (1.0 - w) * jitter[2]
            table[NEEDED + DISTANCE] = LOOKS
        table[USUAL + DISTANCE] = usual
        steps, longest = numbers[fitted.CLIMB : fitted.CLIMB + 2].tolist()
        if config.inversion.enabled and steps > 0.0:
            table[NEEDED + CLIMB] = max(ceil(steps), config.inversion.steps)
        table[USUAL + CLIMB] = longest
        return table

    def standing(self) -> I32:
        """(S,) hits in the windows, what goes on unbroken, and the evidence of open episodes.

        A climb counts from a quarter of what fires on: a few steps up are nothing.
        """
        places = self._places
        now = places["n"][:, np.newaxis]
        hits, n_hits = places["hits"][..., 0], places["n_hits"][..., np.newaxis]
        is_kept = np.arange(MAX_HITS) < n_hits
        is_held = now[..., np.newaxis] - hits < self._among[:, np.newaxis]
        held = (is_kept & is_held).sum(axis=(1, 2))
        run = places["run"][..., 0]
        rising = np.where(4 * run[:, 1] >= self._config.inversion.steps, run[:, 1], 0)
        episode = places["episode"]
        is_open = (episode[..., NEXT] > 0) & (now - episode[..., LAST] <= QUIET)
        total = np.where(is_open, episode[..., TOTAL], 0).sum(axis=1)
        standing: I32 = np.minimum(held + run[:, 0] + rising + total, 2**31 - 1).astype(np.int32)
        return standing

    def snapshot(self) -> BankState:
        """Thresholds of models; of the places that keep anything which they are, and all they keep.

        `ring` has their rows, place by place, of each its columns one after the other.
        """
        places = self._places
        used = np.flatnonzero(places["owner"] >= 0)
        arrays: dict[str, NDArray[Any]] = {name: places[name][used] for name in places.names}
        width, filled = arrays["dims"].tolist(), filled_rows(places)[used].tolist()
        rows = [
            self._rows_of(place, k)[:, :n].reshape(-1)
            for place, k, n in zip(used.tolist(), width, filled, strict=True)
        ]
        arrays["ring"] = np.concatenate(rows) if rows else np.zeros(0, np.float32)
        arrays["place"] = used.astype(np.int32)
        return arrays | {"known": self._known.copy(), "thresholds": self._thresholds.copy()}


def _between(salt: int, kind: int) -> F64:
    """(3,) numbers from -1 to 1 that only this deployment has."""
    with np.errstate(over="ignore"):
        steps = np.arange(1, 4, dtype=np.uint64) + np.uint64(4 * kind)
        mixed = splitmix64(np.uint64(salt % 2**64) + GOLDEN * steps)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0


def build(
    config: NeighboursConfig, n_models: int, n_places: int, salt: int, state: BankState | None
) -> NeighboursBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return NeighboursBank(config, n_models, n_places, salt, state)


SPEC: Final = SecuritySpec(
    NAME, 1, NeighboursConfig, build, fitted.fit, fitted.strictest, unit="events"
)
