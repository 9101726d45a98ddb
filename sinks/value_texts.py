"""The texts of many values of one Python class at once, as msgspec's JSON encoder writes them. Guards the target's speed. Pure.

Of integers, decimals, dates, moments and UUIDs that is the text which `str` and `isoformat` write, in a fraction of their time. A value
of another class would be written as JSON has it, so the caller looks at the classes first. Nothing is checked here but what is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

_JSON: Final = msgspec.json.Encoder(decimal_format="number")


def json_array(values: Sequence[Any]) -> bytes:
    """`[1,2]`, `["2026-01-31T23:59:59.000001"]`. Raises UnicodeEncodeError for a lone surrogate."""
    return _JSON.encode(values)


def integers_text(values: Sequence[int]) -> str:
    """`1,-12`; at least one."""
    return _JSON.encode(values)[1:-1].decode()


def number_texts(values: Sequence[Any]) -> list[str]:
    """Of integers or decimals, at least one: `-12`, `1.50`, `1E+5`."""
    return _JSON.encode(values)[1:-1].decode().split(",")


def texts_in_quotes(values: Sequence[Any]) -> list[str]:
    """Of dates, moments or UUIDs, at least one, without the quotes; a moment in UTC ends in Z."""
    return _JSON.encode(values)[2:-2].decode().split('","')


def are_without_escapes(values: Sequence[Any]) -> bytes | None:
    """Texts as JSON, where none holds a double quote, a backslash, a control character below U+0020 or a lone surrogate; else None."""
    try:
        written = _JSON.encode(values)
    except UnicodeEncodeError:
        return None
    return None if b"\\" in written else written
