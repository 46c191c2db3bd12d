"""scikit-learn's metrics of joined rows; runs in NannyML's environment."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np

from benchmarks.performance.task import Task


def of_classes(predicted: Any, score: Any, truth: Any) -> dict[str, float]:
    """Of predictions of two classes (k,) and their probabilities of class 1."""
    # By name: the environment in which types are checked has no such module.
    sk: Any = importlib.import_module("sklearn.metrics")
    return {
        "accuracy": sk.accuracy_score(truth, predicted),
        "precision": sk.precision_score(truth, predicted),
        "recall": sk.recall_score(truth, predicted),
        "F1": sk.f1_score(truth, predicted),
        "log loss": sk.log_loss(truth, score),
        "Brier score": sk.brier_score_loss(truth, score),
        "ROC-AUC": sk.roc_auc_score(truth, score),
    }


def of_numbers(predicted: Any, truth: Any) -> dict[str, float]:
    """Of predictions of numbers (k,)."""
    sk: Any = importlib.import_module("sklearn.metrics")
    return {
        "MAE": sk.mean_absolute_error(truth, predicted),
        "RMSE": float(np.sqrt(sk.mean_squared_error(truth, predicted))),
    }


def main() -> None:
    """Answer with the metrics of each set of rows in the file, by its name."""
    found: dict[str, dict[str, float]] = {}
    with np.load(Task.read().path) as columns:
        for name in columns.files:
            predicted, score, truth = columns[name]
            metrics = (
                of_numbers(predicted, truth)
                if np.isnan(score).all()
                else of_classes(predicted, score, truth)
            )
            found[name] = {metric: float(value) for metric, value in metrics.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
