"""Writes the JSON Schemas of the contracts into `schemas/json`, or checks that they are current.

Run as `python -m schemas.export` after a change of a model; `--check` writes nothing and exits
with 1 where a file differs, is missing, or is left over.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import BaseModel, TypeAdapter

from schemas.alerts import AlertData, DeadLetterData
from schemas.anomalies import AnomalyData
from schemas.audit_trail import AuditRecord
from schemas.config import DetectionConfig
from schemas.events import LabelEvent, PredictionEvent
from schemas.incidents import IncidentData
from schemas.liveness import LivenessData
from schemas.monitoring_report import MonitoringReport
from schemas.responses import SAID
from schemas.retraining import RetrainingData
from schemas.rollback import FollowUpData, RollbackData
from schemas.undelivered import UndeliveredData

FOLDER: Final = Path(__file__).parent / "json"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MODELS: Final[dict[str, type[BaseModel] | TypeAdapter[Any]]] = {
    "prediction_event": PredictionEvent,
    "label_event": LabelEvent,
    "alert": AlertData,
    "dead_letter": DeadLetterData,
    "liveness": LivenessData,
    "anomaly": AnomalyData,
    "command": SAID,
    "incident": IncidentData,
    "retraining": RetrainingData,
    "rollback": RollbackData,
    "followup": FollowUpData,
    "undelivered": UndeliveredData,
    "audit_record": AuditRecord,
    "monitoring_report": MonitoringReport,
    "detection_config": DetectionConfig,
}
"""By the file's name without `.schema.json`."""


def json_schema(model: type[BaseModel] | TypeAdapter[Any]) -> dict[str, Any]:
    """The JSON Schema of what `model` takes."""
    if isinstance(model, TypeAdapter):
        return {"$schema": DIALECT, **model.json_schema(mode="validation")}
    return {"$schema": DIALECT, **model.model_json_schema(mode="validation")}


def texts() -> dict[str, bytes]:
    """Every file's name and content."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return {
        f"{name}.schema.json": orjson.dumps(json_schema(model), option=option)
        for name, model in MODELS.items()
    }


def differences(folder: Path) -> list[str]:
    """What is wrong with the files in `folder`: one sentence each."""
    wanted = texts()
    found = {path.name: path.read_bytes() for path in sorted(folder.glob("*.schema.json"))}
    return (
        [f"{name} is missing" for name in wanted if name not in found]
        + [f"{name} differs" for name in wanted if found.get(name, wanted[name]) != wanted[name]]
        + [f"{name} belongs to no model" for name in found if name not in wanted]
    )


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m schemas.export", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on difference")
    if parser.parse_args(arguments).check:
        wrong = differences(folder)
        for sentence in wrong:
            print(f"{folder / sentence}: run `make schemas`", file=sys.stderr)
        return 1 if wrong else 0
    folder.mkdir(exist_ok=True)
    wanted = texts()
    for path in folder.glob("*.schema.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_bytes(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
