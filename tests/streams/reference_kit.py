"""References as commands, for tests of whoever obeys them."""

from __future__ import annotations

import functools

import numpy as np

from detectors.reference_fit import fit_reference
from schemas.batch import ModelKey
from schemas.commands import SetReference
from schemas.config import DetectionConfig
from schemas.reference import ReferenceDocument
from tests.detectors.decoded import Event, decoded


@functools.cache
def reference(
    model: str = "m", version: str = "1", *, level: float = 0.0, n: int = 40, seed: int = 1
) -> ReferenceDocument:
    """Of n events with two normal numbers, the first around `level`, and a score."""
    rng = np.random.default_rng(seed)
    events = [
        Event(
            i,
            {"x": float(rng.normal()) + level, "y": float(rng.normal())},
            ModelKey(model, version),
            score=float(rng.random()),
            ts=1_000 * i,
        )
        for i in range(n)
    ]
    return fit_reference(decoded(events), DetectionConfig()).document


def set_reference(
    document: ReferenceDocument, name: str = "r1", model: str = "m", version: str = "1"
) -> SetReference:
    """The command that sets it for this model version."""
    return SetReference(
        command_id=name,
        by="ann",
        model_id=model,
        model_version=version,
        digest=document.digest,
        document=document,
    )
