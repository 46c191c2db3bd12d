"""Where versions are found to begin: at places of the log, whoever looks and when."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import Record
from schemas.responder_config import RollbackConfig
from streams.incident_reasons import Beginning, beginnings
from streams.responder_ports import FoldPlace
from streams.version_reader import Look, looks
from tests.streams.rollback_kit import CONFIG, LINEAGE, MODEL, Place, ask, run, served

FOLD = FoldPlace(0, LINEAGE)
ALL = CONFIG.model_copy(update={"look_offsets": 100})


def begun(place: Place) -> list[Beginning]:
    return beginnings(run(place.store.read(MODEL)).said)


def test_a_version_begins_at_its_first_prediction() -> None:
    place = Place([*served(0, 500, "7"), *served(1_000, 500, "8")])
    place.settle(2_000)
    assert begun(place) == [Beginning(0, "7", 0, LINEAGE), Beginning(0, "8", 1_000, LINEAGE)]
    again = place.store.shared.kept[MODEL].version
    place.settle(2_000)
    assert place.store.shared.kept[MODEL].version == again


def test_its_first_event_is_looked_for_in_what_was_not_read() -> None:
    """Blocks of 40 in 100 are read; it begins before the one in which it is seen."""
    place = Place([*served(0, 510, "7"), *served(1_020, 500, "8")])
    place.settle(1_100)
    assert begun(place)[-1] == Beginning(0, "8", 1_020, LINEAGE)


def test_of_several_models_and_partitions_each_has_its_own() -> None:
    records = [
        *served(0, 500, "7"),
        *served(0, 300, "7", partition=1),
        *served(600, 200, "8", partition=1),
        *served(1_000, 100, "7", model_id="other"),
    ]
    place = Place(records)
    place.settle(1_200, 1_000)
    assert begun(place) == [
        Beginning(0, "7", 0, LINEAGE),
        Beginning(1, "7", 0, LINEAGE),
        Beginning(1, "8", 600, LINEAGE),
    ]
    assert [each.model_id for each in run(place.store.models())] == ["churn", "other"]


def test_labels_begin_nothing() -> None:
    place = Place([each for each in served(0, 200, "7") if each.offset % 2])
    place.settle(400)
    assert run(place.store.models()) == []


def test_what_retention_removed_is_passed_over() -> None:
    found = list(looks(None, 1_400, 1_150, CONFIG))
    assert found == [
        Look(1_150, 1_160, 1_200),
        Look(1_200, 1_260, 1_300),
        Look(1_300, 1_360, 1_400),
    ]
    assert list(looks(1_300, 1_399, 0, CONFIG)) == []


@pytest.mark.parametrize("config", [CONFIG, ALL])
def test_so_much_at_a_time_and_nothing_is_settled_before_it_was_looked_at(
    config: RollbackConfig,
) -> None:
    place = Place(served(0, 4_000, "7"), config)
    assert run(place.versions.look({FOLD: 7_950}, ask)) == {FOLD: 5_000}
    assert run(place.versions.look({FOLD: 7_950}, ask)) == {FOLD: 7_950}
    assert run(place.store.scanned()) == {FOLD: 7_900}


_switches = st.lists(st.tuples(st.integers(1, 300), st.sampled_from("789")), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(_switches, st.integers(0, 2**32), st.integers(40, 100))
def test_everybody_finds_the_same_wherever_they_stop(
    switches: list[tuple[int, str]], seed: int, look_offsets: int
) -> None:
    records: list[Record] = []
    for n, version in switches:
        records += served(2 * (len(records) // 2), n, version)
    end = len(records)
    config = CONFIG.model_copy(update={"look_offsets": look_offsets})
    whole = Place(records, config)
    whole.settle(end)
    chance = random.Random(seed)
    one = Place(records, config)
    two = Place(records, config, store=one.store, topic=one.topic, name="b")
    at = 0
    while at < end:
        at = min(end, at + chance.randrange(1, 300))
        for place in chance.sample([one, two], chance.randrange(1, 3)):
            place.settle(at)
    one.settle(end)
    assert begun(one) == begun(whole)
    assert one.topic.compacted() == whole.topic.compacted()
