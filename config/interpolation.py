"""`${NAME}` and `${file:/path}` in the configuration's values: an environment variable, a file's content (without one newline at
its end). `$${` writes a plain `${`. An unset variable or an unreadable file is a problem with its path; no message holds a
value (I9). What is put in is opaque: it is never read as YAML, and a password in a URL may hold any character.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from transforms.compiled import Problem

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# Stands for the nth opaque piece while a URL is taken apart. The file itself can hold no control character.
_PIECE: Final = re.compile("\x00([0-9]+)\x00")
_MAX_SECRET_BYTES: Final = 65_536


@dataclass(slots=True)
class Interpolation:
    """Fills in one document; collects its problems, and which files it read."""

    environment: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)
    from_files: set[str] = field(default_factory=set, repr=False)

    def fill(self, value: Any, path: str = "") -> Any:
        """Return the document with every reference in a string value replaced."""
        if isinstance(value, dict):
            return {key: self.fill(inner, f"{path}.{key}" if path else str(key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner, f"{path}[{at}]") for at, inner in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        opaque: list[str] = []
        template = _REFERENCE.sub(lambda match: self._mark(match, opaque, path), value)
        if path.endswith(".url") and _SCHEME.match(template):
            return _url(template, opaque)
        return _expand(template, opaque)

    def _mark(self, match: re.Match[str], opaque: list[str], path: str) -> str:
        if match[1] is None:
            opaque.append("${")
        else:
            opaque.append(self._look_up(match[0], match[1], path))
        return f"\x00{len(opaque) - 1}\x00"

    def _look_up(self, written: str, name: str, path: str) -> str:
        if not written.endswith("}"):
            self.problems.append(Problem(path, "a ${ without its } (write $${ for a plain ${)"))
            return ""
        if name.startswith("file:"):
            return self._file(Path(name.removeprefix("file:")), path)
        if not _NAME.fullmatch(name):
            self.problems.append(Problem(path, "${...} takes a variable's name or file:/path"))
            return ""
        value = self.environment.get(name)
        if value is None:
            self.problems.append(Problem(path, f"environment variable {name} is not set"))
            return ""
        return value

    def _file(self, file: Path, path: str) -> str:
        self.files.add(file)
        try:
            with file.open("rb") as opened:
                raw = opened.read(_MAX_SECRET_BYTES + 1)
            if len(raw) > _MAX_SECRET_BYTES:
                self.problems.append(Problem(path, f"file {file} is too large for a secret"))
                return ""
            value = raw.decode("utf-8")
        except OSError as error:
            self.problems.append(Problem(path, f"file {file} cannot be read: {error.strerror}"))
            return ""
        except UnicodeDecodeError:
            self.problems.append(Problem(path, f"file {file} is not UTF-8 text"))
            return ""
        value = value.removesuffix("\n").removesuffix("\r")
        self.from_files.add(value)
        return value


def _expand(template: str, opaque: list[str]) -> str:
    return _PIECE.sub(lambda match: opaque[int(match[1])], template)


def _url(template: str, opaque: list[str]) -> str:
    """Take the URL apart as it is written, and only then put the opaque pieces in, percent-encoded."""
    match = _SCHEME.match(template)
    assert match is not None
    rest = template[match.end() :]
    authority, tail = re.split(r"(?=[/?#])", rest, maxsplit=1) if re.search(r"[/?#]", rest) else (rest, "")
    userinfo, at, place = authority.rpartition("@")
    user, colon, password = userinfo.partition(":")
    made = _encoded(user, opaque) + colon + _encoded(password, opaque) + at
    return match[0] + made + _expand(place, opaque) + _expand(tail, opaque)


def _encoded(part: str, opaque: list[str]) -> str:
    """What is written is decoded as in any URL, what is put in is taken as it is; both are encoded again."""
    pieces = _PIECE.split(part)
    return "".join(quote(opaque[int(piece)] if at % 2 else unquote(piece), safe="") for at, piece in enumerate(pieces))
