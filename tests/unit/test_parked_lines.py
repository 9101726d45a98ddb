"""A flood of parked changes is a line at once and then a summary; another table, reason or column is another line."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from cdc.apply.parked_lines import SUMMARY_SECONDS, ParkedLines, kind_of
from sinks.contract import ParkedRow


def row(
    number: int, error: str = "column v: 1005 is too high", mapping: str = "b.t", reason: str = "refused"
) -> ParkedRow:
    return ParkedRow(f"a-{number}", "coffee", "a", number, 0, mapping, "thing", "thing/[1]", reason, error, number, b"")


class Told:
    def __init__(self) -> None:
        self.now = 0.0
        self.lines = ParkedLines(lambda: self.now)

    def of(self, *rows: ParkedRow, later: float = 0.0, close: bool = False) -> list[dict[str, Any]]:
        self.now += later
        with capture_logs() as logs:
            self.lines.tell(rows)
            self.lines.tell_when_due()
            if close:
                self.lines.close()
        return [dict(line) for line in logs]


def test_a_flood_is_one_line_at_once_and_one_with_the_rest_when_it_is_due():
    told = Told()
    (first,) = told.of(*(row(number) for number in range(1000)))
    assert (first["event"], first["id"], first["error"]) == ("row_parked", "a-0", "column v: 1005 is too high")
    assert told.of(row(1000), later=SUMMARY_SECONDS / 2) == []
    (summary,) = told.of(later=SUMMARY_SECONDS)
    assert (summary["event"], summary["rows"], summary["last"]) == ("rows_parked", 1000, "a-1000")
    assert [line["rows"] for line in told.of(row(1001), later=SUMMARY_SECONDS)] == [1]  # it goes on
    assert told.of(later=SUMMARY_SECONDS) == []
    assert [line["event"] for line in told.of(row(1002))] == ["row_parked"]  # it was over


def test_another_table_reason_or_column_is_a_line_of_its_own():
    told = Told()
    errors = ["column v: 1005 is too high", "column v2: 7 is too high", "column v: too low"]
    rows = [row(n, error) for n, error in enumerate(errors)] + [row(8, mapping="b.u"), row(9, reason="rejected")]
    assert [line["event"] for line in told.of(*rows, *rows)] == ["row_parked"] * 5
    assert [line["rows"] for line in told.of(close=True)] == [1] * 5
    assert told.of(close=True) == []


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("column v: 12 is above 7", "column v: -3.5 is above 7", True),
        ("note ab***(12) does not fit", "note 数据***(2048) does not fit", True),
        ("note *** does not fit", "note ab***(20) does not fit", True),
        ("column c1 is NULL", "column c2 is NULL", False),
        ("key `one` is taken", "key `two` is taken", False),
    ],
)
def test_what_makes_one_kind(one: str, other: str, alike: bool):
    assert (kind_of(one) == kind_of(other)) is alike


def test_kinds_without_end_are_forgotten_one_by_one():
    told = Told()
    lines = told.of(row(0, "kind"), row(1, "kind"), *(row(n, "kind" + "x" * n) for n in range(1, 500)))
    assert [line["rows"] for line in lines if line["event"] == "rows_parked"] == [1]
    assert len(told.lines._floods) <= 200
