"""Several mappings of one table and several tables of one entity, conditions of every type, and transforms that keep one form -
between real databases: what arrives, and that nothing comes back (I2)."""

from __future__ import annotations

import json

import pytest

from tests.waiting import await_that
from tests.world import World, total

KEY = "0123456789012345678901234567890123456789"


def columns(**to):
    return {column: ({"field": field[0], "transforms": field[1:]} if isinstance(field, list) else field) for column, field in to.items()}  # fmt: skip


def started(world: World, entities, mappings):
    """The world's own table `t` keeps its entity, so that markers work."""
    entities, mappings = json.loads(json.dumps([entities, mappings]))  # nothing shared: YAML anchors are not allowed
    world.extra["entities"] = {"thing": {"key": ["id"], "fields": world.fields}, **entities}
    for name, mapping in mappings.items():
        world.mappings[name] = {"channel": name.split(".")[0], **mapping}
    world.write_configuration()
    checked = world.command("check")
    assert checked.returncode == 0, checked.stderr
    world.start(ready=False)
    world.await_ready(timeout=150)


def await_rows(world, expected):
    """`expected`: "channel.table: columns" -> rows, in any order."""

    def rows(place):
        name, _, what = place.partition(".")
        table, _, selected = what.partition(": ")
        return sorted(world[name].execute(f"SELECT {selected} FROM {table}"), key=str)

    def wrong():
        return {place: rows(place) for place, wanted in expected.items() if rows(place) != sorted(wanted, key=str)}

    await_that(lambda: not wrong(), timeout=100, message=lambda: f"{wrong()} instead of {expected}; {world.log()[-3000:]}")  # fmt: skip


@pytest.mark.parametrize("pair", [("mariadb_db", "postgresql_db"), ("postgresql_db", "mysql_db")], ids="-".join)
def test_a_row_moves_between_the_mappings_of_its_table(make_world, pair):
    """`price` is mapped twice to one entity (cents or yuan), `party` once to each of two."""
    world = make_world(*pair)
    a, b = world["a"], world["b"]
    a.create_table("price", "unit VARCHAR(4) NOT NULL, cents INT, amount VARCHAR(20)")
    a.create_table("party", "kind VARCHAR(4) NOT NULL, blocked BOOLEAN, name VARCHAR(20)")
    b.create_table("price", "unit VARCHAR(4) NOT NULL, amount DECIMAL(12,2)")
    b.create_table("member", "name VARCHAR(20)")
    b.create_table("supplier", "name VARCHAR(20)")
    number, name = {"id": {"type": "integer"}}, {"name": {"type": "text", "max_length": 20}}
    entities = {
        "price": {"key": ["id"], "fields": number | {
            "unit": {"type": "enum", "values": ["cent", "yuan"]}, "amount": {"type": "decimal", "precision": 9, "scale": 2},
        }},
        "member": {"key": ["id"], "fields": number | name},
        "supplier": {"key": ["id"], "fields": number | name},
    }  # fmt: skip
    to_amount = {"cent": ["amount", {"scale": 2}], "yuan": ["amount", {"suffix": "元"}, "decimal"]}
    started(world, entities, {
        "a.cent": {"table": "price", "entity": "price", "where": {"unit": "cent"}, "columns": columns(id="id", unit="unit", cents=to_amount["cent"])},
        "a.yuan": {"table": "price", "entity": "price", "where": {"unit": "yuan"}, "columns": columns(id="id", unit="unit", amount=to_amount["yuan"])},
        "b.price": {"table": "price", "entity": "price", "columns": columns(id="id", unit="unit", amount="amount")},
        # 1 is the text '1' of the column, and null is NULL
        "a.member": {"table": "party", "entity": "member", "where": {"kind": 1, "blocked": None}, "columns": columns(id="id", name="name")},
        "a.supplier": {"table": "party", "entity": "supplier", "where": {"kind": "2", "blocked": None}, "columns": columns(id="id", name="name")},
        "b.member": {"table": "member", "entity": "member", "columns": columns(id="id", name="name")},
        "b.supplier": {"table": "supplier", "entity": "supplier", "columns": columns(id="id", name="name")},
    })  # fmt: skip
    a.execute("INSERT INTO price VALUES (1, 'cent', 1990, NULL), (2, 'yuan', NULL, '5元')")
    a.execute("INSERT INTO party VALUES (1, '1', NULL, 'Ada'), (2, '2', NULL, 'Farm'), (3, '1', TRUE, 'Eve')")
    await_rows(world, {
        "b.price: id, unit, CAST(amount AS CHAR(9))": [(1, "cent", "19.90"), (2, "yuan", "5.00")],
        "b.member: id, name": [(1, "Ada")],
        "b.supplier: id, name": [(2, "Farm")],
    }) if not b.is_postgresql else await_rows(world, {
        "b.price: id, unit, amount::text": [(1, "cent", "19.90"), (2, "yuan", "5.00")],
        "b.member: id, name": [(1, "Ada")],
        "b.supplier: id, name": [(2, "Farm")],
    })  # fmt: skip
    world.await_markers()
    counters = world.counters()
    a.execute("UPDATE price SET unit = 'yuan', amount = '7.50元' WHERE id = 1")
    b.execute("UPDATE price SET unit = 'cent', amount = 3 WHERE id = 2")
    a.execute("UPDATE party SET kind = '2' WHERE id = 1")
    a.execute("UPDATE party SET blocked = NULL WHERE id = 3")
    b.execute("INSERT INTO supplier VALUES (9, 'Mill')")
    await_rows(world, {
        "a.price: id, unit, cents, amount": [(1, "yuan", 1990, "7.50元"), (2, "cent", 300, None)],
        "b.member: id, name": [(3, "Eve")],
        "b.supplier: id, name": [(1, "Ada"), (2, "Farm"), (9, "Mill")],
        "a.party: id, kind, name": [(1, "2", "Ada"), (2, "2", "Farm"), (3, "1", "Eve"), (9, "2", "Mill")],
    })  # fmt: skip
    await_rows(world, {"b.price: id, unit": [(1, "yuan"), (2, "cent")]})
    world.await_markers()
    # What was changed there, and what came from here: nothing more.
    taken = {name: counter.take() for name, counter in counters.items()}
    assert [total(taken["b"], table) for table in ("price", "member", "supplier")] == [2, 2, 2]
    assert [total(taken["a"], table) for table in ("price", "party")] == [3, 3]  # price: its own, and a row made anew
    world.await_nothing_parked()


def test_a_users_transaction_moves_a_row_to_another_table_of_its_entity(make_world):
    world = make_world("mysql_db", "postgresql_db")
    a, b = world["a"], world["b"]
    for table in ("open_orders", "done_orders"):
        a.create_table(table, "state SMALLINT NOT NULL, note VARCHAR(20)")
    b.create_table("orders", "status VARCHAR(10), note VARCHAR(20), flag BOOLEAN, rate NUMERIC(4,1), day DATE")
    words = {"enum": {0: "open", 1: "done"}}
    entities = {"order": {"key": ["id"], "fields": {
        "id": {"type": "integer"}, "status": {"type": "enum", "values": ["open", "done"]}, "note": {"type": "text"},
    }}}  # fmt: skip
    state = columns(id="id", state=["status", words], note="note")
    started(world, entities, {
        "a.open": {"table": "open_orders", "entity": "order", "where": {"state": 0}, "columns": state},
        "a.done": {"table": "done_orders", "entity": "order", "where": {"state": 1}, "columns": {**state}},
        "b.orders": {"table": "orders", "entity": "order", "where": {"flag": True, "rate": 7, "day": "2024-02-29"}, "columns": columns(id="id", status="status", note="note")},
    })  # fmt: skip
    with a.transaction() as cursor:
        cursor.execute("INSERT INTO open_orders VALUES (1, 0, 'x'), (2, 0, 'y'), (3, 1, 'not mine')")
    await_rows(world, {"b.orders: id, status, note, flag, rate::text, day::text": [
        (1, "open", "x", True, "7.0", "2024-02-29"), (2, "open", "y", True, "7.0", "2024-02-29"),
    ]})  # fmt: skip
    with a.transaction() as cursor:
        cursor.execute("DELETE FROM open_orders WHERE id = 1")
        cursor.execute("INSERT INTO done_orders VALUES (1, 1, 'x!')")
    b.execute("UPDATE orders SET status = 'done' WHERE id = 2")
    await_rows(world, {
        "b.orders: id, status, note": [(1, "done", "x!"), (2, "done", "y")],
        "a.open_orders: id, state, note": [(3, 1, "not mine")],
        "a.done_orders: id, state, note": [(1, 1, "x!"), (2, 1, "y")],
    })  # fmt: skip
    b.execute("UPDATE orders SET rate = 7.1 WHERE id = 1")
    b.execute("UPDATE orders SET day = NULL WHERE id = 2")
    await_rows(world, {"a.done_orders: id, state, note": []})
    world.await_nothing_parked()


def test_one_form_and_an_encrypted_column_stay_as_they_are(make_world):
    """`lower: both` in one channel alone, and a column that is encrypted to another text each time it is written."""
    world = make_world("mariadb_db", "postgresql_db")
    a, b = world["a"], world["b"]
    a.create_table("people", "email VARCHAR(60), secret VARCHAR(200), card VARCHAR(200), n INT")
    b.create_table("people", "email TEXT, secret TEXT, card TEXT, n INT")
    entities = {"one": {"key": ["id"], "fields": {
        "id": {"type": "integer"}, "email": {"type": "text", "pattern": r"[^@\s]+@[^@\s]+\.[^@\s]+", "max_length": 60},
        "secret": {"type": "text", "max_length": 40}, "card": {"type": "text", "max_length": 40}, "n": {"type": "integer"},
    }}}  # fmt: skip
    sealed = {"keys": {"k1": KEY}, "at": "column"}
    started(world, entities, {
        "a.people": {"table": "people", "entity": "one", "columns": columns(
            id="id", n="n", email=["email", {"trim": "both"}, {"lower": "both"}], secret=["secret", {"encrypt": sealed}],
            card=["card", {"encrypt": {"keys": {"k1": KEY}, "at": "column", "deterministic": True}}],
        )},
        "b.people": {"table": "people", "entity": "one", "columns": columns(id="id", n="n", email="email", secret="secret", card="card")},
    })  # fmt: skip
    world.await_markers()
    counters = world.counters()
    b.execute("INSERT INTO people VALUES (1, 'Ada@X.com', 's3cret', '4111', 1)")
    await_rows(world, {"a.people: id, email, n": [(1, "ada@x.com", 1)]})
    ((secret, card),) = a.execute("SELECT secret, card FROM people")
    assert str(secret).startswith("dg1.k1.")
    assert str(card).startswith("ds1.k1.")
    a.execute("UPDATE people SET n = 2")  # the rest is not written: neither the other form nor another ciphertext
    await_rows(world, {"b.people: id, email, secret, card, n": [(1, "Ada@X.com", "s3cret", "4111", 2)]})
    b.execute("UPDATE people SET secret = 'other'")
    a.execute("INSERT INTO people (id, email, n) VALUES (2, ' Bob@Y.org ', 5)")
    await_rows(world, {"b.people: id, email, secret, n": [(1, "Ada@X.com", "other", 2), (2, "bob@y.org", None, 5)]})
    world.await_markers()
    ((again, same),) = a.execute("SELECT secret, card FROM people WHERE id = 1")
    assert again != secret
    assert same == card
    assert a.execute("SELECT email FROM people WHERE id = 2") == ((" Bob@Y.org ",),)  # as its own user wrote it
    for name in "ab":
        assert total(counters[name].take(), "people") == 4  # two of its own, two of the other's
    world.await_nothing_parked()
