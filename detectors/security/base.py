"""The contract of a security bank: one detector of attacks, for all models and sources at once.

A bank keeps its state in arrays indexed by model (slots 0..M-1) and by source (places 0..S-1 of
the table of sources, each a client of one model). Its laws, which
`tests/detectors/test_security_contract.py` runs over every entry of the registry:

- the same suspicions and the same state bytes for any split of the rows into stretches;
- a bank built from a snapshot goes on exactly as the one that was never interrupted;
- `update` does not keep or change the arrays of the rows;
- memory is a function of the numbers of models and of places, not of rows or of distinct clients;
- no value, and no snapshot that `build` takes, makes a kernel loop on or write elsewhere;
- a place that changes hands (`is_first`) begins anew at that row, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from detectors.base import BankState
from detectors.labels.join import Joined
from schemas.batch import F64, I32, I64, U64, Bool, ModelKey

F32 = NDArray[np.float32]

MAX_DIMS: Final = 64
"""Of a scaled row; a model with more features is folded into so many columns."""
MAX_CLASSES: Final = 16
"""Predicted classes that are told apart; all further ones are the last of them."""
N_KINDS: Final = 8
"""Kinds of client; kind 0 is that of a source of which the config says nothing."""
Z_CLIP: Final = 8.0
"""A number farther from the centre than so many scales counts as that."""
MISSING: Final = -9.0
"""What stands where a feature is missing: near nothing but another one that is missing."""


class Technique(StrEnum):
    """What a suspicion is about; `schemas.atlas` has the identifiers for each."""

    PROBING = "probing"
    """Searches for the decision boundary by near queries (evasion, label-only membership)."""
    EXTRACTION = "extraction"
    INVERSION = "inversion"
    MEMBERSHIP = "membership"
    OFF_DISTRIBUTION = "off_distribution"
    LABEL_POISONING = "label_poisoning"
    BACKDOOR = "backdoor"
    FROG_BOILING = "frog_boiling"
    VOLUME = "volume"
    CHAFF = "chaff"
    PRESSURE = "pressure"
    """The table of sources is full: somebody may be hiding in a flood of names."""
    DATA_CHANGE = "data_change"
    """Rows of many sources broke together: no attack, but what is found of them is held back."""


@dataclass(frozen=True, slots=True)
class SecurityRows:
    """The predictions of one stretch in the order of the log, n of them, as the banks see them.

    Only rows of models whose population is known. Exact repeats are among them, marked: a bank
    counts them nowhere, but `volume` does.
    """

    offset: I64
    """(n,) record offset."""
    event_row: I32
    """(n,) index of the event within its record."""
    event_time_ms: I64
    """(n,)"""
    number: I64
    """(n,) position of the event in the partition's lineage: how many events came before it."""
    model: I32
    """(n,) slot of the model version."""
    z: F32
    """(n, MAX_DIMS) scaled rows: the model's `n_dims` columns, zeros behind them. First its
    numbers, clipped at +-`Z_CLIP`; then its categories as hashes, whole numbers, of which only
    equality counts. `MISSING` where there was nothing."""
    is_repeat: Bool
    """(n,) whether its source has sent exactly this row among its latest ones."""
    row_hash: U64
    """(n,) keyed hash of the features' values: equal for exactly equal rows."""
    source: I32
    """(n,) place in the table of sources; -1: not admitted (yet)."""
    is_first: Bool
    """(n,) whether its place has changed hands at this row: what was kept of it is void."""
    kind: I32
    """(n,) kind of the source, 0..N_KINDS-1."""
    source_words: U64
    """(n, 2) the keyed hash of the source; 0, 0: it has no name, and all such are one."""
    predicted: I32
    """(n,) number of the predicted class, 0..MAX_CLASSES-1; 0 too for what is no class."""
    margin: F32
    """(n,) 0 on the decision boundary, 1 far from it; NaN where there is no score."""
    score: F64
    """(n,) NaN where there is none."""
    n_dims: I32
    """(M,) columns of each model slot."""
    n_numbers: I32
    """(M,) how many of them are numbers."""

    def __len__(self) -> int:
        return len(self.offset)


@dataclass(frozen=True, slots=True)
class Learned:
    """Rows of one model that are believed benign, n of them, in order: what thresholds are made of.

    The first events of a model (provisional), or a file that people reviewed (one kind of client).
    """

    z: F32
    """(n, n_dims)"""
    n_numbers: int
    source: I32
    """(n,) 0..k-1, the client of each row; equal numbers are the same client."""
    row_hash: U64
    """(n,)"""
    predicted: I32
    """(n,)"""
    margin: F32
    """(n,)"""
    score: F64
    """(n,)"""
    event_time_ms: I64
    """(n,)"""

    def __len__(self) -> int:
        return len(self.predicted)


Calibration = Mapping[str, NDArray[np.float64]]
"""Named arrays of thresholds and references of one detector for one kind of client of a model."""


class Suspicion(NamedTuple):
    """One firing of a security detector. Sorted as tuples they stand in the order of the log."""

    offset: int
    event_row: int
    model: int
    """Slot of the model version."""
    source: int
    """Place of the source it is about; -1: it is about several, or about none."""
    detector: str
    technique: Technique
    event_time_ms: int
    statistic: float
    threshold: float
    n_hits: int
    """Events that count as evidence so far."""
    n_seen: int
    """Events among which they were."""
    first_offset: int
    """Of the earliest evidence that is still counted."""
    first_time_ms: int
    baseline: float = 0.0
    """What the statistic is where all is well, by the calibration."""
    n_expected: float = 0.0
    """How many of `n_seen` would be evidence where all is well; 0: not said."""
    n_slices: int = 0
    """How many slices are suspect of the same; 0: it is about none."""
    sources: tuple[tuple[int, int], ...] = ()
    """Keyed hashes of further sources that take part, those with most evidence first; at most
    `MAX_NAMED`."""
    n_sources: int = 0
    """How many take part; 0: the detector looks at one at a time."""
    is_provisional: bool = True
    """Whether thresholds come of unreviewed first events."""
    detail: str = ""
    """A class pair, a slice: what else has to be named. No number that grows with the evidence: one
    anomaly keeps each text once."""
    source_words: tuple[int, int] = (0, 0)
    """The keyed hash of `source`, which outlives its place; 0, 0: it has no name. A bank need not
    say it: the fold fills it in, from the row at which the bank fired."""
    columns: tuple[int, ...] = ()
    """Columns of a scaled row that it is about. The fold adds the names of their features to
    `detail`, where each feature has a column of its own."""
    model_key: ModelKey | None = None
    """The model version in slot `model`, which outlives its slot; None: it is in none. The fold
    fills it in."""


MAX_NAMED: Final = 32


class SecurityBank(Protocol):
    """One detector for all models and sources; M model slots and S places, fixed at building."""

    def update(self, rows: SecurityRows) -> list[Suspicion]:
        """Advance over the rows; suspicions in no particular order."""
        ...

    def calibrate(self, model: int, kind: int, calibration: Calibration, *, reviewed: bool) -> None:
        """Judge clients of this kind by this from here on. Raises `StateError` if it cannot be one.

        A model's kind 0 is given first; kinds that are never given are judged as kind 0.
        """
        ...

    def forget(self, model: int) -> None:
        """The model's slot is given to another one: back to the initial state, uncalibrated."""
        ...

    def standing(self) -> I32:
        """(S,) how much is held against each place at present: 0 means it may be given away."""
        ...

    def snapshot(self) -> BankState:
        """The whole state; shares no memory with the bank."""
        ...


class LabelSecurityBank(Protocol):
    """A detector of poisoned labels: it sees joined labels in place of predictions."""

    def update(self, joined: Joined) -> list[Suspicion]:
        """Advance over labels that have found their predictions."""
        ...

    def forget(self, model: int) -> None:
        """The model's slot is given to another one."""
        ...

    def snapshot(self) -> BankState:
        """The whole state; shares no memory with the bank."""
        ...


@dataclass(frozen=True, slots=True)
class SecuritySpec:
    """One entry of the registry of security detectors."""

    name: str
    version: int
    config_type: type[BaseModel]
    build: Callable[[Any, int, int, int, BankState | None], SecurityBank]
    """`build(config, n_models, n_places, salt, state)`; raises `StateError`."""
    fit: Callable[[Learned, bool], Calibration]
    """`fit(rows, reviewed)`: thresholds for this kind of client; where not reviewed, careful ones.
    Deterministic. Raises `TooFewRowsError` where the rows do not do."""
    strictest: Callable[[Sequence[Calibration]], Calibration]
    """What a source of unknown kind is judged by: whoever attacks would choose the laxest."""
    unit: str = field(default="events")
    """Of `statistic`."""


@dataclass(frozen=True, slots=True)
class LabelSecuritySpec:
    """One entry of the registry of detectors of poisoned labels."""

    name: str
    version: int
    config_type: type[BaseModel]
    build: Callable[[Any, int, int, int, BankState | None], LabelSecurityBank]
    """`build(config, n_models, n_places, salt, state)`; raises `StateError`. Its places are its
    own: who gives labels need not be who asks."""
    unit: str = field(default="events")
    """Of `statistic`."""


class TooFewRowsError(ValueError):
    """A calibration needs more rows; the message says how many."""
