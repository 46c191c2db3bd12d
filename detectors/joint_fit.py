"""From the rows of a reference to what its features say together, and the signals of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Final

import numpy as np

from detectors.drift.bins import Bins
from detectors.drift.joint import (
    MAX_FEATURES,
    MIN_BLOCKS,
    Joint,
    block_distances,
    correlation_of,
    empty_partial,
    residual_components,
    seed_of,
    standardise,
    usual_patterns,
)
from detectors.drift.ranks import Indicator, Ranks, fit, rank_variance
from detectors.joint_table import Watched, build_table
from detectors.kernels.observe import (
    KIND_ANY,
    RULE_Z,
    SOURCE_MMD,
    SOURCE_PATTERN,
    SOURCE_RESIDUAL,
    SOURCE_VALUE,
)
from detectors.learning import MIN_ROWS, Rows
from detectors.reference import Cohort
from detectors.signals import JOINT_NAMES, Signal, number_scale, share_scale
from schemas.batch import I32, I64, Bool, ValueKind
from schemas.config import JointConfig, SignalConfig

MAX_RESIDUAL_VARIANCE: Final = 2.0
"""Long-run variance of a residual's ranks above which there is no such signal.

What is left of a residual whose features depend on their past is small for long and large for long,
which no whitening takes out: with features AR(1) .7 and .9 four times the alarms that were stated.
"""
_NO_FEATURES: Final = np.zeros(0, np.int32)


def fit_joint(
    cohort: Cohort,
    signals: Sequence[Signal],
    names: Sequence[str],
    kinds: Sequence[int],
    config: Mapping[str, SignalConfig],
    wanted: JointConfig,
) -> tuple[Joint, list[Signal]] | None:
    """What is frozen of a complete cohort's features together; None where there is nothing.

    `signals` are the cohort's own, `names` and `kinds` those of all features of the model. Only
    numbers correlate; of missing features only those count that were also there at times.
    """
    rows = cohort.rows
    if rows is None or rows.n < MIN_ROWS:
        return None
    missing, patterns = _patterns(cohort, rows, kinds) if wanted.missing else _NO_PATTERNS
    joint = Joint(
        features=_NO_FEATURES,
        scales=np.zeros((0, 4)),
        components=np.zeros((0, 0)),
        pair_means=np.zeros(0),
        unit=1.0,
        block_events=0,
        missing=missing,
        patterns=patterns,
    )
    of_blocks: list[Signal] = []
    if wanted.residual or wanted.mmd:
        numeric = _numeric(signals, wanted.max_features)
        joint, of_blocks = _correlated(joint, cohort, rows, numeric, names, wanted)
    if not len(joint.features) and not len(joint.missing):
        return None
    return joint, [*_of_rows(joint, cohort, rows, kinds, config), *of_blocks]


def _numeric(signals: Sequence[Signal], most: int) -> list[Signal]:
    """The signals of the first features that are numbers and vary, by number."""
    found = [s for s in signals if s.source == SOURCE_VALUE and s.scale.rule == RULE_Z]
    return sorted(found, key=lambda each: each.index)[: min(most, MAX_FEATURES)]


def _correlated(
    joint: Joint,
    cohort: Cohort,
    rows: Rows,
    numeric: Sequence[Signal],
    names: Sequence[str],
    wanted: JointConfig,
) -> tuple[Joint, list[Signal]]:
    """`joint` with what two or more numeric features say, and the signal of blocks."""
    if len(numeric) < 2:
        return joint, []
    at = [cohort.features.index(signal.index) for signal in numeric]
    value = rows.column("value").reshape(rows.n, -1)[:, at]
    kind = rows.column("kind").reshape(rows.n, -1)[:, at]
    value = np.where(kind == ValueKind.NUMBER, value, np.nan)
    value = value[~np.isnan(value).all(axis=1)]
    if len(value) < MIN_ROWS:
        return joint, []
    mean = np.array([signal.scale.mean for signal in numeric])
    sd = np.array([signal.scale.sd for signal in numeric])
    g, scales, varies = standardise(value, mean, sd)
    if scales.shape[0] < 2:
        return joint, []
    features = np.array([s.index for s in numeric], np.int32)[varies]
    correlation = correlation_of(g)
    components = np.zeros((0, len(features)))
    if wanted.residual:
        components = residual_components(correlation, len(g))
    upper = np.triu_indices(len(features), 1)
    joint = replace(
        joint,
        features=features,
        scales=scales,
        components=components,
        pair_means=correlation[upper],
    )
    block = wanted.block_events
    if not wanted.mmd or rows.n < MIN_BLOCKS * block or 2 * len(g) < rows.n:
        return joint, []
    distance, error = block_distances(g, block, seed_of([names[f] for f in features.tolist()]))
    unit = float(np.round(distance.mean(), 9))
    if unit <= 0.0:
        return joint, []
    x = distance / unit
    scale = number_scale(len(x), float(x.mean()), float(((x - x.mean()) ** 2).sum()))
    assert scale is not None
    ranks = fit((x - scale.mean) / scale.sd)
    ranks = _of_so_many(ranks, len(x), len(g) // block, (1.0 + error) ** 2)
    signal = Signal(SOURCE_MMD, 0, 0, scale, ranks=ranks)
    return replace(joint, unit=unit, block_events=block), [signal]


def _of_so_many(
    ranks: Ranks | Indicator, n_drawn: int, n: int, inflation: float
) -> Ranks | Indicator:
    """Ranks that were fitted to drawn blocks, with the weight of those that there were.

    The variances grow by what is not known of them.
    """
    if isinstance(ranks, Indicator):
        return replace(ranks, ones=ranks.ones * n // n_drawn, raw=ranks.raw * n / n_drawn, n=n)
    inflation = ceil(inflation * 4096.0) / 4096.0
    counts = np.maximum(ranks.bins.counts * n // n_drawn, 1).astype(np.int32)
    return replace(
        ranks,
        sums=(ranks.sums[0] * n // n_drawn, ranks.sums[1] * n // n_drawn),
        raw=(ranks.raw[0] * n / n_drawn, ranks.raw[1] * n / n_drawn),
        variance=(ranks.variance[0] * inflation, ranks.variance[1] * inflation),
        n=n,
        bins=Bins(ranks.bins.cuts, counts, ranks.bins.means),
    )


def _of_rows(
    joint: Joint,
    cohort: Cohort,
    rows: Rows,
    kinds: Sequence[int],
    config: Mapping[str, SignalConfig],
) -> list[Signal]:
    """The signals that are observed in each row, with what their reference held."""
    place = {number: j for j, number in enumerate(cohort.features)}
    here = joint.renumbered(place)
    own_kinds = [kinds[number] for number in cohort.features]
    table = build_table(
        [Watched(here, empty_partial(here), own_kinds, residual=True, mmd=False, missing=True)]
    )
    n = rows.n
    derived = table.derive(
        np.arange(n, dtype=np.int32),
        np.zeros(1, np.int32),
        np.array([0, n], np.int64),
        np.arange(n, dtype=np.int64) * rows.n_features,
        np.zeros(n, np.int64),
        np.arange(max(rows.n_features, 1), dtype=np.int32),
        rows.column("value"),
        rows.column("kind"),
        np.arange(n, dtype=np.int64),
    )
    found: list[Signal] = []
    if len(joint.components):
        x = derived[0][~np.isnan(derived[0])]
        mean = float(x.mean())
        scale = number_scale(len(x), mean, float(((x - mean) ** 2).sum()))
        assert scale is not None
        found.append(Signal(SOURCE_RESIDUAL, 0, 0, scale))
    if len(joint.missing):
        n_unusual = int(derived[2].sum())
        found.append(Signal(SOURCE_PATTERN, 0, 0, share_scale(n_unusual, n)))
    stated = [config.get(JOINT_NAMES[s.source], SignalConfig()).rhythm for s in found]
    ranks = rows.ranks(found, cohort.features, (), stated, derived)
    return [
        replace(signal, ranks=own)
        for signal, own in zip(found, ranks, strict=True)
        if signal.source != SOURCE_RESIDUAL or not _is_volatile(own)
    ]


def _is_volatile(ranks: object) -> bool:
    """Whether events far from the principal components come together, more than a budget bears."""
    return isinstance(ranks, Ranks) and rank_variance(ranks) > MAX_RESIDUAL_VARIANCE


_NO_PATTERNS: Final[tuple[I32, I64]] = (_NO_FEATURES, np.zeros(0, np.int64))


def _patterns(cohort: Cohort, rows: Rows, kinds: Sequence[int]) -> tuple[I32, I64]:
    """The features that were missing at times and there at times, and their usual combinations.

    With fewer than two such features `missing:X` says all there is to say.
    """
    if not cohort.features:
        return _NO_PATTERNS
    kind = rows.column("kind").reshape(rows.n, -1)
    expected = np.array([kinds[number] for number in cohort.features])
    is_scalar = (kind == ValueKind.NUMBER) | (
        (kind >= ValueKind.STRING) & (kind <= ValueKind.BOOLEAN)
    )
    absent: Bool = ~((kind == expected) | ((expected == KIND_ANY) & is_scalar))
    n_absent = absent.sum(axis=0)
    at = np.flatnonzero((n_absent > 0) & (n_absent < rows.n))
    numbers = np.array(cohort.features, np.int32)[at]
    order = np.argsort(numbers)[:MAX_FEATURES]
    if len(order) < 2:
        return _NO_PATTERNS
    return numbers[order], usual_patterns(absent[:, at[order]])
