"""`python -m bench read` works and says what it promises to say; what a subject claims to have read is checked."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.harness.workload import Workload, row
from bench.subjects.checking import check
from tests.servers import server_folder

ROOT = Path(__file__).resolve().parents[2]
INSERTS = Workload("ins10", "insert", 10, 2000)
UPDATES = Workload("upd10", "update", 10, 200, base=100)


@pytest.fixture
def folder():
    with server_folder() as made:
        yield made


def test_a_quick_run_prints_one_json_object_with_every_subject_and_leaves_nothing(folder):
    done = subprocess.run(
        [sys.executable, "-m", "bench", "read", "--quick", "--json", "--rows", "0.02", "--servers", "mariadb",
         "--workloads", "ins10", "--folder", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {"machine", "versions", "results"}
    assert {"python", "mariadb", "mysql-replication"} <= set(found["versions"])
    rows = {result["subject"]: result for result in found["results"]}
    assert set(rows) == {"python-mysql-replication", "datong-reader", "datong-capture", "debezium-json"}
    for subject in ("python-mysql-replication", "datong-reader", "datong-capture"):
        measured = rows[subject]
        assert (measured["server"], measured["workload"]) == ("mariadb", "ins10")
        assert measured["rows_per_second"] > 0
        assert measured["cpu_us_per_row"] > 0
        assert 10 < measured["memory_first_mb"] < 150
    assert rows["debezium-json"]["skipped"]
    assert list(folder.iterdir()) == []


def test_what_was_read_is_held_to_what_was_written():
    task = {"workload": asdict(INSERTS)}
    total = sum(range(1, 2001))
    check(task, 2000, total, [(0, row(1)), (1999, row(2000))])
    with pytest.raises(ValueError, match="1999 rows were read"):
        check(task, 1999, total - 7, [(0, row(1))])
    with pytest.raises(ValueError, match="sum up to"):
        check(task, 2000, total + 1, [(0, row(1))])
    with pytest.raises(ValueError, match="no row was looked at"):
        check(task, 2000, total, [])
    for at in range(10):
        bent = [*row(1)[:at], None, *row(1)[at + 1 :]]
        with pytest.raises(ValueError, match="row 0 of the log"):
            check(task, 2000, total, [(0, tuple(bent))])


def test_updates_may_come_in_any_order_within_their_transaction_only():
    task = {"workload": asdict(UPDATES)}
    total = UPDATES.sum_of_ids
    assert total == 2 * sum(range(1, 101))
    check(task, 200, total, [(100, row(1, 2)), (103, row(10, 2)), (99, row(91, 1))])
    for index, wrong in ((100, row(11, 2)), (100, row(1, 1)), (99, row(90, 1))):
        with pytest.raises(ValueError, match="of the log was read as"):
            check(task, 200, total, [(index, wrong)])
