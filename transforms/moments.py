"""Dates with times, with and without a zone, and their text: for one value, and for a whole column of a batch. Pure. Guards I6.

`datetime.replace` costs four times what putting date and time together anew does, and a column has thousands of values: the forms for
many values give exactly what the ones for one value give, or raise, and their caller goes value by value.
"""

from __future__ import annotations

import datetime as dt
from itertools import repeat
from operator import attrgetter
from typing import Any, Final

from transforms.batches import Vectored

_combine: Final = dt.datetime.combine
_date: Final = dt.datetime.date
_time: Final = dt.datetime.time  # keeps `fold`
_isoformat: Final = dt.datetime.isoformat
_read: Final = dt.datetime.fromisoformat
_zone: Final = attrgetter("tzinfo")
_OFFSET: Final = len("+00:00")


def naive_datetime(text: str) -> dt.datetime:
    """ISO text without a zone; ValueError for anything else."""
    value = _read(text)
    if value.tzinfo is not None:
        raise ValueError("has a zone")
    return value


def naive_datetimes(texts: list[str]) -> list[dt.datetime]:
    values = list(map(_read, texts))
    if set(map(_zone, values)) != {None}:
        raise ValueError("has a zone")
    return values


def aware_datetime(text: str) -> dt.datetime:
    """ISO text with a zone, as UTC; ValueError for anything else."""
    value = _read(text)
    if value.tzinfo is dt.UTC:
        return value
    if value.tzinfo is None:
        raise ValueError("has no zone")
    return value.astimezone(dt.UTC)


def aware_datetimes(texts: list[str]) -> list[dt.datetime]:
    values = list(map(_read, texts))
    return values if set(map(_zone, values)) == {dt.UTC} else list(map(aware_datetime, texts))


def instant_text(value: dt.datetime) -> str:
    """ISO text of a moment in UTC, with Z."""
    return _combine(value.date(), value.time()).isoformat() + "Z"


def _instant_texts(values: list[Any]) -> list[str]:
    if set(map(_zone, values)) != {dt.UTC}:
        return list(map(instant_text, values))
    return [text[:-_OFFSET] + "Z" for text in map(_isoformat, values)]


def _in_utc(values: list[Any]) -> list[dt.datetime]:
    return list(map(_combine, map(_date, values), map(_time, values), repeat(dt.UTC)))


def _without_zone(values: list[Any]) -> list[dt.datetime]:
    return list(map(_combine, map(_date, values), map(_time, values)))


TO_INSTANT_TEXT: Final = Vectored(instant_text, _instant_texts)
# A wall clock in UTC and its instant.
IN_UTC: Final = Vectored(lambda value: value.replace(tzinfo=dt.UTC), _in_utc)
WITHOUT_ZONE: Final = Vectored(lambda value: value.replace(tzinfo=None), _without_zone)
