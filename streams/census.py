"""The census sample: what it holds, where it changes, and its reader.

`streams/sample/README.md` says where the rows come from and how they were cut.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, NamedTuple

import numpy as np

from schemas.batch import F64, I64

FEATURES: Final = (
    "AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG",
    "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P",
)  # fmt: skip
STRETCHES: Final = ((134_400, 140_900), (201_100, 216_200))
"""The rows of the whole data set that the sample holds: half-open, in file order."""
SAMPLE_SHA256: Final = "fc2dc55438acb6364882277d89cde9201a37084affb37596407bb200085b8b74"
"""Of the uncompressed CSV: gzip's own bytes differ between versions of zlib."""

MEANINGS: Final = {
    "AGEP": "age in years",
    "SCHL": "education, 1 none to 24 doctorate",
    "MAR": "marital status, 1 married to 5 never married",
    "RELP": "relationship to the householder; 16 and 17 live in group quarters",
    "DIS": "disability, 1 with, 2 without",
    "ESP": "employment of the parents, children only",
    "CIT": "citizenship, 1 born in the US to 5 not a citizen",
    "MIG": "lived in the same house a year ago",
    "MIL": "military service",
    "ANC": "ancestry, how many were named",
    "NATIVITY": "1 native, 2 foreign born",
    "DEAR": "hearing difficulty, 1 yes, 2 no",
    "DEYE": "vision difficulty, 1 yes, 2 no",
    "DREM": "cognitive difficulty, 1 yes, 2 no",
    "SEX": "male or female",
    "RAC1P": "race code",
}
"""What the columns are, in few words (ACS PUMS data dictionary)."""


class RealChange(NamedTuple):
    """A change that is in the data set itself, measured there; nobody put it in."""

    row: int
    """The first row after it, counted in the whole data set."""
    title: str


REAL_CHANGES: Final = (
    RealChange(137_911, "people in group quarters vanish (7 % of the rows, then none)"),
    RealChange(202_404, "only people in group quarters (none, then 100 % of the rows)"),
    RealChange(212_675, "people in group quarters vanish again (100 % of the rows, then none)"),
)


@dataclass(frozen=True, slots=True)
class CensusSample:
    """The sample as columns of n rows, in file order."""

    row: I64
    """(n,) row number in the whole data set."""
    features: dict[str, I64]
    """Per feature (n,) codes, in the order of `FEATURES`."""
    prediction: I64
    """(n,) what the model said: 1 employed."""
    probability: F64
    """(n,) its probability of 1."""
    employed: I64
    """(n,) the truth."""

    def __len__(self) -> int:
        return len(self.row)

    def index_of(self, row: int) -> int:
        """Where the sample holds this row of the whole data set; KeyError if it does not."""
        index = int(np.searchsorted(self.row, row))
        if index == len(self.row) or self.row[index] != row:
            raise KeyError(row)
        return index


def read_sample() -> CensusSample:
    """The sample that is shipped with the package; ValueError if it is not the expected one."""
    packed = files("streams").joinpath("sample", "census_ma.csv.gz").read_bytes()
    text = gzip.decompress(packed)
    if hashlib.sha256(text).hexdigest() != SAMPLE_SHA256:
        raise ValueError("streams/sample/census_ma.csv.gz is not the sample this version expects")
    lines = csv.reader(text.decode().splitlines())
    names = next(lines)
    columns = dict(zip(names, zip(*lines, strict=True), strict=True))

    def integers(name: str) -> I64:
        return np.array(columns[name], dtype=np.int64)

    return CensusSample(
        row=integers("row"),
        features={name: integers(name) for name in FEATURES},
        prediction=integers("prediction"),
        probability=np.array(columns["predicted_probability"], dtype=np.float64),
        employed=integers("employed"),
    )
