"""Which detection configs a replay folds under, and whether all of them can be had. Pure.

A config is had where it is the worker's own, or in the journal and of the same source key.
"""

from __future__ import annotations

from collections.abc import Sequence

from streams.duties import state_versions
from streams.lineage import JournalEntry
from streams.worker import Detection


class StateUnavailableError(Exception):
    """The partition's state cannot be had now; it stays paused and is tried again."""


def detection_then(
    identity: str, entries: Sequence[JournalEntry], detection: Detection
) -> Detection:
    """The detection config with this identity: the worker's own, or one from the journal."""
    if identity == detection.identity:
        return detection
    holding = (entry for entry in entries if entry.document is not None)
    entry = next((entry for entry in holding if entry.config == identity), None)
    if entry is None:
        raise StateUnavailableError(
            f"the journal does not hold the detection config {identity} the state was made with"
        )
    if dict(entry.versions) != state_versions(entry.lineage.duty):
        raise StateUnavailableError(
            f"the state was made by algorithm versions {entry.versions}; this release has "
            f"{state_versions(entry.lineage.duty)}: drain with the old release first"
        )
    return Detection.journaled(entry, detection.key)


def check_keys(
    then: Detection,
    at: int,
    switches: Sequence[JournalEntry],
    committed: int,
    detection: Detection,
) -> None:
    """See that every config under which an event is going to be folded has its source key.

    One under which nothing is folded needs none: its state is taken up as it is, and the next
    config, or the worker's own at the committed offset, goes on from it.
    """
    switches = [entry for entry in switches if entry.document is not None]
    steps = [then, *(Detection.journaled(entry, detection.key) for entry in switches)]
    offsets = [at, *(entry.offset for entry in switches), committed]
    keys = [step.key_fingerprint for step in steps]
    missing = [
        key
        for key, start, stop in zip(keys, offsets[:-1], offsets[1:], strict=True)
        if key != detection.key_fingerprint and start < stop
    ]
    if keys[-1] != detection.key_fingerprint:
        # The worker's own config follows at once, unless it is the older one.
        missing += keys[-1:] if steps[-1].config.generation > detection.config.generation else []
    if missing:
        raise StateUnavailableError(
            f"the replay needs the source key with fingerprint {missing[0]}; configured is "
            f"{detection.key_fingerprint}"
        )
