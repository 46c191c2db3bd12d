"""No snapshot makes the kernels of poisoned labels read or write beyond their arrays.

In a process of its own, whose kernels check their indices.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from detectors.base import StateError
from detectors.security.label_poisoning import build
from schemas.security_config import LabelPoisoningConfig
from tests.detectors.poisoned import SALT, pieces
from tests.detectors.test_hostile_state import made_up
from tests.detectors.test_label_poisoning import mixed_rows, small
from tests.kit import checked_kernels

N_TRIES = 1_000


def attack() -> None:
    """Build a bank from each made-up snapshot; where one is taken, the bank must live on."""
    rng = np.random.default_rng(31)
    first, rest, _ = pieces(mixed_rows(2), [7_000, 8_500])
    honest = small()
    honest.update(first)
    state = dict(honest.snapshot())
    assert all(array.size for array in state.values())
    n_taken = 0
    for _ in range(N_TRIES):
        try:
            bank = build(LabelPoisoningConfig(), 3, 32, SALT, made_up(rng, state))
        except StateError:
            continue
        n_taken += 1
        bank.update(rest)
        build(LabelPoisoningConfig(), 3, 32, SALT, bank.snapshot())
    assert N_TRIES // 20 < n_taken < N_TRIES, n_taken


def test_no_snapshot_leads_beyond_an_array() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.detectors.test_label_poisoning_hostile"],
        cwd=Path(__file__).parents[2],
        env=checked_kernels.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-4000:]


if __name__ == "__main__":
    attack()
