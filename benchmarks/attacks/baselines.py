"""Published ways to see attacks in queries, for the same harness: scaled rows in, alarm rows out.

Compact and written anew after their descriptions. Each is calibrated on the same benign rows as
the security lane, for the same aim: its statistic at the extreme that benign clients reach there,
and 15 % beyond. After an alarm a client is quiet for 1,024 of its rows, as in the lane.

- kNN (Chen, Carlini, Wagner 2019): the mean distance to a client's 10 nearest of its last 1,000
  rows. In the paper 50; with 10 it is quicker.
- Blacklight for rows (Li et al. 2022): 100 salted grids over all features, the 50 smallest hashes;
  half of them equal to those of an earlier row of anybody. The width of the cells is calibrated.
- PRADA (Juuti et al. 2019): Shapiro and Wilk's W of the distances to a growing set by class.
- MMD: the mean of 100 rows of a client in random Fourier features, from that of benign rows.
- Half-space trees (Tan, Ting, Liu 2011): river's, trained on the calibration and frozen; the eighth
  highest score of a client's last 16.
- Volume: a client's share of the last 1,000 events.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from river import anomaly
from scipy.stats import shapiro  # type: ignore[import-untyped]  # it ships no types

from benchmarks.attacks.baseline_kernels import growing_distances, knn_means
from benchmarks.attacks.traffic import Traffic
from schemas.batch import F64, I64

MARGIN: Final = 1.15
QUIET: Final = 1_024
_CLIP: Final = 8.0
_FLOAT, _DOUBLE = 4, 8
"""Bytes."""


class Baseline(Protocol):
    """One published detector, calibrated on benign rows."""

    name: str
    looks_at: str
    """`client`: only a client's own rows matter; `traffic`: those around it too."""

    def alarms(self, rows: Scaled) -> list[int]:
        """The rows at which it alarms, in order."""
        ...

    def kept_bytes(self, n_dims: int) -> float:
        """Least of what it has to keep of a client who has sent many rows of two classes.

        Infinite where it grows with each row.
        """
        ...


class Scaled:
    """Traffic as the baselines see it: n rows of numbers without units."""

    def __init__(self, traffic: Traffic, centre: F64, scale: F64) -> None:
        z = (traffic.x - centre) / scale
        self.z: NDArray[np.float32] = np.clip(z, -_CLIP, _CLIP).astype(np.float32)
        self.predicted = traffic.predicted
        self.source = traffic.source

    def by_client(self) -> list[I64]:
        """Each client's rows, in order."""
        return [np.flatnonzero(self.source == one) for one in np.unique(self.source)]


class Scaler:
    """Median and quartiles of benign rows."""

    def __init__(self, benign: Traffic) -> None:
        low, self.centre, high = np.quantile(benign.x, (0.25, 0.5, 0.75), axis=0)
        full = benign.x.max(axis=0) - benign.x.min(axis=0)
        width = np.where(high > low, (high - low) / 1.349, full / 6.0)
        self.scale: F64 = np.where(width > 0.0, width, 1.0)

    def __call__(self, traffic: Traffic) -> Scaled:
        """Scale these."""
        return Scaled(traffic, self.centre, self.scale)


def spaced(fired: Sequence[int], of_client: I64) -> list[int]:
    """Those firings (indices into a client's rows) that follow an alarm after `QUIET` rows."""
    kept: list[int] = []
    last = -QUIET - 1
    for index in fired:
        if index - last > QUIET:
            kept.append(int(of_client[index]))
            last = index
    return kept


class _ByClient(ABC):
    """A statistic of each client's rows that alarms above a threshold; `fit` sets it."""

    name = ""
    looks_at = "client"
    threshold = math.inf

    @abstractmethod
    def kept_bytes(self, n_dims: int) -> float:
        """Least of what it has to keep of a client."""

    @abstractmethod
    def statistic(self, rows: Scaled, own: I64) -> F64:
        """(rows of this client,) higher is more suspicious; -inf where there is none yet."""

    def fit(self, benign: Scaled) -> None:
        """The threshold of these rows; it stays at infinity where they are too few."""
        tops = [float(self.statistic(benign, own).max()) for own in benign.by_client()]
        if math.isfinite(top := max(tops)):
            self.threshold = self.beyond(top)

    def beyond(self, top: float) -> float:
        """15 % beyond what benign clients reach."""
        return top * MARGIN if top > 0.0 else top / MARGIN

    def alarms(self, rows: Scaled) -> list[int]:
        """The rows at which it alarms, in order."""
        found: list[int] = []
        for own in rows.by_client():
            fired = np.flatnonzero(self.statistic(rows, own) > self.threshold)
            found += spaced(fired.tolist(), own)
        return sorted(found)


class Knn(_ByClient):
    """The mean distance to the nearest of a client's own rows."""

    name = "kNN"
    _NEAREST, _ROWS = 10, 1_000

    def kept_bytes(self, n_dims: int) -> float:
        """Its rows."""
        return self._ROWS * n_dims * _FLOAT

    def statistic(self, rows: Scaled, own: I64) -> F64:
        """Minus the mean distance."""
        return -knn_means(rows.z[own], self._NEAREST, self._ROWS)


class Prada(_ByClient):
    """How far distances are from a normal distribution."""

    name = "PRADA"
    _MOST: Final = 500
    _MEMBERS: Final = 256

    def kept_bytes(self, n_dims: int) -> float:
        """The sets of two classes, and the latest distances."""
        return 2 * self._MEMBERS * n_dims * _FLOAT + self._MOST * _DOUBLE

    def statistic(self, rows: Scaled, own: I64) -> F64:
        """1 - W, every ten rows."""
        found = np.full(len(own), -np.inf)
        distance = growing_distances(rows.z[own], rows.predicted[own], self._MEMBERS)
        classes = rows.predicted[own]
        for index in range(109, len(own), 10):
            seen, of = distance[: index + 1], classes[: index + 1]
            known = np.isfinite(seen)
            often = [c for c, k in Counter(of[known].tolist()).items() if k >= 10]
            held = seen[known & np.isin(of, often)][-self._MOST :]
            if len(held):
                held = held[np.abs(held - held.mean()) <= 3.0 * held.std()]
            if len(held) > 100 and held.max() > held.min():
                found[index] = 1.0 - float(shapiro(held).statistic)
        return found


class Mmd(_ByClient):
    """The mean of a window in random Fourier features."""

    name = "MMD"
    _DIMS: Final = 128
    _WINDOW: Final = 100

    def kept_bytes(self, n_dims: int) -> float:
        """The rows of its window, and the sum of their features."""
        return self._WINDOW * n_dims * _FLOAT + self._DIMS * _DOUBLE

    def __init__(self, benign: Scaled) -> None:
        rng = np.random.default_rng(20)
        pairs = rng.integers(0, len(benign.z), (2, 2_000))
        apart = np.linalg.norm(benign.z[pairs[0]] - benign.z[pairs[1]], axis=1)
        width = max(float(np.median(apart)), 1e-6)
        self._w = rng.normal(size=(benign.z.shape[1], self._DIMS)) / width
        self._b = rng.uniform(0.0, 2.0 * np.pi, self._DIMS)
        self._mean: F64 = self._features(benign.z).mean(axis=0)

    def _features(self, z: NDArray[np.float32]) -> F64:
        features: F64 = np.sqrt(2.0 / self._DIMS) * np.cos(z @ self._w + self._b)
        return features

    def statistic(self, rows: Scaled, own: I64) -> F64:
        """The distance of the mean of the last 100 rows, every ten rows."""
        found = np.full(len(own), -np.inf)
        sums = np.cumsum(self._features(rows.z[own]), axis=0)
        for index in range(self._WINDOW - 1, len(own), 10):
            before = sums[index - self._WINDOW] if index >= self._WINDOW else 0.0
            window = (sums[index] - before) / self._WINDOW
            found[index] = float(np.linalg.norm(window - self._mean))
        return found


class HalfSpaceTrees(_ByClient):
    """River's trees, frozen."""

    name = "half-space trees"
    _HITS, _OF = 8, 16

    def kept_bytes(self, n_dims: int) -> float:
        """The latest scores."""
        del n_dims
        return self._OF * _DOUBLE

    def __init__(self, benign: Scaled) -> None:
        self._low = np.quantile(benign.z, 0.001, axis=0)
        width = np.quantile(benign.z, 0.999, axis=0) - self._low
        self._width = np.where(width > 0.0, width, 1.0)
        trees: Any = anomaly.HalfSpaceTrees  # its methods have no types
        self._trees = trees(n_trees=10, height=8, window_size=250, seed=20)
        for row in self._unit(benign.z[:4_000]):
            self._trees.learn_one(dict(enumerate(row)))

    def _unit(self, z: NDArray[np.float32]) -> list[list[float]]:
        unit: list[list[float]] = np.clip((z - self._low) / self._width, 0.0, 1.0).tolist()
        return unit

    def beyond(self, top: float) -> float:
        """A score has 1 as its highest: 15 % nearer to it."""
        return 1.0 - (1.0 - top) / MARGIN

    def statistic(self, rows: Scaled, own: I64) -> F64:
        """The eighth highest of the last 16 scores."""
        unit = self._unit(rows.z[own])
        scores = [self._trees.score_one(dict(enumerate(row))) for row in unit]
        found = np.full(len(own), -np.inf)
        for index in range(self._HITS - 1, len(own)):
            latest = sorted(scores[max(0, index + 1 - self._OF) : index + 1])
            found[index] = latest[-self._HITS]
        return found


class Volume:
    """A client's share of the latest events."""

    name = "volume"
    looks_at = "traffic"
    _WINDOW: Final = 1_000

    def __init__(self) -> None:
        self.threshold = math.inf

    def kept_bytes(self, n_dims: int) -> float:
        """A count."""
        del n_dims
        return _DOUBLE

    def _shares(self, source: I64) -> F64:
        """(n,) how many of the last events are of each row's client."""
        held: deque[int] = deque()
        counts: dict[int, int] = defaultdict(int)
        found = np.zeros(len(source))
        for row, client in enumerate(source.tolist()):
            held.append(client)
            counts[client] += 1
            if len(held) > self._WINDOW:
                counts[held.popleft()] -= 1
            found[row] = counts[client]
        return found

    def fit(self, source: I64) -> None:
        """The highest share of an honest client."""
        self.threshold = float(self._shares(source).max()) * MARGIN

    def alarms(self, rows: Scaled) -> list[int]:
        """The rows at which it alarms, in order."""
        share = self._shares(rows.source)
        found: list[int] = []
        for own in rows.by_client():
            found += spaced(np.flatnonzero(share[own] > self.threshold).tolist(), own)
        return sorted(found)


class Blacklight:
    """Rows that share half of their fingerprint with an earlier one."""

    name = "Blacklight"
    looks_at = "client"
    _HASHES, _KEPT, _SHARED = 100, 50, 25
    _LISTED: Final = 64
    """Earlier rows that are remembered for one hash."""

    def __init__(self, n_dims: int) -> None:
        rng = np.random.default_rng(20)
        # Of fewer than ten features each grid has all, else 60 %; its phase is its own.
        n_own = n_dims if n_dims < 10 else math.ceil(0.6 * n_dims)
        chosen = rng.random((self._HASHES, n_dims)).argsort(axis=1) < n_own
        odd = rng.integers(1, 2**62, (self._HASHES, n_dims)) * 2 + 1
        self._factor = np.where(chosen, odd, 0).astype(np.int64)
        self._phase = rng.random((self._HASHES, n_dims))
        self._salt = rng.integers(0, 2**62, self._HASHES)
        self.width = 0.0
        """Of a cell; 0: it watches nothing."""

    def kept_bytes(self, n_dims: int) -> float:
        """The hashes of every row."""
        del n_dims
        return math.inf

    def fit(self, benign: Scaled) -> None:
        """The widest cells in which no two different benign rows match, and 15 % less."""
        _, first = np.unique(benign.z, axis=0, return_index=True)
        rows = benign.z[np.sort(first)[:4_000]]
        for power in range(14):
            width = 4.0 / 2.0**power
            if not self._matches(rows, width, stop_at_first=True):
                self.width = width / MARGIN
                return

    def _matches(
        self, z: NDArray[np.float32], width: float, *, stop_at_first: bool = False
    ) -> list[int]:
        listed: dict[int, deque[int]] = {}
        found: list[int] = []
        for row in range(len(z)):
            cells = np.floor(z[row] / width + self._phase).astype(np.int64)
            hashes = (cells * self._factor).sum(axis=1) + self._salt
            hashes ^= (hashes >> 29) & (2**35 - 1)
            own = np.sort((hashes * 0x5851F42D4C957F2D) & (2**62 - 1))[: self._KEPT].tolist()
            shared: Counter[int] = Counter()
            for one in own:
                if one in listed:
                    shared.update(listed[one])
            if shared and max(shared.values()) >= self._SHARED:
                found.append(row)
                if stop_at_first:
                    return found
            for one in own:
                listed.setdefault(one, deque(maxlen=self._LISTED)).append(row)
        return found

    def alarms(self, rows: Scaled) -> list[int]:
        """The rows at which it alarms, in order; of each client one in `QUIET` rows."""
        if self.width == 0.0:
            return []
        is_match = np.zeros(len(rows.z), np.bool_)
        is_match[self._matches(rows.z, self.width)] = True
        found: list[int] = []
        for own in rows.by_client():
            found += spaced(np.flatnonzero(is_match[own]).tolist(), own)
        return sorted(found)


NAMES: Final = ("kNN", "Blacklight", "PRADA", "MMD", "half-space trees", "volume")


class Baselines:
    """All of them, calibrated on these benign rows; `volume` on who sends usual traffic."""

    def __init__(self, benign: Traffic) -> None:
        self.scaler: Final = Scaler(benign)
        scaled = self.scaler(benign)
        knn, prada, mmd, trees = Knn(), Prada(), Mmd(scaled), HalfSpaceTrees(scaled)
        for one in (knn, prada, mmd, trees):
            one.fit(scaled)
        blacklight = Blacklight(benign.x.shape[1])
        blacklight.fit(scaled)
        self.volume: Final = Volume()
        self.each: Final[list[Baseline]] = [knn, blacklight, prada, mmd, trees, self.volume]

    def usual(self, n_clients: int) -> None:
        """So many honest clients send as much as each other."""
        self.volume.fit(np.arange(4_000, dtype=np.int64) % n_clients)
