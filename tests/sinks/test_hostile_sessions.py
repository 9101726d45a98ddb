"""A server whose defaults make every read a read of the past: ours read the present (TRAPS.md G2)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import MySQLDatabase
from tests.sinks.targets import DEPLOYMENT, Target, insert, opened, parked_row, update


@pytest.fixture
def mariadb_target(mariadb_db: MySQLDatabase) -> Iterator[Target]:
    yield from opened("mariadb", mariadb_db)
    mariadb_db.execute("SET GLOBAL system_versioning_asof = DEFAULT")


def test_what_is_there_is_seen_where_every_table_is_versioned_and_the_server_reads_as_of_the_past(
    mariadb_target: Target,
):
    target = mariadb_target
    target.execute("CREATE TABLE versioned (id int PRIMARY KEY, phone varchar(20) UNIQUE) WITH SYSTEM VERSIONING")
    target.ready()
    period = "ADD COLUMN v_since TIMESTAMP(6) GENERATED ALWAYS AS ROW START, ADD COLUMN v_until TIMESTAMP(6) GENERATED ALWAYS AS ROW END"
    for ours in ("datong_progress", "datong_parked"):  # by names of its own: ours has a column row_end
        target.execute(
            f"ALTER TABLE {ours} {period}, ADD PERIOD FOR SYSTEM_TIME(v_since, v_until), ADD SYSTEM VERSIONING"
        )
    target.execute("SET GLOBAL system_versioning_asof = '2000-01-01 00:00:00'")
    assert target.execute("SELECT count(*) FROM versioned") == target.execute("SELECT 0")
    table = target.table("versioned")
    sink, lease = target.ready()
    lease.apply([insert(table, 1, id=1, phone="one"), insert(table, 2, id=2, phone="two")])
    assert sink.progress(DEPLOYMENT)["website"] == lease.known
    header, _ = lease.begin(2)
    refused = sink.write_singly([update(table, 1, 1, phone="1"), update(table, 2, 2, phone="1")])
    sink.park([parked_row(1)])
    lease.commit(header)
    assert [(one.ref, len(one.taken)) for one in refused] == [(2, 1)]  # the row in the way was looked up
    assert [row.id for row in sink.parked(DEPLOYMENT)] == [parked_row(1).id]
    target.execute("SET GLOBAL system_versioning_asof = DEFAULT")
    assert target.execute("SELECT id, phone FROM versioned ORDER BY id") == [(1, "1"), (2, "two")]
