"""Sources that send far more than they used to, floods of sources, one-sided answers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from detectors.base import BankState
from detectors.drift.lane_table import MAX_N, Column, LaneTable, require_all, require_names
from detectors.kernels import volume as kernel
from detectors.security.base import (
    MAX_CLASSES,
    N_KINDS,
    Calibration,
    SecurityBank,
    SecurityRows,
    SecuritySpec,
    Suspicion,
    Technique,
)
from detectors.security.binomial import critical_counts
from detectors.security.kind_table import KindTable, begin_anew, calibrated, jitter
from detectors.security.volume_fit import fit, strictest
from schemas.batch import F64, I32
from schemas.security_config import VolumeConfig

NAME: Final = "volume"

_UNLIKELY: Final = 10**8
"""One window in so many, of a source that is as one-sided as any benign one, is beyond its bound.
"""

_LIMITS: Final = {
    kernel.FASTER: 3.0,
    kernel.ABOVE_PEAK: 2.0,
    kernel.FEWER_OTHERS: 2.0,
    kernel.MORE_NAMES: 2.0,
    kernel.MORE_THAN_EVER: 1.0,
}
"""In octaves, before the deployment's salt."""
_LIMITS_SALT: Final = 0xD10
"""Limits are not moved as the bounds of one-sided answers are."""

_C: Final = (MAX_CLASSES,)
_TECHNIQUES: Final = {
    kernel.RATE_RULE: Technique.VOLUME,
    kernel.NAMES_RULE: Technique.CHAFF,
    kernel.TURNOVER_RULE: Technique.PRESSURE,
    kernel.ANSWERS_RULE: Technique.CHAFF,
}
_DETAILS: Final = {
    kernel.RATE_RULE: "rate",
    kernel.NAMES_RULE: "sources",
    kernel.TURNOVER_RULE: "turnover",
}
_KINDS: Final = (
    Column("usual", np.float64, 0.0, _C),
    Column("most", np.float64, 0.0, _C),
    Column("is_reviewed", np.bool_, 0),
    Column("answers_all", np.int64, 0, _C),
)
_MODELS: Final = (
    Column("n_events", np.int64, 0),
    Column("cells", np.uint8, 0, (kernel.N_CELLS // 8,)),
    Column("names_first", np.int64, 0, (2,)),
    Column("names_history", np.int64, 0, (kernel.N_HISTORY,)),
    Column("names_level", np.float64, 0.0, (kernel.N_LEVELS,)),
    Column("n_places_given", np.int64, 0, (2,)),
    Column("places_history", np.int64, 0, (kernel.N_HISTORY,)),
    Column("places_level", np.float64, 0.0, (kernel.N_LEVELS,)),
)
_PLACES: Final = (
    Column("owner", np.int32, -1),
    Column("judged", np.int32, 0),
    Column("n_rows", np.int64, 0),
    Column("block", np.int64, 0, (3,)),
    Column("history", np.int64, 0, (kernel.N_HISTORY,)),
    Column("level", np.float64, 0.0, (kernel.N_LEVELS,)),
    Column("n_distinct", np.int64, 0),
    Column("answers", np.int32, 0, (2, MAX_CLASSES)),
    Column("answers_start", np.int64, 0, (2, MAX_CLASSES)),
    Column("answers_first", np.int64, 0, (4,)),
    Column("answers_evidence", np.int64, 0, (5,)),
)


class VolumeBank:
    """Four rules: `rate`, `sources`, `turnover` and `answers`.

    The rate of a source is suspected where it is 8 times what is usual, 4 times what it was in the
    epochs before, and a quarter as many events of others come beside its own as usual, so a load
    test by everybody is none. Sources of a model are, where there are 4 times as many as usual and
    twice as many as in the epochs before; so are the places that they are given, where others had
    to leave them. Answers are, where one class is more frequent than with any benign source, by an
    exact binomial bound, and than with the others at the same time. Rates, sources and places count
    repeats, too, and need no calibration: they are measured by their own past, of which as much as
    was told is part. Limits are salted.
    """

    def __init__(self, n_models: int, n_places: int, salt: int, state: BankState | None) -> None:
        self._salt = salt
        self._n_models = n_models
        own = salt ^ _LIMITS_SALT
        self._limits: F64 = np.array(
            [
                [_LIMITS[k] * jitter(own, model, k) for k in range(kernel.N_LIMITS)]
                for model in range(n_models)
            ]
        )
        self._kinds = KindTable(_KINDS, n_models, state)
        self._models = LaneTable(_MODELS, n_models, state)
        self._places = LaneTable(_PLACES, n_places, state)
        if state is not None:
            names = {*self._kinds.names, *self._models.names, *self._places.names}
            require_names(state, names)
            self._check()

    def _check(self) -> None:
        kinds, models, places = self._kinds, self._models, self._places
        for name in ("usual", "most"):
            require_all((kinds[name] >= 0.0) & (kinds[name] <= 1.0), f"{name} is out of range")
        for table, name in (
            (models, "names_level"),
            (models, "places_level"),
            (places, "level"),
        ):
            require_all(np.abs(table[name]) <= -kernel.NO_PEAK, f"{name} is out of range")
        owner, judged = places["owner"], places["judged"]
        require_all((owner >= -1) & (owner < self._n_models), "owner is out of range")
        require_all((judged >= 0) & (judged < N_KINDS), "judged is out of range")
        last = kernel.FIRST_OFFSET
        # As many blocks as there can be: what they are times events must be a number.
        for name, array in (
            ("names_history", models["names_history"]),
            ("places_history", models["places_history"]),
            ("history", places["history"]),
        ):
            n_blocks, run, total, _, latest = array[:, :last].T
            fits = (n_blocks <= MAX_N // kernel.NAMES_BLOCK) & (run <= total) & (total <= n_blocks)
            require_all(fits & (latest <= n_blocks), f"{name} is out of range")
        for name, array in (
            ("answers_all", kinds["answers_all"]),
            ("n_events", models["n_events"]),
            ("names_history", models["names_history"][:, :last]),
            ("n_places_given", models["n_places_given"]),
            ("places_history", models["places_history"][:, :last]),
            ("n_rows", places["n_rows"]),
            ("n_distinct", places["n_distinct"]),
            ("block", places["block"][:, 1]),
            ("history", places["history"][:, :last]),
            ("answers_start", places["answers_start"]),
            ("answers_evidence", places["answers_evidence"][:, :3]),
        ):
            require_all((array >= 0) & (array <= MAX_N), f"{name} is out of range")
        answers = places["answers"]
        fits = (answers >= 0) & (answers <= kernel.ANSWERS_BLOCK)
        require_all(fits, "answers is out of range")

    def update(self, rows: SecurityRows) -> list[Suspicion]:
        """Fold a stretch; raises IndexError at a model, kind or place that there is not."""
        n = len(rows)
        fired_row = np.zeros(4 * n, np.int64)
        fired = np.zeros((4 * n, kernel.N_FIRED))
        fired_first = np.zeros((4 * n, 2), np.int64)
        kinds, models, places = self._kinds, self._models, self._places
        n_fired = kernel.volume_update(
            rows.offset,
            rows.event_time_ms,
            rows.model,
            rows.is_repeat,
            rows.source,
            rows.is_first,
            rows.kind,
            rows.source_words,
            rows.predicted,
            self._limits,
            kinds.entry,
            kinds["usual"],
            kinds["most"],
            critical_counts(2 * kernel.ANSWERS_BLOCK, _UNLIKELY),
            kinds["answers_all"],
            models["n_events"],
            models["cells"],
            models["names_first"],
            models["names_history"],
            models["names_level"],
            models["n_places_given"],
            models["places_history"],
            models["places_level"],
            places["owner"],
            places["judged"],
            places["n_rows"],
            places["block"],
            places["history"],
            places["level"],
            places["n_distinct"],
            places["answers"],
            places["answers_start"],
            places["answers_first"],
            places["answers_evidence"],
            fired_row,
            fired,
            fired_first,
        )
        if n_fired < 0:
            raise IndexError(f"rows of a model, a kind or a place that {NAME} has not")
        return [
            self._suspicion(rows, *each)
            for each in zip(
                fired_row[:n_fired].tolist(),
                fired[:n_fired].tolist(),
                fired_first[:n_fired].tolist(),
                strict=True,
            )
        ]

    def _suspicion(
        self, rows: SecurityRows, i: int, fired: list[float], first: list[int]
    ) -> Suspicion:
        model, rule = int(rows.model[i]), int(fired[kernel.WHAT])
        is_of_model = rule in {kernel.NAMES_RULE, kernel.TURNOVER_RULE}
        is_provisional = False
        if rule == kernel.ANSWERS_RULE:
            entry = self._kinds.entry[model, self._places["judged"][rows.source[i]]]
            is_provisional = not bool(self._kinds["is_reviewed"][entry])
        number = int(fired[kernel.DETAIL])
        return Suspicion(
            offset=int(rows.offset[i]),
            event_row=int(rows.event_row[i]),
            model=model,
            source=-1 if is_of_model else int(rows.source[i]),
            detector=NAME,
            technique=_TECHNIQUES[rule],
            event_time_ms=int(rows.event_time_ms[i]),
            statistic=fired[kernel.STATISTIC],
            threshold=fired[kernel.THRESHOLD],
            n_hits=int(fired[kernel.HITS]),
            n_seen=int(fired[kernel.SEEN]),
            first_offset=first[0],
            first_time_ms=first[1],
            baseline=fired[kernel.BASELINE],
            n_sources=number if is_of_model else 0,
            is_provisional=is_provisional,
            detail=f"answers of class {number}" if rule == kernel.ANSWERS_RULE else _DETAILS[rule],
        )

    def calibrate(self, model: int, kind: int, calibration: Calibration, *, reviewed: bool) -> None:
        """Judge answers by this from here on; the sources that it is about begin anew."""
        require_names(calibration, {"usual", "most"})
        usual = calibrated(calibration, "usual", _C, 0.0, 1.0)
        most = calibrated(calibration, "most", _C, 0.0, 1.0)
        # What is on stays on: 0 would switch it off, and never are there more than all.
        scaled = np.minimum(most * jitter(self._salt, model, kind), 1.0)
        values: dict[str, Any] = {"usual": usual, "most": scaled, "is_reviewed": reviewed}
        self._kinds.give(model, kind, values)
        begin_anew(self._places, model, kind)

    def forget(self, model: int) -> None:
        """The slot is another model's from here on."""
        self._kinds.forget(model)
        self._models.reset(np.array([model], np.int32))
        begin_anew(self._places, model)

    def standing(self) -> I32:
        """(S,) blocks in a row that were too fast, and windows that were one-sided lately."""
        places = self._places
        evidence = places["answers_evidence"]
        is_recent = places["n_distinct"] - evidence[:, 2] <= kernel.QUIET * kernel.RATE_BLOCK
        total = places["history"][:, kernel.RUN] + np.where(is_recent, evidence[:, 0], 0)
        found: I32 = np.minimum(total, 2**31 - 1).astype(np.int32)
        return found

    def snapshot(self) -> BankState:
        """The whole state; a function of the rows alone."""
        return {
            **self._kinds.snapshot(),
            **self._models.snapshot(),
            **self._places.snapshot(),
        }


def build(
    config: VolumeConfig,  # noqa: ARG001 - there is nothing to set
    n_models: int,
    n_places: int,
    salt: int,
    state: BankState | None,
) -> SecurityBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return VolumeBank(n_models, n_places, salt, state)


SPEC: Final = SecuritySpec(NAME, 2, VolumeConfig, build, fit, strictest, "events")
