"""A reference that a person sets: read, obeyed once, journaled whole, replayed, told of."""

from __future__ import annotations

from itertools import count

import pytest

from schemas.alerts import AlertData
from schemas.commands import (
    MAX_COMMAND_BYTES,
    MAX_SET_BYTES,
    CommandError,
    SetReference,
    read_command,
)
from schemas.config import PolicyConfig
from schemas.reference import MAX_REFERENCE_BYTES
from streams import obedience
from streams.checkpoint import state_digest
from streams.lineage import JournalEntry, LineageError, load_journal
from streams.obedience import Obedience
from streams.policy import Policy
from streams.ports import SaidRecord
from streams.worker import PartitionWorker
from tests.streams.events import TP
from tests.streams.policy_kit import decide, finding, policy
from tests.streams.reference_kit import reference, set_reference
from tests.streams.test_orders import mute, obey
from tests.streams.test_worker import DETECTION, LINEAGE, STREAM, TOPICS, worker


class Said:
    """A commands topic: what is on it, read once."""

    def __init__(self, *values: bytes) -> None:
        self._numbers = count()
        self._records: list[SaidRecord] = []
        self.say(*values)

    def say(self, *values: bytes) -> None:
        self._records += [SaidRecord("c", next(self._numbers), 77, value) for value in values]

    def read(self) -> list[SaidRecord]:
        records, self._records = self._records, []
        return records

    def close(self) -> None:
        """Nothing to close."""


def value_of(command: SetReference) -> bytes:
    return command.model_dump_json().encode()


def test_alerts_against_the_old_reference_are_resolved_and_later_ones_are_new() -> None:
    own = policy()
    (first,) = decide(own, finding(5_000))
    (kept,) = decide(own, finding(5_000, version="8"))
    (ended,) = obey(own, set_reference(reference(), version="7"))
    assert (ended.alert_id, ended.revision, ended.status) == (first.alert_id, 2, "resolved")
    assert (ended.resolution, ended.trigger_offset) == ("new_reference", 20_000)
    assert ended.message.endswith("is over at offset 20000: a new reference was set there.")
    assert list(own.book.episodes) == [kept.alert_id]
    (again,) = decide(
        Policy(PolicyConfig(), "lineage", "deployment", 3, own.snapshot()), finding(5_010)
    )
    assert (again.revision, again.status) == (1, "opened")
    assert again.alert_id != first.alert_id
    assert obey(policy(), set_reference(reference(), version="7")) == []


def test_of_what_a_mute_held_back_nothing_is_told() -> None:
    own = policy()
    obey(own, mute())
    assert decide(own, finding(5_000, ts=50)) == []
    assert obey(own, set_reference(reference(), version="7")) == []
    assert not own.book.episodes


def test_it_is_read_up_to_its_size_and_only_with_its_own_digest() -> None:
    document = reference()
    command = set_reference(document)
    assert len(value_of(command)) < MAX_REFERENCE_BYTES
    assert read_command(value_of(command)) == command
    other = value_of(command).replace(document.digest.encode(), b"0" * 32)
    with pytest.raises(CommandError, match="`digest` must be that of `document`"):
        read_command(other)
    with pytest.raises(CommandError, match=f"at most {MAX_SET_BYTES} bytes"):
        read_command(b'{"kind":"reference"}' + b" " * 1_000_000)
    with pytest.raises(CommandError, match=f"at most {MAX_COMMAND_BYTES} bytes"):
        read_command(
            mute().model_copy(update={"by": '"reference"'}).model_dump_json().encode()
            + b" " * MAX_COMMAND_BYTES
        )
    wide = document.model_copy(
        update={
            "arrays": {
                **document.arrays,
                "x": document.arrays["scale"].model_copy(
                    update={"data": "A" * MAX_REFERENCE_BYTES}
                ),
            }
        }
    )
    with pytest.raises(CommandError, match="leave features out"):
        read_command(
            b'{"kind":"reference","command_id":"c","model_id":"m","model_version":"1","digest":"'
            + b"0" * 32
            + b'","document":'
            + wide.canonical()
            + b"}"
        )


def test_it_is_obeyed_once_and_journaled_with_what_comes_of_it() -> None:
    own, log = worker(), Said()
    own.process(STREAM)
    n_before = own.n_alerts
    n_open = sum(each.is_live for each in own.policy.book.of_model(("m0", "1", -1)))
    assert n_open
    own.take_outputs()
    listening = Obedience(log)
    document = reference("m0")
    log.say(
        value_of(set_reference(document, "r1", "m0")), value_of(set_reference(document, "r2", "m0"))
    )
    listening.listen()
    (entry,) = listening.obey(own)
    assert entry.command is not None
    assert entry.command.order.command_id == "r1"
    alerts = [AlertData.model_validate_json(each.value) for each in own.take_outputs()]
    assert [a.resolution for a in alerts] == ["new_reference"] * n_open
    assert own.n_alerts == n_before + n_open
    # Another one hears the second again, where the commit that says so never came.
    again = PartitionWorker(TP, LINEAGE, DETECTION, 0, TOPICS, own.checkpoint())
    log.say(value_of(set_reference(document, "r2", "m0")))
    listening.listen()
    assert listening.obey(again) == []


def test_a_replay_needs_the_journal_alone() -> None:
    at = len(STREAM) // 2
    own, log = worker(), Said(value_of(set_reference(reference("m1", "9"), "r0", "m1", "9")))
    listening = Obedience(log)
    listening.listen()
    entries = listening.obey(own)
    own.process(STREAM[:at])
    log.say(value_of(set_reference(reference("m0"), "r1", "m0")))
    listening.listen()
    entries += listening.obey(own)
    own.process(STREAM[at:])
    outputs = own.take_outputs()

    replay = PartitionWorker(TP, LINEAGE, DETECTION, 0, TOPICS)
    replay.switches = load_journal([entry.dump() for entry in entries])
    replay.tells_again = True
    replay.process(STREAM)
    assert replay.take_outputs() == outputs
    assert state_digest(replay.parts()) == state_digest(own.parts())
    resumed = PartitionWorker(TP, LINEAGE, DETECTION, 0, TOPICS, own.checkpoint())
    assert state_digest(resumed.parts()) == state_digest(own.parts())


def contradictory() -> SetReference:
    document = reference().model_copy(update={"kinds": [255, 255]})
    return set_reference(document)


def test_one_that_contradicts_itself_is_passed_over_and_is_no_journal() -> None:
    listening = Obedience(Said(value_of(contradictory()), b"{"))
    listening.listen()
    assert (listening.n_heard, listening.n_refused) == (0, 2)
    own = worker()
    log = Said(value_of(set_reference(reference())))
    listening = Obedience(log)
    listening.listen()
    (entry,) = listening.obey(own)
    assert entry.command is not None
    command = entry.command.model_copy(update={"order": contradictory()})
    with pytest.raises(LineageError, match="a feature has no kind"):
        load_journal([entry.model_copy(update={"command": command}).dump()])


def test_what_is_heard_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    value = value_of(set_reference(reference()))
    monkeypatch.setattr(obedience, "MAX_HEARD_BYTES", 2 * len(value))
    listening = Obedience(Said(*[value] * 5))
    listening.listen()
    assert listening.n_heard == 5
    own: list[JournalEntry] = listening.obey(worker())
    assert [e.command.offset for e in own if e.command] == [3]
