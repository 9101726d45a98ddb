"""Worlds: the service between two or three real databases."""

import pytest

from tests.world import World

PAIRS = {
    "mariadb-postgresql": ("mariadb_db", "postgresql_db"),
    "mysql-postgresql": ("mysql_db", "postgresql_db"),
    "mariadb-mysql": ("mariadb_db", "mysql_db"),
}


@pytest.fixture
def make_world(request, tmp_path, redis_db):
    """`make_world("mariadb_db", "postgresql_db")`: channels a, b, ... with their tables, not started yet."""

    def make(*databases, table=True):
        world = World(
            tmp_path, redis_db, {name: request.getfixturevalue(d) for name, d in zip("abcd", databases, strict=False)}
        )
        request.node.addfinalizer(world.close)  # before the databases are dropped, which were asked for before it
        if table:
            for channel in world.channels.values():
                channel.create_table()
        return world

    return make


@pytest.fixture(params=list(PAIRS))
def ab(request, make_world):
    """Two channels of every pair of engines."""
    return make_world(*PAIRS[request.param])


@pytest.fixture
def mixed(make_world):
    """MariaDB and PostgreSQL: for cases in which the pair does not matter."""
    return make_world("mariadb_db", "postgresql_db")


@pytest.fixture
def abc(make_world):
    """Three channels on three engines, full mesh."""
    return make_world("mysql_db", "postgresql_db", "mariadb_db")
