"""Asking a MySQL or MariaDB server about its log, over a kept connection that survives the server's wait_timeout.

Guards I6 (settings that would make the log lie are refused by name, with the statement that mends them) and I7 (whether our position
is still this server's). Reads only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pymysql

from cdc.errors import HaltError, TransientError
from cdc.readers.mysql_errors import read_error
from sinks.connections import Address, connect_mysql

_TIMEOUT_SECONDS: Final = 10.0

# (variable, value that it must have, code, statement that mends it)
_SETTINGS: Final = (
    ("log_bin", ("1", "ON"), "LOG_OFF", "start the server with log_bin"),
    ("binlog_format", ("ROW",), "LOG_FORMAT", "SET GLOBAL binlog_format = 'ROW'"),
    ("binlog_row_image", ("FULL",), "LOG_ROW_IMAGE", "SET GLOBAL binlog_row_image = 'FULL'"),
    ("binlog_row_metadata", ("FULL",), "LOG_METADATA", "SET GLOBAL binlog_row_metadata = 'FULL'"),
    ("binlog_row_value_options", ("",), "LOG_PARTIAL_JSON", "SET GLOBAL binlog_row_value_options = ''"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LogFile:
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class LogEnd:
    file: str
    offset: int


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """`identity`: MySQL's server_uuid, MariaDB's server_id. `state`: gtid_executed, or MariaDB's gtid_binlog_state."""

    identity: str
    version: str
    domain: int | None
    has_gtids: bool
    state: str
    purged: str  # MySQL's gtid_purged


class MySQLServer:
    """One connection to a server, opened when first needed and once more when it was lost."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: pymysql.Connection[Any] | None = None

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError, pymysql.err.Error):
                self._connection.close()
            self._connection = None

    def check_settings(self) -> None:
        """Raises HaltError for the first setting that would hide or bend changes."""
        names = ", ".join(f"'{name}'" for name, *_ in _SETTINGS)
        found = {str(k): str(v) for k, v in self._rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")}
        for name, allowed, code, mend in _SETTINGS:
            if name in found and found[name].upper() not in allowed:
                raise HaltError(code, f"{self._address}: {name} is {found[name]!r}", mend)

    def facts(self) -> ServerFacts:
        if self._address.engine == "mariadb":
            ((server_id, version, domain, state),) = self._rows(
                "SELECT @@global.server_id, @@version, @@global.gtid_domain_id, @@global.gtid_binlog_state"
            )
            return ServerFacts(str(server_id), str(version), int(domain), True, str(state), "")
        ((identity, version, mode, executed, purged),) = self._rows(
            "SELECT @@server_uuid, @@version, @@global.gtid_mode, @@global.gtid_executed, @@global.gtid_purged"
        )
        return ServerFacts(str(identity), str(version), None, str(mode) == "ON", _one_line(executed), _one_line(purged))

    def is_subset(self, some: str, all_of_them: str) -> bool:
        """MySQL: whether every GTID of `some` is in the other set."""
        ((answer,),) = self._rows("SELECT GTID_SUBSET(%s, %s)", some, all_of_them)
        return bool(answer)

    def subtract(self, some: str, others: str) -> str:
        """MySQL: the GTIDs of `some` that are not in `others`."""
        ((answer,),) = self._rows("SELECT GTID_SUBTRACT(%s, %s)", some, others)
        return _one_line(answer)

    def log_files(self) -> list[LogFile]:
        return [LogFile(str(row[0]), int(row[1])) for row in self._rows("SHOW BINARY LOGS")]

    def log_end(self) -> LogEnd:
        status = self._log_status()
        return LogEnd(str(status[0]), int(status[1]))

    def log_end_with_gtids(self) -> tuple[LogEnd, str]:
        """The end of the log, and which GTIDs it holds up to exactly there.

        For starts alone: MariaDB reads the whole log file for it, which takes a second of every GB.
        """
        status = self._log_status()
        end = LogEnd(str(status[0]), int(status[1]))
        if self._address.engine != "mariadb":
            return end, _one_line(status[4])
        ((gtids,),) = self._rows("SELECT BINLOG_GTID_POS(%s, %s)", end.file, end.offset)
        return end, str(gtids or "")

    def _log_status(self) -> Sequence[Any]:
        rows = self._rows(self._log_status_statement())
        if not rows:
            raise HaltError("LOG_OFF", f"{self._address}: the binary log is off", "start the server with log_bin")
        return rows[0]

    def _log_status_statement(self) -> str:
        """MySQL 8.4 has removed the old statement, 8.2 introduced the new one; MariaDB keeps the old."""
        if self._address.engine == "mariadb":
            return "SHOW MASTER STATUS"
        ((version,),) = self._rows("SELECT @@version")
        major, minor = (int(part) for part in str(version).split(".")[:2])
        return "SHOW BINARY LOG STATUS" if (major, minor) >= (8, 2) else "SHOW MASTER STATUS"

    def collations(self) -> dict[int, str]:
        """Collation id -> character set. MariaDB 10.10 and later has its newer ones only in the second table."""
        rows = list(self._rows("SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS"))
        if self._address.engine == "mariadb":
            rows += self._rows(
                "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
                if self._has_column("COLLATION_CHARACTER_SET_APPLICABILITY", "ID")
                else "SELECT NULL, NULL LIMIT 0"
            )
        return {
            int(number): "utf8mb3" if charset == "utf8" else str(charset)
            for number, charset in rows
            if number is not None and charset
        }

    def _has_column(self, table: str, column: str) -> bool:
        return bool(
            self._rows(
                "SELECT 1 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'information_schema' "
                "AND TABLE_NAME = %s AND COLUMN_NAME = %s",
                table,
                column,
            )
        )

    def log_place(self) -> tuple[str, int]:
        """The log's end: file and offset."""
        rows = self._rows(self._log_status_statement())
        if not rows:
            raise HaltError("LOG_OFF", f"{self._address}: the binary log is off", "start the server with log_bin")
        return str(rows[0][0]), int(rows[0][1])

    def log_sizes(self) -> list[tuple[str, int]]:
        return [(file.name, file.size) for file in self.log_files()]

    def ask(self, statement: str) -> Sequence[tuple[Any, ...]]:
        """Run a reading statement as it stands, with `%` as it is."""
        return self._rows(statement)

    def data_types(self, schema: str, table: str) -> dict[str, str]:
        """Column name -> DATA_TYPE, as the catalog has it now."""
        return {
            str(name): str(kind).lower()
            for name, kind in self._rows(
                "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
                schema,
                table,
            )
        }

    def _rows(self, statement: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        """Run a reading statement; once more on a fresh connection where the kept one has died meanwhile."""
        kept = self._connection is not None
        try:
            return self._run(statement, parameters)
        except TransientError:
            self.close()
            if not kept:
                raise
        try:
            return self._run(statement, parameters)
        except TransientError:
            self.close()
            raise

    def _run(self, statement: str, parameters: tuple[object, ...]) -> Sequence[tuple[Any, ...]]:
        if self._connection is None:
            try:
                self._connection = connect_mysql(self._address, read_timeout=_TIMEOUT_SECONDS, found_rows=False)
            except (pymysql.err.Error, OSError) as error:
                raise read_error(error, self._address, "connecting", login=True) from None
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
                return rows
        except (pymysql.err.Error, OSError) as error:
            raise read_error(error, self._address, "asking the server about its log") from None


def _one_line(text: object) -> str:
    return "".join(str(text or "").split())
