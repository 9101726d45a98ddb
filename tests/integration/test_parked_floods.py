"""A thousand rows that are refused for one reason are a few lines in the log; each is listed and counted."""

from __future__ import annotations

import json

from tests.waiting import await_that
from tests.world import World

BAD = 1000


def test_a_thousand_rows_refused_for_one_reason_are_two_lines_and_all_of_them_are_listed_and_counted(mixed: World):
    a, b = mixed["a"], mixed["b"]
    b.execute("ALTER TABLE t ADD CONSTRAINT small CHECK (v < 1000)")
    mixed.start()
    with a.transaction() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s, %s, 'x')", [(n, 1000 + n) for n in range(BAD)])
        cursor.execute("INSERT INTO t VALUES (5000, 1, 'good')")
    await_that(
        lambda: mixed.role("b", "apply")["parked"] == BAD, timeout=60, message=lambda: f"parked: {mixed.readiness()}"
    )
    assert set(b.rows()) == {5000}
    parked = json.loads(mixed.command("parked", "list", "--json").stdout)
    assert len({one["id"] for one in parked}) == BAD
    _, body = mixed.get("/metrics")[:2]
    (counted,) = [line for line in str(body).splitlines() if line.startswith("datong_parked_rows{") and '"b"' in line]
    assert float(counted.split()[-1]) == BAD

    def lines(event: str) -> list[dict[str, object]]:
        found = [json.loads(line) for line in mixed.log().splitlines() if f'"{event}"' in line]
        return [line for line in found if line["event"] == event]

    await_that(lambda: lines("rows_parked"), message=lambda: mixed.log()[-3000:])
    assert [line["rows"] for line in lines("rows_parked")] == [BAD - 1]
    assert [line["reason"] for line in lines("row_parked")] == ["rejected"]
    assert len(lines("batch_rejected")) == 1
