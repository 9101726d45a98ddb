"""How each of the demo's three systems writes a thing down, said a second time and by hand. Pure. Guards I3 and I6.

This is the check's own conversion: it imports nothing of transforms, config, sinks or the engine, so that a mistake in the
product's mapping code cannot hide in the check as well. It follows the comments in config/examples/coffee.*.sql.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from cdc.demo.business import Key, Kind, Level, Member, Order, SideName, Status, Stock, Thing

Value: TypeAlias = str | int | Decimal | dt.date | dt.datetime | None
Row: TypeAlias = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of one side; `columns[0]` is its key."""

    name: str
    columns: tuple[str, ...]


TABLES: Final[Mapping[tuple[SideName, Kind], Table]] = {
    ("website", Member): Table("members", ("mobile", "nick_name", "vip", "score", "birthday", "created_at")),
    ("website", Order): Table("orders", ("order_no", "member_mobile", "state", "amount_text", "paid_at")),
    ("website", Stock): Table("stock", ("sku", "quantity")),
    ("miniapp", Member): Table("users", ("phone", "nickname", "level", "points", "birthday", "created")),
    ("miniapp", Order): Table("orders", ("number", "user_phone", "status", "amount_cents", "paid_at")),
    ("miniapp", Stock): Table("inventory", ("item", "stock")),
    ("crm", Member): Table("customers", ("tel", "name", "grade", "credit", "born", "since")),
    ("crm", Order): Table("sales", ("sale_no", "customer_tel", "phase", "total", "paid")),
    ("crm", Stock): Table("goods", ("code", "on_hand")),
}

_1970: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SHANGHAI: Final = dt.timezone(dt.timedelta(hours=8))  # no daylight saving since 1991
_LEVELS: Final[Mapping[SideName, Mapping[Level, Value]]] = {
    "website": {Level.BASIC: 0, Level.SILVER: 1, Level.GOLD: 2},
    "miniapp": {Level.BASIC: "basic", Level.SILVER: "silver", Level.GOLD: "gold"},
    "crm": {Level.BASIC: "B", Level.SILVER: "S", Level.GOLD: "G"},
}
_STATES: Final[Mapping[SideName, tuple[Value, ...]]] = {  # in the order of Status
    "website": ("待支付", "已支付", "已发货", "已完成", "已取消"),
    "miniapp": (0, 1, 2, 3, 4),
    "crm": ("PENDING", "PAID", "SHIPPED", "COMPLETED", "CANCELLED"),
}


def row(side: SideName, thing: Thing) -> Row:
    """The row that `side` holds for a thing, in the order of the table's columns, as a driver reads it."""
    match thing:
        case Member(mobile, nickname, level, points, birthday, joined):
            return (phone(side, mobile), nickname, _LEVELS[side][level], points, birthday, _joined(side, joined))
        case Order(number, mobile, status, cents, paid):
            state = _STATES[side][list(Status).index(status)]
            return (number, phone(side, mobile), state, _amount(side, cents), _paid(side, paid))
        case Stock(sku, quantity):
            return (sku, quantity)


def key_value(side: SideName, key: Key) -> str:
    """What the key column of `side` holds for a key."""
    return phone(side, key.name) if key.kind is Member else key.name


def phone(side: SideName, mobile: str) -> str:
    match side:
        case "website":
            return f"{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}"
        case "miniapp":
            return f"+86{mobile}"
        case "crm":
            return f"+86 {mobile[:3]} {mobile[3:7]} {mobile[7:]}"


def _amount(side: SideName, cents: int) -> Value:
    sign, (yuan, rest) = "-" if cents < 0 else "", divmod(abs(cents), 100)
    match side:
        case "website":
            return f"{sign}{yuan}.{rest:02d}元"
        case "miniapp":
            return cents
        case "crm":
            return Decimal(f"{sign}{yuan}.{rest:02d}")


def _joined(side: SideName, joined: dt.datetime) -> Value:
    match side:
        case "website":
            return _naive(joined, _SHANGHAI)
        case "miniapp":
            return joined
        case "crm":
            return (joined - _1970) // dt.timedelta(milliseconds=1)


def _paid(side: SideName, paid: dt.datetime | None) -> Value:
    if paid is None:
        return None
    match side:
        case "website":
            return _naive(paid, _SHANGHAI)
        case "miniapp":
            return paid
        case "crm":
            return _naive(paid, dt.UTC)


def _naive(instant: dt.datetime, zone: dt.timezone) -> dt.datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def thing(side: SideName, kind: Kind, found: Row) -> Thing:
    """Read a row of `side` back: the inverse of `row`. Raises ValueError where the business has no such thing."""
    if kind is Stock:
        sku, quantity = found
        return Stock(str(sku), _number(quantity))
    if kind is Order:
        number, tel, state, amount, paid = found
        return Order(str(number), _mobile(tel), _status(side, state), _cents(side, amount), _instant(side, paid))
    tel, nickname, level, points, birthday, joined = found
    if isinstance(joined, int):
        joined = _1970 + dt.timedelta(milliseconds=joined)
    return Member(
        _mobile(tel),
        None if nickname is None else str(nickname),
        next(name for name, code in _LEVELS[side].items() if code == level),
        _number(points),
        birthday if isinstance(birthday, dt.date) else None,
        _instant(side, joined) or _1970,
    )


def _number(value: Value) -> int:
    return int(str(value))


def _mobile(value: Value) -> str:
    return str(value).removeprefix("+86").replace(" ", "").replace("-", "")


def _status(side: SideName, state: Value) -> Status:
    return list(Status)[_STATES[side].index(state)]


def _cents(side: SideName, amount: Value) -> int:
    return _number(amount) if side == "miniapp" else int(Decimal(str(amount).removesuffix("元")) * 100)


def _instant(side: SideName, value: Value) -> dt.datetime | None:
    if not isinstance(value, dt.datetime):
        return None
    if value.tzinfo is not None:
        return value.astimezone(dt.UTC)
    return value.replace(tzinfo=_SHANGHAI if side == "website" else dt.UTC).astimezone(dt.UTC)
