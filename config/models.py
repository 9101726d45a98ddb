"""The configuration's schema, complete: every key that the file may hold, its type and its default. Guards I9: no repr holds a secret.

What is not built yet is in the schema all the same, and refused by `config.checks` with a sentence that says so: a key is never
ignored. Unknown keys are errors.
"""

from __future__ import annotations

import decimal
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_core import to_jsonable_python

from config.values import (
    DatabaseUrl,
    Scalar,
    Seconds,
    Size,
    TransformStep,
    parse_bound,
    parse_database_url,
    parse_redis_url,
    parse_store_url,
    split_listen,
)
from transforms.specs import Direction, EntitySpec, FieldTypeName, IdentifierKind, MappingSpec, Moment
from transforms.tables import Engine

ServiceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
EntityName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
MappingName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
ColumnName = Annotated[str, Field(min_length=1, max_length=128)]
PositiveInt = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)


class TlsConfig(Section):
    """PEM files. The server's certificate is verified against `ca`, its name against the host; `cert` and `key` are ours."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _both(self) -> TlsConfig:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together")
        return self


class RedisConfig(Section):
    """`url`: default redis://127.0.0.1:6379/0. With `tls` the connection is encrypted and verified."""

    url: Annotated[SecretStr, BeforeValidator(parse_redis_url)] = SecretStr("redis://127.0.0.1:6379/0")
    tls: TlsConfig | None = None

    @model_validator(mode="after")
    def _encrypted(self) -> RedisConfig:
        url = self.url.get_secret_value()
        if self.tls is not None and url.startswith("redis://"):
            object.__setattr__(self, "url", SecretStr("rediss://" + url.removeprefix("redis://")))
        return self


class StoreConfig(Section):
    """The hub store. `url`: sqlite:///var/datong.db by default, postgresql://... where several machines share it.

    `key` (16 characters or more) seals identifiers at rest. `cache` (100000): how many people each process, and Redis, remembers.
    """

    url: Annotated[SecretStr, BeforeValidator(parse_store_url)] = SecretStr("sqlite:///var/datong.db")
    key: SecretStr | None = None
    cache: PositiveInt = 100_000


class AdminConfig(Section):
    """`listen`: default 127.0.0.1:8080. Without a `token` only loopback is allowed. `public_metrics`: /metrics without the token."""

    listen: str = "127.0.0.1:8080"
    token: SecretStr | None = None
    public_metrics: bool = False

    @field_validator("listen")
    @classmethod
    def _address(cls, written: str) -> str:
        split_listen(written)
        return written

    @field_validator("token")
    @classmethod
    def _empty_is_none(cls, written: SecretStr | None) -> SecretStr | None:
        return written if written is not None and written.get_secret_value() else None

    @property
    def host(self) -> str:
        return split_listen(self.listen)[0]

    @property
    def port(self) -> int:
        return split_listen(self.listen)[1]


class ApplyConfig(Section):
    """`max_transaction_rows` (10000): a larger source transaction is applied in pieces."""

    max_transaction_rows: PositiveInt = 10_000


class ChangeLogConfig(Section):
    """`kind`: redis. `max_bytes` (1GiB): shared by all streams; a full one makes its capture wait."""

    kind: Literal["redis", "kafka"] = "redis"
    max_bytes: Annotated[Size, Field(ge=1024 * 1024)] = 1024**3


class MaxBehindConfig(Section):
    """A channel that is further behind is detached: `bytes` (20GiB), `hours` (48)."""

    bytes: Annotated[Size, Field(gt=0)] = 20 * 1024**3
    hours: Annotated[float, Field(gt=0)] = 48.0


class HealthConfig(Section):
    """`max_lag` (60s): degraded above it. `hung_after` (30s): a role without a beat is replaced. `stop_within` (10s): then killed."""

    max_lag: Annotated[Seconds, Field(gt=0)] = 60.0
    hung_after: Annotated[Seconds, Field(gt=0)] = 30.0
    stop_within: Annotated[Seconds, Field(gt=0)] = 10.0


class ChannelConfig(Section):
    """One business system's database. `time_zone` (UTC): what its zone-less datetimes mean. `bookkeeping`: table or none."""

    url: Annotated[DatabaseUrl, BeforeValidator(parse_database_url)]
    time_zone: str = "UTC"
    bookkeeping: Literal["table", "none"] = "table"
    tls: TlsConfig | None = None

    @property
    def engine(self) -> Engine:
        return self.url.engine

    @property
    def host(self) -> str:
        return self.url.host

    @property
    def port(self) -> int:
        return self.url.port

    @property
    def user(self) -> str:
        return self.url.user

    @property
    def password(self) -> SecretStr:
        return self.url.password

    @property
    def database(self) -> str:
        return self.url.database


class IdentityConfig(Section):
    """Who a row is about. `by`: fields, strongest first. `block`: values that identify nobody. `max_rows`: of more rows with one
    identifier it identifies nobody. `scope`: field -> the field that its value is unique within. `kinds`: field -> phone, email or
    verbatim, where its name does not tell. `region` (CN): of phone numbers without a country.
    """

    by: list[FieldName] = Field(min_length=1)
    block: list[str] = []
    max_rows: PositiveInt | None = None
    scope: dict[FieldName, FieldName] = {}
    kinds: dict[FieldName, IdentifierKind] = {}
    region: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "CN"

    @field_validator("block", mode="before")
    @classmethod
    def _as_text(cls, written: object) -> object:
        """A number that was written without quotes is what was written."""
        return [str(v) if isinstance(v, int) else v for v in written] if isinstance(written, list) else written


Identity = Annotated[
    Annotated[list[FieldName], Field(min_length=1), Tag("[list]")] | Annotated[IdentityConfig, Tag("[long]")],
    Discriminator(lambda written: "[long]" if isinstance(written, dict | IdentityConfig) else "[list]"),
]
Policy = Literal["latest", "priority", "max", "min", "manual"]


class FieldConfig(Section):
    """One field of the dictionary; what its constraints refuse is parked, never bent."""

    type: FieldTypeName
    required: bool = False
    max_length: Annotated[int, Field(ge=1)] | None = None
    minimum: decimal.Decimal | Moment | None = None
    maximum: decimal.Decimal | Moment | None = None
    pattern: str | None = None
    values: list[str] | None = None
    precision: Annotated[int, Field(ge=1, le=1000)] | None = None
    scale: Annotated[int, Field(ge=0, le=1000)] | None = None
    to: str | None = None
    merge: Literal["sum"] | None = None
    on_conflict: Policy | None = None
    owner: str | None = None

    @field_validator("values", mode="before")
    @classmethod
    def _as_text(cls, written: object) -> object:
        """An unquoted number or boolean among the values is the word that it was written as."""
        if not isinstance(written, list):
            return written
        words = {True: "true", False: "false"}
        return [words[v] if isinstance(v, bool) else str(v) if isinstance(v, int | float) else v for v in written]

    @field_validator("minimum", "maximum", mode="plain")
    @classmethod
    def _bound(cls, written: object, info: ValidationInfo) -> object:
        return parse_bound(written, info.data.get("type"))

    @field_serializer("minimum", "maximum", when_used="json")
    def _written_bound(self, bound: object) -> object:
        """As it is by default, which warns where a plain validator made the value."""
        return to_jsonable_python(bound)


class EntityConfig(Section):
    """A thing that the dictionary names, with its key and fields."""

    key: list[FieldName] = []
    identity: Identity | None = None
    fields: dict[FieldName, FieldConfig] = Field(min_length=1)


class ColumnConfig(Section):
    """A column's field and the transforms on the way there. `column: field` is the short form."""

    field: str
    transforms: list[TransformStep] = Field(default=[], repr=False)  # parameters may hold keys (I9)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, written: object) -> object:
        return {"field": written} if isinstance(written, str) else written


class SetValues(Section):
    set: dict[ColumnName, Scalar] = Field(min_length=1)


OnDelete = Annotated[
    Annotated[Literal["propagate", "ignore"], Tag("[word]")] | Annotated[SetValues, Tag("[set]")],
    Discriminator(lambda written: "[set]" if isinstance(written, dict | SetValues) else "[word]"),
]


class MappingConfig(Section):
    """A table of a channel, its entity, and which column is which field.

    `match` (people): unique columns by which a row that is there already is found before one is created.
    """

    channel: str
    table: Annotated[str, Field(min_length=1, max_length=193)]
    entity: str
    enabled: bool = True
    direction: Direction = "both"
    key: list[ColumnName] | None = None
    match: list[ColumnName] = []
    columns: dict[ColumnName, ColumnConfig] = Field(min_length=1)
    on_insert: dict[ColumnName, Scalar] = {}
    where: dict[ColumnName, Scalar] = {}
    on_delete: OnDelete = "propagate"
    on_error: Literal["park", "halt"] = "park"
    on_truncate: Literal["halt", "ignore"] = "halt"


class ConflictsConfig(Section):
    """`policy` (latest) for fields without their own; `priority`: channels, strongest first, which also breaks ties."""

    policy: Policy = "latest"
    priority: list[str] = []


class Document(Section):
    """The whole file. `heartbeat` (1s): how often an idle channel says how far it is."""

    version: Literal[1]
    deployment: ServiceName
    redis: RedisConfig = RedisConfig()
    store: StoreConfig = StoreConfig()
    admin: AdminConfig = AdminConfig()
    apply: ApplyConfig = ApplyConfig()
    change_log: ChangeLogConfig = ChangeLogConfig()
    max_behind: MaxBehindConfig = MaxBehindConfig()
    health: HealthConfig = HealthConfig()
    heartbeat: Annotated[Seconds, Field(ge=0.1)] = 1.0
    channels: dict[ServiceName, ChannelConfig] = Field(min_length=1)
    entities: dict[EntityName, EntityConfig] = Field(min_length=1)
    mappings: dict[MappingName, MappingConfig] = Field(min_length=1)
    conflicts: ConflictsConfig = ConflictsConfig()


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that has passed every check. `files` are the secret files that it was read from."""

    document: Document
    specs: tuple[MappingSpec, ...]
    dictionary: tuple[EntitySpec, ...]
    files: frozenset[Path] = frozenset()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def deployment(self) -> str:
        return self.document.deployment

    @property
    def redis(self) -> RedisConfig:
        return self.document.redis

    @property
    def store(self) -> StoreConfig:
        return self.document.store

    @property
    def admin(self) -> AdminConfig:
        return self.document.admin

    @property
    def apply(self) -> ApplyConfig:
        return self.document.apply

    @property
    def change_log(self) -> ChangeLogConfig:
        return self.document.change_log

    @property
    def max_behind(self) -> MaxBehindConfig:
        return self.document.max_behind

    @property
    def health(self) -> HealthConfig:
        return self.document.health

    @property
    def heartbeat(self) -> float:
        return self.document.heartbeat

    @property
    def conflicts(self) -> ConflictsConfig:
        return self.document.conflicts

    @property
    def channels(self) -> dict[str, ChannelConfig]:
        return self.document.channels

    @property
    def mappings(self) -> dict[str, MappingSpec]:
        return {spec.name: spec for spec in self.specs}

    def entities(self) -> dict[str, EntitySpec]:
        return {entity.name: entity for entity in self.dictionary}

    def mappings_of(self, channel: str) -> list[MappingSpec]:
        """Return every mapping of a channel, enabled or not, in the file's order."""
        return [spec for spec in self.specs if spec.channel == channel]

    @property
    def revision(self) -> str:
        """Names this state of everything that decides what a row becomes; the same in every process."""
        part = {
            "entities": {name: entity.model_dump(mode="json") for name, entity in self.document.entities.items()},
            "mappings": {name: _plain(mapping) for name, mapping in self.document.mappings.items()},
            "conflicts": self.document.conflicts.model_dump(mode="json"),
            "zones": {name: channel.time_zone for name, channel in self.document.channels.items()},
        }
        return hashlib.sha256(msgspec.json.encode(part, order="deterministic")).hexdigest()[:16]


def _plain(mapping: MappingConfig) -> dict[str, Any]:
    """Transform parameters may have keys of any kind; written out they are text."""
    plain = mapping.model_dump(mode="python")
    plain["columns"] = {name: repr(column) for name, column in plain["columns"].items()}
    return plain
