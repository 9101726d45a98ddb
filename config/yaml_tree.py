"""From YAML text to plain Python values, each with its line: safe, bounded, and strict where YAML is generous.

Refused with their lines: duplicate keys, aliases and anchors (they multiply), tags, merge keys, more than one document, more
than 1 MiB. A number with a leading zero (`007`) stays the text it is, because it is a code and not a number.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.tokens import (
    AliasToken,
    AnchorToken,
    BlockEndToken,
    BlockMappingStartToken,
    BlockSequenceStartToken,
    FlowMappingEndToken,
    FlowMappingStartToken,
    FlowSequenceEndToken,
    FlowSequenceStartToken,
    TagToken,
)

from transforms.compiled import Problem

MAX_BYTES: Final = 1024 * 1024
_LEADING_ZERO: Final = re.compile(r"[+-]?0[0-9_]+")
_PREFIX: Final = "tag:yaml.org,2002:"
_MAX_DEPTH: Final = 50
_FORBIDDEN: Final[dict[type, str]] = {
    AliasToken: "aliases (*name)",
    AnchorToken: "anchors (&name)",
    TagToken: "tags (!name)",
}
_OPENING: Final = (FlowSequenceStartToken, FlowMappingStartToken, BlockSequenceStartToken, BlockMappingStartToken)
_CLOSING: Final = (FlowSequenceEndToken, FlowMappingEndToken, BlockEndToken)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def read_text(path: Path) -> tuple[str, list[Problem]]:
    """Read a configuration file; an unreadable one is a problem."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        return "", [Problem(str(path), f"cannot be read: {error.strerror}")]
    if len(raw) > MAX_BYTES:
        return "", [Problem(str(path), f"is larger than {MAX_BYTES} bytes")]
    try:
        return raw.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        return "", [Problem(str(path), "is not UTF-8 text")]


def parse(text: str) -> tuple[Any, list[Problem]]:
    """Return the document as dicts, lists and scalars; None with problems where it is not usable at all."""
    problems: list[Problem] = []
    try:
        problems = _forbidden_tokens(text)
        if problems:
            return None, problems
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        return None, [Problem(_line(error.problem_mark), f"not valid YAML: {error.problem or error.context}")]
    except (YAMLError, ValueError) as error:
        return None, [Problem("line 1", f"not valid YAML: {str(error).splitlines()[0]}")]
    if node is None:
        return None, [Problem("line 1", "the file is empty")]
    return _value(node, "", problems), problems


def _forbidden_tokens(text: str) -> list[Problem]:
    if match := _CONTROL.search(text):
        return [Problem(f"line {text.count(chr(10), 0, match.start()) + 1}", "a control character is not allowed")]
    problems = []
    depth = 0
    for token in YAML(typ="safe", pure=True).scan(text):
        if what := _FORBIDDEN.get(type(token)):
            problems.append(Problem(_line(token.start_mark), f"{what} are not allowed here"))
        # Tokens come as they are read: what is nested without end is left before it costs anything.
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > _MAX_DEPTH:
            return [*problems, Problem(_line(token.start_mark), f"is nested deeper than {_MAX_DEPTH}")]
    return problems


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}" if mark is not None else "line 1"


def _value(node: Node, path: str, problems: list[Problem]) -> Any:
    if isinstance(node, MappingNode):
        return _mapping(node, path, problems)
    if isinstance(node, SequenceNode):
        return [_value(item, f"{path}[{at}]", problems) for at, item in enumerate(node.value)]
    return _scalar(node)


def _mapping(node: MappingNode, path: str, problems: list[Problem]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    seen: set[tuple[str, object]] = set()
    for key_node, value_node in node.value:
        at = _line(key_node.start_mark)
        if not isinstance(key_node, ScalarNode):
            problems.append(Problem(f"{path or 'file'} ({at})", "a key must be a plain word"))
            continue
        if key_node.tag == _PREFIX + "merge":
            problems.append(Problem(f"{path or 'file'} ({at})", "merge keys (<<) are not allowed here"))
            continue
        key = _scalar(key_node)
        if key is None:
            key = key_node.value or "null"
        here = f"{path}.{key}" if path else str(key)
        if (type(key).__name__, key) in seen or key in made:
            problems.append(Problem(f"{here} ({at})", "this key is there twice"))
            continue
        seen.add((type(key).__name__, key))
        made[key] = _value(value_node, here, problems)
    return made


def _scalar(node: Node) -> Any:
    text = str(node.value)
    match str(node.tag).removeprefix(_PREFIX):
        case "null":
            return None
        case "bool":
            return text.lower() in ("true", "yes", "on")
        case "int" if not _LEADING_ZERO.fullmatch(text):
            try:
                return int(text.replace("_", ""), 0)
            except ValueError:
                return text
        case "float":
            try:
                return float(text.replace("_", ""))
            except ValueError:
                return text
    return text
