"""Breaks of the data: states that many sources of a model get into together, and never were in.

A feature comes in another unit, as the same value for all, or no more. Rows of honest clients then
lie beyond what is known, and nearer to one another than they ever did: what is calibrated on good
rows holds no more, and says of the innocent that they probe. So what is found of a source while
its rows are broken, or its evidence is in part of that time, is held back, and it is told that the
data has changed. See `kernels.data_breaks` for when a row is broken.

A break of everybody's data hides an attack whose rows are broken, too: it is told of, and the
thresholds have to be calibrated anew. Whoever wants to feign one needs a quarter of the model's
latest rows from sources that have long been known, broken in at most half of the features. A model
with less than four sources, or whose sources have no names, has nobody to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from detectors.base import BankState
from detectors.drift.lane_table import MAX_N, Column, LaneTable, require_all, require_names
from detectors.kernels import data_breaks as kernel
from detectors.kernels.compile import DONE
from detectors.security.base import (
    MAX_DIMS,
    N_KINDS,
    Calibration,
    SecurityRows,
    SecuritySpec,
    Suspicion,
    Technique,
)
from detectors.security.data_breaks_fit import MAX_VALUE, fit, strictest
from detectors.security.kernel_rows import KernelRows, kernel_rows
from detectors.security.kind_table import begin_anew, calibrated
from schemas.batch import I32, I64
from schemas.security_config import DataBreaksConfig

NAME: Final = "data_breaks"

MEMORY: Final = 256
"""Rows of a source for which a broken one stays in what other banks hold of it: the longest of
their rings."""
_NEVER_HELD: Final = frozenset({Technique.VOLUME, Technique.PRESSURE})
"""What counts queries and names does not ask where they lie, nor what is answered."""
MAX_NAMED_COLUMNS: Final = 4
"""That moved most, of which the features are named."""
_LATEST: Final = np.uint64(1)
_RANKS: Final = "exposure"
"""The bank that accuses nobody."""

_ATOMS: Final = (MAX_DIMS, kernel.N_ATOMS)
_SHARES: Final = (MAX_DIMS, kernel.N_ATOMS + 1)
_SIDES: Final = (MAX_DIMS, 2)
_MODELS: Final = (
    Column("is_given", np.bool_, 0),
    Column("is_reviewed", np.bool_, 0),
    Column("atom", np.float32, 0.0, _ATOMS),
    Column("share", np.float64, 0.0, _SHARES),
    Column("limit", np.float32, 0.0, _SIDES),
    Column("outside", np.float64, 0.0, _SIDES),
    Column("apart", np.float64, 0.0, (MAX_DIMS,)),
    Column("ring_z", np.float32, 0.0, (MAX_DIMS, kernel.RING)),
    Column("ring_place", np.int32, -1, (kernel.RING,)),
    Column("ring_row", np.int64, -1, (kernel.RING,)),
    Column("n_rows", np.int64, 0),
    Column("evidence", np.int64, 0, (kernel.N_EVIDENCE,)),
    Column("moved", np.int64, 0, (MAX_DIMS,)),
)
_PLACES: Final = (
    Column("owner", np.int32, -1),
    Column("words", np.uint64, 0, (2,)),
    Column("since", np.int64, 0),
    Column("n_sent", np.int64, 0),
    Column("broken_at", np.int64, 0),
    Column("broken_offset", np.int64, -1),
    Column("hits", np.uint64, 0),
)


class Sifted(NamedTuple):
    """What is left of what other banks suspect."""

    said: list[Suspicion]
    """Theirs that are not held, and what this bank says itself."""
    n_held: int


class DataBreaksBank:
    """The latest 64 rows of each model, at most 8 of a source, with which rows are compared."""

    def __init__(self, n_models: int, n_places: int, state: BankState | None) -> None:
        self._n_models, self._n_places = n_models, n_places
        self._models = LaneTable(_MODELS, n_models, state)
        self._places = LaneTable(_PLACES, n_places, state)
        if state is not None:
            require_names(state, {*self._models.names, *self._places.names})
            self._check()
        self._is_other = np.zeros(kernel.RING, np.int32)
        self._cursor = np.zeros(2, np.int64)

    def _check(self) -> None:
        models, places = self._models, self._places
        for name in ("atom", "limit", "ring_z"):
            require_all(np.abs(models[name]) <= MAX_VALUE, f"{name} is out of range")
        for name in ("apart", "share", "outside"):
            most = MAX_VALUE if name == "apart" else 1.0
            require_all((models[name] >= 0.0) & (models[name] <= most), f"{name} is out of range")
        for name, most in (("ring_place", self._n_places - 1), ("ring_row", MAX_N)):
            require_all((models[name] >= -1) & (models[name] <= most), f"{name} is out of range")
        require_all(models["ring_row"] < models["n_rows"][:, np.newaxis], "ring_row is yet to come")
        owner = places["owner"]
        require_all((owner >= -1) & (owner < self._n_models), "owner is out of range")
        counts = models["evidence"][:, : kernel.FIRST_OFFSET]
        for name, array in (
            ("n_rows", models["n_rows"]),
            ("evidence", counts),
            ("moved", models["moved"]),
            ("since", places["since"]),
            ("n_sent", places["n_sent"]),
            ("broken_at", places["broken_at"]),
        ):
            require_all((array >= 0) & (array <= MAX_N), f"{name} is out of range")
        require_all(places["broken_at"] <= places["n_sent"], "broken_at is yet to come")
        total = models["evidence"][:, kernel.TOTAL, np.newaxis]
        require_all(models["moved"] <= total, "moved is more than there is evidence")

    def update(self, rows: SecurityRows) -> list[Suspicion]:
        """Advance over the rows; raises IndexError at a model or a place that there is not."""
        return self.sift(rows, []).said

    def sift(self, rows: SecurityRows, found: Sequence[Suspicion]) -> Sifted:
        """Advance over the rows, and hold back what other banks have found of broken ones.

        Each is judged by what is known at the row at which it was found. Raises IndexError.
        """
        said: list[Suspicion] = []
        if not len(rows):
            return Sifted([*found], 0)
        own = kernel_rows(rows, self._n_models, self._n_places)
        self._cursor[:] = 0
        n_held = 0
        for each in sorted(found):
            first, last = np.searchsorted(rows.offset, [each.offset, each.offset + 1])
            row = first + int(np.searchsorted(rows.event_row[first:last], each.event_row))
            said += self._advance(rows, own, int(row) + 1)
            if self._is_held(each, int(rows.source[row])):
                n_held += 1
            else:
                said.append(each)
        said += self._advance(rows, own, len(rows))
        return Sifted(said, n_held)

    def _is_held(self, found: Suspicion, place: int) -> bool:
        """Whether the row that it was found at is broken, or half of whom it names took part."""
        is_of_names = found.technique is Technique.CHAFF and found.source < 0
        if found.technique in _NEVER_HELD or is_of_names or found.detector == _RANKS:
            return False
        places = self._places
        if place >= 0 and places["owner"][place] == found.model and places["hits"][place] & _LATEST:
            return True
        of_model = places["owner"] == found.model
        if found.source >= 0:
            named = np.array([found.source])
            n_named = 1
        else:
            words = np.array(found.sources, np.uint64).reshape(-1, 2)
            is_named = (places["words"][:, np.newaxis] == words).all(axis=2).any(axis=1)
            named, n_named = np.flatnonzero(is_named & of_model), len(words)
        at, offset = places["broken_at"][named], places["broken_offset"][named]
        is_late = places["n_sent"][named] - at < MEMORY
        is_broken = of_model[named] & (at > 0) & (is_late | (offset >= found.first_offset))
        n_broken = int(np.count_nonzero(is_broken))
        return n_broken > 0 and 2 * n_broken >= n_named

    def _advance(self, rows: SecurityRows, own: KernelRows, stop: int) -> list[Suspicion]:
        models, places = self._models, self._places
        said: list[Suspicion] = []
        while True:
            status = kernel.data_breaks_update(
                rows.offset,
                rows.event_time_ms,
                rows.model,
                own.z,
                rows.is_repeat,
                rows.source,
                rows.is_first,
                rows.source_words,
                own.n_dims,
                own.n_numbers,
                stop,
                models["is_given"],
                models["atom"],
                models["share"],
                models["limit"],
                models["outside"],
                models["apart"],
                models["ring_z"],
                models["ring_place"],
                models["ring_row"],
                models["n_rows"],
                models["evidence"],
                models["moved"],
                places["owner"],
                places["words"],
                places["since"],
                places["n_sent"],
                places["broken_at"],
                places["broken_offset"],
                places["hits"],
                self._is_other,
                self._cursor,
            )
            if status == DONE:
                return said
            said.append(self._suspicion(rows, int(self._cursor[0]) - 1, int(self._cursor[1])))

    def _suspicion(self, rows: SecurityRows, row: int, n_columns: int) -> Suspicion:
        model = int(rows.model[row])
        evidence = self._models["evidence"][model]
        n_rows = int(self._models["n_rows"][model])
        return Suspicion(
            offset=int(rows.offset[row]),
            event_row=int(rows.event_row[row]),
            model=model,
            source=-1,
            detector=NAME,
            technique=Technique.DATA_CHANGE,
            event_time_ms=int(rows.event_time_ms[row]),
            statistic=float(evidence[kernel.TOTAL]),
            threshold=float(kernel.NEEDED),
            n_hits=int(evidence[kernel.TOTAL]),
            n_seen=n_rows - int(evidence[kernel.FIRST_ROW]),
            first_offset=int(evidence[kernel.FIRST_OFFSET]),
            first_time_ms=int(evidence[kernel.FIRST_TIME]),
            is_provisional=not bool(self._models["is_reviewed"][model]),
            detail=f"{n_columns} of {int(rows.n_dims[model])} features",
            columns=_most_moved(self._models["moved"][model]),
        )

    def calibrate(self, model: int, kind: int, calibration: Calibration, *, reviewed: bool) -> None:
        """Compare with this from here on. Kinds other than 0 say nothing of their own.

        The strictest of all kinds is kind 0: what is usual of any of them is not broken.
        """
        require_names(calibration, {"atom", "share", "limit", "outside", "apart"})
        values: dict[str, Any] = {
            "atom": calibrated(calibration, "atom", _ATOMS, -MAX_VALUE, MAX_VALUE),
            "share": calibrated(calibration, "share", _SHARES, 0.0, 1.0),
            "limit": calibrated(calibration, "limit", _SIDES, -MAX_VALUE, MAX_VALUE),
            "outside": calibrated(calibration, "outside", _SIDES, 0.0, 1.0),
            "apart": calibrated(calibration, "apart", (MAX_DIMS,), 0.0, MAX_VALUE),
            "is_given": True,
            "is_reviewed": reviewed,
        }
        if not (0 <= model < self._n_models and 0 <= kind < N_KINDS):
            raise IndexError(f"kind {kind} of model {model} of a bank of {self._n_models}")
        if kind:
            return
        self.forget(model)
        for name, value in values.items():
            self._models[name][model] = value

    def forget(self, model: int) -> None:
        """The slot is another model's from here on."""
        self._models.reset(np.array([model], np.int32))
        begin_anew(self._places, model)

    def standing(self) -> I32:
        """(S,) nothing: who sends broken rows is not accused of it."""
        return np.zeros(self._n_places, np.int32)

    def snapshot(self) -> BankState:
        """The whole state; a function of the rows alone."""
        return {**self._models.snapshot(), **self._places.snapshot()}


def _most_moved(moved: I64) -> tuple[int, ...]:
    """The columns, ascending, that broke in half as many rows as the one that broke most, or more.

    In that order the text stays the same while the evidence grows.
    """
    most = np.flatnonzero(2 * moved >= max(int(moved.max()), 1))
    first = most[np.argsort(-moved[most], kind="stable")][:MAX_NAMED_COLUMNS]
    return tuple(np.sort(first).tolist())


def build(
    config: DataBreaksConfig,  # noqa: ARG001 - there is nothing to set
    n_models: int,
    n_places: int,
    salt: int,  # noqa: ARG001 - nothing is compared with what an attacker could learn
    state: BankState | None,
) -> DataBreaksBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return DataBreaksBank(n_models, n_places, state)


SPEC: Final = SecuritySpec(NAME, 2, DataBreaksConfig, build, fit, strictest, "rows")
