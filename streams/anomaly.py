"""One anomaly: all evidence that one source, or one cluster of sources, does one kind of thing.

Pure. Places within the partition are counted in events, since that is what detectors count in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from detectors.security.base import MAX_NAMED, Suspicion, Technique
from schemas.batch import ModelKey

MAX_DETECTORS: Final = 16
"""Told apart in one anomaly; what further ones find counts for its places alone."""
MAX_RANGES: Final = 16
"""Of offsets; past it the two that lie nearest to one another become one."""
MAX_DETAILS: Final = 8
MAX_DETAIL_CHARS: Final = 512
MAX_PLACE: Final = 1 << 60
"""An offset, a count or a time beyond it is taken for that: no log has so many."""

Words = tuple[int, int]
"""The keyed hash of a source; 0, 0: it has no name."""
NAMELESS: Final[Words] = (0, 0)
EXPOSURE: Final = "exposure"
"""The `detail` of a suspicion that ranks and does not accuse."""

_AGREEING: Final = {1: 40, 2: 60}
_MANY_AGREEING: Final = 70
_ALL_REVIEWED: Final = 20
_SOME_REVIEWED: Final = 10


class Place(NamedTuple):
    """An event of the partition."""

    number: int
    """How many events of the lineage came before it."""
    offset: int
    event_row: int
    event_time_ms: int


class Kind(NamedTuple):
    """What has to be the same in all evidence of one anomaly, beside who does it."""

    model: ModelKey | None
    """None: it is about the partition."""
    technique: Technique
    is_exposure: bool
    key_id: str
    """Of the key of the hashes; "": there is none."""


@dataclass(slots=True)
class Seen:
    """What one detector has seen, as it said last."""

    statistic: float
    threshold: float
    baseline: float
    n_expected: float
    """Of `n_seen`, where all is well; 0: not said."""
    n_slices: int
    """Suspect of the same; 0: it is about none."""
    n_carried: int
    """Evidence from before it began anew."""
    n_hits: int
    n_seen: int
    first_time_ms: int
    last_time_ms: int
    is_provisional: bool
    said: int = 0
    """Bit i: it has said the anomaly's detail i."""

    @property
    def n_evidence(self) -> int:
        """Events that count as evidence, over all."""
        return self.n_carried + self.n_hits


@dataclass(slots=True)
class Anomaly:
    """What is known of it."""

    uid: str
    kind: Kind
    is_cluster: bool
    """Several sources, or none that could be named; else the first of `sources` is the one."""
    opened: Place
    last_number: int
    """Of the event with its latest evidence."""
    first_time_ms: int
    last_time_ms: int
    sources: list[Words] = field(default_factory=list)
    """Those with most evidence first, at most `MAX_NAMED`."""
    n_sources: int = 0
    seen: dict[str, Seen] = field(default_factory=dict)
    """By detector, in order of first firing."""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """Offsets of evidence, both ends included: ascending, apart."""
    details: list[str] = field(default_factory=list)
    revision: int = 0
    told_evidence: int = 0
    told_score: int = 0
    told_detectors: int = 0

    @property
    def n_evidence(self) -> int:
        """Events that count as evidence: by the detector that has most, since they share them."""
        return max((seen.n_evidence for seen in self.seen.values()), default=0)

    @property
    def is_provisional(self) -> bool:
        """Whether a detector's thresholds come of unreviewed events."""
        return any(seen.is_provisional for seen in self.seen.values())

    @property
    def score(self) -> int:
        """Confidence, 0 to 100: how many detectors agree, and whether thresholds are reviewed.

        40 for one detector, 60 for two, 70 for more; 20 more where all thresholds are reviewed, 10
        where some are.
        """
        n_reviewed = sum(not seen.is_provisional for seen in self.seen.values())
        score = _AGREEING.get(len(self.seen), _MANY_AGREEING)
        if n_reviewed == len(self.seen):
            return score + _ALL_REVIEWED
        return score + (_SOME_REVIEWED if n_reviewed else 0)

    @property
    def is_news(self) -> bool:
        """Whether more is known than was told: twice the evidence, a detector, more confidence."""
        return (
            self.revision == 0
            or len(self.seen) > self.told_detectors
            or self.n_evidence >= 2 * max(self.told_evidence, 1)
            or self.score > self.told_score
        )

    def mark_told(self) -> None:
        """What is known now has been told."""
        self.revision += 1
        self.told_evidence = self.n_evidence
        self.told_score = self.score
        self.told_detectors = len(self.seen)

    def take(self, suspicion: Suspicion, number: int) -> None:
        """Let one more firing speak; `number` is the event's at which it came."""
        first_ms = within(min(suspicion.first_time_ms, suspicion.event_time_ms))
        last_ms = within(suspicion.event_time_ms)
        self._take_statistic(suspicion, first_ms, last_ms)
        self.last_number = max(self.last_number, number)
        self.first_time_ms = min(self.first_time_ms, first_ms)
        self.last_time_ms = max(self.last_time_ms, last_ms)
        last = max(within(suspicion.offset), 0)
        self.ranges = with_range(self.ranges, (min(max(suspicion.first_offset, 0), last), last))
        # Its own stays first; of the others what was said last has most evidence now.
        own = [] if self.is_cluster else self.sources[:1]
        known = dict.fromkeys([*own, *suspicion.sources, *self.sources])
        self.sources = list(known)[:MAX_NAMED]
        self.n_sources = within(max(self.n_sources, suspicion.n_sources, len(known)))
        self._take_detail(suspicion)

    def details_of(self, detector: str) -> list[str]:
        """Those that one detector has said."""
        said = self.seen[detector].said
        return [detail for at, detail in enumerate(self.details) if said >> at & 1]

    def _take_detail(self, suspicion: Suspicion) -> None:
        detail = suspicion.detail[:MAX_DETAIL_CHARS]
        if detail and detail not in self.details and len(self.details) < MAX_DETAILS:
            self.details.append(detail)
        if detail in self.details and suspicion.detector in self.seen:
            self.seen[suspicion.detector].said |= 1 << self.details.index(detail)

    def _take_statistic(self, suspicion: Suspicion, first_ms: int, last_ms: int) -> None:
        known = self.seen.get(suspicion.detector)
        if known is None and len(self.seen) >= MAX_DETECTORS:
            return
        n_hits = max(within(suspicion.n_hits), 0)
        n_carried = 0
        if known is not None:
            # A detector begins anew after a quiet time; what it had seen remains evidence.
            n_carried = known.n_carried + (known.n_hits if n_hits < known.n_hits else 0)
            first_ms = min(first_ms, known.first_time_ms)
            last_ms = max(last_ms, known.last_time_ms)
        self.seen[suspicion.detector] = Seen(
            statistic=float(suspicion.statistic),
            threshold=float(suspicion.threshold),
            baseline=float(suspicion.baseline),
            n_expected=float(suspicion.n_expected),
            n_slices=max(within(suspicion.n_slices), 0),
            n_carried=within(n_carried),
            n_hits=n_hits,
            n_seen=max(within(suspicion.n_seen), 0),
            first_time_ms=first_ms,
            last_time_ms=last_ms,
            is_provisional=bool(suspicion.is_provisional),
            said=0 if known is None else known.said,
        )


def within(number: int) -> int:
    """The number, or the largest or smallest that counts as one, as Python's own."""
    return max(min(int(number), MAX_PLACE), -MAX_PLACE)


def with_range(ranges: list[tuple[int, int]], new: tuple[int, int]) -> list[tuple[int, int]]:
    """The ranges and one more, joined where they touch; at most `MAX_RANGES`, ascending, apart.

    Past that number the two nearest are one, the first of equally near ones: a quarantine keeps
    too much rather than too little.
    """
    merged: list[tuple[int, int]] = []
    for first, last in sorted([*ranges, new]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    while len(merged) > MAX_RANGES:
        gaps = [after[0] - before[1] for before, after in pairwise(merged)]
        at = gaps.index(min(gaps))
        merged[at : at + 2] = [(merged[at][0], merged[at + 1][1])]
    return merged
