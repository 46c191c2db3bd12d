"""As much of a JSON Schema validator as the configuration's schema needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

TYPES: Mapping[str, tuple[type[Any], ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
KNOWN = {
    *(
        "$ref",
        "$defs",
        "$schema",
        "title",
        "description",
        "examples",
        "default",
        "type",
        "enum",
        "anyOf",
    ),
    *("properties", "additionalProperties", "propertyNames", "items", "pattern", "required"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"),
    "minItems",
}


def violations(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str = "$"
) -> Iterator[str]:
    """Where a value breaks the schema. Raises `KeyError` on a keyword that is not known here."""
    if unknown := set(schema) - KNOWN:
        raise KeyError(f"{path}: {unknown}")
    if "$ref" in schema:
        target = root["$defs"][schema["$ref"].rpartition("/")[2]]
        yield from violations(value, target, root, path)
    if "anyOf" in schema and all(
        list(violations(value, option, root, path)) for option in schema["anyOf"]
    ):
        yield f"{path}: fits nothing of anyOf"
    kind = schema.get("type")
    if kind is not None:
        fits = isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        if not fits:
            yield f"{path}: is no {kind}"
            return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: is none of {schema['enum']}"
    if isinstance(value, str):
        if "pattern" in schema and re.search(schema["pattern"], value) is None:
            yield f"{path}: does not match {schema['pattern']}"
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            yield f"{path}: has a wrong length"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield f"{path}: is out of range"
        if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
            yield f"{path}: is out of range"
        if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
            yield f"{path}: is out of range"
    if isinstance(value, list) and len(value) < schema.get("minItems", 0):
        yield f"{path}: has too few items"
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            yield from violations(item, schema["items"], root, f"{path}[{i}]")
    if isinstance(value, dict):
        yield from _object_violations(value, schema, root, path)


def _object_violations(
    value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], path: str
) -> Iterator[str]:
    properties = schema.get("properties", {})
    further = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}: has no {name}"
    for name, inner in value.items():
        if "propertyNames" in schema:
            yield from violations(name, schema["propertyNames"], root, f"{path}.{name}")
        if name in properties:
            yield from violations(inner, properties[name], root, f"{path}.{name}")
        elif further is False:
            yield f"{path}.{name}: is not known"
        elif further is not True:
            yield from violations(inner, further, root, f"{path}.{name}")
