"""Victims of a recorded attack, hidden in benign traffic, as events; and folded without Kafka."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import orjson

from benchmarks.attacks.calibrated import known_as
from benchmarks.attacks.duels import MOST_QUERIES, N_BEFORE, Setting
from benchmarks.attacks.lane import SENSORS, Lane, config_for
from benchmarks.attacks.recordings import DataSet
from benchmarks.attacks.traffic import (
    ATTACKER,
    STEP_MS,
    Traffic,
    embedded,
    generator,
    name_of,
    spread,
)
from detectors.security.calibration_document import calibration_of
from detectors.security.exposure import NAME as EXPOSURE
from schemas.calibration import parse_calibration

SETTING: Final = Setting(0.02, 1)
VERSION: Final = "1"
QUICK_QUERIES: Final = 80
QUICK_VICTIMS: Final = 2
_START_MS: Final = 1_700_000_000_000


class Case(NamedTuple):
    """One victim: the traffic of its model, with the attack in it."""

    model_id: str
    kinds: tuple[str, ...]
    """Of client, in the calibration; "" is of no kind."""
    traffic: Traffic


class Outcome(NamedTuple):
    """What came of one victim."""

    n_queries: float
    """Of the attacker, when it was first named; infinite: never."""
    honest: list[str]
    """Everybody else who was ever accused."""


def cases(path: Path | None, *, quick: bool) -> tuple[DataSet, str, list[Case]]:
    """The data set, the attack, and its victims, hidden as in the benchmark of attacks."""
    name, attack = ("made", "boundary") if path is None else ("elec-rf", "hopskipjump")
    known = known_as(path, name)
    found = []
    for kinds in [("",)] if known.timed is None else [("",), ("", SENSORS)]:
        for number, victim in enumerate(known.attacks[attack].victims):
            if quick and number >= QUICK_VICTIMS:
                break
            queries = victim.take(slice(0, QUICK_QUERIES if quick else MOST_QUERIES))
            attacker = spread(queries, SETTING.n_sources, ATTACKER)
            rng = generator("duel", name, attack, SETTING, number)
            traffic = embedded(attacker, known.benign, SETTING.share, N_BEFORE, rng)
            found.append(Case(f"{'-'.join([name, *kinds[1:]])}-{number}", kinds, traffic))
    return known, attack, found


def folded_here(document: Path, traffic: Traffic) -> Outcome:
    """The same without Kafka, judged by the same calibration."""
    calibration = calibration_of(parse_calibration(document.read_bytes()))
    n_queries = np.cumsum(traffic.is_attack)
    first, honest = math.inf, set()
    for alarm in Lane(calibration, config_for()).run(traffic):
        if alarm.detector == EXPOSURE:
            continue
        if ATTACKER in alarm.sources and n_queries[alarm.row]:
            first = min(first, float(n_queries[alarm.row]))
        honest |= {name_of(number) for number in alarm.sources if number != ATTACKER}
    return Outcome(first, sorted(honest))


def as_events(traffic: Traffic, model_id: str) -> Iterator[bytes]:
    """These rows as events, in order."""
    for i, row in enumerate(traffic.x.tolist()):
        yield orjson.dumps(
            {
                "type": "prediction",
                "event_id": f"{model_id}-{i}",
                "model_id": model_id,
                "model_version": VERSION,
                "ts": _START_MS + STEP_MS * i,
                "source": name_of(int(traffic.source[i])),
                "features": {f"f{j:03}": value for j, value in enumerate(row)},
                "prediction": int(traffic.predicted[i]),
                "score": float(traffic.score[i]),
            }
        )
