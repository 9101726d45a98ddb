"""The hub store: it can be written, nobody else can read it, the disk has room. Looks without creating. Guards I7 and I9."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from cdc.doctor.finding import Finding
from cdc.errors import DatongError
from cdc.store import Store

_PATH: Final = "store.url"
_LITTLE_DISK_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class StoreFileFacts:
    """`mode` is None where the file is not there yet; then `folder` is the nearest folder that is."""

    file: Path
    folder: Path
    mode: int | None
    writable: bool
    free_bytes: int


def sqlite_file(url: str) -> Path | None:
    """The hub store's file; None where it is a server's."""
    parsed = sa.make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def gather_store_file(file: Path) -> StoreFileFacts:
    resolved = file.resolve()
    folder = next(parent for parent in resolved.parents if parent.exists())
    exists = resolved.exists()
    return StoreFileFacts(
        file=file,
        folder=folder,
        mode=stat.S_IMODE(resolved.stat().st_mode) if exists else None,
        writable=os.access(folder, os.W_OK | os.X_OK)
        and folder.is_dir()
        and (not exists or (resolved.is_file() and os.access(resolved, os.W_OK))),
        free_bytes=shutil.disk_usage(folder).free,
    )


def check_store_file(facts: StoreFileFacts) -> Iterator[Finding]:
    quoted = shlex.quote(str(facts.file))
    if not facts.writable:
        text = f"{facts.file} cannot be written (folder {facts.folder})"
        mend = f"chown $(id -u) {shlex.quote(str(facts.folder))} {quoted if facts.mode is not None else ''}".rstrip()
        yield Finding("STORE_NOT_WRITABLE", "error", None, _PATH, text, [mend])
    if facts.mode is not None and facts.mode & 0o077:
        text = f"{facts.file} has mode {facts.mode:04o}: others may read or write it"
        yield Finding("STORE_MODE", "error", None, _PATH, text, [f"chmod 600 {quoted}"])
    if facts.free_bytes < _LITTLE_DISK_BYTES:
        text = f"{facts.free_bytes >> 20} MiB are free on the disk of {facts.file}"
        mend = f"free a GiB on the disk of {facts.folder}, or {_PATH}: a file on another one"
        yield Finding("STORE_DISK", "warning", None, _PATH, text, [mend])


def check_store_server(url: str, deployment: str) -> Iterator[Finding]:
    """A hub store in PostgreSQL answers."""
    try:
        store = Store(url, deployment)
        try:
            store.ping()
        finally:
            store.close()
    except DatongError as error:
        what, _, mend = str(error).rpartition(" - ")
        yield Finding("STORE_UNREACHABLE", "error", None, _PATH, what or mend, [f"{_PATH}: {mend}"])


def started_channels(url: str, deployment: str, channels: list[str]) -> frozenset[str]:
    """Which channels have a place in their log already. A store that is not there yet, or out of reach, knows of none."""
    file = sqlite_file(url)
    if file is not None and (not file.exists() or not file.stat().st_size):
        return frozenset()
    try:
        store = Store(url, deployment)
        try:
            return frozenset(channel for channel in channels if store.safe_cut(channel) is not None)
        finally:
            store.close()
    except DatongError:
        return frozenset()  # its own finding says so
