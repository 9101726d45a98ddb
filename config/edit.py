"""Switch a mapping on or off in the file itself, changing that one line and nothing else.

The text is edited, never written anew from data: comments, quoting, order and line ends stay as they are. The result is
checked before it replaces the file, in one atomic step, with the file's permissions and owner; two editors wait for each other,
and an editor that has seen an older file is refused (`if_match`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from config.load import ConfigurationRefused, parse
from config.yaml_tree import read_text
from transforms.compile import did_you_mean

_BOM: Final = "\ufeff"


class EditRefused(ValueError):
    """The edit cannot be made: no such mapping, or the file does not allow it. One line for an operator."""


class UnknownMapping(EditRefused):
    """There is no mapping of that name."""


class EditConflict(EditRefused):
    """The file is not the one that the editor had seen."""


def etag(path: Path) -> str:
    """Name the file's present content."""
    return _etag(Path(path).read_bytes())


def _etag(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:32]


def set_mapping_enabled(
    path: Path,
    name: str,
    enabled: bool,
    *,
    environment: Mapping[str, str] | None = None,
    if_match: str | None = None,
) -> bool:
    """Write `enabled` of one mapping; False if it said so already.

    Raises UnknownMapping, EditConflict, EditRefused, or ConfigurationRefused where the result would not be valid (what is only
    missing in this process's environment is not held against it).
    """
    target = Path(path).resolve()
    with _alone(target):
        text, problems = read_text(target)
        if problems:
            raise EditRefused(str(problems[0]))
        raw = target.read_bytes()
        if if_match is not None and if_match.strip().strip('"') not in ("*", _etag(raw)):
            raise EditConflict(f"{path} has been changed since it was read: read it again")
        text = raw.decode("utf-8")
        edited = _edited(text, name, enabled)
        if edited == text:
            return False
        _check(edited, os.environ if environment is None else environment)
        _replace(target, edited.encode("utf-8"))
    return True


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the folder's lock: the file itself is replaced, so a lock on it would not last."""
    try:
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise EditRefused(f"{target.parent} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _check(text: str, environment: Mapping[str, str]) -> None:
    try:
        parse(text.removeprefix(_BOM), environment)
    except ConfigurationRefused as refused:
        inside = [problem for problem in refused.problems if problem not in refused.outside]
        if inside:
            raise ConfigurationRefused(inside) from None


def _edited(text: str, name: str, enabled: bool) -> str:
    bom = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    mapping = _find(text, name)
    word = "true" if enabled else "false"
    for key, value in mapping.value:
        if key.value != "enabled":
            continue
        if "${" in str(value.value):
            raise EditRefused(f"mappings.{name}.enabled comes from {value.value}: change it there")
        if str(value.value).lower() == word:
            return bom + text
        return bom + text[: value.start_mark.index] + word + text[value.end_mark.index :]
    if enabled:
        return bom + text  # not written: enabled is the default
    return bom + _inserted(text, mapping)


def _find(text: str, name: str) -> MappingNode:
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except (YAMLError, ValueError, RecursionError):
        raise EditRefused("the file is not valid YAML: mend it first (datong check names the line)") from None
    mappings = _child(root, "mappings")
    found = _child(mappings, name)
    if found is None:
        names = [str(key.value) for key, _ in mappings.value] if isinstance(mappings, MappingNode) else []
        raise UnknownMapping(f"no mapping '{name}'{did_you_mean(name, names)}")
    if not isinstance(found, MappingNode) or not found.value:
        raise EditRefused(f"mappings.{name} holds no keys and values")
    return found


def _child(node: Node | None, name: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for key, value in node.value if isinstance(key, ScalarNode) and key.value == name), None)


def _inserted(text: str, mapping: MappingNode) -> str:
    """Put `enabled: false` behind the line that names the entity; in a mapping written in braces, behind its brace."""
    if mapping.flow_style:
        at = mapping.start_mark.index + 1
        return f"{text[:at]}enabled: false, {text[at:]}"
    first = mapping.value[0][0]
    indent = " " * first.start_mark.column
    entity = next((value for key, value in mapping.value if key.value == "entity"), None)
    line_end = "\r\n" if "\r\n" in text else "\n"
    if entity is None:
        at = first.start_mark.index
        return f"{text[:at]}enabled: false{line_end}{indent}{text[at:]}"
    at = text.find(
        "\n", entity.end_mark.index - 1 if text[entity.end_mark.index - 1] == "\n" else entity.end_mark.index
    )
    if at < 0:
        return f"{text}{line_end}{indent}enabled: false"
    return f"{text[: at + 1]}{indent}enabled: false{line_end}{text[at + 1 :]}"


def _replace(target: Path, content: bytes) -> None:
    status = target.stat()
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "wb") as file:
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, status.st_mode & 0o7777)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(target)
        temporary = None
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise EditRefused(f"{target} cannot be replaced: {error.strerror}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
