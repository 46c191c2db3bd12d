"""`driftsentry window export`: the events of a retraining request, as a file to train on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import ValidationError

from schemas.records import Record
from schemas.retraining import RetrainingData
from streams.incident_names import UnknownNameError, id_prefix, one_named
from streams.retraining_gate import WindowFacts
from streams.window_facts import WindowWish
from streams.window_files import Writer
from streams.window_reader import Decoder, EventReader, read_window, window_records
from streams.window_rows import training_rows


class RequestError(Exception):
    """There is no such request, or more than one, or none that can be understood."""


class OtherWindowError(Exception):
    """The events are not those that the request was released for."""


class NothingToTrainOnError(Exception):
    """No prediction of the window has a label that may be used."""


class CompactedReader(Protocol):
    """What is needed of the retraining topic: `streams.audit_reader.AuditReader` has it."""

    def latest(self, topic: str, prefix: bytes) -> Mapping[bytes, bytes]:
        """By key that begins so, the value of its latest committed record. Raises `LogError`."""


class Exported(NamedTuple):
    """What was written."""

    n_rows: int
    facts: WindowFacts


def find_request(reader: CompactedReader, topic: str, typed: str) -> RetrainingData:
    """The request that a person means, as it is now: `typed` is its id, or the beginning of it.

    Raises `RequestError`, `LogError`, `KafkaException`.
    """
    try:
        prefix = id_prefix(typed, "request")
        values = reader.latest(topic, prefix.encode())
        known = {key.decode(errors="replace"): value for key, value in values.items()}
        value = one_named(prefix, known, "request")
    except UnknownNameError as error:
        raise RequestError(str(error)) from None
    try:
        return RetrainingData.model_validate_json(value)
    except ValidationError as error:
        raise RequestError(
            f"{topic}: the record of {prefix} is no retraining request: "
            f"{error.error_count()} fields are wrong or missing. Is it of another version?"
        ) from None


def export_window(
    reader: EventReader, request: RetrainingData, decoder: Decoder, writer: Writer, path: Path
) -> Exported:
    """Write what may be trained on of a request's window, by the log's order.

    The window is read twice: once to join labels, once for what rows hold. Raises
    `NothingToTrainOnError`, `OtherWindowError`, what `read_window` and `writer` raise.
    """
    wish = WindowWish(
        request.model_id, request.model_version, request.window, tuple(request.quarantine)
    )
    events = read_window(reader, wish, decoder)
    pairs = events.pairs()
    facts = events.facts(pairs)
    _require_same(request, facts)
    if not facts.n_labels:
        raise NothingToTrainOnError(
            f"none of the {facts.n_predictions:,} predictions of {request.model_id} "
            f"{request.model_version} in the window has a label in it that may be used"
        )

    def records() -> Iterator[Record]:
        for some in window_records(reader, wish):
            yield from some

    return Exported(writer(training_rows(pairs, records()), path), facts)


def _require_same(request: RetrainingData, facts: WindowFacts) -> None:
    """A window that was settled is the same for ever, where it is read by the same rules."""
    said = request.window
    if said.n_predictions is None:
        return
    wanted = said.n_predictions, said.n_labels, said.n_quarantined
    found = facts.n_predictions, facts.n_labels, facts.n_quarantined
    if found != wanted:
        raise OtherWindowError(
            "the request speaks of {} predictions, {} labels and {} left out, and the window has "
            "{}, {} and {}: either {} is another topic of that name by now, or the detection "
            "config or the source key here is not that of the responder".format(
                *wanted, *found, said.topic
            )
        )
