"""Where a finding breaks the published schema of OCSF, by the facts beside this file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

FACTS: Final[dict[str, Any]] = json.loads(
    Path(__file__).with_name("ocsf_detection_finding.json").read_text("utf-8")
)
_STRINGS: Final = {"string_t", "url_t", "username_t", "resource_uid_t", "json_t"}
_INTEGERS: Final = {"integer_t": 31, "long_t": 63, "timestamp_t": 63}
"""Bits beside the sign."""


def violations(finding: Mapping[str, Any]) -> list[str]:
    """One sentence for each; none where it is a Detection Finding as OCSF publishes it."""
    return list(_of_object(finding, FACTS["class"], "finding"))


def _of_object(value: object, facts: Mapping[str, Any], path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path} is no object"
        return
    attributes = facts["attributes"]
    for name, of_attribute in attributes.items():
        if of_attribute["requirement"] == "required" and name not in value:
            yield f"{path} lacks {name}"
    for rule, names in facts.get("constraints", {}).items():
        assert rule == "at_least_one"
        if not set(names) & set(value):
            yield f"{path} has none of {', '.join(names)}"
    for name, inner in value.items():
        if name not in attributes:
            yield f"{path} knows no {name}"
            continue
        of_attribute = attributes[name]
        if of_attribute.get("deprecated"):
            yield f"{path}.{name} is deprecated"
        yield from _of_attribute(inner, of_attribute, f"{path}.{name}")
        captions = of_attribute.get("values", {})
        sibling = value.get(of_attribute.get("sibling", ""))
        # What is Other has a caption of its own.
        if sibling is not None and inner != 99 and sibling != captions.get(str(inner)):
            yield f"{path}.{of_attribute['sibling']} is {sibling!r}"


def _of_attribute(value: object, facts: Mapping[str, Any], path: str) -> Iterator[str]:
    if not facts.get("is_array"):
        yield from _of_value(value, facts, path)
    elif not isinstance(value, list):
        yield f"{path} is no array"
    else:
        for at, each in enumerate(value):
            yield from _of_value(each, facts, f"{path}[{at}]")


def _of_value(value: object, facts: Mapping[str, Any], path: str) -> Iterator[str]:
    kind = facts["type"]
    if "values" in facts and str(value) not in facts["values"]:
        yield f"{path} is {value!r}, which has no meaning"
    if kind in FACTS["objects"]:
        yield from _of_object(value, FACTS["objects"][kind], path)
    elif kind == "boolean_t":
        if not isinstance(value, bool):
            yield f"{path} is no boolean"
    elif kind in _INTEGERS:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if not (is_integer and abs(value) < 1 << _INTEGERS[kind]):  # type: ignore[operator]
            yield f"{path} is no {kind}"
    elif kind == "object" or (kind == "json_t" and isinstance(value, Mapping)):
        if not isinstance(value, Mapping):
            yield f"{path} is no object"
    elif kind not in _STRINGS:
        raise KeyError(f"{path}: there are no facts of {kind}")
    elif not isinstance(value, str):
        yield f"{path} is no text"
