"""What an operator declared, as plain frozen data: entities, fields, mappings. `config` builds these from YAML.

They carry no pydantic and no file paths, so that compiling a mapping needs nothing but this floor.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from transforms.tables import Engine

FieldTypeName: TypeAlias = Literal[
    "text", "integer", "decimal", "float", "boolean", "date", "time", "datetime", "instant", "duration", "bytes",
    "json", "uuid", "enum", "set", "reference",
]  # fmt: skip
Moment: TypeAlias = dt.date | dt.time | dt.timedelta  # a datetime is a date
TIMES: Final = ("date", "time", "datetime", "instant", "duration")
Direction: TypeAlias = Literal["capture", "apply", "both"]


@dataclass(frozen=True, slots=True)
class FieldSpec:
    name: str
    type: FieldTypeName
    required: bool = False
    max_length: int | None = None
    minimum: decimal.Decimal | None = None
    maximum: decimal.Decimal | None = None
    earliest: Moment | None = None  # `minimum` and `maximum` of dates and times
    latest: Moment | None = None
    pattern: str | None = None
    values: tuple[str, ...] | None = None  # of enum and set
    precision: int | None = None
    scale: int | None = None
    to: str | None = None  # of reference: the entity
    merge: Literal["sum"] | None = None
    on_conflict: str | None = None
    owner: str | None = None


IdentifierKind: TypeAlias = Literal["phone", "email", "verbatim"]


@dataclass(frozen=True, slots=True)
class IdentitySpec:
    """Rows are people. `by`: the fields that identify one, strongest first; `kinds` says how each is brought to its one form.

    `block`: values that identify nobody, in any spelling. `max_rows`: more rows than that with one identifier, and it
    identifies nobody from then on. `scope`: per field the field that its value is unique within (an app id). `region`: of
    phone numbers that are written without a country.
    """

    by: tuple[str, ...]
    block: frozenset[str] = frozenset()
    max_rows: int | None = None
    scope: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, IdentifierKind] = field(default_factory=dict)
    region: str = "CN"

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that identifiers are made of, those of scopes included."""
        return tuple(dict.fromkeys((*self.by, *(self.scope[name] for name in self.by if name in self.scope))))


@dataclass(frozen=True, slots=True)
class EntitySpec:
    """With `identity` there is no `key`: a change's key is the person's OneID, and a row is found by its channel's own key."""

    name: str
    key: tuple[str, ...]
    fields: tuple[FieldSpec, ...]
    identity: IdentitySpec | None = None
    _by_name: dict[str, FieldSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {each.name: each for each in reversed(self.fields)})

    def field(self, name: str) -> FieldSpec | None:
        return self._by_name.get(name)


@dataclass(frozen=True, slots=True)
class TransformSpec:
    """One step of a column's transforms: its registered name and its parameter as written (None where it has none)."""

    name: str
    parameter: object = field(default=None, repr=False)  # it may hold a key (I9)


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    column: str
    field: str
    transforms: tuple[TransformSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class MappingSpec:
    name: str
    channel: str
    engine: Engine
    schema: str | None  # None: the connection's own database (MySQL) or `public`
    table: str
    entity: EntitySpec
    direction: Direction
    columns: tuple[ColumnSpec, ...]
    key: tuple[
        str, ...
    ]  # columns that find a row here, in the order of entity.key; people: any, empty for the primary key
    time_zone: str = "UTC"  # what this channel's zone-less datetimes mean
    enabled: bool = True
    on_error: Literal["park", "halt"] = "park"
    on_truncate: Literal["halt", "ignore"] = "halt"  # the table emptied without row events
    on_insert: Mapping[str, object] = field(default_factory=dict)
    where: Mapping[str, object] = field(default_factory=dict)
    on_delete: Literal["propagate", "ignore", "set"] = "propagate"
    deleted: Mapping[str, object] = field(default_factory=dict)  # of on_delete: {set: ...}
    routed: frozenset[str] = frozenset()  # fields that decide in some channel whether a row belongs there
    match: tuple[str, ...] = ()  # people: unique columns by which a row that is there already is found

    @property
    def captures(self) -> bool:
        return self.direction in ("capture", "both")

    @property
    def applies(self) -> bool:
        return self.direction in ("apply", "both")

    @property
    def counters(self) -> frozenset[str]:
        """The mapped fields that are added up (`merge: sum`)."""
        mapped = {column.field for column in self.columns}
        return frozenset(f.name for f in self.entity.fields if f.merge == "sum" and f.name in mapped)

    @property
    def read_columns(self) -> frozenset[str]:
        """The columns that a capture has to see."""
        return frozenset([*(column.column for column in self.columns), *self.key, *self.where, *self.deleted])

    @property
    def before_image_needs(self) -> tuple[str, ...]:
        """Why a capture needs the values from before a change, in the configuration's words; empty where it does not."""
        needs = []
        if self.where:
            needs.append("where")
        if self.deleted:
            needs.append("on_delete: {set: ...}")
        needs += [f"merge: sum of field {name}" for name in sorted(self.counters)]
        return tuple(needs)
