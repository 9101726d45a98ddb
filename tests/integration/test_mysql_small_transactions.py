"""Small transactions that are read whole out of the buffer are what they are event by event, on real servers."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from cdc.demo.servers import MariaDB
from cdc.model import LogPart
from cdc.readers.mysql_parts import WholeTransaction
from cdc.readers.mysql_small_transactions import SmallTransactions
from cdc.readers.mysql_transactions import Transactions
from sinks.bookkeeping import CREATE_MYSQL
from tests.mysql_logs import read_parts, reader_of, rows_of
from tests.servers import MySQLDatabase

TRANSACTIONS = 400
LAST = -1  # the id of a row after which nothing comes


@pytest.fixture(params=["mariadb_db", "mysql_db"])
def db(request: pytest.FixtureRequest) -> MySQLDatabase:
    found: MySQLDatabase = request.getfixturevalue(request.param)
    return found


def transaction(chance: random.Random, number: int) -> list[str]:
    """Mostly one or a few plain statements; at times what the whole reading must leave alone."""
    ident, base = chance.randrange(60), 10_000 + 50 * number
    many = ", ".join(f"({base + i}, REPEAT('x', {chance.randrange(900)}))" for i in range(chance.randrange(1, 12)))
    plain = [
        f"REPLACE INTO t (id, v, d, at, b) VALUES ({ident}, 'text {number}', {chance.choice(['NULL', '1.50', '-7.25'])}, NOW(6), X'00FF')",
        f"UPDATE t SET v = CONCAT(v, '{number}') WHERE id = {ident}",
        f"UPDATE IGNORE t SET id = id + 1000 WHERE id = {ident}",
        f"DELETE FROM t WHERE id = {ident}",
        f"REPLACE INTO t (id, v) VALUES {many}",
        f"REPLACE INTO u VALUES ({ident}, {number})",
    ]
    match chance.randrange(24):
        case 0:
            return ["INSERT INTO other VALUES (1)", chance.choice(plain)]
        case 1:
            return [plain[0], "SAVEPOINT s", f"REPLACE INTO t (id) VALUES ({90_000 + number})", "ROLLBACK TO s"]
        case 2:
            return [f"/*datong:{number:032x}*/ " + plain[0]]
        case 3:
            return [
                f"REPLACE INTO datong_progress VALUES ('house', 'shop', 'crm', {number}, 0, 1, 9, 3, 'token', 2)",
                plain[0],
            ]
        case 4:
            return [f"INSERT INTO t (id, v) SELECT {200_000 + 200 * number} + id, v FROM t WHERE id < 60"]
        case 5:
            return [f"REPLACE INTO m VALUES ({ident}, {number})"]  # of an engine without transactions
    return chance.choices(plain, k=chance.choice((1, 1, 1, 1, 2, 5)))


def test_what_is_read_whole_is_what_it_is_event_by_event(db: MySQLDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = int(os.environ.get("DATONG_SEED", random.randrange(2**32)))
    print("seed", seed)
    chance = random.Random(seed)
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, v TEXT, d DECIMAL(10,2), at DATETIME(6), b VARBINARY(9))")
    db.execute("CREATE TABLE u (id INT PRIMARY KEY, n INT)")
    db.execute("CREATE TABLE m (id INT PRIMARY KEY, n INT) ENGINE=MyISAM")
    db.execute("CREATE TABLE other (id INT)")
    for statement in CREATE_MYSQL:
        db.execute(statement)
    reader = reader_of(db, "t", "u", "m", part_rows=40)
    start = reader.open(None)
    reader.close()
    with db.connect() as connection, connection.cursor() as cursor:
        if not isinstance(db.server, MariaDB):
            cursor.execute("SET binlog_rows_query_log_events = ON")
        for number in range(TRANSACTIONS):
            cursor.execute("BEGIN")
            for statement in transaction(chance, number):
                cursor.execute(statement)
            cursor.execute("COMMIT")
            if number == TRANSACTIONS // 2:
                cursor.execute("ALTER TABLE t ADD COLUMN late INT DEFAULT 5 AFTER id")
        cursor.execute(f"INSERT INTO u VALUES ({LAST}, 0)")

    whole: list[WholeTransaction] = []
    add = Transactions.add_whole

    def counted(transactions: Transactions, transaction: WholeTransaction) -> None:
        whole.append(transaction)
        add(transactions, transaction)

    monkeypatch.setattr(Transactions, "add_whole", counted)

    def read() -> list[LogPart]:
        reader.open(start)
        parts = read_parts(reader, lambda parts: any(row.after and row.after[0] == LAST for row in rows_of(parts)))
        reader.close()
        return parts

    at_once = read()
    assert whole  # how many, the packets decide in which they come
    monkeypatch.setattr(SmallTransactions, "take", _nothing)
    whole.clear()
    by_event = read()
    assert not whole
    assert [part.resume.native for part in at_once] == [part.resume.native for part in by_event]
    assert at_once == by_event


def _nothing(*_: Any) -> None:
    """Take none."""
