"""A calibration that a person sets: read, obeyed once by the security duty alone, replayed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from detectors.security.calibration_document import calibration_of
from schemas.commands import (
    MAX_COMMAND_BYTES,
    MAX_SET_BYTES,
    CommandError,
    SetCalibration,
    read_command,
)
from streams.checkpoint import state_digest
from streams.duties import FormerKey, SecurityWork
from streams.lineage import JournalEntry, LineageError, load_journal
from streams.obedience import Obedience
from streams.worker import Detection, PartitionWorker
from tests.streams.calibration_kit import (
    CONFIG,
    KEY,
    LINEAGE,
    OTHER_KEY,
    TOPICS,
    attack,
    benign,
    calibration,
    security_worker,
    set_calibration,
)
from tests.streams.events import TP
from tests.streams.reference_kit import reference, set_reference
from tests.streams.test_set_reference import Said
from tests.streams.test_worker import worker as drift_worker

STREAM = benign(900, seed=7) + attack(300, 900)
AT = 500


def value_of(command: SetCalibration) -> bytes:
    return command.model_dump_json().encode()


def work_of(worker: PartitionWorker) -> SecurityWork:
    assert isinstance(worker.work, SecurityWork)
    return worker.work


def provisional(worker: PartitionWorker) -> list[bool]:
    """Of each anomaly in the outbox whether it says that it is."""
    outputs: list[Any] = [orjson.loads(each.value) for each in worker.take_outputs()]
    return [each["unmapped"]["is_provisional"] for each in outputs]


def set_on_the_way() -> tuple[PartitionWorker, list[JournalEntry]]:
    """A worker that hears of a calibration when it stands at `AT`, and goes on to the end."""
    own = security_worker()
    own.process(STREAM[:AT])
    listening = Obedience(Said(value_of(set_calibration(calibration()))))
    listening.listen()
    assert listening.n_refused == 0
    entries = listening.obey(own)
    own.process(STREAM[AT:])
    return own, entries


def test_it_is_read_up_to_its_size_and_only_with_its_own_digest() -> None:
    document = calibration(n_batch=600)
    command = set_calibration(document)
    assert len(value_of(command)) > MAX_COMMAND_BYTES
    assert read_command(value_of(command)) == command
    with pytest.raises(CommandError, match="`digest` must be that of `document`"):
        read_command(value_of(command).replace(document.digest.encode(), b"0" * 32))
    with pytest.raises(CommandError, match=f"at most {MAX_SET_BYTES} bytes"):
        read_command(b'{"kind":"calibration"}' + b" " * 1_000_000)


def test_a_worker_judges_by_it_from_that_offset_on_and_a_replay_does_the_same() -> None:
    own, entries = set_on_the_way()
    (entry,) = entries
    assert (entry.kind, entry.offset) == ("command", AT)
    outputs = list(own.outbox)
    said = provisional(own)
    assert said
    assert not any(said)
    in_force = work_of(own).fold.calibration(0)
    assert in_force is not None
    assert in_force.is_reviewed

    without = security_worker()
    without.process(STREAM)
    first = work_of(without).fold.calibration(0)
    assert first is not None
    assert not first.is_reviewed
    assert all(provisional(without))
    assert state_digest(without.parts()) != state_digest(own.parts())

    replay = security_worker()
    replay.switches = load_journal([entry.dump()])
    replay.tells_again = True
    replay.process(STREAM)
    assert replay.take_outputs() == outputs
    assert state_digest(replay.parts()) == state_digest(own.parts())
    resumed = PartitionWorker(
        TP, LINEAGE, Detection(CONFIG, KEY, "security"), 0, TOPICS, own.checkpoint()
    )
    assert state_digest(resumed.parts()) == state_digest(own.parts())


def test_a_version_that_has_sent_nothing_has_it_from_its_first_event_on() -> None:
    own = security_worker()
    listening = Obedience(Said(value_of(set_calibration(calibration()))))
    listening.listen()
    assert len(listening.obey(own)) == 1
    own.process(STREAM[:10])
    in_force = work_of(own).fold.calibration(0)
    assert in_force is not None
    assert in_force.is_reviewed


def test_the_same_again_changes_nothing_and_another_one_does() -> None:
    own = security_worker()
    log = Said(*(value_of(set_calibration(calibration(), name)) for name in ("c1", "c2")))
    listening = Obedience(log)
    listening.listen()
    (entry,) = listening.obey(own)
    assert entry.command is not None
    assert entry.command.order.command_id == "c1"
    log.say(value_of(set_calibration(calibration(seed=4), "c3")))
    listening.listen()
    assert len(listening.obey(own)) == 1


def test_each_duty_passes_over_what_is_said_to_the_other() -> None:
    own, drift = security_worker(), drift_worker()
    listening = Obedience(
        Said(
            set_reference(reference("m0"), "r1", "m0").model_dump_json().encode(),
            value_of(set_calibration(calibration(), "c1")),
        )
    )
    listening.listen()
    of_drift = [each.command.order.command_id for each in listening.obey(drift) if each.command]
    of_security = [each.command.order.command_id for each in listening.obey(own) if each.command]
    assert (of_drift, of_security) == (["r1"], ["c1"])
    before = state_digest(drift.parts())
    order = set_calibration(calibration())
    assert drift.work.obey(order, 0, 0, lambda: 1) == []
    assert state_digest(drift.parts()) == before


def test_thresholds_of_another_source_key_are_refused_where_they_depend_on_it() -> None:
    salted = calibration(regions=True)
    assert (salted.is_salted, salted.source_key) == (True, KEY.fingerprint)
    assert not calibration().is_salted
    listening = Obedience(
        Said(
            value_of(set_calibration(salted, "c1")),
            value_of(set_calibration(calibration(), "c2")),
        )
    )
    listening.listen()
    for key in (OTHER_KEY, None):
        entries = listening.obey(security_worker(key))
        assert [each.command.order.command_id for each in entries if each.command] == ["c2"]
    assert len(listening.obey(security_worker())) == 2
    own = security_worker(OTHER_KEY)
    assert "calibrate with the worker's key" in own.refusal(set_calibration(salted))


NEXT = CONFIG.model_copy(update={"generation": 2})


@pytest.mark.parametrize("is_restarted", [False, True])
def test_under_another_source_key_what_depends_on_none_stays_in_force(is_restarted: bool) -> None:
    salted = calibration(regions=True)
    own = security_worker()
    own.process(STREAM[:AT])
    for order in (
        set_calibration(salted, "c1", "salted"),
        set_calibration(calibration(), "c2"),
        set_calibration(calibration(seed=4), "c3", "later"),
    ):
        work_of(own).obey(order, AT, 0, lambda: 1)
    if is_restarted:
        former = Detection(CONFIG, FormerKey(KEY.fingerprint), "security")
        own = PartitionWorker(TP, LINEAGE, former, 0, TOPICS, own.checkpoint())
    own.switch(Detection(NEXT, OTHER_KEY, "security"), AT)
    fold = work_of(own).fold
    assert not work_of(own).concerns(set_calibration(calibration(), "c4"))
    assert not work_of(own).concerns(set_calibration(calibration(seed=4), "c5", "later"))
    assert not fold.has_calibration("salted", "1", calibration_of(salted))
    own.process(STREAM[AT:])
    in_force = fold.calibration(0)
    assert in_force is not None
    assert in_force.is_reviewed
    said = provisional(own)
    assert said
    assert not any(said)

    live = security_worker()
    live.process(STREAM[:AT])
    for model, seed in (("m", 1), ("later", 4)):
        work_of(live).obey(set_calibration(calibration(seed=seed), "c", model), AT, 0, lambda: 1)
    live.switch(Detection(NEXT, OTHER_KEY, "security"), AT)
    live.process(STREAM[AT:])
    assert state_digest(live.parts()) == state_digest(own.parts())


def contradictory() -> SetCalibration:
    document = calibration()
    own = document.kinds[0]
    arrays = {n: a for n, a in own.detectors["neighbours"].items() if n != "near"}
    kind = own.model_copy(update={"detectors": {**own.detectors, "neighbours": arrays}})
    return set_calibration(document.model_copy(update={"kinds": [kind]}))


def test_one_that_no_detector_takes_is_passed_over_and_is_no_journal() -> None:
    listening = Obedience(Said(value_of(contradictory()), b"{"))
    listening.listen()
    assert (listening.n_heard, listening.n_refused) == (0, 2)
    listening = Obedience(Said(value_of(set_calibration(calibration()))))
    listening.listen()
    (entry,) = listening.obey(security_worker())
    assert entry.command is not None
    command = entry.command.model_copy(update={"order": contradictory()})
    broken = entry.model_copy(update={"command": command})
    with pytest.raises(LineageError, match=r"detectors\.neighbours"):
        load_journal([broken.dump()])


def test_the_journal_of_another_release_can_still_be_read() -> None:
    document = calibration()
    versions = dict.fromkeys(document.versions, 999)
    older = set_calibration(document.model_copy(update={"versions": versions}))
    listening = Obedience(Said(value_of(older), value_of(set_calibration(document, "c2"))))
    listening.listen()
    assert listening.n_refused == 1
    (entry,) = listening.obey(security_worker())
    assert entry.command is not None
    command = entry.command.model_copy(update={"order": older})
    entry = entry.model_copy(update={"command": command})
    assert load_journal([entry.dump()]) == [entry]
