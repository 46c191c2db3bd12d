"""Every fuzz target by name, and its corpus. Modules are loaded late: the fuzzer instruments them.

The order of `MODULES` is that of the report; a target's module is loaded only to run it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from tests.fuzz.target import Target

ROOT: Final = Path(__file__).parents[2]
CORPUS: Final = Path(__file__).parent / "corpus"
MAX_FILES: Final = 100
"""Of a target's corpus."""

MODULES: Final[dict[str, str]] = {
    "events": "events",
    "arrow": "events",
    "timestamps": "events",
    "manifest": "checkpoints",
    "segment": "checkpoints",
    "bundle": "checkpoints",
    "chunks": "checkpoints",
    "metadata": "commits",
    "journal": "commits",
    "commands": "commits",
    "config": "commits",
    "fold": "states",
    "policy": "states",
    "security": "security",
    "calibration": "security",
    "alerts": "outputs",
    "audit": "outputs",
    "evidence": "incidents",
    "stored": "incidents",
    "words": "incidents",
    "noted": "trails",
    "trail": "trails",
    "csv": "files",
    "ndjson": "files",
    "parquet": "files",
    "file": "files",
}
"""The module of each target."""

PACKAGES: Final = ("schemas", "detectors", "streams")
ALSO: Final[dict[str, Sequence[str]]] = {"config": ("yaml",)}
"""Other people's Python that a target goes through: instrumented as well."""

CHECKED: Final = frozenset({"fold", "security", "calibration"})
"""Whose kernels check their indices."""


def load(name: str) -> Target:
    """The target of this name."""
    module = import_module(f"tests.fuzz.{MODULES[name]}")
    targets: Sequence[Target] = module.TARGETS
    return next(target for target in targets if target.name == name)


def corpus(name: str) -> list[Path]:
    """The files of a target's corpus, in order of their names."""
    return sorted((CORPUS / name).glob("*"))
