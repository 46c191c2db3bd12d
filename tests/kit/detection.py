"""ADWIN and Page-Hinkley alone: they fire soon, and no budget keeps them from it."""

from __future__ import annotations

from schemas.config import AdwinConfig, DetectorsConfig, FocusConfig, PageHinkleyConfig


def rivers(threshold: float = 131.0) -> DetectorsConfig:
    """The detectors that river has too, with this threshold of Page-Hinkley's."""
    return DetectorsConfig(
        adwin=AdwinConfig(enabled=True),
        focus=FocusConfig(enabled=False),
        page_hinkley=PageHinkleyConfig(enabled=True, threshold=threshold),
    )
