"""The detectors that river has too, switched on instead of the default one."""

from __future__ import annotations

from typing import Final

from schemas.config import AdwinConfig, DetectorsConfig, FocusConfig, PageHinkleyConfig

RIVERS: Final = DetectorsConfig(
    adwin=AdwinConfig(enabled=True),
    focus=FocusConfig(enabled=False),
    page_hinkley=PageHinkleyConfig(enabled=True),
)
