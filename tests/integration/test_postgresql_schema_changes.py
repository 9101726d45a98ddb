"""Tables that change while the PostgreSQL reader reads."""

from __future__ import annotations

import pytest

from cdc.errors import HaltError
from cdc.model import LogPart
from tests.postgresql_logs import Log
from transforms.values import ABSENT


def test_rows_before_an_alter_come_with_the_old_layout_and_after_it_with_the_new(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, gone text, v int)")
    reader = log.opened({"t": "id v"})
    log.execute("INSERT INTO t VALUES (1, 'x', 10)")
    log.execute("ALTER TABLE t DROP COLUMN gone, ADD COLUMN extra text DEFAULT 'e', ALTER COLUMN v TYPE bigint")
    log.execute("INSERT INTO t VALUES (2, 20, 'y')")
    old, new = log.rows(reader)
    assert ([c.name for c in old.table.columns], old.after) == (["id", "gone", "v"], (1, ABSENT, 10))
    assert ([c.name for c in new.table.columns], new.after) == (["id", "v", "extra"], (2, 20, ABSENT))
    assert [column.type.name for column in (old.table.columns[2], new.table.columns[1])] == ["int4", "int8"]
    assert [notice.event for notice in log.notices] == ["column_gone", "column_new"]


def test_a_mapped_column_that_goes_halts_there_after_what_was_before_it(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v int)")
    reader = log.opened({"t": "id v"})
    log.execute("INSERT INTO t VALUES (1, 10)")
    log.execute("ALTER TABLE t DROP COLUMN v")
    log.execute("INSERT INTO t VALUES (2)")
    (before,) = log.read_until(reader, bool)
    assert before.rows[0].after == (1, 10)
    with pytest.raises(HaltError, match=r"SCHEMA_CHANGED: table public\.t has no column v at 0/"):
        log.read_until(reader, lambda _parts: False)
    reader.close()
    log.free(reader)
    edited = log.reader({"t": "id"})
    edited.open(before.resume)
    assert [row.after for row in log.rows(edited)] == [(2,)]


def test_a_renamed_column_halts_where_it_is_mapped_and_reading_goes_on_under_its_new_name(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v int, w int)")
    reader = log.opened({"t": "id v"})
    log.execute("INSERT INTO t VALUES (1, 10, 100)")
    log.execute("ALTER TABLE t RENAME COLUMN w TO unmapped")
    log.execute("INSERT INTO t VALUES (2, 20, 200)")
    log.execute("ALTER TABLE t RENAME COLUMN v TO renamed")
    log.execute("INSERT INTO t VALUES (3, 30, 300)")
    seen: list[LogPart] = []
    with pytest.raises(HaltError, match=r"SCHEMA_CHANGED: table public\.t has no column v at 0/"):
        log.read_until(reader, lambda parts: bool(seen.extend(parts)))
    reader.close()
    log.free(reader)
    last = {part.order: part for part in seen}
    assert [row.after for part in last.values() for row in part.rows] == [(1, 10, ABSENT), (2, 20, ABSENT)]
    assert [notice.event for notice in log.notices] == ["column_gone", "column_new"]
    edited = log.reader({"t": "id renamed"})
    edited.open(list(last.values())[-1].resume)
    assert [row.after for row in log.rows(edited)] == [(3, 30, ABSENT)]


def test_enum_labels_that_are_renamed_or_reordered_in_the_stream_never_shift(log: Log) -> None:
    log.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v mood)")
    reader = log.opened({"t": "id v"})
    log.execute("INSERT INTO t VALUES (1, 'sad'), (2, 'ok')")
    log.execute("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'")
    log.execute("ALTER TYPE mood ADD VALUE 'first' BEFORE 'blue'")
    log.execute("INSERT INTO t VALUES (3, 'blue'), (4, 'ok'), (5, 'first')")
    assert [row.after for row in log.rows(reader)] == [(1, "sad"), (2, "ok"), (3, "blue"), (4, "ok"), (5, "first")]


def test_enum_labels_and_types_that_come_later_are_asked_again(log: Log) -> None:
    log.execute("CREATE TYPE mood AS ENUM ('sad')")
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v mood)")
    reader = log.opened({"t": "id v"})
    log.execute("INSERT INTO t VALUES (1, 'sad')")
    assert [row.after for row in log.rows(reader)] == [(1, "sad")]
    log.execute("ALTER TYPE mood ADD VALUE 'glad' BEFORE 'sad'")
    log.execute("INSERT INTO t VALUES (2, 'glad')")
    (row,) = log.rows(reader)
    assert (row.after, row.table.columns[1].type.labels) == ((2, "glad"), ("glad", "sad"))
    log.execute("CREATE TYPE mood2 AS ENUM ('new')")
    log.execute("ALTER TABLE t ALTER COLUMN v TYPE mood2 USING 'new'")
    log.execute("INSERT INTO t VALUES (3, 'new')")
    (row,) = log.rows(reader)
    assert (row.after, row.table.columns[1].type.name) == ((3, "new"), "mood2")


def test_a_truncate_halts_after_what_was_before_it_and_is_passed_where_it_is_to_be_ignored(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    log.execute("CREATE TABLE other (id int REFERENCES t)")
    reader = log.opened({"t": "id"})
    log.execute("INSERT INTO t VALUES (1)")
    log.execute("TRUNCATE other")
    log.execute("TRUNCATE t CASCADE")
    log.execute("INSERT INTO t VALUES (2)")
    (before,) = log.read_until(reader, bool)
    assert before.rows[0].after == (1,)
    with pytest.raises(HaltError, match=r"TRUNCATED: table public\.t was truncated at 0/"):
        log.read_until(reader, lambda _parts: False)
    reader.close()
    log.free(reader)
    ignoring = log.reader({"t": "id"}, ignore_truncate=True)
    ignoring.open(before.resume)
    assert [row.after for row in log.rows(ignoring)] == [(2,)]
    assert [notice.event for notice in log.notices] == ["truncate_seen"]


def test_rows_of_a_partitioned_table_come_as_the_root(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    log.execute("CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (0) TO (10)")
    reader = log.opened({"t": "id"})
    log.execute("INSERT INTO t VALUES (1)")
    assert [(row.table.name, row.after) for row in log.rows(reader)] == [("t", (1,))]
