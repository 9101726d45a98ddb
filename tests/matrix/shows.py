"""How a column is shown by a plain SELECT, and when two shown texts say the same value. No code of the product.

Every way of showing is the server's own: CAST, HEX, `::text`. What is left to Python is how numbers and JSON compare.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
import struct
from typing import Any

# Sessions that look: their own settings, whatever the server's defaults are.
VIEW_MYSQL = "SET time_zone = '+00:00', sql_mode = '', NAMES utf8mb4"
VIEW_POSTGRESQL = "SET DateStyle = ISO; SET IntervalStyle = iso_8601; SET TimeZone = UTC; SET bytea_output = hex; SET extra_float_digits = 1"
_KINDS = {
    "number": "tinyint smallint mediumint int integer bigint decimal numeric year serial",
    "float4": "float real",
    "float8": "double",
    "text": "char varchar tinytext text mediumtext longtext enum set",
    "hex": "binary varbinary tinyblob blob mediumblob longblob bytea geometry point linestring polygon geometrycollection vector",
    "moment": "date datetime timestamp time timestamptz timetz",
    "json": "json jsonb",
    "bits": "bit",
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}


def kind_of(engine: str, column_type: str) -> str:
    name = re.split(r"[ (\[]", column_type.lower())[0]
    if column_type.endswith("[]"):
        return "raw"
    if engine == "postgresql":
        name = {
            "double": "double",
            "character": "varchar",
            "int4": "int",
            "int8": "bigint",
            "float8": "double",
            "float4": "real",
        }.get(name, name)
        if name in ("bit", "char", "varchar", "text", "enum"):
            return "raw" if name == "bit" else "text"
        if name == "timestamp" and "with time zone" in column_type.lower():
            return "moment"
    return _KIND_OF.get(name, "raw")


def shown(engine: str, column_type: str, column: str = "v") -> str:
    """The SELECT expression that shows a column as text."""
    kind = kind_of(engine, column_type)
    if engine == "postgresql":
        if kind == "text":
            return f"encode(convert_to({column}::text, 'UTF8'), 'hex')"
        if kind == "hex":
            return f"encode({column}, 'hex')"
        if kind == "float4":
            return f"{column}::float8::text"
        if "timestamptz" in column_type.lower():
            return f"({column} AT TIME ZONE 'UTC')::text"
        return f"{column}::text"
    if kind == "text":
        return f"HEX(CONVERT({column} USING utf8mb4))"
    if kind == "hex":
        return f"HEX({column})"
    if kind == "float4":
        return f"CAST({column} * 1e0 AS CHAR)"  # a FLOAT alone is shown with six digits
    if kind == "bits":
        length = re.search(r"\((\d+)\)", column_type)
        return f"LPAD(BIN({column} + 0), {length[1] if length else 1}, '0')"
    if kind == "json":
        return f"CAST({column} AS CHAR CHARACTER SET utf8mb4)"
    return f"CAST({column} AS CHAR)"


def readable(engine: str, column_type: str, text: str | None) -> str | None:
    """A shown text as an expectation writes it: characters for text, lower-case hex for bytes."""
    if text is None:
        return None
    kind = kind_of(engine, column_type)
    if kind == "text":
        return bytes.fromhex(text).decode()
    if kind == "hex":
        return text.lower()
    return text


def same(kind: str, expected: str | None, found: str | None) -> bool:
    if expected is None or found is None:
        return expected is found
    if kind == "number" and _NUMBER.fullmatch(expected) and _NUMBER.fullmatch(found):
        return decimal.Decimal(expected) == decimal.Decimal(found)
    if kind in ("float4", "float8") and _is_float(expected) and _is_float(found):
        form = "<f" if kind == "float4" else "<d"
        return struct.pack(form, float(expected)) == struct.pack(form, float(found))
    if kind == "moment":
        return _moment(expected) == _moment(found)
    if kind == "json":
        return _json(expected) == _json(found)
    return expected == found


_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _moment(text: str) -> str:
    """Without the zeros at a fraction's end, which every engine writes in its own number."""
    return re.sub(r"(\.[0-9]*?)0+$", r"\1", text).removesuffix(".") if "." in text else text


def _json(text: str) -> Any:
    if text == "no row":
        return None
    return _marked(json.loads(text, parse_float=_Number, parse_int=_Whole, parse_constant=str))


class _Number(decimal.Decimal):
    pass


class _Whole(int):
    pass


def _marked(value: Any) -> Any:
    """1 and 1.0 and "1" and true are four things."""
    if isinstance(value, dict):
        return {key: _marked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_marked(inner) for inner in value]
    if isinstance(value, _Number):
        return ("number", decimal.Decimal(value).normalize())
    if isinstance(value, _Whole):
        return ("whole", int(value))
    return (type(value).__name__, value)


def text_of(value: Any) -> str | None:
    """What a driver made of a shown expression."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode()
    if isinstance(value, dt.date | dt.time | dt.timedelta | int | decimal.Decimal):
        return str(value)
    raise TypeError(type(value))
