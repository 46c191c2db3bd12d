"""A training job: follows `driftsentry.retraining`, and trains a scikit-learn model once a request.

    pip install driftsentry scikit-learn
    python examples/retrain_sklearn.py --bootstrap-servers localhost:9092 --models models

Each released request becomes `models/REQUEST_ID.joblib`. Delivery is at-least-once, and a job may
die anywhere: the file is the note that a request is done, and it is written in one step. The offset
is committed after it. Deploying the model is not its business.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer

NO_USE = 3
"""The exit code of an export that would fail again, as where the events are gone by now."""
MOST_CLASSES = 20
"""Predictions that are more whole numbers than so many are no classes, as driftsentry tells them.

Where only labels say it, nine in ten whole ones are to be among so many.
"""
Export = Callable[[str, Path], bool]
"""Writes the clean window of a request as NDJSON; False where it never can. Raises to try again."""
Train = Callable[[Iterable[bytes]], Any]
"""Makes a model of the lines of that file; None where they hold nothing to learn from."""
Save = Callable[[Any, Path], None]


def retrain(value: bytes | None, models: Path, export: Export, train: Train, save: Save) -> bool:
    """Train what a record of the topic asks for; False: nothing, or it is done already."""
    request = json.loads(value or b"{}")
    # Held ones come again when they are released; withdrawn ones, and tombstones, ask for nothing.
    if request.get("status") != "released":
        return False
    request_id = request["request_id"]
    if re.fullmatch("[0-9a-f]{32}", request_id) is None:
        raise ValueError(f"{request_id!r} is no id of a request")  # it becomes the name of a file
    done = models / f"{request_id}.joblib"
    if done.exists():
        return False
    with tempfile.TemporaryDirectory(dir=models) as folder:
        window, unfinished = Path(folder, "window.ndjson"), Path(folder, "model")
        if not export(request_id, window):
            print(f"request {request_id} passed over: another --group would try it again")
            return False
        with window.open("rb") as lines:
            model = train(lines)
        if model is None:
            print(f"request {request_id} passed over: no feature has a value in its window")
            return False
        save(model, unfinished)
        unfinished.replace(done)
    print(f"{request['model_id']} {request['model_version']}: trained anew, {done}")
    return True


def train_model(lines: Iterable[bytes]) -> Any:
    """A model of features, whatever kinds they are of; `predict` takes a list of them.

    It predicts numbers or classes, as the old one did. What is missing stays so: gradient boosting
    learns on which side it goes. A feature without any value is left out; None where all are.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.pipeline import make_pipeline

    rows = [json.loads(line) for line in lines]
    are_numbers, rows = of_one_kind(rows)
    names = {name for row in rows for name in row["features"]}
    # Boosting cannot cut a column of NaN into bins: it raises.
    with_value = {
        name for row in rows for name, value in row["features"].items() if value is not None
    }
    if names - with_value:
        left_out = ", ".join(repr(name) for name in sorted(names - with_value))
        print(f"features left out, since no row has a value of them: {left_out}")
    if not with_value:
        return None
    learner = HistGradientBoostingRegressor if are_numbers else HistGradientBoostingClassifier
    # A fixed seed: the same window gives the same model. And no early stopping, which wants two
    # rows of each class: there may be one, and the job would never come past this request.
    model = make_pipeline(
        DictVectorizer(sparse=False), learner(random_state=0, early_stopping=False)
    )
    features = [
        {name: value for name, value in known(row["features"]).items() if name in with_value}
        for row in rows
    ]
    return model.fit(features, [row["label"] for row in rows])


def of_one_kind(rows: list[dict[str, Any]]) -> tuple[bool, list[dict[str, Any]]]:
    """Whether numbers are learned, not classes, and the rows whose label is of the usual kind.

    What the old model predicted decides, so that the two can be compared; labels, where it said
    nothing, or where they are of the other kind throughout.
    """
    said = predicts_classes([row.get("prediction") for row in rows])
    if said:
        rows = [{**row, "label": as_class(row["label"])} for row in rows]
    kinds = Counter(kind_of(row["label"]) for row in rows)
    if said is None:
        whole = Counter(row["label"] for row in rows if kind_of(row["label"]) is int)
        # A few odd ones do not make numbers of classes.
        in_classes = sum(n for _, n in whole.most_common(MOST_CLASSES))
        said = 10 * in_classes >= 9 * kinds[int]
    are_numbers = not said or kinds[float] >= kinds[int]
    if are_numbers and 2 * (kinds[int] + kinds[float]) > len(rows):
        numbers = [row for row in rows if kind_of(row["label"]) in (int, float)]
        return True, [{**row, "label": float(row["label"])} for row in numbers]
    usual, _ = kinds.most_common(1)[0]
    return False, [row for row in rows if kind_of(row["label"]) is usual]


def predicts_classes(predictions: list[Any]) -> bool | None:
    """Whether these are classes, by the rule of driftsentry; None where there are none."""
    kinds = Counter(type(each) for each in predictions)
    n_named, n_numbers = kinds[str] + kinds[bool], kinds[int] + kinds[float]
    if not n_named + n_numbers:
        return None
    if n_named >= n_numbers:
        return True
    whole = {each for each in predictions if type(each) is int}
    return kinds[float] < kinds[int] and len(whole) <= MOST_CLASSES


def as_class(label: Any) -> Any:
    """1.0 is the class 1."""
    is_whole = type(label) is float and label.is_integer() and abs(label) < 2**53
    return int(label) if is_whole else label


def kind_of(label: Any) -> type:
    """Its type; a whole number that no array of them holds is as one with a fraction."""
    return float if type(label) is int and not -(2**63) <= label < 2**63 else type(label)


def known(features: dict[str, Any]) -> dict[str, Any]:
    """The features as the model takes them, here and where it serves: null is NaN."""
    return {name: float("nan") if value is None else value for name, value in features.items()}


def save_model(model: Any, path: Path) -> None:
    """Write it. Load such a file only from a place that you trust: to load it is to run it."""
    import joblib

    joblib.dump(model, path)


def export_with(connection: Sequence[str]) -> Export:
    """Exports by `driftsentry window export`, which refuses what is held or cannot be checked."""

    def export(request_id: str, path: Path) -> bool:
        command = ["driftsentry", "window", "export", request_id, "--output", str(path)]
        done = subprocess.run([*command, *connection], check=False)
        if done.returncode == NO_USE:
            return False
        done.check_returncode()
        return True

    return export


def main(arguments: Sequence[str] | None = None) -> None:
    """Follow the topic until it is interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--models", type=Path, required=True, help="where models go")
    parser.add_argument("--topic", default="driftsentry.retraining")
    parser.add_argument("--group", default="retrain")
    parser.add_argument("--once", action="store_true", help="end where the topic ends")
    asked = parser.parse_args(arguments)
    asked.models.mkdir(parents=True, exist_ok=True)
    servers = ["--bootstrap-servers", asked.bootstrap_servers]
    export = export_with([*servers, "--retraining-topic", asked.topic])
    follow(asked, lambda value: retrain(value, asked.models, export, train_model, save_model))


def follow(asked: argparse.Namespace, handle: Callable[[bytes | None], bool]) -> None:
    """Hand out records one by one; where handling one raises, it is read again later."""
    consumer = Consumer(
        {
            "bootstrap.servers": asked.bootstrap_servers,
            "group.id": asked.group,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # A training may take long.
            "max.poll.interval.ms": 6 * 60 * 60 * 1000,
        }
    )
    at_end: set[int | None] = set()
    try:
        consumer.subscribe([asked.topic])
        while not asked.once or not at_end or len(at_end) < len(consumer.assignment()):
            message = consumer.poll(1.0)
            if message is None:
                continue
            error = message.error()
            if error is None:
                at_end.discard(message.partition())
                handle(message.value())
                consumer.commit(message, asynchronous=False)
            elif error.name() == "_PARTITION_EOF":
                at_end.add(message.partition())
            else:
                print(error.str(), file=sys.stderr)
    finally:
        consumer.close()


if __name__ == "__main__":
    # The exports' own temporary files belong to whoever runs this, and to nobody else.
    os.umask(0o077)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
