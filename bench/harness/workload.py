"""The standard workload: an order of 10 columns and about 180 bytes; ins1000, ins10, ins1 and upd1000 are transactions of so many rows.

Every value follows from the row's id and its revision, so a subject's rows can be compared with `row(id, revision)` wherever they arrive.
Updates change 3 of the 10 columns; the table has the before image in its log (PostgreSQL: REPLICA IDENTITY FULL).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from bench.harness.report import Options
from bench.harness.servers import DATABASE, Database, Engine, engine_of
from cdc.demo.servers import PostgreSQL

TABLE: Final = "orders"
COLUMNS: Final = (
    "id", "order_no", "member_id", "status", "quantity", "amount", "title", "address", "created_at", "updated_at",
)  # fmt: skip
_TYPES: Final = ("BIGINT", "VARCHAR(32)", "BIGINT", "SMALLINT", "INT", "DECIMAL(12,2)", "VARCHAR(80)", "VARCHAR(120)")
_START: Final = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - the column has no zone
_STATUSES: Final = 5
_SINGLY: Final = 10
_STATEMENTS_A_TRIP: Final = 1000  # rows that go to the server at once, in as many transactions as they are

# What a configuration of ours says of it: the dictionary's fields, by column.
FIELDS: Final[dict[str, dict[str, Any]]] = {
    "id": {"type": "integer"},
    "order_no": {"type": "text", "max_length": 32},
    "member_id": {"type": "integer"},
    "status": {"type": "integer"},
    "quantity": {"type": "integer"},
    "amount": {"type": "decimal", "precision": 12, "scale": 2},
    "title": {"type": "text", "max_length": 80},
    "address": {"type": "text", "max_length": 120},
    "created_at": {"type": "datetime"},
    "updated_at": {"type": "instant"},
}

Row = tuple[int, str, int, int, int, Decimal, str, str, dt.datetime, dt.datetime]


@dataclass(frozen=True, slots=True)
class Workload:
    """`rows` in transactions of `batch`; updates go round a table of `base` rows that was there before."""

    name: str
    op: str  # insert | update
    batch: int
    rows: int
    base: int = 0

    def expected(self, index: int) -> tuple[int, int]:
        """The id and the revision of the log's row number `index` (from 0)."""
        if self.op == "insert":
            return index + 1, 0
        return index % self.base + 1, index // self.base + 1

    @property
    def sum_of_ids(self) -> int:
        if self.op == "insert":
            return self.rows * (self.rows + 1) // 2
        rounds, rest = divmod(self.rows, self.base)
        return rounds * self.base * (self.base + 1) // 2 + rest * (rest + 1) // 2


def standard(options: Options) -> list[Workload]:
    """The four workloads in this run's sizes."""
    return [
        Workload("ins1000", "insert", 1000, options.size(300_000, 40_000, 1000)),
        Workload("ins10", "insert", 10, options.size(100_000, 10_000, 10)),
        Workload("ins1", "insert", 1, options.size(50_000, 5_000)),
        Workload("upd1000", "update", 1000, options.size(200_000, 20_000, 1000), base=10_000),
    ]


def row(ident: int, revision: int = 0) -> Row:
    """The one row of that id after so many updates."""
    moment = dt.timedelta(seconds=ident, microseconds=ident * 7919 % 1_000_000)
    return (
        ident,
        f"SO-2026-{ident:012d}",
        ident * 7 % 1_000_003,
        (ident + revision) % _STATUSES,
        ident % 9 + 1,
        Decimal(ident % 100_000 + revision * 100).scaleb(-2),
        f"云南小粒咖啡豆 227g, medium roast, lot {ident % 977}",
        f"{ident % 499} Huaihai Middle Road, Huangpu District, Shanghai, apartment {ident % 89}",
        _START + moment,
        _START + moment + dt.timedelta(seconds=revision),
    )


def create_table(server: Database, name: str = TABLE, database: str = DATABASE) -> None:
    """The table, empty."""
    statement = table_statement(engine_of(server), name)
    if isinstance(server, PostgreSQL):
        with server.connect(database) as session:
            session.execute(statement.encode())
            session.execute(f"ALTER TABLE {name} REPLICA IDENTITY FULL".encode())
        return
    with server.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def table_statement(engine: Engine, name: str = TABLE) -> str:
    time = "TIMESTAMP(6)" if engine == "postgresql" else "DATETIME(6)"
    columns = ", ".join(
        f"{column} {kind} NOT NULL" for column, kind in zip(COLUMNS, (*_TYPES, time, time), strict=True)
    )
    charset = "" if engine == "postgresql" else " DEFAULT CHARSET=utf8mb4"
    return f"CREATE TABLE {name} ({columns}, PRIMARY KEY (id)){charset}"


def fill_base(server: Database, workload: Workload, name: str = TABLE) -> None:
    """The rows that updates go round; on MySQL and MariaDB not in the log, on PostgreSQL before any slot is made."""
    if workload.base:
        before = () if isinstance(server, PostgreSQL) else ("SET SESSION sql_log_bin = 0",)
        insert = Workload("base", "insert", 1000, workload.base)
        _send(server, [*before, *transactions(insert, engine_of(server), name)])


def fill_below(server: Database, rows: int, name: str = TABLE, database: str = DATABASE) -> None:
    """Rows with ids from -`rows` to -1, and the planner's statistics of them: nothing is planned for an empty table."""
    values = [
        ", ".join(_literals(row(ident)) for ident in range(first, min(first + 500, 0)))
        for first in range(-rows, 0, 500)
    ]
    analyze = f"ANALYZE {name}" if isinstance(server, PostgreSQL) else f"ANALYZE TABLE {name}"
    _send(server, [*(f"INSERT INTO {name} VALUES {some}" for some in values), analyze], database)


def load(server: Database, workload: Workload, name: str = TABLE) -> None:
    """Commit the workload's transactions, in order, over one connection."""
    _send(server, transactions(workload, engine_of(server), name))


def transactions(workload: Workload, engine: Engine, name: str = TABLE) -> Iterator[str]:
    """One text per transaction. A single statement of MySQL's and MariaDB's commits by itself; others stand between BEGIN and COMMIT."""
    begin, end = ("BEGIN; ", "; COMMIT") if engine == "postgresql" else ("", "")
    for first in range(0, workload.rows, workload.batch):
        if workload.op == "insert":
            rows = [_literals(row(ident)) for ident in range(first + 1, first + workload.batch + 1)]
            # Ten rows come from ten statements, as an application writes an order with its lines; a thousand from one, as a load does.
            statements = rows if workload.batch <= _SINGLY else [", ".join(rows)]
            inserts = "; ".join(f"INSERT INTO {name} VALUES {values}" for values in statements)
            yield f"BEGIN; {inserts}; COMMIT" if len(statements) > 1 else f"{begin}{inserts}{end}"
        else:
            ident, _revision = workload.expected(first)
            later = "updated_at + INTERVAL '1 second'" if engine == "postgresql" else "updated_at + INTERVAL 1 SECOND"
            yield (
                f"{begin}UPDATE {name} SET status = (status + 1) % {_STATUSES}, amount = amount + 1, updated_at = {later}"
                f" WHERE id BETWEEN {ident} AND {ident + workload.batch - 1}{end}"
            )


def _literals(values: Row) -> str:
    return "(" + ", ".join(str(v) if isinstance(v, int | Decimal) else f"'{v}'" for v in values) + ")"


def _send(server: Database, statements: Iterator[str] | list[str], database: str = DATABASE) -> None:
    """Many transactions per round trip: the server is to write a log, not to be measured."""
    if isinstance(server, PostgreSQL):
        with server.connect(database) as session:
            for chunk in _chunks(statements):
                session.pgconn.exec_(chunk.encode())  # the simple protocol takes several transactions in one string
                session.execute("SELECT 1")  # raises where the chunk left the session in an error
        return
    import pymysql
    from pymysql.constants import CLIENT

    connection = pymysql.connect(
        host=server.host, port=server.port, user=server.admin_user, password=server.password, database=database,
        charset="utf8mb4", autocommit=True, client_flag=CLIENT.MULTI_STATEMENTS,
    )  # fmt: skip
    with connection, connection.cursor() as cursor:
        for chunk in _chunks(statements):
            cursor.execute(chunk)
            while cursor.nextset():
                pass


def _chunks(statements: Iterator[str] | list[str]) -> Iterator[str]:
    held: list[str] = []
    size = 0
    for statement in statements:
        held.append(statement)
        size += len(statement)
        if len(held) >= _STATEMENTS_A_TRIP or size >= 200_000:
            yield "; ".join(held)
            held, size = [], 0
    if held:
        yield "; ".join(held)
