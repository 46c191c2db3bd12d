"""The detectors that river has too, alone: no budget keeps them from what they find."""

from __future__ import annotations

from typing import Final

from schemas.config import AdwinConfig, DetectorsConfig, FocusConfig, PageHinkleyConfig


def rivers(threshold: float = 131.0) -> DetectorsConfig:
    """ADWIN and Page-Hinkley, the latter with this threshold."""
    return DetectorsConfig(
        adwin=AdwinConfig(enabled=True),
        focus=FocusConfig(enabled=False),
        page_hinkley=PageHinkleyConfig(enabled=True, threshold=threshold),
    )


RIVERS: Final = rivers()
