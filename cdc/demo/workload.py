"""What the coffee business does all day: transactions, made from a seed. Pure: no database, no clock, no global chance.

Each side owns its keys, so no two sides ever change one thing (conflicts come later). A `Plan` is one side's present belief of its own
things; each call answers the next transaction, which the caller commits and then tells the plan. Values that hurt are part of it.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from cdc.demo.business import (
    SIDES,
    Key,
    Level,
    Member,
    Order,
    SideName,
    Status,
    Step,
    Stock,
    Thing,
    Transaction,
    key_of,
)

MEMBERS: Final = 200
ORDERS: Final = 300
SKUS: Final = 40

NAME_LENGTH: Final = 64  # of the nickname columns, in characters
NUMBER_LENGTH: Final = 32
SKU_LENGTH: Final = 32
# The first change of each side, never touched again: what is done to it shows to the end.
CANARY_NAME: Final = "金丝雀"
CANARY_POINTS: Final = 1000

_EPOCH: Final = dt.datetime(2025, 3, 1, tzinfo=dt.UTC)
_FAMILY_NAMES: Final = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
_GIVEN_NAMES: Final = (
    "伟",
    "芳",
    "娜",
    "敏",
    "静",
    "丽",
    "强",
    "磊",
    "洋",
    "艳",
    "子涵",
    "雨桐",
    "浩然",
    "欣怡",
    "梓萱",
    "俊杰",
)
_NICKNAMES: Final = (
    "咖啡不加糖",
    "Latte控",
    "早八人☕",
    "拿铁小姐",
    "Mocha_88",
    "爱喝美式",
    "熬夜冠军🏆",
    "Bean There",
)
_DRINKS: Final = (
    "LATTE",
    "MOCHA",
    "AMERICANO",
    "FLATWHITE",
    "COLDBREW",
    "MATCHA",
    "CORTADO",
    "OATMILK",
    "CROISSANT",
    "BAGEL",
)
_STATUSES: Final = tuple(Status)
_LEVELS: Final = tuple(Level)

HARD_NAMES: Final[tuple[str | None, ...]] = (
    None,
    "",
    " leading and trailing ",
    "NULL",
    "\\N",
    'it\'s "quoted" `here`',
    "back\\slash \\' \\\\ end\\",
    "percent %s %(x)s %%",
    "brace {0} ${HOME}",
    "tab\tnew\nline\r\nreturn",
    "; DROP TABLE members; --",
    "喝咖啡的猫🐱👩‍👩‍👧‍👦🇨🇳",
    "𠮷野家的𡈽",  # beyond the basic plane
    "é is not é",  # composed and decomposed
    "zero\u200bwidth\ufeff",
    "عربى עברית",
    "漢" * NAME_LENGTH,
    "😀" * NAME_LENGTH,
    "x" * NAME_LENGTH,
)
HARD_POINTS: Final = (0, 1, 2**31 - 1, 2**31 - 2)  # the website has an INT, and points are never negative
HARD_CENTS: Final = (0, 1, -1, 10, 99, 100, -1990, 999_999_999_999)
HARD_DAYS: Final = (None, dt.date(1900, 1, 1), dt.date(2000, 2, 29), dt.date(9999, 12, 31), dt.date(1970, 1, 1))
HARD_TIMES: Final = (
    dt.datetime(2024, 2, 29, 15, 59, 59, tzinfo=dt.UTC),
    dt.datetime(2024, 12, 31, 16, 0, 0, tzinfo=dt.UTC),  # midnight in Shanghai
    dt.datetime(2001, 9, 9, 1, 46, 40, tzinfo=dt.UTC),
    dt.datetime(2037, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
    dt.datetime(2025, 6, 18, 4, 5, 6, 123_000, tzinfo=dt.UTC),
)
HARD_PAYMENTS: Final = (*HARD_TIMES, dt.datetime(2025, 6, 18, 4, 5, 6, 654_321, tzinfo=dt.UTC))

T = TypeVar("T", Member, Order, Stock)


def seed_things() -> list[Thing]:
    """Equal content for all sides: members, orders, stock; the same every time. Every third thing is owned by the same side."""
    chance = random.Random("coffee")  # noqa: S311 - data, not a secret
    members = [_member(chance, side_of(i), i // 3) for i in range(MEMBERS)]
    orders = [_order(chance, side_of(i), i // 3, chance.choice(members)) for i in range(ORDERS)]
    stock = [Stock(_sku(side_of(i), i // 3), chance.randrange(20, 500)) for i in range(SKUS)]
    return [*members, *orders, *stock]


def side_of(number: int) -> SideName:
    return SIDES[number % len(SIDES)]


def owner_of(key: Key) -> SideName:
    """The side whose application makes, changes and removes this thing in the demo."""
    if key.kind is Member:
        return SIDES[int(key.name[2])]
    return {"W": SIDES[0], "M": SIDES[1], "C": SIDES[2]}[key.name[0]]


def marker_of(side: SideName) -> Key:
    """A seeded thing that no plan touches: the row whose changes are timed."""
    return Key(Stock, _sku(side, 0))


def is_canary(thing: Thing) -> bool:
    return isinstance(thing, Member) and thing.nickname == CANARY_NAME


def _member(chance: random.Random, side: SideName, number: int) -> Member:
    given = chance.choice(_GIVEN_NAMES)
    name = chance.choice((chance.choice(_FAMILY_NAMES) + given, chance.choice(_NICKNAMES)))
    birthday = dt.date(1960, 1, 1) + dt.timedelta(days=chance.randrange(16_000))
    joined = _EPOCH + dt.timedelta(seconds=chance.randrange(20_000_000))
    return Member(_mobile(side, number), name, chance.choice(_LEVELS), chance.randrange(3000), birthday, joined)


def _order(chance: random.Random, side: SideName, number: int, member: Member) -> Order:
    status = chance.choice(_STATUSES)
    paid = None if status in (Status.PENDING, Status.CANCELLED) else _instant(chance)
    return Order(_number(side, number), member.mobile, status, chance.randrange(10, 400) * 10, paid)


def _instant(chance: random.Random) -> dt.datetime:
    return _EPOCH + dt.timedelta(seconds=chance.randrange(40_000_000))


def _mobile(side: SideName, number: int) -> str:
    return f"13{SIDES.index(side)}{10_000_000 + number * 7919 % 90_000_000:08d}"


def _number(side: SideName, number: int) -> str:
    return f"{side[0].upper()}2025{number:08d}"


def _sku(side: SideName, number: int) -> str:
    return f"{side[0].upper()}-{_DRINKS[number % len(_DRINKS)]}-{number:03d}"


@dataclass(slots=True)
class Plan:
    """One side's own things and the chance that decides what happens to them next."""

    side: SideName
    chance: random.Random
    things: dict[Key, Thing] = field(default_factory=dict)
    made: int = 10_000  # numbers of new things; seeds lie below

    def __post_init__(self) -> None:
        self.things = {key_of(thing): thing for thing in seed_things() if owner_of(key_of(thing)) == self.side}
        del self.things[marker_of(self.side)]

    def done(self, transaction: Transaction) -> None:
        """Take up a transaction that was committed."""
        for step in transaction:
            self.things.pop(step.key, None)
            if step.after is not None and not is_canary(step.after):
                self.things[key_of(step.after)] = step.after

    def forget(self, transaction: Transaction) -> None:
        """Leave alone what a transaction was about that could not be committed: somebody else changed it."""
        for step in transaction:
            self.things.pop(step.key, None)
            if step.after is not None:
                self.things.pop(key_of(step.after), None)

    # -- one row

    def _next(self) -> int:
        self.made += 1
        return self.made

    def new_member(self, **given: object) -> Step:
        return _insert(replace(_member(self.chance, self.side, self._next()), **given))  # type: ignore[arg-type]

    def new_order(self, **given: object) -> Step:
        members = self._all(Member)
        order = _order(self.chance, self.side, self._next(), self.chance.choice(members))
        return _insert(replace(order, **{"status": Status.PENDING, "paid": None, **given}))  # type: ignore[arg-type]

    def new_stock(self, **given: object) -> Step:
        return _insert(replace(Stock(_sku(self.side, self._next()), self.chance.randrange(500)), **given))  # type: ignore[arg-type]

    def _all(self, kind: type[T]) -> list[T]:
        return [thing for thing in self.things.values() if isinstance(thing, kind)]

    def _pick(self, kind: type[T]) -> T:
        return self.chance.choice(self._all(kind))

    # -- what happens in a shop

    def shopping(self) -> Transaction:
        """An order is placed: the order, the stock it takes, in one transaction."""
        return (self.new_order(), self._sell())

    def payment(self) -> Transaction:
        """An order is paid, and the member earns points: two entities in one transaction."""
        waiting = [order for order in self._all(Order) if order.status is Status.PENDING]
        if not waiting:
            return self.shopping()
        order = self.chance.choice(waiting)
        paid = _change(order, status=Status.PAID, paid=_instant(self.chance))
        return (paid, self._earn())

    def shipping(self) -> Transaction:
        paid = [order for order in self._all(Order) if order.status in (Status.PAID, Status.SHIPPED)]
        if not paid:
            return self.payment()
        order = self.chance.choice(paid)
        after = Status.SHIPPED if order.status is Status.PAID else Status.COMPLETED
        return (_change(order, status=after),)

    def cancellation(self) -> Transaction:
        open_orders = [order for order in self._all(Order) if order.status in (Status.PENDING, Status.PAID)]
        if not open_orders:
            return self.shopping()
        return (_change(self.chance.choice(open_orders), status=Status.CANCELLED),)

    def tidying(self) -> Transaction:
        """A cancelled order is deleted."""
        cancelled = [order for order in self._all(Order) if order.status is Status.CANCELLED]
        return (_delete(self.chance.choice(cancelled)),) if cancelled else self.cancellation()

    def signing_up(self) -> Transaction:
        return (self.new_member(),)

    def renaming(self) -> Transaction:
        member = self._pick(Member)
        others = [name for name in (*_NICKNAMES, *_GIVEN_NAMES) if name != member.nickname]
        return (_change(member, nickname=self.chance.choice(others)),)

    def promotion(self) -> Transaction:
        member = self._pick(Member)
        return (_change(member, level=self.chance.choice([level for level in _LEVELS if level is not member.level])),)

    def restocking(self) -> Transaction:
        chosen = self.chance.sample(self._all(Stock), 3)
        return tuple(_change(stock, quantity=stock.quantity + self.chance.randrange(1, 60)) for stock in chosen)

    def leaving(self) -> Transaction:
        """A member leaves; the orders stay."""
        members = self._all(Member)
        return (_delete(self.chance.choice(members)),) if len(members) > 20 else self.signing_up()

    def _sell(self) -> Step:
        stock = self._pick(Stock)
        return _change(stock, quantity=stock.quantity - self.chance.randrange(1, 4))

    def _earn(self) -> Step:
        member = self._pick(Member)
        earned = self.chance.randrange(1, 50)
        return _change(member, points=member.points + (earned if member.points < 2**31 - 100 else -earned))

    # -- what hurts

    def hard_member(self) -> Transaction:
        member = self._pick(Member)
        changed = replace(
            member,
            nickname=self.chance.choice(HARD_NAMES),
            points=self.chance.choice(HARD_POINTS),
            birthday=self.chance.choice(HARD_DAYS),
            joined=self.chance.choice(HARD_TIMES),
        )
        return (Step(key_of(member), member, changed),) if changed != member else self.renaming()

    def hard_order(self) -> Transaction:
        paid = self.chance.choice((None, *HARD_PAYMENTS))
        return (self.new_order(cents=self.chance.choice(HARD_CENTS), status=self.chance.choice(_STATUSES), paid=paid),)

    def crowd(self) -> Transaction:
        """Many rows of all kinds in one transaction, some of them more than once."""
        steps: list[Step] = []
        for _ in range(self.chance.randrange(5, 40)):
            act = self.chance.choice((self.shopping, self.payment, self.signing_up, self.renaming, self.tidying))
            transaction = act()
            self.done(transaction)  # later steps build on earlier ones
            steps += transaction
        return tuple(steps)

    def anything(self) -> Transaction:
        """A random transaction, hard ones among them."""
        acts: Sequence[tuple[Callable[[], Transaction], int]] = (
            (self.shopping, 20), (self.payment, 16), (self.shipping, 14), (self.cancellation, 6), (self.tidying, 6),
            (self.signing_up, 10), (self.renaming, 8), (self.promotion, 5), (self.restocking, 5), (self.leaving, 3),
            (self.hard_member, 10), (self.hard_order, 6), (self.crowd, 4),
        )  # fmt: skip
        return self.chance.choices([act for act, _ in acts], [weight for _, weight in acts])[0]()

    def everyday(self) -> Transaction:
        """A random transaction as the interactive demo shows them."""
        acts: Sequence[tuple[Callable[[], Transaction], int]] = (
            (self.shopping, 24), (self.payment, 20), (self.shipping, 18), (self.cancellation, 5), (self.tidying, 5),
            (self.signing_up, 10), (self.renaming, 8), (self.promotion, 5), (self.restocking, 4), (self.leaving, 1),
        )  # fmt: skip
        return self.chance.choices([act for act, _ in acts], [weight for _, weight in acts])[0]()

    # -- what has to happen at least once, whatever the seed

    def script(self) -> Iterator[Transaction]:
        """Fixed acts. The caller commits each and calls `done` before it asks for the next."""
        yield (self.new_member(points=CANARY_POINTS, nickname=CANARY_NAME),)
        for name in HARD_NAMES:
            yield (self.new_member(nickname=name),)
        yield tuple(self.new_member(points=points) for points in HARD_POINTS)
        yield tuple(self.new_member(birthday=day) for day in HARD_DAYS)
        yield tuple(self.new_member(joined=time) for time in HARD_TIMES)
        yield tuple(
            self.new_order(cents=cents, status=status) for cents, status in zip(HARD_CENTS, 2 * _STATUSES, strict=False)
        )
        longest = f"{self.side[0].upper()}".ljust(NUMBER_LENGTH, "9")
        yield (self.new_order(number=longest), self.new_stock(sku=longest[:SKU_LENGTH], quantity=-7))
        yield self._one_row_again_and_again()
        yield self._gone_and_back()
        yield self._new_phone_number()
        yield self._nothing_new()
        yield tuple(self.new_stock() for _ in range(300))

    def _one_row_again_and_again(self) -> Transaction:
        """Made, changed twice, removed, made again - in one transaction."""
        made = self.new_stock(quantity=1)
        assert isinstance(made.after, Stock)
        two, three = replace(made.after, quantity=2), replace(made.after, quantity=3)
        return (
            made,
            Step(made.key, made.after, two),
            Step(made.key, two, three),
            Step(made.key, three, None),
            _insert(replace(three, quantity=4)),
        )

    def _gone_and_back(self) -> Transaction:
        order = self._pick(Order)
        return (_delete(order), _insert(replace(order, cents=(order.cents + 5) % 10_000_000)))

    def _new_phone_number(self) -> Transaction:
        member = self._pick(Member)
        return (_change(member, mobile=_mobile(self.side, self._next())),)

    def _nothing_new(self) -> Transaction:
        """An update to what is there already: PostgreSQL logs it, MariaDB does not, and nobody else may see it."""
        stock = self._pick(Stock)
        return (Step(key_of(stock), stock, stock), _change(self._pick(Order), cents=123_45))


def _insert(thing: Thing) -> Step:
    return Step(key_of(thing), None, thing)


def _delete(thing: Thing) -> Step:
    return Step(key_of(thing), thing, None)


def _change(thing: Thing, **values: object) -> Step:
    return Step(key_of(thing), thing, replace(thing, **values))  # type: ignore[arg-type]
