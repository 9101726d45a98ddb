"""Feed recorded, and bent, events to the real readers: everything of theirs but the socket and the server's answers.

What a reader makes of an input is an `Outcome`: the rows that it handed out, and the engine's own error if there was one. Anything
else that is raised passes through, and is a finding.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cdc.errors import DatongError, HaltError, TransientError
from cdc.readers import ReaderOptions, Wanted, mysql, postgresql_reader
from cdc.readers.binlog_stream import BinlogStream
from cdc.readers.mysql import MySQLReader
from cdc.readers.mysql_parts import WholeTransaction
from cdc.readers.mysql_server import LogEnd, LogFile, ServerFacts
from cdc.readers.postgresql_catalog import ServerFacts as PostgreSQLServerFacts
from cdc.readers.postgresql_catalog import SlotFacts, TypeFacts
from cdc.readers.postgresql_reader import PostgreSQLReader
from sinks.connections import Address
from tests.fuzz.record import CORPUS, DEPLOYMENT, TARGET

FILE_HEADS = (4, 15)  # ROTATE and FORMAT_DESCRIPTION: without them a log does not begin
CHECKSUM = 4
_PACKET_LIMIT = 0xFFFFFF


@dataclass(frozen=True, slots=True)
class Outcome:
    """`told`: all that was handed out, as text. `whole`: how many transactions were read at once (`SmallTransactions`)."""

    rows: int
    parts: int
    error: DatongError | None
    told: str = ""
    whole: int = 0


@dataclass(frozen=True, slots=True)
class Corpus:
    engine: str
    events: tuple[bytes, ...]
    said: dict[str, Any]

    def replay(self, events: list[bytes], *, by_event: bool = False) -> Outcome:
        """`by_event`: a binary log's small transactions are not read at once."""
        if self.engine == "postgresql":
            return _replay_frames(self, events)
        return _replay_events(self, events, by_event=by_event)

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
    told: list[str] = []
    while True:
        try:
            batch = read(0)
        except (HaltError, TransientError) as error:  # the tape's end, or what the reader takes for a lost connection
            return Outcome(rows, parts, error, "\n".join(told))
        rows += sum(len(part.rows) for part in batch.parts)
        parts += len(batch.parts)
        told += map(repr, [*batch.parts, *batch.notices])


def _replay_events(corpus: Corpus, events: list[bytes], *, by_event: bool) -> Outcome:
    said = corpus.said
    schema = said["database"]
    wanted = Wanted(DEPLOYMENT, TARGET, {(schema, "wide"): frozenset(said["columns"])})
    reader = MySQLReader(_address(corpus), wanted, ReaderOptions(server_id=99))
    file, offset, gtids = said["log_end"]
    reader._server = SimpleNamespace(  # type: ignore[assignment]
        check_settings=lambda: None,
        facts=lambda: ServerFacts(*said["facts"]),
        log_end=lambda: LogEnd(file, offset),
        log_end_with_gtids=lambda: (LogEnd(file, offset), gtids),
        log_files=lambda: [LogFile(file, offset)],
        collations=lambda: {int(number): name for number, name in said["collations"].items()},
        data_types=lambda _schema, _table: dict(said["data_types"]),
        ask=lambda _statement: [],
        log_place=lambda: (file, offset),
        log_sizes=list,
        close=lambda: None,
    )
    plain = mysql.BinlogStream
    mysql.BinlogStream = lambda address, *_args, **_more: _TapedStream(address, events)  # type: ignore[misc,assignment]
    try:
        reader.open(None)
    except DatongError as error:
        return Outcome(0, 0, error)
    finally:
        mysql.BinlogStream = plain  # type: ignore[misc]
    if by_event:
        reader._small = None
    transactions = reader._transactions
    assert transactions is not None
    whole = 0
    add = transactions.add_whole

    def counted(transaction: WholeTransaction) -> None:
        nonlocal whole
        whole += 1
        add(transaction)

    transactions.add_whole = counted  # type: ignore[method-assign]
    return replace(_drain(reader.read), whole=whole)


class _TapedStream(BinlogStream):
    """A stream without a connection: the packets of a tape, as fast as they are taken, then the connection's end."""

    def __init__(self, address: Address, taped: list[bytes]) -> None:
        self._begin(address, 1.0, time.monotonic)
        self._packets = b"".join(packet for event in taped for packet in _packets(event))

    def prepare(self, *_: Any, **_more: Any) -> None: ...

    dump_from = dump_after = set_mariadb_start = prepare

    def close(self) -> None: ...

    def _receive(self, into: memoryview, _heard: float) -> int:
        if not self._packets:
            raise TransientError("the tape has ended")
        taken, self._packets = self._packets[: len(into)], self._packets[len(into) :]
        into[: len(taken)] = taken
        return len(taken)


def _packets(event: bytes) -> Iterator[bytes]:
    """One event, after its status byte, in packets of the protocol; one of full length is followed by another."""
    payload, number = b"\0" + event, 0
    while True:
        piece, payload = payload[:_PACKET_LIMIT], payload[_PACKET_LIMIT:]
        yield struct.pack("<I", len(piece) | number << 24) + piece
        number = (number + 1) % 256
        if len(piece) < _PACKET_LIMIT:
            return


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
