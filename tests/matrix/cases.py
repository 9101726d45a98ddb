"""The cases of CASES.md section 3 as data: one line of a YAML file each (`cases/*.yaml`, whose heads explain the words).

A case joins one column of channel a to one of channel b through one dictionary field, and says of every value what the other
side has to show: nothing here asks the product what it thinks.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).parent / "cases"
NULL = "NULL"
_KNOWN = {
    "row", "a", "b", "field", "both", "a_to_b", "b_to_a", "refused_at_a", "refused_at_b", "sentence", "only", "transforms",
    "key", "compare", "not_null", "why", "make", "alter", "show", "identity",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Value:
    """A literal as the writer's SQL holds it, and what is expected: a text, or (`refused`) a pattern of the reason it is parked for."""

    literal: str
    expected: str | None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """`types`, `transforms`, `make`, `alter` and `show` by channel (a, b). `values` by the channel that writes them."""

    name: str
    row: int
    types: dict[str, str]
    field: dict[str, Any]
    values: dict[str, tuple[Value, ...]]
    transforms: dict[str, list[Any]]
    compare: str | None
    sentence: str | None
    is_key: bool
    make: dict[str, str]
    alter: dict[str, str]
    show: dict[str, str]
    identity: str
    line: str = field(repr=False, default="")

    def good(self, source: str) -> tuple[Value, ...]:
        return tuple(value for value in self.values[source] if not value.refused)

    def refused(self, source: str) -> tuple[Value, ...]:
        return tuple(value for value in self.values[source] if value.refused)


def load(file: str, engines: dict[str, str]) -> list[Case]:
    """The cases of a file that are meant for these engines, by channel name. DATONG_ROWS=11,37 takes these rows of the matrix alone."""
    rows = [int(row) for row in os.environ.get("DATONG_ROWS", "").split(",") if row]
    lines = YAML(typ="safe").load((FOLDER / file).read_text())
    made = [_case(f"{number:03}", line) for number, line in enumerate(lines) if _is_meant(line, engines)]
    made = [case for case in made if not rows or case.row in rows]
    assert made, f"{file} has no case for {engines}"
    return made


def _is_meant(line: dict[str, Any], engines: dict[str, str]) -> bool:
    return line.get("only") is None or line["only"] in engines.values()


def _case(number: str, line: dict[str, Any]) -> Case:
    unknown = set(line) - _KNOWN
    assert not unknown, f"unknown words {unknown} in {line}"
    nulls = () if line.get("not_null") or line.get("key") else (Value(NULL, None),)
    declared = line.get("field", "text")
    assert not line.get("key") or not {"refused_at_a", "refused_at_b"} & set(line), f"a refused key has no name: {line}"
    return Case(
        name=f"c{number}",
        row=line["row"],
        types={"a": line["a"], "b": line["b"]},
        field=declared if isinstance(declared, dict) else {"type": declared},
        values={
            "a": _values(line, "a_to_b", "refused_at_b", nulls),
            "b": _values(line, "b_to_a", "refused_at_a", nulls),
        },
        transforms={channel: line.get("transforms", {}).get(channel, []) for channel in "ab"},
        compare=line.get("compare"),
        sentence=line.get("sentence"),
        is_key=bool(line.get("key")),
        make=line.get("make", {}),
        alter=line.get("alter", {}),
        show=line.get("show", {}),
        identity=line.get("identity", "FULL"),
        line=str(line),
    )


def _values(line: dict[str, Any], way: str, refusals: str, nulls: tuple[Value, ...]) -> tuple[Value, ...]:
    found = [Value(str(literal), unquoted(str(literal))) for literal in line.get("both", ())]
    found += [Value(str(literal), str(expected)) for literal, expected in line.get(way, {}).items()]
    found += [Value(str(literal), str(pattern), refused=True) for literal, pattern in line.get(refusals, {}).items()]
    return (*found, *nulls) if found else ()


def unquoted(literal: str) -> str:
    """What a plain literal means: 'it''s' is it's, 12 is 12."""
    quoted = re.fullmatch(r"'((?:[^']|'')*)'", literal, re.DOTALL)
    return quoted[1].replace("''", "'") if quoted else literal
