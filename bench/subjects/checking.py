"""Whether a subject read what it claims: the number of rows, the sum of their ids, and whole rows taken from all over the log."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, cast

from bench.harness.subject import Task
from bench.harness.workload import FIELDS, Row, Workload, row


def workload_of(task: Task) -> Workload:
    return Workload(**task["workload"])


def check(task: Task, rows: int, sum_of_ids: int, sampled: Iterable[tuple[int, tuple[Any, ...]]]) -> None:
    """`sampled`: the log's row number and all ten values after. Raises ValueError; a row that lacks work is no measurement."""
    workload = workload_of(task)
    if rows != workload.rows:
        raise ValueError(f"{rows} rows were read, {workload.rows} are in the log")
    if sum_of_ids != workload.sum_of_ids:
        raise ValueError(f"the ids of the rows that were read sum up to {sum_of_ids}, not to {workload.sum_of_ids}")
    looked = 0
    for index, values in sampled:
        looked += 1
        ident, revision = workload.expected(index)
        if (
            workload.op == "update"
            and 0 <= values[0] - index // workload.batch * workload.batch % workload.base - 1 < workload.batch
        ):
            ident = values[0]  # one statement's rows come in the order in which the server found them
        expected = row(ident, revision)
        if tuple(values) != expected or [type(v) for v in values] != [type(v) for v in expected]:
            raise ValueError(f"row {index} of the log was read as {values}, it is {expected}")
    if not looked:
        raise ValueError("no row was looked at")


def from_wire(values: Iterable[Any]) -> Row:
    """A row's wire values back to the values that `row` gives."""
    made = [_value(spec["type"], value) for spec, value in zip(FIELDS.values(), values, strict=True)]
    return cast("Row", tuple(made))


def _value(kind: str, wire: Any) -> Any:
    parse = _PARSE.get(kind)
    return wire if parse is None else parse(wire)


def _instant(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=None)


_PARSE: dict[str, Callable[[str], Any]] = {
    "decimal": Decimal,
    "datetime": dt.datetime.fromisoformat,
    "instant": _instant,
}
