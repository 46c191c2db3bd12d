"""Which detection config a partition runs under: it moves up a generation, and never down."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from streams.recovery import OperatorNeededError
from streams.worker import Detection, PartitionWorker

log = structlog.get_logger(__name__)


def next_detection(worker: PartitionWorker, mine: Detection) -> Detection | None:
    """The config the partition moves up to at the next barrier; None: it stays with its own.

    Raises `OperatorNeededError` where the same generation has other content.
    """
    theirs = worker.detection
    if theirs.identity == mine.identity:
        return None
    if mine.config.generation > theirs.config.generation:
        return mine
    if mine.config.generation < theirs.config.generation:
        log.warning(
            "the partition keeps the newer detection config",
            partition=str(worker.tp),
            generation=theirs.config.generation,
            configured=mine.config.generation,
        )
        return None
    raise OperatorNeededError(
        "config_conflict",
        worker.tp,
        f"generation {mine.config.generation} of the detection config has other content here than "
        f"where it was first used: {', '.join(differences(theirs, mine))}. Raise "
        "detection.generation to switch, or restore the content.",
    )


def differences(theirs: Detection, mine: Detection) -> list[str]:
    """The dotted names of what differs."""
    names = _differing(theirs.config.model_dump(), mine.config.model_dump(), "detection")
    if theirs.key_fingerprint != mine.key_fingerprint:
        names.append("the source key")
    return names or ["the algorithm versions"]


def _differing(one: Mapping[str, object], other: Mapping[str, object], path: str) -> list[str]:
    names: list[str] = []
    for name in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(name), other.get(name)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            names += _differing(mine, theirs, f"{path}.{name}")
        elif mine != theirs:
            names.append(f"{path}.{name}")
    return names
