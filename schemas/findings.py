"""What a detector says when it fires."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple


class Aspect(IntEnum):
    """What of a signal a firing is about."""

    MEAN = 0
    SPREAD = 1
    """`before` and `after` are means of the absolute value."""
    SETTLED = 2
    """Nothing changed: the rows since the last change are a working baseline now."""
    SHAPE = 3
    """The distribution, in another way than by a move of all rows. `before`, `after` are means."""


@dataclass(frozen=True, slots=True)
class Distances:
    """How far the rows of a window lie from the frozen reference, on its bins. For reading.

    What has no order has no `ks` and no `wasserstein`, what is no category nothing after them.
    """

    psi: float
    """Population stability index, in nats: 0 or more."""
    js: float
    """Jensen-Shannon divergence, in bits: 0 to 1."""
    ks: float | None = None
    """Largest difference of the distribution functions: 0 to 1."""
    wasserstein: float | None = None
    """Wasserstein-1 distance, in reference standard deviations."""
    chi: float | None = None
    """How far any score of the categories moves at most, in its standard deviations over reference
    and window alike: the root of the symmetric chi-squared distance, 0 to 2, chance taken out."""
    new: float | None = None
    """Share of the values that no row of the reference had; None too where nobody knows that."""
    vanished: tuple[str, ...] = ()
    """Categories that the window lacks; at most `MAX_VANISHED` are named."""

    @property
    def effect(self) -> float:
        """The one that says how far, in standard deviations."""
        return self.wasserstein if self.wasserstein is not None else self.chi or 0.0

    @property
    def is_of_category(self) -> bool:
        """Whether it is a category that was compared: then there are no means."""
        return self.chi is not None


MAX_VANISHED: Final = 8
"""So many categories that vanished are named, the most frequent first."""


@dataclass(frozen=True, slots=True)
class GroupLoss:
    """How much of a model's errors one group has, of its latest labels."""

    signal: str
    """That of the errors of the group: `error:F=V`."""
    of_errors: float
    """Its share of the wrong predictions, or of the absolute error of numbers."""
    of_events: float
    """Its share of the predictions with a label."""


MAX_GROUP_LOSSES: Final = 3
"""So many groups are named, those first that have most beyond their share of the predictions."""


class BlockReference(NamedTuple):
    """The reference of a signal that is observed once in a block of rows."""

    mean: float
    """In the signal's units."""
    sd: float
    """Of one observation; 0: they were all the same."""
    n: int
    """Observations."""
    rows: int
    """Rows of an observation."""


class ErrorReference(NamedTuple):
    """How many labels of a model version's reference say that it was wrong, of how many."""

    n_errors: int
    n_labels: int


class Firing(NamedTuple):
    """One firing of one detector on one lane, in the lane's own (standardised) units.

    Sorted as tuples, firings stand in (offset, row, model, lane, detector) order, which is the
    order in which they are handed to policy.
    """

    offset: int
    """Record offset of the observation that made it fire (the trigger)."""
    event_row: int
    """Index of the event within that record; 0 for JSON."""
    model: int
    """Model-version number (slot)."""
    lane: int
    detector: str
    """Registry name of the detector."""
    event_time_ms: int
    model_event: int
    """How many events of the model version came before the trigger."""
    statistic: float
    threshold: float
    before: float
    """Mean of the lane's observations before the change, in z."""
    after: float
    """Mean of the lane's observations since the change, in z."""
    change_offset: int
    """About where the change began: the offset of the first observation after it."""
    n_before: int = 0
    """How many observations `before` rests on."""
    n_after: int = 0
    """How many observations `after` rests on."""
    aspect: int = 0
    """What of the signal moved: `Aspect`."""
    distances: Distances | None = None
    """Of the window that it is about; None where a detector knows no windows."""
    vanished: tuple[int, ...] = ()
    """The cells of categories that the window lacks."""


class Finding(NamedTuple):
    """A firing with names, in the signal's own units: which signal moved, from what to what."""

    detector: str
    model_id: str
    model_version: str
    shard: int
    signal: str
    """`feature:X`, `feature:X=V`, `missing:X`, `score`, `prediction`, `class:V` or `joint:...`."""
    offset: int
    event_row: int
    model: int
    lane: int
    model_event: int
    event_time_ms: int
    statistic: float
    threshold: float
    before: float
    """Mean before the change, in the signal's units."""
    after: float
    """Mean since the change, in the signal's units."""
    effect: float
    """How far `after` lies from the frozen reference, in its standard deviations; of a shape, the
    Wasserstein distance."""
    change_offset: int
    n_before: int
    n_after: int
    is_share: bool
    """Whether before and after are shares of events (missingness, classes, departures)."""
    is_departure: bool
    """Whether the share is that of events that depart from a constant reference."""
    admitted: int
    """Position at which the model version was admitted: one that gave way and came back is new."""
    aspect: Aspect = Aspect.MEAN
    move: float = 0.0
    """(after - before) in reference standard deviations."""
    spread_effect: float = 0.0
    """Of a settled baseline: as `effect`, of its mean distance from the reference mean."""
    spread_after: float = 0.0
    """Of a settled baseline: its mean distance from the reference mean, in the signal's units."""
    is_within_budget: bool = True
    """False: it is weaker than the budget asks, evidence for a change that is known otherwise."""
    accepted_per_week: float = 0.0
    """False alerts a week that are accepted for its model; 0: nobody knows its events a week."""
    distances: Distances | None = None
    """Of the window that it is about; None where its detector knows no windows."""
    block: int = 1
    """So many events of its model are one observation of the signal."""
    is_from_start: bool = False
    """Whether its model version has been so since a person set the reference that it differs from:
    that was made of other data."""
    is_error_of_number: bool = False
    """Of `error` and `error:F=V`: numbers are predicted, and it is predicted less true."""
    worst: tuple[GroupLoss, ...] = ()
    """Of an error: the groups that have significantly more of it than of the predictions."""
    reference: BlockReference | None = None
    """Of `expected_error`: what it was in the reference."""
    error_reference: ErrorReference | None = None
    """Of its model version, whatever was found; None where numbers are predicted, or `error` has no
    reference yet."""
    named: str = ""
    """Of `leakage`: the feature that tells most of the label. Of `quality:range`,
    `quality:stuck`, `quality:type`: the first feature of which this is so, in the trigger. Of
    `representativeness`: the one that has been most unusual of late."""


class Notice(NamedTuple):
    """A bound was reached for the first time: something is no longer learned or monitored."""

    offset: int
    """Record offset of the event that asked for more than there is room for."""
    event_row: int
    model_id: str
    model_version: str
    shard: int
    bound: str
    """The name of the bound in the detection config, such as `max_models`."""
    limit: int
    event_time_ms: int
