"""What every test may ask for: servers, databases of its own, and proxies that misbehave."""

import pytest

from tests.identity_hub import hub, hub_url, redis_address
from tests.mysql_logs import own_server
from tests.postgresql_logs import log
from tests.servers import (
    mariadb,
    mariadb2,
    mariadb2_db,
    mariadb_db,
    mysql,
    mysql_db,
    postgresql,
    postgresql_db,
    redis_db,
    redis_server,
    sqlite_db,
    tcp_proxy,
)
from tests.shops import shop, shops
from tests.worlds import ab, abc, make_world, mixed

__all__ = [
    "log",
    "ab",
    "abc",
    "hub",
    "hub_url",
    "make_world",
    "mixed",
    "mariadb",
    "mariadb2",
    "mariadb2_db",
    "mariadb_db",
    "mysql",
    "mysql_db",
    "own_server",
    "postgresql",
    "postgresql_db",
    "redis_address",
    "redis_db",
    "redis_server",
    "shop",
    "shops",
    "sqlite_db",
    "tcp_proxy",
]


def pytest_configure(config: pytest.Config) -> None:
    """The long forms of tests run when asked for (`make soak`), and not otherwise."""
    if not config.option.markexpr:
        config.option.markexpr = "not soak"
