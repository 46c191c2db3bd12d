"""Anomalies as sentences that a person understands, and what to do about them."""

from __future__ import annotations

from typing import Final, NamedTuple

from detectors.security.base import Technique
from schemas.source_hash import pseudonym
from streams.anomaly import NAMELESS, Anomaly
from streams.sentences import model_name


class Words(NamedTuple):
    """How one technique is told of."""

    title: str
    does: str
    """What the sources do, after "may be"; or, of an exposure, what they have."""
    action: str
    severity_id: int
    """In OCSF's numbers, where confidence is not low."""


_LOOK: Final = "Resolve the source, and ask its owner what it does. "
_LIMIT: Final = "Until then limit how many queries it has, without telling it why."

TOLD: Final[dict[Technique, Words]] = {
    Technique.PROBING: Words(
        "Search for the decision boundary",
        "searching for the decision boundary by queries that hardly differ",
        f"{_LOOK}Check the decisions that it got while it searched: the last ones may be evasions. "
        f"{_LIMIT}",
        4,
    ),
    Technique.EXTRACTION: Words(
        "Extraction of the model",
        "copying the model by its answers",
        f"{_LOOK}Return classes in place of scores where that will do. {_LIMIT}",
        4,
    ),
    Technique.INVERSION: Words(
        "Inversion of the model",
        "climbing the score of a class to see what the model holds typical of it",
        f"{_LOOK}Return classes in place of scores, or round the scores. {_LIMIT}",
        4,
    ),
    Technique.MEMBERSHIP: Words(
        "Search for members of the training data",
        "asking which records the model was trained on",
        f"{_LOOK}Tell who answers for personal data: what leaks is whether a person was in the "
        f"training data. {_LIMIT}",
        4,
    ),
    Technique.OFF_DISTRIBUTION: Words(
        "Queries unlike the model's traffic",
        "sending made-up queries, as one does to copy a model or to fool it",
        f"{_LOOK}A new kind of client, or a broken one, looks the same: if it is honest, give it a "
        "calibration of its own.",
        3,
    ),
    Technique.LABEL_POISONING: Words(
        "Poisoned labels",
        "sending labels that contradict confident predictions far more often than others do",
        "Keep its labels out of training (`unmapped.quarantine`) until somebody has checked a "
        "sample of them by hand; then resolve the source and ask.",
        4,
    ),
    Technique.BACKDOOR: Words(
        "Backdoor in the labels",
        "teaching the model to answer with one class whenever a slice is met",
        "Do not train on these records (`unmapped.quarantine`). Compare the model on the slice "
        "with one from before, and resolve the sources.",
        5,
    ),
    Technique.FROG_BOILING: Words(
        "Slow pull on the baseline",
        "pulling the baseline away in steps too small to be seen",
        "Do not renew references, and do not retrain, from these records (`unmapped.quarantine`) "
        "until the source is resolved and has explained itself.",
        3,
    ),
    Technique.VOLUME: Words(
        "Far more queries than usual",
        "sending far more queries than it used to",
        "Check its quota, and whether a job runs wild; then the bill. " + _LOOK,
        2,
    ),
    Technique.CHAFF: Words(
        "Chaff",
        "sending noise, so that what matters is not seen in it",
        "Look at what else is open for this model: chaff is sent to hide something. " + _LOOK,
        3,
    ),
    Technique.PRESSURE: Words(
        "Flood of source names",
        "using so many names that not all of them can be followed",
        "Find out who makes the names, and let an authenticated one stand in `source`. More are "
        "followed with a larger `security.max_sources`.",
        3,
    ),
    Technique.DATA_CHANGE: Words(
        "Change of the data, or a deployment",
        "sending values that hardly ever came, or one value in place of many",
        "Look for a deployment or a broken feed of the model's features. What is found of rows "
        "that changed with it is held back until the data is as before, or calibrated anew.",
        2,
    ),
}
EXPOSED: Final = Words(
    "Exposure of the model",
    "has seen more of the model than others of its age",
    "Nothing needs to be done: an honest client that asks much looks the same. Look at it before "
    "its quota is raised.",
    1,
)


def words_of(anomaly: Anomaly) -> Words:
    """How this one is told of."""
    return EXPOSED if anomaly.kind.is_exposure else TOLD[anomaly.kind.technique]


def title(anomaly: Anomaly, partition: int) -> str:
    """A few words: what, and of which model."""
    return f"{words_of(anomaly).title}: {subject_name(anomaly, partition)}"


def subject_name(anomaly: Anomaly, partition: int) -> str:
    """The model, or the partition, that it is about."""
    model = anomaly.kind.model
    return f"partition {partition}" if model is None else model_name(*model)


def sentence(anomaly: Anomaly, partition: int) -> str:
    """The anomaly as one sentence; what a person reads first."""
    told = words_of(anomaly)
    verb = told.does if anomaly.kind.is_exposure else f"may be {told.does}"
    detectors = list(anomaly.seen)
    found = " and ".join([", ".join(detectors[:-1])] * (len(detectors) > 1) + detectors[-1:])
    n = anomaly.n_evidence
    first, last = anomaly.ranges[0][0], anomaly.ranges[-1][1]
    what = f" ({'; '.join(anomaly.details)})" if _has_details(anomaly) else ""
    unsure = ", by a calibration that nobody has reviewed" if anomaly.is_provisional else ""
    return (
        f"{subject_name(anomaly, partition)}: {_who(anomaly)} {verb}{what}: {n:,} "
        f"event{'' if n == 1 else 's'} of evidence between offsets {first} and {last}, found by "
        f"{found}{unsure}."
    )


def _has_details(anomaly: Anomaly) -> bool:
    return bool(anomaly.details) and not anomaly.kind.is_exposure


def _who(anomaly: Anomaly) -> str:
    if not anomaly.is_cluster:
        words = anomaly.sources[0]
        return "what has no source" if words == NAMELESS else f"source {pseudonym(words)[:12]}"
    if anomaly.n_sources:
        return f"{anomaly.n_sources:,} sources together"
    if anomaly.kind.technique == Technique.DATA_CHANGE:
        return "many sources at once"
    return "somebody"
