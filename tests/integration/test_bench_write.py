"""`python -m bench write` works and says what it promises to say; what a way to write claims to have written is checked."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness.workload import row, table_statement
from bench.write import Batches, differs
from bench.writers.contract import batch_of
from tests.servers import server_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


def test_a_quick_run_measures_every_way_in_every_step(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "write", "--quick", "--json", "--rows", "0.02", "--servers", "mariadb", "postgresql",
         "--sizes", "100", "--progress", "--folder", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    steps = {"new100", "existing100", "update100", "delete100"}
    others = {
        "mariadb": {"pymysql-executemany", "literals", "update-statements", "load-data-merge", "sqlalchemy-core"},
        "postgresql": {"psycopg-executemany", "unnest-binary", "copy-merge", "sqlalchemy-core"},
    }
    expected = {(server, step, way) for server in others for step in steps for way in {"datong"} | others[server]}
    assert {(result["server"], result["workload"], result["subject"]) for result in results} == expected
    assert all(result["rows_per_second"] > 0 and result["cpu_us_per_row"] > 0 for result in results)
    for result in results:
        peers = [one for one in results if (one["server"], one["workload"]) == (result["server"], result["workload"])]
        fastest = max(one["rows_per_second"] for one in peers if one["subject"] != "datong")
        expects = result["rows_per_second"] / fastest if result["subject"] == "datong" else None
        assert result.get("of_fastest") == (expects and pytest.approx(expects))
    assert list(folder.iterdir()) == []


def test_batches_hold_every_row_once() -> None:
    made = list(Batches(10, 40).of("insert", 3))
    assert [len(batch) for batch in made] == [10] * 4
    assert [one for batch in made for one in batch] == [row(ident, 3) for ident in range(1, 41)]
    assert batch_of("delete", 1, 2, 0) == [(1,), (2,)]


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_rows_that_lack_or_differ_are_no_measurement(engine: str, request: pytest.FixtureRequest) -> None:
    database = request.getfixturevalue(f"{engine}_db")

    def ask(statement: str) -> tuple[object, ...] | None:
        found = database.execute(statement)
        return tuple(found[0]) if found else None

    database.execute(table_statement("postgresql" if engine == "postgresql" else "mariadb"))
    marks = ", ".join(["%s"] * 10)
    for ident in range(-3, 5):
        database.execute(f"INSERT INTO orders VALUES ({marks})", *row(ident, 1))
    assert not differs(ask, "insert", 1, 4)
    assert differs(ask, "insert", 2, 4)
    assert differs(ask, "insert", 1, 5)
    assert differs(ask, "delete", 0, 4)
    database.execute("UPDATE orders SET title = 'bent' WHERE id = 2")
    assert differs(ask, "insert", 1, 4)
    database.execute("DELETE FROM orders WHERE id > 0")
    assert not differs(ask, "delete", 0, 4)
