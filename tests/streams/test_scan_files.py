"""Whatever file a stranger names: a scan, or a sentence that says what to do."""

from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.cli import main
from streams.scan import ScanOptions
from streams.scan_columns import ScanError
from tests.streams.scan_kit import scanned, shifting_table, write_csv, write_parquet

TABLE = shifting_table(300, shift_at=150)


def parquet_bytes(tmp_path: Path) -> bytes:
    return write_parquet(tmp_path / "whole.parquet", TABLE).read_bytes()


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n\n  \n", "is empty"),
    "empty.csv.gz": (gzip.compress(b""), "is empty"),
    "empty.parquet": (b"", "write it again"),
    "header.csv": (b"a,b\n", "no row"),
    "values.csv": (b"1,2\n3,4\n", "add a line of column names"),
    "blank-first.csv": (b"\n1;true\na;b\n", "first line of blank-first.csv is empty"),
    "long-name.csv": (b"a" * 200_000 + b",b\n1,2\n", "holds no column names"),
    "twice.csv": (b"a,b,a\n1,2,3\n", "two columns have the name `a`"),
    "latin.csv": (b"name,x\ncaf\xe9,1\n", "--encoding"),
    "latin-name.csv": (b"caf\xe9,x\na,1\n", "--encoding"),
    "ragged.csv": (b"a\n" + b"1,2,3\n" * 10, "--delimiter"),
    "array.json": (b'[{"a": 1}]', "one object a line"),
    "broken.jsonl": (b'{"a": NaN}\n{"a": NaN}\n', "without NaN"),
    "csv.parquet": (b"a,b\n1,2\n", "--format csv"),
    "book.xlsx": (b"PK\x03\x04rest", "save it as CSV"),
    "frame.feather": (b"ARROW1\0\0", "save it as Parquet"),
    "table.csv.zst": (b"\x28\xb5\x2f\xfdrest", "unpack it first"),
    "cut.csv.gz": (gzip.compress(b"a,b\n" + b"1,2\n" * 5_000)[:-30], "copy it again"),
    "damaged.csv.gz": (gzip.compress(b"a\n1\n")[:12] + b"\xff" * 20, "copy it again"),
    "cut.parquet": (b"PAR1" + b"\0" * 100, "copy or write it again"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_cannot_be_scanned_is_a_sentence_and_exit_code_2(
    name: str, tmp_path: Path
) -> None:
    content, remedy = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(content)
    result = CliRunner().invoke(main, ["scan", str(path), "--no-report"])
    assert result.exit_code == 2, result.output
    assert remedy in result.stderr
    assert result.stderr.startswith("driftsentry: ")
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_a_parquet_file_that_holds_fewer_rows_than_it_says(tmp_path: Path) -> None:
    path = tmp_path / "short.parquet"
    path.write_bytes((Path(__file__).parents[1] / "fuzz/corpus/parquet/fewer-rows").read_bytes())
    with pytest.raises(ScanError, match="it announces"):
        scanned(path)


def test_other_ways_of_not_being_there(tmp_path: Path) -> None:
    for path, remedy in ((tmp_path / "none.csv", "check the path"), (tmp_path, "name one file")):
        result = CliRunner().invoke(main, ["scan", str(path)])
        assert result.exit_code == 2
        assert remedy in result.stderr
    whole = parquet_bytes(tmp_path)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole[: len(whole) // 2])
    assert CliRunner().invoke(main, ["scan", str(cut)]).exit_code == 2
    # Its foot is whole and a page is not: found out while reading.
    cut.write_bytes(whole[:40] + b"\xff" * 2_000 + whole[2_040:])
    result = CliRunner().invoke(main, ["scan", str(cut), "--no-report"])
    assert result.exit_code == 2
    assert "cut.parquet" in result.stderr


def test_two_parquet_columns_of_one_name(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1, 2], [3, 4]], names=["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(ScanError, match="two columns have the name `a`"):
        scanned(tmp_path / "t.parquet")


@pytest.mark.parametrize("ending", ["txt", "parquet.bak", "data", "csv"])
def test_what_a_file_holds_counts_and_not_its_ending(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{ending}"
    path.write_bytes(parquet_bytes(tmp_path))
    assert scanned(path)[0].n_folded == 300
    write_csv(path, TABLE)
    assert scanned(path)[0].n_folded == 300


def csv_scan(tmp_path: Path, text: str, **options: Any) -> Any:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(options.get("encoding", "utf-8")))
    return scanned(path, ScanOptions(**options))[0]


def test_one_row_is_a_scan(tmp_path: Path) -> None:
    scan = csv_scan(tmp_path, "a,b\n1,2\n")
    assert (scan.n_rows, scan.n_folded, scan.n_signals) == (1, 1, 0)


def test_no_column_of_numbers_is_a_scan(tmp_path: Path) -> None:
    scan = csv_scan(tmp_path, "a,b\n" + "red,blue\n" * 200)
    assert scan.n_folded == 200
    assert scan.plan.texts == {"a", "b"}


def test_rows_of_another_length_are_refused_by_their_number(tmp_path: Path) -> None:
    rows = [f'{i},"a\nb"' for i in range(200)]
    rows[7], rows[90], rows[199] = "7", "90,a,b", "199,a,b,c"
    scan = csv_scan(tmp_path, "x,t\n" + "\n".join(rows))
    refused = scan.refused["unreadable_row"]
    assert refused.examples == [7, 90, 199]
    assert refused.detail == "1 values for 2 names"
    assert (scan.n_rows, scan.n_folded) == (200, 197)


def test_refused_rows_keep_the_numbers_of_the_others(tmp_path: Path) -> None:
    rows = [f"{1_790_000_000 + i},{i}" for i in range(200)]
    rows[7], rows[90], rows[150] = "1", "soon,90", ",150"
    scan = csv_scan(tmp_path, "ts,x\n" + "\n".join(rows))
    assert {reason: refused.examples for reason, refused in scan.refused.items()} == {
        "unreadable_row": [7],
        "bad_timestamp": [90],
        "wrong_type": [150],
    }


def test_values_are_what_their_whole_column_holds(tmp_path: Path) -> None:
    # The first block of 4 MiB holds whole numbers only.
    n = 400_000
    rows = [f"{i},{i % 5},{'true' if i % 3 else 'FALSE'},{i}" for i in range(n)]
    rows[n - 1] = "2.5,oops,,123456789012345678901234567890"
    scan = csv_scan(tmp_path, "x,mixed,flag,big\n" + "\n".join(rows))
    assert not scan.refused
    assert scan.n_folded == n
    assert scan.notes == [
        "`mixed` holds numbers, but not in row 399,999: what is no number there counts as missing"
    ]
    curve = scan.series.curve(scan.models[0], "feature:big")
    assert curve is not None
    assert curve.means[-1] > 1e20


@pytest.mark.parametrize("number", ["9" * 23, "-" + "9" * 23, "9" * 400, str(2**64), str(2**63)])
def test_a_number_beyond_64_bits_among_text_is_a_number(number: str, tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_text("x,y\n" + f"abc,1\n{number},1\n" * 20)
    scan, _ = scanned(path)
    assert not scan.refused
    assert scan.n_folded == 40


def test_other_delimiters_encodings_and_a_byte_order_mark(tmp_path: Path) -> None:
    rows = "\n".join(f"{i};{i % 5};é" for i in range(200))
    for encoding in ("utf-8", "utf-8-sig", "latin-1", "utf-16"):
        said = "utf-8" if encoding == "utf-8-sig" else encoding
        path = tmp_path / "t.csv"
        path.write_bytes(f"x;y;té\n{rows}\n".encode(encoding))
        scan, _ = scanned(path, ScanOptions(encoding=said))
        assert scan.plan.features == ("x", "y", "té"), encoding
        assert scan.n_folded == 200
    scan = csv_scan(tmp_path, "x:y\n" + "1:2\n" * 50, delimiter=":")
    assert scan.plan.features == ("x", "y")


def test_columns_that_cannot_be_watched_are_named(tmp_path: Path) -> None:
    n = 100
    table = pa.table(
        {
            "x": pa.array(range(n), pa.uint64()),
            "price": pa.array(range(n), pa.int64()).cast(pa.decimal128(30, 2)),
            "kind": pa.array(["a", "b"] * 50).dictionary_encode(),
            "day": pa.array([None, 3] * 50, pa.date32()),
            "at": pa.array([2**62] * n, pa.timestamp("ns", "UTC")),
            "took": pa.array(range(n), pa.duration("ms")),
            "list": [[1, 2]] * n,
            "bytes": [b"\xff"] * n,
            "nothing": pa.nulls(n),
            "half": pa.array([1.5] * n, pa.float32()).cast(pa.float16()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    scan, _ = scanned(tmp_path / "t.parquet")
    assert not scan.refused
    assert set(scan.plan.left_out) == {"list", "bytes"}
    assert {"x", "price", "kind", "day", "at", "took", "nothing", "half"} == set(scan.plan.features)
    curve = scan.series.curve(scan.models[0], "feature:price")
    assert curve is not None
    assert curve.means[0] == sum(range(20)) / 20


@settings(deadline=None, max_examples=60)
@given(content=st.binary(max_size=300), start=st.sampled_from([b"", b"a,b\n", b'{"a": 1}\n']))
def test_no_bytes_make_it_fail_in_another_way(
    content: bytes, start: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "file"
    path.write_bytes(start + content)
    with suppress(ScanError):
        scan, _ = scanned(path)
        n_refused = sum(refused.n_rows for refused in scan.refused.values())
        assert scan.n_folded + n_refused == scan.n_rows


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, 2_000), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_parquet_file_is_a_scan_or_an_error(
    at: int, byte: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("bytes")
    whole = bytearray(parquet_bytes(directory))
    at = len(whole) - 1 - at % len(whole)
    whole[at] = byte
    path = directory / "t.parquet"
    path.write_bytes(whole[:at] if cut else whole)
    with suppress(ScanError):
        scanned(path)
