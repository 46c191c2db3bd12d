"""Each fault, a few times: nothing is lost, nothing comes twice, everything is in its place.

This is the short form. `make faults` does the same hundreds of times, and writes a table.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np
import pytest

from tests.faults.audit import audit, compared_with_undisturbed
from tests.faults.conftest import Standing
from tests.faults.faults import FAULTS, kill

pytestmark = pytest.mark.kafka

TIMES: Final = {"worker killed": 3, "connections reset": 2}


@pytest.mark.parametrize("name", FAULTS)
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
