"""Private MariaDB, MySQL 9, PostgreSQL and Redis servers, for `datong demo`, the tests and the benchmarks.

    with PostgreSQL(folder) as server, server.connect() as connection:
        connection.execute("CREATE DATABASE shop")

They run from the machine's own programs in a folder of the caller's, on free ports of 127.0.0.1, set up for
replication, and are gone when this process is.
"""

from cdc.demo.servers.certificates import Certificates, certificates
from cdc.demo.servers.mysql import MariaDB, MySQL
from cdc.demo.servers.postgresql import PostgreSQL
from cdc.demo.servers.process import ServerFailed, ServerMissing
from cdc.demo.servers.redis import Redis
from cdc.demo.servers.server import Server

__all__ = [
    "Certificates",
    "MariaDB",
    "MySQL",
    "PostgreSQL",
    "Redis",
    "Server",
    "ServerFailed",
    "ServerMissing",
    "certificates",
]
