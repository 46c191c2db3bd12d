"""A window as rows, and as a file: what stands in it, and that it is there whole or not at all."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa  # type: ignore[import-untyped]  # it comes without type hints
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # the same
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import DetectionConfig
from schemas.records import Record
from schemas.retraining import CleanWindow
from streams import window_files, window_reader
from streams.responder_ports import EventWindows, ModelName, WindowGoneError
from streams.retraining_gate import WindowFacts
from streams.window_export import (
    NothingToTrainOnError,
    OtherWindowError,
    RequestError,
    export_window,
    find_request,
)
from streams.window_facts import QuarantineKeyError
from streams.window_files import UnfitError, write_ndjson, write_parquet, writer_of
from streams.window_reader import (
    Decoder,
    KafkaEventWindows,
    WindowError,
    read_window,
)
from streams.window_rows import TrainingRow, training_rows
from tests.schemas.arrow_streams import stream_of
from tests.streams.events import START_MS
from tests.streams.window_kit import (
    DECODER,
    MemoryEvents,
    labelled,
    predicted,
    quarantine,
    record,
    request,
    window,
    wish,
)

MODEL = ModelName("driftsentry", "churn")


def records_of(*events: dict[str, Any] | bytes) -> list[Record]:
    return [record(offset, event) for offset, event in enumerate(events)]


def rows_of(*events: dict[str, Any] | bytes, parts: Any = ()) -> list[dict[str, Any]]:
    records = records_of(*events)
    reader = MemoryEvents(records, high=len(records))
    of = wish(window((0, 0, len(records) - 1)), *parts)
    pairs = read_window(reader, of, DECODER).pairs()
    return [orjson.loads(each.as_json()) for each in training_rows(pairs, records)]


def table_of(
    tmp_path: Path, rows: list[TrainingRow], name: str = "out.parquet"
) -> dict[str, list[Any]]:
    path = tmp_path / name
    assert write_parquet(rows, path) == len(rows)
    columns: dict[str, list[Any]] = pq.read_table(path).to_pydict()
    return columns


def row(number: int = 1, **given: Any) -> TrainingRow:
    fields: dict[str, Any] = {
        "event_id": f"e{number}",
        "ts_ms": START_MS + number,
        "model_version": "7",
        "features": {"age": 41},
        "prediction": 1,
        "score": None,
        "label": 0,
    }
    return TrainingRow(**{**fields, **given})


# Rows.


def test_a_row_has_what_the_model_saw_and_what_was_true() -> None:
    features = {"plan": "basic", "age": 41, "is_new": True, "odd": [1], "income": None, "z": 0.5}
    (found,) = rows_of(
        predicted(1, "yes", features=features, probabilities={"no": 0.25, "yes": 0.75}),
        labelled(1, "no"),
    )
    assert found == {
        "event_id": "e1",
        "ts": START_MS + 1,
        "model_version": "7",
        "features": {
            "age": 41,
            "income": None,
            "is_new": True,
            "odd": None,
            "plan": "basic",
            "z": 0.5,
        },
        "prediction": "yes",
        "score": 0.75,
        "label": "no",
    }
    assert list(found["features"]) == sorted(features)


def test_no_source_stands_in_a_row() -> None:
    events = predicted(1, source="a client"), labelled(1, source="a lab")
    assert b"a client" not in orjson.dumps(rows_of(*events))
    assert b"a lab" not in orjson.dumps(rows_of(*events))


def test_rows_are_in_the_order_of_the_log_and_without_what_is_left_out() -> None:
    found = rows_of(
        *(labelled(3), predicted(2), predicted(1, source="eve"), predicted(3)),
        *(labelled(1), labelled(2), predicted(4), predicted(3)),
        parts=[quarantine(0, 9, "eve")],
    )
    assert [each["event_id"] for each in found] == ["e2", "e3"]


@pytest.mark.parametrize("value", [0, -5, 2**63, 1.0, 0.1, "1", "", "007", True, False])
def test_labels_and_predictions_are_as_they_were_sent(value: Any) -> None:
    (found,) = rows_of(predicted(1, value), labelled(1, value))
    assert repr((found["prediction"], found["label"])) == repr((value, value))


def test_an_event_without_prediction_and_score_has_neither() -> None:
    (found,) = rows_of(predicted(1, None), labelled(1))
    assert (found["prediction"], found["score"], found["label"]) == (None, None, 1)


def test_rows_of_arrow_are_those_of_json() -> None:
    events = [predicted(number, number % 2, score=0.5) for number in range(6)]
    labels = [labelled(5), labelled(0), labelled(3, 0)]
    in_json = rows_of(*events, *labels)
    assert rows_of(stream_of(events[:4]), stream_of(events[4:]), *labels) == in_json
    assert [each["event_id"] for each in in_json] == ["e0", "e3", "e5"]


def test_other_records_at_the_second_reading_are_refused() -> None:
    records = records_of(predicted(1), labelled(1), predicted(2), labelled(2))
    reader = MemoryEvents(records, high=4)
    pairs = read_window(reader, wish(window((0, 0, 3))), DECODER).pairs()
    with pytest.raises(ValueError, match="second reading"):
        list(training_rows(pairs, records[:2]))


# Files.


def test_the_name_of_a_file_says_its_form() -> None:
    assert writer_of(Path("a.NDJSON")) is write_ndjson
    assert writer_of(Path("a.b.parquet")) is write_parquet
    assert writer_of(Path("a.csv")) is None


def test_parquet_has_a_column_for_each_feature(tmp_path: Path) -> None:
    rows = [
        row(1, features={"b": 1, "a": "x", "c": None, "d": True}, score=0.5),
        row(2, features={"b": 2.5, "c": None, "e": 2**64 - 1}, label=1),
    ]
    path = tmp_path / "out.parquet"
    assert write_parquet(rows, path) == 2
    table = pq.read_table(path)
    assert table.schema.names == [
        *("event_id", "ts", "model_version"),
        *("features.a", "features.b", "features.c", "features.d", "features.e"),
        *("prediction", "score", "label"),
    ]
    moment = dt.datetime.fromtimestamp((START_MS + 1) / 1000, dt.UTC)
    assert table.to_pylist()[0] == {
        "event_id": "e1",
        "ts": moment,
        "model_version": "7",
        "features.a": "x",
        "features.b": 1.0,
        "features.c": None,
        "features.d": True,
        "features.e": None,
        "prediction": 1,
        "score": 0.5,
        "label": 0,
    }
    assert table.schema.field("features.c").type == pa.float64()
    assert table["features.b"].to_pylist() == [1.0, 2.5]
    assert table["features.e"].to_pylist() == [None, 2.0**64]


@pytest.mark.parametrize(
    ("values", "kind", "stands"),
    [
        ([1, 0], pa.int64(), [1, 0]),
        ([1, 0.5], pa.float64(), [1.0, 0.5]),
        ([True, None], pa.bool_(), [True, None]),
        (["a", "b"], pa.string(), ["a", "b"]),
        (["1", 1], pa.string(), ["1", "1"]),
        ([True, 1], pa.string(), ["true", "1"]),
        ([2**63, 1], pa.string(), [str(2**63), "1"]),
    ],
)
def test_predictions_and_labels_have_one_type(
    tmp_path: Path, values: list[Any], kind: pa.DataType, stands: list[Any]
) -> None:
    path = tmp_path / "out.parquet"
    write_parquet([row(prediction=values[0], label=values[1])], path)
    table = pq.read_table(path)
    assert [table["prediction"][0].as_py(), table["label"][0].as_py()] == stands
    assert {table.schema.field(name).type for name in ("prediction", "label")} == {kind}


def test_a_feature_of_several_kinds_is_text(tmp_path: Path) -> None:
    rows = [row(features={"x": each}) for each in ("a", 1, 2.5, True, None)]
    assert table_of(tmp_path, rows)["features.x"] == ["a", "1", "2.5", "true", None]


def test_too_many_features_are_refused_and_no_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_files, "MAX_COLUMNS", 3)
    rows = [row(features={f"f{i}": i}) for i in range(4)]
    with pytest.raises(UnfitError, match=r"more than 3 features .*\.ndjson"):
        write_parquet(rows, tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []
    assert write_ndjson(rows, tmp_path / "out.ndjson") == 4


@pytest.mark.parametrize("write", [write_ndjson, write_parquet])
def test_a_file_is_replaced_whole_or_stays(tmp_path: Path, write: Callable[..., int]) -> None:
    path = tmp_path / "out"
    path.write_text("before")

    def broken() -> Any:
        yield row()
        raise RuntimeError("the topic is gone")

    with pytest.raises(RuntimeError):
        write(broken(), path)
    assert (path.read_text(), [each.name for each in tmp_path.iterdir()]) == ("before", ["out"])
    assert write([row()], path) == 1
    first = path.read_bytes()
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    write([row()], path)
    assert path.read_bytes() == first != b"before"


SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=3)
NUMBERS = SCALARS | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(
    st.builds(
        row,
        st.integers(0, 9),
        features=st.dictionaries(st.text(min_size=1, max_size=2), NUMBERS, max_size=3),
        prediction=NUMBERS,
        label=NUMBERS.filter(lambda each: each is not None),
        score=st.none() | st.floats(0, 1),
    ),
    min_size=1,
    max_size=6,
)


@given(ROWS, st.integers(1, 3))
def test_any_rows_can_be_written_and_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[TrainingRow], at_once: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    write_ndjson(rows, folder / "out.ndjson")
    lines = (folder / "out.ndjson").read_bytes().splitlines()
    assert [orjson.loads(line) for line in lines] == [orjson.loads(r.as_json()) for r in rows]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(window_files, "_ROWS_AT_ONCE", at_once)
        table = table_of(folder, rows)
    assert table["event_id"] == [each.event_id for each in rows]
    for name in {name for each in rows for name in each.features}:
        for said, wrote in zip(table[f"features.{name}"], rows, strict=True):
            assert_same(said, wrote.features.get(name))
    for said, wrote in zip(table["label"], rows, strict=True):
        assert_same(said, wrote.label)


def assert_same(said: object, wrote: object) -> None:
    if isinstance(said, str) and not isinstance(wrote, str):
        assert orjson.loads(said) == wrote
    else:
        assert said == wrote


# Reading, and the whole.


def topic(*events: dict[str, Any] | bytes, **given: Any) -> MemoryEvents:
    return MemoryEvents(records_of(*events), **{"high": len(events), **given})


TWO = (predicted(1), labelled(1), predicted(2), labelled(2, 0))


def test_half_of_a_window_is_none() -> None:
    with pytest.raises(WindowGoneError, match="begins at offset 2, and the window at 1: retention"):
        read_window(topic(*TWO, low=2), wish(window((0, 1, 3))), DECODER)
    with pytest.raises(WindowError, match="up to offset 2, and the window ends at 3: wait"):
        read_window(topic(*TWO, high=3), wish(window((0, 1, 3))), DECODER)
    exact = read_window(topic(*TWO, low=1, high=3), wish(window((0, 1, 2))), DECODER)
    assert exact.facts().n_predictions == 1


def test_the_responder_is_told_and_remembers() -> None:
    reader = topic(*TWO)
    windows: EventWindows = KafkaEventWindows(reader, DECODER)
    whole, half = window((0, 0, 3)), window((0, 0, 1))
    parts = [quarantine(0, 3, "eve")]

    async def ask(of: CleanWindow, *given: Any) -> WindowFacts | None:
        return await windows.facts(MODEL, "7", of, given)

    async def all_of_it() -> list[WindowFacts | None]:
        return [
            *await asyncio.gather(ask(whole), ask(half), ask(whole)),
            await ask(whole, *parts),
            await windows.facts(MODEL, "8", whole, ()),
            await ask(whole),
        ]

    found = asyncio.run(all_of_it())
    assert [each[:4] for each in found if each is not None] == [
        *((2, 2, 1, 0), (1, 1, 0, 0), (2, 2, 1, 0)),
        *((2, 2, 1, 0), (0, 0, None, 0), (2, 2, 1, 0)),
    ]
    assert reader.n_readings == 4


def test_no_more_facts_are_remembered_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window_reader, "_KEPT", 2)
    reader = topic(*TWO)
    windows = KafkaEventWindows(reader, DECODER)

    async def ask() -> None:
        for last in (1, 2, 1, 3, 2, 1):  # 2 has waited longest when 3 comes
            await windows.facts(MODEL, "7", window((0, 0, last)), ())

    asyncio.run(ask())
    assert reader.n_readings == 5


def test_what_cannot_be_told_is_not_remembered() -> None:
    windows = KafkaEventWindows(topic(*TWO, high=3), DECODER)
    without_key = KafkaEventWindows(topic(*TWO), Decoder(DetectionConfig(), None))

    async def ask() -> None:
        for _ in range(2):
            with pytest.raises(WindowError):
                await windows.facts(MODEL, "7", window((0, 0, 3)), ())
            with pytest.raises(QuarantineKeyError):
                await without_key.facts(MODEL, "7", window((0, 0, 3)), [quarantine(0, 3, "eve")])

    asyncio.run(ask())


def test_a_request_gives_the_same_bytes_each_time(tmp_path: Path) -> None:
    parts = [quarantine(0, 9, "eve")]
    events = (*TWO, predicted(3, source="eve"), labelled(3))
    of = request(window((0, 0, 5), n_predictions=3, n_labels=2, n_quarantined=1), *parts)
    for write in (write_ndjson, write_parquet):
        written = []
        for number, at_once in enumerate((1, 2, 100)):
            path = tmp_path / f"{number}.out"
            exported = export_window(topic(*events, at_once=at_once), of, DECODER, write, path)
            assert (exported.n_rows, exported.facts.n_quarantined) == (2, 1)
            written.append(path.read_bytes())
        assert len(set(written)) == 1
    lines = (tmp_path / "0.out").read_bytes()
    assert b"e3" not in lines


def test_a_window_that_has_other_events_than_the_request_says_is_refused(tmp_path: Path) -> None:
    said = window((0, 0, 3), n_predictions=2, n_labels=1, n_quarantined=0)
    path = tmp_path / "out.ndjson"
    with pytest.raises(OtherWindowError, match=r"2 predictions, 1 labels and 0 left out, .* 2, 2"):
        export_window(topic(*TWO), request(said), DECODER, write_ndjson, path)
    assert not path.exists()


def test_nothing_to_train_on_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    of = request(window((0, 0, 0)))
    with pytest.raises(NothingToTrainOnError, match="none of the 1 predictions of churn 7"):
        export_window(topic(*TWO), of, DECODER, write_ndjson, path)
    assert list(tmp_path.iterdir()) == []


class Compacted:
    def __init__(self, **values: bytes) -> None:
        self.values = values

    def latest(self, topic: str, prefix: bytes) -> dict[bytes, bytes]:
        assert topic == "driftsentry.retraining"
        return {
            key.encode(): value
            for key, value in self.values.items()
            if key.startswith(prefix.decode())
        }


def test_a_request_is_found_by_its_id() -> None:
    wanted = request(window((0, 0, 3)))
    reader = Compacted(aaaaa=wanted.model_dump_json().encode(), bbbbb=b"{}")
    for typed in ("aaaa", " AAAAA "):
        assert find_request(reader, "driftsentry.retraining", typed) == wanted
    with pytest.raises(RequestError, match="there is no request cccc"):
        find_request(reader, "driftsentry.retraining", "cccc")
    with pytest.raises(RequestError, match="bbbb is no retraining request: 16 fields"):
        find_request(reader, "driftsentry.retraining", "bbbb")
