"""What the catalog says of a type -> the column's type, and how its text is read. Pure. Guards I6: a type that is not here is refused."""

from __future__ import annotations

from typing import Final, Literal

from cdc.readers.pgoutput_rows import INLINE, Decode, Inline
from cdc.readers.postgresql_arrays import array_decoder
from cdc.readers.postgresql_catalog import TypeFacts
from cdc.readers.postgresql_values import DECODERS, decode_text, enum_decoder
from transforms.tables import ColumnType

_KINDS: Final[dict[str, Literal["base", "enum", "array", "domain", "composite", "range"]]] = {
    "b": "base", "e": "enum", "A": "array", "d": "domain", "c": "composite", "r": "range", "m": "range",
}  # fmt: skip
_HEADER: Final = 4  # VARHDRSZ, which typmods of variable-length types carry
_TIMES: Final = frozenset({"timestamp", "timestamptz", "time", "timetz"})


def reading(facts: TypeFacts, labels_seen: set[bytes]) -> tuple[Decode, Inline | None] | None:
    """The decoder of a type's values, and how generated code spells it out where it does; None: the type cannot be read.

    `labels_seen`: see `enum_decoder`.
    """
    match facts.base_kind:
        case "e":
            return enum_decoder(facts.labels, labels_seen), None
        case "r" | "m":
            return decode_text, INLINE["text"]
        case "A" if facts.element is not None and reading(facts.element, set()) is not None:
            return array_decoder(facts.element.base_name), None
        case "b" if facts.base_name in DECODERS:
            return DECODERS[facts.base_name], INLINE.get(facts.base_name)
    return None


def column_type(facts: TypeFacts | None, oid: int, modifier: int) -> ColumnType:
    """The type of a column, whose own modifier is -1 where it has none."""
    if facts is None:
        return ColumnType("postgresql", f"oid {oid}")
    if facts.kind == "d":
        under = _plain(facts, facts.base_name, facts.base_kind, facts.modifier if modifier < 0 else modifier)
        return ColumnType(
            "postgresql", facts.name, length=under.length, precision=under.precision, scale=under.scale, labels=under.labels,
            kind="domain", base=under,
        )  # fmt: skip
    return _plain(facts, facts.name, facts.kind, modifier)


def _plain(facts: TypeFacts, name: str, kind: str, modifier: int) -> ColumnType:
    if kind == "A":
        element = None if facts.element is None else column_type(facts.element, 0, modifier)
        plain = element.base or element if element is not None else None
        return ColumnType("postgresql", name, kind="array", element=plain)
    length, precision, scale = _modifier(name, modifier)
    labels = facts.labels if kind == "e" else None
    return ColumnType(
        "postgresql",
        name,
        length=length,
        precision=precision,
        scale=scale,
        labels=labels,
        kind=_KINDS.get(kind, "base"),
    )


def _modifier(base: str, modifier: int) -> tuple[int | None, int | None, int | None]:
    """Length, precision, scale that a type modifier stands for (numeric.c, varchar.c, timestamp.c)."""
    if modifier < 0:
        return None, None, None
    if base in {"varchar", "bpchar"}:
        return modifier - _HEADER, None, None
    if base in {"bit", "varbit"}:
        return modifier, None, None
    if base == "numeric":
        value = modifier - _HEADER
        # 11 bits with a sign since version 15; before, scales ended at 1000, so they read the same.
        return None, value >> 16 & 0xFFFF, ((value & 0x7FF) ^ 1024) - 1024
    if base in _TIMES:
        return None, None, modifier
    return None, None, None
