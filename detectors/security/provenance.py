"""The provenance bank: clusters of near queries, whoever sent them; their sources are Sybils.

One table for all models of a partition remembers the latest distinct rows. A row joins the nearest
one of its model within a radius, exact repeats join nothing. A cluster alarms when it has enough
members and they lie on both sides of a boundary (rule B), or a quarter of them close to one (rule
C). Sources are not asked, so spreading an attack over many hides nothing; those that took part
are named. After QPA's query graphs; candidates by random projections (Datar, Immorlica, Indyk,
Mirrokni 2004).

What it cannot see: steps longer than the radius; attacks so diluted that too few of their queries
are remembered at a time; models whose features are all categories (they are switched off); and
of a sharded model more than one shard: a bank sees one partition.

Whom it would accuse: a client whose rows creep along a boundary, where the calibration was made of
rows that do not. Rows in an order of time need a calibration of their own kind.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, require_array
from detectors.drift.lane_table import MAX_N, require_all, require_names, within
from detectors.kernels.compile import DONE
from detectors.kernels.provenance import (
    CELL_WIDTH,
    N_GRIDS,
    N_PROJECTIONS,
    N_SLOTS,
    RULE_CLASSES,
    RULE_LOW,
    provenance_update,
)
from detectors.mixing import GOLDEN, splitmix64
from detectors.security.base import (
    MAX_CLASSES,
    MAX_DIMS,
    MAX_NAMED,
    N_KINDS,
    Calibration,
    SecurityBank,
    SecurityRows,
    SecuritySpec,
    Suspicion,
    Technique,
)
from detectors.security.kernel_rows import kernel_rows
from detectors.security.provenance_fit import MAX_MEMBERS, MAX_RADIUS, fit, number, reach, strictest
from schemas.batch import F64, I32, I64, U64
from schemas.security_config import ProvenanceConfig

NAME: Final = "provenance"
RULES: Final = {
    RULE_CLASSES: "near queries with different predictions",
    RULE_LOW: "near queries on the boundary",
    RULE_CLASSES + RULE_LOW: "near queries on both sides of the boundary",
}
JITTER: Final = 0.05
"""What is learned of one deployment's radius does not hold on another."""
ROWS_PER_BUCKET: Final = 2
"""On average, in a full ring."""


class ProvenanceBank:
    """Clusters of near rows among the latest `capacity` distinct ones of a partition."""

    def __init__(
        self,
        config: ProvenanceConfig,
        n_models: int,
        n_places: int,
        salt: int,
        state: BankState | None,
    ) -> None:
        self._config = config
        self._n_places = n_places
        self._salt = np.uint64(salt & (2**64 - 1))
        capacity = config.capacity
        self._arrays: dict[str, NDArray[Any]] = {}
        forms = _forms(n_models, n_places, capacity)
        if state is None:
            for name, (dtype, shape, initial) in forms.items():
                self._arrays[name] = np.full(shape, initial, dtype)
        else:
            require_names(state, set(forms))
            for name, (dtype, shape, _) in forms.items():
                self._arrays[name] = require_array(state, name, dtype, shape)
            self._check(n_models, n_places, capacity)
        self._projection, self._phase = _grids(self._salt)
        self._per_width: F64 = np.zeros(n_models)
        """(models,) cells of a grid in a unit of distance; of the radii, no part of the state."""
        self._choose_widths()
        self._total = np.empty(N_GRIDS * N_PROJECTIONS)
        self._key = np.empty(N_GRIDS, np.uint64)

    def _check(self, n_models: int, n_places: int, capacity: int) -> None:
        own = self._arrays
        for name in ("radius", "low", "largest"):
            require_all(np.isfinite(own[name]) & (own[name] >= 0.0), f"{name} is out of range")
        require_all(own["radius"] <= 2.0 * MAX_RADIUS, "radius is out of range")
        require_all((own["needed"] >= 1) & (own["needed"] <= MAX_MEMBERS), "needed is out of range")
        require_all(own["given"] <= 1, "given is out of range")
        require_all(own["reviewed"] <= 1, "reviewed is out of range")
        require_all(
            (own["next_slot"] >= 0) & (own["next_slot"] < capacity), "next_slot is out of range"
        )
        limits = {
            "ring_model": (-1, n_models),
            "ring_place": (-1, n_places),
            "ring_class": (0, MAX_CLASSES),
            "ring_cluster": (-1, capacity),
            "bucket_slot": (-1, capacity),
            "bucket_next": (0, N_SLOTS),
            "cluster_model": (-1, n_models),
        }
        for name, (least, below) in limits.items():
            require_all((own[name] >= least) & (own[name] < below), f"{name} is out of range")
        require_all(np.isfinite(own["ring_z"]), "ring_z is not finite")
        for name in ("ring_offset", "ring_time", "ring_number", "place_since"):
            require_all(within(own[name], MAX_N), f"{name} is out of range")
        joined, fired = own["joined"], own["fired"]
        require_all((joined >= own["members"]) & (joined <= MAX_N), "joined is out of range")
        require_all((fired >= 0) & (fired <= joined), "fired is out of range")
        counts = _clusters(own, capacity)
        for name, counted in counts.items():
            require_all(own[name] == counted, f"{name} is not what the rows say")
        require_all((joined == 0) == (own["members"] == 0), "joined is out of range")

    def calibrate(self, model: int, kind: int, calibration: Calibration, *, reviewed: bool) -> None:
        """Judge by this from here on; with kind 0 the model's rows are forgotten: others scaled."""
        own = self._arrays
        radius = reach(calibration, self._config.capacity) * self._jitter(model)
        low = number(calibration, "low", 0.0, 1e9)
        members = number(calibration, "members", 1.0, float(MAX_MEMBERS))
        largest = number(calibration, "largest", 0.0, 1e9)
        needed = max(self._config.members, round(members))
        if kind == 0:
            self.forget(model)
        own["given"][model, kind] = 1
        kinds = [kind]
        if kind == 0:
            kinds = [k for k in range(N_KINDS) if k == 0 or not own["given"][model, k]]
        for name, value in (
            ("radius", radius),
            ("low", low),
            ("needed", needed),
            ("largest", largest),
            ("reviewed", reviewed),
        ):
            own[name][model, kinds] = value
        self._choose_widths()

    def _jitter(self, model: int) -> float:
        word = splitmix64(np.array([self._salt ^ np.uint64(model)]) + GOLDEN)[0]
        return 1.0 + JITTER * (2.0 * (int(word) >> 11) / 2**53 - 1.0)

    def _choose_widths(self) -> None:
        """Grids as wide as the longest reach of a model's kinds asks for."""
        widest = self._arrays["radius"].max(axis=1, initial=0.0)
        with np.errstate(divide="ignore", over="ignore"):
            per_width = 1.0 / (CELL_WIDTH * widest)
        self._per_width = np.where(np.isfinite(per_width), per_width, 0.0)

    def forget(self, model: int) -> None:
        """No row and no threshold of the model is left."""
        own = self._arrays
        gone = own["ring_model"] == model
        for name in _RING:
            own[name][gone] = _RING[name][2]
        clusters = own["cluster_model"] == model
        for name in ("members", "classes", "n_low", "joined", "fired"):
            own[name][clusters] = 0
        own["cluster_model"][clusters] = -1
        for name in ("radius", "low", "largest", "given", "reviewed"):
            own[name][model] = 0
        own["needed"][model] = 1
        self._choose_widths()

    def update(self, rows: SecurityRows) -> list[Suspicion]:
        """Advance over the rows. Raises IndexError at a model or a place that it has not."""
        own = self._arrays
        if not self._config.enabled or not len(rows):
            return []
        z, kind, n_dims, n_numbers = kernel_rows(rows, len(own["radius"]), self._n_places)
        predicted = np.clip(rows.predicted, 0, MAX_CLASSES - 1)
        cursor = np.zeros(3, np.int64)
        suspicions: list[Suspicion] = []
        while True:
            status = provenance_update(
                rows.offset,
                rows.event_time_ms,
                rows.number,
                rows.model,
                z,
                rows.is_repeat,
                rows.row_hash,
                rows.source,
                rows.is_first,
                kind,
                rows.source_words,
                predicted,
                rows.margin,
                n_dims,
                n_numbers,
                self._projection,
                self._phase,
                self._per_width,
                self._salt,
                own["radius"],
                own["low"],
                own["needed"],
                own["next_slot"],
                own["ring_z"],
                own["ring_model"],
                own["ring_hash"],
                own["ring_words"],
                own["ring_place"],
                own["ring_class"],
                own["ring_low"],
                own["ring_cluster"],
                own["ring_offset"],
                own["ring_time"],
                own["ring_number"],
                own["bucket_slot"],
                own["bucket_tag"],
                own["bucket_next"],
                own["members"],
                own["classes"],
                own["n_low"],
                own["joined"],
                own["fired"],
                own["cluster_model"],
                own["place_since"],
                self._total,
                self._key,
                cursor,
            )
            if status == DONE:
                return suspicions
            suspicions.append(self._suspicion(rows, cursor, int(kind[cursor[0] - 1])))

    def _suspicion(self, rows: SecurityRows, cursor: I64, kind: int) -> Suspicion:
        """What the cluster that has just fired says; its rows are all still in the ring."""
        own = self._arrays
        row, cluster, rules = (int(x) for x in (cursor[0] - 1, cursor[1], cursor[2]))
        model = int(rows.model[row])
        members = np.flatnonzero(own["ring_cluster"] == cluster)
        first = members[np.argmin(own["ring_number"][members])]
        words, counts = np.unique(own["ring_words"][members], axis=0, return_counts=True)
        order = np.lexsort((words[:, 1], words[:, 0], -counts))
        named = [(int(a), int(b)) for a, b in words[order] if a or b]
        return Suspicion(
            offset=int(rows.offset[row]),
            event_row=int(rows.event_row[row]),
            model=model,
            source=-1,
            detector=NAME,
            technique=Technique.PROBING,
            event_time_ms=int(rows.event_time_ms[row]),
            statistic=float(len(members)),
            threshold=float(own["needed"][model, kind]),
            n_hits=len(members),
            n_seen=int(rows.number[row] - own["ring_number"][first]) + 1,
            first_offset=int(own["ring_offset"][first]),
            first_time_ms=int(own["ring_time"][first]),
            baseline=float(own["largest"][model, kind]),
            sources=tuple(named[:MAX_NAMED]),
            n_sources=len(words),
            is_provisional=not own["reviewed"][model, kind],
            detail=RULES[rules],
        )

    def standing(self) -> I32:
        """(S,) remembered rows of each place in clusters that have fired."""
        own = self._arrays
        held = np.zeros(self._n_places, np.int32)
        if not own["fired"].any():
            return held
        cluster, place = own["ring_cluster"], own["ring_place"]
        slots = np.flatnonzero((cluster >= 0) & (place >= 0))
        slots = slots[own["fired"][cluster[slots]] > 0]
        # What the place sent before it changed hands is another source's.
        slots = slots[own["ring_number"][slots] >= own["place_since"][place[slots]]]
        held += np.bincount(place[slots], minlength=self._n_places).astype(np.int32)
        return held

    def snapshot(self) -> BankState:
        """Copies of all arrays."""
        return {name: array.copy() for name, array in self._arrays.items()}


_RING: Final[dict[str, tuple[type[Any], tuple[int, ...], float]]] = {
    "ring_z": (np.float32, (MAX_DIMS,), 0.0),
    "ring_model": (np.int32, (), -1),
    "ring_hash": (np.uint64, (), 0),
    "ring_words": (np.uint64, (2,), 0),
    "ring_place": (np.int32, (), -1),
    "ring_class": (np.int32, (), 0),
    "ring_low": (np.bool_, (), False),
    "ring_cluster": (np.int32, (), -1),
    "ring_offset": (np.int64, (), 0),
    "ring_time": (np.int64, (), 0),
    "ring_number": (np.int64, (), 0),
}
"""dtype, shape of one slot's entry, and what stands in an empty one."""

_Form = tuple[type[Any], tuple[int, ...], float]


def _forms(n_models: int, n_places: int, capacity: int) -> dict[str, _Form]:
    """Each array: dtype, shape, and what stands in it at first."""
    kinds = (n_models, N_KINDS)
    n_buckets = 1 << max(0, (capacity // ROWS_PER_BUCKET - 1).bit_length())
    buckets = (N_GRIDS, n_buckets, N_SLOTS)
    return {
        "radius": (np.float64, kinds, 0.0),
        "low": (np.float64, kinds, 0.0),
        "largest": (np.float64, kinds, 0.0),
        "needed": (np.int64, kinds, 1),
        "given": (np.uint8, kinds, 0),
        "reviewed": (np.uint8, kinds, 0),
        "next_slot": (np.int64, (1,), 0),
        **{name: (dtype, (capacity, *shape), x) for name, (dtype, shape, x) in _RING.items()},
        "bucket_slot": (np.int32, buckets, -1),
        "bucket_tag": (np.uint32, buckets, 0),
        "bucket_next": (np.uint8, buckets[:2], 0),
        "members": (np.int32, (capacity,), 0),
        "classes": (np.int32, (capacity, MAX_CLASSES), 0),
        "n_low": (np.int32, (capacity,), 0),
        "joined": (np.int64, (capacity,), 0),
        "fired": (np.int64, (capacity,), 0),
        "cluster_model": (np.int32, (capacity,), -1),
        "place_since": (np.int64, (n_places,), 0),
    }


def _clusters(own: dict[str, NDArray[Any]], capacity: int) -> dict[str, NDArray[Any]]:
    """What the clusters' counts are by the rows of the ring."""
    slots = np.flatnonzero(own["ring_cluster"] >= 0)
    cluster = own["ring_cluster"][slots].astype(np.int64)
    model = np.full(capacity, -1, np.int32)
    model[cluster] = own["ring_model"][slots]
    require_all(own["ring_model"][slots] >= 0, "an empty slot is in a cluster")
    require_all(own["ring_model"][slots] == model[cluster], "a cluster is of two models")
    classes = np.bincount(
        cluster * MAX_CLASSES + own["ring_class"][slots], minlength=capacity * MAX_CLASSES
    ).reshape(capacity, MAX_CLASSES)
    return {
        "members": classes.sum(axis=1),
        "classes": classes,
        "n_low": np.bincount(cluster[own["ring_low"][slots]], minlength=capacity),
        "cluster_model": model,
    }


def _grids(salt: np.uint64) -> tuple[F64, F64]:
    """(MAX_DIMS, projections) nearly normal directions, and (projections,) phases in 0..1.

    A sum of four uniform numbers: whole numbers until the end, so the same on every machine.
    """
    n = N_GRIDS * N_PROJECTIONS
    count = np.arange(1, n * (MAX_DIMS + 1) + 1, dtype=np.uint64)
    words: U64 = splitmix64(splitmix64(np.array([salt]) + GOLDEN) + count * GOLDEN)
    quarters = words.view(np.uint16).reshape(-1, 4).astype(np.float64)
    normal = (quarters.sum(axis=1) / 65_536.0 - 2.0) * np.sqrt(3.0)
    phase = (words[-n:] >> np.uint64(11)).astype(np.float64) / 2.0**53
    return np.ascontiguousarray(normal[:-n].reshape(MAX_DIMS, n)), phase


def build(
    config: ProvenanceConfig, n_models: int, n_places: int, salt: int, state: BankState | None
) -> SecurityBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return ProvenanceBank(config, n_models, n_places, salt, state)


SPEC: Final = SecuritySpec(NAME, 1, ProvenanceConfig, build, fit, strictest, unit="queries")
