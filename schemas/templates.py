"""Decoders compiled for the features that a model's events have: the parser of the fast path.

A template reads one event into structs whose fields stand at fixed places: no dict is built and no
name is made a string. It is strict: it takes what has exactly its features, with values of the
types it knows, and no field that the contract does not name. All else it refuses, and the message
goes the slow way. What it takes it reads as `orjson.loads` does, value by value, but for integers
where the contract asks for a number: those come as the double that they become anyway.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from schemas.field_rules import NUMBERS, Json
from schemas.limits import MAX_ID_CHARS, MAX_NAME_CHARS, MAX_SHARD
from schemas.rules import FEATURES_RULE, RULES

MAX_TEMPLATES: Final = 256
"""Compiled in one process: classes are not given back (the worker's collector is off)."""
MAX_TEMPLATE_FEATURES: Final = 32_768
"""Features of all templates of one process together."""

# Beyond 64 bits orjson makes a float of an integer and msgspec does not. From 2**63 on an integer
# is still one to orjson, but a bound that msgspec can check ends there: the slow way takes it.
_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Number = float | None
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]
_Text = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARS)]
_Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Scalar = bool | _Integer | float | _Name
_Category = bool | float | str | None

_NEEDS_ESCAPE: Final = re.compile(r'[\x00-\x1f"\\]')
"""In the name of a field; msgspec makes no struct of one that JSON must escape."""

_TYPES: Final[dict[str, Any]] = {
    "event_id": _Id,
    "model_id": _Id,
    "model_version": _Id,
    "ts": _Integer | str,
    "prediction": _Scalar | None,
    "label": _Scalar,
    "score": _Number,
    "probabilities": Annotated[dict[_Name, _Share], msgspec.Meta(min_length=1)] | None,
    "source": _Text | None,
    "label_source": _Text | None,
    "slices": dict[Annotated[_Name, msgspec.Meta(min_length=1)], _Name] | None,
    "feature_view": _Text | None,
    "latency_ms": Annotated[float, msgspec.Meta(ge=0)] | None,
    "sample_rate": Annotated[float, msgspec.Meta(gt=0, le=1)] | None,
    "schema_version": _Integer | _Text | None,
    "shard": Annotated[int, msgspec.Meta(ge=0, le=MAX_SHARD)] | None,
    "traceparent": _Text | None,
}
"""What each field but `features` may hold: what `schemas.rules` says of it, save for `ts`."""

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    kind: tuple(rule.name for rule in rules) for kind, rules in RULES.items()
}
"""By type of event, the fields of its struct in their order; `type` is none of them."""


class Layout(NamedTuple):
    """What a template is compiled for."""

    names: tuple[str, ...]
    """The features, in order of their names."""
    categories: frozenset[str]
    """Those that may be strings and booleans too; the others are numbers or null."""


class Template(NamedTuple):
    """A compiled layout."""

    layout: Layout
    decoder: msgspec.json.Decoder[Any]
    """Of a whole event: a struct of the fields `FIELDS["prediction"]` or `FIELDS["label"]`."""
    prediction: type[msgspec.Struct]
    """The class of its predictions."""
    pack: Callable[..., bytes] | None
    """Makes doubles of the values of all features; None where some may be categories."""


def layout_of(event: Json) -> Layout | str:
    """The layout of a parsed event, or in a word why no template takes its like.

    A label has no features, and so the layout of an event with none.
    """
    if type(event) is not dict or type(kind := event.get("type")) is not str or kind not in FIELDS:
        return "refused"
    if not event.keys() - {"type"} <= set(FIELDS[kind]):
        return "unknown_name"
    features: Json = event.get("features") if kind == "prediction" else {}
    if FEATURES_RULE.fault(features) is not None:
        return "refused"
    categories = {name for name, value in features.items() if type(value) not in NUMBERS}
    if not {type(features[name]) for name in categories} <= {str, bool, type(None)}:
        return "other_type"
    if _NEEDS_ESCAPE.search("".join(features)) is not None:
        return "odd_name"
    return Layout(tuple(sorted(features)), frozenset(categories))


class Compiled:
    """The templates of one process: each layout is compiled once, up to a number for good."""

    __slots__ = ("_max_features", "_max_templates", "_n_features", "_of", "by_class")

    def __init__(
        self, max_templates: int = MAX_TEMPLATES, max_features: int = MAX_TEMPLATE_FEATURES
    ) -> None:
        self._max_templates = max_templates
        self._max_features = max_features
        self._n_features = 0
        self._of: dict[Layout, Template] = {}
        self.by_class: dict[type, Template] = {}
        """By the class of their predictions; those of labels are not in it."""

    def get(self, layout: Layout) -> Template | None:
        """The template of a layout that was compiled before."""
        return self._of.get(layout)

    def template(self, layout: Layout) -> Template | None:
        """The template of a layout; None where there is no room for another one."""
        if layout not in self._of:
            if (
                len(self._of) >= self._max_templates
                or self._n_features + len(layout.names) > self._max_features
            ):
                return None
            self._n_features += len(layout.names)
            template = self._of[layout] = _compile(layout)
            self.by_class[template.prediction] = template
        return self._of[layout]


SHARED: Final = Compiled()
"""Those of the process: partitions that come and go do not compile them again."""


def _compile(layout: Layout) -> Template:
    """About 0.3 ms for 20 features."""
    features = msgspec.defstruct(
        "Features",
        [
            (f"f{i}", _Category if name in layout.categories else _Number, msgspec.field(name=name))
            for i, name in enumerate(layout.names)
        ],
        gc=False,
        forbid_unknown_fields=True,
    )
    types = _TYPES | {"features": features}
    by_kind: dict[str, type[msgspec.Struct]] = {}
    for kind, rules in RULES.items():
        fields = [
            (rule.name, types[rule.name], msgspec.NODEFAULT if rule.required else None)
            for rule in rules
        ]
        by_kind[kind] = msgspec.defstruct(
            kind.title(), fields, tag_field="type", tag=kind, gc=False, forbid_unknown_fields=True
        )
    union: Any = by_kind["prediction"] | by_kind["label"]
    pack = None if layout.categories else struct.Struct(f"{len(layout.names)}d").pack
    return Template(layout, msgspec.json.Decoder(union), by_kind["prediction"], pack)
