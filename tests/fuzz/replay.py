"""Feed recorded, and bent, events to the real readers: everything of theirs but the socket and the server's answers.

What a reader makes of an input is an `Outcome`: the rows that it handed out, and the engine's own error if there was one. Anything
else that is raised passes through, and is a finding.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cdc.errors import DatongError, HaltError, TransientError
from cdc.readers import ReaderOptions, Wanted, mysql, postgresql_reader
from cdc.readers.mysql import MySQLReader
from cdc.readers.mysql_server import LogEnd, LogFile, ServerFacts
from cdc.readers.postgresql_catalog import ServerFacts as PostgreSQLServerFacts
from cdc.readers.postgresql_catalog import SlotFacts, TypeFacts
from cdc.readers.postgresql_reader import PostgreSQLReader
from sinks.connections import Address
from tests.fuzz.record import CORPUS, DEPLOYMENT, TARGET

FILE_HEADS = (4, 15)  # ROTATE and FORMAT_DESCRIPTION: without them a log does not begin
CHECKSUM = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    rows: int
    parts: int
    error: DatongError | None


@dataclass(frozen=True, slots=True)
class Corpus:
    engine: str
    events: tuple[bytes, ...]
    said: dict[str, Any]

    def replay(self, events: list[bytes]) -> Outcome:
        return _replay_frames(self, events) if self.engine == "postgresql" else _replay_events(self, events)

    def opening(self) -> list[bytes]:
        """What any input begins with, so that a reader gets beyond the door."""
        return [] if self.engine == "postgresql" else [event for event in self.events[:3] if event[4] in FILE_HEADS]


def load(name: str) -> Corpus:
    said = json.loads((CORPUS / f"{name}.json").read_text())
    return Corpus(said["engine"], tuple(map(bytes.fromhex, said["events"])), said)


def sealed(event: bytes) -> bytes:
    """A binlog event with the size and the checksum that fit it: bent where only the decoders can see it."""
    if len(event) < 19 + CHECKSUM:
        return event
    head = event[:9] + len(event).to_bytes(4, "little") + event[13:-CHECKSUM]
    return head + zlib.crc32(head).to_bytes(4, "little")


def _address(corpus: Corpus) -> Address:
    return Address(corpus.engine, "127.0.0.1", 1, "user", corpus.said["database"], "")  # type: ignore[arg-type]


def _drain(read: Callable[[float], Any]) -> Outcome:
    rows = parts = 0
    while True:
        try:
            batch = read(0)
        except HaltError as error:
            return Outcome(rows, parts, error)
        except TransientError as error:  # the tape's end, or what the reader takes for a lost connection
            return Outcome(rows, parts, error)
        rows += sum(len(part.rows) for part in batch.parts)
        parts += len(batch.parts)


def _replay_events(corpus: Corpus, events: list[bytes]) -> Outcome:
    said = corpus.said
    schema = said["database"]
    wanted = Wanted(DEPLOYMENT, TARGET, {(schema, "wide"): frozenset(said["columns"])})
    reader = MySQLReader(_address(corpus), wanted, ReaderOptions(server_id=99))
    file, offset, gtids = said["log_end"]
    reader._server = SimpleNamespace(  # type: ignore[assignment]
        check_settings=lambda: None,
        facts=lambda: ServerFacts(*said["facts"]),
        log_end=lambda: LogEnd(file, offset, gtids),
        log_files=lambda: [LogFile(file, offset)],
        collations=lambda: {int(number): name for number, name in said["collations"].items()},
        data_types=lambda _schema, _table: dict(said["data_types"]),
        ask=lambda _statement: [],
        log_place=lambda: (file, offset),
        log_sizes=list,
        close=lambda: None,
    )
    plain = mysql.BinlogStream
    mysql.BinlogStream = lambda *_args, **_more: _TapedStream(events)  # type: ignore[misc,assignment]
    try:
        reader.open(None)
    except DatongError as error:
        return Outcome(0, 0, error)
    finally:
        mysql.BinlogStream = plain  # type: ignore[misc]
    return _drain(reader.read)


class _TapedStream:
    """Stands for `BinlogStream`: the events of a tape, then the connection's end."""

    def __init__(self, taped: list[bytes]) -> None:
        self._taped = taped
        self.deadline = 0.0
        self.drained = False

    def prepare(self, *_: Any, **_more: Any) -> None: ...

    dump_from = dump_after = set_mariadb_start = prepare

    def close(self) -> None: ...

    def events(self) -> Iterator[Any]:
        for event in self._taped:
            yield memoryview(event), 0, len(event)
        raise TransientError("the tape has ended")


def _replay_frames(corpus: Corpus, frames: list[bytes]) -> Outcome:
    said = corpus.said
    wanted = Wanted(DEPLOYMENT, TARGET, {("public", "wide"): frozenset(said["columns"])})
    reader = PostgreSQLReader(_address(corpus), wanted, ReaderOptions())
    start = said["start"]
    types = {int(oid): TypeFacts(*facts[:-1], tuple(facts[-1])) for oid, facts in said["types"].items()}
    reader._catalog.server = lambda: PostgreSQLServerFacts(150000, "logical", False, 60_000)  # type: ignore[method-assign]
    reader._catalog.types = lambda oids: {oid: types[oid] for oid in oids if oid in types}  # type: ignore[method-assign]
    reader._catalog.slot = lambda _name: SlotFacts("pgoutput", said["database"], None, start, start, "reserved", "")  # type: ignore[method-assign]
    reader._check_publication = lambda: None  # type: ignore[method-assign]
    plain = postgresql_reader.ReplicationStream
    postgresql_reader.ReplicationStream = lambda *_args, **_more: _TapedFrames(frames, start)  # type: ignore[misc,assignment]
    try:
        reader.open(None)
    except DatongError as error:
        return Outcome(0, 0, error)
    finally:
        postgresql_reader.ReplicationStream = plain  # type: ignore[misc]
    return _drain(reader.read)


class _TapedFrames:
    """Stands for `ReplicationStream`."""

    silent_seconds = 0.0

    def __init__(self, frames: list[bytes], flushed: int) -> None:
        self._frames: list[bytes] | None = list(frames)
        self._flushed = flushed

    def identify(self) -> tuple[str, int, int]:
        return "7", 1, self._flushed

    def start(self, *_: Any, **_more: Any) -> None: ...

    def confirm(self, _lsn: int) -> None: ...

    def close(self) -> None: ...

    def receive(self, _max_wait: float) -> list[bytes]:
        if self._frames is None:
            raise TransientError("the tape has ended")
        frames, self._frames = self._frames, None
        return frames


FOUND = Path(__file__).parent / "found"
