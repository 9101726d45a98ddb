"""A MySQL or MariaDB session for writing: statements out, answers in, errors sorted. The sink's only door to PyMySQL.

Several statements go in one packet: the server stops at the first that fails, so nothing runs after a deadlock has silently
ended the transaction. Guards I6: a write that the server answers with a warning of its own is an error here.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import pymysql
from pymysql.constants import COMMAND, SERVER_STATUS

from sinks.classification import mysql_error
from sinks.connections import Address, connect_mysql
from sinks.contract import Rejected, SinkError, SinkOptions, Transient
from sinks.openings import Opening, OpeningSession, tell

READ_TIMEOUT_SECONDS: Final = 60.0
_HARMLESS_NOTES: Final = frozenset({1287, 1681, 3719, 1003})  # deprecations
_LOST: Final = frozenset({"2002", "2003", "2006", "2013", "2014", "2055", "1053", "1153", "1927", "4031", ""})

_LEAST_OK: Final = 11  # bytes of an OK packet with its header
_STATUS: Final = struct.Struct("<HH")  # and the number of warnings


class Statement(msgspec.Struct, frozen=True, gc=False):
    """One statement; `where` says what it does, for errors: `insert into shop.orders`."""

    sql: str
    where: str


_START: Final = Statement("START TRANSACTION", "opening a transaction")
_LEAVE: Final = Statement("COMMIT", "asking the server")


class Answer(msgspec.Struct, frozen=True, gc=False):
    """`affected` counts matched rows (FOUND_ROWS). `changed` is the server's own count where it gives one. `generated`: the
    AUTO_INCREMENT value of an insert, 0 where there is none.
    """

    affected: int
    rows: Sequence[Sequence[Any]]
    changed: int | None
    warnings: int
    generated: int = 0


class MySQLSession(OpeningSession[Statement, Answer]):
    """One open connection. A connection on which anything but a plain server error happened is closed at once.

    START TRANSACTION, or what stands for it, goes in front of every opening.
    """

    def __init__(self, address: Address, options: SinkOptions) -> None:
        """Connect and pin what a server's defaults could change. Raises Transient and Halt."""
        super().__init__()
        self.address = address
        self._chained = False  # COMMIT has begun the next transaction, in which nothing has happened yet
        self._unread = False
        self._ahead = False  # an opening was sent by itself, and its answers were not read yet
        self._status = 0  # the flags of the last answer
        try:
            self._connection = connect_mysql(address, read_timeout=READ_TIMEOUT_SECONDS, multi_statements=True)
        except (pymysql.err.MySQLError, OSError) as error:
            raise mysql_error(error, f"connecting to {address}") from error
        self._raw: Any = self._connection  # what has no public name
        seconds = max(1, math.ceil(options.lock_timeout_seconds))
        self.ask(f"SET SESSION innodb_lock_wait_timeout = {seconds}, SESSION lock_wait_timeout = {seconds}")
        thread, packet, user = self.ask("SELECT CONNECTION_ID(), @@max_allowed_packet, CURRENT_USER()")[0]
        self.thread_id = int(thread)
        self.max_packet = int(packet)
        self.user = str(user)

    @property
    def closed(self) -> bool:
        return not self._connection.open

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()

    def ask(self, statement: str) -> Sequence[Sequence[Any]]:
        """Run one statement outside the hot path and answer its rows."""
        return self.run_one(Statement(statement, "asking the server")).rows

    def run_one(self, statement: Statement, *, single: bool = False) -> Answer:
        (answer,) = self.run([statement], single=single)
        return answer

    def run(self, statements: Sequence[Statement], *, single: bool = False) -> Iterator[Answer]:
        """Send the statements in one packet and answer one by one; the iterator must be read to its end."""
        self.send(statements)
        yield from self.receive(statements, single=single)

    def send(self, statements: Sequence[Statement]) -> None:
        """Send statements in one packet; `receive` must be called for them before anything else is sent."""
        if self._ahead:
            self._receive_ahead()
        if self._unread:
            raise RuntimeError("answers of the statements before were not read")
        before = self._before()
        if self._opening is not None and statements and not self._fits((*before, *statements)):
            self.flush()
            before = self._before()
        if before:
            opened, self._opening = self._opening, None
            self._opened = Opening(before, opened.check if opened is not None else tell)
        self._chained = False
        everything = (*before, *statements)
        self._send(";".join([statement.sql for statement in everything]), everything[0].where)

    def open_ahead(self) -> None:
        """Send an opening now, and read its answers before what is sent next: the server works on it while that is made."""
        if self._opening is None or self._unread:
            return
        self._opened, self._opening = Opening(self._before(), self._opening.check), None
        self._chained, self._ahead = False, True
        self._send(";".join([statement.sql for statement in self._opened.statements]), self._opened.statements[0].where)

    def flush(self) -> None:
        if self._ahead:
            self._receive_ahead()
        super().flush()

    def _receive_ahead(self) -> None:
        self._ahead = False
        self._receive_opening(followed=False)

    def _before(self) -> tuple[Statement, ...]:
        """What has to go in front of the next statements: an opening; or, after a COMMIT that chains, what leaves its transaction."""
        if self._opening is None:
            return (_LEAVE,) if self._chained else ()
        return self._opening.statements if self._chained else (_START, *self._opening.statements)

    def _fits(self, statements: Sequence[Statement]) -> bool:
        """Whether statements go in one packet."""
        characters = sum([len(statement.sql) + 1 for statement in statements])
        room = self.max_packet - 64
        return characters * 4 < room or sum([len(statement.sql.encode()) + 1 for statement in statements]) < room

    def receive(self, statements: Sequence[Statement], *, single: bool = False) -> Iterator[Answer]:
        """The answers to what was sent, one by one. See `run`."""
        if self._opened is not None:
            self._receive_opening(followed=bool(statements))
        for number, statement in enumerate(statements, 1):
            yield self._receive(statement.where, single=single)
            if self._unread != (number < len(statements)):
                self.close()
                raise Transient(f"{statement.where}: the server answered another number of statements than it got")

    def _receive_opening(self, *, followed: bool) -> None:
        """Read and check the opening's answers."""
        opening, self._opened = self._opened, None
        assert opening is not None
        answers: list[Answer] = []
        error: SinkError | None = None
        try:
            for number, statement in enumerate(opening.statements, 1):
                answers.append(self._receive(statement.where, single=False))
                if self._unread != (followed or number < len(opening.statements)):
                    self.close()
                    raise Transient(f"{statement.where}: the server answered another number of statements than it got")
        except SinkError as failed:
            error = failed
        self._check_opening(opening, answers, error)

    def roll_back(self) -> None:
        self._opening = self._opened = None
        self.void = self._chained = self._ahead = False
        try:
            while self._unread and not self.closed:
                with contextlib.suppress(SinkError):
                    self._receive("rolling back", single=False)
            if not self.closed:
                self.run_one(Statement("ROLLBACK", "rolling back"))
        except SinkError:
            self.close()

    def send_commit(self, *, chain: bool = False) -> None:
        """Send COMMIT without reading its answer. Nothing may be left to open (`flush`).

        `chain`: it also begins the next transaction, for an opening that has statements. Anything else that comes first leaves it, so
        that nothing is ever read or locked in a transaction that nobody ends.
        """
        self._send("COMMIT AND CHAIN" if chain else "COMMIT", "COMMIT")

    def receive_commit(self) -> None:
        """Read COMMIT's answer. Raises SinkError, after which nobody knows how it ended."""
        self._receive("COMMIT", single=False)
        self._chained = bool(self._status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)  # as the server says itself

    def check_notes(self, where: str) -> None:
        """Raise Rejected if the last statement left a note of a value that was bent."""
        told = self.ask("SHOW WARNINGS")
        if not told:
            raise Rejected(
                f"{where}: the server left a note and does not tell it: SET GLOBAL max_error_count = DEFAULT"
            )
        for _, code, text in told:
            if int(code) not in _HARMLESS_NOTES:
                error = mysql_error(pymysql.err.DataError(int(code), str(text)), where, single=True)
                raise Rejected(f"{error} (the server would have bent the value)", str(code))

    def _send(self, sql: str, where: str) -> None:
        self._unread = True
        try:
            self._raw._execute_command(COMMAND.COM_QUERY, sql)  # noqa: SLF001
        except BaseException as error:  # noqa: BLE001 - raised again, after the connection is closed
            raise self._sorted(error, where, single=False) from None

    def _receive(self, where: str, *, single: bool) -> Answer:
        self._unread = False  # the server stops at an error
        try:
            plain = self._receive_plain()
            if plain is not None:
                return plain
            self._raw._read_query_result()  # noqa: SLF001
        except BaseException as error:  # noqa: BLE001 - raised again, after the connection is closed
            raise self._sorted(error, where, single=single) from None
        result: Any = self._raw._result  # noqa: SLF001
        self._status = result.server_status or 0
        self._unread = bool(result.has_next)
        return Answer(
            result.affected_rows,
            result.rows or (),
            _changed(result.message),
            result.warning_count,
            result.insert_id or 0,
        )

    def _receive_plain(self) -> Answer | None:
        """An answer without rows that has arrived whole, read without the driver, which takes several times as long for it.

        None, and nothing is taken, where the next answer is anything else: the driver reads that.
        """
        raw = self._raw
        buffered: bytes = raw._rfile.peek()  # noqa: SLF001 - waits for the first bytes, within the driver's own time limit
        if len(buffered) < _LEAST_OK or buffered[4] != 0 or buffered[1] or buffered[2]:
            return None  # not whole, or an error or rows, or of 256 bytes and more
        end = 4 + buffered[0]
        if len(buffered) < end or buffered[3] != raw._next_seq_id:  # noqa: SLF001
            return None
        affected, place = _length_encoded(buffered, 5)
        generated, place = _length_encoded(buffered, place)
        self._status, warnings = _STATUS.unpack_from(buffered, place)
        raw._rfile.read(end)  # noqa: SLF001
        raw._next_seq_id = (buffered[3] + 1) % 256  # noqa: SLF001
        raw._result = None  # noqa: SLF001 - else the driver would look there for answers that were not read
        self._unread = bool(self._status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS)
        return Answer(affected, (), _changed(buffered[place + _STATUS.size : end]), warnings, generated)

    def _sorted(self, error: BaseException, where: str, *, single: bool) -> BaseException:
        """What an error means. After all but a plain error of the server the connection is closed."""
        if not isinstance(error, pymysql.err.MySQLError | OSError | EOFError):
            self.close()  # interrupted in the middle of an answer
            return error
        sorted_error = mysql_error(error, where, single=single)
        if isinstance(sorted_error, Transient) and sorted_error.code in _LOST:
            self.close()
        return sorted_error


def _length_encoded(packet: bytes, place: int) -> tuple[int, int]:
    """An integer of the protocol at a place, and the place behind it."""
    first = packet[place]
    if first < 251:
        return first, place + 1
    end = place + 1 + {252: 2, 253: 3, 254: 8}[first]
    return int.from_bytes(packet[place + 1 : end], "little"), end


def _changed(message: bytes | None) -> int | None:
    """`Rows matched: 1  Changed: 0  Warnings: 0` -> 0."""
    if not message or b"Changed: " not in message:
        return None
    return int(message.split(b"Changed: ", 1)[1].split(b" ", 1)[0])
