"""Row images to tuples: a decoder is generated once for each layout, so that the hot loop is one call for each rows event. Pure.

Guards I6. Every decoder ends with the check that the rows end exactly where the event does. A *fast* decoder takes it that dates are
in the calendar and text is valid, and raises ValueError otherwise; the *careful* one of the same layout then decodes the event
again and puts `Unrepresentable` in those places. What the careful one refuses is a corrupt event.
"""

from __future__ import annotations

import datetime as dt
import decimal
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from cdc.readers import binlog_types as types
from cdc.readers import binlog_values as values
from cdc.readers.binlog_text import decode_latin1
from cdc.readers.binlog_types import LogColumn
from transforms.mysql_charsets import decoder, exact_codec
from transforms.values import ABSENT, ChannelValue

Row: TypeAlias = tuple[ChannelValue, ...]
Decoder: TypeAlias = Callable[[bytes, int], list[Row]]
UpdateDecoder: TypeAlias = Callable[[bytes, int], list[tuple[Row, Row]]]
Counter: TypeAlias = Callable[[bytes, int], int]

_DECIMALS: Final = decimal.Context(prec=80)  # of its own: the thread's would round beyond 28 digits
_INTEGER_FORMATS: Final = {types.TINY: "b", types.SHORT: "h", types.LONG: "i", types.LONGLONG: "q"}


def row_decoder(
    columns: Sequence[LogColumn], present: int, wanted: frozenset[int], *, careful: bool = False
) -> Decoder:
    """A decoder of inserts and deletes: `decode(body, start)` gives the rows in it. Columns not `wanted` are ABSENT."""
    code = _Code(columns, wanted, careful=careful)
    body = [*code.image(present), f"add({code.row(present)})"]
    return cast("Decoder", code.function(["rows = []", "add = rows.append"], body, "rows", minimum=present))


def update_decoder(
    columns: Sequence[LogColumn], present: int, present_after: int, wanted: frozenset[int], *, careful: bool = False
) -> UpdateDecoder:
    """A decoder of updates: (before, after) of each row."""
    code = _Code(columns, wanted, careful=careful)
    body = [*code.image(present), f"before = {code.row(present)}"]
    body += [*code.image(present_after), f"add((before, {code.row(present_after)}))"]
    head = ["rows = []", "add = rows.append"]
    return cast("UpdateDecoder", code.function(head, body, "rows", minimum=present | present_after))


def row_counter(columns: Sequence[LogColumn], images: Sequence[int]) -> Counter:
    """Counts the rows of an event without decoding them; `images`: the present columns of each image of a row."""
    code = _Code(columns, frozenset(), careful=False)
    body = [line for present in images for line in code.image(present)]
    return cast("Counter", code.function(["count = 0"], [*body, "count += 1"], "count", minimum=max(images)))


@dataclass(slots=True)
class _Code:
    """Source text of one decoder and the names that it needs."""

    columns: Sequence[LogColumn]
    wanted: frozenset[int]
    careful: bool
    names: dict[str, Any] = field(
        default_factory=lambda: {
            "integer": int.from_bytes, "datetime": dt.datetime, "timedelta": dt.timedelta, "ABSENT": ABSENT,
            "EPOCH": values.EPOCH, "ZERO_TIMESTAMP": values.ZERO_TIMESTAMP, "values": values, "dates": values.Dates(),
            "multiply": _DECIMALS.multiply, "latin1": decode_latin1,
        }
    )  # fmt: skip

    def function(self, head: list[str], body: list[str], result: str, *, minimum: int) -> Callable[..., Any]:
        """`minimum` zero would be rows of no bytes: such an event cannot be walked."""
        lines = ["def decode(body, at):", "    end = len(body)"]
        lines += [f"    {line}" for line in head]
        lines.append("    while at < end:")
        if not minimum:
            lines.append("        raise ValueError('rows without columns')")
        lines += [f"        {line}" for line in body]
        lines += [
            "    if at != end:",
            "        raise ValueError('rows do not end with their event')",
            f"    return {result}",
        ]
        exec("\n".join(lines), self.names)  # noqa: S102 - made of numbers and names of ours, never of the log's text
        made: Callable[..., Any] = self.names["decode"]
        return made

    def row(self, present: int) -> str:
        """The tuple of a row; columns that the image does not hold, or that nobody wants, are ABSENT."""
        held = (f"c{i}" if present >> i & 1 and i in self.wanted else "ABSENT" for i in range(len(self.columns)))
        return f"({', '.join(held)},)"

    def image(self, present: int) -> list[str]:
        """Statements that read one image from `at`: one path for rows without NULL, one for the others."""
        held = [i for i in range(len(self.columns)) if present >> i & 1]
        if not held:
            return []
        size = (len(held) + 7) // 8
        lines = [f'nulls = integer(body[at:at + {size}], "little")', f"at += {size}", "if not nulls:"]
        lines += self._indented(self._without_nulls(held)) or ["    pass"]
        lines.append("else:")
        for bit, i in enumerate(held):
            is_null = f"nulls & {1 << bit}"
            if i in self.wanted:
                lines += [f"    if {is_null}:", f"        c{i} = None", "    else:"]
            else:
                lines.append(f"    if not {is_null}:")
            lines += self._indented(self._indented(self._without_nulls([i])))
        return lines

    @staticmethod
    def _indented(lines: list[str]) -> list[str]:
        return [f"    {line}" for line in lines]

    def _without_nulls(self, held: Sequence[int]) -> list[str]:
        """Read columns one after the other: runs of fixed length, up to the next length prefix, by one struct."""
        lines: list[str] = []
        formats, targets, after = "", list[str](), list[str]()

        def flush() -> None:
            nonlocal formats, targets, after
            size = struct.calcsize(f"<{formats}")
            if targets:
                unpack = f"unpack_{formats}"
                self.names[unpack] = struct.Struct(f"<{formats}").unpack_from
                lines.append(f"{', '.join(targets)}, = {unpack}(body, at)")
            if size:
                lines.append(f"at += {size}")
            lines.extend(after)
            formats, targets, after = "", [], []

        for i in held:
            column, is_wanted = self.columns[i], i in self.wanted
            if column.size is None:
                formats += {1: "B", 2: "H", 3: "HB", 4: "I"}[column.prefix]
                targets += ["n", "high"] if column.prefix == 3 else ["n"]
                after += ["n |= high << 16"] if column.prefix == 3 else []
                flush()
                lines += self._variable(i) if is_wanted else []
                lines.append("at += n")
            elif is_wanted:
                pieces, names, post = self._fixed(i, column.size)
                formats += pieces
                targets += names
                after += post
            else:
                formats += f"{column.size}x"
        flush()
        return lines

    def _variable(self, i: int) -> list[str]:
        column = self.columns[i]
        raw = "body[at:at + n]"
        if column.code in types.COMPRESSED:
            raw = f"values.decompressed({raw})"
        if column.code == types.JSON:
            return [f"c{i} = values.{'careful_json_value' if self.careful else 'json_value'}({raw})"]
        if column.catalog_name in ("uuid", "inet4", "inet6"):
            return [f"c{i} = values.{column.catalog_name}_value({raw})"]
        if column.code in (types.GEOMETRY, types.VECTOR):
            return [f"c{i} = {raw}"]
        if column.is_binary:
            # BINARY(n) is padded with zeros, which the log leaves out.
            padding = f'.ljust({column.length}, b"\\0")' if column.code == types.STRING else ""
            return [f"c{i} = {raw}{padding}"]
        if self.careful:
            return [f"c{i} = values.text_value({raw}, {column.charset!r})"]
        return [f"c{i} = {self._decoded(raw, column.charset or '')}"]

    def _decoded(self, raw: str, charset: str) -> str:
        """Text in a character set: by Python's codec where that is exactly it."""
        codec = exact_codec(charset)
        if codec == "utf-8":
            return f"{raw}.decode()"  # the fastest, as most text is
        if codec is not None:
            return f'{raw}.decode("{codec}")'
        name = charset if charset == "latin1" else f"text_{charset}"
        self.names.setdefault(name, decoder(charset))
        return f"{name}({raw})"

    def _fixed(self, i: int, size: int) -> tuple[str, list[str], list[str]]:
        """The struct's format, its targets, and what makes the value of them."""
        column, c = self.columns[i], f"c{i}"
        code = column.code
        if code in _INTEGER_FORMATS:
            letter = _INTEGER_FORMATS[code]
            return (letter.upper() if column.unsigned else letter), [c], []
        if code == types.INT24:
            return f"H{'B' if column.unsigned else 'b'}", [c, f"high{i}"], [f"{c} |= high{i} << 16"]
        if code == types.FLOAT:
            return "f", [c], [f"{c} = values.float_value({c})"]
        if code == types.DOUBLE:
            return "d", [c], []
        if code == types.YEAR:
            return "B", [c], [f"if {c}:", f"    {c} += 1900"]
        if code == types.DATE:
            return "HB", [c, f"high{i}"], [f"{c} = dates[{c} | high{i} << 16]"]
        if code == types.ENUM:
            self.names[f"labels{i}"] = ("", *(column.labels or ()))
            return ("B" if size == 1 else "H"), [c], [f"{c} = labels{i}[{c}]"]
        number = f'integer({c}, "big")'
        if code == types.SET:
            self.names[f"sets{i}"] = values.Sets(column.labels or ())
            return f"{size}s", [c], [f'{c} = sets{i}[integer({c}, "little")]']
        if code == types.BIT:
            return f"{size}s", [c], [f"{c} = {number}"]
        if code == types.DECIMAL:
            return f"{size}s", [c], self._decimal(column, c, size)
        fraction = (column.scale + 1) // 2
        if code == types.TIME:
            return f"{size}s", [c], [f"{c} = values.time_value({number}, {fraction})"]
        if code == types.TIMESTAMP:
            return f"{size}s", [c], [f"{c} = values.timestamp_value({number}, {fraction})"]
        if code == types.DATETIME:
            return f"{size}s", [c], self._datetime(c, fraction)
        if code in types.OLD_TIMES:
            kind = {types.OLD_TIME: "time", types.OLD_DATETIME: "datetime", types.OLD_TIMESTAMP: "timestamp"}[code]
            little = f'integer({c}, "little", signed={code == types.OLD_TIME})'
            return f"{size}s", [c], [f"{c} = values.old_{kind}_value({number}, {little}, {column.scale})"]
        raise ValueError(f"column type {code} is not decoded")

    def _datetime(self, c: str, fraction: int) -> list[str]:
        if self.careful:
            return [f'{c} = values.datetime_value(integer({c}, "big"), {fraction})']
        micros = "0"
        if fraction:
            micros = f"(x & {(1 << 8 * fraction) - 1}) * {10 ** (6 - 2 * fraction)}"
        return [
            f'x = integer({c}, "big")',
            f"y = x >> {8 * fraction}",
            "ym = y >> 22 & 131071",
            f"{c} = datetime(ym // 13, ym % 13, y >> 17 & 31, y >> 12 & 31, y >> 6 & 63, y & 63, {micros})",
        ]

    def _decimal(self, column: LogColumn, c: str, size: int) -> list[str]:
        """Groups of nine digits in four bytes, big-endian, the sign bit turned around, all bits turned around if negative."""
        bits = 8 * size
        terms, place, digits = [], bits, column.precision
        for group_size, group_digits in types.decimal_parts(column.precision, column.scale):
            place -= 8 * group_size
            digits -= group_digits
            terms.append(f"(x >> {place} & {(1 << 8 * group_size) - 1}) * {10**digits}")
        self.names[f"unit_{column.scale}"] = decimal.Decimal((0, (1,), -column.scale))
        return [
            f'x = integer({c}, "big") ^ {1 << (bits - 1)}',
            f"negative = x >> {bits - 1}",
            "if negative:",
            f"    x ^= {(1 << bits) - 1}",
            f"x = {' + '.join(terms)}",
            f"{c} = multiply(-x if negative else x, unit_{column.scale})",
        ]
