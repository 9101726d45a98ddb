"""A channel that lacks nothing on a real server, for tests that then take one thing away."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from cdc.doctor.channels import examine_channel
from cdc.doctor.facts import Wish
from cdc.doctor.finding import Finding, is_statement
from cdc.readers.postgresql_position import slot_name
from sinks.bookkeeping import CREATE_MYSQL, CREATE_POSTGRESQL
from sinks.connections import Address
from tests.servers import MySQLDatabase, PostgreSQLDatabase
from tests.unit.doctor_facts import wish as usual_wish
from transforms.tables import Engine

PASSWORD = "canary-8d1f-Secret"
MEMBERS_MYSQL = "CREATE TABLE members (phone VARCHAR(20) NOT NULL PRIMARY KEY, nick VARCHAR(64), other INT)"
MEMBERS_POSTGRESQL = "CREATE TABLE members (phone varchar(20) PRIMARY KEY, nick varchar(64), other int)"


@dataclass
class Channel:
    """`account` as GRANT wants it."""

    database: MySQLDatabase | PostgreSQLDatabase
    wish: Wish
    account: str

    def examine(self, **changes: Any) -> dict[str, Finding]:
        """What is found, by code; asserts that nothing shows the password."""
        findings, _ = examine_channel(replace(self.wish, **changes))
        assert PASSWORD not in repr(findings)
        return {finding.code: finding for finding in findings}

    def admin(self, *statements: str) -> None:
        """In one session, in which no statement waits long for a lock."""
        with closing(self.database.connect()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement.encode() if isinstance(self.database, PostgreSQLDatabase) else statement)

    def mend(self, finding: Finding) -> None:
        statements = [line for line in finding.mend if is_statement(line)]
        assert statements, finding
        self.admin(*statements)

    def at(self, **changes: Any) -> Channel:
        """The same with another address."""
        return replace(self, wish=replace(self.wish, address=replace(self.wish.address, **changes)))


def mysql_channel(database: MySQLDatabase, *, engine: Engine) -> Channel:
    user = f"d_{database.name[-8:]}"
    account = f"'{user}'@'%'"
    address = Address(engine, "127.0.0.1", database.server.port, user, database.name, PASSWORD)
    wish = replace(usual_wish(engine), address=address, published=frozenset({(database.name, "members")}))
    channel = Channel(database, wish, account)
    channel.admin(
        MEMBERS_MYSQL,
        *CREATE_MYSQL,
        f"CREATE USER {account} IDENTIFIED BY '{PASSWORD}'",
        f"GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {account}",
        *(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{database.name}`.{table} TO {account}"
            for table in ("members", "datong_progress", "datong_parked")
        ),
    )
    return channel


def postgresql_channel(database: PostgreSQLDatabase) -> Channel:
    user = f"d_{database.name[-8:]}"
    address = Address("postgresql", "127.0.0.1", database.server.port, user, database.name, PASSWORD)
    name = slot_name("coffee", database.name)
    wish = replace(usual_wish("postgresql"), address=address, slot=name, publication=name)
    channel = Channel(database, wish, f'"{user}"')
    channel.admin(
        f"CREATE ROLE {user} LOGIN REPLICATION PASSWORD '{PASSWORD}'",
        f'GRANT CREATE ON DATABASE "{database.name}" TO {user}',
        f"SET ROLE {user}; RESET ROLE",
        MEMBERS_POSTGRESQL,
        "ALTER TABLE members REPLICA IDENTITY FULL",
        *CREATE_POSTGRESQL,
        *(f"ALTER TABLE {table} OWNER TO {user}" for table in ("members", "datong_progress", "datong_parked")),
        f"SET ROLE {user}",
        f'CREATE PUBLICATION "{name}" FOR TABLE members, datong_progress, datong_parked WITH (publish_via_partition_root = true)',
        "RESET ROLE",
        f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')",
    )
    return channel


def drop_role(channel: Channel) -> None:
    """Before the database goes: what the role owns or was granted keeps it."""
    if isinstance(channel.database, PostgreSQLDatabase):
        channel.admin(
            f"REASSIGN OWNED BY {channel.account} TO CURRENT_USER",
            f"DROP OWNED BY {channel.account}",
            f"DROP ROLE {channel.account}",
        )
    else:
        channel.admin(f"DROP USER {channel.account}")
