"""Calibrations: what a model's clients are judged by, of each kind and by each detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.base import StateError
from detectors.security.base import N_KINDS, Calibration, Learned, TooFewRowsError
from detectors.security.population import Population
from detectors.security.registry import SECURITY_REGISTRY

VersionName = tuple[str, str]
"""Model and version; each shard of it has the same calibration."""

MAX_KEPT: Final = 64
"""Calibrations that a partition keeps for models that are yet to come, or to come back."""
MAX_VALUES: Final = 1 << 20
"""Numbers in one calibration."""
_MAX_NAME_CHARS: Final = 256

OfDetectors = Mapping[str, Calibration]
"""By the detector's name."""


@dataclass(frozen=True, slots=True)
class ModelCalibration:
    """All that says what is usual for one model version."""

    population: Population
    kinds: Mapping[str, OfDetectors]
    """By the name of the kind of client, in order; "" for rows of no kind."""
    is_reviewed: bool
    """Whether people have looked at the rows; where not, it is provisional."""

    def check(self) -> None:
        """Raise `StateError` where it is none that every detector can take."""
        self.population.check()
        if not 1 <= len(self.kinds) <= N_KINDS:
            raise StateError("a calibration has too many kinds of clients, or none")
        n_values = 0
        for kind, of_detectors in self.kinds.items():
            if len(kind) > _MAX_NAME_CHARS:
                raise StateError("a calibration's kind of client has too long a name")
            for detector, calibration in of_detectors.items():
                if detector not in SECURITY_REGISTRY:
                    raise StateError(f"a calibration is for the unknown detector {detector!r}")
                for name, array in calibration.items():
                    if array.dtype != np.float64 or array.ndim > 4 or len(name) > _MAX_NAME_CHARS:
                        raise StateError(f"array {name!r} of a calibration is none")
                    n_values += array.size
        if n_values > MAX_VALUES:
            raise StateError("a calibration has too many numbers")
        for name, spec in SECURITY_REGISTRY.items():
            own = self.of(name)
            if own:
                # What a detector does not take is refused by one that nobody misses.
                trial = spec.build(spec.config_type(), 1, 1, 0, None)
                for calibration in own.values():
                    trial.calibrate(0, 0, calibration, reviewed=True)
                try:
                    strictest = spec.strictest(list(own.values()))
                except (KeyError, ValueError) as error:
                    raise StateError(f"kinds of clients do not go together: {error}") from None
                trial.calibrate(0, 0, strictest, reviewed=True)

    def of(self, detector: str) -> dict[str, Calibration]:
        """Those of one detector, by kind of client."""
        return {
            kind: of_detectors[detector]
            for kind, of_detectors in sorted(self.kinds.items())
            if detector in of_detectors
        }


def fit(learned: Learned, *, reviewed: bool) -> tuple[dict[str, Calibration], list[str]]:
    """What every detector makes of these rows; the names of those for which they are too few."""
    fitted: dict[str, Calibration] = {}
    too_few: list[str] = []
    for name, spec in SECURITY_REGISTRY.items():
        try:
            fitted[name] = spec.fit(learned, reviewed)
        except TooFewRowsError:
            too_few.append(name)
    return fitted, too_few


class KeptCalibrations(Mapping[VersionName, ModelCalibration]):
    """Those that people have set, by model version, in the order in which they were set."""

    def __init__(self) -> None:
        self._kept: dict[VersionName, ModelCalibration] = {}

    def __getitem__(self, name: VersionName) -> ModelCalibration:
        return self._kept[name]

    def __iter__(self) -> Iterator[VersionName]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, name: VersionName, calibration: ModelCalibration) -> int:
        """Keep this one, in the place of an earlier one; how many others are forgotten for it."""
        self._kept.pop(name, None)
        self._kept[name] = calibration
        n_forgotten = 0
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
            n_forgotten += 1
        return n_forgotten
