"""Many row messages of one layout -> tuples, column by column: what a row costs is then spent in C. Pure. Guards I6.

In a message whose every value is a text shorter than 256 bytes, the bytes t 0 0 0 stand before each value's length and nowhere else: no text
of PostgreSQL's holds a zero byte. So cutting there gives the values, each behind the byte of its length, which is checked. Rows that come
out with another number of values (a NULL, an unchanged TOAST, a long text) are read one by one. What is unusual in any other way
is answered with None: the caller reads all of them one by one, and finds what is wrong and where.

It must never answer a row that the decoder of single rows (`pgoutput_rows`) would read differently.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import repeat
from operator import attrgetter
from struct import error as StructError  # noqa: N812 - a class with a name in lower case
from typing import Any, Final, TypeAlias

from cdc.readers.pgoutput import DELETE, MESSAGE_AT, UPDATE, ProtocolError
from transforms.values import ABSENT, ChannelValue

Column: TypeAlias = Callable[[list[bytes]], list[Any]]
Row: TypeAlias = tuple[ChannelValue, ...]
Rows: TypeAlias = tuple[Iterable[Row | None], Iterable[Row | None]]  # before and after, as many as there are frames

_VALUE: Final = b"t\0\0\0"
_PAUSE: Final = 20  # runs that are not tried after one that was no good
_DATE_LENGTH: Final = 10
_BOOLEANS: Final = {b"t": True, b"f": False}
_zone: Final = attrgetter("tzinfo")


class UnusualError(Exception):
    """A value that only the careful decoder reads."""


def _texts(column: list[bytes]) -> list[str]:
    texts = b"\0".join(column).decode().split("\0")
    if len(texts) != len(column):
        raise UnusualError
    return texts


def _integers(column: list[bytes]) -> list[int]:
    return list(map(int, column))


def _floats(column: list[bytes]) -> list[float]:
    return list(map(float, column))


def _padded(column: list[bytes]) -> list[str]:
    return _texts([text.rstrip(b" ") for text in column])


def _booleans(column: list[bytes]) -> list[bool]:
    return list(map(_BOOLEANS.__getitem__, column))


def _numerics(column: list[bytes]) -> list[Decimal]:
    values = list(map(Decimal, _texts(column)))
    if not all(map(Decimal.is_finite, values)):
        raise UnusualError
    return values


def _dates(column: list[bytes]) -> list[dt.date]:
    if set(map(len, column)) != {_DATE_LENGTH}:
        raise UnusualError
    return list(map(dt.date.fromisoformat, _texts(column)))


def _moments(column: list[bytes]) -> list[dt.datetime]:
    if min(map(len, column)) <= _DATE_LENGTH:
        raise UnusualError
    return list(map(dt.datetime.fromisoformat, _texts(column)))


def _timestamps(column: list[bytes]) -> list[dt.datetime]:
    values = _moments(column)
    if any(map(_zone, values)):
        raise UnusualError
    return values


def _instants(column: list[bytes]) -> list[dt.datetime]:
    values = _moments(column)
    if list(map(_zone, values)).count(dt.UTC) != len(values):
        raise UnusualError
    return values


COLUMNS: Final[dict[str, Column]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _integers),
    **dict.fromkeys(("float4", "float8"), _floats),
    **dict.fromkeys(("text", "varchar", "name", "citext"), _texts),
    "bpchar": _padded,
    "bool": _booleans,
    "numeric": _numerics,
    "date": _dates,
    "timestamp": _timestamps,
    "timestamptz": _instants,
}
"""Whole columns of a type, by pg_type.typname of the base type: what `pgoutput_rows.INLINE` says of one value. They raise UnusualError,
ValueError, LookupError or ArithmeticError for what they cannot take. A type that is not here is read value by value.
"""


class RunDecoder:
    """`columns`: of the layout, None for one that is passed over. `single`: reads one message, before and after.

    Of an error it says nothing, nor does it keep any: it answers None.
    """

    __slots__ = ("_columns", "_count", "_pause", "_single")

    def __init__(
        self, columns: Sequence[Column | None], single: Callable[[int, bytes], tuple[Row | None, Row | None]]
    ) -> None:
        self._columns = tuple(columns)
        self._count = len(columns).to_bytes(2, "big")
        self._single = single
        self._pause = 0

    def read(self, kind: int, frames: list[bytes]) -> Rows | None:
        """The rows before and after of data frames that hold messages of that kind, of this layout; None where they are unusual."""
        if self._pause or not self._columns:
            self._pause -= 1
            return None
        try:
            found = self._read(kind, frames)
        except (UnusualError, ProtocolError, ValueError, LookupError, ArithmeticError, StructError):
            found = None
        if found is None:
            self._pause = _PAUSE
        return found

    def _read(self, kind: int, frames: list[bytes]) -> Rows | None:
        first = frames[0]
        tuples = 2 if kind == UPDATE and first[MESSAGE_AT + 5 : MESSAGE_AT + 6] == b"O" else 1
        width = 1 + tuples * len(self._columns)
        pieces: list[bytes] = []
        odd: list[int] = []
        for number, frame in enumerate(frames):
            found = frame[MESSAGE_AT:].split(_VALUE)
            if len(found) == width:
                pieces += found
            else:
                odd.append(number)
        usual = len(frames) - len(odd)
        if usual <= len(odd):
            return None
        expected = first[MESSAGE_AT : MESSAGE_AT + 5] + (b"O" if kind == DELETE or tuples > 1 else b"N") + self._count
        if pieces[::width].count(expected) != usual:
            return None
        del pieces[::width]
        rows = self._updates(pieces, usual) if tuples > 1 else self._rows(kind, pieces)
        return self._merged(kind, frames, odd, rows) if odd else rows

    def _rows(self, kind: int, pieces: list[bytes]) -> Rows:
        width = len(self._columns)
        values = [_converted(column, _texts_of(pieces[i::width])) for i, column in enumerate(self._columns)]
        rows = zip(*values, strict=True)
        return (rows, repeat(None)) if kind == DELETE else (repeat(None), rows)

    def _updates(self, pieces: list[bytes], count: int) -> Rows:
        """Of whole old tuples and new ones; behind the last old value stands the head of the new tuple."""
        width = len(self._columns)
        head = b"N" + self._count
        ends = pieces[width - 1 :: 2 * width]
        if [end[-3:] for end in ends].count(head) != count:
            raise UnusualError
        pieces[width - 1 :: 2 * width] = [end[:-3] for end in ends]
        old, new = [], []
        for i, column in enumerate(self._columns):
            before, after = pieces[i :: 2 * width], pieces[width + i :: 2 * width]
            old.append(_converted(column, _texts_of(before)))
            # Where it changed in none of them it has the same values.
            new.append(old[-1] if before == after else _converted(column, _texts_of(after)))
        return zip(*old, strict=True), zip(*new, strict=True)

    def _merged(self, kind: int, frames: list[bytes], odd: list[int], rows: Rows) -> Rows:
        """With the rows that are read one by one, in their places."""
        before, after = map(iter, rows)
        single = set(odd)
        both = [
            self._single(kind, frame) if number in single else (next(before), next(after))
            for number, frame in enumerate(frames)
        ]
        return [old for old, _ in both], [new for _, new in both]


def _texts_of(pieces: list[bytes]) -> list[bytes]:
    """Without the length in front of each, which must be right."""
    texts = [piece[1:] for piece in pieces]
    if list(map(len, texts)) != [piece[0] for piece in pieces]:
        raise UnusualError
    return texts


def _converted(column: Column | None, texts: list[bytes]) -> list[Any]:
    return [ABSENT] * len(texts) if column is None else column(texts)


def by_value(decode: Callable[[bytes], ChannelValue]) -> Column:
    """A column of a type whose values are read one by one."""

    def column(texts: list[bytes]) -> list[Any]:
        return list(map(decode, texts))

    return column
