"""What the doctor makes of a MySQL or MariaDB server that lacks one thing."""

import dataclasses

import pytest

from cdc.doctor.channels import judge
from cdc.doctor.create_table import column_lines
from cdc.doctor.grants import read_grants
from cdc.foreign_keys import ForeignKey, foreign_keys
from tests.unit.doctor_facts import MEMBER, members, mysql_facts, only, own_table, wish


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_a_server_that_lacks_nothing_has_no_finding(engine):
    assert list(judge(wish(engine), mysql_facts(engine))) == []


@pytest.mark.parametrize(
    ("engine", "variables", "code", "severity", "mend"),
    [
        ("mariadb", {"log_bin": "OFF"}, "LOG_BIN", "error", "my.cnf, [mysqld]: log_bin = binlog, then restart the server"),
        ("mariadb", {"binlog_format": "MIXED"}, "BINLOG_FORMAT", "error", "SET GLOBAL binlog_format = 'ROW';"),
        ("mysql", {"binlog_format": "STATEMENT"}, "BINLOG_FORMAT", "error", "SET PERSIST binlog_format = 'ROW';"),
        ("mysql", {"binlog_row_image": "MINIMAL"}, "BINLOG_ROW_IMAGE", "error", "SET PERSIST binlog_row_image = 'FULL';"),
        ("mariadb", {"binlog_row_metadata": "NO_LOG"}, "BINLOG_ROW_METADATA", "error", "SET GLOBAL binlog_row_metadata = 'FULL';"),
        ("mysql", {"binlog_row_metadata": "MINIMAL"}, "BINLOG_ROW_METADATA", "error", "SET PERSIST binlog_row_metadata = 'FULL';"),
        ("mysql", {"binlog_row_value_options": "PARTIAL_JSON"}, "BINLOG_ROW_VALUE_OPTIONS", "error", "SET PERSIST binlog_row_value_options = '';"),
        ("mysql", {"sync_binlog": "0"}, "SYNC_BINLOG", "warning", "SET PERSIST sync_binlog = 1;"),
        ("mariadb", {"innodb_flush_log_at_trx_commit": "2"}, "FLUSH_LOG_AT_COMMIT", "warning", "SET GLOBAL innodb_flush_log_at_trx_commit = 1;"),
        ("mysql", {"binlog_order_commits": "OFF"}, "BINLOG_ORDER_COMMITS", "warning", "SET PERSIST binlog_order_commits = 'ON';"),
        ("mysql", {"binlog_expire_logs_seconds": "3600"}, "BINLOG_RETENTION", "error", "SET PERSIST binlog_expire_logs_seconds = 259200;"),
        ("mariadb", {"binlog_expire_logs_seconds": "0", "expire_logs_days": "0.500000"}, "BINLOG_RETENTION", "error", "SET GLOBAL expire_logs_days = 3;"),
        ("mysql", {"datadir": "/rdsdbdata/db/"}, "PROVIDER_RETENTION", "warning", "CALL mysql.rds_set_configuration('binlog retention hours', 72);"),
        ("mariadb", {"server_id": "0"}, "SERVER_ID", "error", "SET GLOBAL server_id = 1;"),
        ("mysql", {"server_id": "1077000001"}, "SERVER_ID", "error", "SET PERSIST server_id = 1077000002;"),
        ("mysql", {"gtid_mode": "OFF_PERMISSIVE"}, "GTID_MODE", "warning", "SET PERSIST gtid_mode = ON_PERMISSIVE;"),
        ("mariadb", {"read_only": "ON"}, "READ_ONLY", "error", "SET GLOBAL read_only = OFF;"),
        ("mysql", {"rpl_semi_sync_source_enabled": "OFF"}, "SEMI_SYNC", "info", None),
    ],
)  # fmt: skip
def test_a_variable_that_is_wrong_is_named_with_what_sets_it_right(engine, variables, code, severity, mend):
    finding = only(judge(wish(engine), mysql_facts(engine, variables)))
    assert (finding.code, finding.severity, finding.channel) == (code, severity, "website")
    assert mend in finding.mend or mend is None
    assert not finding.fixable


def test_a_log_that_is_kept_for_ever_is_kept_long_enough():
    never = {"binlog_expire_logs_seconds": "0", "expire_logs_days": "0"}
    assert list(judge(wish(), mysql_facts("mariadb", never))) == []
    no_purge = {"binlog_expire_logs_seconds": "60", "binlog_expire_logs_auto_purge": "OFF"}
    assert list(judge(wish("mysql"), mysql_facts("mysql", no_purge))) == []


def test_a_channel_that_is_only_written_needs_no_log():
    target = wish(captures=False, published=frozenset())
    spec = dataclasses.replace(target.mappings[0], direction="apply")
    target = dataclasses.replace(target, mappings=(spec,))
    assert list(judge(target, mysql_facts("mariadb", {"log_bin": "OFF", "server_id": "0"}))) == []


@pytest.mark.parametrize(
    ("do_db", "ignore_db", "mend"),
    [
        (("crm",), (), "my.cnf, [mysqld]: binlog_do_db = shop, then restart the server"),
        ((), ("shop",), "my.cnf, [mysqld]: remove binlog_ignore_db = shop, then restart the server"),
    ],
)
def test_a_binlog_filter_that_hides_the_database_is_an_error(do_db, ignore_db, mend):
    finding = only(judge(wish(), mysql_facts(binlog_do_db=do_db, binlog_ignore_db=ignore_db)))
    assert (finding.code, finding.severity, finding.mend) == ("BINLOG_FILTER", "error", [mend])
    assert list(judge(wish(), mysql_facts(binlog_do_db=("shop",), binlog_ignore_db=("logs",)))) == []


FULL = [
    "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `datong`@`%`",
    "GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON `shop`.* TO `datong`@`%`",
]


@pytest.mark.parametrize("lacking", ["REPLICATION SLAVE", "REPLICATION CLIENT", "SELECT", "INSERT", "UPDATE", "DELETE"])
@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_each_grant_that_lacks_is_named_with_its_statement(engine, lacking):
    assert list(judge(wish(engine), mysql_facts(engine, grants=read_grants(FULL)))) == []
    rest = [line.replace(f"{lacking}, ", "").replace(f", {lacking}", "") for line in FULL]
    findings = list(judge(wish(engine), mysql_facts(engine, grants=read_grants(rest))))
    assert {finding.code for finding in findings} == {"GRANT_MISSING"}
    shown = "BINLOG MONITOR" if (engine, lacking) == ("mariadb", "REPLICATION CLIENT") else lacking
    if lacking.startswith("REPLICATION"):
        assert [finding.mend for finding in findings] == [[f"GRANT {shown} ON *.* TO 'datong'@'%';"]]
    else:
        assert [finding.mend[0] for finding in findings] == [
            f"GRANT {shown} ON `shop`.`{table}` TO 'datong'@'%';"
            for table in ("members", "datong_progress", "datong_parked")
        ]
        assert findings[0].path == "mappings.website.members.table"


def test_a_table_that_may_not_be_seen_is_a_missing_grant_and_not_a_missing_table():
    grants = read_grants(
        [
            FULL[0],
            *(
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON `shop`.`{t}` TO `d`@`%`"
                for t in ("datong_progress", "datong_parked")
            ),
        ]
    )
    seen = {name: facts for name, facts in mysql_facts().tables.items() if name[1] != "members"}
    finding = only(judge(wish(), mysql_facts(grants=grants, tables=seen)))
    assert finding.mend == ["GRANT SELECT, INSERT, UPDATE, DELETE ON `shop`.`members` TO 'datong'@'%';"]


def test_a_missing_table_of_ours_may_be_made_where_create_is_granted():
    tables = {("shop", "members"): members("mariadb")}
    progress, parked = judge(wish(), mysql_facts(tables=tables))
    assert (progress.code, parked.code) == ("PROGRESS_TABLE", "PARKED_TABLE")
    assert progress.fixable
    assert progress.mend[0].startswith("CREATE TABLE IF NOT EXISTS `shop`.`datong_progress` (")

    codes = [(f.code, f.fixable) for f in judge(wish(), mysql_facts(tables=tables, grants=read_grants(FULL)))]
    assert codes == [
        ("GRANT_MISSING", False), ("PROGRESS_TABLE", False), ("GRANT_MISSING", False), ("PARKED_TABLE", False),
    ]  # fmt: skip


def test_without_bookkeeping_no_table_of_ours_is_asked_for_but_the_comment_in_the_log_is():
    bare = wish(bookkeeping="none")
    facts = mysql_facts(tables={("shop", "members"): members("mariadb")})
    assert list(judge(bare, facts)) == []
    off = {**facts.variables, "binlog_annotate_row_events": "OFF"}
    finding = only(judge(bare, dataclasses.replace(facts, variables=off)))
    assert (finding.code, finding.mend[0]) == ("BINLOG_ANNOTATE", "SET GLOBAL binlog_annotate_row_events = 'ON';")


def one_table(engine, **changes):
    own = {("shop", name): own_table("shop", name) for name in ("datong_progress", "datong_parked")}
    return {("shop", "members"): members(engine, **changes), **own}


def test_a_table_without_transactions_is_refused():
    finding = only(judge(wish(), mysql_facts(tables=one_table("mariadb", storage="MyISAM"))))
    assert (finding.code, finding.mend) == ("NOT_TRANSACTIONAL", ["ALTER TABLE `shop`.`members` ENGINE = InnoDB;"])


def test_a_key_that_is_not_unique_is_refused_once():
    finding = only(judge(wish(), mysql_facts(tables=one_table("mariadb", catalog={"primary_key": ("id",)}))))
    assert finding.code == "KEY_NOT_UNIQUE"
    assert finding.mend == ["ALTER TABLE `shop`.`members` ADD CONSTRAINT `members_phone_key` UNIQUE (`phone`);"]
    keyless = one_table("mariadb", catalog={"primary_key": ()})
    assert only(judge(wish(), mysql_facts(tables=keyless))).code == "KEY_NOT_UNIQUE"


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("`phone` varchar(20) DEFAULT NULL", "`phone` varchar(20) NOT NULL"),
        ("`phone` varchar(20) DEFAULT NULL COMMENT 'or DEFAULT NULL'", "`phone` varchar(20) NOT NULL COMMENT 'or DEFAULT NULL'"),
        ("`phone` timestamp NULL DEFAULT NULL", "`phone` timestamp NOT NULL"),
        ("`phone` varchar(20) DEFAULT 'x'", "`phone` varchar(20) DEFAULT 'x' NOT NULL"),
    ],
)  # fmt: skip
def test_a_key_that_may_be_null_is_refused_with_the_whole_definition(line, changed):
    table = members("mariadb")
    columns = (dataclasses.replace(table.catalog.columns[0], nullable=True), table.catalog.columns[1])
    tables = one_table("mariadb", catalog={"columns": columns}, column_lines={"phone": line})
    finding = only(judge(wish(), mysql_facts(tables=tables)))
    assert (finding.code, finding.mend) == ("KEY_NULLABLE", [f"ALTER TABLE `shop`.`members` MODIFY {changed};"])


def test_a_mapped_column_that_does_not_exist_is_named_with_those_that_do():
    spec = wish().mappings[0]
    columns = (spec.columns[0], dataclasses.replace(spec.columns[1], column="nik"))
    broken = wish(mappings=(dataclasses.replace(spec, columns=columns),))
    finding = only(judge(broken, mysql_facts()))
    assert (finding.code, finding.path) == ("MAPPING_REFUSED", "mappings.website.members.columns.nik")
    assert "phone, nick" in finding.mend[0]
    assert MEMBER.field("nickname") is not None


CASCADE = ForeignKey(
    "fk_inviter", ("shop", "members"), ("nick",), ("shop", "people"), ("name",), "CASCADE", "NO ACTION"
)


def test_a_cascade_that_the_log_does_not_show_is_an_error():
    tables = one_table("mariadb", foreign_keys=(CASCADE,))
    finding = only(judge(wish(), mysql_facts(tables=tables)))
    assert (finding.code, finding.severity) == ("CASCADE", "error")
    assert finding.mend == [
        "ALTER TABLE `shop`.`members` DROP FOREIGN KEY `fk_inviter`;",
        "ALTER TABLE `shop`.`members` ADD CONSTRAINT `fk_inviter` FOREIGN KEY (`nick`) REFERENCES `shop`.`people` (`name`);",
    ]


def test_a_cascade_that_changes_no_captured_column_is_none_of_ours():
    """`unmapped` is not mapped: what sets it to NULL, or gives it its parent's new value, is no change of ours. A deleted row always is."""
    harmless = dataclasses.replace(CASCADE, columns=("unmapped",), on_delete="SET NULL", on_update="CASCADE")
    assert list(judge(wish(), mysql_facts(tables=one_table("mariadb", foreign_keys=(harmless,))))) == []
    for change in ({"columns": ("nick",)}, {"on_delete": "CASCADE"}):
        key = dataclasses.replace(harmless, **change)
        assert only(judge(wish(), mysql_facts(tables=one_table("mariadb", foreign_keys=(key,))))).code == "CASCADE"


def test_mysql_logs_cascades_from_9_6_on_unless_innodb_does_them_alone():
    facts = mysql_facts("mysql", tables=one_table("mysql", foreign_keys=(CASCADE,)))
    assert list(judge(wish("mysql"), facts)) == []
    assert only(judge(wish("mysql"), dataclasses.replace(facts, version="8.4.5"))).code == "CASCADE"
    native = dataclasses.replace(facts, variables={**facts.variables, "innodb_native_foreign_keys": "ON"})
    assert only(judge(wish("mysql"), native)).code == "CASCADE"


def test_a_trigger_on_an_applied_table_is_a_warning():
    finding = only(judge(wish(), mysql_facts(tables=one_table("mariadb", triggers=("count_members",)))))
    assert (finding.code, finding.severity) == ("TRIGGER", "warning")
    assert "count_members" in finding.text


def test_where_triggers_may_not_be_seen_that_is_said():
    grants = read_grants([line.replace(", TRIGGER", "") for line in FULL])
    assert only(judge(wish("mysql"), mysql_facts("mysql", grants=grants))).code == "TRIGGERS_UNSEEN"
    assert list(judge(wish(), mysql_facts(grants=grants))) == []


@pytest.mark.parametrize(("scheme", "server"), [("mysql", "mariadb"), ("mariadb", "mysql")])
def test_a_url_of_the_other_engine_is_told_the_right_scheme_and_nothing_else(scheme, server):
    finding = only(judge(wish(scheme), mysql_facts(server, {"log_bin": "OFF"})))
    assert finding.code == "WRONG_ENGINE"
    assert f"{server}://" in finding.mend[0]


@pytest.mark.parametrize(("engine", "version"), [("mysql", "5.7.44-log"), ("mariadb", "10.4.34-MariaDB")])
def test_a_server_that_is_too_old_is_named(engine, version):
    assert "VERSION" in [finding.code for finding in judge(wish(engine), mysql_facts(engine, version=version))]


def test_a_replica_is_no_place_to_write_to():
    read_only = mysql_facts("mariadb", {"read_only": "ON"}, is_replica=True)
    assert [(f.code, f.mend) for f in judge(wish(), read_only)] == [("READ_ONLY", [])]
    assert only(judge(wish(), mysql_facts(is_replica=True))).code == "REPLICA"
    silent = mysql_facts("mariadb", {"log_slave_updates": "OFF"}, is_replica=True)
    assert {f.code for f in judge(wish(), silent)} == {"REPLICA", "REPLICA_NOT_LOGGING"}


def test_a_proxy_is_a_warning_and_without_bookkeeping_an_error():
    assert only(judge(wish(), mysql_facts(proxied=True))).severity == "warning"
    assert only(judge(wish(bookkeeping="none"), mysql_facts(proxied=True))).severity == "error"


def test_a_table_that_does_not_exist_is_named_with_one_of_nearly_that_name():
    facts = mysql_facts()
    tables = {("shop", "Members") if name[1] == "members" else name: found for name, found in facts.tables.items()}
    finding = only(judge(wish(), mysql_facts(tables=tables)))
    assert finding.code == "TABLE_MISSING"
    assert "shop.Members" in finding.text


def test_a_view_is_no_table():
    finding = only(judge(wish(), mysql_facts(tables=one_table("mariadb", kind="view"))))
    assert finding.code == "NOT_A_TABLE"


CREATED = """CREATE TABLE `members` (
  `phone` varchar(20) NOT NULL,
  `od``d` int(11) DEFAULT NULL COMMENT 'x, y',
  PRIMARY KEY (`phone`),
  CONSTRAINT `inviter` FOREIGN KEY (`od``d`, `phone`) REFERENCES `crm`.`people` (`id`, `p`) ON DELETE SET NULL ON UPDATE CASCADE,
  CONSTRAINT `plain` FOREIGN KEY (`phone`) REFERENCES `people` (`id`)
) ENGINE=InnoDB"""


def test_columns_and_foreign_keys_are_read_as_the_server_writes_them():
    assert column_lines(CREATED) == {
        "phone": "`phone` varchar(20) NOT NULL",
        "od`d": "`od``d` int(11) DEFAULT NULL COMMENT 'x, y'",
    }
    inviter, plain = foreign_keys(CREATED, ("shop", "members"))
    assert (inviter.columns, inviter.parent, inviter.parent_columns) == (
        ("od`d", "phone"),
        ("crm", "people"),
        ("id", "p"),
    )
    assert inviter.action == "ON DELETE SET NULL ON UPDATE CASCADE"
    assert (plain.parent, plain.action) == (("shop", "people"), "")
