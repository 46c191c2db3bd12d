"""NannyML's confidence-based performance estimation; runs in an environment of its own."""

from __future__ import annotations

import importlib
import json
import os
import time
from typing import Any, Final

import numpy as np

from benchmarks.performance.task import Task

NAMES: Final = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "ROC-AUC": "roc_auc",
}


def main() -> None:
    """Answer with the estimate of each chunk after the reference, and the processor's seconds."""
    # It would send what it is used for to its makers.
    os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
    # By name: the environment in which types are checked has no such modules.
    nannyml: Any = importlib.import_module("nannyml")
    pandas: Any = importlib.import_module("pandas")
    task = Task.read()
    with np.load(task.path) as columns:
        frame = pandas.DataFrame({name: columns[name] for name in columns.files})
    classes = {"predicted": int, "employed": int}
    reference = frame[: task.n_reference].astype(classes)
    # The truth of the rest is not given to it.
    rest = frame[task.n_reference :].astype(classes).drop(columns="employed").reset_index(drop=True)
    estimator = nannyml.CBPE(
        metrics=list(NAMES.values()),
        y_pred_proba="score",
        y_pred="predicted",
        y_true="employed",
        problem_type="classification_binary",
        chunk_size=task.n_chunk,
    )
    started = time.process_time()
    estimator.fit(reference)
    fitted = time.process_time()
    result = estimator.estimate(rest)
    done = time.process_time()
    table = result.filter(period="analysis").to_df()
    estimates = {
        name: {
            "value": table[metric, "value"].tolist(),
            "low": table[metric, "lower_confidence_boundary"].tolist(),
            "high": table[metric, "upper_confidence_boundary"].tolist(),
        }
        for name, metric in NAMES.items()
    }
    seconds = {"learn_s": fitted - started, "estimate_s": done - fitted}
    print(json.dumps({"estimates": estimates, **seconds}))


if __name__ == "__main__":
    main()
