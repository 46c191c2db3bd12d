"""The detectors that river has too, alone, on single signals: the work that others do as well."""

from __future__ import annotations

from typing import Final

from schemas.config import (
    AdwinConfig,
    BoundsConfig,
    DetectorsConfig,
    FocusConfig,
    JointConfig,
    PageHinkleyConfig,
)


def rivers(threshold: float = 131.0) -> DetectorsConfig:
    """ADWIN and Page-Hinkley, the latter with this threshold."""
    return DetectorsConfig(
        adwin=AdwinConfig(enabled=True),
        focus=FocusConfig(enabled=False),
        page_hinkley=PageHinkleyConfig(enabled=True, threshold=threshold),
    )


RIVERS: Final = rivers()
SINGLE: Final = JointConfig(residual=False, mmd=False, missing=False)
"""No signal of several features together."""
WITHOUT_ROWS: Final = BoundsConfig(max_learning_values=0)
"""References keep no rows: nothing is watched of several features together, and nothing says what
is within the budget, so that all that these two find may open an alert."""


def joint_beside(detectors: DetectorsConfig) -> JointConfig:
    """What is watched of several features together: nothing where river's detectors are alone."""
    return SINGLE if detectors == RIVERS else JointConfig()
