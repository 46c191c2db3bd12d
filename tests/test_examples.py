"""The examples run: a training job that trains once a request."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import joblib  # type: ignore[import-untyped]  # it ships no types
import orjson
import pytest
from confluent_kafka import Producer

from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.limits import DecodeLimits
from streams.window_facts import WindowEvents
from streams.window_facts import are_classes as product_says_classes
from tests.kit.pages import ROOT
from tests.streams.window_kit import labelled, predicted, record, request, window, wish

LIMITS = replace(DecodeLimits.of(DetectionConfig()), event_ids=True)
FIRST, SECOND = "1" * 32, "2" * 32


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


JOB = loaded("retrain_sklearn")


class Steps:
    """Stands for the export, the training and the writing, and notes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: list[str] = []
        self.fails_at = ""
        self.is_gone = False

    def export(self, request_id: str, path: Path) -> bool:
        self.step(f"export {request_id[0]}")
        path.write_bytes(b"one\ntwo\n")
        return not self.is_gone

    def train(self, lines: Iterable[bytes]) -> int:
        self.step("train")
        return len(list(lines))

    def save(self, model: int, path: Path) -> None:
        path.write_text(f"{model} rows")
        self.step("save")

    def step(self, name: str) -> None:
        self.done.append(name)
        if name == self.fails_at:
            raise RuntimeError(name)

    def handle(self, value: bytes | None) -> bool:
        found: bool = JOB.retrain(value, self.folder, self.export, self.train, self.save)
        return found

    def files(self) -> dict[str, str]:
        return {each.name: each.read_text() for each in self.folder.iterdir()}


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path)


def value_of(request_id: str = FIRST, **given: Any) -> bytes:
    of = request(window((0, 0, 3)), request_id=request_id, **given)
    return of.model_dump_json().encode()


def test_each_released_request_is_trained_once(steps: Steps) -> None:
    assert steps.handle(value_of())
    assert not steps.handle(value_of())
    assert steps.handle(value_of(SECOND))
    assert steps.done == ["export 1", "train", "save", "export 2", "train", "save"]
    assert steps.files() == {f"{FIRST}.joblib": "2 rows", f"{SECOND}.joblib": "2 rows"}


@pytest.mark.parametrize("value", [value_of(status="held"), value_of(status="withdrawn"), None])
def test_what_is_not_released_is_not_looked_at(steps: Steps, value: bytes | None) -> None:
    assert not steps.handle(value)
    assert (steps.done, steps.files()) == ([], {})


@pytest.mark.parametrize("fails_at", ["export 1", "train", "save"])
def test_a_job_that_dies_anywhere_trains_again(steps: Steps, fails_at: str) -> None:
    steps.fails_at = fails_at
    with pytest.raises(RuntimeError, match=fails_at):
        steps.handle(value_of())
    assert steps.files() == {}
    steps.fails_at = ""
    assert steps.handle(value_of())
    assert steps.files() == {f"{FIRST}.joblib": "2 rows"}


def test_a_request_whose_events_are_gone_is_passed_over(steps: Steps) -> None:
    steps.is_gone = True
    assert not steps.handle(value_of())
    assert (steps.done, steps.files()) == (["export 1"], {})


def test_an_id_that_would_be_another_folder_is_refused(steps: Steps) -> None:
    with pytest.raises(ValueError, match="is no id of a request"):
        steps.handle(value_of("../../elsewhere"))
    assert steps.done == []


@pytest.mark.kafka
def test_the_job_follows_a_real_topic(
    kafka: str,
    new_topic: Callable[..., str],
    unique_name: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events, requests = new_topic("events"), new_topic("retraining", n_partitions=2)
    producer = Producer({"bootstrap.servers": kafka})
    for event in (predicted(1), labelled(1), predicted(2), labelled(2, 0)):
        producer.produce(events, value=orjson.dumps(event), key=b"churn")
    part = window((0, 0, 3)).model_copy(update={"topic": events})
    beyond = window((0, 0, 3), n_predictions=9, n_labels=9, n_quarantined=0)
    other = beyond.model_copy(update={"topic": events})
    for request_id, of, status in (
        (FIRST, part, "held"),
        (FIRST, part, "released"),
        (SECOND, other, "released"),  # its events are others by now
    ):
        value = request(of, request_id=request_id, status=status).model_dump_json()
        producer.produce(requests, value=value, key=request_id)
    assert producer.flush(30) == 0

    trained: list[list[Any]] = []

    def train(lines: Iterable[bytes]) -> str:
        trained.append([orjson.loads(line)["label"] for line in lines])
        return "a model"

    monkeypatch.setattr(JOB, "train_model", train)
    monkeypatch.setattr(JOB, "save_model", lambda model, path: path.write_text(model))
    # As where the distribution is installed: its command can be found.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    group = unique_name("retrain")
    command = ["--bootstrap-servers", kafka, "--topic", requests, "--models", str(tmp_path)]
    for _ in range(2):
        JOB.main([*command, "--group", group, "--once"])
    assert trained == [[1, 0]]
    JOB.main([*command, "--group", f"{group}-2", "--once"])  # another group reads it all again
    assert trained == [[1, 0]]
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        f"{FIRST}.joblib": "a model"
    }


def test_a_classifier_learns_from_all_kinds_of_features(tmp_path: Path) -> None:
    rows: list[bytes] = []
    asked: list[dict[str, Any]] = []
    true: list[str] = []
    for i in range(400):
        plan, age = ("basic", "gold")[i % 2], None if i % 5 == 0 else float(i % 7)
        features = {"plan": plan, "age": age, "is_new": i % 3 == 0}
        label = "yes" if plan == "gold" and (age is None or age > 3) else "no"
        rows.append(orjson.dumps({"features": features, "label": label}))
        asked.append(JOB.known(features))
        true.append(label)
    model = JOB.train_model(rows)
    said = model.predict(asked)
    assert sum(one == other for one, other in zip(said, true, strict=True)) >= 395
    JOB.save_model(model, tmp_path / "model")
    again = joblib.load(tmp_path / "model").predict(asked)
    assert (again == JOB.train_model(rows).predict(asked)).all()
    assert math.isnan(JOB.known({"x": None})["x"])


def row(number: int, label: object) -> bytes:
    return orjson.dumps(
        {"features": {"amount": number % 97, "plan": "ab"[number % 2]}, "label": label}
    )


def test_one_label_of_its_own_class_does_not_stop_the_job() -> None:
    # Early stopping, which comes with 10,000 rows, asks for two rows of each class.
    rows = [row(number, "ab"[number % 2]) for number in range(10_500)]
    odd = [row(number, 1_000 + number) for number in range(30)]
    model = JOB.train_model([*rows, row(0, "c"), *odd])
    assert list(model.predict([{"amount": 1, "plan": "a"}, {"amount": 1, "plan": "b"}])) == [
        "a",
        "b",
    ]


@pytest.mark.parametrize("label", [lambda n: n % 97 + 0.5, lambda n: n % 97 * 10**6 + n])
def test_numbers_are_learned_as_numbers(label: Callable[[int], float]) -> None:
    model = JOB.train_model([*(row(number, label(number)) for number in range(970)), row(0, "odd")])
    low, high = model.predict([{"amount": 10, "plan": "a"}, {"amount": 90, "plan": "a"}])
    assert low < high


def test_labels_that_are_all_alike_are_learned() -> None:
    model = JOB.train_model([row(number, True) for number in range(50)])
    assert list(model.predict([{"amount": 3}])) == [True]


def test_a_few_odd_numbers_do_not_make_numbers_of_classes() -> None:
    rows = [row(number, number % 2) for number in range(1_000)]
    model = JOB.train_model([*rows, *(row(number, 1_000 + number) for number in range(30))])
    assert list(model.predict([{"amount": 1, "plan": "a"}, {"amount": 1, "plan": "b"}])) == [0, 1]


@pytest.mark.parametrize("odd", [2**63, 2**64 - 1])
def test_a_whole_number_that_no_array_holds_does_not_stop_the_job(odd: int) -> None:
    classes = JOB.train_model([*(row(number, number % 2) for number in range(1_000)), row(0, odd)])
    assert list(classes.predict([{"amount": 1, "plan": "a"}, {"amount": 1, "plan": "b"}])) == [0, 1]
    numbers = [row(number, number % 97 + 0.5) for number in range(970)]
    (said,) = JOB.train_model([*numbers, row(0, odd)]).predict([{"amount": 90, "plan": "a"}])
    assert math.isfinite(said)


def test_a_feature_without_any_value_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        orjson.dumps({"features": {"age": number, "promo": None}, "label": number % 2})
        for number in range(200)
    ]
    model = JOB.train_model(rows)
    assert "left out, since no row has a value of them: 'promo'\n" in capsys.readouterr().out
    # Where it serves it may have one, and null as before.
    asked = [{"age": 4, "promo": 3.0}, JOB.known({"age": 4, "promo": None}), {"age": 4}]
    said = model.predict(asked)
    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize("features", [{}, {"promo": None}])
def test_a_request_of_which_nothing_can_be_learned_is_passed_over(
    features: dict[str, None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def export(_request_id: str, path: Path) -> bool:
        line = {"features": features, "label": 1}
        path.write_bytes(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) * 50)
        return True

    # It returns, and so its offset is committed.
    assert not JOB.retrain(value_of(), tmp_path, export, JOB.train_model, JOB.save_model)
    assert f"request {FIRST} passed over: no feature has a value" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def said_of(number: int, label: object, prediction: object) -> bytes:
    return orjson.dumps(
        {"features": {"plan": "ab"[number % 2]}, "label": label, "prediction": prediction}
    )


@pytest.mark.parametrize("labels", [(0, 1.0), (0.0, 1), (0.0, 1.0)])
def test_a_class_is_one_whether_or_not_it_is_written_with_a_point(
    labels: tuple[float, float],
) -> None:
    rows = [said_of(number, labels[number % 2], number % 2) for number in range(200)]
    model = JOB.train_model([*rows, said_of(0, 0.5, 0), said_of(1, "odd", 1)])
    assert list(model.classes_) == [0, 1]
    assert list(model.predict([{"plan": "a"}, {"plan": "b"}])) == [0, 1]


def test_a_model_of_numbers_is_followed_by_one_of_numbers() -> None:
    model = JOB.train_model(said_of(number, number % 4 // 2, 0.5) for number in range(200))
    assert list(model.predict([{"plan": "a"}])) == [pytest.approx(0.5, abs=0.01)]


def test_labels_decide_where_predictions_are_of_the_other_kind() -> None:
    rounded = JOB.train_model(said_of(number, number % 2 + 0.25, 1) for number in range(200))
    assert list(rounded.predict([{"plan": "b"}])) == [pytest.approx(1.25, abs=0.01)]
    named = JOB.train_model(said_of(number, "ab"[number % 2], 0.5) for number in range(200))
    assert list(named.predict([{"plan": "b"}])) == ["b"]


@pytest.mark.parametrize(
    ("predictions", "are_classes"),
    [
        ([0, 1, 1], True),
        ([0, 1.0, 1], True),
        ([0, 1.0], False),
        (list(range(20)), True),
        (list(range(21)), False),
        (["a", 1], True),
        (["a", 1, 2.0], False),
        ([True, False], True),
        ([None, None], None),
    ],
)
def test_classes_are_told_as_in_the_product(predictions: list[Any], are_classes: bool) -> None:
    assert JOB.predicts_classes(predictions) is are_classes
    if are_classes is not None:
        poll = [record(at, predicted(at, value)) for at, value in enumerate(predictions)]
        events = WindowEvents(wish(window((0, 0, 99))), None, max_future_ms=1, max_late_ms=1)
        events.take(decode_records(poll[0].tp, poll, LIMITS, None, None).events)
        assert product_says_classes(events.pairs()) is are_classes
