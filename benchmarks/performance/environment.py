"""The environment of NannyML and scikit-learn, which nothing else here needs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.kit.isolated import isolated_python

REQUIREMENTS: Final = Path(__file__).with_name("requirements-nannyml.txt")


def nannyml_python() -> Path:
    """The interpreter that has NannyML and scikit-learn. Raises `EnvironmentMissingError`."""
    return isolated_python("nannyml", REQUIREMENTS)
