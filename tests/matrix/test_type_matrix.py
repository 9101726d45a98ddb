"""CASES.md section 3: no value arrives bent, whatever the two columns are (I6), and its echo stops after one hop (I2, L8).

One running service per pair of engines carries every case of the pair, a table each, both ways: rows are inserted, every row
takes every next value of its case (old and new image), the other column is touched alone, half of the rows are deleted. What
arrived is shown by plain SELECTs (`shows.py`) and compared with what the data files say. A refused value has to be parked for
the reason that is given, and disturbs nothing around it. At the end the databases' own logs have to hold exactly as many row
events as the users' statements make: none came back.

Server defaults and database settings are hostile for all sessions that do not pin their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import psycopg
import pymysql
import pytest
from pymysqlreplication.packet import BinLogPacketWrapper
from pymysqlreplication.row_event import RowsEvent

from tests.matrix import shows
from tests.matrix.cases import Case, Value, load
from tests.servers import postgresql_database
from tests.world import Channel, World, total

PAIRS = {
    "mariadb-postgresql": ("mariadb_db", "postgresql_db", "mysql-postgresql.yaml"),
    "mysql-postgresql": ("mysql_db", "postgresql_db", "mysql-postgresql.yaml"),
    "mysql-mariadb": ("mysql_db", "mariadb_db", "mysql-mariadb.yaml"),
    "postgresql-postgresql": ("postgresql_db", "postgresql_db", "postgresql-postgresql.yaml"),
}
HOSTILE_MODE = "ANSI,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE"
WRITER_MODE = "NO_BACKSLASH_ESCAPES,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION"
HOSTILE_POSTGRESQL = (
    "DateStyle = 'German,MDY'", "IntervalStyle = 'sql_standard'", "bytea_output = 'escape'", "extra_float_digits = 0",
    "TimeZone = 'Asia/Kathmandu'",
)  # fmt: skip
REFUSED_IN, REFUSED_UP = 500, 700  # rows that are inserted with a refused value, and those that are updated to one
FAR = 100_000  # where the ids of channel b's own rows begin
ROUNDS = ("inserted", "updated", "touched", "deleted")


@pytest.mark.timeout(600)  # of a machine that does much else
@pytest.mark.parametrize("pair", PAIRS)
def test_every_value_arrives_exact_or_is_refused_by_name(
    pair: str, make_world: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only_count(monkeypatch)
    first, second, file = PAIRS[pair]
    with ExitStack() as stack:
        world: World = make_world(first, second) if first != second else _twins(make_world, stack, request)
        cases = load(file, {name: channel.engine for name, channel in world.channels.items()})
        running = [case for case in cases if case.sentence is None]
        stack.enter_context(_hostile(world))
        for case in cases:
            _create(world, case)
        _configure(world, running)
        world.start(ready=False)
        world.await_ready(timeout=90)  # a hundred tables to look at
        counters = world.counters()
        problems = _Problems(world)
        for now in ROUNDS:
            for channel in world.channels.values():
                with _writer(channel) as cursor:
                    for case in running:
                        problems.write(cursor, channel, case, now)
            world.await_markers(timeout=120)
            problems.look([case for case in running if case not in problems.unwritten], now)
        world.await_markers(timeout=120)
        problems.count([case for case in running if case not in problems.unwritten], counters)
        assert world.stop() == 0
        problems.refusals([case for case in cases if case.sentence is not None])
        assert not problems.found, "\n" + "\n".join(problems.found)


def _only_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library that counts row events raises at 2024-02-31, at latin1's 0x81 and so on (TRAPS.md P10, P11): values do not matter there."""
    monkeypatch.setattr(RowsEvent, "_RowsEvent__read_date", lambda event: event.packet.read_uint24())
    monkeypatch.setattr(
        RowsEvent,
        "_RowsEvent__read_string",
        lambda event, size, _column: event.packet.read_length_coded_pascal_string(size),
    )
    monkeypatch.setattr(
        BinLogPacketWrapper,
        "read_binary_json",
        lambda packet, size, _partial: packet.read_length_coded_pascal_string(size),
    )


def _twins(make_world: Any, stack: ExitStack, request: pytest.FixtureRequest) -> World:
    """Two databases of the one PostgreSQL server."""
    world: World = make_world("postgresql_db", table=False)
    server = request.getfixturevalue("postgresql")
    other = stack.enter_context(postgresql_database(server, request.node.name + "2"))
    stack.callback(world.close)
    world.channels["b"] = Channel("b", other)
    for channel in world.channels.values():
        channel.create_table()
    return world


@contextmanager
def _hostile(world: World) -> Iterator[None]:
    """Whoever does not pin a setting gets a bad one."""
    with ExitStack() as stack:
        for channel in world.channels.values():
            if channel.is_postgresql:
                for setting in HOSTILE_POSTGRESQL:
                    channel.execute(f'ALTER DATABASE "{channel.database.name}" SET {setting}')
                continue
            ((mode, zone),) = channel.execute("SELECT @@GLOBAL.sql_mode, @@GLOBAL.time_zone")
            stack.callback(channel.execute, f"SET GLOBAL sql_mode = '{mode}', GLOBAL time_zone = '{zone}'")
            channel.execute(f"SET GLOBAL sql_mode = '{HOSTILE_MODE}', GLOBAL time_zone = '+05:45'")
        yield


def _create(world: World, case: Case) -> None:
    for name, channel in world.channels.items():
        null = "NOT NULL" if case.is_key else "NULL"
        key = "v, id" if case.is_key else "id"
        if name in case.make:
            channel.execute(case.make[name])
        columns = f"id BIGINT NOT NULL, v {case.types[name]} {null}, n INT, PRIMARY KEY ({key})"
        if channel.is_postgresql:
            channel.execute(f"CREATE TABLE {case.name} ({columns})")
            channel.execute(f"ALTER TABLE {case.name} REPLICA IDENTITY {case.identity}")
        else:
            channel.execute(f"CREATE TABLE {case.name} ({columns}) DEFAULT CHARSET = utf8mb4")
        if name in case.alter:
            channel.execute(f"ALTER TABLE {case.name} {case.alter[name]}")


def _configure(world: World, cases: list[Case]) -> None:
    thing = {"thing": {"key": ["id"], "fields": world.fields}}
    world.extra["entities"] = thing | {
        case.name: {
            "key": ["v", "id"] if case.is_key else ["id"],
            "fields": {"id": {"type": "integer"}, "v": case.field, "n": {"type": "integer"}},
        }
        for case in cases
    }
    for case in cases:
        for name in world.channels:
            steps = deepcopy(case.transforms[name])  # a YAML anchor is not allowed
            column = {"field": "v", "transforms": steps} if steps else "v"
            world.mappings[f"{name}.{case.name}"] = {
                "channel": name, "table": case.name, "entity": case.name, "columns": {"id": "id", "v": column, "n": "n"},
            }  # fmt: skip
    world.write_configuration()


@contextmanager
def _writer(channel: Channel) -> Iterator[Any]:
    """A user's session, hostile as it comes; a transaction per case."""
    connection = channel.database.connect()
    try:
        with connection.cursor() as cursor:
            if not channel.is_postgresql:
                cursor.execute(f"SET sql_mode = '{WRITER_MODE}', NAMES utf8mb4")
            yield cursor
    finally:
        connection.close()


def _statements(case: Case, source: str, now: str) -> Iterator[str]:
    """A case's statements of one round."""
    good, refused = case.good(source), case.refused(source)
    base = 0 if source == "a" else FAR
    insert = f"INSERT INTO {case.name} (id, v, n) VALUES "
    match now:
        case "inserted":
            for at, value in enumerate(good):
                yield f"{insert}({base + at}, {value.literal}, 0)"
            for at, value in enumerate(refused):
                yield f"{insert}({base + REFUSED_IN + at}, {value.literal}, 0)"
                yield f"{insert}({base + REFUSED_UP + at}, {good[0].literal}, 0)"
        case "updated":
            for at in range(len(good) if len(good) > 1 else 0):
                yield f"UPDATE {case.name} SET v = {good[(at + 1) % len(good)].literal} WHERE id = {base + at}"
            for at, value in enumerate(refused):
                yield f"UPDATE {case.name} SET v = {value.literal} WHERE id = {base + REFUSED_UP + at}"
        case "touched":
            if good:
                yield f"UPDATE {case.name} SET n = 1 WHERE id BETWEEN {base} AND {base + REFUSED_IN - 1}"
        case "deleted":
            for at in range(0, len(good), 2):
                yield f"DELETE FROM {case.name} WHERE id = {base + at}"


def _expected(case: Case, source: str, now: str) -> dict[int, tuple[Value, int]]:
    """What both sides hold of a channel's rows after a round: id -> (value, n)."""
    good, base = case.good(source), 0 if source == "a" else FAR
    moved = 0 if now == "inserted" else 1
    rows = {base + at: (good[(at + moved) % len(good)], int(now in ("touched", "deleted"))) for at in range(len(good))}
    if now == "deleted":
        for at in range(0, len(good), 2):
            del rows[base + at]
    for at in range(len(case.refused(source))):
        rows[base + REFUSED_UP + at] = (good[0], 0)  # the refused update has not come
    return rows


class _Problems:
    """Looks at both databases and keeps what is not as it should be: one line each, so that a run names every bent value."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.found: list[str] = []
        self.unwritten: list[Case] = []

    def write(self, cursor: Any, channel: Channel, case: Case, now: str) -> None:
        """One transaction of a user. What the user's own server refuses is a mistake of the data."""
        statements = [*_statements(case, channel.name, now)]
        if case in self.unwritten or not statements:
            return
        try:
            for statement in ("BEGIN", *statements, "COMMIT"):
                cursor.execute(statement.encode() if channel.is_postgresql else statement)
        except (pymysql.err.MySQLError, psycopg.Error) as error:
            cursor.execute("ROLLBACK")
            self.unwritten.append(case)
            self.found.append(
                f"row {case.row} {case.name} of {channel.name} was not written: {error} {statement[:200]}"
            )

    def look(self, cases: list[Case], now: str) -> None:
        for name, channel in self._world.channels.items():
            with _viewer(channel) as cursor:
                for case in cases:
                    self._compare(case, name, channel, cursor, now)
        if now not in ("updated", "deleted"):
            return
        parked = self._parked()
        for case in cases:
            for source, target in (("a", "b"), ("b", "a")):
                self._refused(case, source, parked[target], now)
        for target, by_row in parked.items():
            self.found += [f"{now}: parked at {target}: {row} {why}" for row, why in sorted(by_row.items())]

    def _compare(self, case: Case, name: str, channel: Channel, cursor: Any, now: str) -> None:
        column_type = case.types[name]
        expression = case.show.get(name) or shows.shown(channel.engine, column_type)
        cursor.execute(f"SELECT id, {expression}, n FROM {case.name}")
        rows = {}
        for ident, value, n in cursor.fetchall():
            text = shows.text_of(value)
            rows[ident] = (text if name in case.show else shows.readable(channel.engine, column_type, text), n)
        kind = "raw" if name in case.show else case.compare or shows.kind_of(channel.engine, column_type)
        for source in "ab":
            for ident, (value, touched) in _expected(case, source, now).items():
                text, n = rows.pop(ident, ("no row", touched))
                if source == name:
                    continue  # its own row: as the user wrote it
                if not shows.same(kind, value.expected, text) or n != touched:
                    where = f"{source}->{name} {case.types[source]} -> {column_type}"
                    self.found.append(
                        f"row {case.row} {case.name} {now} {where}: {value.literal[:60]} came as {text!r:.80}, n {n}"
                    )
        mine = {base + at for at in range(len(case.refused(name))) for base in _bases(name)}
        for ident in rows.keys() - mine:
            self.found.append(
                f"row {case.row} {case.name} {now} at {name}: row {ident} should not be there: {rows[ident]!r:.80}"
            )

    def _refused(self, case: Case, source: str, parked: dict[tuple[str, str], str], now: str) -> None:
        base = 0 if source == "a" else FAR
        for at, value in enumerate(case.refused(source)):
            for start, since in ((REFUSED_IN, "inserted"), (REFUSED_UP, "updated")):
                if ROUNDS.index(now) < ROUNDS.index(since):
                    continue
                why = parked.pop((case.name, f"[{base + start + at}]"), "not parked")
                if not re.search(str(value.expected), why):
                    types = f"{case.types[source]} -> {case.types['b' if source == 'a' else 'a']}"
                    self.found.append(
                        f"row {case.row} {case.name} {now} from {source} {types}: {value.literal[:60]} {since}: {why}"
                    )

    def _parked(self) -> dict[str, dict[tuple[str, str], str]]:
        done = self._world.command("parked", "list", "--json", "--reveal")
        assert done.returncode == 0, done.stderr
        found: dict[str, dict[tuple[str, str], str]] = {"a": {}, "b": {}}
        for one in json.loads(done.stdout):
            entity, _, key = one["key"].partition("/")
            found[one["channel"]].setdefault((entity, key), f"{one['reason']}: {one['error']}")
        return found

    def count(self, cases: list[Case], counters: Any) -> None:
        """L8: as many row events in each log as the users' statements make, and what they become on the other side."""
        for name, counter in counters.items():
            taken = counter.take()
            for case in cases:
                should = sum(_events(case, source, own=source == name) for source in "ab")
                if (seen := total(taken, case.name)) != should:
                    self.found.append(
                        f"row {case.row} {case.name} at {name}: {seen} row events in the log, not {should}"
                    )

    def refusals(self, cases: list[Case]) -> None:
        """What cannot be joined is refused with a sentence before anything runs."""
        if not cases:
            return
        world = self._world
        world.mappings.clear()
        _configure(world, cases)
        said = world.command("doctor").stdout
        for case in cases:
            lines = [line for line in said.splitlines() if f".{case.name}." in line]
            if not any(re.search(str(case.sentence), line) for line in lines):
                self.found.append(f"row {case.row} {case.name} {case.types}: no sentence {case.sentence!r} in {lines}")


def _bases(name: str) -> tuple[int, int]:
    base = 0 if name == "a" else FAR
    return base + REFUSED_IN, base + REFUSED_UP


def _events(case: Case, source: str, *, own: bool) -> int:
    """Row events of a channel's writes: in its own log (`own`), or in the other's."""
    good, refused = len(case.good(source)), len(case.refused(source))
    deleted, updated = len(range(0, good, 2)), good if good > 1 else 0
    return good * 2 + updated + deleted + (refused * 3 if own else refused)


@contextmanager
def _viewer(channel: Channel) -> Iterator[Any]:
    connection = channel.database.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute(shows.VIEW_POSTGRESQL if channel.is_postgresql else shows.VIEW_MYSQL)
            yield cursor
    finally:
        connection.close()
