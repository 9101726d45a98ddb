"""What every test may ask for: servers, databases of its own, and proxies that misbehave."""

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
    tcp_proxy,
)

__all__ = [
    "mariadb",
    "mariadb2",
    "mariadb2_db",
    "mariadb_db",
    "mysql",
    "mysql_db",
    "postgresql",
    "postgresql_db",
    "redis_db",
    "redis_server",
    "tcp_proxy",
]
