"""The recorded attacks: what DRIFTSENTRY_ATTACKS has, parted into what may be seen and what judges.

Each data set has benign rows and query streams of real attacks on one model. Benign rows that an
attack sends too are dropped. The earlier part of the rest, in the order of the file, is what
thresholds are made of; the later part is benign traffic. Of the time-ordered stream of `elec`,
rows of 40 to 70 % are the calibration of that kind of client and the last 30 % are traffic: before
40 % three of its six features are constant. Benign rows that stand in that calibration are dropped
from the traffic too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks.traffic import ATTACKER, Traffic
from schemas.batch import F64, I64

VARIABLE: Final = "DRIFTSENTRY_ATTACKS"
NAMES: Final = ("elec-rf", "breast-rf", "digits-mlp")
PROBING: Final = ("hopskipjump", "boundary", "signopt", "zoo", "label_only_mia")
"""Attacks that search for the boundary: for G1 and G2."""
SYNTHETIC: Final = ("copycat_uniform", "knockoff_adaptive_uniform", "jbda", "linesearch")
"""Thefts with rows that nobody else sends: for G5."""
IN_POOL: Final = ("copycat_inpool", "knockoff_random_inpool", "knockoff_adaptive_inpool")
"""Thefts with rows as everybody sends them: for G6."""
CALIBRATION_SHARE: Final = 0.5
"""Of the benign rows; two thirds where there are fewer than 1,000."""
_FEW: Final = 1_000
TIMED: Final = (0.4, 0.7)
ROWS_PER_CLIENT: Final = 500
"""Of the calibration."""


class NoRecordingsError(RuntimeError):
    """There are none; the message says why."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One recorded attack: a stream of queries for each victim."""

    name: str
    victims: list[Traffic]
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DataSet:
    """A model, what honest clients send it, and what attackers do."""

    name: str
    calibration: Traffic
    """Benign rows that thresholds are made of."""
    benign: Traffic
    """Others, which judge."""
    attacks: dict[str, Attack]
    timed: tuple[Traffic, Traffic] | None = None
    """The same in the order of time: calibration, traffic."""
    truth: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    """(rows of `benign`,) what was true; of length 0 where it is not known."""

    @property
    def n_features(self) -> int:
        """Of each row."""
        return int(self.benign.x.shape[1])


def folder() -> Path:
    """Where the recordings are. Raises `NoRecordingsError`."""
    named = os.environ.get(VARIABLE)
    if not named:
        raise NoRecordingsError(f"{VARIABLE} names no folder of recorded attacks")
    path = Path(named)
    if not any(path.glob("*-benign.npz")):
        raise NoRecordingsError(f"the folder that {VARIABLE} names holds no recorded attacks")
    return path


def in_turn(rows: Traffic, per_client: int = ROWS_PER_CLIENT) -> Traffic:
    """These rows, by clients of so many rows each; the remainder goes to the last of them."""
    n_clients = max(1, len(rows) // per_client)
    return rows.sent_by(np.minimum(np.arange(len(rows)) // per_client, n_clients - 1))


@lru_cache(maxsize=4)
def data_set(path: Path, name: str) -> DataSet:
    """Read one."""
    benign, meta = _read(path / f"{name}-benign.npz")
    truth = np.array(meta["truth"], np.int64)
    attacks = {one.name: one for one in _attacks(path, name)}
    queries = np.concatenate([v.x for one in attacks.values() for v in one.victims])
    kept = ~_is_in(benign.x, queries)
    benign, truth = benign.take(np.flatnonzero(kept)), truth[kept]
    share = CALIBRATION_SHARE if len(benign) >= _FEW else 2.0 / 3.0
    n = int(share * len(benign))
    later = np.arange(n, len(benign))
    timed = None
    if (path / f"{name}-benign_timeorder.npz").exists():
        stream, _ = _read(path / f"{name}-benign_timeorder.npz")
        first, last = (int(of * len(stream)) for of in TIMED)
        known = stream.take(slice(first, last))
        timed = in_turn(known), in_turn(stream.take(slice(last, None)))
        later = later[~_is_in(benign.x[later], known.x)]
    calibration = in_turn(benign.take(slice(0, n)))
    return DataSet(name, calibration, benign.take(later), attacks, timed, truth[later])


def _attacks(path: Path, name: str) -> Iterator[Attack]:
    for file in sorted(path.glob(f"{name}-*.npz")):
        attack = file.stem.removeprefix(f"{name}-")
        if attack.startswith("benign"):
            continue
        queries, meta = _read(file)
        with np.load(file, allow_pickle=False) as arrays:
            victim = arrays["victim"]
        rows = [np.flatnonzero(victim == one) for one in np.unique(victim)]
        victims = [as_attack(queries.take(own)) for own in rows]
        yield Attack(attack, victims, meta)


def as_attack(queries: Traffic) -> Traffic:
    """The same rows as one attacker's."""
    n = len(queries)
    return Traffic(
        queries.x, queries.score, queries.predicted, np.full(n, ATTACKER), np.full(n, True)
    )


def _read(file: Path) -> tuple[Traffic, dict[str, Any]]:
    with np.load(file, allow_pickle=False) as arrays:
        x, proba, predicted = arrays["X"], arrays["proba"], arrays["pred"]
        meta = json.loads(str(arrays["meta"]))
    n = len(x)
    score = proba[:, 1] if proba.shape[1] == 2 else proba.max(axis=1)
    traffic = Traffic(
        x.astype(np.float64),
        np.clip(score.astype(np.float64), 0.0, 1.0),
        predicted.astype(np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.bool_),
    )
    return traffic, meta


def _is_in(rows: F64, others: F64) -> NDArray[np.bool_]:
    """(n,) whether each row stands among the others too."""
    known = {row.tobytes() for row in np.ascontiguousarray(others)}
    return np.array([row.tobytes() in known for row in np.ascontiguousarray(rows)], np.bool_)
