"""`python -m bench pipeline` works and says what it promises to say; what it claims to have arrived is checked, value by value."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness.arrival import NotArrived, Target
from bench.harness.servers import Engine
from bench.harness.workload import Workload, table_statement, transactions
from tests.servers import server_folder

ROOT = Path(__file__).resolve().parents[2]
INSERTS = Workload("ins10", "insert", 10, 100)
UPDATES = Workload("upd10", "update", 10, 150, base=100)


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


def test_a_small_run_measures_the_service_end_to_end_and_at_a_steady_pace(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "pipeline", "--quick", "--json", "--rows", "0.02", "--pairs", "mariadb->postgresql",
         "--workloads", "ins10", "latency", "--folder", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    rows = {(result["workload"], result["subject"]): result for result in results}
    assert {result["server"] for result in results} == {"mariadb->postgresql"}
    assert set(rows) == {
        ("ins10", "datong"), ("ins10", "native"), ("latency50", "datong"), ("latency500", "datong"), ("idle", "datong"),
        ("latency50", "native"), ("latency500", "native"),
    }  # fmt: skip
    assert rows["ins10", "datong"]["rows_per_second"] > 0
    assert (
        0 < rows["latency50", "datong"]["transactions_per_second"] < 110
    )  # a late one may be made up for by ten pauses
    assert 0 < rows["latency500", "datong"]["p50_ms"] <= rows["latency500", "datong"]["p99_ms"]
    assert 0 <= rows["idle", "datong"]["idle_cpu_percent"] < 100
    for role in ("supervisor", "admin", "capture", "apply"):
        assert 10 < rows["idle", "datong"][f"memory_{role}_mb"] < 150
    assert all(row["skipped"] for (_, subject), row in rows.items() if subject == "native")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_rows_that_lack_or_differ_are_no_measurement(engine: Engine, request: pytest.FixtureRequest) -> None:
    database = request.getfixturevalue(f"{engine}_db")
    with database.connect() as connection:
        target = Target(database.server, connection)

        def run(*statements: str) -> None:
            with connection.cursor() as cursor:
                for statement in statements:
                    for one in statement.split("; "):
                        cursor.execute(one)

        run(table_statement(engine), *transactions(Workload("base", "insert", 10, 90), engine))
        assert target.progress("orders", INSERTS) == 90
        with pytest.raises(NotArrived, match="did not arrive"):
            target.time("orders", INSERTS, time.monotonic(), 0.1, lambda: "")
        with pytest.raises(NotArrived, match="holds"):
            target.check("orders", INSERTS)
        run("DELETE FROM orders", *transactions(INSERTS, engine))
        assert target.time("orders", INSERTS, time.monotonic(), 5, lambda: "").rows == 100
        target.check("orders", INSERTS)
        run("UPDATE orders SET title = 'bent' WHERE id = 100")
        with pytest.raises(NotArrived, match="row 100"):
            target.check("orders", INSERTS)
        run("DELETE FROM orders", *transactions(INSERTS, engine), *transactions(UPDATES, engine))
        assert target.progress("orders", UPDATES) == 150
        target.check("orders", UPDATES)
        run("UPDATE orders SET amount = amount - 1 WHERE id = 1")
        with pytest.raises(NotArrived, match="row 1 "):
            target.check("orders", UPDATES)
