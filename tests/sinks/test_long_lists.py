"""Thousands of deletes in MySQL and MariaDB: each row is found by its key whatever the server's defaults, no packet is too long."""

from __future__ import annotations

from sinks.mysql import MySQLSink
from tests.sinks.targets import Target, delete


def test_thousands_of_keys_are_looked_up_and_no_other_row_is_read(mysql_target: Target) -> None:
    target = mysql_target
    target.execute("CREATE TABLE many (id int PRIMARY KEY, name varchar(40))")
    tens = " CROSS JOIN ".join(
        f"(SELECT {' UNION ALL SELECT '.join(f'{n} AS d' for n in range(10))}) AS t{n}" for n in range(5)
    )
    number = "t0.d + 10 * t1.d + 100 * t2.d + 1000 * t3.d + 10000 * t4.d"
    target.execute(f"INSERT INTO many SELECT {number}, 'x' FROM {tens}")
    target.execute("ANALYZE TABLE many")
    name = "in_predicate_conversion_threshold" if target.engine == "mariadb" else "range_optimizer_max_mem_size"
    ((usual,),) = target.execute(f"SELECT @@GLOBAL.{name}")
    target.execute(f"SET GLOBAL {name} = 1000")  # of a list of 2,500 keys the server would read the whole table
    try:
        sink, lease = target.ready()
    finally:
        target.execute(f"SET GLOBAL {name} = {usual}")
    table = target.table("many")
    lease.apply([delete(table, 99_999)])
    asked = "SHOW SESSION STATUS LIKE 'Handler_read_rnd_next'"
    assert isinstance(sink, MySQLSink)
    session = sink._open()  # the status is the session's own
    before = int(session.ask(asked)[0][1])
    keys = range(1, 60_001, 10)
    assert lease.apply([delete(table, key) for key in keys]) == len(keys)
    assert int(session.ask(asked)[0][1]) - before < 1000
    assert target.execute("SELECT count(*), sum(id % 10 = 1 AND id < 60001) FROM many") == [(93_999, 0)]


def test_lists_of_long_keys_are_cut_where_a_packet_would_be_too_long(mysql_target: Target) -> None:
    target = mysql_target
    target.execute("CREATE TABLE long_keys (id varchar(600) PRIMARY KEY) DEFAULT CHARSET = utf8mb4")
    ((usual,),) = target.execute("SELECT @@GLOBAL.max_allowed_packet")
    target.execute("SET GLOBAL max_allowed_packet = 1048576")
    try:
        sink, lease = target.ready()
        table = target.table("long_keys")
        keys = [f"{number}{'咖' * 590}" for number in range(2000)]
        for start in range(0, len(keys), 400):
            some = keys[start : start + 400]
            target.execute(f"INSERT INTO long_keys VALUES {', '.join(['(%s)'] * len(some))}", *some)
        assert lease.apply([delete(table, key) for key in keys[1:]]) == len(keys) - 1
        assert target.execute("SELECT id FROM long_keys") == [(keys[0],)]
        sink.close()
    finally:
        target.execute(f"SET GLOBAL max_allowed_packet = {usual}")
