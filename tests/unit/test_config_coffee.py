"""The example that the demo runs: it loads, all fifteen mappings fit their tables, and values mean the same on all three sides."""

# ruff: noqa: DTZ001 - wall clock times without a zone are part of the subject

from __future__ import annotations

import datetime as dt
import decimal
import re
from pathlib import Path

import pytest

import config
from config.load import load
from transforms import compile_mapping
from transforms.tables import Column, ColumnType, Table

EXAMPLES = Path(config.__file__).parent / "examples"
ENVIRONMENT = {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "DATONG_STORE": "sqlite:///datong.db",
    "DATONG_ADMIN_LISTEN": "127.0.0.1:8080",
    "DATONG_ADMIN_TOKEN": "token",
    **{f"{channel}_PASSWORD": "p@ss/word" for channel in ("WEBSITE", "MINIAPP", "CRM")},
    **{f"{channel}_PORT": "3306" for channel in ("WEBSITE", "MINIAPP")},
    "CRM_PORT": "3307",
}
UTC = dt.UTC
D = decimal.Decimal


def maria(name, **options):
    return ColumnType("mariadb", name, **options)


def postgres(name, **options):
    return ColumnType("postgresql", name, **options)


def text(length):
    return maria("varchar", length=length, charset="utf8mb4")


TABLES = {
    "website.members": {
        "mobile": text(20), "nick_name": text(64), "vip": maria("tinyint"), "score": maria("int"), "birthday": maria("date"),
        "created_at": maria("datetime", scale=3),
    },
    "website.orders": {
        "order_no": text(32), "member_mobile": text(20), "state": text(16), "amount_text": text(32),
        "paid_at": maria("datetime", scale=6),
    },
    "website.stock": {"sku": text(32), "quantity": maria("int")},
    "miniapp.users": {
        "phone": postgres("text"), "nickname": postgres("text"), "level": postgres("text"), "points": postgres("int8"),
        "birthday": postgres("date"), "created": postgres("timestamptz", scale=3),
    },
    "miniapp.orders": {
        "number": postgres("text"), "user_phone": postgres("text"), "status": postgres("int2"),
        "amount_cents": postgres("int8"), "paid_at": postgres("timestamptz", scale=6),
    },
    "miniapp.inventory": {"item": postgres("text"), "stock": postgres("int4")},
    "crm.customers": {
        "tel": text(24), "name": text(64), "grade": maria("char", length=1), "credit": maria("decimal", precision=12, scale=0),
        "born": maria("date"), "since": maria("bigint"),
    },
    "crm.sales": {
        "sale_no": text(32), "customer_tel": text(24), "phase": text(16), "total": maria("decimal", precision=12, scale=2),
        "paid": maria("timestamp", scale=6),
    },
    "crm.goods": {"code": text(32), "on_hand": maria("int")},
    "website.subscribers": {"id": maria("int"), "mobile": text(20), "nick": text(64)},
    "website.visits": {"visit_no": text(32), "subscriber_id": maria("int"), "spent": maria("int")},
    "miniapp.fans": {"uid": postgres("int8"), "phone": postgres("text"), "nickname": postgres("text")},
    "miniapp.checkins": {"number": postgres("text"), "fan": postgres("int8"), "cents": postgres("int4")},
    "crm.contacts": {"contact_no": maria("bigint"), "tel": text(24), "name": text(64)},
    "crm.calls": {"call_no": text(32), "contact": maria("bigint"), "amount": maria("int")},
}  # fmt: skip

MEMBER = {
    "website.members": ("138-0013-8000", "小明☕", 2, 120, dt.date(1990, 2, 28), dt.datetime(2024, 5, 1, 8, 0, 0, 123000)),
    "miniapp.users": (
        "+8613800138000", "小明☕", "gold", 120, dt.date(1990, 2, 28), dt.datetime(2024, 5, 1, 0, 0, 0, 123000, UTC),
    ),
    "crm.customers": ("+86 138 0013 8000", "小明☕", "G", D(120), dt.date(1990, 2, 28), 1714521600123),
}  # fmt: skip
ORDER = {
    "website.orders": ("A-1", "138-0013-8000", "已支付", "19.90元", dt.datetime(2024, 5, 2, 9, 30, 0, 5)),
    "miniapp.orders": ("A-1", "+8613800138000", 1, 1990, dt.datetime(2024, 5, 2, 1, 30, 0, 5, UTC)),
    "crm.sales": ("A-1", "+86 138 0013 8000", "PAID", D("19.90"), dt.datetime(2024, 5, 2, 1, 30, 0, 5, UTC)),
}
UNPAID = {
    "website.orders": ("A-2", "138-0013-8000", "待支付", "0.00元", None),
    "miniapp.orders": ("A-2", "+8613800138000", 0, 0, None),
    "crm.sales": ("A-2", "+86 138 0013 8000", "PENDING", D("0.00"), None),
}
STOCK = {"website.stock": ("BEAN", -3), "miniapp.inventory": ("BEAN", -3), "crm.goods": ("BEAN", -3)}


@pytest.fixture(scope="module")
def compiled():
    configuration = load(EXAMPLES / "coffee.yaml", ENVIRONMENT)
    made = {}
    for name, spec in configuration.mappings.items():
        columns = tuple(Column(column, kind) for column, kind in TABLES[name].items())
        table = Table("x", spec.table, columns, (columns[0].name,))
        made[name] = compile_mapping(spec, table, capture=True, apply=True)
    return made


def test_the_example_maps_fifteen_tables_both_ways(compiled):
    assert set(compiled) == set(TABLES)
    assert all(mapping.spec.captures and mapping.spec.applies and mapping.spec.enabled for mapping in compiled.values())
    own_keys = {name for name, mapping in compiled.items() if mapping.spec.entity.identity is not None}
    assert own_keys == {"website.subscribers", "miniapp.fans", "crm.contacts"}
    for name, mapping in compiled.items():
        assert len(mapping.columns) == len(TABLES[name]) - (name in own_keys), "only a person's own key is not mapped"


@pytest.mark.parametrize("rows", [MEMBER, ORDER, UNPAID, STOCK], ids=["member", "order", "unpaid", "stock"])
def test_one_thing_means_the_same_on_all_sides(compiled, rows):
    dictionary = []
    for name, row in rows.items():
        by_column = dict(zip(TABLES[name], row, strict=True))
        dictionary.append({codec.field: codec.decode(by_column[codec.column]) for codec in compiled[name].columns})
    assert dictionary[0] == dictionary[1] == dictionary[2]
    for name, row in rows.items():
        by_column = dict(zip(TABLES[name], row, strict=True))
        for codec in compiled[name].columns:
            written = codec.encode(dictionary[0][codec.field])
            assert written == by_column[codec.column]
            assert type(written) is type(by_column[codec.column])


@pytest.mark.parametrize("channel", ["website", "miniapp", "crm"])
def test_the_sql_beside_it_makes_those_very_tables(channel):
    sql = (EXAMPLES / f"coffee.{channel}.sql").read_text(encoding="utf-8")
    made = {
        table: [line.split()[0] for line in body.strip().splitlines()]
        for table, body in re.findall(r"CREATE TABLE (\w+) \(\n(.*?)\n\)", sql, re.DOTALL)
    }
    assert made == {
        name.partition(".")[2]: list(columns) for name, columns in TABLES.items() if name.startswith(channel)
    }
