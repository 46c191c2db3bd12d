"""Every detector of attacks there is, by name."""

from __future__ import annotations

from typing import Final

from detectors.security import (
    baseline_guard,
    data_breaks,
    exposure,
    label_poisoning,
    neighbours,
    off_distribution,
    provenance,
    volume,
)
from detectors.security.base import LabelSecuritySpec, SecuritySpec
from schemas.security_config import LabelPoisoningConfig

SECURITY_REGISTRY: Final[dict[str, SecuritySpec]] = {
    neighbours.NAME: neighbours.SPEC,
    provenance.NAME: provenance.SPEC,
    off_distribution.NAME: off_distribution.SPEC,
    exposure.NAME: exposure.SPEC,
    baseline_guard.NAME: baseline_guard.SPEC,
    volume.NAME: volume.SPEC,
    data_breaks.NAME: data_breaks.SPEC,
}
"""Those that see predictions, by the name that stands in the config's `security.detectors` section
and in a suspicion's `detector`."""

LABEL_SECURITY_REGISTRY: Final[dict[str, LabelSecuritySpec]] = {
    label_poisoning.NAME: LabelSecuritySpec(
        label_poisoning.NAME,
        label_poisoning.VERSION,
        LabelPoisoningConfig,
        label_poisoning.build,
    ),
}
"""Those that see joined labels."""
