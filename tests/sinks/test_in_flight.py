"""What is under way when something else happens: statements that the server still works on, prepared ones, openings that wait."""

from __future__ import annotations

import dataclasses

import pytest

from sinks.contract import Progress, ProgressMove, Rejected
from sinks.postgresql_staging import STAGED_ROWS
from tests.sinks.targets import Target, insert, items, phones, rows, update


def test_two_mappings_of_one_table_write_a_large_batch_together(server_target: Target) -> None:
    """Each has a description of the table of its own: both are known before anything is under way."""
    table = items(server_target)
    other = dataclasses.replace(table)
    assert other is not table and other == table
    _, lease = server_target.ready()
    lease.apply([
        *(insert(table, n, id=n, name="one", quantity=1) for n in range(2000)),
        *(insert(other, n, id=n, name="two") for n in range(2000, 4000)),
        *(update(other, n, 0, name="three") for n in range(2000)),
    ])  # fmt: skip
    assert len(rows(server_target)) == 4000


@pytest.mark.parametrize("met", [False, True], ids=["", "and the database refuses one before it"])
def test_a_value_that_cannot_be_encoded_while_the_server_works_leaves_the_session_usable(
    server_target: Target, met: bool
) -> None:
    table = phones(server_target)
    sink, lease = server_target.ready()
    lease.apply([insert(table, 0, id=-1, phone="taken", name="a")])
    many = STAGED_ROWS - 1  # one more, and PostgreSQL would get them only when all are encoded
    writes = [insert(table, n, id=n, phone=f"{n}", name="a") for n in range(many)]
    writes[1900] = insert(table, 1900, id=1900, phone="1900", name=1.5)
    refused = [1900]
    if met:
        writes[5] = insert(table, 5, id=5, phone="taken", name="a")
        refused = [5, 1900]
    for _ in range(2):
        lease.begin(len(writes))
        with pytest.raises(Rejected) as refusal:
            sink.write(writes)
        assert refusal.value.code == ("" if not met else "23505" if server_target.postgresql else "1062")
        sink.rollback()
    header, _ = lease.begin(len(writes))
    assert [rejection.ref for rejection in sink.write_singly(writes)] == refused
    lease.commit(header)
    assert len(rows(server_target, "phones")) == many + 1 - len(refused)


def test_a_row_that_just_fits_a_packet_goes_without_the_opening(mysql_target: Target) -> None:
    """With many sources the opening is longer than what a row's own limit leaves free; the server would hang up, again and again."""
    target = mysql_target
    target.execute("CREATE TABLE blobs (id int PRIMARY KEY, b longblob)")
    table = target.table("blobs")
    sink, lease = target.ready()
    (limit,) = target.execute("SELECT @@max_allowed_packet")[0]
    moves = tuple(ProgressMove(f"{'s' * 60}{n}", None, Progress(1, 1, True, 10)) for n in range(9))
    size = (limit - 3 * 1024) // 2  # in hexadecimal digits
    lease.apply([insert(table, id=0, b=b"")])  # the catalog is read, which would take the opening along
    sink.begin(dataclasses.replace(lease.header(), moves=moves))
    sink.write([insert(table, id=1, b=b"x" * size)])
    sink.commit()
    assert target.execute("SELECT id, length(b) FROM blobs WHERE id = 1") == [(1, size)]
    assert len(sink.progress("coffee")) == 10


def test_many_people_with_long_texts_go_in_several_packets(mysql_target: Target) -> None:
    target = mysql_target
    target.execute("CREATE TABLE people (id int AUTO_INCREMENT PRIMARY KEY, story longtext)")
    table = target.table("people")
    sink, lease = target.ready()
    (limit,) = target.execute("SELECT @@max_allowed_packet")[0]
    story = "x" * (limit // 50)
    writes = [insert(table, n, (), story=story) for n in range(60)]
    header, _ = lease.begin(len(writes))
    keys = sink.people().create(writes, ("id",))
    lease.commit(header)
    assert keys == [(n,) for n in range(1, 61)]
    assert target.execute("SELECT count(*), min(length(story)) FROM people") == [(60, len(story))]
