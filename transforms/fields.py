"""The dictionary's types: per field one exact Python value, its wire form in the change log, and its constraints.

    text, enum  str                     wire: str
    integer     int                     wire: int; beyond 64 bits (-2^63 to 2^64-1) its decimal digits as str
    decimal     decimal.Decimal         wire: str of exact digits, no exponent; with the field's scale where it has one
    float       float                   wire: float
    boolean     bool                    wire: bool
    date, time  datetime.date, .time    wire: ISO str
    datetime    naive datetime          wire: ISO str with T, microseconds only where there are some
    instant     aware datetime in UTC   wire: ISO str with T and Z
    duration    datetime.timedelta      wire: ISO str: [-]PT<h>H<m>M<s>[.ffffff]S
    bytes       bytes                   wire: bytes
    json        canonical JSON text     wire: str
    uuid        uuid.UUID               wire: str, lower case with dashes
    set         tuple[str, ...]         wire: list[str], in the order of `values`

What a constraint refuses raises `RefusedValueError`; nothing is rounded, cut or replaced (I6), and the value is masked (I9).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from transforms.batches import Vectored, between, gate, shorter, single
from transforms.kinds import PYTHON_CLASS, Kind, Step, kind_of_field
from transforms.moments import TO_INSTANT_TEXT, aware_datetime, aware_datetimes, naive_datetime, naive_datetimes
from transforms.patterns import LONGEST_TEXT, PatternRefusedError, compile_pattern
from transforms.specs import TIMES, FieldSpec
from transforms.values import RefusedValueError, masked

_WIRE_INT_MIN: Final = -(2**63)
_WIRE_INT_MAX: Final = 2**64 - 1
_DIGITS: Final = re.compile(r"-?[0-9]+")
_DURATION: Final = re.compile(r"(-?)PT([0-9]+)H([0-9]+)M([0-9]+)(?:\.([0-9]{6}))?S")
# Enough for every decimal that an engine holds (PostgreSQL: 131072 digits before, 16383 after the point).
EXACT: Final = decimal.Context(prec=200_000, traps=[decimal.InvalidOperation, decimal.Inexact])

_ORDERED: Final = ("integer", "decimal", "float", *TIMES)


@dataclass(frozen=True, slots=True)
class FieldCodec:
    """`checks` is empty where the type has no constraint; `to_wire` and `from_wire` are None where the forms are the same."""

    kind: Kind
    checks: tuple[Step, ...]
    to_wire: Step | None
    from_wire: Step | None


def field_problems(field: FieldSpec) -> list[str]:
    """Say what is wrong with a field's declaration, one sentence each."""
    problems = []
    if field.type in ("enum", "set") and not field.values:
        problems.append(f"type {field.type} needs values")
    if field.type == "text" and field.values == ():
        problems.append("values is empty: nothing would be allowed")
    if field.values is not None and len(set(field.values)) != len(field.values):
        problems.append("values holds one value twice")
    allowed: dict[str, tuple[object, tuple[str, ...]]] = {
        "values": (field.values, ("enum", "set", "text")),
        "max_length": (field.max_length, ("text", "bytes", "json")),
        "pattern": (field.pattern, ("text",)),
        "minimum": (field.minimum, _ORDERED),
        "maximum": (field.maximum, _ORDERED),
        "precision": (field.precision, ("decimal",)),
        "scale": (field.scale, ("decimal",)),
        "merge": (field.merge, ("integer", "decimal")),
        "to": (field.to, ("reference",)),
    }
    for name, (value, types) in allowed.items():
        if value is not None and field.type not in types:
            problems.append(f"{name} has no meaning for type {field.type} (only for {', '.join(types)})")
    least, most = _bounds(field)
    if least is not None and most is not None and least > most:
        problems.append("minimum is greater than maximum")
    if field.precision is not None and (field.scale or 0) > field.precision:
        problems.append("scale is greater than precision")
    if field.pattern is not None and field.type == "text":
        try:
            compile_pattern(field.pattern)
        except PatternRefusedError as error:
            problems.append(str(error))
    return problems


def field_codec(field: FieldSpec) -> FieldCodec:
    """Compile a field's checks and wire form. ValueError where `field_problems` has something to say."""
    if problems := field_problems(field):
        raise ValueError("; ".join(problems))
    kind = kind_of_field(field.type)
    to_wire, from_wire = _wire_forms(field, kind)
    return FieldCodec(kind, _checks(field, kind), to_wire, from_wire)


def _refuse(field: FieldSpec, constraint: str, value: object) -> NoReturn:
    raise RefusedValueError(f"field {field.name}", f"{masked(value)} {constraint}")


def _checks(field: FieldSpec, kind: Kind) -> tuple[Step, ...]:
    checks: list[Step] = []
    if kind == "decimal":
        checks.append(_decimal_form(field))
    if _bounds(field) != (None, None):
        checks.append(_within(field))
    if field.max_length is not None:
        checks.append(_not_longer(field, field.max_length, "bytes" if kind == "bytes" else "characters"))
    if field.values is not None:
        checks.append(_labels(field) if kind == "set" else _one_of(field))
    if field.pattern is not None:
        checks.append(_matching(field, field.pattern))
    return tuple(checks)


def compose(steps: list[Step]) -> Step | None:
    """Join steps into one function; None for none of them."""
    if not steps:
        return None
    steps = [single(step) for step in steps]
    if len(steps) == 1:
        return steps[0]
    if len(steps) == 2:
        first, second = steps
        return lambda value: second(first(value))
    if len(steps) == 3:
        first, second, third = steps
        return lambda value: third(second(first(value)))
    rest = tuple(steps)

    def run(value: Any) -> Any:
        for step in rest:
            value = step(value)
        return value

    return run


def _decimal_form(field: FieldSpec) -> Step:
    """Bring a decimal to its one form, with exactly the field's scale where it has one, else without trailing zeros."""
    scale = field.scale if field.scale is not None or field.precision is None else 0
    whole_digits = None if field.precision is None else field.precision - (scale or 0)
    quantum = None if scale is None else decimal.Decimal(1).scaleb(-scale)

    def check(value: decimal.Decimal) -> decimal.Decimal:
        if not value.is_finite():
            _refuse(field, "is not a finite number", value)
        if value.is_zero():
            value = value.copy_abs()
        try:
            value = plain(value) if quantum is None else value.quantize(quantum, context=EXACT)
        except decimal.Inexact:
            _refuse(field, f"has more than {scale} decimals", value)
        except decimal.InvalidOperation:
            _refuse(field, "has too many digits", value)
        if whole_digits is not None and value and value.adjusted() >= whole_digits:
            _refuse(field, f"has more than {whole_digits} digits before the point", value)
        return value

    if quantum is None:
        return check
    bound = None if whole_digits is None else decimal.Decimal(1).scaleb(whole_digits)

    def many(values: list[Any]) -> list[Any]:
        with contextlib.suppress(ArithmeticError):  # infinity, NaN, too many digits: the value says it itself
            made = [quantize(value, quantum) for value in values]
            if min(made) > 0 and (bound is None or max(made) < bound):  # not a zero, which may have a sign
                return made
        return list(map(check, values))

    quantize = EXACT.quantize
    return Vectored(check, many)


def plain(value: decimal.Decimal) -> decimal.Decimal:
    """Drop trailing zeros after the point and any exponent: 1.50 -> 1.5, 1E+2 -> 100."""
    value = value.normalize(EXACT)
    return value.quantize(decimal.Decimal(1), context=EXACT) if value.as_tuple().exponent > 0 else value  # type: ignore[operator]


def _bounds(field: FieldSpec) -> tuple[Any, Any]:
    """The least and the greatest value, of the field's own class."""
    return (field.earliest, field.latest) if field.type in TIMES else (field.minimum, field.maximum)


def _within(field: FieldSpec) -> Step:
    least, most = _bounds(field)

    def check(value: Any) -> Any:
        if value != value:  # noqa: PLR0124 - only NaN differs from itself
            _refuse(field, "is not a number", value)
        if least is not None and value < least:
            _refuse(field, f"is less than the minimum {least}", value)
        if most is not None and value > most:
            _refuse(field, f"is more than the maximum {most}", value)
        return value

    return check if field.type == "float" else gate(check, between(least, most))


def _not_longer(field: FieldSpec, limit: int, unit: str) -> Step:
    def check(value: Any) -> Any:
        if len(value) > limit:
            _refuse(field, f"is longer than max_length {limit} ({len(value)} {unit})", value)
        return value

    return gate(check, shorter(limit))


def _one_of(field: FieldSpec) -> Step:
    values = frozenset(field.values or ())

    def check(value: str) -> str:
        if value not in values:
            _refuse(field, "is not one of its values", value)
        return value

    return gate(check, values.issuperset)


def _labels(field: FieldSpec) -> Step:
    order = {label: at for at, label in enumerate(field.values or ())}

    def check(value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(sorted(set(value), key=order.__getitem__))
        except KeyError:
            _refuse(field, "holds a label that is not one of its values", ",".join(value))

    return check


def _matching(field: FieldSpec, pattern: str) -> Step:
    matches = compile_pattern(pattern)
    longest = LONGEST_TEXT if field.max_length is None else field.max_length

    def check(value: str) -> str:
        if len(value) > longest:
            _refuse(field, f"is longer than {longest} characters, which takes a max_length beside pattern", value)
        if not matches(value):
            _refuse(field, "does not match its pattern", value)
        return value

    short = shorter(longest)
    return gate(check, lambda values: short(values) and all(map(matches, values)))


def _wire_forms(field: FieldSpec, kind: Kind) -> tuple[Step | None, Step]:
    def guarded(
        parse: Callable[[Any], Any], wire_class: type = str, parse_many: Callable[[list[Any]], list[Any]] | None = None
    ) -> Step:
        def from_wire(value: Any) -> Any:
            if value.__class__ is not wire_class:
                _refuse(field, f"came as {type(value).__name__} in the change log: not a {field.type}", value)
            try:
                return parse(value)
            except (ValueError, ArithmeticError):
                _refuse(field, f"came in a form that is not a {field.type}", value)

        def many(values: list[Any]) -> list[Any]:
            if set(map(type, values)) == {wire_class}:
                with contextlib.suppress(ValueError, ArithmeticError):
                    return list(map(parse, values)) if parse_many is None else parse_many(values)
            return list(map(from_wire, values))

        return Vectored(from_wire, many)

    def same(wire_class: type) -> Step:
        def from_wire(value: Any) -> Any:
            if value.__class__ is wire_class:
                return value
            _refuse(field, f"came as {type(value).__name__} in the change log: not a {field.type}", value)

        return gate(from_wire, lambda values: set(map(type, values)) == {wire_class})

    match kind:
        case "text" | "float" | "boolean" | "bytes" | "json":
            return None, same(PYTHON_CLASS[kind])
        case "integer":
            in_range = between(_WIRE_INT_MIN, _WIRE_INT_MAX)
            return gate(_integer_to_wire, in_range), _integer_from_wire(field)
        case "decimal":
            # Up to six decimals, str writes no exponent.
            short = field.scale is not None and field.scale <= 6
            return (str if short else _decimal_to_wire), guarded(_exact_decimal)
        case "date":
            return dt.date.isoformat, guarded(dt.date.fromisoformat)
        case "time":
            return dt.time.isoformat, guarded(dt.time.fromisoformat)
        case "datetime":
            return dt.datetime.isoformat, guarded(naive_datetime, parse_many=naive_datetimes)
        case "instant":
            return TO_INSTANT_TEXT, guarded(aware_datetime, parse_many=aware_datetimes)
        case "duration":
            return duration_text, guarded(parse_duration)
        case "uuid":
            return str, guarded(uuid.UUID)
        case "set":
            return list, guarded(tuple, list)


def _integer_to_wire(value: int) -> int | str:
    return value if _WIRE_INT_MIN <= value <= _WIRE_INT_MAX else str(value)


def _integer_from_wire(field: FieldSpec) -> Step:
    def from_wire(value: Any) -> int:
        if value.__class__ is int:
            return int(value)
        if value.__class__ is str and _DIGITS.fullmatch(value):
            return int(value)
        _refuse(field, f"came as {type(value).__name__} in the change log: not an integer", value)

    return gate(from_wire, lambda values: set(map(type, values)) == {int})


def _decimal_to_wire(value: decimal.Decimal) -> str:
    return format(value, "f")


def _exact_decimal(text: str) -> decimal.Decimal:
    value = decimal.Decimal(text)
    if not value.is_finite():
        raise ValueError("not finite")
    return value


def duration_text(value: dt.timedelta) -> str:
    """ISO 8601, hours and smaller: a day has 24 hours here."""
    minus = "-" if value < dt.timedelta(0) else ""
    value = abs(value)
    minutes, seconds = divmod(value.days * 86400 + value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06d}" if value.microseconds else ""
    return f"{minus}PT{hours}H{minutes}M{seconds}{fraction}S"


def parse_duration(text: str) -> dt.timedelta:
    """Read what `duration_text` writes; ValueError for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("not a duration")
    minus, hours, minutes, seconds, micros = match.groups()
    value = dt.timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds), microseconds=int(micros or 0))
    return -value if minus else value
