"""Which journaled configs are in force, where a journal holds some whose commit never came."""

from __future__ import annotations

from schemas.commands import Withdraw
from schemas.config import DetectionConfig
from streams.lineage import JournaledCommand, JournalEntry, Lineage, Metadata
from streams.recovery import in_force

LINEAGE = Lineage(deployment="d", topic_id="t", partition=0, start_offset=0, n_resets=0, parent="")


def entry(kind: str, offset: int, generation: int, follows: int = 0) -> JournalEntry:
    return JournalEntry.model_validate(
        {
            "kind": kind,
            "lineage": LINEAGE,
            "offset": offset,
            "generation": generation,
            "config": f"config {generation}",
            "versions": {},
            "document": DetectionConfig(generation=generation),
            "follows": follows,
        }
    )


def committed(generation: int, config_from: int) -> Metadata:
    return Metadata(
        lineage=LINEAGE,
        generation=generation,
        config=f"config {generation}",
        config_from=config_from,
        n_events=0,
        n_alerts=0,
        n_dead=0,
        checkpoint=-1,
        digest="",
        digest_offset=-1,
    )


def test_all_are_where_each_was_committed() -> None:
    journal = [entry("lineage", 0, 1), entry("config", 5, 2, 1), entry("config", 5, 4, 2)]
    assert in_force(journal, LINEAGE, committed(4, 5)) == journal
    assert in_force(journal, LINEAGE, committed(2, 5)) == journal[:2]


def test_a_change_that_was_journaled_alone_is_passed_over() -> None:
    begin, alone, next_one = (
        entry("lineage", 0, 1),
        entry("config", 69, 2, 1),
        entry("config", 69, 3, 1),
    )
    assert in_force([begin, alone, next_one], LINEAGE, committed(3, 69)) == [begin, next_one]
    assert in_force([begin, alone], LINEAGE, committed(1, 0)) == [begin]
    later = entry("config", 80, 2, 1)
    assert in_force([begin, alone, later], LINEAGE, committed(2, 80)) == [begin, later]


def test_a_beginning_that_somebody_thought_dead_journals_late_is_passed_over() -> None:
    begin, change = entry("lineage", 0, 1), entry("config", 5, 2, 1)
    assert in_force([begin, change, begin], LINEAGE, committed(2, 5)) == [begin, change]


def test_a_lineage_that_is_begun_again_is_the_one_that_was_committed() -> None:
    alone, begin = entry("lineage", 0, 1), entry("lineage", 0, 2)
    assert in_force([alone, begin], LINEAGE, committed(2, 0)) == [begin]


def test_a_beginning_that_is_journaled_late_stands_before_the_commands_that_came_meanwhile() -> (
    None
):
    begin = entry("lineage", 0, 1)
    command = JournaledCommand(
        number=1,
        topic_id="c",
        offset=0,
        said_ms=0,
        order=Withdraw(command_id="a", withdraws="b"),
    )
    said = begin.model_copy(
        update={"kind": "command", "offset": 7, "document": None, "command": command}
    )
    known = committed(1, 0).model_copy(update={"n_commands": 1})
    second = JournaledCommand.model_validate({**command.model_dump(), "number": 2})
    then = said.model_copy(update={"command": second})
    late, both = said.model_copy(update={"offset": 3}), known.model_copy(update={"n_commands": 2})
    # Whoever journaled the second command knew of the first one where it stands before it.
    assert in_force([begin, late, said, then, late], LINEAGE, both) == [begin, said, then]
    assert in_force([begin, said, begin], LINEAGE, known) == [begin, said]
    assert in_force([begin, said, said], LINEAGE, known) == [begin, said]
    assert in_force([begin, said], LINEAGE, committed(1, 0)) == [begin]
