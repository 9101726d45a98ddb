"""Transactions that the server streams while they are open, held until they commit: in memory to a bound, then on disk. Guards I4, I8.

Nothing of them may be handed out before STREAM COMMIT, and what a rolled back subtransaction wrote never: its messages are
passed over when the transaction is read back, so that its rows are numbered as if they had never been streamed.

A file has no name from the moment it exists: it goes with its process, however that ends. What is not wanted is kept as a mark
of some bytes, because it counts when rows are numbered.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from struct import Struct
from typing import IO, Final

from cdc.errors import TransientError
from cdc.readers import pgoutput as pg
from cdc.readers.pgoutput import ProtocolError

_CHUNK: Final = 1 << 20
_LENGTH: Final = Struct(">I")
_ROWS: Final = frozenset((pg.INSERT, pg.UPDATE, pg.DELETE))
_MARK: Final = 1 + pg.XID_SIZE + 4  # kind, (sub)transaction, relation


class _Held:
    """One open transaction: its messages as (length, message), the oldest on disk where there are too many."""

    __slots__ = ("aborted", "file", "in_memory", "on_disk", "unwanted")

    def __init__(self) -> None:
        self.in_memory = bytearray()
        self.file: IO[bytes] | None = None
        self.on_disk = 0
        self.aborted: set[int] = set()
        self.unwanted: set[int] = set()  # relations, as this transaction has seen them

    def close(self) -> None:
        self.in_memory.clear()
        if self.file is not None:
            self.file.close()
            self.file = None


class Spool:
    """Fed with what stands between STREAM START and STREAM STOP; `commit` gives a transaction back, message by message.

    `wanted`: whose rows are kept whole. `folder`: where files go; None is the system's own. A full disk is a TransientError.
    """

    def __init__(
        self, wanted: Collection[tuple[str, str]], folder: Path | None = None, memory_bytes: int = 32 << 20
    ) -> None:
        self._wanted = wanted
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._held: dict[int, _Held] = {}
        self._block: _Held | None = None
        self.in_block = False
        self._in_memory = 0
        self.spilled_bytes = 0  # on disk at present

    def start(self, xid: int, *, first: bool) -> None:
        if self._block is not None:
            raise ProtocolError("a STREAM START within a block")
        if first == (xid in self._held):
            raise ProtocolError(f"a block of transaction {xid} that does not fit those before it")
        if first:
            self._held[xid] = _Held()
        self._block, self.in_block = self._held[xid], True

    def stop(self) -> None:
        if self._block is None:
            raise ProtocolError("a STREAM STOP outside of any block")
        self._block, self.in_block = None, False
        self._bound()

    def add(self, frame: bytes) -> None:
        """Keep the message of a data frame within the block."""
        held = self._block
        if held is None:
            raise ProtocolError("a message outside of any block")
        kind = frame[pg.MESSAGE_AT]
        message = frame[pg.MESSAGE_AT :]
        if kind in _ROWS:
            if held.unwanted and pg.relation_oid(message, pg.XID_SIZE) in held.unwanted:
                message = message[:_MARK]
        elif kind == pg.RELATION:
            relation = pg.read_relation(message, pg.XID_SIZE)
            (held.unwanted.discard if (relation.schema, relation.name) in self._wanted else held.unwanted.add)(
                relation.oid
            )
        held.in_memory += _LENGTH.pack(len(message))
        held.in_memory += message
        self._in_memory += _LENGTH.size + len(message)
        if self._in_memory > 2 * self._memory_bytes:  # in the middle of a very long block
            self._bound()

    def abort(self, xid: int, subxid: int) -> None:
        """Drop a transaction, or what one of its subtransactions wrote. Of one that is not held there is nothing to drop."""
        held = self._held.get(xid)
        if held is None:
            return
        if xid == subxid:
            self._forget(xid)
        else:
            held.aborted.add(subxid)

    def commit(self, xid: int) -> Iterator[bytes]:
        """The transaction's messages, each from its kind on; they are forgotten when they have been read, or the spool closes."""
        if xid not in self._held:
            raise ProtocolError(f"the commit of transaction {xid}, of which nothing was streamed")
        return self._messages(xid)

    def close(self) -> None:
        for xid in list(self._held):
            self._forget(xid)
        self._block, self.in_block = None, False

    def _messages(self, xid: int) -> Iterator[bytes]:
        held = self._held[xid]
        aborted = held.aborted
        for message in _split(self._chunks(held)):
            if aborted and pg.block_xid(message, 0) in aborted:
                continue
            yield message
        self._forget(xid)

    def _chunks(self, held: _Held) -> Iterator[bytes]:
        if held.file is not None:
            try:
                held.file.seek(0)
                while chunk := held.file.read(_CHUNK):
                    yield chunk
            except OSError as error:
                raise self._trouble(error) from None
        for at in range(0, len(held.in_memory), _CHUNK):
            yield bytes(held.in_memory[at : at + _CHUNK])

    def _bound(self) -> None:
        """Move the largest to disk while there is too much in memory."""
        while self._in_memory > self._memory_bytes:
            held = max(self._held.values(), key=lambda held: len(held.in_memory))
            size = len(held.in_memory)
            try:
                if held.file is None:
                    held.file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed in close()
                _write(held.file, held.in_memory)
            except OSError as error:
                raise self._trouble(error) from None
            held.in_memory = bytearray()
            self._in_memory -= size
            held.on_disk += size
            self.spilled_bytes += size

    def _trouble(self, error: OSError) -> TransientError:
        return TransientError(
            f"a large transaction cannot be held in {self._folder or tempfile.gettempdir()}: {error.strerror}; make room there"
        )

    def _forget(self, xid: int) -> None:
        held = self._held.pop(xid)
        self._in_memory -= len(held.in_memory)
        self.spilled_bytes -= held.on_disk
        held.close()


def _write(file: IO[bytes], data: bytearray) -> None:
    """All of it: a write may take a part only."""
    with memoryview(data) as rest:
        at = 0
        while at < len(rest):
            at += file.write(rest[at:])


def _split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The messages in a run of chunks that cut them anywhere."""
    rest = b""
    header = _LENGTH.size
    unpack = _LENGTH.unpack_from
    for chunk in chunks:
        data = rest + chunk if rest else chunk
        at, size = 0, len(data)
        while at + header <= size:
            end = at + header + unpack(data, at)[0]
            if end > size:
                break
            yield data[at + header : end]
            at = end
        rest = data[at:]
