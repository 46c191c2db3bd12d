"""The identifiers of MITRE ATLAS are those of the version that is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from detectors.security.base import Technique
from schemas.atlas import ATLAS_VERSION, ATTACKS, AtlasAttack, mitigation_url

FACTS: Final[dict[str, Any]] = json.loads(
    Path(__file__).with_name("atlas_5_6_0.json").read_text("utf-8")
)
ALL: Final = [(name, attack) for name, attacks in ATTACKS.items() for attack in attacks]


def test_every_technique_has_its_place_and_nothing_else_has() -> None:
    assert list(ATTACKS) == [str(technique) for technique in Technique]
    # That data changed for most clients at once is told by the same lane, and is no attack.
    assert [name for name, attacks in ATTACKS.items() if not attacks] == ["data_change"]
    assert FACTS["version"] == ATLAS_VERSION


@pytest.mark.parametrize("attack", [a for _, a in ALL], ids=[f"{n}-{a[1].uid}" for n, a in ALL])
def test_an_entry_is_what_atlas_says(attack: AtlasAttack) -> None:
    assert FACTS["tactics"][attack.tactic.uid] == attack.tactic.name
    technique = FACTS["techniques"][attack.technique.uid]
    assert technique["name"] == attack.technique.name
    assert attack.tactic.uid in technique["tactics"]
    if attack.sub_technique is not None:
        assert FACTS["sub_techniques"][attack.sub_technique.uid] == attack.sub_technique.name
        assert attack.sub_technique.uid.startswith(attack.technique.uid + ".")
    if attack.mitigation is not None:
        assert FACTS["mitigations"][attack.mitigation.uid] == attack.mitigation.name
        assert mitigation_url(attack.mitigation).endswith("/" + attack.mitigation.uid)
