"""The command line as an operator meets it: exit codes, one line per error, and what each command leaves behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cdc.apply.parking import parked_row
from cdc.model import Change, Entry, Layout
from sinks import open_sink
from sinks.contract import Progress, ProgressMove, SinkOptions, TransactionHeader
from tests import programs
from tests.integration.test_admin import FILE
from tests.ports import free_port
from tests.servers import MySQLDatabase, PostgreSQLDatabase, RedisDatabase
from tests.service import REPOSITORY, FakeService
from tests.waiting import await_that

CANARY = "canary-password"


class Datong:
    """Runs `datong` in a folder with a `datong.yaml`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "datong.yaml"

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return programs.run("cdc.cli", arguments, folder=self.folder, environment={**os.environ, **environment})

    def audit(self) -> list[tuple[str, str]]:
        store = sqlite3.connect(self.folder / "store.db")
        try:
            return store.execute("SELECT what, subject FROM datong_audit ORDER BY id").fetchall()
        finally:
            store.close()


@pytest.fixture
def datong(tmp_path: Path) -> Datong:
    made = Datong(tmp_path)
    made.file.write_text(FILE.replace("FOLDER", str(tmp_path)).replace("PORT", str(free_port())))
    return made


@pytest.fixture
def running(tmp_path: Path) -> Iterator[FakeService]:
    service = FakeService(tmp_path)
    service.use_file(FILE.replace("FOLDER", str(tmp_path)))
    service.start().await_status("ok")
    yield service
    service.stop()


# -- usage and configuration


def test_a_good_configuration_is_called_good_without_connecting(datong: Datong) -> None:
    done = datong("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "datong.yaml: good - 2 channels, 2 mappings\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["run"],
        ["status"],
        ["mapping", "list"],
        ["parked", "list"],
        ["pause", "crm"],
        ["doctor"],
        ["remove", "crm"],
    ],
)
def test_a_bad_configuration_is_refused_whole_before_anything_else(datong: Datong, arguments: list[str]) -> None:
    text = datong.file.read_text().replace("amount: quantity", "amount: quantiti").replace("merge", "merge")
    datong.file.write_text(text + "surprise: 1\n")
    done = datong(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert any(line.startswith("mappings.website.stock.columns.amount: ") and "quantity" in line for line in lines)
    assert any("surprise" in line for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["capture"],
        ["mapping"],
        ["mapping", "enable"],
        ["pause", "crm", "both"],
        ["check", "--nonsense"],
        ["stat"],
    ],
)
def test_wrong_usage_is_exit_code_two(datong: Datong, arguments: list[str]) -> None:
    done = datong(*arguments)
    assert done.returncode == 2
    assert "usage: datong" in done.stderr


def test_a_missing_file_is_one_line(datong: Datong) -> None:
    done = datong("check", "-c", "nowhere.yaml")
    assert (done.returncode, done.stderr) == (
        2,
        "nowhere.yaml: no such file - give the configuration with -c FILE or DATONG_CONFIG\n",
    )


def test_the_configuration_comes_from_the_option_then_the_environment_then_the_folder(datong: Datong) -> None:
    other = datong.folder / "other.yaml"
    datong.file.rename(other)
    assert datong("check").returncode == 2
    assert datong("check", DATONG_CONFIG="other.yaml").returncode == 0
    assert datong("-c", "other.yaml", "check").returncode == 0
    assert datong("check", "-c", "other.yaml", DATONG_CONFIG="nowhere").returncode == 0


def test_version_and_help(datong: Datong) -> None:
    assert datong("--version").stdout.startswith("datong ")
    assert "COMMAND" in datong("--help").stdout


@pytest.mark.parametrize("arguments", [["capture", "nowhere"], ["pause", "nowhere"], ["remove", "nowhere"]])
def test_an_unknown_channel_is_named_with_those_there_are(datong: Datong, arguments: list[str]) -> None:
    done = datong(*arguments)
    assert done.returncode == 2
    assert done.stderr == "no channel 'nowhere' in datong.yaml - there are: crm, website\n"


def test_listening_for_everybody_without_a_token_is_refused(datong: Datong) -> None:
    datong.file.write_text(datong.file.read_text().replace(', token: "canary-token-7c1f"', ""))
    done = datong("run", "--listen", "0.0.0.0:0")
    assert done.returncode == 2
    assert done.stderr == "--listen 0.0.0.0:0: without admin.token only a loopback address is allowed\n"


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback(datong: Datong) -> None:
    script = f"{sys.executable} -m cdc.cli mapping list | true"
    done = subprocess.run(
        ["bash", "-c", script], cwd=datong.folder, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.stderr == ""


# -- mappings, pauses


def test_toggling_edits_the_file_in_place_and_warns_when_enabling(datong: Datong) -> None:
    before = datong.file.read_text()
    assert datong("mapping", "disable", "website.stock").stdout == "website.stock: disabled\n"
    assert "# what the shop sells" in datong.file.read_text()
    assert json.loads(datong("mapping", "list", "--json").stdout)["website.stock"]["enabled"] is False
    assert datong("mapping", "disable", "website.stock").stdout == "website.stock: disabled already\n"
    done = datong("mapping", "enable", "website.stock", "--no-resync")
    assert done.returncode == 0
    assert "not copied" in done.stderr
    assert json.loads(datong("mapping", "list", "--json").stdout)["website.stock"]["enabled"] is True
    assert before.replace("\n", "") in datong.file.read_text().replace("\n    enabled: true", "").replace("\n", "")
    assert datong.audit() == [("mapping", "website.stock")] * 3


def test_an_unknown_mapping_is_refused(datong: Datong) -> None:
    done = datong("mapping", "disable", "website.stok")
    assert done.returncode == 2
    assert "website.stock" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_pausing_is_kept_in_the_store_and_says_when_it_takes_effect(datong: Datong) -> None:
    done = datong("pause", "crm")
    assert done.stdout == "crm: capture and apply paused (no service is running: it takes effect when one starts)\n"
    assert datong("resume", "crm", "capture").returncode == 0
    store = sqlite3.connect(datong.folder / "store.db")
    assert store.execute("SELECT channel, role FROM datong_paused").fetchall() == [("crm", "apply")]
    store.close()
    assert ("pause", "crm apply") in datong.audit()


# -- status


def test_status_without_a_service_is_down_and_says_so(datong: Datong) -> None:
    done = datong("status", "--json")
    assert done.returncode == 1
    assert "no service answers at 127.0.0.1:" in done.stderr
    document = json.loads(done.stdout)
    assert document["status"] == "down"
    assert document["channels"]["crm"]["capture"]["state"] == "dead"
    assert document["mappings"]["crm.stock"]["enabled"] is True
    assert datong("status").stdout.startswith("status: down\n")


def test_status_shows_what_the_running_service_says(running: FakeService) -> None:
    datong = Datong(running.folder)
    done = datong("status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["status"] == "ok"
    assert document["channels"]["crm"]["apply"]["state"] == "running"
    readable = datong("status")
    assert readable.stdout.startswith("status: ok\n")
    assert "website" in readable.stdout


def test_a_toggle_by_command_reaches_the_running_service(running: FakeService) -> None:
    Datong(running.folder)("mapping", "disable", "crm.stock")
    await_that(
        lambda: not running.ask("/api/status", token="canary-token-7c1f").json["mappings"]["crm.stock"]["enabled"],
        message="off",
    )


def test_a_wrong_token_is_told(running: FakeService, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text((tmp_path / "datong.yaml").read_text().replace("7c1f", "zzzz"))
    done = Datong(tmp_path)("status", "-c", "other.yaml")
    assert done.returncode == 1
    assert "another token" in done.stderr


def test_what_is_not_ours_at_that_address_is_told(datong: Datong, redis_db: RedisDatabase) -> None:
    port = redis_db.server.port
    datong.file.write_text(
        datong.file.read_text().replace("listen: ", f'listen: "127.0.0.1:{port}" #', 1).replace("#", ", token: x} #", 1)
    )
    done = datong("status")
    assert done.returncode == 1
    assert f"what answers at 127.0.0.1:{port} is not a running Datong" in done.stderr


# -- running


def test_run_stops_cleanly_and_says_nothing_secret(datong: Datong) -> None:
    """Nothing of what it is to connect to exists: it starts, is down, says so, and stops."""
    text = datong.file.read_text()
    datong.file.write_text(
        text.replace("db.internal.example:3306", "127.0.0.1:1").replace("10.9.8.7:5432", "127.0.0.1:1")
    )
    with (datong.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cdc.cli", "run"], cwd=datong.folder, stderr=log,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
    try:
        from tests.waiting import await_that

        await_that(lambda: '"health.changed"' in (datong.folder / "log").read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
    lines = (datong.folder / "log").read_text().splitlines()
    for line in lines:
        assert {"event", "level", "ts"} <= json.loads(line).keys()
    assert CANARY not in "".join(lines)
    assert "canary-token" not in "".join(lines)


def test_run_on_a_port_in_use_is_one_line_and_exit_code_one(running: FakeService) -> None:
    done = Datong(running.folder)("run")
    assert done.returncode == 1
    assert done.stderr == (
        f"admin.listen: cannot listen on 127.0.0.1:{running.port}: Address already in use"
        " - stop what uses that port or give another one\n"
    )


def test_a_store_that_cannot_be_written_is_one_line(datong: Datong) -> None:
    (datong.folder / "taken").write_text("a file, not a folder")
    datong.file.write_text(datong.file.read_text().replace("/store.db", "/taken/store.db"))
    done = datong("run")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("store.url: cannot write ")


# -- parked changes and removal, on real databases

CHANNELS = """
version: 1
deployment: coffee
admin: {{listen: "127.0.0.1:{port}"}}
redis: {{url: "{redis}"}}
store: {{url: "sqlite:///{folder}/store.db"}}
channels:
  website: {{url: "{website}"}}
  crm: {{url: "{crm}"}}
"""
ENTITIES = FILE[FILE.index("entities:") :]


@pytest.fixture
def with_databases(
    datong: Datong, mariadb_db: MySQLDatabase, postgresql_db: PostgreSQLDatabase, redis_db: RedisDatabase
) -> Datong:
    datong.file.write_text(
        CHANNELS.format(
            port=free_port(),
            redis=redis_db.url(),
            folder=datong.folder,
            website=mariadb_db.url(),
            crm=postgresql_db.url(),
        )
        + ENTITIES
    )
    return datong


def park_one(datong: Datong, channel: str) -> str:
    """Park a change in a channel's database, as an applier does."""
    from cdc.addresses import address_of
    from config.load import load

    entry = Entry("website", 7, 0, 1, True, 0, 0, "gtid-1", {}, {}, (), ())
    layout = Layout("website.stock", "stock", ("sku", "quantity"))
    row = parked_row(
        "coffee",
        entry,
        layout,
        Change(0, "update", 0, ("sku-canary",), ("sku-canary", 4711)),
        ("sku",),
        "missing_row",
        "no such row",
    )
    sink = open_sink(address_of(load(datong.file, os.environ).channels[channel]), SinkOptions())
    sink.connect()
    sink.prepare()
    epoch = sink.take_over("coffee", channel)
    moves = (ProgressMove("website", None, Progress(7, 1, True, 0)),)
    sink.begin(TransactionHeader("coffee", channel, epoch, "0" * 32, 0, moves))
    sink.park([row])
    sink.commit()
    sink.close()
    return row.id


def test_parked_changes_are_listed_masked_and_shown_only_on_demand(with_databases: Datong) -> None:
    datong = with_databases
    assert datong("parked", "list").stdout == "nothing is parked\n"
    ident = park_one(datong, "crm")
    listed = datong("parked", "list", "--json")
    (one,) = json.loads(listed.stdout)
    assert one.keys() == {"id", "channel", "mapping", "key", "reason", "error", "since", "changes", "position"}
    assert (one["id"], one["channel"], one["reason"]) == (ident, "crm", "missing_row")
    shown = datong("parked", "show", ident)
    assert shown.returncode == 0
    assert "operation: update" in shown.stdout
    for masked in (listed.stdout, datong("parked", "list").stdout, shown.stdout):
        assert "sku-canary" not in masked
        assert "4711" not in masked
    revealed = datong("parked", "show", ident, "--reveal", "--json")
    assert json.loads(revealed.stdout)["values"] == {"sku": "sku-canary", "quantity": 4711}
    assert ("parked reveal", ident) in datong.audit()


def test_retry_and_drop_are_queued_for_the_applier_and_audited(with_databases: Datong) -> None:
    datong = with_databases
    ident = park_one(datong, "website")
    done = datong("parked", "retry")
    assert done.stdout == "retry: 1 change queued - no service is running: it is done when one starts\n"
    assert datong("parked", "drop", ident).returncode == 0
    store = sqlite3.connect(datong.folder / "store.db")
    commands = store.execute("SELECT channel, role, command, argument FROM datong_command ORDER BY id").fetchall()
    store.close()
    # Retry of all is one order, without the change's name.
    assert commands == [("website", "apply", "retry", ""), ("website", "apply", "drop", ident)]
    assert [what for what, _ in datong.audit()] == ["parked retry", "parked drop"]


@pytest.mark.parametrize("ident", ["../../etc/passwd", "/etc/passwd", "%2e%2e", "A", "x' OR '1'='1", "a\x01"])
def test_an_id_that_is_none_is_refused_by_its_form(with_databases: Datong, ident: str) -> None:
    assert with_databases("parked", "show", ident).returncode == 2


def test_an_unknown_id_is_told(with_databases: Datong) -> None:
    done = with_databases("parked", "drop", "website-1-1-stock")
    assert done.returncode == 1
    assert done.stderr == "no parked change website-1-1-stock - `datong parked list` shows them\n"


def test_a_change_that_waits_in_two_channels_needs_to_be_told_apart(with_databases: Datong) -> None:
    ident = park_one(with_databases, "crm")
    park_one(with_databases, "website")
    assert with_databases("parked", "drop", ident).returncode == 2
    assert with_databases("parked", "drop", ident, "--channel", "crm").returncode == 0


def test_a_database_that_is_down_is_one_line(with_databases: Datong, mariadb_db: MySQLDatabase) -> None:
    text = with_databases.file.read_text()
    with_databases.file.write_text(text.replace(f":{mariadb_db.server.port}/", ":1/"))
    done = with_databases("parked", "list")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("channel website: ")


def test_remove_takes_everything_out_of_postgresql_redis_and_the_store(
    with_databases: Datong, postgresql_db: PostgreSQLDatabase, redis_db: RedisDatabase
) -> None:
    datong = with_databases
    park_one(datong, "crm")
    postgresql_db.execute("CREATE PUBLICATION datong_coffee_crm FOR TABLE datong_progress")
    postgresql_db.execute("SELECT pg_create_logical_replication_slot('datong_coffee_crm', 'pgoutput')")
    with redis_db.connect() as client:
        client.set("datong:coffee:published:crm", "x")
        client.set("datong:coffee:published:website", "x")
    assert datong("pause", "crm").returncode == 0
    done = datong("remove", "crm", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "replication slot datong_coffee_crm dropped" in done.stdout
    assert postgresql_db.execute("SELECT 1 FROM pg_publication") == ()
    assert postgresql_db.execute("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'datong_coffee_crm'") == ()
    assert postgresql_db.execute("SELECT 1 FROM pg_tables WHERE tablename LIKE 'datong%'") == ()
    with redis_db.connect() as client:
        assert client.keys("datong:*") == [b"datong:coffee:published:website"]
    store = sqlite3.connect(datong.folder / "store.db")
    assert store.execute("SELECT * FROM datong_paused").fetchall() == []
    store.close()
    assert datong("remove", "crm", "--yes").returncode == 0


def test_remove_leaves_what_another_deployment_uses(with_databases: Datong, mariadb_db: MySQLDatabase) -> None:
    park_one(with_databases, "website")
    mariadb_db.execute(
        "INSERT INTO datong_progress SELECT 'other', target, source, position, row_end, complete, hlc, epoch, token, row_count"
        " FROM datong_progress"
    )
    done = with_databases("remove", "website", "--yes")
    assert done.returncode == 0
    assert "lines of coffee removed from datong_progress, which another deployment uses" in done.stdout
    assert {row[0] for row in mariadb_db.execute("SELECT deployment FROM datong_progress")} == {"other"}
    assert mariadb_db.execute("SHOW TABLES LIKE 'datong_parked'") == ()


def test_remove_refuses_while_a_service_runs(running: FakeService) -> None:
    done = Datong(running.folder)("remove", "crm", "--yes")
    assert done.returncode == 1
    assert "a service is running" in done.stderr


def test_remove_refuses_while_a_role_holds_its_lease_elsewhere(with_databases: Datong, redis_db: RedisDatabase) -> None:
    with redis_db.connect() as client:
        client.set("datong:coffee:lease:apply.crm", msgspec.json.encode("other:1:x"))
    done = with_databases("remove", "crm", "--yes")
    assert done.returncode == 1
    assert "apply.crm still runs somewhere" in done.stderr
