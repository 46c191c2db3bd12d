"""The judge of poisoned retraining: who lies, what is counted, what a quick run says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.retraining.lies import ATTACKS, Attack, labels_of
from benchmarks.retraining.runs import Outcome, Trained, incident_of
from benchmarks.retraining.tables import accuracy_table, gate_table, hold_table, interval
from benchmarks.retraining.worlds import QUICK, turned
from tests.benchmarks.run import rows, run_quick
from tests.streams.notify_kit import incident as in_the_topic
from tests.streams.notify_kit import released

WORLD = turned(QUICK, 0)
TRUE = WORLD.before.then(WORLD.after).y
N_BEFORE = len(WORLD.before.y)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.name)
def test_one_source_in_five_lies_from_the_change_on_and_nobody_else(attack: Attack) -> None:
    labels = labels_of(WORLD, attack, 1)
    assert not labels.is_lie[:N_BEFORE].any()
    assert {*labels.source[labels.is_lie].tolist()} <= labels.liars
    assert len(labels.liars) == attack.n_liars in (0, attack.n_sources // 5)
    assert ((labels.said != TRUE) == labels.is_lie).all()
    own = np.isin(labels.source, [*labels.liars]) & (np.arange(len(TRUE)) >= N_BEFORE)
    assert own[N_BEFORE:].mean() == pytest.approx(0.2 if attack.n_liars else 0.0, abs=0.02)
    if attack.in_region:
        assert (TRUE[labels.is_lie] == 1).all()
        assert 0.1 < labels.is_lie[own].mean() < 0.5
    elif attack.n_liars:
        assert labels.is_lie[own].mean() == pytest.approx(attack.share, abs=0.05)
    assert (labels_of(WORLD, attack, 1).said == labels.said).all()


def test_an_interval_is_students() -> None:
    # From a table of t: 4.303 with two degrees of freedom.
    found = interval([0.7, 0.8, 0.9])
    assert found.mean == pytest.approx(0.8)
    assert found.half == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=1e-3)
    assert found.text() == "80.0 ± 24.8"
    assert interval([0.5]).text(signed=True) == "+50.0"


def outcome(seed: int, gate: float | None, **given: object) -> Outcome:
    fields = {
        "world": "turned",
        "attack": ATTACKS[1].name,
        "seed": seed,
        "old": 0.7,
        "naive": Trained(0.80, 1_000, 200),
        "gate": None if gate is None else Trained(gate, 800, 8),
        "unpoisoned": Trained(0.90, 1_000, 0),
        "status": "held" if gate is None else "released",
        "holds": ("attack_suspected",) if gate is None else (),
        "asked": "held",
        "asked_holds": ("attack_suspected",),
        "approved": "released",
        "decided": "released",
        "reason": "suspected_poisoning",
        "n_incidents": 1,
        "n_liars": 4,
        "n_liars_left_out": 3,
        "n_honest_left_out": 1,
    }
    return Outcome(**{**fields, **given})  # type: ignore[arg-type]


def test_a_released_request_is_of_its_incident_whatever_that_is_called_now() -> None:
    low, high = (in_the_topic(severity) for severity in ("low", "high"))
    own = {"evidence_ids": [each.evidence_id for each in low.evidence]}
    renamed = released().model_copy(update={"incident_id": "f" * 32, **own})
    named = released().model_copy(update={"incident_id": high.incident_id, **own})
    for incidents in ([low, high], [high, low]):
        assert incident_of(renamed, incidents) == low
        assert incident_of(named, incidents) == high


def test_what_is_held_counts_as_the_old_model() -> None:
    (row,) = accuracy_table([outcome(0, 0.89), outcome(1, 0.91)]).rows
    assert row[1] == "70.0 ± 0.0"
    assert row[5].startswith("+0.0 ±")
    assert row[6] == "-10.0 ± 0.0"
    assert row[7] == "yes"
    (row,) = accuracy_table([outcome(0, 0.89), outcome(1, None)]).rows
    assert row[5].startswith("-10.5 ±")
    assert row[7] == "NO"
    (row,) = gate_table([outcome(0, 0.89), outcome(1, None)]).rows
    assert row[1:] == ("2 of 2", "1", "0", "2", "2", "6 of 8", "2", "20.0%", "1.0%")
    (row,) = hold_table([outcome(0, 0.89), outcome(1, None)]).rows
    assert row[1:] == ("suspected poisoning 2", "attack suspected 1", "attack suspected 2", "1")


def test_the_gate_leaves_lies_out_in_a_quick_run() -> None:
    said = run_quick("retraining")
    assert said["not_run"] == []
    honest, lied = said["figures"]["runs"]
    assert honest["status"] == "released"
    assert honest["n_honest_left_out"] == lied["n_honest_left_out"] == 0
    assert honest["naive"] == honest["gate"] == honest["unpoisoned"]
    assert (lied["asked"], lied["approved"], lied["decided"]) == ("held", "released", "released")
    assert lied["n_liars_left_out"] == lied["n_liars"] == 4
    lies = {who: lied[who]["n_lies"] / lied[who]["n_rows"] for who in ("gate", "naive")}
    assert lies["gate"] < lies["naive"] / 10
    assert len(rows(said, "accuracy")) == len(rows(said, "gate")) == 2
