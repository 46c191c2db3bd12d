"""Every detector there is, by name."""

from __future__ import annotations

from typing import Final

from detectors.base import DetectorSpec
from detectors.drift import adwin, focus, kswin, moments, page_hinkley, windows
from schemas.config import (
    AdwinConfig,
    FocusConfig,
    KswinConfig,
    MomentsConfig,
    PageHinkleyConfig,
    WindowsConfig,
)

REGISTRY: Final[dict[str, DetectorSpec]] = {
    moments.NAME: DetectorSpec(moments.NAME, 1, MomentsConfig, moments.build, keeps_rhythm=True),
    adwin.NAME: DetectorSpec(adwin.NAME, 1, AdwinConfig, adwin.build),
    focus.NAME: DetectorSpec(focus.NAME, 1, FocusConfig, focus.build, has_budget=True),
    page_hinkley.NAME: DetectorSpec(page_hinkley.NAME, 1, PageHinkleyConfig, page_hinkley.build),
    kswin.NAME: DetectorSpec(kswin.NAME, 1, KswinConfig, kswin.build),
    windows.NAME: DetectorSpec(
        windows.NAME,
        2,
        WindowsConfig,
        windows.build,
        has_budget=True,
        watches_indicators=False,
        watches_cells=True,
    ),
}
"""By the name that stands in the config's `detectors` section and in a finding's `detector`."""
