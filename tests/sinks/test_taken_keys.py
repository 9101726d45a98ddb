"""CASES.md K4, K7: a row that is refused for unique keys tells all of them, and which rows are in the way; nothing that is not certain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from sinks.contract import Rejected, Rejection, RowWrite
from tests.sinks.targets import DEPLOYMENT, Lease, Target, insert, parked_row, rows, update, writer_of_its_own
from transforms.tables import Table

PEOPLE = "CREATE TABLE people (id int PRIMARY KEY, phone varchar(20) UNIQUE, email varchar(40) UNIQUE, a int, b int, UNIQUE (a, b))"


def refused(target: Target, lease: Lease, writes: Sequence[RowWrite]) -> list[Rejection]:
    """What is refused of some writes, the rest being committed."""
    header, _ = lease.begin(len(writes))
    rejections = lease.sink.write_singly(writes)
    lease.commit(header)
    for rejection in rejections:
        for line in rejection.taken:
            assert line not in rejection.error
            assert line not in repr(rejection)
            assert "\n" not in line
    return rejections


def holders(rejection: Rejection) -> dict[str, str]:
    """The rows in the way by the columns of the keys that they hold."""
    found = {}
    for line in rejection.taken:
        key, _, row = line.partition(" is held by row ")
        name, _, columns = key.partition(" (")
        assert name.startswith("unique key ")
        found[columns.removesuffix(")")] = row
    assert len(found) == len(rejection.taken)
    return found


def people(target: Target) -> Table:
    target.create(PEOPLE)
    return target.table("people")


def person(table: Table, key: int, phone: str | None, email: str | None, a: int | None, b: int | None = 1) -> RowWrite:
    return insert(table, key, id=key, phone=phone, email=email, a=a, b=b)


def test_every_unique_key_that_a_row_meets_is_told_with_the_row_that_holds_it(target: Target) -> None:
    table = people(target)
    _, lease = target.ready()
    lease.apply([person(table, 1, "p1", "e1", 1), person(table, 2, "p2", "e2", 2), person(table, 3, "p3", "e3", 3)])
    three, none, again = refused(
        target, lease, [person(table, 4, "p1", "e2", 3), person(table, 5, "p1", None, None), update(table, 1, 6, id=2)]
    )
    assert holders(three) == {"phone": "id=1", "email": "id=2", "a, b": "id=3"}
    assert holders(none) == {"phone": "id=1"}
    assert holders(again) == {"id": "id=2"}
    assert not {"p1", "e2"} & set(str(three.taken).replace("'", " ").split())
    assert [row[0] for row in rows(target, "people")] == [1, 2, 3]


def test_what_an_update_leaves_alone_comes_from_its_row_as_it_stands(target: Target) -> None:
    table = people(target)
    _, lease = target.ready()
    lease.apply([
        person(table, 1, "p1", "e1", 1, 7), person(table, 2, "p2", "e2", 2, 7), person(table, 3, "p3", "e3", 2, 8),
        person(table, 4, "p4", "e4", 2, None), person(table, 5, "p5", "e5", 1, None),
    ])  # fmt: skip
    same_b, other_b, null_b, nothing = refused(
        target,
        lease,
        [update(table, 2, 0, a=1, phone="p2"), update(table, 3, 1, a=1, email="e1"),
         update(table, 4, 2, a=1, email="e2"), update(table, 5, 3, b=7, phone="p4", email=None)],
    )  # fmt: skip
    assert holders(same_b) == {"a, b": "id=1"}
    assert holders(other_b) == {"email": "id=1"}
    assert holders(null_b) == {"email": "id=2"}
    assert holders(nothing) == {"a, b": "id=1", "phone": "id=4"}


def test_an_insert_of_a_row_that_stands_is_not_in_its_own_way(target: Target) -> None:
    table = people(target)
    _, lease = target.ready()
    lease.apply([person(table, 1, "p1", "e1", 1), person(table, 2, "p2", "e2", 2)])
    part = insert(table, 7, id=2, phone="p1", email="e2", a=1)  # b is what the row holds
    new = msgspec.structs.replace(insert(table, 8, id=9, phone="p9", a=1), fresh=(("b", 1),))
    met = msgspec.structs.replace(insert(table, 9, id=2, phone="p1", a=1), fresh=(("b", 5),))
    first, second = refused(target, lease, [part, new])
    (third,) = refused(target, lease, [met])
    assert holders(first) == {"phone": "id=1", "a, b": "id=1"}
    assert holders(second) == {"a, b": "id=1"}
    assert holders(third) == {"phone": "id=1", "a, b": "id=1"}


def test_rows_of_the_same_transaction_are_in_the_way_too_and_those_it_takes_away_are_not(target: Target) -> None:
    table = people(target)
    _, lease = target.ready()
    lease.apply([person(table, 1, "p1", "e1", 1)])
    (rejection,) = refused(
        target,
        lease,
        [update(table, 1, 0, email="new"), person(table, 2, "p2", "e2", 2), person(table, 3, "p2", "e1", 2)],
    )
    assert holders(rejection) == {"phone": "id=2", "a, b": "id=2"}


def test_a_counter_in_a_unique_key_is_left_to_the_databases_own_words(target: Target) -> None:
    table = people(target)
    _, lease = target.ready()
    lease.apply([person(table, key, f"p{key}", f"e{key}", key) for key in (1, 3, 4)])
    (rejection,) = refused(target, lease, [RowWrite(table, "update", ("id",), (3,), ("a",), (1,), 0, (0,))])
    assert rejection.code  # 4 is taken; 1 is what is added
    assert rejection.taken == ()


def test_what_the_database_computes_is_not_taken_for_what_it_was(target: Target) -> None:
    target.create(
        "CREATE TABLE computed (id int PRIMARY KEY, u int UNIQUE, n int, m int, g int GENERATED ALWAYS AS (m + 1) STORED, UNIQUE (n, g))"
    )
    table = target.table("computed")
    _, lease = target.ready()
    lease.apply([insert(table, id=1, u=1, n=1, m=1), insert(table, id=2, u=2, n=2, m=1)])
    (rejection,) = refused(target, lease, [update(table, 2, u=1, n=1, m=5)])
    assert holders(rejection) == {"u": "id=1"}


def test_rows_are_named_by_their_primary_key_and_the_mappings_own(target: Target) -> None:
    target.create(
        "CREATE TABLE codes (code varchar(100), part int, name varchar(40) UNIQUE, n int UNIQUE, PRIMARY KEY (code, part))"
    )
    target.create(
        "CREATE TABLE blobs (k bytea PRIMARY KEY, n int UNIQUE)", "CREATE TABLE blobs (k binary(4) PRIMARY KEY, n int UNIQUE)"
    )  # fmt: skip
    target.create("CREATE TABLE keyless (code varchar(20) UNIQUE NOT NULL, n int UNIQUE)")
    target.create("CREATE TABLE both_keys (id int PRIMARY KEY, code varchar(20) UNIQUE NOT NULL, n int UNIQUE)")
    codes, blobs, keyless, both = map(target.table, ("codes", "blobs", "keyless", "both_keys"))
    _, lease = target.ready()

    def code(ref: int, code: str, name: str, n: int) -> RowWrite:
        return insert(codes, ref, ("code", "part"), code=code, part=1, name=name, n=n)

    lease.apply([code(0, "it's \\ a\nb", "one", 1), code(0, "x" * 100, "two", 2), insert(blobs, 0, ("k",), k=b"\0\xff\n'", n=1),
                 insert(keyless, 0, ("code",), code="first", n=1), insert(both, 0, ("code",), id=5, code="A-1", n=1)])  # fmt: skip
    named, binary, without, mapped = refused(
        target,
        lease,
        [code(1, "new", "one", 2), insert(blobs, 2, ("k",), k=b"1234", n=1), insert(keyless, 3, ("code",), code="b", n=1),
         insert(both, 4, ("code",), id=6, code="B", n=1)],
    )  # fmt: skip
    assert holders(named) == {"name": 'code="it\'s \\\\ a\\nb", part=1', "n": f"code={'x' * 80}..., part=1"}
    (held,) = holders(binary).values()
    assert held.lower().replace("0x", "").replace('"\\\\x', "").strip('"') == "k=00ff0a27"
    assert holders(without) == {"n": "code=first"}
    assert holders(mapped) == {"n": "id=5, code=A-1"}


def test_a_new_persons_row_tells_who_is_in_its_way(server_target: Target) -> None:
    target = server_target
    kind = "serial" if target.postgresql else "int AUTO_INCREMENT"
    target.create(f"CREATE TABLE members (id {kind} PRIMARY KEY, phone varchar(20) UNIQUE, email varchar(20) UNIQUE)")
    table = target.table("members")
    sink, lease = target.ready()
    lease.apply([insert(table, id=11, phone="p", email="e")])
    header, _ = lease.begin()
    with pytest.raises(Exception, match="duplicate key") as caught:
        sink.people().create(
            [RowWrite(table, "insert", (), (), ("phone", "email"), ("p", "e"), 3)], ("id",), single=True
        )
    lease.commit(header)
    assert holders(Rejection.of(caught.value, 3)) == {"phone": "id=11", "email": "id=11"}  # type: ignore[arg-type]


def test_what_was_taken_is_kept_with_the_parked_change(target: Target) -> None:
    sink, lease = target.ready()
    taken = ("unique key phone (phone) is held by row id=1", 'unique key 邮箱 (e) is held by row id="a\\nb"')
    header, _ = lease.begin()
    sink.park([parked_row(1, taken=taken), parked_row(2), parked_row(3, taken=(taken[0] * 1000,))])
    lease.commit(header)
    one, two, long = sink.parked(DEPLOYMENT)
    assert (one, one.taken) == (parked_row(1, taken=taken), taken)
    assert two == parked_row(2)
    assert (long.error, long.taken[0][:40]) == (parked_row(3).error, taken[0][:40])
    ((text,),) = target.execute("SELECT error FROM datong_parked WHERE id = 'website.1'")
    assert text == "\n".join((one.error, *taken))


def test_postgresqls_indexes_are_asked_only_for_what_they_hold(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute("CREATE EXTENSION citext")
    target.execute(
        "CREATE TABLE parent (id int PRIMARY KEY, email citext UNIQUE, name text, live bool, a int, b int, tags text[] UNIQUE, late int,"
        " g text GENERATED ALWAYS AS (lower(name)) STORED UNIQUE, UNIQUE NULLS NOT DISTINCT (a, b), UNIQUE (late) DEFERRABLE)"
    )
    target.execute("CREATE UNIQUE INDEX by_expression ON parent (lower(name))")
    target.execute("CREATE UNIQUE INDEX by_part ON parent (name) WHERE live")
    target.execute("CREATE TABLE child () INHERITS (parent)")
    target.execute(
        "INSERT INTO child (id, email, late) VALUES (90, 'child', 90)"
    )  # shares no unique key with its parent
    table = target.table("parent")
    _, lease = target.ready()

    def row(key: int, **values: object) -> RowWrite:
        filled = {
            "email": str(key),
            "name": str(key),
            "live": True,
            "a": key,
            "b": key,
            "tags": f'["{key}"]',
            "late": key,
        }
        return insert(table, key, id=key, **(filled | values))

    lease.apply([row(1), row(2, a=2, b=None), row(3, name="Name", live=False, a=3, b=None), row(6, a=6, b=None)])
    late, expression, many, by_null, other_null = refused(
        target,
        lease,
        [row(10, late=1), row(11, name="name", live=True, email="child"), row(12, email="CHILD", name="Name", tags='["1"]', a=2, b=None, late=90),
         update(table, 3, 13, a=2), update(table, 6, 14, a=1, b=1)],
    )  # fmt: skip
    assert holders(late) == {"late": "id=1"}
    assert "parent_g_key" in expression.error or "by_expression" in expression.error
    assert expression.taken == ()
    assert holders(many) == {"tags": "id=1", "a, b": "id=2"}
    assert holders(by_null) == {"a, b": "id=2"}
    assert holders(other_null) == {"a, b": "id=1"}


def test_a_partition_shares_its_unique_keys(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute("CREATE TABLE p (id int, region int, email text, PRIMARY KEY (id, region), UNIQUE (email, region)) PARTITION BY LIST (region)")  # fmt: skip
    target.execute("CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)")
    table = target.table("p")
    _, lease = target.ready()
    key = ("id", "region")
    lease.apply([insert(table, 0, key, id=1, region=1, email="e")])
    (rejection,) = refused(target, lease, [insert(table, 1, key, id=2, region=1, email="e")])
    assert holders(rejection) == {"email, region": "id=1, region=1"}


def test_mysqls_indexes_are_asked_only_for_what_they_hold(mysql_target: Target) -> None:
    target = mysql_target
    target.execute(
        "CREATE TABLE d (id int PRIMARY KEY, name varchar(40), code varchar(10) UNIQUE, n int UNIQUE, long_text text,"
        " g int GENERATED ALWAYS AS (n + 1) STORED UNIQUE, UNIQUE KEY part (name(3)))"
    )
    hashed = target.engine == "mariadb"
    target.execute("ALTER TABLE d ADD UNIQUE KEY other (long_text)" if hashed else "ALTER TABLE d ADD UNIQUE KEY other ((left(long_text, 5)))")  # fmt: skip
    table = target.table("d")
    _, lease = target.ready()
    lease.apply([insert(table, id=1, name="abcd", code="Abc", n=1, long_text="t"), insert(table, id=2, name="z", code="z", n=2, long_text="z")])  # fmt: skip
    prefix, other, many = refused(
        target,
        lease,
        [insert(table, 10, id=10, name="abcx", code="10", n=10, long_text="10"), insert(table, 11, id=11, name="11", code="11", n=11, long_text="t"),
         insert(table, 12, id=12, name="abcx", code="aBC", n=2, long_text="12")],
    )  # fmt: skip
    assert "part" in prefix.error
    assert prefix.taken == ()
    assert "other" in other.error
    assert other.taken == ()
    assert holders(many) == {"code": "id=1", "n": "id=2"}


def test_a_key_that_a_collation_holds_for_equal_is_told_with_the_row_that_has_it(mysql_target: Target) -> None:
    target = mysql_target
    target.execute("CREATE TABLE codes (code varchar(10) PRIMARY KEY, v int)")
    target.execute("CREATE TABLE keyed (code varchar(10) PRIMARY KEY, v int UNIQUE)")
    _, lease = target.ready()
    for table in map(target.table, ("codes", "keyed")):
        lease.apply([insert(table, 0, ("code",), code="Abc", v=1), insert(table, 0, ("code",), code="b", v=2)])
        (rejection,) = refused(
            target, lease, [insert(table, 1, ("code",), code="aBC", v=3), insert(table, 2, ("code",), code="Abc", v=1)]
        )
        assert holders(rejection) == {"code": "code=Abc"}


def test_postgresql_tells_the_row_whose_key_its_type_holds_for_equal(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute("CREATE EXTENSION citext")
    target.execute("CREATE TABLE codes (code citext PRIMARY KEY, v int UNIQUE)")
    table = target.table("codes")
    _, lease = target.ready()
    lease.apply([insert(table, 0, ("code",), code="Abc", v=1), insert(table, 0, ("code",), code="b", v=2)])
    (rejection,) = refused(target, lease, [insert(table, 1, ("code",), code="aBC", v=2)])
    assert holders(rejection) == {"v": "code=b", "code": "code=Abc"}


def test_an_sqlite_files_indexes_are_asked_only_for_what_they_hold(sqlite_target: Target) -> None:
    target = sqlite_target
    target.execute(
        "CREATE TABLE d (id int PRIMARY KEY, name varchar(40), code varchar(10) COLLATE NOCASE, n int,"
        " g int GENERATED ALWAYS AS (n + 1) UNIQUE)"
    )
    target.execute("CREATE UNIQUE INDEX by_part ON d (name) WHERE n > 100")
    target.execute("CREATE UNIQUE INDEX loose ON d (name COLLATE NOCASE)")
    target.execute("CREATE UNIQUE INDEX strict ON d (code COLLATE BINARY)")
    target.execute("CREATE UNIQUE INDEX by_expression ON d (abs(n))")
    table = target.table("d")
    _, lease = target.ready()
    lease.apply([insert(table, id=1, name="one", code="a", n=1), insert(table, id=2, name="two", code="b", n=2)])
    expression, many = refused(
        target, lease, [insert(table, 10, id=10, name="ten", code="A", n=-1), insert(table, 11, id=11, name="ONE", code="B", n=-2)]
    )  # fmt: skip
    assert expression.taken == ()
    assert holders(many) == {"name": "id=1"}


def test_who_may_not_read_what_is_in_the_way_is_refused_all_the_same(postgresql_target: Target) -> None:
    """A lookup that fails must not end the transaction, nor make a refusal of a row a halt."""
    target = postgresql_target
    target.execute("CREATE TABLE people (id int PRIMARY KEY, phone text UNIQUE, a int, hidden int, UNIQUE (a, hidden))")
    table = target.table("people")
    _, lease = target.ready()
    lease.apply([insert(table, id=1, phone="p", a=1, hidden=1), insert(table, id=2, phone="q", a=2, hidden=1)])
    with writer_of_its_own(target, "SELECT (id, phone, a), UPDATE ON people", known=lease.known) as poor:
        hidden, told = refused(
            target, poor, [update(table, 2, 1, a=1), update(table, 2, 2, phone="p"), update(table, 1, 3, phone="new")]
        )
        assert (hidden.reason, hidden.taken) == ("rejected", ())
        assert "people_a_hidden_key" in hidden.error
        assert told.reason == "waiting"
        assert target.execute("SELECT phone FROM people WHERE id = 1") == [("new",)]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("key", ["int", "bigint unsigned", "varchar(20)"])
def test_a_row_is_never_written_over_by_a_key_that_was_made_since_the_catalog_was_read(
    mysql_target: Target, key: str, alone: bool
) -> None:
    """An upsert is refused that meets another row by such a key; one that meets its own row by the largest number is not."""
    target = mysql_target
    target.execute(f"CREATE TABLE later (id {key} PRIMARY KEY, code varchar(20))")
    table = target.table("later")
    sink, lease = target.ready()
    most = 2**64 - 1 if key == "bigint unsigned" else 2**31 - 1
    ids: list[Any] = [str(n) if key.startswith("varchar") else n for n in (1, 2, most)]
    lease.apply([insert(table, id=ids[0], code="a"), insert(table, id=ids[2], code="b")])
    lease.apply([insert(table, id=ids[2], code="c"), insert(table, id=ids[0], code="a")])  # each over itself
    target.execute("CREATE UNIQUE INDEX by_code ON later (code)")
    writes = [insert(table, 10, id=ids[0], code="d"), insert(table, 20, id=ids[1], code="c")]
    lease.begin(2)
    if alone:
        (rejection,) = sink.write_singly(writes)
        assert rejection.ref == 20
        assert "another row has this key" in rejection.error
    else:
        with pytest.raises(Rejected, match="another row has this key"):
            sink.write(writes)
    sink.rollback()
    assert rows(target, "later") == [(ids[0], "a"), (ids[2], "c")]
    header, _ = lease.begin(2)
    (rejection,) = sink.write_singly(writes)  # with the new catalog
    lease.commit(header)
    assert len(holders(rejection)) == 1
    assert sorted(rows(target, "later")) == sorted([(ids[0], "d"), (ids[2], "c")])
