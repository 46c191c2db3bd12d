"""The environment of Quix Streams, which needs a confluent-kafka older than driftsentry's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.kit.isolated import isolated_python

REQUIREMENTS: Final = Path(__file__).with_name("requirements-quix.txt")


def quix_python() -> Path:
    """The interpreter that has Quix Streams. Raises `EnvironmentMissingError`."""
    return isolated_python("quix", REQUIREMENTS)
