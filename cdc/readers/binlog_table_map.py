"""TABLE_MAP events: the layout of a table as the log itself gives it (binlog_row_metadata=FULL). Pure. Guards I6 (TRAPS.md P5).

Names, signs, character sets and labels come from the event only, so events before an ALTER decode with the old layout. Formats:
MySQL's Table_map_event and its optional metadata fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cdc.readers import binlog_types as types
from cdc.readers.binlog_events import exactly, length_encoded
from cdc.readers.binlog_text import decode_text
from cdc.readers.binlog_types import Form, LogColumn
from transforms.mysql_charsets import CHARSETS
from transforms.tables import Engine, Table

SIGNEDNESS, DEFAULT_CHARSET, COLUMN_CHARSET, COLUMN_NAME, SET_LABELS, ENUM_LABELS = 1, 2, 3, 4, 5, 6
PRIMARY_KEY, PRIMARY_KEY_PREFIX, LABELS_DEFAULT_CHARSET, LABELS_CHARSET = 8, 9, 10, 11
_COLUMNS_LIMIT: Final = 4096


class TableName(NamedTuple):
    table_id: int
    schema: str
    table: str
    end: int  # where the columns start in the body


@dataclass(frozen=True, slots=True)
class TableMap:
    """`has_names` is False where the log was written with less than binlog_row_metadata=FULL, `has_signs` with NO_LOG too.

    `has_sizes` is False where a time in MariaDB's old format may have any.
    """

    schema: str
    name: str
    columns: tuple[LogColumn, ...]
    has_names: bool
    primary_key: tuple[str, ...]
    has_signs: bool = True
    has_sizes: bool = True

    @property
    def is_whole(self) -> bool:
        return self.has_names and self.has_sizes

    def table(self, engine: Engine) -> Table:
        return Table(self.schema, self.name, tuple(c.column(engine) for c in self.columns), self.primary_key)


@dataclass(slots=True)
class _Metadata:
    """The optional fields; lists run over the columns of the kind that a field is about."""

    unsigned: bytes = b""
    names: list[str] = field(default_factory=list)
    charsets: dict[int, list[int]] = field(default_factory=dict)  # by field
    defaults: dict[int, tuple[int, dict[int, int]]] = field(default_factory=dict)  # by field
    labels: dict[int, list[list[bytes]]] = field(default_factory=dict)  # by field
    key: list[int] = field(default_factory=list)


def table_name(body: bytes) -> TableName:
    """The head of a TABLE_MAP body alone: cheap, for tables that nobody wants."""
    at = 8
    size = body[at]
    schema = exactly(body, at + 1, size).decode("utf-8")
    at += size + 2
    size = body[at]
    return TableName(
        int.from_bytes(body[:6], "little"), schema, exactly(body, at + 1, size).decode("utf-8"), at + size + 2
    )


def table_map(body: bytes, collations: Mapping[int, str], engine: Engine = "mysql") -> TableMap:
    """Parse a TABLE_MAP body; `collations` maps collation ids to character sets. Raises one of MALFORMED.

    The engines differ in which columns have a character set in the metadata: for MariaDB, geometry has one too.
    """
    name = table_name(body)
    count, at = length_encoded(body, name.end)
    if not 1 <= count <= _COLUMNS_LIMIT:
        raise ValueError(f"{count} columns")
    codes = exactly(body, at, count)
    size, at = length_encoded(body, at + count)
    forms = _forms(codes, exactly(body, at, size))
    at += size
    nullable = exactly(body, at, (count + 7) // 8)
    meta = _optional_metadata(body, at + (count + 7) // 8)
    if meta.names and len(meta.names) != count:
        raise ValueError(f"{len(meta.names)} names for {count} columns")
    unsigned = _unsigned(forms, meta)
    charsets = _charsets(forms, meta, collations, engine)
    labels = {types.ENUM: iter(meta.labels.get(ENUM_LABELS, [])), types.SET: iter(meta.labels.get(SET_LABELS, []))}
    columns = []
    for i, shape in enumerate(forms):
        charset = charsets[i]
        raw = next(labels[shape.code], None) if shape.code in labels else None
        columns.append(
            LogColumn(
                name=meta.names[i] if meta.names else f"@{i + 1}",
                code=shape.code,
                length=shape.length,
                precision=shape.precision,
                scale=shape.scale,
                unsigned=unsigned[i],
                charset=charset,
                labels=_labels(raw, charset),
                nullable=bool(nullable[i >> 3] >> (i & 7) & 1),
                size=shape.size,
                prefix=shape.prefix,
            )
        )
    key = tuple(columns[i].name for i in meta.key) if meta.names else ()
    return TableMap(
        schema=name.schema,
        name=name.table,
        columns=tuple(columns),
        has_names=bool(meta.names),
        primary_key=key,
        has_signs=bool(meta.unsigned) or not any(shape.code in types.NUMERIC for shape in forms),
        has_sizes=engine == "mysql" or not any(shape.code in types.OLD_TIMES for shape in forms),
    )


def _forms(codes: bytes, metadata: bytes) -> list[Form]:
    forms, at = [], 0
    for code in codes:
        size = types.metadata_size(code)
        forms.append(types.form(code, exactly(metadata, at, size)))
        at += size
    if at != len(metadata):
        raise ValueError(f"{len(metadata)} bytes of metadata, {at} needed")
    return forms


def _optional_metadata(body: bytes, at: int) -> _Metadata:
    meta = _Metadata()
    while at < len(body):
        kind = body[at]
        size, at = length_encoded(body, at + 1)
        data = exactly(body, at, size)
        at += size
        if kind == SIGNEDNESS:
            meta.unsigned = data
        elif kind in (DEFAULT_CHARSET, LABELS_DEFAULT_CHARSET):
            default, *pairs = _integers(data)
            meta.defaults[kind] = (default, dict(zip(pairs[::2], pairs[1::2], strict=True)))
        elif kind in (COLUMN_CHARSET, LABELS_CHARSET):
            meta.charsets[kind] = _integers(data)
        elif kind == COLUMN_NAME:
            meta.names = [name.decode("utf-8") for name in _strings(data, None)]
        elif kind in (ENUM_LABELS, SET_LABELS):
            meta.labels[kind] = _label_lists(data)
        elif kind == PRIMARY_KEY:
            meta.key = _integers(data)
        elif kind == PRIMARY_KEY_PREFIX:
            meta.key = _integers(data)[::2]
    return meta


def _integers(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = length_encoded(data, at)
        found.append(value)
    return found


def _strings(data: bytes, count: int | None, at: int = 0) -> list[bytes]:
    found: list[bytes] = []
    while at < len(data) and (count is None or len(found) < count):
        size, at = length_encoded(data, at)
        found.append(exactly(data, at, size))
        at += size
    return found


def _label_lists(data: bytes) -> list[list[bytes]]:
    lists, at = [], 0
    while at < len(data):
        count, at = length_encoded(data, at)
        labels = _strings(data, count, at)
        if len(labels) != count:
            raise ValueError("labels are missing")
        at += sum(len(label) + (1 if len(label) < 251 else 3) for label in labels)
        lists.append(labels)
    return lists


def _unsigned(forms: list[Form], meta: _Metadata) -> list[bool]:
    """A bit for each number; both servers count YEAR as one."""
    numeric = [i for i, shape in enumerate(forms) if shape.code in types.NUMERIC or shape.code == types.YEAR]
    if meta.unsigned and len(meta.unsigned) != (len(numeric) + 7) // 8:
        raise ValueError("signs are missing")
    unsigned = [False] * len(forms)
    for bit, i in enumerate(numeric):
        if meta.unsigned and forms[i].code in types.NUMERIC:
            unsigned[i] = bool(meta.unsigned[bit >> 3] & (0x80 >> (bit & 7)))
    return unsigned


def _charsets(forms: list[Form], meta: _Metadata, collations: Mapping[int, str], engine: Engine) -> list[str | None]:
    counted = types.CHARACTER | {types.GEOMETRY} if engine == "mariadb" else types.CHARACTER
    texts = [i for i, s in enumerate(forms) if s.code in counted]
    labelled = [i for i, s in enumerate(forms) if s.code in (types.ENUM, types.SET)]
    charsets: list[str | None] = [None] * len(forms)
    for columns, default, each in (
        (texts, DEFAULT_CHARSET, COLUMN_CHARSET),
        (labelled, LABELS_DEFAULT_CHARSET, LABELS_CHARSET),
    ):
        ids: list[int] = []
        if default in meta.defaults:
            usual, others = meta.defaults[default]
            ids = [others.get(k, usual) for k in range(len(columns))]
        elif each in meta.charsets:
            ids = meta.charsets[each]
        if ids and len(ids) != len(columns):
            raise ValueError("character sets are missing")
        for i, collation in zip(columns, ids, strict=False):
            if forms[i].code != types.GEOMETRY:
                charsets[i] = collations.get(collation, f"of collation {collation}")
    return charsets


def _labels(raw: list[bytes] | None, charset: str | None) -> tuple[str, ...] | None:
    """None where they cannot be text: the column is refused where it is mapped, and nobody reads them else."""
    if raw is None or charset not in CHARSETS:
        return None
    try:
        return tuple(decode_text(label, charset) for label in raw)
    except UnicodeDecodeError:
        return None
