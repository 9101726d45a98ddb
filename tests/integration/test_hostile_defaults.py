"""CASES.md N6: hostile values, byte for byte, whatever the servers' and the roles' defaults are, and when those change while the service runs.

One service between MySQL or MariaDB and PostgreSQL, with accounts that have no privilege to spare. Every default that a session may
inherit and that would bend, hide or refuse something is set; only sessions that pin their own settings see nothing of it.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
from contextlib import ExitStack, contextmanager

import psycopg
import pymysql
import pytest
from pymysql.constants import ER

from tests.waiting import await_that

PASSWORD = "Canary.1"
UTC = dt.UTC
MYSQL_DEFAULTS = {
    "sql_mode": "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT", "time_zone": "+05:45", "autocommit": 0, "foreign_key_checks": 0,
    "unique_checks": 0, "sql_safe_updates": 1, "sql_select_limit": 1, "sql_auto_is_null": 1, "sql_big_selects": 0, "max_join_size": 1,
    "sql_quote_show_create": 0, "sql_notes": 0, "max_error_count": 0, "completion_type": "CHAIN", "lock_wait_timeout": 1,
    "innodb_lock_wait_timeout": 1, "character_set_server": "latin1", "character_set_client": "latin1",
    "character_set_results": "latin1", "collation_connection": "latin1_swedish_ci", "default_storage_engine": "MyISAM",
    "explicit_defaults_for_timestamp": 0, "group_concat_max_len": 4,
    "init_connect": "SET autocommit = 0, sql_mode = 'ANSI_QUOTES', NAMES latin1",
}  # fmt: skip
ENGINE_DEFAULTS = {
    "mysql": {"transaction_isolation": "SERIALIZABLE", "transaction_read_only": 1, "max_execution_time": 1},
    "mariadb": {
        "sql_mode": "ORACLE,NO_BACKSLASH_ESCAPES,EMPTY_STRING_IS_NULL", "tx_isolation": "SERIALIZABLE", "tx_read_only": 1, "max_statement_time": 0.001, "idle_transaction_timeout": 1,
        "idle_write_transaction_timeout": 1, "idle_readonly_transaction_timeout": 1, "old_mode": "UTF8_IS_UTF8MB3",
        "system_versioning_asof": "2000-01-01 00:00:00",
    },
}  # fmt: skip
CHANGED = {
    "sql_mode": "",
    "time_zone": "-11:00",
    "character_set_server": "utf16",
    "collation_connection": "utf8mb4_bin",
}
POSTGRESQL_DEFAULTS = {
    "DateStyle": "German, DMY", "IntervalStyle": "sql_standard", "bytea_output": "escape", "extra_float_digits": "-15",
    "TimeZone": "Asia/Kathmandu", "client_encoding": "LATIN1", "standard_conforming_strings": "off", "backslash_quote": "off",
    "default_transaction_read_only": "on", "default_transaction_isolation": "serializable", "default_transaction_deferrable": "on",
    "statement_timeout": "1ms", "lock_timeout": "1ms", "idle_in_transaction_session_timeout": "1ms", "search_path": "nowhere",
    "array_nulls": "off", "quote_all_identifiers": "on", "synchronous_commit": "off", "xmloption": "document",
    "transform_null_equals": "on", "exit_on_error": "on",
}  # fmt: skip
POSTGRESQL_CHANGED = {
    "DateStyle": "SQL, MDY",
    "IntervalStyle": "postgres_verbose",
    "TimeZone": "Pacific/Apia",
    "client_encoding": "SQL_ASCII",
}
FIELDS = {
    "v": "integer", "note": "text", "b": "bytes", "at": "instant", "d": "date", "f": "float", "span": "duration", "must": "instant",
}  # fmt: skip
MYSQL_COLUMNS = (
    "v INT, note LONGTEXT, b LONGBLOB, at DATETIME(6), d DATE, f DOUBLE, span TIME(6), must TIMESTAMP(6) NOT NULL DEFAULT '2020-01-01',"
    " CONSTRAINT small CHECK (v < 1000)"
)
POSTGRESQL_COLUMNS = (
    "v INT, note TEXT, b BYTEA, at TIMESTAMPTZ, d DATE, f DOUBLE PRECISION, span INTERVAL, must TIMESTAMPTZ"
)
TEXTS = (
    "'); DROP TABLE t;--", "\\", "\\'", "'\\''", '"', "`", "%s %(a)s %% {0}", "$1 ? :x", "a||b", "\x01\x1a\r\n\t\x7f", "é漢😀\ufeff", "",
    " both ends ", "NULL", '{NULL,"\\"}', "/* */ # -- ", "\\N", "\\x41", "E'\\''", ("'\\\"%" + "é" * 12) * 64_000,
)  # fmt: skip
BLOBS = (
    b"\0'\\\xff\xfe",
    b"\xc3\x28\xa0\xa1",
    bytes(range(256)),
    b"",
    b"\\x41",
    b"\\000",
    b"'); DROP TABLE t;--",
    b"%s",
    None,
)
MOMENT = dt.datetime(2024, 3, 4, 1, 2, 3, 45678, UTC)


def row(number):
    return (
        number % 7, TEXTS[number % len(TEXTS)], BLOBS[number % len(BLOBS)], MOMENT + dt.timedelta(hours=7 * number),
        dt.date(2024, 1, 2) + dt.timedelta(days=number), 0.1 + 1 / (number + 3), dt.timedelta(hours=-number, microseconds=number), MOMENT,
    )  # fmt: skip


class User:
    """A user's session that was there before the defaults changed."""

    def __init__(self, channel, stack):
        self.is_postgresql = channel.is_postgresql
        self.session = stack.enter_context(channel.database.connect())
        if self.is_postgresql:
            self.execute("SET TimeZone = 'UTC'")
        else:
            self.execute("SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'")

    def execute(self, statement, *parameters):
        with self.session.cursor() as cursor:
            cursor.execute(statement.encode() if self.is_postgresql else statement, parameters or None)
            return tuple(cursor.fetchall()) if cursor.description else ()

    def given(self, values):
        return tuple(self.parameter(value) for value in values)

    def parameter(self, value):
        if isinstance(value, dt.timedelta) and self.is_postgresql:  # the driver would make days of it
            return f"{value // dt.timedelta(microseconds=1)} microseconds"
        return value if self.is_postgresql or not isinstance(value, dt.datetime) else value.replace(tzinfo=None)

    def insert(self, first, count):
        for number in range(first, first + count):
            values = row(number)
            self.execute(f"INSERT INTO t VALUES ({', '.join(['%s'] * (len(values) + 1))})", number, *self.given(values))

    def update(self, first, count):
        """Every row takes the values of another."""
        for number in range(first, first + count):
            changes = ", ".join(f"{name} = %s" for name in FIELDS)
            self.execute(f"UPDATE t SET {changes} WHERE id = %s", *self.given(row(number + 5)), number)

    def rows(self):
        def plain(value):
            return (
                value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, dt.datetime) and value.tzinfo else value
            )

        return {found[0]: tuple(map(plain, found[1:])) for found in self.execute("SELECT * FROM t")}


@contextmanager
def mysql_account(channel, user):
    more = "REPLICATION CLIENT" if channel.engine == "mysql" else "BINLOG MONITOR"
    channel.execute(f"CREATE USER '{user}'@'%%' IDENTIFIED BY '{PASSWORD}'")
    channel.execute(f"GRANT REPLICATION SLAVE, {more} ON *.* TO '{user}'@'%%'")
    channel.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON `{channel.database.name}`.* TO '{user}'@'%%'")
    channel.options["url"] = f"{channel.engine}://{user}:{PASSWORD}@127.0.0.1:{channel.port}/{channel.database.name}"
    yield
    channel.execute(f"DROP USER '{user}'@'%%'")


@contextmanager
def mysql_defaults(user, defaults):
    before = {name: user.execute(f"SELECT @@global.{name}")[0][0] for name in defaults}
    for name, value in defaults.items():
        user.execute(f"SET GLOBAL {name} = %s", value)
    try:
        yield
    finally:
        for name, value in before.items():
            user.execute(
                f"SET GLOBAL {name} = {'DEFAULT' if value == 'DEFAULT' else '%s'}",
                *(() if value == "DEFAULT" else (value,)),
            )


@contextmanager
def postgresql_account(channel, role):
    name = channel.database.name
    for statement in (
        f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{PASSWORD}'", f"GRANT CREATE ON DATABASE {name} TO {role}",
        f"GRANT CREATE, USAGE ON SCHEMA public TO {role}", f"ALTER TABLE t OWNER TO {role}",
    ):  # fmt: skip
        channel.execute(statement)
    channel.options["url"] = f"postgresql://{role}:{PASSWORD}@127.0.0.1:{channel.port}/{name}"
    yield
    channel.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER")
    channel.execute(f"DROP OWNED BY {role}")
    channel.execute(f"DROP ROLE {role}")


def set_role(user, role, defaults):
    for name, value in defaults.items():
        quoted = psycopg.sql.Literal(value).as_string() if name not in ("DateStyle", "search_path") else value
        user.execute(f"ALTER ROLE {role} SET {name} = {quoted}")


def cut_off(mysql, postgresql, name):
    """Every session of the service ends; those that follow begin with the defaults of now."""
    for (ident,) in mysql.execute("SELECT id FROM information_schema.processlist WHERE user = %s", name):
        try:
            mysql.execute(f"KILL {ident}")
        except pymysql.err.OperationalError as error:
            if error.args[0] != ER.NO_SUCH_THREAD:  # it ended by itself
                raise
    postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", name)


@pytest.mark.parametrize("engine", ["mariadb", "mysql"])
def test_no_default_of_a_server_or_a_role_bends_hides_or_refuses_anything(make_world, engine):
    world = make_world(f"{engine}_db", "postgresql_db", table=False)
    a, b = world["a"], world["b"]
    a.create_table(columns=MYSQL_COLUMNS)
    b.create_table(columns=POSTGRESQL_COLUMNS)
    world.fields = {"id": {"type": "integer"}} | {name: {"type": kind} for name, kind in FIELDS.items()}
    name = f"u{secrets.token_hex(4)}"
    with ExitStack() as stack:
        stack.enter_context(mysql_account(a, name))
        stack.enter_context(postgresql_account(b, name))
        stack.callback(world.close)
        mine, theirs = User(a, stack), User(b, stack)

        def equal():
            return mine.rows() == theirs.rows()

        def await_equal():
            def difference():
                left, right = mine.rows(), theirs.rows()
                keys = [k for k in left.keys() | right.keys() if left.get(k) != right.get(k)]
                shown = {k: (str(left.get(k))[:300], str(right.get(k))[:300]) for k in sorted(keys)[:3]}
                return f"equal rows: {len(keys)} differ: {shown} {world.readiness()} {world.log()[-3000:]}"

            await_that(equal, timeout=60, message=difference)

        stack.enter_context(mysql_defaults(mine, MYSQL_DEFAULTS | ENGINE_DEFAULTS[engine]))
        set_role(theirs, name, POSTGRESQL_DEFAULTS)
        world.start()
        mine.insert(0, 30)
        theirs.insert(100, 30)
        await_equal()
        assert world.command("doctor").returncode == 0, world.command("doctor").stdout

        for changed, value in CHANGED.items():
            mine.execute(f"SET GLOBAL {changed} = %s", value)
        set_role(theirs, name, POSTGRESQL_CHANGED)
        cut_off(mine, theirs, name)
        mine.update(0, 20)
        theirs.update(100, 20)
        mine.execute("DELETE FROM t WHERE id BETWEEN 20 AND 24")
        theirs.execute("DELETE FROM t WHERE id BETWEEN 120 AND 124")
        mine.insert(200, 20)
        theirs.insert(300, 20)
        await_equal()
        assert len(mine.rows()) == 90
        assert mine.rows()[200] == mine.given(row(200))

        # What does not fit is refused, not bent; all that waits is seen by a session that begins anew.
        theirs.execute("INSERT INTO t (id, v, must) SELECT n, 5000, now() FROM generate_series(401, 403) AS n")
        theirs.execute("INSERT INTO t (id, v) VALUES (404, 1)")
        await_that(
            lambda: world.role("a", "apply")["parked"] == 4, timeout=60, message=lambda: f"parked: {world.readiness()}"
        )
        cut_off(mine, theirs, name)
        mine.insert(500, 1)
        await_that(lambda: 500 in theirs.rows(), timeout=60, message="the next row")
        assert world.role("a", "apply")["parked"] == 4
        found = json.loads(world.command("parked", "list", "--json").stdout)
        assert sorted(row["reason"] for row in found) == ["refused", *["rejected"] * 3], found
        mine.execute(
            f"ALTER TABLE t DROP {'CHECK' if engine == 'mysql' else 'CONSTRAINT'} small, MODIFY must TIMESTAMP(6) NULL DEFAULT NULL"
        )
        assert world.command("parked", "retry").returncode == 0
        await_equal()
        assert world.log().count('"event": "apply_resumed"') < 20, world.log()[-3000:]
