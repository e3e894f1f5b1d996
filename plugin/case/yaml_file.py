"""A YAML 1.2 file as plain values, each with its line: `NO` is a text, `010` is ten, a date stays text.

A file that is too large, too deep, or too large once its aliases are written out is refused before it takes memory.
"""

import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import ReusedAnchorWarning, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

LARGEST = 2**20  # bytes
DEEPEST = 40  # levels
MOST = 20_000  # values, those behind an alias counted each time
_TOO_MANY = f"has more than {MOST:,} values, those behind aliases counted each time"
_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"
_CONSTANTS = {"true": True, "false": False}


class YamlError(ValueError):
    """A file that is no YAML, or that is refused; `line` counts from 1, or is None."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class YamlFile:
    """values : dict, list, str, int, float, bool and None; root : the node they come from, None of an empty file."""

    values: Any
    root: Node | None

    def line(self, location: tuple[str | int, ...]) -> int:
        """Line, from 1, of the deepest part of a location that the file has."""
        lines = [line for line, _ in self._way(location)]
        return (lines[-1] if lines else self.root.start_mark.line if self.root else 0) + 1

    def word(self, location: tuple[str | int, ...]) -> str:
        """A number, date or constant of a location as the file writes it; empty if something else is there."""
        nodes = [node for _, node in self._way(location)]
        node = nodes[-1] if nodes and len(nodes) == len(location) else None
        return node.value if isinstance(node, ScalarNode) and node.style is None else ""

    def _way(self, location: tuple[str | int, ...]) -> Iterator[tuple[int, Node]]:
        """(line, from 0, and node) of each part of a location that the file has."""
        node = self.root
        for part in location:
            below = None
            if isinstance(node, MappingNode):
                for key, value in node.value:
                    if key.value == str(part):
                        below, line = value, key.start_mark.line
            elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
                below = node.value[part]
                line = below.start_mark.line
            if below is None:
                return
            yield line, below
            node = below


def read_yaml(path: Path) -> YamlFile:
    """Read a file.

    Raises
    ------
    OSError, UnicodeDecodeError
        if it cannot be read, or is not UTF-8
    YamlError
        if it is no YAML, has a key twice, an object, or is too large or too deep
    """
    with open(path, "rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise YamlError(f"is larger than {LARGEST // 2**20} MiB, expected a few lines of settings")
    text = content.decode("utf-8").removeprefix("\ufeff")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            _check_size(text)
            root = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        where = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise YamlError(problem, where.line + 1 if where else None) from None
    if root is None:
        return YamlFile(None, None)
    _count(root, {})
    return YamlFile(_value(root, {}), root)


def yaml_text(values: Any) -> str:
    """Plain values as YAML, keys in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel declares None alone
    text = io.StringIO()
    yaml.dump(values, text)
    return text.getvalue()


def _check_size(text: str) -> None:
    # events come one by one, without recursion; a node is composed with it
    depth = values = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, CollectionStartEvent):
            depth += 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        elif isinstance(event, NodeEvent):
            values += 1
        if values > MOST:
            raise YamlError(_TOO_MANY, event.start_mark.line + 1)
        if depth > DEEPEST:
            raise YamlError(f"lists and sections lie more than {DEEPEST} deep in each other", event.start_mark.line + 1)


def _count(node: Node, known: dict[int, int | None]) -> int:
    """Values that a node has once its aliases are written out."""
    if id(node) in known:
        number = known[id(node)]
        if number is None:
            raise YamlError(f"{_anchor(node)} contains itself", node.start_mark.line + 1)
        return number
    known[id(node)] = None
    number = 1
    if isinstance(node, MappingNode):
        number += sum(_count(key, known) + _count(value, known) for key, value in node.value)
    elif isinstance(node, SequenceNode):
        number += sum(_count(item, known) for item in node.value)
    if number > MOST:
        raise YamlError(_TOO_MANY, _line_of(node))
    known[id(node)] = number
    return number


def _line_of(node: Node) -> int:
    return node.start_mark.line + 1


def _anchor(node: Node) -> str:
    return f"the alias '*{node.anchor}'" if node.anchor else "a value"


def _value(node: Node, made: dict[int, Any]) -> Any:
    if id(node) not in made:
        made[id(node)] = (
            _mapping(node, made)
            if isinstance(node, MappingNode) and node.tag == f"{_TAG}map"
            else [_value(item, made) for item in node.value]
            if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq"
            else _scalar(node)
        )
    return made[id(node)]


def _mapping(node: MappingNode, made: dict[int, Any]) -> dict[Any, Any]:
    values: dict[Any, Any] = {}
    merged: dict[Any, Any] = {}
    lines: dict[Any, int] = {}
    for key, value in node.value:
        if isinstance(key, ScalarNode) and key.value == _MERGE and key.style is None:
            for part in value.value if isinstance(value, SequenceNode) else [value]:
                if not isinstance(part, MappingNode):
                    raise YamlError("<< takes a section, or a list of sections", _line_of(key))
                merged = {**_value(part, made), **merged}
            continue
        name = _value(key, made) if isinstance(key, ScalarNode) else None
        if not isinstance(name, str | int | float):
            shown = repr(name) if isinstance(key, ScalarNode) else "a list or section"
            raise YamlError(f"found {shown} for a key, expected a word", _line_of(key))
        if name in lines:
            raise YamlError(f"key {name!r} is given twice, first in line {lines[name]}", _line_of(key))
        lines[name] = _line_of(key)
        values[name] = _value(value, made)
    return {**merged, **values}


def _scalar(node: Node) -> Any:
    """A scalar of YAML 1.2's core schema, whatever version the file says; dates stay text."""
    kind = str(node.tag).removeprefix(_TAG)
    if not isinstance(node, ScalarNode) or kind not in ("str", "int", "float", "bool", "null", "timestamp"):
        raise YamlError(f"could not determine a constructor for the tag {str(node.tag)!r}", _line_of(node))
    text = node.value
    try:  # a number of thousands of digits stays text, which no key takes for one
        if kind == "int" and re.fullmatch(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", text) and len(text) < 400:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if kind == "float":
            return float(
                text.replace(".inf", "inf").replace(".Inf", "inf").replace(".nan", "nan").replace(".NaN", "nan")
            )
    except ValueError:
        return text
    if kind == "bool":
        return _CONSTANTS.get(text.lower(), text)
    return None if kind == "null" else text
