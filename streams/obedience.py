"""What has been said on the commands topic, and which of it is still to be done in a partition.

A process reads the topic from its beginning. How far a partition has listened stands in the
metadata of its commits, so that whoever takes the partition up goes on behind that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import structlog

from detectors.reference_document import monitor_of
from detectors.security.calibration_document import calibration_of
from schemas.batch import ModelKey
from schemas.calibration import BadCalibrationError
from schemas.commands import (
    Acknowledge,
    Command,
    CommandError,
    Order,
    RunOut,
    SetCalibration,
    SetReference,
    Withdraw,
    read_command,
)
from schemas.reference import BadReferenceError
from schemas.responses import is_response
from streams.lineage import CommandPlace, JournaledCommand, JournalEntry
from streams.ports import CommandLog, SaidRecord
from streams.worker import PartitionWorker

log = structlog.get_logger(__name__)

MAX_HEARD: Final = 10_000
"""Commands that are kept in memory, the latest ones."""
MAX_HEARD_BYTES: Final = 64 * 2**20
"""Of the records of all of them: references are large."""


@dataclass(slots=True)
class Obedience:
    """The commands that this process has heard of, in their order."""

    commands: CommandLog
    n_heard: int = 0
    """Since the process began."""
    n_refused: int = 0
    """Records that are no commands."""
    _heard: deque[tuple[SaidRecord, Command]] = field(default_factory=deque)
    _n_bytes: int = 0

    def listen(self) -> None:
        """Read what has been said since the last time."""
        for record in self.commands.read():
            if is_response(record.value):
                # For the responder, which reads the same topic.
                continue
            try:
                command = _read(record.value)
            except (CommandError, BadReferenceError, BadCalibrationError) as error:
                self.n_refused += 1
                log.warning(
                    "a record of the commands topic is no command: it is passed over",
                    offset=record.offset,
                    reason=str(error),
                )
                continue
            self._heard.append((record, command))
            self.n_heard += 1
            self._n_bytes += len(record.value or b"")
        n_before = len(self._heard)
        while len(self._heard) > MAX_HEARD or self._n_bytes > MAX_HEARD_BYTES:
            self._n_bytes -= len(self._heard.popleft()[0].value or b"")
        if len(self._heard) < n_before:
            log.warning("the oldest commands are not remembered", kept=len(self._heard))

    def obey(self, worker: PartitionWorker) -> list[JournalEntry]:
        """Do all there is to do; the journal records that must be committed with what comes of it.

        The worker stands at a barrier: everything that it has folded is committed.
        """
        entries: list[JournalEntry] = []
        for said, order in chain(self._new(worker), _run_out(worker)):
            if why := worker.refusal(order):
                log.warning(
                    "a command cannot be obeyed: it is passed over",
                    partition=str(worker.tp),
                    command=order.command_id,
                    reason=why,
                )
                continue
            if not _is_timely(order, worker) or not worker.concerns(order):
                # Of an alert only one partition knows, and what is over by now is so everywhere.
                log.debug(
                    "a command changes nothing here",
                    partition=str(worker.tp),
                    command=order.command_id,
                )
                continue
            command = JournaledCommand(
                number=worker.n_commands + 1,
                topic_id="" if said is None else said.topic_id,
                offset=-1 if said is None else said.offset,
                said_ms=worker.work.watermark_ms if said is None else said.timestamp_ms,
                order=order,
            )
            entries.append(worker.journal_entry("command", command=command))
            worker.obey(command, worker.next_offset, tells=True)
        return entries

    def _new(self, worker: PartitionWorker) -> Iterator[tuple[SaidRecord, Command]]:
        """What this partition has not heard yet; it has now."""
        topic_id, offset = worker.heard
        start = 0
        for at, (record, _) in enumerate(self._heard):
            if record.topic_id == topic_id and record.offset <= offset:
                start = at + 1
        new = list(self._heard)[start:]
        if new:
            last = new[-1][0]
            worker.heard = CommandPlace(last.topic_id, last.offset)
        yield from new


def _read(value: bytes | None) -> Command:
    """The command in a record's value, one that can be obeyed."""
    command = read_command(value)
    if isinstance(command, SetReference):
        monitor_of(command.document, ModelKey(command.model_id, command.model_version))
    elif isinstance(command, SetCalibration):
        calibration_of(command.document)
    return command


def has_run_out(worker: PartitionWorker) -> bool:
    """Whether the time of an order that is in force here is over."""
    return bool(worker.work.run_out())


def _run_out(worker: PartitionWorker) -> Iterator[tuple[None, RunOut]]:
    for name in worker.work.run_out():
        yield None, RunOut(command_id=name)


def _is_timely(order: Order, worker: PartitionWorker) -> bool:
    """Whether its time is not over before it has begun."""
    if isinstance(order, Acknowledge | Withdraw | RunOut | SetReference | SetCalibration):
        return True
    return order.until_ms > worker.work.watermark_ms
