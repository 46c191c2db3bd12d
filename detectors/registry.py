"""Every detector there is, by name."""

from __future__ import annotations

from typing import Final

from detectors.base import DetectorSpec
from detectors.drift import (
    adwin,
    ddm,
    eddm,
    fhddm,
    focus,
    hddm_a,
    hddm_w,
    kswin,
    moments,
    page_hinkley,
    trend,
    windows,
)
from schemas.config import (
    AdwinConfig,
    FocusConfig,
    KswinConfig,
    MomentsConfig,
    PageHinkleyConfig,
    TrendConfig,
    WindowsConfig,
)
from schemas.error_config import DdmConfig, EddmConfig, FhddmConfig, HddmAConfig, HddmWConfig

REGISTRY: Final[dict[str, DetectorSpec]] = {
    moments.NAME: DetectorSpec(
        moments.NAME, 1, MomentsConfig, moments.build, is_for_reading=True, keeps_rhythm=True
    ),
    adwin.NAME: DetectorSpec(adwin.NAME, 1, AdwinConfig, adwin.build),
    focus.NAME: DetectorSpec(focus.NAME, 2, FocusConfig, focus.build, has_budget=True),
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
    trend.NAME: DetectorSpec(trend.NAME, 1, TrendConfig, trend.build, has_budget=True),
    ddm.NAME: DetectorSpec(ddm.NAME, 1, DdmConfig, ddm.build, watches_errors_only=True),
    eddm.NAME: DetectorSpec(eddm.NAME, 1, EddmConfig, eddm.build, watches_errors_only=True),
    hddm_a.NAME: DetectorSpec(hddm_a.NAME, 1, HddmAConfig, hddm_a.build, watches_errors_only=True),
    hddm_w.NAME: DetectorSpec(hddm_w.NAME, 1, HddmWConfig, hddm_w.build, watches_errors_only=True),
    fhddm.NAME: DetectorSpec(fhddm.NAME, 1, FhddmConfig, fhddm.build, watches_errors_only=True),
}
"""By the name that stands in the config's `detectors` section and in a finding's `detector`."""
