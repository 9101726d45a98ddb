"""Read a configuration whole, or refuse it whole with every problem at once, before anything connects. Guards I6, I9.

A part that does not fit the schema is reported and set aside, so that the rest can still be checked: one run shows all there is
to mend. No message holds a value that came from the environment or a file.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin
from urllib.parse import unquote, urlsplit

import pydantic

from config import yaml_tree
from config.checks import Names, check, entity_spec, mapping_spec
from config.interpolation import Interpolation
from config.models import Configuration, Document, Section
from transforms.compile import did_you_mean
from transforms.compiled import Problem

_QUOTED: Final = re.compile(r"'([^']+)'")
_SECTIONS: Final = ("channels", "entities", "mappings")


class ConfigurationRefused(ValueError):
    """The file cannot be used; `problems` are all of its problems, one line each.

    `outside` are those that lie in the environment or in secret files and not in the file itself; `files` are those secret files.
    """

    def __init__(
        self, problems: list[Problem], outside: Iterable[Problem] = (), files: Iterable[Path] = frozenset()
    ) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
        self.outside = frozenset(outside)
        self.files = frozenset(files)


def load(path: Path, environment: Mapping[str, str]) -> Configuration:
    """Read and check the file; `ConfigurationRefused` carries every problem."""
    text, problems = yaml_tree.read_text(Path(path))
    if problems:
        raise ConfigurationRefused(problems)
    return parse(text, environment)


def parse(text: str, environment: Mapping[str, str]) -> Configuration:
    """Check a configuration's text."""
    raw, problems = yaml_tree.parse(text)
    if raw is None:
        raise ConfigurationRefused(problems or [Problem("line 1", "the file is empty")])
    if not isinstance(raw, dict):
        raise ConfigurationRefused([Problem("line 1", "the file must hold keys and values")])
    interpolation = Interpolation(environment)
    filled = interpolation.fill(raw)
    problems += interpolation.problems
    broken = {problem.path for problem in interpolation.problems}
    document, schema_problems = _fit(filled)
    # An unset variable is one problem, not also a wrong value at the same place.
    problems += [problem for problem in schema_problems if problem.path not in broken]
    if document is not None:
        problems += [problem for problem in check(document, Names.of(filled)) if not _is_in(problem.path, broken)]
    if problems or document is None:
        raise ConfigurationRefused(list(dict.fromkeys(problems)), interpolation.problems, interpolation.files)
    specs = [mapping_spec(name, mapping, document) for name, mapping in document.mappings.items()]
    return Configuration(
        document,
        tuple(spec for spec in specs if spec is not None),
        tuple(entity_spec(name, entity, document.entities) for name, entity in document.entities.items()),
        frozenset(interpolation.files),
        frozenset(_secrets(document, interpolation)),
    )


def _is_in(path: str, broken: Iterable[str]) -> bool:
    """Whether what a path leads to is broken, or holds a transform's parameter that is."""
    return any(path == place or place.startswith(f"{path}.transforms[") for place in broken)


def _secrets(document: Document, interpolation: Interpolation) -> set[str]:
    """What must never be shown: the passwords and the token, wherever they came from, and every secret file's content."""
    found = {channel.password.get_secret_value() for channel in document.channels.values()}
    for secret in (document.admin.token, document.store.key):
        if secret is not None:
            found.add(secret.get_secret_value())
    for url in (document.redis.url, document.store.url):
        encoded = urlsplit(url.get_secret_value()).password or ""
        found |= {encoded, unquote(encoded)}
    return {secret for secret in found | _keys(document) | interpolation.from_files if secret}


def _keys(document: Document) -> set[str]:
    """The secrets among the parameters of transforms."""
    found: set[str] = set()
    for mapping in document.mappings.values():
        for column in mapping.columns.values():
            for step in column.transforms:
                parameter = next(iter(step.values())) if isinstance(step, dict) else None
                if isinstance(parameter, dict):
                    keys = parameter.get("keys")
                    written = [parameter.get("key"), *(keys.values() if isinstance(keys, dict) else ())]
                    found |= {secret for secret in written if isinstance(secret, str)}
    return found


def _fit(raw: dict[Any, Any]) -> tuple[Document | None, list[Problem]]:
    """Fit the schema; what does not is cut out, and the rest fitted again."""
    try:
        return Document.model_validate(raw), []
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=True)
    problems = list(dict.fromkeys(_problem(found, raw) for found in first))
    pruned = copy.deepcopy(raw)
    for found in first:
        _cut(pruned, found["loc"], is_unknown_key=found["type"] == "extra_forbidden")
    for name, stand_in in (("version", 1), ("deployment", "x")):
        pruned.setdefault(name, stand_in)
    try:
        return Document.model_validate(pruned), problems
    except pydantic.ValidationError:
        return None, problems


def _cut(raw: dict[Any, Any], loc: tuple[int | str, ...], *, is_unknown_key: bool) -> None:
    """Remove the smallest part that can be missing: the unknown key, a field, a column, an entry, or else a whole section."""
    keys = [key for key in loc if key != "[key]"]
    depth = len(keys) if is_unknown_key else 1
    if not is_unknown_key and keys and keys[0] in _SECTIONS:
        inner = len(keys) >= 4 and keys[2] in ("fields", "columns")
        depth = 4 if inner else min(2, len(keys))
    elif not is_unknown_key and len(keys) >= 2:
        depth = 2
    place: Any = raw
    for key in keys[: depth - 1]:
        place = place.get(key) if isinstance(place, dict) else None
    if isinstance(place, dict):
        place.pop(keys[depth - 1] if depth else None, None)


def _problem(found: Any, raw: dict[Any, Any]) -> Problem:
    loc = tuple(found["loc"])
    if loc and loc[-1] == "[key]":
        name = str(loc[-2])
        return Problem(_path(loc[:-1]), f"'{name}' is not a name that is allowed here (letters, digits, _ and -)")
    real = _real(loc, raw, is_missing=found["type"] == "missing")
    path = _path(real)
    kind, context = found["type"], found.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return Problem(path, f"unknown key '{loc[-1]}'{did_you_mean(str(loc[-1]), _known_keys(real))}")
        case "missing":
            return Problem(path, "is missing")
        case "literal_error":
            expected = str(context["expected"])
            hint = did_you_mean(str(found["input"]), _QUOTED.findall(expected))
            other = " or {set: {column: value}}" if "[word]" in loc else ""
            return Problem(path, f"must be {expected}{other}{hint}")
        case "value_error":
            return Problem(path, str(context["error"]))
        case "string_pattern_mismatch":
            return Problem(path, "is not a name that is allowed here: lower-case letters, digits, _ and -, 32 at most")
        case "model_type" | "dict_type" | "model_attributes_type":
            return Problem(path, "must hold keys and values")
        case "list_type":
            hint = ": put its steps in [ ], such as [{suffix: 元}, decimal]" if real[-1:] == ("transforms",) else ""
            return Problem(path, f"must be a list{hint}")
        case "too_short":
            return Problem(path, "must not be empty")
    return Problem(path, str(found["msg"])[:1].lower() + str(found["msg"])[1:])


def _real(loc: tuple[int | str, ...], raw: Any, *, is_missing: bool) -> tuple[int | str, ...]:
    """Leave out what pydantic adds to a place: the names of the alternatives that it tried. The last part may be missing."""
    real: list[int | str] = []
    place = raw
    for at, key in enumerate(loc):
        if isinstance(place, dict) and (key in place or (is_missing and at == len(loc) - 1)):
            real.append(key)
            place = place.get(key)
        elif isinstance(place, list) and isinstance(key, int):
            real.append(key)
            place = place[key] if key < len(place) else None
        elif place is None:
            real.append(key)
    return tuple(real)


def _path(loc: tuple[int | str, ...]) -> str:
    path = ""
    for key in loc:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
    return path or "file"


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the section that an unknown key stands in."""
    model: Any = Document
    for key in loc[:-1]:
        model = _inner(model, key)
        if model is None:
            return []
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, Section) else []


def _inner(model: Any, key: int | str) -> Any:
    if isinstance(model, type) and issubclass(model, Section):
        known = model.model_fields.get(str(key))
        return None if known is None else _first_section(known.annotation)
    return _first_section(model.value) if isinstance(model, _DictOf) else None


def _first_section(annotation: Any) -> Any:
    """A section as it is; of `dict[name, Section]` the dict itself, so that the next key steps into it."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) is dict:
        return _DictOf(get_args(annotation)[1])
    for argument in get_args(annotation):
        if (found := _first_section(argument)) is not None:
            return found
    return None


class _DictOf:
    """Any key leads to a value of one kind."""

    def __init__(self, value: Any) -> None:
        self.value = value
