"""What a driver's error means: one table per engine, code -> Transient | Rejected | Halt, and a message without row values.

Transient: the whole batch again. Rejected: this row cannot be stored as it is; never retried blindly. Halt: needs a person.
A code in no table is Rejected for a single row and Halt for a batch. Guards I6 and I9: a database quotes row values in its
messages (MySQL 1062, PostgreSQL's 22P02 and every DETAIL), so only what `sinks.messages` lets through is passed on.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import psycopg
import pymysql

from sinks.contract import FOREIGN_KEY, Halt, Rejected, SinkError, Transient
from sinks.messages import mysql_message, postgresql_message

Kind: TypeAlias = Literal["transient", "rejected", "halt"]

_MYSQL_TRANSIENT: Final = (
    1020,  # record has changed since last read (MariaDB's snapshot isolation)
    1021,  # disk full
    1028, 1037, 1038, 1041,  # out of memory, of sort memory
    1040,  # too many connections
    1043,  # bad handshake: a server that is starting, a proxy
    1053,  # server shutdown in progress
    1077, 1078, 1079, 1080,  # shutdown
    1114,  # the table is full: the disk is
    1129,  # host blocked after connection errors
    1152, 1184,  # aborted connection
    1153,  # packet too large: rows above the limit are refused before, so the server's limit has changed
    1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161,  # network
    1180, 1181,  # error during COMMIT, ROLLBACK
    1203, 1226,  # user limits
    1205,  # lock wait: only the statement was rolled back, so the caller rolls back whole
    1206,  # lock table full
    1213,  # deadlock
    1290,  # --read-only: a failover
    1317,  # query interrupted
    1613, 1614,  # XA: rolled back after a timeout, a deadlock
    1637,  # too many active transactions
    1836,  # read-only mode
    1792,  # read-only transaction
    1927, 1969, 3024,  # killed; MariaDB's max_statement_time; MySQL's max_execution_time
    2002, 2003, 2006, 2013, 2014, 2055,  # the client's own: cannot connect, gone away, lost, out of sync
    3032, 3098, 3100, 3101, 3168,  # offline mode, group replication refuses, rolled back, server is not ready
    3572,  # NOWAIT
    3058,  # user lock deadlock
    4031,  # disconnected for inactivity
)  # fmt: skip
_MYSQL_REJECTED: Final = (
    1022, 1062, 1169, 1586, 1859,  # duplicate key
    1048, 1364, 1138, 1263,  # NULL, no default
    1118, 1162, 1301, 1406,  # too large, too long
    1216, 1217, 1451, 1452, 1761, 1762,  # foreign keys
    1242, 1264, 1265, 1292, 1365, 1366, 1367, 1411, 1416, 1425, 1426, 1427, 1441, 1525, 1526, 1690,  # values
    1644,  # SIGNAL
    1748,  # partitions
    3140, 3141, 3144, 3156, 3157,  # JSON
    3819, 4025,  # CHECK: MySQL, MariaDB
    3854, 3988, 4078, 4079,  # conversions
)  # fmt: skip
_MYSQL_HALT: Final = (
    1044, 1045, 1698, 1820, 1862, 1251, 2054, 2059, 2061, 3118, 3955, 4151,  # credentials, accounts
    1049, 1046,  # no such database
    1051, 1054, 1072, 1109, 1146, 1136, 1356,  # no such table, column
    1142, 1143, 1227, 1370, 1410, 1419, 3530,  # privileges
    1064, 1149,  # syntax
    1130,  # this host may not connect
    1193, 1231, 1235, 1238,  # variables
    1288, 1348, 1471, 1906, 3105,  # not updatable, generated column
    1305, 1418, 1665,  # routines, binlog format
    2026,  # TLS
    1785, 3161,  # GTID consistency, disabled engine
)  # fmt: skip
MYSQL: Final[dict[int, Kind]] = {
    **dict.fromkeys(_MYSQL_TRANSIENT, "transient"),
    **dict.fromkeys(_MYSQL_REJECTED, "rejected"),
    **dict.fromkeys(_MYSQL_HALT, "halt"),
}

POSTGRESQL: Final[dict[str, Kind]] = {
    "25006": "transient",  # read-only transaction: a failover
    "25P03": "transient",  # idle_in_transaction_session_timeout
    "25P04": "transient",  # transaction_timeout
    "55P03": "transient",  # lock_timeout
    "55006": "transient",  # object in use
    "58000": "transient", "58030": "transient", "58P01": "transient",  # the server's disk
    "57014": "transient",  # statement_timeout, or cancelled by a person
    "57P04": "halt",  # database dropped
    "57P05": "transient",
    "08P01": "halt",  # protocol violation: retried blindly it would only come again
    "40002": "rejected",  # transaction integrity constraint violation
    "21000": "rejected",  # a statement touches a row twice (keys that only the database holds for equal)
    "28000": "halt", "28P01": "halt", "3D000": "halt", "3F000": "halt",
    "42501": "halt", "42P01": "halt", "42703": "halt", "42P10": "halt", "42804": "halt", "42883": "halt",
    "42601": "halt", "42704": "halt", "42P07": "halt", "428C9": "halt", "42809": "halt",
    "0A000": "halt", "55000": "halt", "25P02": "halt", "XX000": "halt",
    "P0001": "rejected",  # RAISE
    "44000": "rejected",  # WITH CHECK OPTION
}  # fmt: skip
POSTGRESQL_CLASSES: Final[dict[str, Kind]] = {
    "08": "transient",  # connection
    "40": "transient",  # serialization, deadlock
    "53": "transient",  # disk full, memory, connections
    "57": "transient",  # shutdown, crash, cannot connect now
    "22": "rejected",  # data exceptions
    "23": "rejected",  # constraints
    "54": "rejected",  # limits: too many bytes in a row or index
    "28": "halt",
    "3D": "halt",
    "42": "halt",
}

# A parent that is not there, or children that still are.
FOREIGN_KEYS: Final = frozenset({"1216", "1217", "1451", "1452", "23503", "23001"})

MEND_TABLES: Final = "run `datong doctor --fix`, which creates our tables"
MEND_CREDENTIALS: Final = "check user, password and database in the channel's url"


def mysql_kind(code: int) -> Kind | None:
    """The table's answer; None for a code that it does not hold."""
    return MYSQL.get(code)


def postgresql_kind(sqlstate: str) -> Kind | None:
    """The table's answer: by code, else by class; None for what it does not hold."""
    return POSTGRESQL.get(sqlstate) or POSTGRESQL_CLASSES.get(sqlstate[:2])


def mysql_error(error: BaseException, where: str, *, single: bool = False, mend: str = "") -> SinkError:
    """Sort an error of PyMySQL or of its socket. `where` says what was being done; `single`: by one row alone."""
    if not isinstance(error, pymysql.err.MySQLError):
        return Transient(f"{where}: connection lost ({type(error).__name__})")
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else ""
    if code == 0 and isinstance(error, pymysql.err.InterfaceError | pymysql.err.InternalError):
        return Transient(f"{where}: the connection is closed")
    if isinstance(error, pymysql.err.OperationalError) and code == 2003 and "CERTIFICATE" in text.upper():
        return Halt(f"{where}: TLS: {mysql_message(code, text)}", "2026", mend="check tls.ca of the channel")
    message = f"{where}: {mysql_message(code, text)}"
    return _made(mysql_kind(code), message, str(code), single=single, mend=mend or _mysql_mend(code, text))


def postgresql_error(error: psycopg.Error, where: str, *, single: bool = False, mend: str = "") -> SinkError:
    """Sort an error of psycopg; see `mysql_error`. An error of the connection itself carries no SQLSTATE."""
    sqlstate = error.sqlstate or ""
    if not sqlstate:
        return _postgresql_without_code(error, where, mend)
    message = f"{where}: {postgresql_message(error)}"
    return _made(postgresql_kind(sqlstate), message, sqlstate, single=single, mend=mend or _postgresql_mend(error))


def _made(kind: Kind | None, message: str, code: str, *, single: bool, mend: str) -> SinkError:
    if kind == "transient":
        return Transient(message, code)
    if kind == "rejected" or (kind is None and single):
        return Rejected(message, code, reason=FOREIGN_KEY if code in FOREIGN_KEYS else "rejected")
    return Halt(message, code, mend=mend or "see the database's own log for this error")


def _postgresql_without_code(error: psycopg.Error, where: str, mend: str) -> SinkError:
    """While connecting, libpq gives the server's text but no SQLSTATE; what it says is of accounts, never of rows."""
    text = " ".join(str(error).split())
    lower = text.lower()
    if isinstance(error, psycopg.OperationalError):
        if any(sign in lower for sign in ("authentication failed", "no pg_hba.conf entry", "password", "role ")):
            return Halt(f"{where}: {text}", "28P01", mend=mend or MEND_CREDENTIALS)
        if "database " in lower and "does not exist" in lower:
            return Halt(f"{where}: {text}", "3D000", mend=mend or MEND_CREDENTIALS)
        if "certificate" in lower or "ssl error" in lower or "does not support ssl" in lower:
            return Halt(f"{where}: {text}", mend="check tls of the channel")
        return Transient(f"{where}: {text}", "08006")
    if isinstance(error, psycopg.DataError):
        return Rejected(f"{where}: a value that PostgreSQL's text form cannot hold")
    return Halt(f"{where}: {type(error).__name__}", mend=mend)


def _mysql_mend(code: int, text: str) -> str:
    if code in (1044, 1045, 1049, 1698, 1130):
        return MEND_CREDENTIALS
    if code == 2026:
        return "check the channel's tls: what it asks for, this server has to offer"
    if code in (1142, 1143, 1227, 1370):
        verb = text.partition(" ")[0]
        needed = verb if verb in ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE") else "the privilege"
        return f"grant {needed} on that table to this channel's account; `datong doctor --sql` prints the statement"
    if code == 1146 and ("datong_progress" in text or "datong_parked" in text):
        return MEND_TABLES
    if code in (1146, 1051):
        return "create the table, or take it out of the mappings"
    if code == 1054:
        return "add the column, or take it out of the mapping"
    return ""


def _postgresql_mend(error: psycopg.Error) -> str:
    code = error.sqlstate or ""
    if code in ("28000", "28P01", "3D000"):
        return MEND_CREDENTIALS
    if code == "42501" and "row-level security" in (error.diag.message_primary or ""):
        return "let this channel's role pass the table's policies, which hide rows from it: ALTER ROLE ... BYPASSRLS"
    if code == "0A000" and "rules" in (error.diag.message_primary or ""):
        return "drop the table's rules (a trigger may do what they do), or take it out of the mappings"
    if code == "42501":
        return "grant SELECT, INSERT, UPDATE, DELETE on it to this channel's role; `datong doctor --sql` prints the statement"
    if code == "42P01" and "datong_" in (error.diag.message_primary or ""):
        return MEND_TABLES
    if code == "42P01":
        return "create the table, or take it out of the mappings"
    if code == "42703":
        return "add the column, or take it out of the mapping"
    if code == "42P10":
        return "create a unique index on the mapping's key columns"
    return ""
