"""A flood of names through the whole fold: memory stays as it is, and who is watched is found."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.security.base import Suspicion, Technique
from detectors.security.fold import SecurityFold
from schemas.batch import Decoded
from schemas.config import DetectionConfig
from tests.detectors.security_events import KEY, benign, numbers

ATTACKER = 77
CONFIG = DetectionConfig.model_validate({
    "security": {
        "learn_events": 1_000,
        "max_models": 2,
        "max_sources": 64,
        "admit_after": 2,
        "detectors": {"provenance": {"capacity": 256}},
    }
})  # fmt: skip
EVERY = 100


def flood(rng: np.random.Generator, names: range, first: int, *, is_there: bool) -> Decoded:
    """These names, each once or, every second one, twice; one row in a hundred is the attacker's.

    Its rows lie along the boundary. Not `is_there`: it says nothing.
    """
    who = np.repeat(np.arange(names.start, names.stop), np.arange(len(names)) % 2 + 1)
    if is_there:
        who = np.insert(who, np.arange(0, len(who), EVERY), ATTACKER)
    x = rng.normal(size=(len(who), 4))
    is_attack = who == ATTACKER
    x[is_attack] = 0.01 * rng.normal(size=(int(is_attack.sum()), 4))
    return numbers(x, who, first=first)


@pytest.mark.parametrize(
    "n_names", [80_000, pytest.param(1_000_000, marks=pytest.mark.long)], ids=["few", "a million"]
)
def test_names_without_end_neither_grow_the_state_nor_hide_who_is_watched(n_names: int) -> None:
    rng = np.random.default_rng(11)
    fold = SecurityFold(CONFIG, KEY)
    assert fold.process(benign(rng, 3_000)) == []
    (own,) = KEY.words([f"s{ATTACKER}"]).tolist()
    n_parts = 8
    n_each = n_names // n_parts
    quiet = (2, 3)
    sizes: list[int] = []
    said: list[list[Suspicion]] = []
    for k in range(n_parts):
        names = range(1_000 + k * n_each, 1_000 + (k + 1) * n_each)
        events = flood(rng, names, fold.counters["n_events"], is_there=k not in quiet)
        said.append(fold.process(events))
        sizes.append(
            sum(array.nbytes for part in fold.snapshot().values() for array in part.values())
        )
        # It keeps its place also while it says nothing, and thousands of others ask for one.
        (place,) = np.flatnonzero((fold.sources.names == np.array(own, np.uint64)).all(axis=1))
        assert fold.sources.standing[place] > 0
        assert len(fold.sources) == 64
    assert fold.counters["n_admitted_sources"] > n_names / 20
    assert max(sizes[1:]) < 1.05 * sizes[0]
    of_one = [{each.source_words for each in part if each.source >= 0} for part in said]
    assert of_one[0] == {tuple(own)}
    assert of_one[2] == of_one[3] == set()
    assert set().union(*of_one[4:]) == {tuple(own)}
    assert any(each.technique is Technique.PRESSURE for part in said for each in part)
