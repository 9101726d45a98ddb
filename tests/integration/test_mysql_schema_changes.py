"""S1 to S3: unread events before an ALTER decode with the old layout, those after it with the new one; what is mapped and goes, halts there."""

from __future__ import annotations

import pytest

from tests.mysql_logs import halted, read_parts, reader_of, rows_of
from tests.servers import MySQLDatabase

DEFINITION = "(id INT PRIMARY KEY, v {}, spare VARCHAR(20) DEFAULT 's')"

CHANGES = {  # column type before, ALTER, value before, expected, value after, expected
    "a column first": ("INT", "ADD COLUMN x INT NOT NULL DEFAULT 7 FIRST", "1", 1, "2", 2),
    "a column in between": ("INT", "ADD COLUMN x VARCHAR(300) AFTER id", "1", 1, "2", 2),
    "a column at once": ("INT", "ADD COLUMN x INT DEFAULT 5, ALGORITHM = INSTANT", "1", 1, "2", 2),
    "an unmapped column goes": ("INT", "DROP COLUMN spare", "1", 1, "2", 2),
    "an unmapped column goes at once": ("INT", "DROP COLUMN spare, ALGORITHM = INSTANT", "1", 1, "2", 2),
    "columns change places": ("INT", "MODIFY spare VARCHAR(20) FIRST", "1", 1, "2", 2),
    "int to bigint": ("INT", "MODIFY v BIGINT", "-5", -5, "-9000000000", -9_000_000_000),
    "signed to unsigned": ("TINYINT", "MODIFY v TINYINT UNSIGNED", "100", 100, "200", 200),
    "varchar to text": ("VARCHAR(40)", "MODIFY v TEXT", "'é'", "é", "REPEAT('é', 300)", "é" * 300),
    "a longer length byte": ("VARCHAR(40)", "MODIFY v VARCHAR(3000)", "'é'", "é", "REPEAT('é', 300)", "é" * 300),
    "utf8mb3 to utf8mb4": ("VARCHAR(40) CHARSET utf8mb3", "MODIFY v VARCHAR(40) CHARSET utf8mb4", "'é€'", "é€", "'😀'", "😀"),
    "latin1 to utf8mb4": ("VARCHAR(40) CHARSET latin1", "MODIFY v VARCHAR(40) CHARSET utf8mb4", "'é€'", "é€", "'é😀'", "é😀"),
    "an enum in another order": ("ENUM('a','b')", "MODIFY v ENUM('new','b','a')", "'a'", "a", "'a'", "a"),
    "an enum with one more": ("ENUM('a','b')", "MODIFY v ENUM('a','b','c')", "'b'", "b", "'c'", "c"),
    "more decimals": ("DECIMAL(5,1)", "MODIFY v DECIMAL(12,4)", "1.5", "1.5", "-12345678.4321", "-12345678.4321"),
    "finer time": ("DATETIME", "MODIFY v DATETIME(6)", "'2024-01-01 00:00:01'", "2024-01-01 00:00:01", "'2024-01-01 00:00:01.000002'",
                   "2024-01-01 00:00:01.000002"),
    "another key": ("INT", "DROP PRIMARY KEY, ADD PRIMARY KEY (v, id)", "1", 1, "2", 2),
}  # fmt: skip


@pytest.fixture(params=["mariadb_db", "mysql_db"])
def db(request: pytest.FixtureRequest) -> MySQLDatabase:
    found: MySQLDatabase = request.getfixturevalue(request.param)
    return found


def test_each_event_decodes_by_the_layout_of_its_time(db: MySQLDatabase) -> None:
    """All tables at once: everything is unread until all of it has happened."""
    tables = {f"t{i}": change for i, change in enumerate(CHANGES.values())}
    for name, (kind, *_) in tables.items():
        db.execute(f"CREATE TABLE {name} {DEFINITION.format(kind)}")
    reader = reader_of(db, *tables, columns=frozenset({"id", "v"}))
    reader.open(None)
    with db.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET NAMES utf8mb4")
        for name, (_, alter, before, _, after, _) in tables.items():
            cursor.execute(f"INSERT INTO {name} (id, v) VALUES (1, {before})")
            cursor.execute(f"UPDATE {name} SET id = 2")
            cursor.execute(f"ALTER TABLE {name} {alter}")
            cursor.execute(f"INSERT INTO {name} (id, v) VALUES (3, {after})")
            cursor.execute(f"DELETE FROM {name} WHERE id = 3")
    parts = []
    notices = []
    while len(rows_of(parts)) < 4 * len(tables):
        batch = reader.read(5.0)
        assert batch.parts or batch.notices, f"only {len(rows_of(parts))} rows came"
        parts += batch.parts
        notices += [n for n in batch.notices if n.event == "ddl_seen"]
    reader.close()
    assert len(notices) == len(tables)
    found: dict[str, list[object]] = {}
    for row in rows_of(parts):
        at = [column.name for column in row.table.columns].index("v")
        for image in (row.before, row.after):
            if image is not None:
                found.setdefault(row.table.name, []).append(image[at])
    for (title, change), name in zip(CHANGES.items(), tables, strict=True):
        before, after = change[3], change[5]
        wanted = [before, before, before, after, after]
        assert [v if isinstance(v, int) else str(v) for v in found[name]] == wanted, title


@pytest.mark.parametrize(
    ("alter", "columns", "after"),
    [
        ("DROP COLUMN v", {"id"}, (2,)),
        ("RENAME COLUMN v TO w", {"id", "w"}, (2, 20)),
        ("CHANGE v w BIGINT", {"id", "w"}, (2, 20)),
    ],
)
def test_a_mapped_column_that_goes_halts_there_and_the_edited_mapping_goes_on_with_nothing_skipped(
    db: MySQLDatabase, alter: str, columns: set[str], after: tuple[int, ...]
) -> None:
    db.execute(f"CREATE TABLE t {DEFINITION.format('INT')}")
    reader = reader_of(db, "t", columns=frozenset({"id", "v"}))
    reader.open(None)
    db.execute("INSERT INTO t (id, v) VALUES (1, 10)")
    db.execute(f"ALTER TABLE t {alter}")
    db.execute(f"INSERT INTO t ({', '.join(sorted(columns))}) VALUES ({', '.join(map(str, after))})")
    (part,) = read_parts(reader, lambda parts: len(parts) >= 1)
    assert part.rows[0].after is not None
    assert part.rows[0].after[:2] == (1, 10)
    error = halted(reader)
    reader.close()
    assert error.code == "SCHEMA_CHANGED"
    assert "column v" in error.what
    edited = reader_of(db, "t", columns=frozenset(columns))
    edited.open(part.resume)
    (row,) = rows_of(read_parts(edited, lambda parts: len(parts) >= 1))
    edited.close()
    assert row.after is not None
    assert (
        tuple(value for column, value in zip(row.table.columns, row.after, strict=True) if column.name in columns)
        == after
    )
