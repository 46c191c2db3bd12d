"""MITRE ATLAS: which tactic and technique each kind of attack is, by their identifiers.

Facts of ATLAS 5.6.0 (https://atlas.mitre.org, May 2026). The version belongs to them: names change
between versions (they said "ML" where they say "AI" now), and techniques move between tactics.
"""

from __future__ import annotations

from typing import Final, NamedTuple

ATLAS_VERSION: Final = "5.6.0"


class AtlasEntry(NamedTuple):
    """One tactic, technique, sub-technique or mitigation."""

    uid: str
    name: str


class AtlasAttack(NamedTuple):
    """What somebody does, to what end, and what there is against it."""

    tactic: AtlasEntry
    technique: AtlasEntry
    sub_technique: AtlasEntry | None = None
    mitigation: AtlasEntry | None = None


_STAGING: Final = AtlasEntry("AML.TA0001", "AI Attack Staging")
_PERSISTENCE: Final = AtlasEntry("AML.TA0006", "Persistence")
_EXFILTRATION: Final = AtlasEntry("AML.TA0010", "Exfiltration")
_IMPACT: Final = AtlasEntry("AML.TA0011", "Impact")

_CRAFT: Final = AtlasEntry("AML.T0043", "Craft Adversarial Data")
_INFERENCE_API: Final = AtlasEntry("AML.T0024", "Exfiltration via AI Inference API")
_POISON: Final = AtlasEntry("AML.T0020", "Poison Training Data")

_FEWER_QUERIES: Final = AtlasEntry("AML.M0004", "Restrict Number of AI Model Queries")
_SANITIZE: Final = AtlasEntry("AML.M0007", "Sanitize Training Data")
_INPUT_DETECTION: Final = AtlasEntry("AML.M0015", "Adversarial Input Detection")
_PROVENANCE: Final = AtlasEntry("AML.M0025", "Maintain AI Dataset Provenance")

ATTACKS: Final[dict[str, tuple[AtlasAttack, ...]]] = {
    "probing": (
        AtlasAttack(
            _STAGING, _CRAFT, AtlasEntry("AML.T0043.001", "Black-Box Optimization"), _FEWER_QUERIES
        ),
    ),
    "extraction": (
        AtlasAttack(
            _EXFILTRATION,
            _INFERENCE_API,
            AtlasEntry("AML.T0024.002", "Extract AI Model"),
            _FEWER_QUERIES,
        ),
        AtlasAttack(
            _STAGING,
            AtlasEntry("AML.T0005", "Create Proxy AI Model"),
            AtlasEntry("AML.T0005.001", "Train Proxy via Replication"),
        ),
    ),
    "inversion": (
        AtlasAttack(
            _EXFILTRATION,
            _INFERENCE_API,
            AtlasEntry("AML.T0024.001", "Invert AI Model"),
            _FEWER_QUERIES,
        ),
    ),
    "membership": (
        AtlasAttack(
            _EXFILTRATION,
            _INFERENCE_API,
            AtlasEntry("AML.T0024.000", "Infer Training Data Membership"),
            _FEWER_QUERIES,
        ),
    ),
    # Rows off the data are made up, to steal a model or to fool it: they do not say which.
    "off_distribution": (
        AtlasAttack(_EXFILTRATION, _INFERENCE_API, None, _FEWER_QUERIES),
        AtlasAttack(_STAGING, _CRAFT, None, _INPUT_DETECTION),
    ),
    "label_poisoning": (AtlasAttack(_PERSISTENCE, _POISON, None, _SANITIZE),),
    "backdoor": (
        AtlasAttack(_PERSISTENCE, _POISON, None, _SANITIZE),
        AtlasAttack(_STAGING, _CRAFT, AtlasEntry("AML.T0043.004", "Insert Backdoor Trigger")),
    ),
    "frog_boiling": (
        AtlasAttack(
            _IMPACT, AtlasEntry("AML.T0031", "Erode AI Model Integrity"), None, _INPUT_DETECTION
        ),
        AtlasAttack(_PERSISTENCE, _POISON, None, _PROVENANCE),
    ),
    "volume": (
        AtlasAttack(
            _IMPACT,
            AtlasEntry("AML.T0034", "Cost Harvesting"),
            AtlasEntry("AML.T0034.000", "Excessive Queries"),
            _FEWER_QUERIES,
        ),
        AtlasAttack(_IMPACT, AtlasEntry("AML.T0029", "Denial of AI Service"), None, _FEWER_QUERIES),
    ),
    "chaff": (AtlasAttack(_IMPACT, AtlasEntry("AML.T0046", "Spamming AI System with Chaff Data")),),
    # A flood of names is aimed at who watches: the nearest that ATLAS has.
    "pressure": (
        AtlasAttack(_IMPACT, AtlasEntry("AML.T0046", "Spamming AI System with Chaff Data")),
    ),
    # No attack: ATLAS has nothing for it.
    "data_change": (),
}
"""By `detectors.security.base.Technique`; what it is above all comes first."""


def mitigation_url(mitigation: AtlasEntry) -> str:
    """Where ATLAS describes a mitigation."""
    return f"https://atlas.mitre.org/mitigations/{mitigation.uid}"
