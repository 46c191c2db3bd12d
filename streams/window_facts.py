"""What the events of a clean window say: predictions with the labels that lie in it too. Pure.

A function of the set of events in the window, whatever the polls they come in, and however often
one comes: each has its place in the log, and only places decide. The join goes by the rules of
docs/labels.md, but for its two times of waiting: what bounds it is the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.event_time import from_the_future
from detectors.labels.identity import NONE, model_id_code, value_codes
from detectors.reference import MAX_INTEGER_CLASSES
from schemas.anomalies import OffsetRange
from schemas.batch import I64, Bool, Decoded, PredictionKind
from schemas.retraining import CleanWindow, QuarantinePart
from schemas.source_hash import SourceKey
from streams.prediction_regions import regions_of
from streams.retraining_gate import WindowFacts

Rows = NDArray[np.void]
Value = int | float | str | bool | None
"""A prediction or a label as JSON has it."""

_EVENT: Final = np.dtype(
    [
        ("partition", np.int32),
        ("row", np.int32),
        ("offset", np.int64),
        ("time_ms", np.int64),
        ("key", np.int64),
        ("code", np.int64),
        ("number", np.float64),
        ("score", np.float64),
        ("class", np.int32),
        ("kind", np.uint8),
        ("is_label", np.bool_),
        ("is_own", np.bool_),
        ("is_left_out", np.bool_),
        ("is_future", np.bool_),
    ]
)
"""One event of the model. `is_own`: a prediction of the version; `key`: that of the join."""


class QuarantineKeyError(Exception):
    """Sources are to be left out, and nobody here can tell which events are theirs."""


class Span(NamedTuple):
    """Offsets of one partition, both ends included."""

    partition: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class WindowWish:
    """Whose events are wanted, of which offsets, and which of them are left out."""

    model_id: str
    model_version: str
    window: CleanWindow
    quarantine: Sequence[QuarantinePart]

    def spans(self) -> list[Span]:
        """The offsets of the window by partition, ascending; no two share one or touch."""
        return [
            Span(partition, first, last)
            for partition in sorted({each.partition for each in self.window.parts})
            for first, last in _merged(
                each
                for part in self.window.parts
                if part.partition == partition
                for each in part.ranges
            )
        ]

    def require_key(self, key: SourceKey | None) -> None:
        """Raise `QuarantineKeyError` where sources are named by a key that is not this one."""
        for part in self.quarantine:
            if part.sources and (key is None or part.source_key != key.fingerprint):
                mine = "none is configured" if key is None else f"the one here is {key.fingerprint}"
                raise QuarantineKeyError(
                    f"the sources to be left out are pseudonyms by key {part.source_key}, and "
                    f"{mine}: set `worker.source_key` to the reference that the workers have"
                )


@dataclass(frozen=True, slots=True)
class Pairs:
    """The predictions of the version, in the order of the log, and their labels; k of them.

    Of several events with one id the first in the log counts, and so does the first label.
    """

    events: Rows
    """(n,) those of the model in the window, in the order of the log."""
    prediction: I64
    """(k,) index into `events`."""
    label: I64
    """(k,) index into `events`; -1: none lies in the window."""
    is_left_out: Bool
    """(k,) the prediction is in quarantine, or its label is."""
    classes: Sequence[str]

    def labelled(self) -> I64:
        """(m,) those of the k that may be trained on."""
        return np.flatnonzero((self.label >= 0) & ~self.is_left_out)

    def value(self, event: int) -> Value:
        """What this one of `events` predicts, or says to be true."""
        row = self.events[event]
        kind = int(row["kind"])
        if kind == PredictionKind.NUMBER:
            return float(row["number"])
        if kind == PredictionKind.ABSENT:
            return None
        name = self.classes[int(row["class"])]
        if kind == PredictionKind.INTEGER:
            return int(name)
        return name == "true" if kind == PredictionKind.BOOLEAN else name


class WindowEvents:
    """Takes in the events of a window; keeps some 70 bytes of each event of the model.

    `source_key` is the one that the events are decoded with: raises `QuarantineKeyError` where it
    is not that of the quarantine. Of the config are how far `ts` may be ahead and behind.
    """

    def __init__(
        self,
        wish: WindowWish,
        source_key: SourceKey | None,
        *,
        max_future_ms: int,
        max_late_ms: int,
    ) -> None:
        wish.require_key(source_key)
        self._wish: Final = wish
        self._spans: Final = wish.spans()
        self._max_future_ms: Final = max_future_ms
        self._max_late_ms: Final = max_late_ms
        self._pieces: Final[list[Rows]] = []
        self._classes: Final[dict[str, int]] = {}

    def take(self, events: Decoded) -> None:
        """Take in decoded events of one partition, with the fingerprints of their ids."""
        at = self.chosen(events)
        if not len(at):
            return
        version = self._wish.model_version
        is_version = np.array([key.model_version == version for key in events.models], np.bool_)
        of_model = np.array([model_id_code(key) for key in events.models], np.int64)
        model, is_label = events.model[at], events.is_label[at]
        rows = np.zeros(len(at), _EVENT)
        columns: dict[str, NDArray[Any]] = {
            "row": events.row[at],
            "offset": events.offset[at],
            "time_ms": events.event_time_ms[at],
            "key": events.event_id[at].view(np.int64) ^ of_model[model],
            "code": value_codes(events)[at],
            "number": events.prediction[at],
            "score": events.score[at],
            "class": self._class_numbers(events, at),
            "kind": events.prediction_kind[at],
            "is_label": is_label,
            "is_own": is_version[model] & ~is_label,
            "is_left_out": self._left_out(events)[at],
            "is_future": from_the_future(events, self._max_future_ms)[at],
        }
        for name, column in columns.items():
            rows[name] = column
        rows["partition"] = events.tp.partition
        self._pieces.append(rows)

    def chosen(self, events: Decoded) -> I64:
        """(m,) the rows that are of the model and in the window."""
        ours = np.array([key.model_id == self._wish.model_id for key in events.models], np.bool_)
        within = _in_ranges(
            events.offset,
            [(one.first, one.last) for one in self._spans if one.partition == events.tp.partition],
        )
        return np.flatnonzero(ours[events.model] & within)

    def pairs(self) -> Pairs:
        """The predictions of the version, each with its label."""
        events = self._in_order()
        # By key: the predictions in the order of the log, then the labels.
        order = np.lexsort((events["is_label"], events["key"], events["partition"]))
        own, size = _runs(events[order], ("partition", "key"))
        n_predictions = (
            np.add.reduceat(~events["is_label"][order], own, dtype=np.int64) if len(own) else size
        )
        there = np.flatnonzero(n_predictions)
        prediction = order[own[there]]
        has_label = n_predictions[there] < size[there]
        # Where there is none, that of another key, which is not looked at.
        at = np.minimum(own[there] + n_predictions[there], max(len(order) - 1, 0))
        label = np.where(has_label, order[at], -1)
        mine = np.flatnonzero(events["is_own"][prediction])
        mine = mine[np.argsort(prediction[mine])]
        prediction, label = prediction[mine], label[mine]
        left_out = events["is_left_out"]
        return Pairs(
            events,
            prediction,
            label,
            left_out[prediction] | ((label >= 0) & left_out[label]),
            list(self._classes),
        )

    def facts(self, pairs: Pairs | None = None) -> WindowFacts:
        """What is counted; of `pairs()` where somebody has them already."""
        pairs = pairs or self.pairs()
        usable = pairs.labelled()
        has_label = pairs.label >= 0
        since_ms, until_ms = self._times(pairs.events)
        return WindowFacts(
            n_predictions=len(pairs.prediction),
            n_labels=len(usable),
            n_errors=_n_errors(pairs, usable),
            n_quarantined=int(np.count_nonzero(has_label & pairs.is_left_out)),
            since_ms=since_ms,
            until_ms=until_ms,
            regions=regions_of(pairs, are_classes=are_classes(pairs)),
        )

    def _in_order(self) -> Rows:
        """The events in the order of the log; one that came twice stands there twice.

        That changes nothing: of several with one id the first counts.
        """
        if not self._pieces:
            return np.zeros(0, _EVENT)
        rows = np.concatenate(self._pieces)
        return rows[order_of(rows)]

    def _times(self, events: Rows) -> tuple[int | None, int | None]:
        """The earliest `ts` and the latest, of events that are on time and not in quarantine.

        One event whose `ts` is wrong could else keep a model from being retrained for years.
        """
        since_ms: int | None = None
        until_ms: int | None = None
        for partition in np.unique(events["partition"]):
            here = (events["partition"] == partition) & ~events["is_future"]
            times = events["time_ms"][here & ~events["is_left_out"]]
            if not len(times):
                continue
            latest = np.maximum.accumulate(times)
            earliest = int(times[times >= latest - self._max_late_ms].min())
            since_ms = earliest if since_ms is None else min(since_ms, earliest)
            until_ms = int(latest[-1]) if until_ms is None else max(until_ms, int(latest[-1]))
        return since_ms, until_ms

    def _left_out(self, events: Decoded) -> Bool:
        """(n,) which events are in quarantine."""
        found = np.zeros(len(events), np.bool_)
        for part in self._wish.quarantine:
            if part.partition != events.tp.partition:
                continue
            meant = _in_ranges(events.offset, _merged(part.ranges))
            if part.sources:
                words = _words(part.sources)
                named = (events.source[:, None, :] == words[None, :, :]).all(axis=2).any(axis=1)
                nameless = (events.source == 0).all(axis=1)
                meant &= named | nameless if part.without_source else named
            found |= meant
        return found

    def _class_numbers(self, events: Decoded, at: I64) -> NDArray[np.int32]:
        """The classes of these events by their numbers in all polls; -1: none."""
        own = events.predicted_class[at]
        new = np.full(len(events.classes) + 1, -1, np.int32)  # the last for what has no name
        for old in np.unique(own[own >= 0]).tolist():
            new[old] = self._classes.setdefault(events.classes[old], len(self._classes))
        return new[own]


def order_of(rows: Rows) -> I64:
    """(n,) the places of events in the order of the log."""
    return np.lexsort((rows["row"], rows["offset"], rows["partition"]))


def are_classes(pairs: Pairs) -> bool:
    """Whether what the version predicts are classes.

    By the rule by which a reference decides it, save that here a few numbers among many classes do
    not make numbers of all.
    """
    mine = pairs.events[pairs.prediction[~pairs.is_left_out]]
    n_of_kind = np.bincount(mine["kind"], minlength=len(PredictionKind))
    n_named = int(n_of_kind[PredictionKind.STRING] + n_of_kind[PredictionKind.BOOLEAN])
    n_integers = int(n_of_kind[PredictionKind.INTEGER])
    n_numbers = int(n_of_kind[PredictionKind.NUMBER])
    if n_named < n_integers + n_numbers:
        integers = np.unique(mine["code"][mine["kind"] == PredictionKind.INTEGER])
        return n_numbers < n_integers and len(integers) <= MAX_INTEGER_CLASSES
    return n_named > 0


def _n_errors(pairs: Pairs, usable: I64) -> int | None:
    """How many predictions their labels say to be wrong; None where predictions are numbers."""
    if not are_classes(pairs):
        return None
    predicted = pairs.events["code"][pairs.prediction[usable]]
    true = pairs.events["code"][pairs.label[usable]]
    return int(np.count_nonzero((predicted != NONE) & (predicted != true)))


def _merged(ranges: Iterable[OffsetRange]) -> list[tuple[int, int]]:
    """The same offsets in ranges that are ascending and apart."""
    found: list[tuple[int, int]] = []
    for first, last in sorted((each.first_offset, each.last_offset) for each in ranges):
        if last < first:
            continue
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def _in_ranges(offsets: I64, ranges: Sequence[tuple[int, int]]) -> Bool:
    """(n,) which offsets lie in one of these, which are ascending and apart."""
    if not ranges:
        return np.zeros(len(offsets), np.bool_)
    bounds = np.array(ranges, np.int64)
    at = np.searchsorted(bounds[:, 0], offsets, side="right") - 1
    found: Bool = (at >= 0) & (offsets <= bounds[np.maximum(at, 0), 1])
    return found


def _words(pseudonyms: Sequence[str]) -> NDArray[np.uint64]:
    """(n, 2): the words of events' sources with these pseudonyms."""
    digests = b"".join(bytes.fromhex(each) for each in pseudonyms)
    return np.frombuffer(digests, "<u8").reshape(-1, 2).astype(np.uint64)


def _runs(rows: Rows, names: Sequence[str]) -> tuple[I64, I64]:
    """Where each run of rows that are alike in these fields begins, and how long it is."""
    if not len(rows):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    is_new = np.ones(len(rows), np.bool_)
    is_new[1:] = False
    for name in names:
        is_new[1:] |= rows[name][1:] != rows[name][:-1]
    first = np.flatnonzero(is_new)
    return first, np.diff(np.append(first, len(rows)))
