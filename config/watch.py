"""Notice that the configuration's file, or a secret file that it names, has changed. Cheap enough to ask several times a second.

An invalid file leaves the configuration that runs as it is; `error` says why, until the file is mended (I10).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from config.load import ConfigurationRefused, load
from config.models import Configuration

_Signature: TypeAlias = tuple[tuple[str, int, int, int], ...]
# A file written twice within the file system's clock tick looks the same: a young one is read again.
_SETTLED_AFTER_SECONDS: Final = 0.1


class ConfigWatch:
    """Raises ConfigurationRefused where the file is not valid at the start: then nothing runs that could go on."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path = Path(path)
        self._environment = environment
        self._files: frozenset[Path] = frozenset()
        self._signature, self._settled = self._look()
        self._read = b""
        self.current: Configuration = load(self._path, environment)
        self.loaded_at = time.time()
        self.error: str | None = None
        if self.current.files:
            self._files = self.current.files
            self._signature, self._settled = self._look()
            self._settled = False  # the files may have changed between reading and looking

    def poll(self) -> Configuration | None:
        """Return the new configuration where there is a valid one that differs from `current`; it is `current` from then on."""
        signature, settled = self._look()
        if signature == self._signature and self._settled:
            return None
        same_file_times = signature == self._signature
        self._signature, self._settled = signature, settled
        digest = self._digest()
        if same_file_times and digest == self._read:
            return None
        self._read = digest
        try:
            found = load(self._path, self._environment)
        except ConfigurationRefused as refused:
            self._watch(refused.files)
            self.error = _summary(refused)
            return None
        self._watch(found.files)
        changed = found != self.current
        if changed or self.error is not None:
            self.loaded_at = time.time()
        self.error = None
        if not changed:
            return None
        self.current = found
        return found

    def _watch(self, files: frozenset[Path]) -> None:
        if files != self._files:
            self._files = files
            self._signature, _ = self._look()
            self._settled = False

    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        for path in (self._path, *sorted(self._files)):
            try:
                content = path.read_bytes()
            except OSError:
                content = b"\0"
            digest.update(len(content).to_bytes(8, "big") + content)
        return digest.digest()

    def _look(self) -> tuple[_Signature, bool]:
        paths = [self._path, *sorted(self._files)]
        signature = tuple(_stat(path) for path in paths)
        youngest = max(changed for _, changed, _, _ in signature)
        return signature, abs(time.time() - youngest / 1e9) > _SETTLED_AFTER_SECONDS


def _stat(path: Path) -> tuple[str, int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return str(path), 0, 0, -1
    return str(path), max(status.st_mtime_ns, status.st_ctime_ns), status.st_ino, status.st_size


def _summary(refused: ConfigurationRefused) -> str:
    more = len(refused.problems) - 1
    return f"{refused.problems[0]}{f' (and {more} more)' if more else ''}"
