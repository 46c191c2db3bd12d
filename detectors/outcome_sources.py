"""What signals that labels tell of observe: their sources, and how many rows are one observation.

They stand beside those of `detectors.kernels.observe`, which never meets them.
"""

from __future__ import annotations

from typing import Final

FIRST_OUTCOME: Final = 64
"""Sources from here on are of labels."""
(
    SOURCE_WRONG,
    SOURCE_RESIDUE,
    SOURCE_DELAY,
    SOURCE_COVERAGE,
    SOURCE_CALIBRATION,
    SOURCE_LABEL,
    SOURCE_SLICE,
    SOURCE_EXPECTED,
    SOURCE_GAP,
    SOURCE_SELECTION,
    SOURCE_RECALL,
    SOURCE_FALSE_POSITIVE,
    SOURCE_LEAKAGE,
    SOURCE_SLICE_RESIDUE,
) = range(FIRST_OUTCOME, FIRST_OUTCOME + 14)
"""`error` of a class and of a number, `label_delay`, `label_coverage`, `calibration`, `label:V`,
`error:F=V` of a class, `expected_error`, `error_gap`, and of two groups of a slice the ratio of
selection rates, the difference of recall, that of false-positive rates; `leakage`; and `error:F=V`
of a number."""
OUTCOME_SOURCES: Final = range(FIRST_OUTCOME, SOURCE_SLICE_RESIDUE + 1)

OUTCOME_SHARES: Final = frozenset({SOURCE_WRONG, SOURCE_COVERAGE, SOURCE_LABEL, SOURCE_SLICE})
"""Sources that observe 0 or 1."""
DISPARITIES: Final = (SOURCE_SELECTION, SOURCE_RECALL, SOURCE_FALSE_POSITIVE)
OF_GROUP: Final = frozenset({SOURCE_SLICE, SOURCE_SLICE_RESIDUE})
"""Sources of the errors of one group."""
OF_FEATURE: Final = OF_GROUP | frozenset(DISPARITIES)
"""Sources whose index is the number of a feature."""

BLOCK_ROWS: Final = 50
"""Rows of an observation of `expected_error` and `error_gap`: their mean is near enough to a normal
value, whatever the score's law, and what moves it is the mean and not the law."""
DISPARITY_ROWS: Final = 1_000
"""Labelled rows of an observation of a disparity."""
SAMPLED_ONE_OF: Final = 8
"""One of so many predictions keeps its features until its label comes."""
MAX_SAMPLED: Final = 32
"""Features that it keeps, an even number."""
LEAKAGE_ROWS: Final = 250
"""Rows of an observation of `leakage`, all in the sample: see `detectors.feature_sample`."""
BLOCKS: Final = {
    SOURCE_EXPECTED: BLOCK_ROWS,
    SOURCE_GAP: BLOCK_ROWS,
    **dict.fromkeys(DISPARITIES, DISPARITY_ROWS),
    SOURCE_LEAKAGE: LEAKAGE_ROWS * SAMPLED_ONE_OF,
}
"""Rows of an observation, of those sources of which it is more than one."""
