"""The census as columns: all of it where this machine has it, else the sample that is shipped."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types

from schemas.batch import F64
from streams.census import read_sample

FILE: Final = "us_census_ma_employment.parquet"
MISSING: Final = f"DRIFTSENTRY_DATA names no directory that holds {FILE}"


@dataclass(frozen=True, slots=True)
class CensusRows:
    """(n,) each, in file order."""

    predicted: F64
    """1: employed, says a real model."""
    score: F64
    """Its probability of 1."""
    employed: F64
    """The truth."""
    age: F64

    def __len__(self) -> int:
        return len(self.score)


def whole_census() -> CensusRows | None:
    """All rows; None: see `MISSING`."""
    path = Path(os.environ.get("DRIFTSENTRY_DATA", "")) / FILE
    if "DRIFTSENTRY_DATA" not in os.environ or not path.is_file():
        return None
    names = ("prediction", "predicted_probability", "employed", "AGEP")
    table = pq.read_table(path, columns=list(names))
    return CensusRows(*(table[name].to_numpy().astype(np.float64) for name in names))


def census_sample() -> CensusRows:
    """The 21,600 rows that are part of the package."""
    sample = read_sample()
    return CensusRows(
        sample.prediction.astype(np.float64),
        sample.probability,
        sample.employed.astype(np.float64),
        sample.features["AGEP"].astype(np.float64),
    )
