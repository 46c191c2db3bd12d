"""No snapshot of the bank of nearest queries makes a kernel of it read or write beyond its arrays.

As in `tests.detectors.test_hostile_state`: in a process of its own, whose kernels check indices.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from detectors.base import BankState, StateError
from detectors.security.neighbours import build
from tests.detectors.queries import cut
from tests.detectors.test_neighbours import EAGER, EASY, N_PLACES, bank_of, mixed
from tests.kit import checked_kernels

N_TRIES = 600
NUMBERS = {
    "f": [0.0, -1.0, 1e30, -1e30, 1e-30, np.inf, np.nan],
    "i": [0, 1, -1, 2, 3, 7, 255, 256, 2**31 - 1, 2**53, 2**53 + 1, 2**62, -(2**63), 2**63 - 1],
    "u": [0, 1, 2, 3, 255],
}


def made_up(rng: np.random.Generator, state: BankState) -> BankState:
    """A few entries replaced by others."""
    changed = {name: array.copy() for name, array in state.items()}
    for _ in range(int(rng.integers(0, 4))):
        array = changed[str(rng.choice(sorted(changed)))]
        number = rng.choice(np.array(NUMBERS[array.dtype.kind], object))
        if array.dtype.kind != "f":
            limits = np.iinfo(array.dtype)
            number = min(max(number, int(limits.min)), int(limits.max))
        array.flat[int(rng.integers(0, array.size))] = number
    return changed


def attack() -> None:
    """Build a bank from each made-up snapshot; where one is taken, the bank must live on."""
    rng = np.random.default_rng(41)
    rows = mixed(rng, 900)
    honest = bank_of(EAGER, EASY)
    honest.update(cut(rows, 0, 600))
    state = dict(honest.snapshot())
    assert all(array.size for array in state.values())
    later = cut(rows, 600, 900)
    n_taken = 0
    for _ in range(N_TRIES):
        try:
            bank = build(EAGER, 2, N_PLACES, 7, made_up(rng, state))
        except StateError:
            continue
        n_taken += 1
        bank.update(later)
        bank.standing()
        build(EAGER, 2, N_PLACES, 7, bank.snapshot())
    assert N_TRIES // 20 < n_taken < N_TRIES, n_taken


def test_no_snapshot_leads_beyond_an_array() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.detectors.test_neighbours_hostile"],
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
