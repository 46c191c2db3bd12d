"""What a place keeps for the search of nearest rows and for what adds up, as arrays."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.drift.lane_table import MAX_N, Column, LaneTable, require_all
from detectors.kernels.probing import (
    LAST,
    MAX_HITS,
    N_EPISODE,
    N_FIRST,
    N_RULES,
    N_RUN,
    N_WINDOWED,
    NEXT,
    POSITION,
    TOTAL,
)
from detectors.security.base import MAX_DIMS
from detectors.security.shapiro import MOST
from schemas.batch import Bool

MAX_ROWS: Final = 256
"""Of a place, where so many find room."""
ROOM: Final = 40_960 // 4
"""Numbers that a place has room for, whatever the model: 40 KB."""

PLACE_COLUMNS: Final = (
    Column("n", np.int64, 0),
    Column("dims", np.int32, 0),
    Column("owner", np.int32, -1),
    Column("ring_class", np.int8, 0, (MAX_ROWS,)),
    Column("sample", np.float32, 0.0, (MOST,)),
    Column("n_sample", np.int64, 0),
    Column("hits", np.int64, 0, (N_WINDOWED, MAX_HITS, N_FIRST)),
    Column("n_hits", np.int64, 0, (N_WINDOWED,)),
    Column("episode", np.int64, 0, (N_RULES, N_EPISODE)),
    Column("run", np.int64, 0, (N_RULES - N_WINDOWED, N_RUN)),
    Column("last", np.float64, np.nan),
    Column("way", np.int8, 0),
)
"""What a place keeps beside its rows; `owner` is the slot of the model, -1: it keeps nothing."""


def filled_rows(places: LaneTable) -> NDArray[np.int64]:
    """(S,) rows that each place keeps."""
    room = np.minimum(MAX_ROWS, ROOM // np.maximum(places["dims"], 1))
    filled: NDArray[np.int64] = np.minimum(places["n"], room)
    return filled


def require_places(kept: LaneTable, n_models: int) -> None:
    """Raise `StateError` where places are as no rows have left them."""
    n, dims, owner = kept["n"], kept["dims"], kept["owner"]
    require_all((owner >= 0) & (owner < n_models), "owner is out of range")
    require_all((dims >= 1) & (dims <= MAX_DIMS), "dims is out of range")
    require_all((n >= 0) & (n <= MAX_N), "a count is out of range")
    classes = kept["ring_class"]
    require_all(classes >= 0, "a class is out of range")
    sample, n_sample = kept["sample"], kept["n_sample"]
    require_all(np.isfinite(sample) & (sample >= 0.0), "a distance is out of range")
    require_all((n_sample >= 0) & (n_sample <= n), "n_sample is out of range")
    n_hits = kept["n_hits"]
    require_all((n_hits >= 0) & (n_hits <= n[:, np.newaxis]), "n_hits is out of range")
    for name in ("hits", "run", "episode"):
        at = {"hits": 0, "run": 1, "episode": POSITION}[name]
        position = kept[name][..., at]
        now = n.reshape(-1, *(1,) * (position.ndim - 1))
        require_all((position >= 0) & (position <= now), f"{name} has a row that never was")
    run, episode = kept["run"], kept["episode"]
    by_place: Bool = run[..., 0] <= n[:, np.newaxis]
    require_all((run[..., 0] >= 0) & by_place, "run is out of range")
    require_all((episode[..., TOTAL] >= 0) & (episode[..., TOTAL] <= MAX_N), "a total is none")
    require_all((episode[..., NEXT] >= 0) & (episode[..., NEXT] <= 2 * MAX_N), "a total is none")
    last = episode[..., LAST]
    require_all((last >= 0) & (last <= n[:, np.newaxis]), "episode is out of range")
    require_all(np.abs(kept["way"]) <= 1, "way is out of range")
