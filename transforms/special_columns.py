"""Conversions that depend on a column's own declaration and not on its kind alone: bits, UUIDs without dashes, sets as text. Guards I6."""

from __future__ import annotations

import re
import uuid
from typing import Final

from transforms.bits import bit_conversion
from transforms.capacity import BARE_UUID, text_room
from transforms.conversions import Conversion
from transforms.kinds import Kind
from transforms.tables import ColumnType
from transforms.text_limits import as_catalogs_show
from transforms.values import RefusedValueError, masked

_BARE: Final = re.compile(r"[0-9a-fA-F]{32}")


def column_conversion(column_type: ColumnType, kind: Kind, target: Kind, where: str) -> Conversion | None:
    """How a column that is no ordinary one of its kind becomes a field; None where its kind alone decides."""
    plain = column_type.base or column_type
    if kind == "text" and target == "uuid" and text_room(plain) == BARE_UUID:
        return _bare_uuid(where)
    if kind == "set" and target == "text" and plain.labels is not None:
        return _labels_in_order(plain.labels, where)
    return bit_conversion(column_type, target, where)


def _bare_uuid(where: str) -> Conversion:
    """A column of 32 characters has no room for dashes."""

    def forth(value: str) -> uuid.UUID:
        if _BARE.fullmatch(value) is None:
            raise RefusedValueError(where, f"{masked(value)} is not a uuid without dashes")
        return uuid.UUID(value)

    return Conversion(forth, lambda value: value.hex)


def _labels_in_order(labels: tuple[str, ...], where: str) -> Conversion:
    """A set is written in the order of its declaration, so another order in a text would not come back as it was."""
    order = {label: at for at, label in enumerate(labels)}

    def back(text: str) -> tuple[str, ...]:
        found = tuple(text.split(",")) if text else ()
        try:
            places = [order[label if label in order else as_catalogs_show(label)] for label in found]
        except KeyError:
            raise RefusedValueError(where, f"{masked(text)} holds a label that this set does not have") from None
        if places != sorted(set(places)):
            raise RefusedValueError(where, f"{masked(text)} has its labels twice or in another order than the column")
        return found

    return Conversion(",".join, back)
