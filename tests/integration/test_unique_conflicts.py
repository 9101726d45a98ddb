"""CASES.md K4 (its second half) and K7, end to end: rows of two channels that want the same unique values under different keys.

Both sides park what the other one wrote, each record names both keys, everything else flows, nothing is tried for ever; once one side is
mended a retry lets all of it in.
"""

import json

import pytest

from tests.waiting import await_that

FIELDS = {
    "id": {"type": "integer"},
    "email": {"type": "text"},
    "phone": {"type": "text"},
    "code": {"type": "integer"},
    "v": {"type": "integer"},
}
COLUMNS = "email VARCHAR(40) UNIQUE, phone VARCHAR(20) UNIQUE, code INT UNIQUE, v INT"
EMAIL, PHONE, CODE = "canary-of-a-row", "canary-138", 4711471
MINE, HAS_EMAIL, HAS_PHONE, HAS_CODE = 770001, 880002, 880003, 880004


def parked(world, *arguments):
    done = world.command("parked", "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def await_parked(world, a, b):
    def found():
        channels = world.status()["channels"]
        return tuple((channels[name]["apply"] or {"parked": 0})["parked"] for name in "ab")

    await_that(
        lambda: found() == (a, b),
        timeout=30,
        message=lambda: f"{a} parked in a, {b} in b: {found()}\n{world.log()[-3000:]}",
    )


def events(world, name):
    lines = [json.loads(line) for line in world.log().rpartition("\n")[0].splitlines()]
    return [line for line in lines if line["event"] == name]


class Tries:
    """How often somebody has tried to insert rows with these keys: a number that was given out stays so when all is rolled back."""

    def __init__(self, channel, *keys):
        self.channel, self.looks = channel, 0
        keys = ", ".join(map(str, keys))
        if channel.is_postgresql:
            channel.execute("CREATE SEQUENCE tries")
            channel.execute(
                "CREATE FUNCTION tried() RETURNS trigger LANGUAGE plpgsql AS"
                f" 'BEGIN IF NEW.id IN ({keys}) THEN PERFORM nextval(''tries''); END IF; RETURN NEW; END'"
            )
            channel.execute("CREATE TRIGGER tried BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tried()")
        else:
            channel.execute("CREATE TABLE tries (id BIGINT AUTO_INCREMENT PRIMARY KEY)")
            channel.execute(
                "CREATE TRIGGER tried BEFORE INSERT ON t FOR EACH ROW"
                f" IF NEW.id IN ({keys}) THEN INSERT INTO tries VALUES (NULL); END IF"
            )

    def count(self):
        self.looks += 1
        with self.channel.transaction() as cursor:
            if self.channel.is_postgresql:
                cursor.execute("SELECT nextval('tries')")
                return cursor.fetchone()[0] - self.looks
            cursor.execute("INSERT INTO tries VALUES (NULL)")
            return cursor.lastrowid - self.looks


def lines_of(change):
    """The server's own words, and what each unique key is said to be held by, by its column."""
    words, *lines = change["error"].split("; ")
    found = {}
    for line in lines:
        key, _, row = line.partition(" is held by ")
        assert key.startswith("unique key ")
        found[key.rpartition("(")[2].removesuffix(")")] = row
    return words, found


def two_way(make_world, databases, bookkeeping="table"):
    world = make_world(*databases, table=False)
    world.fields = FIELDS
    for channel in world.channels.values():
        channel.create_table(columns=COLUMNS)
        channel.options["bookkeeping"] = bookkeeping
    return world


def check_records(world):
    """One record at b, which lists three rows of b; three at a, each with the row of a. Rows are named on demand only, values never."""
    masked, revealed = parked(world), parked(world, "--reveal")
    assert [change["channel"] for change in revealed] == ["a", "a", "a", "b"]
    by_key = {json.loads(change["key"].partition("/")[2])[0]: change for change in revealed}
    assert {key: change["reason"] for key, change in by_key.items()} == dict.fromkeys(
        (MINE, HAS_EMAIL, HAS_PHONE, HAS_CODE), "rejected"
    )
    holds = {"email": f"row id={HAS_EMAIL}", "phone": f"row id={HAS_PHONE}", "code": f"row id={HAS_CODE}"}
    words, found = lines_of(by_key[MINE])
    assert found == holds
    for key, column in ((HAS_EMAIL, "email"), (HAS_PHONE, "phone"), (HAS_CODE, "code")):
        assert lines_of(by_key[key])[1] == {column: f"row id={MINE}"}
    at_b = next(change for change in masked if change["channel"] == "b")
    assert lines_of(at_b) == (words, dict.fromkeys(holds, "row ***"))
    told = json.dumps([masked, [change["error"] for change in revealed]])
    assert EMAIL not in told
    assert PHONE not in told
    assert str(CODE) not in told
    assert not any(str(key) in json.dumps(masked) for key in by_key)
    shown = world.command("parked", "show", by_key[MINE]["id"])
    assert "is held by row ***" in shown.stdout and str(HAS_EMAIL) not in shown.stdout
    assert f"id={HAS_EMAIL}" in world.command("parked", "show", by_key[MINE]["id"], "--reveal").stdout


@pytest.mark.parametrize(
    ("databases", "bookkeeping"),
    [
        (("mariadb_db", "postgresql_db"), "table"),
        (("postgresql_db", "mysql_db"), "none"),
    ],
    ids=["mariadb-postgresql", "postgresql-mysql without tables"],
)
def test_two_channels_that_give_out_the_same_unique_values_park_each_others_rows(make_world, databases, bookkeeping):
    world = two_way(make_world, databases, bookkeeping)
    a, b = world["a"], world["b"]
    insert = "INSERT INTO t (id, email, phone, code, v) VALUES (%s, %s, %s, %s, %s)"
    tries = Tries(a, HAS_EMAIL, HAS_PHONE, HAS_CODE), Tries(b, MINE)
    world.start()
    # Neither commits before both have written: whichever comes first, the other side has its own row already.
    with a.transaction() as mine, b.transaction() as theirs:
        mine.execute(insert, (MINE, EMAIL, PHONE, CODE, 1))
        theirs.execute(insert, (HAS_EMAIL, EMAIL, None, 1, 1))
        theirs.execute(insert, (HAS_PHONE, "three", PHONE, 2, 1))
        theirs.execute(insert, (HAS_CODE, "four", "4", CODE, 1))
    await_parked(world, 3, 1)
    check_records(world)
    if bookkeeping == "table":
        ((text,),) = b.execute("SELECT error FROM datong_parked")
        assert all(f"id={key}" in str(text) for key in (HAS_EMAIL, HAS_PHONE, HAS_CODE))

    # Others flow, and what is parked is not tried again by itself.
    before = [channel.count() for channel in tries]  # the log keeps a line that says the same to itself
    for number in range(5):
        a.execute(insert, 10 + number, f"a{number}", f"a{number}", 10 + number, 1)
        b.execute(insert, 20 + number, f"b{number}", f"b{number}", 20 + number, 1)
    others = {10 + number for number in range(5)} | {20 + number for number in range(5)}
    await_that(lambda: others <= set(a.rows()) and others <= set(b.rows()), message="other keys go on", timeout=30)
    assert [channel.count() for channel in tries] == before
    assert not events(world, "parked_retried")

    # Nothing is mended: a retry leaves the records as they are.
    records = parked(world, "--reveal")
    assert world.command("parked", "retry").returncode == 0
    await_that(lambda: len(events(world, "parked_retried")) == 2, message="both sides have tried again")
    assert [line["released"] for line in events(world, "parked_retried")] == [0, 0]
    assert parked(world, "--reveal") == records
    assert all(channel.count() > tried for channel, tried in zip(tries, before, strict=True))

    # One side gives way.
    a.execute("UPDATE t SET email = 'other', phone = 'other', code = 5 WHERE id = %s", MINE)
    await_parked(world, 3, 2)
    assert world.command("parked", "retry").returncode == 0
    await_parked(world, 0, 0)
    rows = world.await_equal()
    assert rows[MINE] == ("other", "other", 5, 1)
    assert rows[HAS_EMAIL][0] == EMAIL
    assert others | {MINE, HAS_EMAIL, HAS_PHONE, HAS_CODE} == set(rows)
    logs = world.all_logs()
    assert "is held by row ***" in logs
    for secret in (EMAIL, PHONE, str(CODE), f"id={MINE}", f"id={HAS_EMAIL}", f"id={HAS_PHONE}", f"id={HAS_CODE}"):
        assert secret not in logs


def test_a_retry_that_is_refused_again_tells_who_is_in_the_way_now(make_world):
    world = two_way(make_world, ("postgresql_db", "mariadb_db"))
    a, b = world["a"], world["b"]
    world.mappings = {
        "b.t": {"direction": "apply"},
        "a.t": {"direction": "capture"},
    }  # what b's users write stays there
    b.execute("INSERT INTO t VALUES (50, NULL, 'p', NULL, 1)")
    world.start()
    a.execute("INSERT INTO t VALUES (1, 'e', 'p', NULL, 1)")
    await_parked(world, 0, 1)
    (first,) = parked(world, "--reveal")
    words, held = lines_of(first)
    assert held == {"phone": "row id=50"}
    b.execute("DELETE FROM t")
    b.execute("INSERT INTO t VALUES (51, NULL, 'p', NULL, 1)")
    assert world.command("parked", "retry", first["id"]).returncode == 0
    await_that(
        lambda: lines_of(parked(world, "--reveal")[0]) == (words, {"phone": "row id=51"}),
        message=lambda: f"the record names the row that is there now: {parked(world, '--reveal')}",
    )
    (second,) = parked(world, "--reveal")
    assert (second["id"], second["since"], second["key"]) == (first["id"], first["since"], first["key"])
    b.execute("DELETE FROM t")
    assert world.command("parked", "retry").returncode == 0
    await_parked(world, 0, 0)
    assert b.rows() == {1: ("e", "p", None, 1)}
