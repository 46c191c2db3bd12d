"""With a rule turned off, somebody notices: the tests themselves are tested."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.simulation.mutant import Mutant
from tests.simulation.mutant_table import MUTANTS
from tests.simulation.mutants import hunt, hunt_all
from tests.simulation.patching import applied

N_JOBS: Final = 2
N_SEEDS: Final = 300
SIMULATED: Final = [mutant for mutant in MUTANTS if not mutant.test]
TESTED: Final = [mutant for mutant in MUTANTS if mutant.test]
ROOT: Final = Path(__file__).parents[2]


def test_every_mutant_can_be_made_and_is_undone() -> None:
    """A rule that is written anew needs its mutant written anew: that shows here at once."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        with applied(mutant):
            pass


@pytest.mark.long
def test_the_simulation_catches_its_mutants() -> None:
    alive = [v.mutant.name for v in hunt_all(SIMULATED, N_JOBS, N_SEEDS) if not v.layer]

    assert not alive


@pytest.mark.long
@pytest.mark.parametrize("mutant", TESTED, ids=lambda mutant: mutant.name)
def test_the_named_test_catches_its_mutant(mutant: Mutant) -> None:
    """Each starts a pytest of its own, which is why the whole of it is for the long suite."""
    assert hunt(mutant).layer == "test"


def test_named_tests_exist() -> None:
    for mutant in TESTED:
        path, _, name = mutant.test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text("utf-8"), mutant
