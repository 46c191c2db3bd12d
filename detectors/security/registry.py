"""Every detector of attacks there is, by name."""

from __future__ import annotations

from typing import Final

from detectors.security.base import LabelSecuritySpec, SecuritySpec

SECURITY_REGISTRY: Final[dict[str, SecuritySpec]] = {}
"""Those that see predictions, by the name that stands in the config's `security.detectors` section
and in a suspicion's `detector`."""

LABEL_SECURITY_REGISTRY: Final[dict[str, LabelSecuritySpec]] = {}
"""Those that see joined labels."""
