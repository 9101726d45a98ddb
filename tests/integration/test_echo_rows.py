"""How many rows an echo may hold: what a trigger wrote inside our transaction is told also where a batch was written row by row."""

from __future__ import annotations

import json
from typing import Any

from tests.waiting import await_that
from tests.world import Channel, World

INSERT = "INSERT INTO line VALUES (NEW.id, NEW.v, 'by the trigger')"


def add_trigger(channel: Channel) -> None:
    if channel.is_postgresql:
        channel.execute(
            f"CREATE FUNCTION logs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {INSERT}; RETURN NEW; END $$"
        )
        channel.execute("CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION logs()")
    else:
        channel.execute(f"CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW {INSERT}")


def told(world: World) -> list[dict[str, Any]]:
    lines = [line for line in world.log().rpartition("\n")[0].splitlines() if "echo_holds_more_rows" in line]
    return [json.loads(line) for line in lines]


def await_told(world: World, *channels: str) -> None:
    await_that(
        lambda: sorted(line["channel"] for line in told(world)) == sorted(channels),
        message=lambda: f"{channels}: {told(world)} {world.log()[-3000:]}",
    )
    assert {(line["wrote"], line["found"]) for line in told(world)} == {(1, 2)}


def test_a_triggers_row_is_told_in_a_batch_that_was_written_row_by_row_and_what_was_set_aside_is_not_one(abc: World):
    a, b, c = (abc[name] for name in "abc")  # MySQL, PostgreSQL, MariaDB
    for channel in (a, b, c):
        channel.create_table("line", "v INT, note VARCHAR(40)")
        refused = "bad for b" if channel is b else "bad for a and c"
        channel.execute(f"ALTER TABLE t ADD CONSTRAINT good CHECK (note <> '{refused}')")
        late = " DEFERRABLE INITIALLY DEFERRED" if channel is b else ""
        channel.execute(f"ALTER TABLE t ADD CONSTRAINT one_v UNIQUE (v){late}")
    line = {"key": ["id"], "fields": {"id": {"type": "integer"}, "v": {"type": "integer"}, "note": {"type": "text"}}}
    abc.extra["entities"] = {"thing": {"key": ["id"], "fields": abc.fields}, "line": line}
    for name in "abc":
        columns = {"id": "id", "v": "v", "note": "note"}
        abc.mappings[f"{name}.line"] = {"channel": name, "table": "line", "entity": "line", "columns": columns}
    abc.start()
    b.execute("INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y')")
    abc.await_equal()
    b.execute("UPDATE t SET v = 3 - v")  # each takes the value of the other
    assert abc.await_equal() == {1: (2, "x"), 2: (1, "y")}
    abc.await_markers()
    assert told(abc) == []
    for target in (a, c):
        add_trigger(target)
    b.execute("INSERT INTO t VALUES (3, 3, 'bad for a and c'), (4, 4, 'fine')")
    await_told(abc, "a", "c")
    for target in (a, c):
        target.execute("DROP TRIGGER x")
    add_trigger(b)
    a.execute("INSERT INTO t VALUES (5, 5, 'bad for b'), (6, 6, 'fine')")
    await_that(lambda: len(told(abc)) == 3, message=lambda: f"{told(abc)} {abc.log()[-3000:]}")
    await_told(abc, "a", "b", "c")
    assert [set(channel.rows("line")) for channel in (a, b, c)] == [{4}, {6}, {4}]
