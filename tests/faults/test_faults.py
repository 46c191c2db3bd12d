"""Each fault, a few times: nothing is lost, nothing comes twice, everything is in its place.

This is the short form. `make faults` does the same hundreds of times, and writes a table.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np
import pytest

from tests.delivery.kit import wait_until
from tests.delivery.traffic import N_PARTITIONS
from tests.faults.audit import audit, compared_with_undisturbed
from tests.faults.conftest import Standing
from tests.faults.deployment import Deployment, Site
from tests.faults.faults import DUTY_OF, FAULTS, kill

pytestmark = pytest.mark.kafka

N_OF_ATTACKS: Final = 3_000
TIMES: Final = {"worker killed": 3, "connections reset": 2}


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in DUTY_OF])
def test_a_fault_is_survived(standing: Standing, name: str) -> None:
    run = standing.take()
    seed = zlib.crc32(name.encode())
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for _ in range(TIMES.get(name, 1)):
        FAULTS[name](run, rng)
    verdict = audit(run)
    assert verdict.n_outputs > 10
    assert verdict.is_clean, verdict
    standing.is_sound()


def test_an_undisturbed_worker_says_the_same(standing: Standing) -> None:
    run = standing.take()
    kill(run, np.random.default_rng(1))
    run.quiesce()
    verdict = compared_with_undisturbed(run)
    assert verdict.n_outputs > 10
    assert verdict.is_clean, verdict
    standing.is_sound()


def test_kills_of_workers_of_the_security_duty_change_no_finding(site: Site) -> None:
    name = "security worker killed"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    with Deployment(site, duty=DUTY_OF[name]) as run:
        run.begin()
        for _ in range(3):
            FAULTS[name](run, rng)
        # Attacks are found once there is enough of them.
        wait_until(lambda: run.feed.n_sent > N_OF_ATTACKS, "the feed stands still")
        FAULTS[name](run, rng)
        for verdict in (audit(run), compared_with_undisturbed(run)):
            assert verdict.n_outputs >= N_PARTITIONS
            assert verdict.is_clean, verdict
        said = {stream.duty for stream, records in run.outputs().items() if records}
        assert said == {"anomalies"}
