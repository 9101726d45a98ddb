"""A configuration is read whole or refused whole, with every problem, its path, and no secret."""

from __future__ import annotations

import datetime as dt
import time
from decimal import Decimal

import pytest

from config.load import ConfigurationRefused, load, parse
from tests.unit.configurations import ENVIRONMENT, SMALL


def problems(text, environment=ENVIRONMENT):
    with pytest.raises(ConfigurationRefused) as refused:
        parse(text, environment)
    assert all("\n" not in line and "pydantic" not in line for line in map(str, refused.value.problems))
    return [str(problem) for problem in refused.value.problems]


def bent(*changes):
    text = SMALL
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    return text


def test_a_configuration_offers_what_the_engine_asks_for(tmp_path):
    file = tmp_path / "datong.yaml"
    file.write_text(SMALL)
    configuration = load(file, ENVIRONMENT)
    shop = configuration.channels["shop"]
    assert (shop.engine, shop.host, shop.port, shop.user, shop.database) == (
        "mysql",
        "127.0.0.1",
        3306,
        "datong",
        "shop",
    )
    assert shop.password.get_secret_value() == ENVIRONMENT["SHOP_PASSWORD"]
    assert configuration.channels["mini"].port == 5432
    assert [spec.name for spec in configuration.mappings_of("shop")] == ["shop.orders"]
    assert configuration.mappings["shop.orders"].key == ("no", "pos")
    assert configuration.mappings["shop.orders"].time_zone == "Asia/Shanghai"
    mini = configuration.mappings["mini.orders"]
    assert (mini.schema, mini.table, mini.captures, mini.applies) == ("sales", "orders", True, True)
    order = configuration.entities()["order"]
    assert [f.name for f in order.fields if f.required] == ["order_no", "line"]
    assert configuration.apply.max_transaction_rows == 10_000
    assert configuration.change_log.max_bytes == 1024**3
    assert (configuration.admin.host, configuration.admin.port, configuration.admin.token) == ("127.0.0.1", 8080, None)
    assert configuration.health.max_lag == 60


def test_people_and_references_to_them_are_refused_in_an_sqlite_file_and_references_to_keys_are_not():
    to_file = ("mysql://datong:${SHOP_PASSWORD}@127.0.0.1:3306/shop", "sqlite:///var/shop.db")
    one_way = ("table: orders\n", "table: orders\n    direction: apply\n")
    people = ("key: [order_no, line]", "identity: [order_no]")
    assert problems(bent(to_file, one_way, people)) == [
        "mappings.shop.orders.entity: people are not written into an SQLite file (channel shop)"
    ]
    field = ("line: {type: integer}", "line: {type: integer}\n      buyer: {type: reference, to: buyer}")
    column = ("no: order_no", "no: order_no\n      buyer_id: buyer")
    buyer = "entities:\n  buyer:\n    %s: [phone]\n    fields: {phone: {type: text}}\n"
    to_key, to_people = (
        bent(to_file, one_way, field, column, ("entities:\n", buyer % kind)) for kind in ("key", "identity")
    )
    assert parse(to_key, ENVIRONMENT).channels["shop"].engine == "sqlite"
    (problem,) = problems(to_people)
    assert problem.startswith(
        "mappings.shop.orders.columns.buyer_id: refers to people, whom an SQLite file does not hold"
    )


def test_nothing_secret_is_in_a_repr():
    configuration = parse(bent(("deployment: small", "deployment: small\nadmin: {token: canary-token}")), ENVIRONMENT)
    assert "canary" not in repr(configuration)
    assert {"canary-token", ENVIRONMENT["SHOP_PASSWORD"]} <= configuration.secrets


def test_the_revision_names_the_mappings_and_nothing_else():
    revision = parse(SMALL, ENVIRONMENT).revision
    assert parse(SMALL, {"SHOP_PASSWORD": "other"}).revision == revision
    assert (
        parse(bent(("deployment: small", "deployment: small\nhealth: {max_lag: 5s}")), ENVIRONMENT).revision == revision
    )
    assert parse(bent(("1: paid", "2: paid")), ENVIRONMENT).revision != revision
    assert parse(bent(("enabled: true", "enabled: false")), ENVIRONMENT).revision != revision


def test_bounds_of_every_kind_are_exact_and_part_of_the_revision():
    """Warnings are errors here: pydantic wrote one into the service's log for each bound."""
    bounds = {
        "integer": ("7", Decimal(7)),
        "decimal": ("10.50", Decimal("10.50")),
        "date": ("2026-11-22", dt.date(2026, 11, 22)),
        "time": ("'10:11:12.5'", dt.time(10, 11, 12, 500_000)),
        "datetime": ("'2026-11-22T10:11:12'", dt.datetime(2026, 11, 22, 10, 11, 12)),  # noqa: DTZ001 - has no zone
        "instant": ("'2026-11-22T10:11:12+08:00'", dt.datetime(2026, 11, 22, 2, 11, 12, tzinfo=dt.UTC)),
        "duration": ("'25:00:00'", dt.timedelta(hours=25)),
    }
    revisions = {parse(SMALL, ENVIRONMENT).revision}
    for kind, (written, exact) in bounds.items():
        field = f"line: {{type: integer}}\n      bounded: {{type: {kind}, maximum: {written}}}"
        configuration = parse(bent(("line: {type: integer}", field)), ENVIRONMENT)
        found = configuration.document.entities["order"].fields["bounded"].maximum
        assert (type(found), found) == (type(exact), exact)
        revisions.add(configuration.revision)
    assert len(revisions) == 1 + len(bounds)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            ("field: status", "field: sttus"),
            "mappings.shop.orders.columns.state: no field 'sttus' in entity 'order' - did you mean 'status'?",
        ),
        (("time_zone:", "timezone:"), "channels.shop.timezone: unknown key 'timezone' - did you mean 'time_zone'?"),
        (("Asia/Shanghai", "Asia/Shangai"), "channels.shop.time_zone: there is no time zone 'Asia/Shangai'"),
        (("channel: shop", "channel: shp"), "mappings.shop.orders.channel: no channel 'shp' - did you mean 'shop'?"),
        (("entity: order ", "entity: oder "), "mappings.shop.orders.entity: no entity 'oder' - did you mean 'order'?"),
        (("type: integer", "type: intger"), "did you mean 'integer'?"),
        (("pos: line", "pos: order_no"), "mappings.shop.orders.columns.no: field 'order_no' is mapped by column pos already"),
        (("      pos: line\n", ""), "mappings.shop.orders.columns: no column is mapped to 'line', which is in the key"),
        (("[order_no, line]", "[]"), "entities.order.key: is missing"),
        (("[order_no, line]", "[order_no, lin]"), "entities.order.key: no field 'lin' in entity 'order' - did you mean 'line'?"),
        (("version: 1", "version: 2"), "version: must be 1"),
        (("deployment: small", "deployment: Small Shop"), "deployment: is not a name that is allowed here"),
        (("table: orders", "table: a.b.c"), "mappings.shop.orders.table: 'a.b.c' is not a table's name"),
        (("enum: {0: pending, 1: paid}", "enm: {0: pending}"), "no transform 'enm' - did you mean 'enum'?"),
        (("1: paid", "1: payed"), "mappings.shop.orders.columns.state: transform enum gives 'payed', which is not among"),
        (("[{enum: {0: pending, 1: paid}}]", "[lower]"), "transform lower has no way back"),
        (("[{enum: {0: pending, 1: paid}}]", "[encrypt]"), "transform encrypt needs a parameter"),
        (("[{enum: {0: pending, 1: paid}}]", "[{prefix: a, suffix: b}]"), "each transform is a name"),
        (("mysql://", "oracle://"), "channels.shop.url: the URL must begin with mysql://"),
        (("mysql://datong:${SHOP_PASSWORD}@127.0.0.1:3306/shop", "sqlite://"), "channels.shop.url: sqlite needs a file and nothing else"),
        (("mysql://datong:${SHOP_PASSWORD}@127.0.0.1:3306/shop", "sqlite:///var/shop.db"),
         "mappings.shop.orders.direction: must be apply: channel 'shop' is an SQLite file, which has no log to capture from"),
        (("mysql://datong:${SHOP_PASSWORD}@127.0.0.1:3306/shop", "sqlite:///var/shop.db\n    bookkeeping: none"),
         "channels.shop.bookkeeping: must be table: an SQLite file has no log that could carry our record"),
        (("/shop ", "/shop?ssl=1&x=2 "), "channels.shop.url: the URL has options (ssl, x), which are not supported: use tls"),
        (("/shop ", " "), "channels.shop.url: the URL must end with one database name"),
        (("datong:${SHOP_PASSWORD}@", ""), "channels.shop.url: the URL names no user"),
        (("3306", "port"), "channels.shop.url: not a valid URL"),
        (("mysql://datong:${SHOP_PASSWORD}@127.0.0.1:3306/shop", "postgresql://x@localhost:5432/mini"), "is the same database"),
        (("deployment: small", "deployment: small\nadmin: {listen: '0.0.0.0:80'}"), "admin.token: is needed"),
        (("deployment: small", "deployment: small\nadmin: {listen: nowhere}"), "admin.listen: not an address"),
        (("deployment: small", "deployment: small\nchange_log: {max_bytes: lots}"), "change_log.max_bytes: not a size"),
        (("deployment: small", "deployment: small\nchange_log: {kind: kafka}"), "kafka is not built yet"),
        (("deployment: small", "deployment: small\nstore: {url: mysql://x}"), "store.url: the URL must begin with sqlite://"),
        (("deployment: small", "deployment: small\nstore: {key: abc}"), "store.key: has fewer than 16 characters"),
        (("deployment: small", "deployment: small\nredis: {url: http://x}"), "redis.url: the URL must begin with redis://"),
        (("deployment: small", "deployment: small\nconflicts: {policy: max}"), "policy max is not built yet"),
        (("deployment: small", "deployment: small\nconflicts: {priority: [x]}"), "conflicts.priority: no channel 'x'"),
        (("key: [order_no, line]", "key: [line]\n    identity: [order_no]"), "entities.order.key: has no place beside identity"),
        (("key: [order_no, line]", "identity: []"), "entities.order.identity: must not be empty"),
        (("key: [order_no, line]", "identity: 5"), "entities.order.identity: must be a list"),
        (("key: [order_no, line]", "identity: {by: [order_no], blok: []}"), "entities.order.identity.blok: unknown key 'blok' - did you mean 'block'?"),
        (("key: [order_no, line]", "identity: [ordr_no]"), "entities.order.identity: no field 'ordr_no' in this entity - did you mean 'order_no'?"),
        (("key: [order_no, line]", "identity: {by: [order_no], scope: {line: state}}"), "entities.order.identity.scope: 'line' is none of the identifying fields"),
        (("key: [order_no, line]", "identity: {by: [order_no], kinds: {order_no: telex}}"), "entities.order.identity.kinds.order_no"),
        (("type: integer}", "type: integer, merge: sum}"), "fields.line.merge: is part of the entity's key"),
        (("type: integer}", "type: integer, owner: shop}"), "fields.line.owner: owner is not built yet"),
        (("type: integer}", "type: integer, on_conflict: max}"), "policy max is not built yet"),
        (("type: integer}", "type: reference, to: order}"), "entity 'order' has a key of 2 fields: a reference is one value"),
        (("type: integer}", "type: reference}"), "type reference needs `to`"),
        (("type: integer}", "type: reference, to: ordr}"), "no entity 'ordr' - did you mean 'order'?"),
        (("type: integer}", "type: integer, max_length: 3}"), "max_length has no meaning for type integer"),
        (("max_length: 32", "max_length: 32, pattern: '(a)\\1'"), r"fields.order_no: the pattern is refused at '\1': a back reference"),
        (("table: orders", "table: orders\n    on_insert: {state: 1}"), "on_insert.state: is mapped: its value comes from field"),
        (("table: orders", "table: orders\n    on_insert: {a: 1}\n    where: {a: 1}"), "on_insert.a: is in where, whose value"),
        (("table: orders", "table: orders\n    on_delete: sometimes"),
         "mappings.shop.orders.on_delete: must be 'propagate' or 'ignore' or {set: {column: value}}"),
        (("table: orders", "table: orders\n    on_delete: {st: {a: 1}}"),
         "mappings.shop.orders.on_delete.st: unknown key 'st' - did you mean 'set'?"),
        (("table: orders", "table: orders\n    on_delete: {set: 5}"), "mappings.shop.orders.on_delete.set: must hold keys and values"),
        (("table: orders", "table: orders\n    on_delete: {set: {no: 1}}"),
         "mappings.shop.orders.on_delete.set.no: is a column of the key, which names the row"),
        (("table: orders", "table: orders\n    where: {a: [1]}"), "mappings.shop.orders.where.a: must be a plain value: a text, a number"),
        (("[{enum: {0: pending, 1: paid}}]", "[5]"), "mappings.shop.orders.columns.state.transforms[0]: each transform is a name"),
        (("[{enum: {0: pending, 1: paid}}]", "[{mask: {fist: 1}}]"), "transform mask parameter fist: is not known"),
        (("[{enum: {0: pending, 1: paid}}]", "[{hash: {key: short}}]"), "transform hash parameter key: must have at least 32 characters"),
        (("[{enum: {0: pending, 1: paid}}]", "[{default: [1]}]"), "transform default parameter: must be a plain value"),
        (("[{enum: {0: pending, 1: paid}}]", "[{boolean: {true: Y, false: Y}}]"), "transform boolean has one spelling for both true and false"),
        (("[{enum: {0: pending, 1: paid}}]", "[{prefix: '${NOT_SET}'}]"),
         "mappings.shop.orders.columns.state.transforms[0].prefix: environment variable NOT_SET is not set"),
        (("table: orders", "table: orders\n    where: {a: 1}\n    on_delete: {set: {a: '1'}}"), "every row of this mapping would"),
        (("table: orders", "table: orders\n    key: [state]"), "mappings.shop.orders.key: must be the columns"),
        (("table: orders", "table: orders\n    tabel: x"), "unknown key 'tabel' - did you mean 'table'?"),
        (('channel: "mini"', "channel: shop"), "two mappings of one entity need where conditions that cannot both hold"),
        (("entity: order ", "entity: order\n    entity: order "), "mappings.shop.orders.entity (line 22): this key is there twice"),
        (("  mini.orders:", "  shop.orders:"), "mappings.shop.orders (line 27): this key is there twice"),
        (("version: 1", "version: [1"), "not valid YAML"),
        (("version: 1", "version: &a 1"), "line 2: anchors (&name) are not allowed here"),
        (("version: 1", "version: !!python/object:os.system 1"), "tags (!name) are not allowed here"),
        (("${SHOP_PASSWORD}", "${NOT_SET}"), "channels.shop.url: environment variable NOT_SET is not set"),
        (("${SHOP_PASSWORD}", "${file:/nowhere/x}"), "channels.shop.url: file /nowhere/x cannot be read"),
        (("${SHOP_PASSWORD}", "${SHOP"), "channels.shop.url: a ${ without its }"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_path(change, line):
    found = problems(bent(change))
    assert any(line in problem for problem in found), found
    assert len([problem for problem in found if line in problem]) == 1
    if ".identity: must" in line or ".transforms[" in line or ".on_delete:" in line or ".where" in line:
        assert len(found) == 1, found  # one mistake is one line
    assert "canary" not in " ".join(found)


def test_every_mistake_comes_at_once():
    found = problems(
        bent(
            ("version: 1", "version: 3"),
            ("time_zone:", "timezone:"),
            ("type: integer", "type: intger"),
            ("field: status", "field: sttus"),
            ("channel: shop", "channel: shp"),
            ("table: sales.orders", "table: ''"),
        )
    )
    assert len(found) == 6


@pytest.mark.parametrize(
    "text", ["", "# nothing", "just words", "- a\n- b", "a: b: c", "\x00", "[" * 500_000, "{a: " * 3000, "- " * 5000]
)
def test_what_is_no_configuration_is_refused_at_once(text):
    started = time.process_time()
    assert problems(text)
    assert time.process_time() - started < 5


def test_a_bomb_and_a_giant_are_refused(tmp_path):
    layers = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert any("not allowed here" in problem for problem in problems("\n".join(layers)))
    giant = tmp_path / "datong.yaml"
    giant.write_bytes(b"#" * (1024 * 1024 + 1))
    for path, said in ((giant, "larger than"), (tmp_path / "none", "cannot be read"), (tmp_path, "cannot be read")):
        with pytest.raises(ConfigurationRefused, match=said):
            load(path, {})
    giant.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationRefused, match="not UTF-8"):
        load(giant, {})


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("mysql://datong:${PW}@127.0.0.1:3306/shop", "p@ss:w/rd%41#?[]"),
        ("mysql://datong:a%40${PW}@127.0.0.1:3306/shop", "a@p@ss:w/rd%41#?[]"),
        ("mysql://datong:plain%2F@127.0.0.1:3306/shop", "plain/"),
        ("mysql://datong:$${PW}@127.0.0.1:3306/shop", "${PW}"),
        ("${URL}", "s@crêt"),
    ],
)
def test_a_password_may_hold_any_character(url, password):
    environment = {"PW": "p@ss:w/rd%41#?[]", "URL": "mysql://datong:s%40cr%C3%AAt@127.0.0.1:3306/shop"}
    channel = parse(bent(("mysql://datong:${SHOP_PASSWORD}@127.0.0.1:3306/shop", f'"{url}"')), environment).channels[
        "shop"
    ]
    assert channel.password.get_secret_value() == password
    assert (channel.user, channel.host, channel.port, channel.database) == ("datong", "127.0.0.1", 3306, "shop")


def test_redis_and_store_urls_keep_their_password_usable():
    text = bent(("deployment: small", "deployment: small\nredis: {url: 'redis://:${PW}@r:6379/0', tls: {ca: /ca.pem}}"))
    configuration = parse(text, ENVIRONMENT | {"PW": "a/b@c"})
    assert configuration.redis.url.get_secret_value() == "rediss://:a%2Fb%40c@r:6379/0"
    assert "a/b@c" in configuration.secrets


def test_a_secret_file_loses_one_newline(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("p w \n\n")
    configuration = parse(SMALL.replace("${SHOP_PASSWORD}", f"${{file:{secret}}}"), {})
    assert configuration.channels["shop"].password.get_secret_value() == "p w \n"
    assert configuration.files == {secret}


def test_what_a_variable_holds_is_never_read_as_yaml():
    text = bent(("deployment: small", "deployment: small\nadmin: {token: '${TOKEN}'}"))
    configuration = parse(text, ENVIRONMENT | {"TOKEN": "a: [b] # {c} ${SHOP_PASSWORD}"})
    assert configuration.admin.token.get_secret_value() == "a: [b] # {c} ${SHOP_PASSWORD}"


def test_hostile_expressions_are_only_text():
    text = bent(("enum: {0: pending, 1: paid}", "enum: {0: \"__import__('os').system('id')\"}"))
    assert any("not among the values" in problem for problem in problems(text))


def test_codes_with_leading_zeros_stay_codes():
    text = bent(("{0: pending, 1: paid}", "{01: pending, 02: paid}"))
    spec = parse(text, ENVIRONMENT).mappings["shop.orders"]
    assert spec.columns[2].transforms[0].parameter == {"01": "pending", "02": "paid"}


@pytest.mark.parametrize(
    ("size", "count"), [("1GiB", 2**30), ("500MB", 500_000_000), ("2097152", 2**21), ("1.5MiB", 1572864)]
)
def test_sizes(size, count):
    text = bent(("deployment: small", f"deployment: small\nchange_log: {{max_bytes: {size}}}"))
    assert parse(text, ENVIRONMENT).change_log.max_bytes == count
