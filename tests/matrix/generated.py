"""Random tables and rows: column types, their values as SQL literals, and how a reader's value reads as a server shows it."""

from __future__ import annotations

import datetime as dt
import decimal
import random
import uuid
from collections.abc import Callable
from typing import Any, TypeAlias

from transforms.values import Unrepresentable

Chance: TypeAlias = random.Random
Maker: TypeAlias = Callable[
    [Chance], "tuple[str, Callable[[Chance], str]]"
]  # a column type, and what makes literals for it

_ALPHABETS = ("abc xyz", "éüñ€ß", "中文汉字", "🙂👍𠮷", "'\"\\%_;", "\n\t\r", " ", "שלום")
_MYSQL_CHARSETS = (
    "utf8mb4", "utf8mb3", "latin1", "ascii", "gbk", "big5", "sjis", "cp932", "eucjpms", "ujis", "euckr", "utf16", "utf16le",
    "utf32", "ucs2", "cp1251", "koi8r", "greek", "hebrew", "latin2", "cp850", "swe7", "dec8", "tis620", "binary",
)  # fmt: skip


def _word(chance: Chance, longest: int) -> str:
    letters = chance.choice((*_ALPHABETS, "".join(_ALPHABETS)))
    size = min(longest, chance.choice((0, 1, 3, longest, chance.randrange(longest + 1))))
    return "".join(chance.choice(letters) for _ in range(size))


def _quoted(text: str) -> str:
    """Under NO_BACKSLASH_ESCAPES, and as PostgreSQL's standard string."""
    return "'" + text.replace("'", "''") + "'"


def _whole(bits: int, *, signed: bool) -> Callable[[Chance], str]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)

    def literal(chance: Chance) -> str:
        near = chance.choice((low, high, 0, chance.randint(low, high)))
        return str(min(high, max(low, near + chance.randint(-2, 2))))

    return literal


def _digits(chance: Chance, precision: int, scale: int) -> str:
    number = chance.randrange(10 ** chance.randint(0, precision))
    text = f"{number:0{scale + 1}d}"
    sign = chance.choice(("", "-")) if number else ""
    return f"{sign}{text[:-scale]}.{text[-scale:]}" if scale else f"{sign}{number}"


def _double(chance: Chance) -> str:
    return chance.choice((repr(chance.random()), repr(chance.uniform(-1e6, 1e6)), f"{chance.random():.17g}e{chance.randint(-300, 300)}", "5e-324", "0"))  # fmt: skip


def _day(chance: Chance) -> dt.datetime:
    year = chance.choice((1000, 1582, 1969, 1970, 2000, 2024, 2038, 9999))
    micros = chance.choice((0, 1, 500_000, 999_999, chance.randrange(10**6)))
    clock = (chance.randrange(24), chance.randrange(60), chance.randrange(60), micros)
    return dt.datetime(year, chance.randint(1, 12), chance.randint(1, 28), *clock)  # noqa: DTZ001 - a wall clock's


def _json(chance: Chance, depth: int = 0) -> str:
    match chance.randrange(8 if depth < 4 else 6):
        case 0:
            return str(
                chance.choice(
                    (0, -1, 2**15, -(2**15) - 1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, chance.randrange(10**6))
                )
            )
        case 1:
            return chance.choice(("0.5", "-1.25", "1e-7", "123.456", "true", "false", "null"))
        case 2 | 3 | 4 | 5:
            plain = _word(chance, 30).translate({ord(letter): None for letter in '"\\\n\t\r'})
            return f'"{plain}"'
        case 6:
            return "[" + ", ".join(_json(chance, depth + 1) for _ in range(chance.choice((0, 1, 3, 40)))) + "]"
        case _:
            return (
                "{" + ", ".join(f'"k{at}": {_json(chance, depth + 1)}' for at in range(chance.choice((0, 1, 5)))) + "}"
            )


def _mysql_integer(chance: Chance) -> tuple[str, Callable[[Chance], str]]:
    name, bits = chance.choice((("TINYINT", 8), ("SMALLINT", 16), ("MEDIUMINT", 24), ("INT", 32), ("BIGINT", 64)))
    signed = chance.random() < 0.5
    return name + ("" if signed else " UNSIGNED"), _whole(bits, signed=signed)


def _decimal(chance: Chance) -> tuple[str, Callable[[Chance], str]]:
    precision = chance.choice((1, 9, 10, 18, 38, 65))
    scale = min(precision, chance.choice((0, 1, 2, 9, 10, 30)))
    return f"DECIMAL({precision},{scale})", lambda c: _digits(c, precision, scale)


def _mysql_text(chance: Chance) -> tuple[str, Callable[[Chance], str]]:
    charset = chance.choice(_MYSQL_CHARSETS)
    length = chance.choice((1, 10, 100))
    name = chance.choice((f"CHAR({length})", f"VARCHAR({length})", "TEXT", "MEDIUMTEXT"))
    if charset == "binary":
        return {"C": f"BINARY({length})", "V": f"VARBINARY({length})", "T": "BLOB", "M": "LONGBLOB"}[
            name[0]
        ], lambda c: f"X'{c.randbytes(c.randrange(length + 1)).hex()}'"
    longest = 300 if name in ("TEXT", "MEDIUMTEXT") else length
    return f"{name} CHARACTER SET {charset}", lambda c: _quoted(_word(c, longest))


def _mysql_time(chance: Chance) -> tuple[str, Callable[[Chance], str]]:
    digits = chance.randrange(7)
    match chance.randrange(5):
        case 0:
            return "DATE", lambda c: c.choice((f"'{_day(c).date()}'", "'0000-00-00'", "'2024-02-31'", "'2024-00-10'"))
        case 1:
            return f"DATETIME({digits})", lambda c: c.choice((f"'{_day(c)}'", f"'{_day(c)}'", "'0000-00-00 00:00:00'"))
        case 2:
            return f"TIMESTAMP({digits})", lambda c: c.choice((f"FROM_UNIXTIME({c.randint(1, 2**31 - 2)}.{c.randrange(10**6):06})", "'0000-00-00 00:00:00'"))  # fmt: skip
        case 3:
            return f"TIME({digits})", lambda c: f"'{c.choice(('', '-'))}{c.choice((0, 1, 23, 24, 838))}:{c.randrange(60):02}:{c.randrange(60):02}.{c.randrange(10**6):06}'"  # fmt: skip
        case _:
            return "YEAR", lambda c: c.choice(("0", "1901", "2155", "1970"))


def _mysql_other(chance: Chance) -> tuple[str, Callable[[Chance], str]]:
    labels = chance.sample(["a", "b b", "it''s", "é", "中", "🙂", "x,y", "2"], chance.randint(1, 7))
    bits = chance.choice((1, 7, 8, 9, 33, 64))
    in_set = [label for label in labels if "," not in label] or ["z"]
    match chance.randrange(6):
        case 0:
            return "FLOAT", lambda c: c.choice(("0.1", "3.4e38", "-1.5", "1e-44", repr(c.random())))
        case 1:
            return "DOUBLE", _double
        case 2:
            return f"BIT({bits})", lambda c: f"b'{c.randrange(2**bits):b}'"
        case 3:
            return "ENUM(" + ",".join(f"'{label}'" for label in labels) + ")", lambda c: f"'{c.choice(labels)}'"
        case 4:
            return "SET(" + ",".join(f"'{label}'" for label in in_set) + ")", lambda c: "'" + ",".join(c.sample(in_set, c.randrange(len(in_set) + 1))) + "'"  # fmt: skip
        case _:
            return "JSON", lambda c: _quoted(_json(c))


MYSQL: tuple[Maker, ...] = (
    _mysql_integer,
    _decimal,
    _mysql_text,
    _mysql_text,
    _mysql_time,
    _mysql_time,
    _mysql_other,
    _mysql_other,
)


def _postgresql_number(chance: Chance) -> tuple[str, Callable[[Chance], str]]:
    match chance.randrange(5):
        case 0:
            name, bits = chance.choice((("smallint", 16), ("integer", 32), ("bigint", 64)))
            return name, _whole(bits, signed=True)
        case 1:
            return "numeric", lambda c: c.choice(("'NaN'", "'Infinity'", "'-Infinity'", _digits(c, 100, 40), f"{_digits(c, 5, 0)}e{c.randint(-300, 300)}"))  # fmt: skip
        case 2:
            return "numeric(20,5)", lambda c: _digits(c, 20, 5)
        case 3:
            return "real", lambda c: c.choice(("0.1", "'NaN'", "'-Infinity'", "1e-45", "'-0'", repr(c.random())))
        case _:
            return "double precision", lambda c: c.choice(("'NaN'", "'Infinity'", "'-0'", _double(c)))


def _postgresql_text(chance: Chance) -> tuple[str, Callable[[Chance], str]]:
    length = chance.choice((1, 10, 100))
    name = chance.choice((f"char({length})", f"varchar({length})", "text", "text"))
    longest = 3000 if name == "text" else length
    return name, lambda c: _quoted(_word(c, longest))


def _postgresql_time(chance: Chance) -> tuple[str, Callable[[Chance], str]]:
    digits = chance.randrange(7)
    odd = ("'infinity'", "'-infinity'", "'0044-03-15 BC'", "'20000-01-01'")
    match chance.randrange(4):
        case 0:
            return "date", lambda c: c.choice((f"'{_day(c).date()}'", f"'{_day(c).date()}'", *odd))
        case 1:
            return f"timestamp({digits})", lambda c: c.choice((f"'{_day(c)}'", f"'{_day(c)}'", f"'{_day(c)}'", *odd))
        case 2:
            return f"timestamptz({digits})", lambda c: c.choice((f"'{_day(c)}+05:45'", f"'{_day(c)}-03'", *odd))
        case _:
            return f"time({digits})", lambda c: c.choice((f"'{_day(c).time()}'", "'24:00:00'"))


def _postgresql_other(chance: Chance) -> tuple[str, Callable[[Chance], str]]:
    match chance.randrange(5):
        case 0:
            return "boolean", lambda c: c.choice(("true", "false"))
        case 1:
            return "bytea", lambda c: f"'\\x{c.randbytes(c.choice((0, 3, 3000))).hex()}'"
        case 2:
            return "uuid", lambda c: f"'{uuid.UUID(int=c.getrandbits(128))}'"
        case 3:
            return "jsonb", lambda c: _quoted(_json(c))
        case _:
            return "json", lambda c: _quoted(_json(c))


POSTGRESQL: tuple[Maker, ...] = (_postgresql_number, _postgresql_number, _postgresql_text, _postgresql_time, _postgresql_time, _postgresql_other)  # fmt: skip


def read_as_shown(kind: str, value: Any) -> str | None:
    """A reader's value in the words of `shows`; `Unrepresentable` as a mark that `may_be_odd` judges."""
    match value:
        case None | Unrepresentable():
            return None if value is None else "unrepresentable"
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value)
        case decimal.Decimal():
            return format(value, "f")
        case bytes():
            return value.hex()
        case tuple():
            return ",".join(value)
        case dt.timedelta():
            seconds, micros = divmod(abs(value) // dt.timedelta(microseconds=1), 10**6)
            sign = "-" if value < dt.timedelta(0) else ""
            return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micros:06}"
        case dt.datetime():
            return value.replace(tzinfo=None).isoformat(" ")
        case int() if kind == "bits":
            return f"{value:b}"
        case _:
            return str(value)


def may_be_odd(kind: str, declared: str, shown: str | None) -> bool:
    """Whether a shown value is one that has no exact form: said from what the server shows."""
    if shown is None:
        return False
    if kind == "number":
        return shown in ("NaN", "Infinity", "-Infinity")
    if kind != "moment":
        return False
    if declared.startswith("time("):  # PostgreSQL's, by its letters: MySQL's TIME holds a day and more
        return shown.startswith("24:00")
    if "infinity" in shown or "BC" in shown:
        return True
    if ":" in shown and "-" not in shown[1:]:
        return False
    year, month, day = shown.partition(" ")[0].split("-")
    return len(year) > 4 or "00" in (month, day) or year == "0000" or (month, day) in (("02", "30"), ("02", "31"))
