"""Keys that servers make up themselves: two channels must not give one number to two rows (CASES.md K10). Pure. Guards I3 and I6.

Two rows of one number are parked where the other one is, or (`bookkeeping: none`) become one. What keeps channels apart is taken from the servers: increments with
different offsets, or ranges. Where people are identified, keys are translated, and nothing is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from cdc.doctor.facts import MySQLFacts, Numbers, ServerFacts, Wish
from cdc.doctor.finding import Finding
from cdc.doctor.mysql_facts import steps_by_cluster
from cdc.doctor.mysql_settings import set_global
from cdc.foreign_keys import TableName
from cdc.quoting import literal, quote
from transforms.specs import ColumnSpec, MappingSpec

_CLUSTER: Final = (
    "this cluster gives its nodes steps of its own: SET GLOBAL wsrep_auto_increment_control = OFF on each of them, then an "
    "increment as large as all nodes of all channels together, and an offset of its own for each"
)


@dataclass(frozen=True, slots=True)
class _Numbered:
    """A mapped column that a channel's server numbers."""

    wish: Wish
    facts: ServerFacts
    mapping: MappingSpec
    column: ColumnSpec
    numbers: Numbers

    @property
    def table(self) -> TableName:
        return self.wish.name_of(self.mapping)

    @property
    def makes_keys(self) -> bool:
        """Whether a row that is made here takes its number to the other channels as its key."""
        entity = self.mapping.entity
        of_key = self.column.field in entity.key and self.column.column in self.mapping.key
        return of_key and entity.identity is None and self.mapping.captures

    @property
    def field(self) -> tuple[str, str]:
        return self.mapping.entity.name, self.column.field

    def shares(self, other: _Numbered) -> bool:
        """Whether both are the same field, of different channels."""
        return self.field == other.field and self.wish.channel != other.wish.channel

    def meets(self, other: _Numbered) -> bool:
        """Whether both give the same number to different rows."""
        alike = self.shares(other) and self.column.transforms == other.column.transforms
        return alike and self.numbers.meets(other.numbers)


def check_generated_keys(wishes: Sequence[Wish], servers: Mapping[str, ServerFacts]) -> Iterator[Finding]:
    """Channels that would give one key to two rows, and sequences behind the rows that were written past them."""
    numbered = [found for wish in wishes if wish.channel in servers for found in _numbered(wish, servers[wish.channel])]
    making = [found for found in numbered if found.makes_keys]
    fields = {one.field for one, other in combinations(making, 2) if one.meets(other)}
    concerned = [one for one in making if one.field in fields]
    channels = list(dict.fromkeys(one.wish.channel for one in making))
    for one in concerned:
        yield _meeting(one, channels, [other for other in concerned if one.shares(other)])
    for one in numbered:
        # Where every channel has numbers of its own, what others wrote is not in the way.
        shared = one.makes_keys and any(one.shares(other) for other in making)
        if one.numbers.behind and one.mapping.applies and not shared:
            yield _behind(one)


def _numbered(wish: Wish, facts: ServerFacts) -> Iterator[_Numbered]:
    for mapping in wish.mappings:
        table = facts.tables.get(wish.name_of(mapping))
        numbers = table.numbers if table is not None else {}
        for column in mapping.columns:
            if column.column in numbers:
                yield _Numbered(wish, facts, mapping, column, numbers[column.column])


def _meeting(one: _Numbered, channels: Sequence[str], others: Sequence[_Numbered]) -> Finding:
    count, place = len(channels), channels.index(one.wish.channel) + 1
    column = one.column.column
    path = f"mappings.{one.mapping.name}.key"
    listed = ", ".join(dict.fromkeys(other.wish.channel for other in others))
    return one.wish.finding(
        "GENERATED_KEYS",
        "warning",
        f"{one.table[0]}.{one.table[1]} numbers {column} by itself, and so does {listed}: two new rows of "
        f"{one.mapping.entity.name} get the same key, and each waits for an operator where the other is (conflict) or is taken for it - give each channel numbers of its own",
        [
            *_apart(one, count, place, others),
            f"{path}: or a key that no server numbers (a UUID, a number of the business)",
        ],
        path=path,
    )


def _apart(one: _Numbered, count: int, place: int, others: Sequence[_Numbered]) -> list[str]:
    """The statements that give this channel every `count`th number, beginning with `place`."""
    if isinstance(one.facts, MySQLFacts):
        if any(_server(other) == _server(one) for other in others):
            return [f"channels.{one.wish.channel}: a server of its own, as these numbers are set per server"]
        if steps_by_cluster(one.facts.variables):
            return [_CLUSTER]
        return [
            *set_global(one.facts, "auto_increment_increment", str(count)),
            *set_global(one.facts, "auto_increment_offset", str(place)),
            "then let the application connect again: a session keeps the increment that it began with",
        ]
    if one.numbers.sequence is None:
        return []
    sequence, table = quote("postgresql", *one.numbers.sequence), quote("postgresql", *one.table)
    column = quote("postgresql", one.column.column)
    # Behind whatever was given out, also to other tables or to rows that are gone.
    highest = f"greatest((SELECT max({column}) FROM {table})::bigint, (SELECT last_value FROM {sequence}))"
    upcoming = f"{highest} / {count} * {count} + {count + place}"
    return [
        f"ALTER SEQUENCE {sequence} INCREMENT BY {count};",
        f"SELECT setval({literal(sequence)}, {upcoming}, false);",
    ]


def _server(one: _Numbered) -> str:
    return one.facts.identity.rpartition("/")[0]


def _behind(one: _Numbered) -> Finding:
    assert one.numbers.sequence is not None
    sequence, table = quote("postgresql", *one.numbers.sequence), quote("postgresql", *one.table)
    column, step = quote("postgresql", one.column.column), one.numbers.step
    state = f"SELECT last_value + ((SELECT max({column}) FROM {table})::bigint - last_value + {step - 1}) / {step} * {step} FROM {sequence}"
    top = f"SELECT max({column}) FROM {table}" if step == 1 else state
    return one.wish.finding(
        "SEQUENCE_BEHIND",
        "warning",
        f"sequence {'.'.join(one.numbers.sequence)} is behind {one.table[0]}.{one.table[1]}.{one.column.column}: what is applied brings its own "
        "numbers and does not move it, so that a row made here fails as a duplicate - move it before this database takes writes of its own",
        [f"SELECT setval({literal(sequence)}, ({top}));"],
        path=f"mappings.{one.mapping.name}.columns.{one.column.column}",
    )
