"""What a text column can hold: characters of its character set, length, labels, addresses (I6). See `transforms.column_limits`."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final, NoReturn

from transforms.batches import ascii_only, gate, shorter
from transforms.fields import parse_duration
from transforms.inet import is_canonical
from transforms.kinds import Step
from transforms.mysql_charsets import CHARSETS, exact_codec, lacks_ascii, longest_character, repertoire
from transforms.tables import ColumnType
from transforms.values import RefusedValueError, masked

TEXT_BYTES: Final = {"tinytext": 255, "text": 65_535, "mediumtext": 2**24 - 1, "longtext": 2**32 - 1}
_INTERVAL: Final = re.compile(
    r"P(?:-?[0-9]{1,9}Y)?(?:-?[0-9]{1,10}M)?(?:-?[0-9]{1,10}D)?"
    r"(?:T(?:-?[0-9]{1,10}H)?(?:-?[0-9]{1,10}M)?(?:-?[0-9]{1,12}(?:\.[0-9]{1,6})?S)?)?"
)
_FOUR_BYTES: Final = re.compile("[\U00010000-\U0010ffff]")


def _refuse(where: str, value: object, why: str) -> NoReturn:
    raise RefusedValueError(where, f"{masked(value)} {why}")


def _never(_values: list[str]) -> bool:
    return False


def text(column_type: ColumnType, where: str) -> list[Step]:
    if column_type.engine == "postgresql" and column_type.kind == "enum":
        return []  # the server knows the labels that were added since, and refuses all others itself
    if column_type.labels is not None:
        return [_one_label(column_type.labels, where)]
    if column_type.name in ("inet4", "inet6"):
        return [_address(int(column_type.name[-1]), where)]
    steps: list[Step] = []
    if column_type.engine == "postgresql":
        steps.extend(_postgresql(column_type, where))
    else:
        steps.extend(_in_charset(column_type.charset, where))
        if column_type.name in TEXT_BYTES:
            steps.append(_at_most_bytes(TEXT_BYTES[column_type.name], column_type.charset, where))
    if column_type.name == ("bpchar" if column_type.engine == "postgresql" else "char"):
        steps.append(_no_trailing_spaces(where))
    if column_type.length is not None and column_type.name in ("char", "varchar", "bpchar"):
        steps.append(at_most(column_type.length, "characters", where))
    return steps


def _postgresql(column_type: ColumnType, where: str) -> list[Step]:
    """What a cast would cut or write otherwise without a word: bits, "char" and name; an interval in any other spelling."""
    steps = [_without_nul(where)]
    if column_type.kind != "base":
        return steps
    match column_type.name:
        case "bit" | "varbit":
            steps.append(_bits(column_type.length, where, exact=column_type.name == "bit"))
        case "char" | "name":
            steps.append(_at_most_utf8(1 if column_type.name == "char" else 63, where))
        case "interval":
            steps.append(_interval(where))
    return steps


def _bits(length: int | None, where: str, *, exact: bool) -> Step:
    def step(value: str) -> str:
        if not set(value) <= {"0", "1"}:
            _refuse(where, value, "is not made of 0 and 1")
        if length is not None and (len(value) != length if exact else len(value) > length):
            _refuse(where, value, f"has {len(value)} bits, {'not' if exact else 'more than'} {length}")
        return value

    return step


def _at_most_utf8(limit: int, where: str) -> Step:
    def step(value: str) -> str:
        if len(value.encode()) > limit:
            _refuse(where, value, f"is longer than {limit} bytes")
        return value

    return step


def _interval(where: str) -> Step:
    """PostgreSQL takes a sign for each number and none before the P: a length of time below zero is written so."""

    def step(value: str) -> str:
        if value.startswith("-P"):
            try:
                value = _below_zero(parse_duration(value))
            except ValueError:
                _refuse(where, value, "is not an interval in ISO 8601, such as P1DT2H")
        if _INTERVAL.fullmatch(value) is None or value[-1] in "PT":
            _refuse(where, value, "is not an interval in ISO 8601, such as P1DT2H")
        return value

    return step


def _below_zero(value: dt.timedelta) -> str:
    minutes, micros = divmod(-value // dt.timedelta(microseconds=1), 60_000_000)
    seconds, micros = divmod(micros, 1_000_000)
    return f"PT-{minutes // 60}H-{minutes % 60}M-{seconds}.{micros:06d}S"


def _one_label(labels: tuple[str, ...], where: str) -> Step:
    known = frozenset(labels)

    def step(value: str) -> str:
        if value in known or as_catalogs_show(value) in known:
            return value
        _refuse(where, value, "is not a label of this enum")

    return gate(step, known.issuperset)


def as_catalogs_show(label: str) -> str:
    """MySQL's and MariaDB's catalogs are in utf8mb3: in a label a character of four bytes is shown as a question mark."""
    return label if label.isascii() else _FOUR_BYTES.sub("?", label)


def _address(version: int, where: str) -> Step:
    """The server takes other spellings too, and would give them back as its own."""

    def step(value: str) -> str:
        if not is_canonical(value, version):
            _refuse(where, value, f"is not an IPv{version} address as MariaDB writes it")
        return value

    return step


def _without_nul(where: str) -> Step:
    def step(value: str) -> str:
        if "\0" in value:
            _refuse(where, value.replace("\0", ""), "holds a NUL character, which PostgreSQL does not store")
        return value

    return gate(step, lambda values: "\0" not in "".join(values))


def _in_charset(charset: str | None, where: str) -> list[Step]:
    if charset in ("utf8", "utf8mb3", "ucs2"):

        def three_bytes(value: str) -> str:
            if not value.isascii() and _FOUR_BYTES.search(value):
                _refuse(where, value, f"holds a character outside {charset} (such as an emoji)")
            return value

        return [gate(three_bytes, ascii_only)]
    if charset is None or charset not in CHARSETS:
        return []
    held = repertoire(charset)
    if held is None:
        return []
    ascii_too = not lacks_ascii(charset)

    def in_repertoire(value: str) -> str:
        if (ascii_too and value.isascii()) or held.issuperset(value):
            return value
        _refuse(where, value, f"holds a character outside {charset}")

    return [gate(in_repertoire, ascii_only if ascii_too else _never)]


def _at_most_bytes(limit: int, charset: str | None, where: str) -> Step:
    """In the column's own bytes where they are easily counted; else the server's strict mode is behind it."""
    longest = longest_character(charset) if charset in CHARSETS else 4
    codec = exact_codec(charset) if charset in CHARSETS else "utf-8"

    def step(value: str) -> str:
        if len(value) * longest > limit:
            if longest == 1 or len(value) > limit:
                size = len(value)
            else:
                size = len(value.encode(codec, "replace")) if codec is not None else 0
            if size > limit:
                _refuse(where, value, f"is longer than {limit} bytes")
        return value

    return gate(step, shorter(limit // 4))


def _no_trailing_spaces(where: str) -> Step:
    def step(value: str) -> str:
        if value.endswith(" "):
            _refuse(where, value, "ends with a space, which a char column does not keep")
        return value

    return step


def at_most(limit: int, unit: str, where: str) -> Step:
    def step(value: Any) -> Any:
        if len(value) > limit:
            _refuse(where, value, f"is longer than {limit} {unit} ({len(value)})")
        return value

    return gate(step, shorter(limit))
