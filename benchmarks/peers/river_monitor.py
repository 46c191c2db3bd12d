"""river's ADWIN and Page-Hinkley on every feature, as one would write it by hand.

Standardised as driftsentry does it: by the mean and deviation of the first events, summed up in
the same order, so that the same numbers go into the same detectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from river import drift

from benchmarks.peers.task import Found


class Reference:
    """Mean and population deviation of what has been seen (Welford 1962)."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = self.m2 = 0.0

    def learn(self, x: float) -> None:
        """One more value."""
        self.n += 1
        delta = x - self.mean
        self.mean += delta / self.n
        self.m2 += delta * (x - self.mean)

    @property
    def sd(self) -> float:
        """The deviation."""
        return sqrt(self.m2 / self.n)


class RiverMonitor:
    """Two detectors for each feature of each partition; `found` is what fired."""

    def __init__(self, n_reference: int) -> None:
        self.n_reference = n_reference
        self.found: list[Found] = []
        self._learning: dict[int, dict[str, Reference]] = {}
        self._lanes: dict[int, dict[str, tuple[float, float, Any, Any]]] = {}

    def update(self, partition: int, offset: int, features: Mapping[str, float]) -> None:
        """One event."""
        lanes = self._lanes.get(partition)
        if lanes is None:
            self._learn(partition, features)
            return
        for name, x in features.items():
            mean, sd, adwin, page_hinkley = lanes[name]
            z = (x - mean) / sd
            adwin.update(z)
            if adwin.drift_detected:
                self.found.append(Found(partition, offset, name, "adwin"))
            page_hinkley.update(z)
            if page_hinkley.drift_detected:
                self.found.append(Found(partition, offset, name, "page_hinkley"))

    def _learn(self, partition: int, features: Mapping[str, float]) -> None:
        references = self._learning.setdefault(partition, {name: Reference() for name in features})
        for name, x in features.items():
            references[name].learn(x)
        if next(iter(references.values())).n < self.n_reference:
            return
        del self._learning[partition]
        adwin: Any = drift.ADWIN  # its methods have no types
        page_hinkley: Any = drift.PageHinkley
        self._lanes[partition] = {
            name: (
                of.mean,
                of.sd,
                adwin(),
                page_hinkley(min_instances=30, delta=0.05, threshold=131.0, alpha=1.0),
            )
            for name, of in references.items()
        }
