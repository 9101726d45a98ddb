"""The column types of the binary log: codes, how they lie in a row, what information_schema calls them. Pure. Guards I6.

A type that is not decoded still has a known length, so that columns around it decode; `LogColumn.refusal` names it where it is mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from transforms.mysql_charsets import CHARSETS, longest_character
from transforms.tables import Column, ColumnType, Engine

TINY, SHORT, LONG, FLOAT, DOUBLE, OLD_TIMESTAMP, LONGLONG, INT24, DATE = 1, 2, 3, 4, 5, 7, 8, 9, 10
OLD_TIME, OLD_DATETIME, YEAR, VARCHAR, BIT, TIMESTAMP, DATETIME, TIME = 11, 12, 13, 15, 16, 17, 18, 19
COMPRESSED_BLOB, COMPRESSED_VARCHAR, VECTOR, JSON, DECIMAL, ENUM, SET = 140, 141, 242, 245, 246, 247, 248
BLOB, VAR_STRING, STRING, GEOMETRY = 252, 253, 254, 255

INTEGERS: Final = {TINY: 1, SHORT: 2, INT24: 3, LONG: 4, LONGLONG: 8}
NUMERIC: Final = frozenset({*INTEGERS, FLOAT, DOUBLE, DECIMAL})
_BLOBS: Final = frozenset({BLOB, JSON, GEOMETRY, VECTOR, COMPRESSED_BLOB})
_FIXED: Final = {
    **INTEGERS, FLOAT: 4, DOUBLE: 8, OLD_TIMESTAMP: 4, DATE: 3, OLD_TIME: 3, OLD_DATETIME: 8, YEAR: 1,
}  # fmt: skip
_NAMES: Final = {
    TINY: "tinyint", SHORT: "smallint", INT24: "mediumint", LONG: "int", LONGLONG: "bigint", FLOAT: "float",
    DOUBLE: "double", DECIMAL: "decimal", YEAR: "year", DATE: "date", TIME: "time", DATETIME: "datetime",
    TIMESTAMP: "timestamp", OLD_TIMESTAMP: "timestamp", OLD_TIME: "time", OLD_DATETIME: "datetime", BIT: "bit",
    ENUM: "enum", SET: "set", JSON: "json", GEOMETRY: "geometry", VECTOR: "vector",
}  # fmt: skip
_BLOB_NAMES: Final = {1: "tiny", 2: "", 3: "medium", 4: "long"}
_PACKED_DIGITS: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)  # bytes that so many decimal digits take
OLD_TIMES: Final = frozenset({OLD_TIMESTAMP, OLD_TIME, OLD_DATETIME})
CHARACTER: Final = frozenset({STRING, VARCHAR, BLOB, COMPRESSED_BLOB, COMPRESSED_VARCHAR})  # have a character set
# Bytes of MariaDB's times before MySQL 5.6's format, by the digits of their fraction (sql/field.cc, `hires`).
_HIRES: Final = {
    OLD_TIMESTAMP: (4, 5, 5, 6, 6, 7, 7), OLD_TIME: (3, 4, 4, 5, 5, 5, 6), OLD_DATETIME: (8, 6, 6, 7, 7, 7, 8),
}  # fmt: skip
_OF_THE_CATALOG: Final = frozenset({"uuid", "inet4", "inet6", "binary", "char"})
COMPRESSED: Final = frozenset({COMPRESSED_BLOB, COMPRESSED_VARCHAR})  # MariaDB's


class UnknownTypeError(ValueError):
    """A column of a type that no server we know has: neither it nor what follows it can be found in a row."""


@dataclass(frozen=True, slots=True)
class LogColumn:
    """A column as a table map describes it. `length` in bytes; `scale` also counts a time type's fractional digits.

    `size` is its fixed length in a row; where None, `prefix` bytes of length stand before the value.
    """

    name: str
    code: int
    length: int = 0
    precision: int = 0
    scale: int = 0
    unsigned: bool = False
    charset: str | None = None
    labels: tuple[str, ...] | None = None
    nullable: bool = True
    size: int | None = None
    prefix: int = 0
    catalog_name: str | None = None  # what only the catalog knows: MariaDB's uuid looks like binary(16) in the log

    @property
    def is_text(self) -> bool:
        return self.code in CHARACTER

    @property
    def is_binary(self) -> bool:
        return self.is_text and self.charset == "binary"

    @property
    def type_name(self) -> str:
        if self.catalog_name is not None:
            return self.catalog_name
        if self.code in (VARCHAR, COMPRESSED_VARCHAR):
            return "varbinary" if self.is_binary else "varchar"
        if self.code == STRING:
            return "binary" if self.is_binary else "char"
        if self.code in (BLOB, COMPRESSED_BLOB):
            return _BLOB_NAMES[self.prefix] + ("blob" if self.is_binary else "text")
        return _NAMES.get(self.code, f"type {self.code}")

    @property
    def refusal(self) -> str | None:
        """Why it cannot be decoded yet, or None."""
        if self.code not in _DECODED:
            return self.type_name
        if self.catalog_name is not None and self.catalog_name not in _OF_THE_CATALOG:
            return self.catalog_name
        if (self.is_text or self.code in (ENUM, SET)) and self.charset not in CHARSETS:
            return f"{self.type_name} in character set {self.charset or 'unknown'}"
        if self.code in (ENUM, SET) and self.labels is None:
            return f"{self.type_name} whose labels are not text"
        return None

    def column(self, engine: Engine) -> Column:
        """The column in the form that the rest of the engine knows."""
        length = None
        if self.code in (VARCHAR, STRING, COMPRESSED_VARCHAR):
            length = (self.length - (self.code == COMPRESSED_VARCHAR)) // longest_character(self.charset or "binary")
        elif self.code == BIT:
            length = self.length
        kind = ColumnType(
            engine=engine,
            name=self.type_name,
            unsigned=self.unsigned,
            length=length,
            precision=self.precision if self.code == DECIMAL else None,
            scale=self.scale if self.code in (DECIMAL, TIME, DATETIME, TIMESTAMP, *OLD_TIMES) else None,
            charset=self.charset,
            labels=self.labels,
        )
        return Column(self.name, kind, nullable=self.nullable)


_DECODED: Final = frozenset({*_NAMES, VARCHAR, STRING, BLOB, COMPRESSED_BLOB, COMPRESSED_VARCHAR})


@dataclass(frozen=True, slots=True)
class Form:
    """What a type code and its metadata say of how the value lies in a row."""

    code: int
    length: int = 0
    precision: int = 0
    scale: int = 0
    size: int | None = None
    prefix: int = 0


def metadata_size(code: int) -> int:
    """How many bytes of a table map's metadata belong to a column of this code. Raises UnknownTypeError."""
    if code in _BLOBS or code in (FLOAT, DOUBLE, TIMESTAMP, DATETIME, TIME):
        return 1
    if code in (VARCHAR, COMPRESSED_VARCHAR, BIT, DECIMAL, VAR_STRING, STRING, ENUM, SET):
        return 2
    if code in _FIXED:
        return 0
    raise UnknownTypeError(f"column type {code} is unknown")


def form(code: int, meta: bytes) -> Form:
    """Raises ValueError where the metadata is not possible for the type."""
    if code in _FIXED:
        return Form(code, size=_FIXED[code])
    if code in _BLOBS:
        return _checked(Form(code, prefix=meta[0]), 1 <= meta[0] <= 4)
    if code in (VARCHAR, COMPRESSED_VARCHAR, VAR_STRING):
        length = meta[0] | meta[1] << 8
        return Form(VARCHAR if code == VAR_STRING else code, length=length, prefix=1 if length < 256 else 2)
    if code in (TIMESTAMP, DATETIME, TIME):
        whole = {TIMESTAMP: 4, DATETIME: 5, TIME: 3}[code]
        return _checked(Form(code, scale=meta[0], size=whole + (meta[0] + 1) // 2), meta[0] <= 6)
    if code == BIT:
        bits = meta[0] + 8 * meta[1]
        return _checked(Form(code, length=bits, size=(bits + 7) // 8), 1 <= bits <= 64 and meta[0] < 8)
    if code == DECIMAL:
        precision, scale = meta[0], meta[1]
        if not 1 <= precision <= 65 or not scale <= min(precision, 30):
            raise ValueError(f"decimal({precision},{scale})")
        return Form(
            code, precision=precision, scale=scale, size=sum(size for size, _ in decimal_parts(precision, scale))
        )
    return _string_form(meta[0] if code == STRING else code, meta)


def with_fraction(old: Form, digits: int) -> Form:
    """A time in MariaDB's old format with a fraction, of which the log says nothing."""
    return Form(old.code, scale=digits, size=_HIRES[old.code][digits])


def decimal_parts(precision: int, scale: int) -> list[tuple[int, int]]:
    """(bytes, digits) of each group of a packed decimal, the most significant first."""
    whole, left = divmod(precision - scale, 9)
    fraction, right = divmod(scale, 9)
    groups = [left, *[9] * (whole + fraction), right]
    return [(_PACKED_DIGITS[digits], digits) for digits in groups if digits]


def _string_form(real: int, meta: bytes) -> Form:
    """STRING's two bytes hold the real type, and, in two bits of it turned around, the length's bits above the eighth."""
    if real in (ENUM, SET):
        size = meta[1]
        return _checked(Form(real, size=size), 1 <= size <= (2 if real == ENUM else 8))
    length = meta[1]
    if real & 0x30 != 0x30:
        length |= ((real & 0x30) ^ 0x30) << 4
        real |= 0x30
    return _checked(Form(STRING, length=length, prefix=1 if length < 256 else 2), real == STRING)


def _checked(made: Form, possible: bool) -> Form:
    if not possible:
        raise ValueError(f"metadata of column type {made.code}")
    return made
