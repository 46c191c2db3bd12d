"""YAML as a configuration needs it: small, plain, each key once.

The values of YAML 1.2's core schema (so `no` is a word and `1e-3` a number), one document, no tags
but the standard ones, no merge keys. A text that would unfold into something huge is refused, and
an error never repeats what stands in the file, since that may be a secret.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from streams.config_errors import ConfigError, Location, Problem, dotted

MAX_BYTES: Final = 1_048_576
_MAX_DEPTH: Final = 32
_MAX_ALIASES: Final = 200
_MAX_NODES: Final = 200_000
"""Counted with every alias unfolded."""

_BOOL: Final = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL: Final = re.compile(r"~|null|Null|NULL|")
_INT: Final = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT: Final = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_TAG: Final = "tag:yaml.org,2002:"


class _Refused(yaml.MarkedYAMLError):
    """A rule of this file was broken; its text holds nothing of the document."""


class _Loader(yaml.SafeLoader):
    """PyYAML's scanner and parser, with the limits and the values of this file."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._n_aliases = 0
        self._n_nodes: dict[int, int] = {}
        """Size of each complete node with its aliases unfolded, by `id`."""

    def compose_node(self, parent: Node | None, index: Any) -> Any:
        """Compose a node within the limits."""
        is_alias = bool(self.check_event(yaml.AliasEvent))
        self._n_aliases += is_alias
        self._depth += 1
        if self._depth > _MAX_DEPTH or self._n_aliases > _MAX_ALIASES:
            raise _Refused(problem="is nested too deeply, or has too many aliases")
        node = super().compose_node(parent, index)
        assert node is not None
        self._depth -= 1
        if is_alias and id(node) not in self._n_nodes:
            raise _Refused(problem="has an alias within its own anchor")
        if not is_alias:
            self._n_nodes[id(node)] = 1 + sum(self._n_nodes[id(child)] for child in _children(node))
        if self._n_nodes[id(node)] > _MAX_NODES:
            raise _Refused(problem="unfolds into too many values")
        return node


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


_Loader.yaml_implicit_resolvers = {}
for _kind, _form in (("bool", _BOOL), ("null", _NULL), ("int", _INT), ("float", _FLOAT)):
    # The resolver matches at the start only: anchor the end.
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_form.pattern})\Z"), None)


class Document:
    """What a YAML text holds, and on which line each value stands."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.lines: dict[Location, int] = {}
        self.problems: list[Problem] = []
        self.value = self._read(text)

    def place(self, location: Location) -> str:
        """The file and line of a value, or of the nearest one above it that has a line."""
        while location and location not in self.lines:
            location = location[:-1]
        line = self.lines.get(location)
        return f"{self.source}:{line}" if line else self.source

    def _read(self, text: str) -> object:
        try:
            node = _Loader(text).get_single_node()
        except yaml.MarkedYAMLError as error:
            raise ConfigError(self._syntax_problem(error)) from None
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
            text = "is not a YAML text: it holds characters that YAML does not allow"
            raise ConfigError(Problem("", text, source=self.source)) from None
        return None if node is None else self._construct(node, ())

    def _syntax_problem(self, error: yaml.MarkedYAMLError) -> Problem:
        mark = error.problem_mark or error.context_mark
        place = f"{self.source}:{mark.line + 1}:{mark.column + 1}" if mark else self.source
        if isinstance(error, _Refused):
            remedy = "a configuration needs nothing of the kind"
            return Problem("", str(error.problem), remedy, place)
        # PyYAML quotes what it found: only its constant sentences are repeated.
        said = str(error.problem or "")
        detail = "" if "'" in said or '"' in said else f": {said}"
        remedy = "check the indentation, and quote values that begin with a special character"
        return Problem("", f"is not valid YAML{detail}", remedy, place)

    def _construct(self, node: Node, location: Location) -> object:
        self.lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, location)
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            children = enumerate(node.value)
            return [self._construct(child, (*location, i)) for i, child in children]
        if isinstance(node, ScalarNode):
            return self._scalar(node, location)
        self._wrong(location, "has a tag that is not allowed here", "take the `!` away")
        return None

    def _mapping(self, node: MappingNode, location: Location) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            is_text = isinstance(key_node, ScalarNode) and key_node.tag == f"{_TAG}str"
            if not is_text:
                plain = isinstance(key_node, ScalarNode)
                remedy = f'quote it, as "{key_node.value}":' if plain else ""
                self._wrong(location, "has a key that is not a string", remedy, key_node)
                continue
            key = self._scalar(key_node, location)
            if key in found:
                first = self.lines[*location, str(key)]
                remedy = f"it stands in line {first} already"
                self._wrong((*location, str(key)), "is given twice", remedy, key_node)
                continue
            self.lines[*location, str(key)] = key_node.start_mark.line + 1
            found[str(key)] = self._construct(value_node, (*location, str(key)))
        return found

    def _scalar(self, node: ScalarNode, location: Location) -> object:
        kind, text = node.tag.removeprefix(_TAG), str(node.value)
        if kind == "bool" and _BOOL.fullmatch(text):
            return text.lower() == "true"
        if kind == "null" and _NULL.fullmatch(text):
            return None
        if kind == "int" and _INT.fullmatch(text):
            return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
        if kind == "float" and (_FLOAT.fullmatch(text) or _INT.fullmatch(text)):
            return float(text.replace(".inf", "inf").replace(".nan", "nan"))
        if kind == "str":
            try:
                text.encode()
            except UnicodeEncodeError:
                self._wrong(location, "holds half a surrogate pair", "", node)
                return None
            return text
        self._wrong(location, "has a tag that does not fit", "take the `!` away", node)
        return None

    def _wrong(
        self, location: Location, text: str, remedy: str = "", node: Node | None = None
    ) -> None:
        line = node.start_mark.line + 1 if node is not None else self.lines[location]
        self.problems.append(Problem(dotted(location), text, remedy, f"{self.source}:{line}"))


def read_yaml(content: bytes, source: str) -> Document:
    """Read a YAML file. Raises `ConfigError`, and nothing else, whatever the bytes.

    Problems that leave the rest readable (a key given twice) stand in `Document.problems`.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError(Problem("", f"has more than {MAX_BYTES} bytes", source=source))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(Problem("", "is not UTF-8 text", source=source)) from None
    return Document(text, source)
