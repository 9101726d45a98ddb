"""What the variables of a MySQL or MariaDB server have to be, as a table, and the checks of those that are more than a value. Pure.

Guards I1 and I6: with any of the errors here rows are lost or bent before a reader can see them (TRAPS.md P1, P5, P17).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cdc.doctor.facts import MySQLFacts, Wish
from cdc.doctor.finding import Finding, Severity
from cdc.quoting import literal

_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Setting:
    """`variable` has to be `value`. `static`: only the server's configuration file and a restart set it."""

    code: str
    variable: str
    value: str
    severity: Severity
    why: str
    static: bool = False


SETTINGS: Final = (
    Setting("LOG_BIN", "log_bin", "ON", "error", "without a binary log there is nothing to capture", static=True),
    Setting("BINLOG_FORMAT", "binlog_format", "ROW", "error", "statements in the log cannot be turned into rows"),
    Setting("BINLOG_ROW_IMAGE", "binlog_row_image", "FULL", "error", "columns are missing from the rows in the log"),
    Setting("BINLOG_ROW_METADATA", "binlog_row_metadata", "FULL", "error", "the log names no columns, signs or labels"),
    Setting("BINLOG_ROW_VALUE_OPTIONS", "binlog_row_value_options", "", "error", "JSON updates are logged as differences"),
    Setting("SYNC_BINLOG", "sync_binlog", "1", "warning", "a power cut may lose transactions that were already replicated"),
    Setting(
        "FLUSH_LOG_AT_COMMIT", "innodb_flush_log_at_trx_commit", "1", "warning",
        "a power cut may lose transactions that were already replicated",
    ),
    Setting("BINLOG_ORDER_COMMITS", "binlog_order_commits", "ON", "warning", "commits may become visible in another order than the log's"),
)  # fmt: skip


def check_settings(wish: Wish, facts: MySQLFacts) -> Iterator[Finding]:
    """Compare the table with the server; a variable that this server does not know cannot be wrong."""
    if not wish.captures:
        return
    if facts.variables.get("log_bin", "").upper() not in ("ON", "1"):
        yield _setting_finding(wish, facts, SETTINGS[0])
        return  # the others mean nothing without it
    for setting in SETTINGS[1:]:
        actual = facts.variables.get(setting.variable)
        if actual is not None and actual.upper() != setting.value:
            yield _setting_finding(wish, facts, setting)
    if (
        wish.keeps_tables is False
        and wish.applies
        and facts.variables.get("binlog_annotate_row_events", "ON").upper() != "ON"
    ):
        annotate = Setting(
            "BINLOG_ANNOTATE", "binlog_annotate_row_events", "ON", "error",
            "with bookkeeping none our own writes are recognised by their comment in the log",
        )  # fmt: skip
        yield _setting_finding(wish, facts, annotate)


def check_retention(wish: Wish, facts: MySQLFacts) -> Iterator[Finding]:
    """The log has to outlive a weekend's fault; zero means for ever."""
    if not wish.captures:
        return
    name, seconds = _retention(facts)
    if 0 < seconds < _DAY_SECONDS:
        value = str(_DAY_SECONDS * 3) if name.endswith("seconds") else "3"
        yield wish.finding(
            "BINLOG_RETENTION",
            "error",
            f"the binary log is kept for {seconds:.0f} s; a channel that is down for longer has to be resynced - keep a day or more",
            set_global(facts, name, value),
        )
    if facts.variables.get("datadir", "").startswith("/rdsdbdata"):
        yield wish.finding(
            "PROVIDER_RETENTION",
            "warning",
            "the provider purges the binary log by a rule of its own, which no variable shows - set its hours",
            ["CALL mysql.rds_set_configuration('binlog retention hours', 72);"],
        )


def check_server_id(wish: Wish, facts: MySQLFacts) -> Iterator[Finding]:
    if not wish.captures:
        return
    server_id = int(facts.variables.get("server_id", "0") or 0)
    if server_id == 0:
        yield wish.finding(
            "SERVER_ID",
            "error",
            "server_id is 0: the server refuses every replica, and us",
            set_global(facts, "server_id", "1"),
        )
    elif server_id == wish.server_id:
        yield wish.finding(
            "SERVER_ID",
            "error",
            f"server_id {server_id} is the one we connect with: the server would keep its own events from us",
            set_global(facts, "server_id", str(server_id % 2_000_000_000 + 1)),
        )


def check_gtid(wish: Wish, facts: MySQLFacts) -> Iterator[Finding]:
    """MariaDB always has GTIDs."""
    if not wish.captures or facts.variables.get("gtid_mode", "ON").upper() == "ON":
        return
    steps = ["OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"]
    mode = facts.variables["gtid_mode"].upper()
    rest = steps[steps.index(mode) + 1 :] if mode in steps else steps
    yield wish.finding(
        "GTID_MODE",
        "warning",
        f"gtid_mode is {mode}: after a failover this channel cannot go on by itself and has to be resynced",
        ["SET PERSIST enforce_gtid_consistency = ON;", *(f"SET PERSIST gtid_mode = {step};" for step in rest)],
    )


def check_semi_sync(wish: Wish, facts: MySQLFacts) -> Iterator[Finding]:
    names = ("rpl_semi_sync_source_enabled", "rpl_semi_sync_master_enabled")
    if wish.captures and not any(facts.variables.get(name, "OFF").upper() == "ON" for name in names):
        yield wish.finding(
            "SEMI_SYNC",
            "info",
            "no semi-synchronous replica: a failover may lose the last transactions after they were replicated",
            [_semi_sync(facts)],
        )


def _semi_sync(facts: MySQLFacts) -> str:
    """No statement to be run as it is: without a replica that takes part every commit would wait for the timeout."""
    if facts.is_mariadb:
        return "on a server with such a replica: SET GLOBAL rpl_semi_sync_master_enabled = ON"
    install = "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so', then "
    known = "rpl_semi_sync_source_enabled" in facts.variables
    return f"on a server with such a replica: {'' if known else install}SET PERSIST rpl_semi_sync_source_enabled = ON"


def check_binlog_filters(wish: Wish, facts: MySQLFacts) -> Iterator[Finding]:
    """A database that the log leaves out is lost, and with it datong_progress: loops."""
    if not wish.captures and not wish.keeps_tables:
        return
    if facts.binlog_do_db is None or facts.binlog_ignore_db is None:
        return  # check_grants says which privilege is missing
    schemas = sorted({schema for schema, _ in wish.tables} | ({wish.schema} if wish.keeps_tables else set()))
    for schema in schemas:
        if schema in facts.binlog_ignore_db:
            yield wish.finding(
                "BINLOG_FILTER",
                "error",
                f"binlog_ignore_db keeps {schema} out of the log: nothing of it is captured, and our own writes are not recognised",
                [config_line(f"remove binlog_ignore_db = {schema}")],
            )
        elif facts.binlog_do_db and schema not in facts.binlog_do_db:
            yield wish.finding(
                "BINLOG_FILTER",
                "error",
                f"binlog_do_db keeps {schema} out of the log: nothing of it is captured, and our own writes are not recognised",
                [config_line(f"binlog_do_db = {schema}")],
            )


def check_endpoint(wish: Wish, facts: MySQLFacts) -> Iterator[Finding]:
    """A replica, a read-only server, a proxy."""
    read_only = next(
        (n for n in ("super_read_only", "read_only", "innodb_read_only") if facts.variables.get(n, "OFF").upper() != "OFF"),
        None,
    )  # fmt: skip
    if wish.applies and read_only:
        yield wish.finding(
            "READ_ONLY",
            "error",
            f"{read_only} is on: nothing can be applied here - give the primary's address"
            + (" (this server is a replica)" if facts.is_replica else ""),
            [] if facts.is_replica else [f"SET GLOBAL {read_only} = OFF;"],
        )
    elif wish.applies and facts.is_replica:
        yield wish.finding(
            "REPLICA",
            "warning",
            "this server is a replica that takes writes: what is applied here never reaches its primary - give the primary's address",
        )
    replicated = facts.variables.get("log_replica_updates", facts.variables.get("log_slave_updates", "ON"))
    if wish.captures and facts.is_replica and replicated.upper() != "ON":
        yield wish.finding(
            "REPLICA_NOT_LOGGING",
            "error",
            "this replica does not log what it replicates: its primary's changes cannot be captured here",
            [config_line("log_slave_updates = ON")],
        )


def set_global(facts: MySQLFacts, variable: str, value: str) -> list[str]:
    """MySQL keeps what is set with PERSIST; MariaDB needs the line in its file as well."""
    text = value if value.isdigit() else literal(value)
    if facts.is_mariadb:
        return [f"SET GLOBAL {variable} = {text};", config_line(f"{variable} = {value}", restart=False)]
    return [f"SET PERSIST {variable} = {text};"]


def config_line(line: str, *, restart: bool = True) -> str:
    return f"my.cnf, [mysqld]: {line}{', then restart the server' if restart else ''}"


def _setting_finding(wish: Wish, facts: MySQLFacts, setting: Setting) -> Finding:
    actual = facts.variables.get(setting.variable, "")
    if setting.static:
        mend = [
            config_line(
                "log_bin = binlog" if setting.variable == "log_bin" else f"{setting.variable} = {setting.value}"
            )
        ]
    else:
        mend = set_global(facts, setting.variable, setting.value)
    wanted = setting.value or "empty"
    return wish.finding(
        setting.code, setting.severity, f"{setting.variable} is {actual or 'empty'}, not {wanted}: {setting.why}", mend
    )


def _retention(facts: MySQLFacts) -> tuple[str, float]:
    """The variable that decides and its time in seconds; 0: for ever."""
    if facts.variables.get("binlog_expire_logs_auto_purge", "ON").upper() == "OFF":
        return "binlog_expire_logs_seconds", 0
    seconds = float(facts.variables.get("binlog_expire_logs_seconds", "0") or 0)
    if seconds:
        return "binlog_expire_logs_seconds", seconds
    return "expire_logs_days", float(facts.variables.get("expire_logs_days", "0") or 0) * _DAY_SECONDS
