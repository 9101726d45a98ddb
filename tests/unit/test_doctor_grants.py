"""SHOW GRANTS, as MySQL 9.7 and MariaDB 10.11 write it."""

import pytest

from cdc.doctor.grants import read_grants

MARIADB = [
    "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `datong`@`%` IDENTIFIED BY PASSWORD '*0123456789ABCDEF'",
    "GRANT SELECT ON `shop`.* TO `datong`@`%`",
    "GRANT SELECT, INSERT, UPDATE (`state`, `amount`) ON `shop`.`orders` TO `datong`@`%`",
]
MYSQL = [
    "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `datong`@`10.0.0.%`",
    "GRANT BACKUP_ADMIN,BINLOG_ADMIN ON *.* TO `datong`@`10.0.0.%`",
    "GRANT ALL PRIVILEGES ON `shop\\_1`.* TO `datong`@`10.0.0.%`",
    "GRANT SELECT ON `tenant_%`.* TO `datong`@`10.0.0.%`",
    "GRANT PROXY ON ``@`` TO `datong`@`10.0.0.%` WITH GRANT OPTION",
    "GRANT EXECUTE ON PROCEDURE `shop`.`close_day` TO `datong`@`10.0.0.%`",
    "GRANT `reader`@`%` TO `datong`@`10.0.0.%`",
]


def test_mariadbs_name_for_replication_client_counts_as_it():
    assert read_grants(MARIADB).everywhere("REPLICATION CLIENT")
    assert read_grants(MYSQL).everywhere("REPLICATION CLIENT")


def test_dynamic_privileges_are_listed_without_blanks():
    assert read_grants(MYSQL).everywhere("BINLOG_ADMIN")
    assert not read_grants(MYSQL).everywhere("SELECT")


@pytest.mark.parametrize(
    ("lines", "privilege", "schema", "table", "granted"),
    [
        (MARIADB, "SELECT", "shop", "members", True),
        (MARIADB, "SELECT", "shop2", "members", False),
        (MARIADB, "INSERT", "shop", "orders", True),
        (MARIADB, "INSERT", "shop", "members", False),
        (MARIADB, "DELETE", "shop", "orders", False),
        (MYSQL, "DELETE", "shop_1", "orders", True),
        (MYSQL, "DELETE", "shopX1", "orders", False),
        (MYSQL, "SELECT", "tenantX9", "orders", True),
        (MYSQL, "SELECT", "tenant_", "orders", True),
        (MYSQL, "SELECT", "tenant", "orders", False),
    ],
)
def test_a_scope_covers_what_the_server_says_it_covers(lines, privilege, schema, table, granted):
    assert read_grants(lines).on_table(privilege, schema, table) is granted


def test_columns_suffice_when_all_mapped_ones_are_granted():
    grants = read_grants(MARIADB)
    assert grants.on_table("UPDATE", "shop", "orders", ["state"])
    assert not grants.on_table("UPDATE", "shop", "orders", ["state", "paid_at"])
    assert not grants.on_table("UPDATE", "shop", "orders")


def test_a_partial_revoke_takes_a_schema_out():
    grants = read_grants(["GRANT SELECT ON *.* TO `d`@`%`", "REVOKE SELECT ON `secret`.* FROM `d`@`%`"])
    assert grants.on_table("SELECT", "shop", "orders")
    assert not grants.on_table("SELECT", "secret", "orders")


def test_usage_alone_shows_no_table():
    assert not read_grants(["GRANT USAGE ON *.* TO `d`@`%`"]).any_on_table("shop", "orders")
    assert read_grants(MARIADB).any_on_table("shop", "anything")
