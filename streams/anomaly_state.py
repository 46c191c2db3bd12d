"""The open anomalies of a partition as a part of its checkpoint: arrays, checked when read.

What an anomaly has several of stands in a table of its own, those of the first anomaly first; the
number of each is in `anomaly`. All texts stand one after the other in `anomaly_text`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.security.base import MAX_NAMED, Technique
from schemas.batch import I64, ModelKey
from schemas.limits import MAX_ID_CHARS, MAX_SHARD
from streams.anomaly import (
    MAX_DETAIL_CHARS,
    MAX_DETAILS,
    MAX_DETECTORS,
    MAX_PLACE,
    MAX_RANGES,
    Anomaly,
    Kind,
    Place,
    Seen,
)
from streams.anomaly_book import MAX_ANOMALIES, AnomalyBook

_FLAGS: Final = ("has_model", "is_exposure", "is_cluster")
_COUNTS: Final[dict[str, tuple[int, int]]] = {
    "n_detectors": (1, MAX_DETECTORS),
    "n_named": (0, MAX_NAMED),
    "n_ranges": (1, MAX_RANGES),
    "n_details": (0, MAX_DETAILS),
}
"""Least and most of each."""
_NUMBERS: Final = (
    *("opened_number", "opened_offset", "opened_row", "last_number"),
    *("n_sources", "revision", "told_evidence", "told_score", "told_detectors"),
)
"""0 or more, as is every flag and count."""
_TIMES: Final = ("opened_ms", "first_ms", "last_ms")
_COLUMNS: Final = (*_FLAGS, "shard", *_COUNTS, *_NUMBERS, *_TIMES)
_SEEN: Final = (
    *("n_carried", "n_hits", "n_seen", "is_provisional", "first_ms", "last_ms"),
    *("n_slices", "said"),
)
_N_STATISTICS: Final = 4
"""Statistic, threshold, baseline, and how many events are expected."""
_N_FIXED_TEXTS: Final = 5
"""Name, technique, key, model, version; then the detectors, then the details."""
_MAX_TEXT_CHARS: Final = max(MAX_DETAIL_CHARS, MAX_ID_CHARS)


def snapshot_anomalies(book: AnomalyBook) -> BankState:
    """The open anomalies in their order, and the number of events that have passed."""
    anomalies = list(book.by_uid.values())
    seen = [each for anomaly in anomalies for each in anomaly.seen.values()]
    sources = [words for anomaly in anomalies for words in anomaly.sources]
    ranges = [each for anomaly in anomalies for each in anomaly.ranges]
    texts = [text.encode() for anomaly in anomalies for text in _texts(anomaly)]
    return {
        "anomaly_events": np.array([book.n_events], np.int64),
        "anomaly": _table([_row(anomaly) for anomaly in anomalies], len(_COLUMNS)),
        "anomaly_seen": _table([_seen_row(each) for each in seen], len(_SEEN)),
        "anomaly_statistic": np.array(
            [(each.statistic, each.threshold, each.baseline, each.n_expected) for each in seen],
            np.float64,
        ).reshape(-1, _N_STATISTICS),
        "anomaly_source": np.array(sources, np.uint64).reshape(-1, 2),
        "anomaly_range": _table(ranges, 2),
        "anomaly_text_bytes": np.array([len(text) for text in texts], np.int64),
        "anomaly_text": np.frombuffer(b"".join(texts), np.uint8).copy(),
    }


def _table(rows: Sequence[Sequence[int]], n_columns: int) -> I64:
    return np.array(rows, np.int64).reshape(-1, n_columns)


def _row(anomaly: Anomaly) -> list[int]:
    model, opened = anomaly.kind.model, anomaly.opened
    values = {
        "has_model": model is not None,
        "is_exposure": anomaly.kind.is_exposure,
        "is_cluster": anomaly.is_cluster,
        "shard": -1 if model is None else model.shard,
        "n_detectors": len(anomaly.seen),
        "n_named": len(anomaly.sources),
        "n_ranges": len(anomaly.ranges),
        "n_details": len(anomaly.details),
        "opened_number": opened.number,
        "opened_offset": opened.offset,
        "opened_row": opened.event_row,
        "last_number": anomaly.last_number,
        "n_sources": anomaly.n_sources,
        "revision": anomaly.revision,
        "told_evidence": anomaly.told_evidence,
        "told_score": anomaly.told_score,
        "told_detectors": anomaly.told_detectors,
        "opened_ms": opened.event_time_ms,
        "first_ms": anomaly.first_time_ms,
        "last_ms": anomaly.last_time_ms,
    }
    return [int(values[name]) for name in _COLUMNS]


def _seen_row(seen: Seen) -> list[int]:
    return [
        *(seen.n_carried, seen.n_hits, seen.n_seen),
        int(seen.is_provisional),
        *(seen.first_time_ms, seen.last_time_ms, seen.n_slices, seen.said),
    ]


def _texts(anomaly: Anomaly) -> Iterator[str]:
    kind = anomaly.kind
    model = kind.model or ModelKey("", "")
    yield from (anomaly.uid, str(kind.technique), kind.key_id)
    yield from (model.model_id, model.model_version)
    yield from anomaly.seen
    yield from anomaly.details


def restore_anomalies(state: BankState) -> AnomalyBook:
    """The book of an earlier snapshot. Raises `StateError` where it is none."""
    book = AnomalyBook()
    book.n_events = int(require_array(state, "anomaly_events", np.int64, (1,))[0])
    if not 0 <= book.n_events <= MAX_PLACE:
        raise StateError(f"{book.n_events} events cannot have passed")
    rows = require_array(state, "anomaly", np.int64, (None, len(_COLUMNS)))
    if len(rows) > MAX_ANOMALIES:
        raise StateError(f"{len(rows)} anomalies are more than are kept")
    parts = _Parts(state)
    for values in rows.tolist():
        row = dict(zip(_COLUMNS, values, strict=True))
        _check_row(row, book.n_events)
        anomaly = _anomaly(row, parts)
        if book.is_kept(anomaly):
            raise StateError("two anomalies are one")
        book.keep(anomaly)
    parts.check_spent()
    return book


class _Parts:
    """The tables of what anomalies have several of, taken from their fronts."""

    def __init__(self, state: BankState) -> None:
        seen = require_array(state, "anomaly_seen", np.int64, (None, len(_SEEN)))
        self._tables: dict[str, NDArray[Any]] = {
            "anomaly_seen": seen,
            "anomaly_statistic": require_array(
                state, "anomaly_statistic", np.float64, (len(seen), _N_STATISTICS)
            ),
            "anomaly_source": require_array(state, "anomaly_source", np.uint64, (None, 2)),
            "anomaly_range": require_array(state, "anomaly_range", np.int64, (None, 2)),
        }
        lengths = require_array(state, "anomaly_text_bytes", np.int64, (None,)).tolist()
        raw = require_array(state, "anomaly_text", np.uint8, (None,)).tobytes()
        if any(length < 0 for length in lengths) or sum(lengths) != len(raw):
            raise StateError("the texts of anomalies are not as long as is said")
        ends = np.cumsum([0, *lengths]).tolist()
        try:
            texts = [raw[a:b].decode() for a, b in pairwise(ends)]
        except UnicodeDecodeError:
            raise StateError("a text of an anomaly is no UTF-8") from None
        if any(len(text) > _MAX_TEXT_CHARS for text in texts):
            raise StateError("a text of an anomaly is too long")
        self._texts = texts
        self._at = dict.fromkeys([*self._tables, "anomaly_text"], 0)

    def rows(self, name: str, n: int) -> list[list[Any]]:
        """The next n rows of a table."""
        found = self._tables[name][self._take(name, n) : self._at[name]]
        if len(found) < n:
            raise StateError(f"array {name!r} has too few rows")
        return list(found.tolist())

    def texts(self, n: int) -> list[str]:
        """The next n texts."""
        found = self._texts[self._take("anomaly_text", n) : self._at["anomaly_text"]]
        if len(found) < n:
            raise StateError("there are too few texts of anomalies")
        return found

    def check_spent(self) -> None:
        """Refuse what belongs to no anomaly."""
        lengths = {name: len(table) for name, table in self._tables.items()}
        for name, length in {**lengths, "anomaly_text": len(self._texts)}.items():
            if self._at[name] != length:
                raise StateError(f"array {name!r} has more than belongs to anomalies")

    def _take(self, name: str, n: int) -> int:
        start = self._at[name]
        self._at[name] += n
        return start


def _check_row(row: dict[str, int], n_events: int) -> None:
    for name in _FLAGS:
        if row[name] not in (0, 1):
            raise StateError(f"an anomaly has {name} {row[name]}")
    for name, (least, most) in _COUNTS.items():
        if not least <= row[name] <= most:
            raise StateError(f"an anomaly has {name} {row[name]}")
    for name in _NUMBERS:
        if not 0 <= row[name] <= MAX_PLACE:
            raise StateError(f"an anomaly has {name} {row[name]}")
    for name in _TIMES:
        if abs(row[name]) > MAX_PLACE:
            raise StateError(f"an anomaly has {name} {row[name]}")
    if not -1 <= row["shard"] <= MAX_SHARD or (row["shard"] >= 0 and not row["has_model"]):
        raise StateError(f"an anomaly has shard {row['shard']}")
    if not (row["opened_number"] <= row["last_number"] <= n_events):
        raise StateError("an anomaly has its latest evidence where it cannot be")
    if row["revision"] < 1 or row["n_sources"] < row["n_named"]:
        raise StateError("an anomaly was never told, or names more sources than there are")
    if not row["is_cluster"] and row["n_named"] < 1:
        raise StateError("an anomaly is of one source, and of which is not said")


def _anomaly(row: dict[str, int], parts: _Parts) -> Anomaly:
    n_detectors = row["n_detectors"]
    texts = parts.texts(_N_FIXED_TEXTS + n_detectors + row["n_details"])
    uid, technique, key_id, model_id, version = texts[:_N_FIXED_TEXTS]
    detectors = texts[_N_FIXED_TEXTS : _N_FIXED_TEXTS + n_detectors]
    details = texts[_N_FIXED_TEXTS + n_detectors :]
    has_model = bool(row["has_model"])
    if technique not in set(Technique):
        raise StateError(f"there is no technique {technique!r}")
    if len(uid) != 32 or not set(uid) <= set("0123456789abcdef"):
        raise StateError(f"{uid!r} names no anomaly")
    if has_model != bool(model_id) or has_model != bool(version):
        raise StateError("an anomaly has no model, and has one")
    for texts_of in (detectors, details):
        if len(set(texts_of)) < len(texts_of) or not all(texts_of):
            raise StateError("an anomaly has a detector or a detail twice, or one without a name")
    sources = [(first, second) for first, second in parts.rows("anomaly_source", row["n_named"])]
    if len(set(sources)) < len(sources):
        raise StateError("an anomaly has a source twice")
    return Anomaly(
        uid=uid,
        kind=Kind(
            ModelKey(model_id, version, row["shard"]) if has_model else None,
            Technique(technique),
            bool(row["is_exposure"]),
            key_id,
        ),
        is_cluster=bool(row["is_cluster"]),
        opened=Place(
            row["opened_number"], row["opened_offset"], row["opened_row"], row["opened_ms"]
        ),
        last_number=row["last_number"],
        first_time_ms=row["first_ms"],
        last_time_ms=row["last_ms"],
        sources=sources,
        n_sources=row["n_sources"],
        seen=dict(zip(detectors, _read_seen(parts, row), strict=True)),
        ranges=_read_ranges(parts, row["n_ranges"]),
        details=details,
        revision=row["revision"],
        told_evidence=row["told_evidence"],
        told_score=row["told_score"],
        told_detectors=row["told_detectors"],
    )


def _read_seen(parts: _Parts, row: dict[str, int]) -> list[Seen]:
    n, found = row["n_detectors"], []
    counts, statistics = parts.rows("anomaly_seen", n), parts.rows("anomaly_statistic", n)
    for own, numbers in zip(counts, statistics, strict=True):
        carried, hits, n_seen, is_provisional, first_ms, last_ms, n_slices, said = own
        if not all(0 <= count <= MAX_PLACE for count in (carried, hits, n_seen, n_slices)):
            raise StateError("a detector has seen a number of events that cannot be")
        if is_provisional not in (0, 1) or max(abs(first_ms), abs(last_ms)) > MAX_PLACE:
            raise StateError("a detector has seen something at a time that cannot be")
        if not 0 <= said < 1 << row["n_details"]:
            raise StateError("a detector has said a detail that is not there")
        statistic, threshold, baseline, n_expected = numbers
        found.append(
            Seen(
                statistic=statistic,
                threshold=threshold,
                baseline=baseline,
                n_expected=n_expected,
                n_slices=n_slices,
                n_carried=carried,
                n_hits=hits,
                n_seen=n_seen,
                first_time_ms=first_ms,
                last_time_ms=last_ms,
                is_provisional=bool(is_provisional),
                said=said,
            )
        )
    return found


def _read_ranges(parts: _Parts, n: int) -> list[tuple[int, int]]:
    ranges = [(first, last) for first, last in parts.rows("anomaly_range", n)]
    after = -2
    for first, last in ranges:
        if not (after + 1 < first <= last <= MAX_PLACE) or first < 0:
            raise StateError("the ranges of an anomaly are not in order")
        after = last
    return ranges
