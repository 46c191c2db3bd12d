r"""Names of signals that are made of names from outside: no two signals of a model share one.

In the name of a feature `=` is written `\=`, and `\` is `\\`, since `=` begins a category. A
category or class whose own name is one of ours, or begins with `\`, has a `\` before it.
"""

from __future__ import annotations

import re
from typing import Final

JOINT_RESIDUAL: Final = "joint:residual"
JOINT_MMD: Final = "joint:mmd"
JOINT_MISSING: Final = "joint:missing"
JOINT: Final = (JOINT_RESIDUAL, JOINT_MMD, JOINT_MISSING)
"""The signals of all features together."""
ERROR: Final = "error"
"""Whether a prediction was wrong, or by how much a number was too high."""
LABEL_DELAY: Final = "label_delay"
LABEL_COVERAGE: Final = "label_coverage"
CALIBRATION: Final = "calibration"
EXPECTED_ERROR: Final = "expected_error"
ERROR_GAP: Final = "error_gap"
LEAKAGE: Final = "leakage"
OF_LABELS: Final = (
    ERROR,
    LABEL_DELAY,
    LABEL_COVERAGE,
    CALIBRATION,
    EXPECTED_ERROR,
    ERROR_GAP,
    LEAKAGE,
)
"""The signals of labels that a model version has one of."""
SELECTION, RECALL, FALSE_POSITIVE = "selection_ratio", "recall_gap", "false_positive_gap"
DISPARITY: Final = (SELECTION, RECALL, FALSE_POSITIVE)
"""The signals of the groups of a slice, before the feature's name."""
LATENCY: Final = "latency"
QUALITY_LATE: Final = "quality:late"
QUALITY_FUTURE: Final = "quality:future"
QUALITY_DUPLICATE: Final = "quality:duplicate"
QUALITY_RANGE: Final = "quality:range"
QUALITY_STUCK: Final = "quality:stuck"
QUALITY_TYPE: Final = "quality:type"
REPRESENTATIVENESS: Final = "representativeness"
"""How unusual events are by the reference, over all features: more is less typical."""
QUALITY: Final = (
    QUALITY_LATE,
    QUALITY_FUTURE,
    QUALITY_DUPLICATE,
    QUALITY_RANGE,
    QUALITY_STUCK,
    QUALITY_TYPE,
    REPRESENTATIVENESS,
)
"""The shares of events that something is wrong with, and how unusual they are."""
NEW_CATEGORY: Final = "__new__"
OTHER_CLASS: Final = "__other__"
_OURS: Final = frozenset({NEW_CATEGORY, OTHER_CLASS})
_SPECIAL: Final = re.compile(r"[\\=]")
_FEATURE: Final = re.compile(r"((?:[^\\=]|\\.)*)(=?)(.*)", re.DOTALL)


def feature_signal(feature: str) -> str:
    """The signal of a feature that is a number."""
    return "feature:" + _SPECIAL.sub(r"\\\g<0>", feature)


def category_signal(feature: str, category: str) -> str:
    """The signal of the share of one category of a feature."""
    return f"{feature_signal(feature)}={_value(category)}"


def new_signal(feature: str) -> str:
    """The signal of the share of new categories of a feature."""
    return f"{feature_signal(feature)}={NEW_CATEGORY}"


def slice_signal(feature: str, category: str) -> str:
    """The signal of the errors on events with this category of a feature."""
    return ERROR + category_signal(feature, category).removeprefix("feature")


def disparity_signal(kind: str, feature: str) -> str:
    """The signal of what sets the groups of a feature apart; `kind` is one of `DISPARITY`."""
    return kind + feature_signal(feature).removeprefix("feature")


def label_signal(name: str) -> str:
    """The signal of the share of labels that say this class."""
    return f"label:{_value(name)}"


def class_signal(name: str) -> str:
    """The signal of the share of a predicted class."""
    return f"class:{_value(name)}"


def other_signal() -> str:
    """The signal of the share of classes that the reference did not have."""
    return f"class:{OTHER_CLASS}"


def of_feature(signal: str) -> tuple[str, str | None]:
    """The feature of a signal `feature:...`, and its category or NEW_CATEGORY, both as written.

    None where it is of no category.
    """
    found = _FEATURE.fullmatch(signal.removeprefix("feature:"))
    assert found is not None
    return found[1], found[3] if found[2] else None


def plain(written: str) -> str:
    """The name from outside that stands written so in a signal's."""
    return re.sub(r"\\(.)", r"\1", written, flags=re.DOTALL)


def plain_value(written: str) -> str:
    """That of a category or a class."""
    return written.removeprefix("\\")


def _value(name: str) -> str:
    return f"\\{name}" if name in _OURS or name.startswith("\\") else name
