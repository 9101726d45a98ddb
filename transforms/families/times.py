"""Dates and times: `datetime` reads them out of text, `epoch` counts from 1970."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import zoneinfo
from typing import Any, Final, Literal

import pydantic

from transforms.conversions import from_instant, to_instant
from transforms.fields import EXACT
from transforms.kinds import Kind
from transforms.registry import Built, Context, Transform, TransformRefusedError, require

# Directives that mean the same in every locale.
_DIRECTIVES: Final = frozenset("YmdHMSfzj")
_TIME_DIRECTIVES: Final = frozenset("HMSfz")
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ANY_DAY: Final = dt.date(1900, 1, 1)  # what strptime takes where a format names none
_MICROSECOND: Final = dt.timedelta(microseconds=1)


class DatetimeFormat(pydantic.BaseModel):
    """`datetime: "%Y/%m/%d"` is short for `datetime: {format: "%Y/%m/%d"}`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    format: str = pydantic.Field(min_length=2)
    zone: str | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short(cls, written: object) -> object:
        return {"format": written} if isinstance(written, str) else written

    @pydantic.field_validator("format")
    @classmethod
    def _plain_directives(cls, written: str) -> str:
        directives = set(re.findall(r"%(.?)", written))
        if unknown := directives - _DIRECTIVES:
            raise ValueError(f"the directives %{', %'.join(sorted(unknown))} are not supported")
        has_day = "Y" in directives and ({"m", "d"} <= directives or "j" in directives)
        if not has_day and (directives & set("Ymdjz") or "H" not in directives):
            raise ValueError("it needs %Y, %m and %d, or for a time of day %H and no day")
        return written

    @pydantic.field_validator("zone")
    @classmethod
    def _known_zone(cls, written: str | None) -> str | None:
        if written is not None:
            try:
                zoneinfo.ZoneInfo(written)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError(f"there is no time zone '{written}'") from None
        return written


def _datetime(parameter: DatetimeFormat, kind: Kind, context: Context) -> Built:
    require(kind, ("text",), "datetime")
    pattern = parameter.format
    directives = set(re.findall(r"%(.)", pattern))
    refuse = context.refuse
    zoned = "z" in directives

    def parse(value: str) -> dt.datetime:
        try:
            return dt.datetime.strptime(value, pattern)  # noqa: DTZ007 - the zone is added by the caller
        except ValueError:
            refuse(value, f"is not in the format {pattern}")

    def write(value: dt.datetime, shown: object = None) -> str:
        # glibc writes years below 1000 with fewer than four digits, which would not be read again.
        made = value.strftime(pattern.replace("%Y", f"{value.year:04d}"))
        if parse(made) != value:
            refuse(value if shown is None else shown, f"does not fit into the format {pattern}")
        return made

    if "Y" not in directives:
        if context.target not in ("time", "duration") or parameter.zone:
            raise TransformRefusedError(f"transform datetime: {pattern} is a time of day without a day or a zone")
        return Built(
            "time", lambda value: parse(value).time(), lambda value: write(dt.datetime.combine(_ANY_DAY, value), value)
        )
    zone = zoneinfo.ZoneInfo(parameter.zone) if parameter.zone else context.time_zone
    if zoned:
        return Built("instant", lambda value: _utc(parse(value), context), lambda value: write(value.astimezone(zone)))
    if context.target == "date" and not directives & _TIME_DIRECTIVES:
        if parameter.zone:
            raise TransformRefusedError("transform datetime: a date has no zone")
        midnight = dt.time()
        return Built(
            "date", lambda value: parse(value).date(), lambda value: write(dt.datetime.combine(value, midnight))
        )
    if parameter.zone is None and context.target != "instant":
        return Built("datetime", parse, write)
    forth, back = to_instant(context.where, zone), from_instant(context.where, zone)
    return Built("instant", lambda value: forth(parse(value)), lambda value: write(back(value)))


def _utc(value: dt.datetime, context: Context) -> dt.datetime:
    try:
        return value.astimezone(dt.UTC)
    except OverflowError:
        context.refuse(value, "is outside the years 1 to 9999 in UTC")


def _epoch(parameter: Literal["s", "ms"], kind: Kind, context: Context) -> Built:
    require(kind, ("integer", "decimal"), "epoch")
    micros = 1_000_000 if parameter == "s" else 1_000
    refuse = context.refuse

    def decode(value: Any) -> dt.datetime:
        count = EXACT.multiply(value, micros) if kind == "decimal" else value * micros
        if count != int(count):
            refuse(value, "is finer than a microsecond")
        try:
            return _EPOCH + dt.timedelta(microseconds=int(count))
        except OverflowError:
            refuse(value, "is outside the years 1 to 9999")

    def encode(value: dt.datetime) -> Any:
        count = (value - _EPOCH) // _MICROSECOND
        if kind == "decimal":
            return EXACT.divide(decimal.Decimal(count), decimal.Decimal(micros))
        whole, rest = divmod(count, micros)
        if rest:
            refuse(value, f"is finer than the column's {parameter}")
        return whole

    return Built("instant", decode, encode)


TRANSFORMS: Final = (
    Transform(
        "datetime",
        'Text in a format: `datetime: {format: "%Y-%m-%d %H:%M", zone: Asia/Shanghai}`; with a zone it is an instant.',
        DatetimeFormat,
        _datetime,
        example='"%Y-%m-%d %H:%M"',
    ),
    Transform(
        "epoch", "Seconds or milliseconds since 1970 in UTC: `epoch: ms`.", Literal["s", "ms"], _epoch, example="ms"
    ),
)
