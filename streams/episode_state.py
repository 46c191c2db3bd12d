"""The episodes of a partition as a part of its checkpoint: one JSON document."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import fields
from typing import Annotated, Any, Final

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detectors.base import BankState, StateError, require_array
from detectors.registry import REGISTRY
from schemas.alerts import Severity
from schemas.commands import MAX_REASON_CHARS
from schemas.findings import (
    MAX_GROUP_LOSSES,
    MAX_VANISHED,
    Aspect,
    BlockReference,
    Distances,
    ErrorReference,
    GroupLoss,
)
from schemas.limits import MAX_CATEGORY_CHARS, MAX_ID_CHARS
from schemas.signal_names import DISPARITY, OF_LABELS
from streams.episodes import MAX_EPISODES, MAX_OPENED, MAX_SIGNALS, MAX_TELLING, EpisodeBook
from streams.evidence import Episode, Evidence, Standing

_NO_ASPECT: Final = int(Aspect.SETTLED)

# Offsets and counts; a made-up larger one could not be counted on, nor written as JSON.
_Count = Annotated[int, Field(ge=0, lt=1 << 62)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Size = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
_SIGNAL: Final = (
    "^("
    + "|".join(
        [
            *("feature:", "missing:", "class:", "joint:", "quality:"),
            *("score$", "prediction$", "latency$", "representativeness$"),
            *("error:", "label:", *(f"{name}$" for name in OF_LABELS)),
            *(f"{name}:" for name in DISPARITY),
        ]
    )
    + ")"
)
_Time = Annotated[int, Field(ge=-(1 << 62), lt=1 << 62)]


_CategoryName = Annotated[str, Field(max_length=MAX_CATEGORY_CHARS)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _DistancesDocument(_Document):
    psi: _Size
    js: _Size
    ks: _Size | None
    wasserstein: _Size | None
    chi: _Size | None
    new: _Share | None
    vanished: Annotated[list[_CategoryName], Field(max_length=MAX_VANISHED)]


class _GroupDocument(_Document):
    signal: Annotated[str, Field(pattern=r"^error:.+=")]
    of_errors: _Share
    of_events: _Share


class _ReferenceDocument(_Document):
    mean: _Number
    sd: _Size
    n: Annotated[int, Field(ge=1, lt=1 << 62)]
    rows: Annotated[int, Field(ge=1, lt=1 << 62)]


class _ErrorReferenceDocument(_Document):
    n_errors: _Count
    n_labels: Annotated[int, Field(ge=1, lt=1 << 62)]


class _EvidenceDocument(_Document):
    signal: Annotated[str, Field(pattern=_SIGNAL)]
    aspect: Annotated[int, Field(ge=0, lt=len(Aspect))]
    detectors: Annotated[list[str], Field(min_length=1, max_length=len(REGISTRY))]
    effect: _Number
    before: _Number | None
    after: _Number | None
    is_rise: bool
    is_share: bool
    is_departure: bool
    change_offset: _Count
    found_offset: _Count
    change_event: _Count
    n_before: _Count
    n_after: _Count
    standing: Annotated[int, Field(ge=0, lt=len(Standing))]
    returned_event: Annotated[int, Field(ge=-1, lt=1 << 62)]
    distances: _DistancesDocument | None
    is_error_of_number: bool
    worst: Annotated[list[_GroupDocument], Field(max_length=MAX_GROUP_LOSSES)]
    reference: _ReferenceDocument | None
    named: str
    part: _Size


class _EpisodeDocument(_Document):
    alert_id: str
    model_id: str
    model_version: str
    shard: Annotated[int, Field(ge=-1, lt=1 << 62)]
    admitted: _Count
    opened_event: _Count
    opened_offset: _Count
    opened_change: _Count
    change_event: _Count
    change_offset: _Count
    sharpness: _Size
    budget_share: _Size | None
    planned: Annotated[str, Field(max_length=MAX_REASON_CHARS)] | None
    acknowledged_by: Annotated[str, Field(max_length=MAX_ID_CHARS)] | None
    acknowledged_severity: Severity | None
    acknowledged_telling: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None
    has_untold: bool
    revision: Annotated[int, Field(ge=0, lt=1 << 60)]
    n_findings: Annotated[int, Field(ge=1, lt=1 << 60)]
    closed_event: Annotated[int, Field(ge=-1, lt=1 << 62)]
    is_settled: bool
    is_from_start: bool
    error_reference: _ErrorReferenceDocument | None
    evidence: Annotated[
        list[_EvidenceDocument], Field(min_length=1, max_length=MAX_SIGNALS + MAX_TELLING)
    ]


class _OpenedDocument(_Document):
    model_id: str
    model_version: str
    shard: Annotated[int, Field(ge=-1, lt=1 << 62)]
    times_ms: Annotated[list[_Time], Field(max_length=MAX_OPENED)]


class _BookDocument(_Document):
    episodes: Annotated[list[_EpisodeDocument], Field(max_length=MAX_EPISODES)]
    opened: Annotated[list[_OpenedDocument], Field(max_length=MAX_EPISODES)]


_READ_APART: Final = {"signal", "aspect", "standing", "distances", "worst", "reference"}
_EPISODE_READ_APART: Final = {
    "model_id",
    "model_version",
    "shard",
    "evidence",
    "error_reference",
}


def snapshot_episodes(book: EpisodeBook) -> BankState:
    """The episodes, and when those of each model were opened."""
    document = {
        "episodes": [_episode(episode) for episode in book.episodes.values()],
        "opened": [
            {"model_id": m[0], "model_version": m[1], "shard": m[2], "times_ms": times}
            for m, times in book.opened_ms.items()
        ],
    }
    return {"episodes": np.frombuffer(orjson.dumps(document), np.uint8).copy()}


def _episode(episode: Episode) -> dict[str, Any]:
    model_id, model_version, shard = episode.model
    return {
        "alert_id": episode.alert_id,
        "model_id": model_id,
        "model_version": model_version,
        "shard": shard,
        **_plain(episode, {"alert_id", "model", "evidence", "error_reference"}),
        "error_reference": episode.error_reference and episode.error_reference._asdict(),
        "evidence": [
            {"signal": signal, "aspect": aspect, **_plain(each, {"reference"})}
            | {"reference": each.reference and each.reference._asdict()}
            for (signal, aspect), each in episode.evidence.items()
        ],
    }


def _plain(known: Episode | Evidence, left_out: Set[str]) -> dict[str, Any]:
    """The fields as they are, in their order; an enumeration is written as its number."""
    return {f.name: getattr(known, f.name) for f in fields(known) if f.name not in left_out}


def restore_episodes(state: BankState) -> EpisodeBook:
    """The book of an earlier snapshot. Raises `StateError` where it is none."""
    try:
        raw = require_array(state, "episodes", np.uint8, (None,)).tobytes()
        document = _BookDocument.model_validate(orjson.loads(raw))
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise StateError(f"the episodes are not readable: {error}") from None
    book = EpisodeBook()
    for of_episode in document.episodes:
        episode = _read_episode(of_episode)
        if episode.alert_id in book.episodes:
            raise StateError("two episodes have one id")
        book.keep(episode)
    for opened in document.opened:
        model = opened.model_id, opened.model_version, opened.shard
        if model in book.opened_ms:
            raise StateError("a model's openings stand there twice")
        book.opened_ms[model] = opened.times_ms
    return book


def _read_episode(document: _EpisodeDocument) -> Episode:
    evidence = {
        (each.signal, each.aspect): Evidence(
            **each.model_dump(exclude=_READ_APART),
            standing=Standing(each.standing),
            distances=_distances(each.distances),
            worst=tuple(GroupLoss(**group.model_dump()) for group in each.worst),
            reference=_reference(each.reference),
        )
        for each in document.evidence
    }
    for each in evidence.values():
        if len(set(each.detectors)) < len(each.detectors) or not set(each.detectors) <= set(
            REGISTRY
        ):
            raise StateError("a signal was found by no detector, or by one twice")
    if any(aspect == _NO_ASPECT for _, aspect in evidence):
        raise StateError("a signal has moved in an aspect that is none")
    if len(evidence) < len(document.evidence):
        raise StateError("an episode has a signal twice")
    reference = document.error_reference
    episode = Episode(
        model=(document.model_id, document.model_version, document.shard),
        **document.model_dump(exclude=_EPISODE_READ_APART),
        error_reference=None if reference is None else ErrorReference(**reference.model_dump()),
        evidence=evidence,
    )
    if reference is not None and reference.n_errors > reference.n_labels:
        raise StateError("a reference has more errors than labels")
    if (episode.closed_event >= 0) == episode.is_live:
        raise StateError("an episode is open and over at the same time")
    return episode


def _reference(document: _ReferenceDocument | None) -> BlockReference | None:
    return None if document is None else BlockReference(**document.model_dump())


def _distances(document: _DistancesDocument | None) -> Distances | None:
    if document is None:
        return None
    numbers = document.model_dump(exclude={"vanished"})
    return Distances(**numbers, vanished=tuple(document.vanished))
