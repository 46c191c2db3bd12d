"""Values of a signal in its own units: what is only rounding is none of them."""

from __future__ import annotations

import pytest

from detectors.kernels.observe import RULE_Z, SOURCE_MISSING, SOURCE_VALUE
from detectors.signals import Scale, Signal, share_scale
from schemas.findings import Aspect


def signal(source: int, scale: Scale) -> Signal:
    return Signal(source, 0, 0, scale)


@pytest.mark.parametrize("n_true", [0, 1, 700, 999, 1_000])
def test_a_share_is_never_beyond_none_and_all(n_true: int) -> None:
    own = signal(SOURCE_MISSING, share_scale(n_true, 1_000))
    mean, sd = own.scale.mean, own.scale.sd
    for wrong in (-1e-15, 1e-17, 0.0):
        assert own.raw((wrong - mean) / sd, Aspect.MEAN) == 0.0
    assert own.raw((1.0 + 1e-15 - mean) / sd, Aspect.MEAN) <= 1.0
    assert own.raw((0.25 - mean) / sd, Aspect.MEAN) == pytest.approx(0.25)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (5.0, 2.0), (1e6, 1e-3), (1e-30, 1e-31)])
def test_a_mean_that_is_only_rounding_is_zero(mean: float, sd: float) -> None:
    own = signal(SOURCE_VALUE, Scale(RULE_Z, 0.0, mean, sd))
    assert own.raw(-mean / sd * (1.0 + 2e-16) + 1e-17, Aspect.MEAN) == 0.0
    assert own.raw(1.0, Aspect.MEAN) == pytest.approx(mean + sd)
    assert own.raw(-1e-3, Aspect.SPREAD) == pytest.approx(-1e-3 * sd)
