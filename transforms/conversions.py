"""Exact conversions between kinds, where the value means the same on both sides: what stands between a column (after its
transforms) and its field. A pair that is not here cannot be joined, and the mapping is refused when it is compiled.

Every conversion is exact both ways or raises `RefusedValueError`: a 2 is no boolean, 1.5 no integer, and a wall clock time in
the hour that daylight saving time skips is no instant (I6).
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import uuid
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from transforms import json_text
from transforms.fields import duration_text, plain
from transforms.kinds import Kind, Step
from transforms.moments import IN_UTC, WITHOUT_ZONE, aware_datetime, instant_text, naive_datetime
from transforms.values import RefusedValueError, masked


@dataclass(frozen=True, slots=True)
class Conversion:
    """`forth` goes towards the field, `back` towards the column; None where the value is already right."""

    forth: Step | None
    back: Step | None


_SAME: Final = Conversion(None, None)
_MIDNIGHT: Final = dt.time()
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,999}")
_HOURS_KEPT: Final = 4096
_DAY: Final = dt.timedelta(days=1)


def conversion(source: Kind, target: Kind, where: str, zone: zoneinfo.ZoneInfo) -> Conversion | None:
    """Return how `source` becomes `target` and back, None where it cannot.

    `where` is named by refusals; `zone` is what the channel's wall clock times mean.
    """
    if source == target:
        return _SAME
    make = _PAIRS.get((source, target))
    if make is not None:
        return make(where, zone)
    turned = _PAIRS.get((target, source))
    if turned is not None and (source, target) not in _ONLY_WITH_A_TRANSFORM:
        pair = turned(where, zone)
        return Conversion(pair.back, pair.forth)
    return None


def _refuse(where: str, value: object, why: str) -> NoReturn:
    raise RefusedValueError(where, f"{masked(value)} {why}")


def integer_to_boolean(where: str) -> Step:
    def step(value: int) -> bool:
        if value == 0:
            return False
        if value == 1:
            return True
        _refuse(where, value, "is neither 0 nor 1: not a boolean")

    return step


def _integer_boolean(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    return Conversion(integer_to_boolean(where), int)


def whole(where: str) -> Step:
    """A decimal's integer; anything after the point but zeros is refused."""

    def step(value: decimal.Decimal) -> int:
        if not value.is_finite() or value != value.to_integral_value():
            _refuse(where, value, "is not a whole number")
        return int(value)

    return step


def _integer_decimal(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    return Conversion(decimal.Decimal, whole(where))


def _integer_float(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    def forth(value: int) -> float:
        try:
            made = float(value)
        except OverflowError:
            _refuse(where, value, "is too large for a float")
        if int(made) != value:
            _refuse(where, value, "has more digits than a float holds")
        return made

    def back(value: float) -> int:
        if not math.isfinite(value) or not value.is_integer():
            _refuse(where, value, "is not a whole number")
        return int(value)

    return Conversion(forth, back)


def _decimal_float(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    def forth(value: decimal.Decimal) -> float:
        made = float(value)
        if not math.isfinite(made) or decimal.Decimal(repr(made)) != value:
            _refuse(where, value, "has more digits than a float holds")
        return made

    def back(value: float) -> decimal.Decimal:
        if not math.isfinite(value):
            _refuse(where, value, "is not a finite number")
        return plain(decimal.Decimal(repr(value)))  # the shortest decimal that means this float

    return Conversion(forth, back)


def _integer_text(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    def back(value: str) -> int:
        if _INTEGER.fullmatch(value) is None:
            _refuse(where, value, "is not an integer in its plain form")
        return int(value)

    return Conversion(str, back)


def _text_json(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    def forth(value: str) -> str:
        try:
            return json_text.canonical(value)
        except ValueError as error:
            raise RefusedValueError(where, str(error)) from None

    return Conversion(forth, None)


def _text_uuid(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    def forth(value: str) -> uuid.UUID:
        if _UUID.fullmatch(value) is None:
            _refuse(where, value, "is not a uuid with dashes")
        return uuid.UUID(value)

    return Conversion(forth, str)


def _bytes_uuid(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    def forth(value: bytes) -> uuid.UUID:
        if len(value) != 16:
            _refuse(where, value, "has not the 16 bytes of a uuid")
        return uuid.UUID(bytes=value)

    def back(value: uuid.UUID) -> bytes:
        return value.bytes

    return Conversion(forth, back)


def _written(
    write: Callable[[Any], str], read: Callable[[str], Any], what: str
) -> Callable[[str, zoneinfo.ZoneInfo], Conversion]:
    """A value and its one spelling as text. Any other spelling is refused: it would not come back as it was."""

    def make(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
        def back(text: str) -> Any:
            try:
                value = read(text)
            except (ValueError, ArithmeticError):
                _refuse(where, text, f"is not {what}")
            if write(value) != text:
                _refuse(where, text, f"is not {what} in its plain form")
            return value

        return Conversion(write, back)

    return make


def _finite(text: str) -> decimal.Decimal:
    value = decimal.Decimal(text)
    if not value.is_finite():
        raise ValueError("not finite")
    return value


_ISO_DURATION: Final = re.compile(
    r"(-?)P(?:(-?[0-9]+)Y)?(?:(-?[0-9]+)M)?(?:(-?[0-9]+)W)?(?:(-?[0-9]+)D)?"
    r"(?:T(?:(-?[0-9]{1,15})H)?(?:(-?[0-9]{1,15})M)?(?:(-?)([0-9]{1,12})(?:\.([0-9]{1,6})0*)?S)?)?"
)


def _duration_text(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    """ISO 8601 in any spelling (PostgreSQL's intervals are such texts) to a length of time, written back in one spelling."""

    def back(text: str) -> dt.timedelta:
        found = _ISO_DURATION.fullmatch(text)
        if found is None or text.endswith(("P", "T")):
            _refuse(where, text, "is not a length of time such as PT1H30M")
        minus, *large, hours, minutes, small, seconds, fraction = found.groups()
        if any(int(part) for part in large if part):
            _refuse(where, text, "has years, months or days, which are not always equally long")
        exact = int(seconds or 0) * 1_000_000 + int((fraction or "").ljust(6, "0"))
        clock = (int(hours or 0) * 60 + int(minutes or 0)) * 60_000_000
        try:
            value = dt.timedelta(microseconds=clock + (-exact if small else exact))
        except OverflowError:
            _refuse(where, text, "is longer than a duration holds")
        return -value if minus else value

    return Conversion(duration_text, back)


def _naive_time(text: str) -> dt.time:
    value = dt.time.fromisoformat(text)
    if value.tzinfo is not None:
        raise ValueError("has a zone")
    return value


def _set_text(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    """Labels with commas between them, as MySQL itself writes a set; none of them is the empty text."""

    def forth(value: tuple[str, ...]) -> str:
        if any("," in label or not label for label in value):
            _refuse(where, ",".join(value), "has a label that cannot stand in a list with commas")
        return ",".join(value)

    def back(text: str) -> tuple[str, ...]:
        labels = tuple(text.split(",")) if text else ()
        if len(set(labels)) != len(labels) or "" in labels:
            _refuse(where, text, "is not a list of different labels")
        return labels

    return Conversion(forth, back)


def _set_json(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    def forth(value: tuple[str, ...]) -> str:
        return json_text.write(list(value))

    def back(text: str) -> tuple[str, ...]:
        found = json_text.read(text)
        if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
            _refuse(where, text, "is not an array of texts")
        if len(set(found)) != len(found):
            _refuse(where, text, "holds a label twice")
        return tuple(found)

    return Conversion(forth, back)


def _boolean_json(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    def back(text: str) -> bool:
        if text not in ("true", "false"):
            _refuse(where, text, "is neither true nor false")
        return text == "true"

    return Conversion(lambda value: "true" if value else "false", back)


def _date_datetime(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    def forth(value: dt.date) -> dt.datetime:
        return dt.datetime.combine(value, _MIDNIGHT)

    def back(value: dt.datetime) -> dt.date:
        if value.time() != _MIDNIGHT:
            _refuse(where, value, "is not midnight: a date cannot hold its time of day")
        return value.date()

    return Conversion(forth, back)


def _time_duration(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    def forth(value: dt.time) -> dt.timedelta:
        return dt.timedelta(
            hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
        )

    def back(value: dt.timedelta) -> dt.time:
        if not dt.timedelta(0) <= value < _DAY:
            _refuse(where, value, "is not a time of day")
        return (dt.datetime.min + value).time()  # noqa: DTZ901 - a time of day has no zone

    return Conversion(forth, back)


def to_instant(where: str, zone: zoneinfo.ZoneInfo) -> Step:
    """A wall clock time as the instant it names in `zone`: in a repeated hour the first, in a skipped hour refused."""
    # Most of a channel's times lie in hours that were asked before; of hours without a change of clocks the offset is kept.
    offsets: dict[tuple[int, int, int, int], dt.timedelta] = {}

    def step(value: dt.datetime) -> dt.datetime:
        hour = (value.year, value.month, value.day, value.hour)
        offset = offsets.get(hour)
        if offset is None:
            moment = ask(value)
            if len(offsets) >= _HOURS_KEPT:
                offsets.clear()
            if (offset := steady(value)) is not None:
                offsets[hour] = offset
            return moment
        return value.replace(tzinfo=dt.UTC) - offset

    def steady(value: dt.datetime) -> dt.timedelta | None:
        """The offset of the whole hour, None where it changes within it or right beside it."""
        try:
            start = value.replace(minute=0, second=0, microsecond=0)
            around = [start + dt.timedelta(hours=hours) for hours in (-24, 0, 1, 24)]
            found = {moment.replace(tzinfo=zone, fold=fold).utcoffset() for moment in around for fold in (0, 1)}
        except OverflowError:
            return None
        return found.pop() if len(found) == 1 else None

    def ask(value: dt.datetime) -> dt.datetime:
        try:
            moment = value.replace(tzinfo=zone, fold=0).astimezone(dt.UTC)
            there_again = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        except OverflowError:
            _refuse(where, value, "is outside the years 1 to 9999 in UTC")
        if there_again != value:
            _refuse(where, value, f"does not exist in {zone.key}: its clocks skip that hour")
        return moment

    return step


def from_instant(where: str, zone: zoneinfo.ZoneInfo) -> Step:
    """An instant as the wall clock shows it in `zone`; refused where the wall clock would be read as another instant."""

    def step(value: dt.datetime) -> dt.datetime:
        try:
            there = value.astimezone(zone)
        except OverflowError:
            _refuse(where, value, f"is outside the years 1 to 9999 in {zone.key}")
        if there.fold:
            _refuse(
                where, value, f"lies in the repeated hour of {zone.key}: without a zone it would mean an hour earlier"
            )
        return there.replace(tzinfo=None)

    return step


def _fixed_utc(where: str, _zone: zoneinfo.ZoneInfo) -> Conversion:
    del where
    return Conversion(IN_UTC, WITHOUT_ZONE)


def _datetime_instant(where: str, zone: zoneinfo.ZoneInfo) -> Conversion:
    if zone.key == "UTC":
        return _fixed_utc(where, zone)
    return Conversion(to_instant(where, zone), from_instant(where, zone))


_PAIRS: Final[dict[tuple[Kind, Kind], Callable[[str, zoneinfo.ZoneInfo], Conversion]]] = {
    ("integer", "boolean"): _integer_boolean,
    ("integer", "decimal"): _integer_decimal,
    ("integer", "float"): _integer_float,
    ("integer", "text"): _integer_text,
    ("decimal", "float"): _decimal_float,
    ("decimal", "text"): _written(lambda value: format(plain(value), "f"), _finite, "a decimal number"),
    ("date", "text"): _written(dt.date.isoformat, dt.date.fromisoformat, "a date such as 2024-02-29"),
    ("time", "text"): _written(dt.time.isoformat, _naive_time, "a time such as 23:59:59"),
    ("datetime", "text"): _written(
        dt.datetime.isoformat, naive_datetime, "a date and time such as 2024-02-29T23:59:59"
    ),
    ("instant", "text"): _written(instant_text, aware_datetime, "a point in time such as 2024-02-29T23:59:59Z"),
    ("duration", "text"): _duration_text,
    ("boolean", "json"): _boolean_json,
    ("set", "text"): _set_text,
    ("set", "json"): _set_json,
    ("text", "json"): _text_json,
    ("text", "uuid"): _text_uuid,
    ("bytes", "uuid"): _bytes_uuid,
    ("date", "datetime"): _date_datetime,
    ("time", "duration"): _time_duration,
    ("datetime", "instant"): _datetime_instant,
}
# A number written as text has many spellings: the operator says how it is written.
_ONLY_WITH_A_TRANSFORM: Final[frozenset[tuple[Kind, Kind]]] = frozenset({("text", "integer"), ("text", "decimal")})
