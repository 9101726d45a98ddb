"""NULL for a column that must hold a value: a trigger of the table may fill it; nothing else may make a value of it unseen (I6)."""

from __future__ import annotations

import datetime as dt

from tests.sinks.targets import Target, insert, update

MOMENT = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)


def test_a_trigger_fills_what_is_null_in_columns_that_have_a_default(mysql_target: Target) -> None:
    """MySQL refuses NULL itself, after triggers have run; MariaDB puts the present time into a TIMESTAMP, which nobody could tell."""
    target = mysql_target
    moment = "timestamp" if target.engine == "mysql" else "datetime"
    target.execute(
        f"CREATE TABLE filled (id int PRIMARY KEY, n int NOT NULL DEFAULT 5, f bit(4) NOT NULL DEFAULT 1, at {moment} NOT NULL DEFAULT '2020-01-01')"
    )
    fills = "SET NEW.n = IFNULL(NEW.n, 7), NEW.f = IFNULL(NEW.f, 3), NEW.at = IFNULL(NEW.at, '2011-01-01')"
    for when in ("INSERT", "UPDATE"):
        target.execute(f"CREATE TRIGGER of_{when} BEFORE {when} ON filled FOR EACH ROW {fills}")
    table = target.table("filled")
    sink, lease = target.ready()
    naive = MOMENT if target.engine == "mysql" else MOMENT.replace(tzinfo=None)
    given = {"n": 1, "f": 1, "at": naive}
    nothing = dict.fromkeys(given)
    lease.apply([insert(table, 1, id=1, **nothing), insert(table, 2, id=2, **given), insert(table, 3, id=3, **nothing)])
    lease.apply([update(table, 2, 1, **nothing)])
    header, _ = lease.begin(1)
    assert sink.write_singly([insert(table, 1, id=4, **nothing)]) == []
    lease.commit(header)
    filled = (7, 3, dt.datetime(2011, 1, 1))  # noqa: DTZ001 - as the driver gives it
    rows = target.execute("SELECT id, n, f + 0, at FROM filled ORDER BY id")
    assert rows == [(number, *filled) for number in (1, 2, 3, 4)]


def test_without_a_trigger_the_server_refuses_null_and_no_default_is_put_in(mysql_target: Target) -> None:
    target = mysql_target
    target.execute("CREATE TABLE bare (id int PRIMARY KEY, n int NOT NULL DEFAULT 5, f bit(4) NOT NULL DEFAULT 1)")
    table = target.table("bare")
    sink, lease = target.ready()
    header, _ = lease.begin(3)
    rejections = sink.write_singly(
        [insert(table, 1, id=1, n=None, f=1), insert(table, 2, id=2, n=1, f=None), insert(table, 3, id=3, n=3, f=1)]
    )
    lease.commit(header)
    assert [(refused.ref, refused.code) for refused in rejections] == [(1, "1048"), (2, "1048")]
    lease.apply([update(table, 3, 1, n=4)])
    header, _ = lease.begin(1)
    (refused,) = sink.write_singly([update(table, 3, 1, n=None)])
    lease.commit(header)
    assert refused.code == "1048"
    assert target.execute("SELECT id, n, f + 0 FROM bare") == [(3, 4, 1)]


def test_a_timestamp_that_the_server_would_fill_with_the_present_time_is_refused(mysql_target: Target) -> None:
    target = mysql_target
    target.execute("SET GLOBAL explicit_defaults_for_timestamp = OFF")
    try:
        target.execute("CREATE TABLE timed (id int PRIMARY KEY, at timestamp NOT NULL DEFAULT '2020-01-01')")
        table = target.table("timed")
        sink, lease = target.ready()
        header, _ = lease.begin(1)
        (refused,) = sink.write_singly([insert(table, 1, id=1, at=None)])
        lease.commit(header)
        assert "must not be NULL" in refused.error
    finally:
        target.execute("SET GLOBAL explicit_defaults_for_timestamp = ON")
    assert target.execute("SELECT * FROM timed") == []
