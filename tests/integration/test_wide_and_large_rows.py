"""CASES.md B2: a thousand columns, blobs of 16 MiB, rows above the target's max_allowed_packet - through the whole service.

A row that no packet takes is parked with its table, key and size, whatever its size; nothing is sent again and again, the next row goes
on, and once the limit is raised a retry is enough. Memory stays bounded (I8).
"""

from __future__ import annotations

import json
import random
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.waiting import await_that

MIB = 1 << 20
INTEGERS, TEXTS = 899, 100  # and the key: as much as a row of InnoDB may be
MOST_MEMORY = 600 * MIB  # of one role, for rows of 16 MiB; seen: 390
MOST_MEMORY_OF_MANY = 800 * MIB  # for twenty of them in one transaction; seen: 450


@contextmanager
def packets_of(channel, size):
    """The server takes packets of that size in new sessions."""
    if channel.is_postgresql:
        yield
        return
    ((before,),) = channel.execute("SELECT @@global.max_allowed_packet")
    channel.execute(f"SET GLOBAL max_allowed_packet = {size}")
    try:
        yield
    finally:
        channel.execute(f"SET GLOBAL max_allowed_packet = {before}")


def of_blobs(world):
    world.fields = {"id": {"type": "integer"}, "b": {"type": "bytes"}}
    for channel in world.channels.values():
        channel.create_table(columns="b BYTEA" if channel.is_postgresql else "b LONGBLOB")


def digests(channel):
    digest = "encode(sha256(b), 'hex')" if channel.is_postgresql else "SHA2(b, 256)"
    return dict(channel.execute(f"SELECT id, {digest} FROM t"))


def await_digests(world, timeout=120):
    a, b = world["a"], world["b"]
    await_that(
        lambda: digests(a) == digests(b),
        timeout=timeout,
        message=lambda: f"{digests(a)} {digests(b)} {world.readiness()} {world.log()[-3000:]}",
    )


def most_memory(world):
    """The most that any role has ever held, in bytes."""
    peaks = {}
    for name in world.channels:
        for kind in ("capture", "apply"):
            lines = Path(f"/proc/{world.role_pid(kind, name)}/status").read_text().splitlines()
            peaks[kind, name] = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    print(peaks)
    return max(peaks.values())


def retries(world):
    """What b's applier has tried again; another role's connection may be lost for reasons of its own."""
    lines = [json.loads(line) for line in world.log().rpartition("\n")[0].splitlines()]
    wanted = {"event": "retrying", "channel": "b", "role": "apply"}
    return [line for line in lines if line.items() >= wanted.items()]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("postgresql_db", "mysql_db"),
        pytest.param("mariadb_db", "postgresql_db", marks=pytest.mark.soak),
        pytest.param("mysql_db", "mariadb_db", marks=pytest.mark.soak),
    ],
)
def test_a_table_of_a_thousand_columns_goes_both_ways(make_world, first, second):
    world = make_world(first, second, table=False)
    numbers, words = [f"c{n}" for n in range(INTEGERS)], [f"d{n}" for n in range(TEXTS)]
    world.fields = {name: {"type": "integer"} for name in ("id", *numbers)} | {name: {"type": "text"} for name in words}
    columns = ", ".join([*(f"{name} INT" for name in numbers), *(f"{name} VARCHAR(10)" for name in words)])
    for channel in world.channels.values():
        channel.create_table(columns=columns)
    world.start()

    def row(ident):
        values = [str(ident), *(str(ident + n) for n in range(INTEGERS)), *(f"'{name}'" for name in words)]
        return f"({', '.join(values)})"

    starts = {"a": 0, "b": 1000}
    for name, start in starts.items():
        world[name].execute(f"INSERT INTO t VALUES {', '.join(map(row, range(start, start + 40)))}")
    assert len(world.await_equal(timeout=60)) == 80
    for name, start in starts.items():
        channel = world[name]
        channel.execute(
            f"UPDATE t SET c5 = -1, c898 = NULL, d99 = 'other' WHERE id BETWEEN {start + 1} AND {start + 20}"
        )
        every = ", ".join([*(f"{column} = 7" for column in numbers), *(f"{column} = 'z'" for column in words)])
        channel.execute(f"UPDATE t SET {every} WHERE id BETWEEN {start + 21} AND {start + 30}")
        channel.execute(f"DELETE FROM t WHERE id BETWEEN {start + 31} AND {start + 35}")
    assert len(world.await_equal(timeout=60)) == 70
    world.await_green()


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("postgresql_db", "mariadb_db"),
        pytest.param("mariadb_db", "mysql_db", marks=pytest.mark.soak),
    ],
)
def test_a_row_above_the_targets_packets_is_parked_with_its_size_and_the_next_one_goes_on(make_world, source, target):
    world = make_world(source, target, table=False)
    of_blobs(world)
    a, b = world["a"], world["b"]
    random_bytes = random.Random(2).randbytes
    with packets_of(b, MIB):
        world.start()
        with a.transaction() as cursor:  # the first is larger than a packet, the others are so together
            for number, size in enumerate((3 * MIB, *(MIB // 4,) * 20)):
                cursor.execute("INSERT INTO t VALUES (%s, %s)", (number, random_bytes(size)))
        await_that(
            lambda: len(digests(b)) == 20, timeout=60, message=lambda: f"{world.readiness()} {world.log()[-3000:]}"
        )
        a.execute("UPDATE t SET b = %s WHERE id = 1", random_bytes(MIB))
        a.execute("UPDATE t SET b = %s WHERE id = 0", random_bytes(2 * MIB))
        a.execute("INSERT INTO t VALUES (100, 'the next')")
        await_that(lambda: 100 in digests(b), timeout=60, message=lambda: f"{world.readiness()} {world.log()[-3000:]}")
        found = json.loads(world.command("parked", "list", "--json").stdout)
        assert [row["reason"] for row in found] == ["rejected", "rejected", "waiting"], found
        for row, size in zip(found, (3 * MIB, MIB), strict=False):
            told = int(row["error"].partition(" bytes is above max_allowed_packet (1048576)")[0].rpartition(" of ")[2])
            assert 2 * size <= told <= 2 * size + 4096, row
            assert f"{b.database.name}.t: a row (key columns id)" in row["error"]
        answer = world.command("parked", "show", found[0]["id"])
        assert answer.returncode == 0, answer.stderr
        assert world.log().count('"event": "batch_rejected"') == 2
        assert not retries(world)
        b.execute(f"SET GLOBAL max_allowed_packet = {16 * MIB}")
        assert world.command("parked", "retry").returncode == 0
        await_digests(world)
        await_that(lambda: world.role("b", "apply")["parked"] == 0, message="nothing is parked")
        assert b.execute("SELECT count(*) FROM datong_parked") == ((0,),)
        assert not retries(world)


def of_large_blobs(make_world, stack, source, target):
    world = make_world(source, target, table=False)
    of_blobs(world)
    for channel in world.channels.values():
        stack.enter_context(packets_of(channel, 64 * MIB))
    world.start()
    return world


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("mariadb_db", "postgresql_db"),
        pytest.param("mysql_db", "postgresql_db", marks=pytest.mark.soak),
        pytest.param("mysql_db", "mariadb_db", marks=pytest.mark.soak),
    ],
)
def test_a_blob_of_16_mib_goes_both_ways_in_bounded_memory(make_world, first, second):
    with ExitStack() as stack:
        world = of_large_blobs(make_world, stack, first, second)
        blob = random.Random(1).randbytes(16 * MIB)
        for number, channel in enumerate(world.channels.values()):
            channel.execute("INSERT INTO t VALUES (%s, %s)", number, blob)
            await_digests(world)
            channel.execute("UPDATE t SET b = %s WHERE id = %s", blob[::-1], number)
            await_digests(world)
            channel.execute("DELETE FROM t WHERE id = %s", number)
            await_digests(world)
        assert most_memory(world) < MOST_MEMORY


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("source", "target"),
    [("mariadb_db", "postgresql_db"), ("postgresql_db", "mysql_db"), ("mysql_db", "mariadb_db")],
)
def test_twenty_blobs_of_16_mib_in_one_transaction_go_through_in_bounded_memory(make_world, source, target):
    with ExitStack() as stack:
        world = of_large_blobs(make_world, stack, source, target)
        blob = random.Random(1).randbytes(16 * MIB)
        with world["a"].transaction() as cursor:
            for number in range(20):
                cursor.execute("INSERT INTO t VALUES (%s, %s)", (number, blob))
        await_digests(world, timeout=300)
        assert most_memory(world) < MOST_MEMORY_OF_MANY
