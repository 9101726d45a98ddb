"""What the demo's coffee business knows, in no channel's own words: members, orders, stock. Pure.

The workload makes these, `cdc.demo.expectation` says how each of the three systems writes them down, and the verdict compares. Shares
nothing with the product's data dictionary, on purpose: a mistake there must not be repeated here.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

SideName: TypeAlias = Literal["website", "miniapp", "crm"]
SIDES: tuple[SideName, ...] = ("website", "miniapp", "crm")


class Level(Enum):
    BASIC = "basic"
    SILVER = "silver"
    GOLD = "gold"


class Status(Enum):
    PENDING = "pending"
    PAID = "paid"
    SHIPPED = "shipped"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Member:
    """`mobile`: eleven digits. `points`: never negative. `joined`: an aware instant of whole milliseconds."""

    mobile: str
    nickname: str | None
    level: Level
    points: int
    birthday: dt.date | None
    joined: dt.datetime


@dataclass(frozen=True, slots=True)
class Order:
    """`mobile`: the member's. `paid`: an aware instant, None until then."""

    number: str
    mobile: str
    status: Status
    cents: int
    paid: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Stock:
    sku: str
    quantity: int


Thing: TypeAlias = Member | Order | Stock
Kind: TypeAlias = type[Member] | type[Order] | type[Stock]
KINDS: tuple[Kind, ...] = (Member, Order, Stock)


@dataclass(frozen=True, slots=True)
class Key:
    """Which thing: its kind and its natural key in the business's neutral form."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.__name__.lower()} {self.name}"


def key_of(thing: Thing) -> Key:
    match thing:
        case Member():
            return Key(Member, thing.mobile)
        case Order():
            return Key(Order, thing.number)
        case Stock():
            return Key(Stock, thing.sku)


@dataclass(frozen=True, slots=True)
class Step:
    """One row change: insert (`after` alone), update, delete (`before` alone), or an update that changes nothing.

    `key` finds the row; an update whose `after` has another key moves it there (a member's new phone number).
    """

    key: Key
    before: Thing | None
    after: Thing | None

    @property
    def changes_nothing(self) -> bool:
        return self.before == self.after

    @property
    def new_key(self) -> Key | None:
        """The key that the row has afterwards, where it is another one."""
        there = None if self.after is None else key_of(self.after)
        return None if there == self.key else there


Transaction: TypeAlias = tuple[Step, ...]
