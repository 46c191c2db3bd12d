"""The detection config's sections of the detectors that are for errors."""

from __future__ import annotations

from math import exp, log
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from schemas.strict import NonNegativeFloat, Strict

Confidence = Annotated[float, Field(gt=0, lt=1)]


class DdmConfig(Strict):
    """DDM (Gama, Medas, Castillo and Rodrigues 2004) on errors, parameters as in river."""

    enabled: bool = False
    warm_start: Annotated[int, Field(ge=1, le=1_000_000_000)] = 30
    """Silent over so many observations."""
    warning_threshold: NonNegativeFloat = 2.0
    """As `drift_threshold`, of the warning zone, which is state and is not told."""
    drift_threshold: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3.0
    """Fires where the error rate and its deviation lie so many deviations above the least rate."""


class EddmConfig(Strict):
    """EDDM (Baena-Garcia et al. 2006) on errors, parameters as in river."""

    enabled: bool = False
    warm_start: Annotated[int, Field(ge=1, le=1_000_000_000)] = 30
    """Silent over so many errors."""
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.95
    """As `beta`, of the warning zone, which is state and is not told; not below it."""
    beta: Annotated[float, Field(gt=0, le=1)] = Field(default=0.9, validate_default=True)
    """Fires where the distance between errors falls below this part of the longest."""

    @field_validator("beta")
    @classmethod
    def _within(cls, beta: float, info: ValidationInfo) -> float:
        alpha: float | None = info.data.get("alpha")
        if alpha is not None and beta > alpha:
            raise ValueError(
                f"should be at most `alpha`, which is {alpha}: who fires has been warned; lower it "
                "or raise `alpha`"
            )
        return beta


class HddmAConfig(Strict):
    """HDDM-A (Frias-Blanco et al. 2014) on errors, parameters as in river."""

    enabled: bool = False
    drift_confidence: Confidence = 0.001
    """The chance of a false alarm that one comparison of two means may have."""
    warning_confidence: Confidence = 0.005
    """The same, of the warning zone, which is state and is not told."""
    two_sided_test: bool = False
    """Whether a fall of the error rate is looked for, too."""


class HddmWConfig(Strict):
    """HDDM-W (Frias-Blanco et al. 2014) on errors, parameters as in river."""

    enabled: bool = False
    drift_confidence: Confidence = 0.001
    """The chance of a false alarm that one comparison of two weighted means may have."""
    warning_confidence: Confidence = 0.005
    """The same, of the warning zone, which is state and is not told."""
    lambda_val: Annotated[float, Field(gt=0, le=1)] = 0.05
    """The weight of the latest observation."""
    two_sided_test: bool = False
    """Whether a fall of the error rate is looked for, too."""


class FhddmConfig(Strict):
    """FHDDM (Pesaranghader and Viktor 2016) on errors, parameters as in river but `finds`."""

    enabled: bool = False
    sliding_window_size: Annotated[int, Field(ge=2, le=4_096)] = 100
    """Observations of the window; each takes a bit a signal."""
    short_window_size: Annotated[int, Field(ge=1, le=4_096)] | None = Field(
        default=None, validate_default=True
    )
    """Of a second window over the latest part of the first; null: there is none."""
    confidence_level: Confidence = Field(default=0.000_001, validate_default=True)
    """The chance of a false alarm that one comparison of a window with the best may have."""
    finds: Literal["rise", "fall"] = "rise"
    """A `rise` of the error rate, or a `fall`. river finds a fall of what it is given."""

    @field_validator("short_window_size")
    @classmethod
    def _shorter(cls, short: int | None, info: ValidationInfo) -> int | None:
        size: int | None = info.data.get("sliding_window_size")
        if short is not None and size is not None and short > size:
            raise ValueError(
                f"should be at most `sliding_window_size`, which is {size}: it is a part of that "
                "window; lower it or raise `sliding_window_size`"
            )
        return short

    @field_validator("confidence_level")
    @classmethod
    def _reachable(cls, confidence: float, info: ValidationInfo) -> float:
        for name in ("sliding_window_size", "short_window_size"):
            size: int | None = info.data.get(name)
            if size is not None and log(1.0 / confidence) >= 2 * size:
                raise ValueError(
                    f"should be above {exp(-2 * size):.3g}: no share of a window of `{name}` "
                    f"{size} can fall so far, and it would never fire; raise it or `{name}`"
                )
        return confidence
