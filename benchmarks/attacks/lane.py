"""The security lane as the worker runs it: one fold, its suspicions as alarms with their rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from benchmarks.attacks.traffic import KEY, Traffic, name_of
from benchmarks.kit.event_table import EventTable
from detectors.security.base import Learned, Suspicion, Technique
from detectors.security.calibration import ModelCalibration, OfDetectors, fit
from detectors.security.columns import columns_of
from detectors.security.exposure import NAME as EXPOSURE
from detectors.security.fold import SecurityFold, salt_of
from detectors.security.population import Learning, Population
from detectors.security.populations import Populations
from schemas.batch import I64
from schemas.config import DetectionConfig, LabelsConfig
from schemas.security_config import SecurityConfig, SecurityDetectorsConfig

POLL: Final = 1_024
MODEL: Final = ("m", "1")
SENSORS: Final = "sensors"
"""The kind of client whose rows come in the order of time."""
PRESSURE: Final = "sources"
_MAX_FEATURES: Final = 1_000


class Alarm(NamedTuple):
    """One suspicion, and whom it is about."""

    row: int
    """Of the traffic: the event at which it was said."""
    detector: str
    technique: str
    sources: tuple[int, ...]
    """The numbers of the clients that it names."""
    first_row: int
    """Of its earliest evidence."""
    statistic: float
    baseline: float
    detail: str

    @property
    def accuses(self) -> bool:
        """Whether it says that somebody attacks: a rank by exposure does not, nor changed data."""
        return self.detector != EXPOSURE and self.technique != Technique.DATA_CHANGE

    def share_of(self, traffic: Traffic, attackers: I64) -> float:
        """Which share of the evidence is an attack's.

        Of the clients that it names; where it names none, of the events among which it saw it.
        """
        if self.sources:
            return float(np.isin(self.sources, attackers).mean())
        return float(traffic.is_attack[self.first_row : self.row + 1].mean())


def calibrate(kinds: Mapping[str, Traffic]) -> tuple[ModelCalibration, list[str]]:
    """What these benign rows come to, reviewed, by kind of client; "" is of no kind, and first.

    Also the names of the detectors for which the rows of no kind are too few.
    """
    salt = salt_of(KEY)
    learning = Learning()
    first = columns_of(kinds[""].table().poll(0, len(kinds[""])), 0, salt)
    learning.add(first, np.arange(len(first.events), dtype=np.int64), _MAX_FEATURES)
    population, _ = learning.freeze(salt)
    fitted: dict[str, OfDetectors] = {}
    too_few: list[str] = []
    for kind, rows in kinds.items():
        learned = _learned(rows, population, salt)
        fitted[kind], too_few_of_kind = fit(learned, reviewed=True)
        too_few += [] if kind else too_few_of_kind
    return ModelCalibration(population, dict(sorted(fitted.items())), True), too_few


def _learned(rows: Traffic, population: Population, salt: int) -> Learned:
    """These rows, scaled by a population."""
    columns = columns_of(rows.table().poll(0, len(rows)), 0, salt)
    populations = Populations(1, salt)
    populations.set(0, population)
    at = np.arange(len(rows), dtype=np.int64)
    scaled = populations.scale(columns, at, np.zeros(len(rows), np.int32))
    n_dims = int(populations.n_dims[0])
    return Learned(
        z=np.ascontiguousarray(scaled.z[:, :n_dims]),
        n_numbers=int(populations.n_numbers[0]),
        source=np.unique(rows.source, return_inverse=True)[1].reshape(-1).astype(np.int32),
        row_hash=columns.row_hash,
        predicted=scaled.predicted,
        margin=scaled.margin,
        score=columns.events.score,
        event_time_ms=columns.events.event_time_ms,
    )


def config_for(
    sensors: Sequence[int] = (),
    detectors: SecurityDetectorsConfig | None = None,
    *,
    labels: bool = False,
    max_sources: int = 1_024,
) -> DetectionConfig:
    """The defaults, for one model; `sensors` are the clients of that kind."""
    kinds = {SENSORS: [name_of(number) for number in sensors]} if sensors else {}
    return DetectionConfig(
        security=SecurityConfig(
            max_models=1,
            max_sources=max_sources,
            kinds=kinds,
            detectors=detectors or SecurityDetectorsConfig(),
        ),
        labels=LabelsConfig(enabled=labels),
    )


class Lane:
    """One fold; a calibration that is None is learned of its first events."""

    def __init__(self, calibration: ModelCalibration | None, config: DetectionConfig) -> None:
        self.fold = SecurityFold(config, KEY)
        if calibration is not None:
            self.fold.set_calibration(*MODEL, calibration)
        self.seconds = 0.0
        """Of CPU, in the fold alone."""

    def run(self, traffic: Traffic) -> list[Alarm]:
        """Fold all of it."""
        return self.run_events(traffic.table(), np.unique(traffic.source), 0, len(traffic))

    def run_events(self, events: EventTable, clients: I64, first: int, stop: int) -> list[Alarm]:
        """Fold the events first..stop-1; `clients` are the numbers of all that may be named."""
        words = KEY.words([name_of(number) for number in clients.tolist()]).tolist()
        number_of = {
            (low, high): number for (low, high), number in zip(words, clients.tolist(), strict=True)
        }
        alarms = []
        for start in range(first, stop, POLL):
            poll = events.poll(start, min(start + POLL, stop))
            began_s = time.process_time()
            said = self.fold.process(poll)
            self.seconds += time.process_time() - began_s
            alarms += [self._alarm(one, number_of) for one in said]
        return alarms

    def _alarm(self, said: Suspicion, number_of: Mapping[tuple[int, int], int]) -> Alarm:
        named = list(said.sources)
        if said.source >= 0 and not named:
            low, high = self.fold.sources.names[said.source].tolist()
            named = [(low, high)]
        found = tuple(number_of[words] for words in named if words in number_of)
        return Alarm(
            said.offset,
            said.detector,
            str(said.technique),
            found,
            said.first_offset,
            said.statistic,
            said.baseline,
            said.detail,
        )

    def place_of(self, source: int) -> int:
        """The place that a client has in the table of sources; -1: none."""
        words = KEY.words([name_of(source)])[0]
        own = np.flatnonzero((self.fold.sources.names == words).all(axis=1))
        return int(own[0]) if len(own) else -1
