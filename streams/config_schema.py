"""The JSON Schema of the configuration file."""

from __future__ import annotations

from typing import Any

from schemas.config import DetectorsConfig
from streams.config_layers import ConfigFile


def config_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file: what editors use to complete and to check it."""
    schema = ConfigFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "driftsentry configuration"
    # A section that is empty in the file stands for its defaults.
    for name in ConfigFile.model_fields:
        part = schema["properties"][name]
        part.pop("default", None)
        schema["properties"][name] = {
            "anyOf": [{"$ref": part.pop("$ref")}, {"type": "null"}],
            **part,
        }
    definitions = schema["$defs"]
    worker = definitions["Settings"]["properties"]
    for name in ("redis_url", "source_key", "checkpoint_key"):
        worker[name].pop("writeOnly", None)
    redis = worker["redis_url"]
    redis.pop("format", None)
    redis["default"] = "redis://localhost:6379/0"
    definitions["ModelConfig"]["properties"]["signals"]["propertyNames"] = {
        "pattern": r"^(score|prediction|(feature|missing|class):.+)$"
    }
    detectors = {"enum": list(DetectorsConfig.model_fields)}
    for option in definitions["SignalConfig"]["properties"]["detectors"]["anyOf"]:
        if option.get("type") == "array":
            option["items"] = {"type": "string", **detectors}
    return schema
