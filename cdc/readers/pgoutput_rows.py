"""Row messages of pgoutput -> tuples: a decoder is generated once for each layout, so that the hot path is one call a row. Pure.

Guards I6. The *fast* functions take it that every value has its usual form, and check that the row ends exactly where its message
does. Whatever they stumble over is read again by the *careful* one of the same layout, which knows what cannot be represented and
names the column of what is malformed: a `ProtocolError`, never an IndexError, a hang or a large allocation, and never with a value
of the row in it (I9). A column without a decoder is passed over, as ABSENT.

Format: PostgreSQL manual, "Logical Replication Message Formats": after the relation's OID, K, O or N with a tuple; a tuple is a
count, and for each column n (NULL), u (unchanged TOAST) or t with a length and that many bytes of text.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class with a name in lower case
from typing import Any, Final, TypeAlias

from cdc.readers.pgoutput import INSERT, MESSAGE_AT, UPDATE, ProtocolError, Relation
from cdc.readers.pgoutput_runs import COLUMNS, Column, Row, RunDecoder, by_value
from transforms.values import ABSENT, ChannelValue

Decode: TypeAlias = Callable[[bytes], ChannelValue]

_KEY_TUPLE: Final = ord("K")
_OLD_TUPLE: Final = ord("O")
_NEW_TUPLE: Final = ord("N")
_NULL: Final = ord("n")
_UNCHANGED: Final = ord("u")
_TEXT: Final = ord("t")
_TUPLE_AT: Final = 5  # after the message's kind and the relation's OID

_u16: Final = Struct(">H").unpack_from
_u32: Final = Struct(">I").unpack_from


class _Unusual(Exception):
    """A fast function met what only the careful one reads."""


class Inline:
    """A decoder that generated code spells out instead of calling: `expression` of the bytes `x`, and what must hold of `v`.

    What it cannot take it answers with any ValueError or LookupError, or a check that is false: the careful decoder is asked then.
    `column`: the same of many values, see `pgoutput_runs.COLUMNS`.
    """

    __slots__ = ("check", "column", "expression")

    def __init__(self, expression: str, check: str = "", column: Column | None = None) -> None:
        self.expression = expression
        self.check = check
        self.column = column


_INLINE: Final[dict[str, Inline]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), Inline("int(x)")),
    **dict.fromkeys(("float4", "float8"), Inline("float(x)")),
    **dict.fromkeys(("text", "varchar", "name", "citext"), Inline("x.decode()")),
    "bpchar": Inline('x.rstrip(b" ").decode()'),
    "bool": Inline("booleans[x]"),
    "numeric": Inline("Decimal(x.decode())", "v.is_finite()"),
    "date": Inline("date(x.decode())", "len(x) == 10"),
    "timestamp": Inline("moment(x.decode())", "len(x) > 10 and v.tzinfo is None"),
    "timestamptz": Inline("moment(x.decode())", "len(x) > 10 and v.tzinfo is UTC"),
}
INLINE: Final[dict[str, Inline]] = {
    name: Inline(said.expression, said.check, COLUMNS.get(name)) for name, said in _INLINE.items()
}
"""By pg_type.typname of the base type."""

_NAMES: Final[dict[str, Any]] = {
    "Decimal": Decimal, "date": dt.date.fromisoformat, "moment": dt.datetime.fromisoformat, "UTC": dt.UTC,
    "booleans": {b"t": True, b"f": False}, "ABSENT": ABSENT, "Unusual": _Unusual, "count_at": _u16, "length_at": _u32,
    "head_at": Struct(">BI").unpack_from,
}  # fmt: skip


class RowDecoder:
    """Decodes the row messages of one layout of one relation; `at` is the place of the message's kind.

    `inline` names, where known, how generated code spells a column's decoder out. `runs` decodes many messages of one kind at once.
    """

    __slots__ = (
        "_decoders", "_fast_delete", "_fast_insert", "_fast_update", "_key_decoders", "_name", "_names", "runs",
    )  # fmt: skip

    def __init__(
        self, relation: Relation, decoders: Sequence[Decode | None], inline: Sequence[Inline | None] | None = None
    ) -> None:
        self._name = f"{relation.schema}.{relation.name}"
        self._names = tuple(column.name for column in relation.columns)
        self._decoders = tuple(decoders)
        # In a key tuple the other columns come as NULL, which they are not.
        self._key_decoders = tuple(
            decode if column.is_key else None for column, decode in zip(relation.columns, decoders, strict=True)
        )
        code = _Code(self._decoders, inline or [None] * len(decoders))
        self._fast_insert = code.insert()
        self._fast_update = code.update()
        self._fast_delete = code.delete()
        self.runs = RunDecoder(list(map(_column, decoders, inline or [None] * len(decoders))), self.row)

    def row(self, kind: int, data: bytes, at: int = MESSAGE_AT) -> tuple[Row | None, Row | None]:
        """Before and after, of a message of any of the three kinds."""
        if kind == INSERT:
            return None, self.insert(data, at)
        if kind == UPDATE:
            return self.update(data, at)
        return self.delete(data, at), None

    def insert(self, data: bytes, at: int = MESSAGE_AT) -> Row:
        try:
            row: Row = self._fast_insert(data, at + _TUPLE_AT)
        except (_Unusual, ValueError, LookupError, ArithmeticError, StructError):
            return self._careful_insert(data, at)
        return row

    def update(self, data: bytes, at: int = MESSAGE_AT) -> tuple[Row | None, Row]:
        """Before (None where the log has none) and after.

        An unchanged TOAST value is not in the new tuple (TRAPS.md G8): filled from the old one where that is whole.
        """
        try:
            rows: tuple[Row | None, Row] = self._fast_update(data, at + _TUPLE_AT)
        except (_Unusual, ValueError, LookupError, ArithmeticError, StructError):
            return self._careful_update(data, at)
        return rows

    def delete(self, data: bytes, at: int = MESSAGE_AT) -> Row:
        try:
            row: Row = self._fast_delete(data, at + _TUPLE_AT)
        except (_Unusual, ValueError, LookupError, ArithmeticError, StructError):
            return self._careful_delete(data, at)
        return row

    def _careful_insert(self, data: bytes, at: int) -> Row:
        self._expect(data, at + _TUPLE_AT, _NEW_TUPLE)
        values, end = self._values(data, at + _TUPLE_AT + 1, self._decoders)
        self._expect_end(data, end)
        return tuple(values)

    def _careful_update(self, data: bytes, at: int) -> tuple[Row | None, Row]:
        at += _TUPLE_AT
        kind = data[at] if at < len(data) else 0
        old: list[ChannelValue] | None = None
        if kind == _KEY_TUPLE:
            old, at = self._values(data, at + 1, self._key_decoders)
        elif kind == _OLD_TUPLE:
            old, at = self._values(data, at + 1, self._decoders)
        self._expect(data, at, _NEW_TUPLE)
        new, end = self._values(data, at + 1, self._decoders)
        self._expect_end(data, end)
        if old is None:
            return None, tuple(new)
        if kind == _OLD_TUPLE and ABSENT in new:
            new = [before if value is ABSENT else value for before, value in zip(old, new, strict=True)]
        return tuple(old), tuple(new)

    def _careful_delete(self, data: bytes, at: int) -> Row:
        at += _TUPLE_AT
        kind = data[at] if at < len(data) else 0
        if kind not in {_KEY_TUPLE, _OLD_TUPLE}:
            raise ProtocolError(f"a DELETE of {self._name} holds no old tuple")
        values, end = self._values(data, at + 1, self._key_decoders if kind == _KEY_TUPLE else self._decoders)
        self._expect_end(data, end)
        return tuple(values)

    def _values(self, data: bytes, at: int, decoders: tuple[Decode | None, ...]) -> tuple[list[ChannelValue], int]:
        values: list[ChannelValue] = []
        add = values.append
        size = len(data)
        try:
            if _u16(data, at)[0] != len(decoders):
                raise ProtocolError(f"a row of {self._name} has {_u16(data, at)[0]} columns, not {len(decoders)}")
            at += 2
            for decode in decoders:
                kind = data[at]
                if kind == _TEXT:
                    start = at + 5
                    at = start + _u32(data, at + 1)[0]
                    if at > size:
                        raise ProtocolError(f"a row of {self._name} is cut short")
                    add(ABSENT if decode is None else decode(data[start:at]))
                elif kind == _NULL:
                    at += 1
                    add(ABSENT if decode is None else None)
                elif kind == _UNCHANGED:
                    at += 1
                    add(ABSENT)
                else:
                    raise ProtocolError(f"a row of {self._name} has a value of unknown kind {kind}")
        except (IndexError, StructError):
            raise ProtocolError(f"a row of {self._name} is cut short") from None
        except ValueError:
            # Without the cause: its text would quote the value (I9).
            raise ProtocolError(f"{self._name}.{self._names[len(values)]}: the value's text is malformed") from None
        return values, at

    def _expect(self, data: bytes, at: int, kind: int) -> None:
        if at >= len(data) or data[at] != kind:
            raise ProtocolError(f"a row message of {self._name} lacks its {chr(kind)} tuple")

    def _expect_end(self, data: bytes, at: int) -> None:
        if at != len(data):
            raise ProtocolError(f"a row message of {self._name} goes on after its last column")


class _Code:
    """Source text of the fast functions of one layout. Its parts are numbers and names of ours, never the log's text."""

    def __init__(self, decoders: Sequence[Decode | None], inline: Sequence[Inline | None]) -> None:
        self._decoders = decoders
        self._inline = inline
        self._names = {**_NAMES, **{f"decode{i}": decode for i, decode in enumerate(decoders)}}

    def insert(self) -> Callable[[bytes, int], Any]:
        return self._function(
            ["if data[at] != 78:", "    raise Unusual", *self._tuple("c"), f"return {self._row('c')}"]
        )

    def delete(self) -> Callable[[bytes, int], Any]:
        """Of a whole old tuple; one of the key alone is left to the careful function."""
        return self._function(
            ["if data[at] != 79:", "    raise Unusual", *self._tuple("c"), f"return {self._row('c')}"]
        )

    def update(self) -> Callable[[bytes, int], Any]:
        """With a whole old tuple, whose values are taken where the new bytes are the same, or with none."""
        both = [*self._tuple("o", last=False), "if data[at] != 78:", "    raise Unusual", *self._tuple("c", like="o")]
        lines = ["if data[at] == 79:", *_indented(both), f"    return {self._row('o')}, {self._row('c')}"]
        lines += ["if data[at] != 78:", "    raise Unusual", *self._tuple("c"), f"return None, {self._row('c')}"]
        return self._function(lines)

    def _function(self, body: list[str]) -> Callable[[bytes, int], Any]:
        exec("\n".join(["def decode(data, at):", *_indented(body)]), self._names)  # noqa: S102 - see the class
        made: Callable[[bytes, int], Any] = self._names["decode"]
        return made

    def _row(self, prefix: str) -> str:
        values = (f"{prefix}{i}" if decode is not None else "ABSENT" for i, decode in enumerate(self._decoders))
        return f"({', '.join(values)},)" if self._decoders else "()"

    def _tuple(self, prefix: str, *, last: bool = True, like: str = "") -> list[str]:
        """Read a tuple at `at` into the variables `prefix`N; of the old tuple (`o`) the bytes are kept as bN.

        `last`: the message ends with it. `like`: the tuple read before, of which equal bytes are the same value.
        """
        count = len(self._decoders)
        lines = [f"if count_at(data, at + 1)[0] != {count}:", "    raise Unusual", "at += 3"]
        for i in range(count):
            # A value has a length after its kind, NULL has not: both can be read at once where four bytes follow anyhow.
            if not last or count - i > 4:
                lines += [
                    "kind, size = head_at(data, at)",
                    "if kind == 116:",
                    "    start = at + 5",
                    "    at = start + size",
                ]
            else:
                lines += [
                    "kind = data[at]",
                    "if kind == 116:",
                    "    start = at + 5",
                    "    at = start + length_at(data, at + 1)[0]",
                ]
            lines += _indented(self._value(i, prefix, like))
            lines += ["elif kind == 110:", "    at += 1"]
            if self._decoders[i] is not None:
                lines.append(f"    {prefix}{i} = None")
                lines += [f"    b{i} = None"] if prefix == "o" else []
            lines += ["else:"]
            if like and self._decoders[i] is not None:
                lines += ["    if kind != 117:", "        raise Unusual", "    at += 1", f"    {prefix}{i} = {like}{i}"]
            elif prefix == "c":
                lines += ["    if kind != 117:", "        raise Unusual", "    at += 1"]
                lines += [f"    {prefix}{i} = ABSENT"] if self._decoders[i] is not None else []
            else:
                lines += ["    raise Unusual"]
        # A length that leads beyond the message is found here: places only grow.
        return [*lines, "if at != len(data):" if last else "if at >= len(data):", "    raise Unusual"]

    def _value(self, i: int, prefix: str, like: str) -> list[str]:
        if self._decoders[i] is None:
            return []
        target = f"{prefix}{i}"
        inline = self._inline[i]
        if inline is None:
            lines = [f"{target} = decode{i}(x)"]
        elif inline.check:
            lines = [f"{target} = v = {inline.expression}", f"if not ({inline.check}):", "    raise Unusual"]
        else:
            lines = [f"{target} = {inline.expression}"]
        if like:
            return ["x = data[start:at]", f"if x == b{i}:", f"    {target} = {like}{i}", "else:", *_indented(lines)]
        return [f"b{i} = x = data[start:at]" if prefix == "o" else "x = data[start:at]", *lines]


def _column(decode: Decode | None, inline: Inline | None) -> Column | None:
    if decode is None:
        return None
    return by_value(decode) if inline is None or inline.column is None else inline.column


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]
