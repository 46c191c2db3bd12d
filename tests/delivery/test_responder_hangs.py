"""A responder that hangs is started again, and a rebuild that was killed is run again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from tests.delivery.kit import WAIT_S, WorkerProcess, wait_until
from tests.delivery.odd_responder import SUPERVISED
from tests.delivery.responding import Responders, Town
from tests.delivery.test_responder import (
    check_requests,
    members,
    undisturbed,
    wait_alike,
    write_all,
)


@pytest.fixture
def town(kafka: str, redis_url: str, tmp_path: Path) -> Iterator[Town]:
    with Town(kafka, redis_url, tmp_path) as made:
        yield made


def after(process: WorkerProcess, said: str) -> str:
    """What it has said since it said this for the first time."""
    return process.text().partition(said)[2]


@pytest.mark.parametrize(
    ("how", "said"),
    [("awaits", "nothing was committed for 10 s"), ("blocks", "its event loop stands still")],
)
def test_an_agent_that_hangs_ends_the_process_and_it_is_started_again(
    town: Town, how: str, said: str
) -> None:
    town.write_events()
    write_all(town)
    responders = Responders(town)
    responders.fold()
    process = responders.start_odd(f"{SUPERVISED}{how}", "--stall-s", "10", "--no-supervisor")
    process.wait_said(said)
    wait_until(lambda: "responder started" in after(process, said), process.log, WAIT_S)
    assert "is started again" in after(process, said)
    responders.wait_read()
    responders.wait_released(1)
    plain = undisturbed(town)
    wait_alike(responders, plain)
    check_requests(responders)
    responders.stop()
    plain.stop()


def test_an_end_that_takes_longer_than_a_standstill_is_an_end_all_the_same(town: Town) -> None:
    responders = Responders(town)
    process = responders.start_odd("joins", "--stall-s", "10", "--no-supervisor")
    process.wait_said("responder ready")
    responders.stop()
    assert "stopped hard" not in process.log()


STEPS: Final = ("commit", "wipe", "write", "settle")
THEN: Final = ("rebuild", "start")
QUICK: Final = frozenset(zip(STEPS, THEN * 2, strict=True))
"""Each step once, and after half of them either; the long suite has all pairs."""


@pytest.mark.parametrize(
    ("step", "then"),
    [
        pytest.param(*pair, marks=[] if pair in QUICK else [pytest.mark.long])
        for pair in product(STEPS, THEN)
    ],
)
def test_a_rebuild_that_is_killed_leaves_nothing_wrong(town: Town, step: str, then: str) -> None:
    town.write_events()
    write_all(town)
    responders = undisturbed(town)
    before = responders.compacted()
    responders.processes[-1].stop(60)
    wait_until(lambda: not members(responders), responders.logs, 60)
    killed = responders.start_odd(step, "--rebuild")
    assert killed.wait(240) == -9, killed.log()
    responders.processes.remove(killed)
    if then == "rebuild":
        responders.rebuild()
        assert responders.compacted() == before
    responders.start().wait_said("responder ready")
    responders.wait_read()
    wait_until(lambda: responders.compacted() == before, responders.logs, 120)
    responders.stop()
    assert responders.compacted() == before
    check_requests(responders)
